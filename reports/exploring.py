"""Explores a machine's parameters: points of a sweep, their Pareto front, the best within limits, and what moves the result."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerator_sim.area import machine_area
from accelerator_sim.design_space.axes import Axis, Link, grid
from accelerator_sim.design_space.explore import FIGURES, Explored, explore
from accelerator_sim.design_space.pareto import pareto_front
from accelerator_sim.design_space.sensitivity import Sensitivity, sensitivity
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.errors import ComponentError
from accelerator_sim.machine import Machine, with_parameters
from einsum_cascades.definitions import read_text
from einsum_cascades.errors import DefinitionError, UnknownNameError
from reports.cascades import NamedCascade
from reports.choosing import Choice

if TYPE_CHECKING:
    import numpy as np

UNITS: Mapping[str, str] = {"latency": "latency_s", "energy": "energy_pj", "area": "area_mm2", "edp": "edp_pj_s", "dram": "dram_bytes"}
"""The key of each figure in tables, with its unit."""

MOST_ROWS = 20_000
"""Points that a JSON document holds one by one; a table (CSV) holds all."""


@dataclass(frozen=True, eq=False)
class Exploration:
    """``explored`` points, which of them are on the ``front`` of some figures, the best one within limits, and what the machine
    ``around`` which sensitivity was asked depends on."""

    explored: Explored
    figures: tuple[str, ...]
    front: tuple[int, ...]
    objective: str
    best: int | None
    around: Mapping[str, float]
    sensitivity: Sensitivity | None

    def point(self, number: int) -> dict[str, Any]:
        """Returns a point: its parameters, figures and what bounds it."""
        found = self.explored
        return {"point": number, **{path: _number(values[number]) for path, values in found.parameters.items()},
                **{key: float(found.figure(name)[number]) for name, key in UNITS.items()},
                "utilization": {label: float(values[number]) for label, values in found.utilization.items()},
                "bound": found.bound_of(number)}

    def refusals(self) -> list[dict[str, Any]]:
        """Returns why points are invalid: how many there are of each kind, with the reason of the first."""
        kinds: dict[str, list[int]] = {}
        found = self.explored
        for number in (~found.valid).nonzero()[0].tolist():
            kinds.setdefault(_kind(found.reason(number) or ""), []).append(number)
        return [{"points": len(numbers), "first": numbers[0], "reason": found.reason(numbers[0])} for numbers in kinds.values()]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        found = self.explored
        small = found.count <= MOST_ROWS
        return {"cascade": found.cascade, "design": found.design, "machine": found.machine, "accounting": found.accounting,
                "parameters": list(found.parameters), "points": found.count, "valid": int(found.valid.sum()),
                "pareto": {"figures": list(self.figures), "points": [self.point(n) for n in self.front]}, "objective": self.objective,
                "best": None if self.best is None else self.point(self.best), "invalid": self.refusals(),
                "rows": [{**self.point(n), "valid": bool(found.valid[n]), "reason": found.reason(n)} for n in range(found.count)]
                if small else None,
                "sensitivity": None if self.sensitivity is None else {"around": dict(self.around), **self.sensitivity.to_dict()}}


def run_exploration(named: NamedCascade, choice: Choice, machine: Machine, parameters: Mapping[str, np.ndarray[Any, Any]], *,
                    figures: tuple[str, ...], objective: str, limits: Mapping[str, float], ask_sensitivity: bool,
                    linked: Sequence[tuple[str, ...]] = (), accounting: str = PHYSICAL,
                    progress: Callable[[int], None] | None = None) -> Exploration:
    """Returns the points of ``parameters``, their Pareto front over ``figures``, the best by ``objective`` within ``limits``, and if
    asked the sensitivity around it (around the machine itself, where nothing is varied).

    Raises: DefinitionError for limits that no point keeps, where that is known before anything is evaluated or after; FusebenchError
        of the part that is wrong.
    """
    import numpy as np
    if "area" in limits:
        _check_area(machine, parameters, limits["area"])
    explored = explore(named.cascade, choice.design, machine, choice.shape, parameters, accounting, progress)
    within = explored.valid.copy()
    for name, limit in limits.items():
        own = explored.figure(name)
        if not (own[explored.valid] <= limit).any() and explored.valid.any():
            raise DefinitionError(f"no point keeps it, got at most {limit:g} {_unit(name)} where the least is "
                                  f"{np.nanmin(own[explored.valid]):.6g}; allow more, or vary more", source=f"--at-most {name}")
        within &= np.where(explored.valid, own <= limit, False)
    if limits and explored.valid.any() and not within.any():
        raise DefinitionError(f"no point keeps all limits together, got {', '.join(f'{n}={v:g}' for n, v in limits.items())}; allow more of "
                              f"one", source="--at-most")
    costs = np.stack([explored.figure(name) for name in figures], axis=1)
    costs[~within] = np.nan
    front = np.flatnonzero(pareto_front(costs))
    front = front[np.lexsort(costs[front].T[::-1])]
    # Of points that are equally good, the smaller machine.
    kept = np.flatnonzero(within)
    best = int(kept[np.lexsort((explored.area_mm2[kept], explored.figure(objective)[kept]))[0]]) if len(kept) else None
    around = {path: _number(values[best]) for path, values in parameters.items()} if best is not None and parameters else {}
    found = None
    if ask_sensitivity and (best is not None or not parameters):
        own_figure = objective if objective in ("latency", "energy", "area") else "latency"
        found = sensitivity(named.cascade, choice.design, with_parameters(machine, around), choice.shape, figure=own_figure, linked=linked,
                            accounting=accounting)
    return Exploration(explored, figures, tuple(front.tolist()), objective, best, around, found)


def sweep_of(axes: Sequence[Axis], links: Sequence[Link], points: str | None, machine: Machine) -> dict[str, Any]:
    """Returns the points of axes and links, or of a table (CSV) with a column for each path.

    Raises: DefinitionError for a table that is none, or that stands beside axes.
    """
    if points is None:
        return grid(axes, links, machine) if axes else {}
    if axes:
        raise DefinitionError(f"points stand in a table or on axes, got both {points!r} and --vary; give one of them", source="--points")
    table = list(csv.reader(read_text(points, wanted="a table").splitlines()))
    if len(table) < 2 or not all(len(row) == len(table[0]) for row in table):
        raise DefinitionError(f"it should have a line of paths and lines of as many numbers, got {len(table)} lines; correct it", source=points)
    columns: dict[str, tuple[float, ...]] = {}
    for path, *cells in zip(*table, strict=True):
        machine.parameter(path.strip())
        if path.strip() in columns:
            raise DefinitionError(f"a path stands twice, got {path.strip()!r}; remove a column", source=points)
        try:
            columns[path.strip()] = tuple(float(cell) for cell in cells)
        except ValueError:
            bad = next(c for c in cells if not _is_number(c))
            raise DefinitionError(f"it should hold numbers, got {bad!r}; correct it", source=points, path=path) from None
    return grid([Axis(columns)], links, machine)


def figures_of(text: str, option: str) -> tuple[str, ...]:
    """Returns the figures of a list such as ``area,latency``.

    Raises: UnknownNameError, DefinitionError for one that stands twice.
    """
    names = tuple(piece.strip() for piece in text.split(","))
    for name in names:
        if name not in FIGURES:
            raise UnknownNameError("figure", name, FIGURES, place=option)
    if len(set(names)) < len(names):
        raise DefinitionError(f"a figure stands twice, got {text!r}; remove one", source=option)
    return names


def limits_of(entries: Sequence[str]) -> dict[str, float]:
    """Returns the limits of entries such as ``area=1000``.

    Raises: UnknownNameError, DefinitionError.
    """
    found: dict[str, float] = {}
    for entry in entries:
        name, equals, text = (piece.strip() for piece in entry.partition("="))
        figures_of(name, "--at-most")
        if not equals or not _is_number(text) or not 0 < float(text) < float("inf"):
            raise DefinitionError(f"it should be a figure, '=' and a number above 0, got {entry!r}; write --at-most area=1000",
                                  source="--at-most")
        found[name] = min(float(text), found.get(name, float("inf")))
    return found


def _check_area(machine: Machine, parameters: Mapping[str, Any], limit: float) -> None:
    """Refuses a limit that no machine keeps before any is evaluated: areas need no mapping."""
    try:
        areas = machine_area(with_parameters(machine, dict(parameters)))["total"]
    except ComponentError:
        return
    least, most = (float(v) for v in (areas.min(), areas.max())) if hasattr(areas, "min") else (float(areas), float(areas))
    if least > limit:
        raise DefinitionError(f"no machine keeps it, got at most {limit:g} mm2 where they have {least:.6g} to {most:.6g}; allow more, or vary "
                              f"more", source="--at-most area")


def _kind(reason: str) -> str:
    """A reason without its numbers."""
    return "".join(c for c in reason if not c.isdigit())


def _number(value: Any) -> float:
    return int(value) if float(value).is_integer() else float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unit(name: str) -> str:
    return {"latency": "s", "energy": "pJ", "area": "mm2", "edp": "pJ s", "dram": "bytes"}[name]
