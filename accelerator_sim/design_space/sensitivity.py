"""Sensitivity: how a figure follows each parameter around one machine, how far the cost bands move it, and what binds there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from accelerator_sim.design import Design
from accelerator_sim.design_space.domains import domain_of
from accelerator_sim.design_space.explore import Explored, explore, memory_times, network_times
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine, Memory
from accelerator_sim.machine_numbers import machine_numbers
from accelerator_sim.plan import Shape
from accelerator_sim.quantities import is_number
from accelerator_sim.sram import BAND_FACTOR
from einsum_cascades.ir import Cascade

SMALL, LARGE = 1.01, 2.0
"""The factors by which a parameter is made smaller and larger: for the slope at the point, and for what lies around it."""

SAME = 1e-3
"""Slopes to both sides that differ by more are a kink."""

MEASURED = ("latency", "energy", "area")


@dataclass(frozen=True, slots=True)
class Slope:
    """The elasticity of a figure, d ln figure / d ln parameter, towards smaller (``down``) and larger values (``up``); None
    where that point is invalid, or the parameter ends."""

    down: float | None
    up: float | None

    @property
    def most(self) -> float:
        """The one of larger size."""
        return max((v for v in (self.down, self.up) if v is not None), key=abs, default=0.0)

    @property
    def kinked(self) -> bool:
        """Whether the two sides differ."""
        return self.down is not None and self.up is not None and abs(self.down - self.up) > SAME


@dataclass(frozen=True)
class Influence:
    """How figures follow one parameter, or several that change by the same factor (``paths``).

    ``near`` is for a change of 1%, of a parameter in whole numbers by at least one; ``wide`` from half to twice the value:
    what the next kinks do not hide.
    """

    paths: tuple[str, ...]
    value: float
    near: Mapping[str, Slope]
    wide: Mapping[str, Slope]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        def slopes(found: Mapping[str, Slope]) -> dict[str, Any]:
            return {name: {"down": s.down, "up": s.up, "kinked": s.kinked} for name, s in found.items()}
        return {"paths": list(self.paths), "value": self.value, "near": slopes(self.near), "wide": slopes(self.wide)}


@dataclass(frozen=True)
class BandInfluence:
    """Figures with one number at the low and at the high end of its band, over those at its nominal value."""

    path: str
    low: float
    high: float
    ratios: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {"path": self.path, "low": self.low, "high": self.high, "ratios": {k: list(v) for k, v in self.ratios.items()}}


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What a machine's figures depend on. ``binding`` decides the latency; ``loads`` is the share of the latency that each unit
    and memory is busy. Parameters and bands stand in the order of their influence on ``figure``, without those that have none
    on any."""

    figure: str
    point: Estimate
    binding: str
    loads: Mapping[str, float]
    parameters: tuple[Influence, ...]
    bands: tuple[BandInfluence, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {"figure": self.figure, "binding": self.binding, "loads": dict(self.loads),
                "parameters": [p.to_dict() for p in self.parameters], "bands": [b.to_dict() for b in self.bands]}


def sensitivity(cascade: Cascade, design: Design, machine: Machine, shape: Shape, *, figure: str = "latency",
                linked: Sequence[tuple[str, ...]] = (), accounting: str = PHYSICAL) -> Sensitivity:
    """Returns what latency, energy and area depend on around a machine. ``linked`` are parameters that also change together.

    Raises: DesignError, CapacityError where the point itself is invalid; UnknownNameError for a path of ``linked``.
    """
    point = estimate(cascade, design, machine, shape, accounting)
    groups = [*((path,) for path in machine.parameters()), *(g for g in linked if len(g) > 1)]
    influences = _influences(cascade, design, machine, shape, groups, accounting)
    bands = _bands(cascade, design, machine, shape, accounting, point)
    assert point.bound is not None
    return Sensitivity(figure, point, point.bound, _loads(point),
                       tuple(sorted(influences, key=lambda i: (-abs(i.wide[figure].most), -abs(i.near[figure].most), -len(i.paths)))),
                       tuple(sorted(bands, key=lambda b: -abs(math.log(b.ratios[figure][1] / b.ratios[figure][0])))))


def _influences(cascade: Cascade, design: Design, machine: Machine, shape: Shape, groups: Sequence[tuple[str, ...]],
                accounting: str) -> list[Influence]:
    """One row for each changed machine, all evaluated together; the first is the machine itself."""
    import numpy as np
    nominal = {path: float(machine.parameter(path)) for group in groups for path in group}
    rows: list[dict[str, float]] = [{}]
    places: dict[tuple[int, float, bool], int | None] = {}
    for number, group in enumerate(groups):
        for factor in (SMALL, LARGE):
            for up in (False, True):
                changed = {path: _changed(machine, path, nominal[path], factor, up) for path in group}
                places[number, factor, up] = None if any(v is None for v in changed.values()) else len(rows)
                if None not in changed.values():
                    rows.append({path: v for path, v in changed.items() if v is not None})
    values = {path: np.array([row.get(path, own) for row in rows]) for path, own in nominal.items()}
    explored = explore(cascade, design, machine, shape, values, accounting)

    def slopes(number: int, factor: float) -> dict[str, Slope]:
        path = groups[number][0]
        ends = [places[number, factor, up] for up in (False, True)]
        steps = [None if end is None else math.log(rows[end][path] / nominal[path]) for end in ends]
        return {name: Slope(*(_slope(explored, name, end, step) for end, step in zip(ends, steps, strict=True))) for name in MEASURED}
    found = [Influence(group, nominal[group[0]], slopes(n, SMALL), slopes(n, LARGE)) for n, group in enumerate(groups)]
    return [i for i in found if any(s.most for s in (*i.near.values(), *i.wide.values()))]


def _changed(machine: Machine, path: str, value: float, factor: float, up: bool) -> float | None:
    """The value that is larger or smaller by a factor; the nearest other whole number, where it must be one; None outside."""
    domain = domain_of(machine, path)
    if value <= 0:
        return None
    found = value * factor if up else value / factor
    if domain.whole:
        found = max(round(found), value + 1) if up else min(round(found), value - 1)
    return found if found >= domain.least and found > 0 else None


def _slope(explored: Explored, figure: str, end: int | None, step: float | None) -> float | None:
    if end is None or step is None or not explored.valid[end]:
        return None
    values = explored.figure(figure)
    return 0.0 if values[end] == values[0] else math.log(values[end] / values[0]) / step


# --- bands ---


def _bands(cascade: Cascade, design: Design, machine: Machine, shape: Shape, accounting: str, point: Estimate) -> list[BandInfluence]:
    """Each number at both ends of its band by itself; costs of a SRAM that follow from the table, of a memory together."""
    import numpy as np
    known = machine.parameters()
    numbers = [n for n in machine_numbers(machine) if not n.follows and n.low is not None and n.high is not None and n.low < n.high
               and is_number(n.value)]
    count = 2 * len(numbers)
    found = []
    if numbers:
        values = {n.path: np.full(count, float(known[n.path])) for n in numbers}
        for place, number in enumerate(numbers):
            values[number.path][2 * place:2 * place + 2] = _inside(machine, number.path, (number.low, number.high))
        explored = explore(cascade, design, machine, shape, values, accounting)
        for place, number in enumerate(numbers):
            ends = [2 * place, 2 * place + 1]
            if explored.valid[ends].all():
                low, high = values[number.path][ends]
                found.append(BandInfluence(number.path, float(low), float(high), {
                    name: (float(explored.figure(name)[ends[0]] / _nominal(point, name)),
                           float(explored.figure(name)[ends[1]] / _nominal(point, name))) for name in MEASURED}))
    for memory in machine.memories.values():
        if memory.tabulated:
            ends_of_the_table = [estimate(cascade, design, _with_factor(machine, memory, factor), shape, accounting) for factor in BAND_FACTOR]
            ratios = {name: (_nominal(ends_of_the_table[0], name) / _nominal(point, name),
                             _nominal(ends_of_the_table[1], name) / _nominal(point, name)) for name in MEASURED}
            found.append(BandInfluence(f"{memory.name} (SRAM table)", *BAND_FACTOR, ratios))
    return [b for b in found if any(abs(low - 1) > 1e-12 or abs(high - 1) > 1e-12 for low, high in b.ratios.values())]


def _inside(machine: Machine, path: str, ends: tuple[float | None, float | None]) -> list[float]:
    """The ends of a band, moved to the nearest value inside that the parameter may have."""
    domain = domain_of(machine, path)
    low, high = (float(end or 0) for end in ends)
    if domain.whole:
        low, high = math.ceil(low), max(math.floor(high), math.ceil(low))
    least = domain.least if not domain.open else max(domain.least, float(machine.parameter(path)) * 1e-6)
    return [max(low, least), max(high, least)]


def _with_factor(machine: Machine, memory: Memory, factor: float) -> Machine:
    return replace(machine, memories=MappingProxyType({**machine.memories, memory.name: replace(memory, table_factor=factor)}))


def _nominal(point: Estimate, figure: str) -> float:
    return float({"latency": point.latency_s, "energy": point.energy_pj["total"], "area": point.area_mm2["total"]}[figure])


def _loads(point: Estimate) -> dict[str, float]:
    machine = point.plan.machine
    found: dict[str, float] = {}
    for name, time in point.stages.items():
        for unit, cycles in time.unit_cycles.items():
            found[unit] = found.get(unit, 0.0) + float(cycles / point.latency_cycles)
        for memory, seconds in (*memory_times(point, name).items(), *network_times(point, name).items()):
            found[memory] = found.get(memory, 0.0) + float(seconds / point.latency_s)
    order = (*machine.units, *machine.memories, *machine.networks)
    return {name: found[name] for name in order if name in found}
