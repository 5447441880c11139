"""Chooses the design that a cascade runs under on a machine: a given one, the best of those that fit, or Einsum by Einsum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.design import Design
from accelerator_sim.designs import DesignFile, design_ids, load_design_file
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import unfused_design
from einsum_cascades.errors import DefinitionError, DesignError, UnknownNameError
from einsum_cascades.extents import known_extents, resolve_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from reports.cascades import NamedCascade

OBJECTIVES = ("latency", "energy", "edp")
WAYS = ("auto", "designs", "unfused")
"""Where designs come from: shipped ones and, where none fits, Einsum by Einsum; shipped ones alone; Einsum by Einsum alone."""

TILES = tuple(2 ** k for k in range(4, 13))
"""Tile sizes that the baseline tries where a partition has none."""

DESIGN, BASELINE = "design", "einsum-by-einsum"


@dataclass(frozen=True, eq=False)
class Choice:
    """A design with its estimate; ``way`` says where it is from, ``refused`` why others do not fit, by design."""

    design: Design
    estimate: Estimate
    shape: Shape
    way: str
    refused: Mapping[str, str]


def objective_of(found: Estimate, objective: str) -> float:
    """Returns the figure that is to be small: s, pJ, or their product."""
    latency, energy = float(found.latency_s), float(found.energy_pj["total"])
    return {"latency": latency, "energy": energy, "edp": latency * energy}[objective]


def choose(named: NamedCascade, machine: Machine, shape: Shape, *, objective: str = "latency", design: str | None = None,
           way: str = "auto", accounting: str = PHYSICAL) -> Choice:
    """Returns the given design (an id or a file), or the best of those that fit a cascade on a machine at a shape.

    Raises: DesignError, with the reason of each design, where none fits; FusebenchError of the part that is wrong.
    """
    if design is not None:
        bound = load_design_file(design).design(shape.workload, shape.seq_len)
        return Choice(bound, estimate(named.cascade, bound, machine, shape, accounting), shape, DESIGN, {})
    refused: dict[str, str] = {}
    best: Choice | None = None
    for file in (load_design_file(d) for d in design_ids()) if way != "unfused" else ():
        if not _is_for(file, named, machine):
            continue
        try:
            bound = file.design(shape.workload, shape.seq_len)
            found = estimate(named.cascade, bound, machine, shape, accounting)
        except (DesignError, DefinitionError, UnknownNameError) as error:
            refused[file.id] = str(error)
            continue
        if best is None or objective_of(found, objective) < objective_of(best.estimate, objective):
            best = Choice(bound, found, shape, DESIGN, refused)
    if best is not None:
        return best
    if way == "designs":
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise DesignError(f"cascade {named.cascade.name!r}: no shipped design fits it on machine {machine.id!r}, got {why or 'none for it'}; "
                          f"give one with --design")
    return _einsum_by_einsum(named.cascade, machine, shape, objective, accounting, refused)


def _einsum_by_einsum(cascade: Cascade, machine: Machine, shape: Shape, objective: str, accounting: str,
                      refused: Mapping[str, str]) -> Choice:
    """The baseline; partitions without extents of their own have the tile of those tried that is best."""
    found: list[Choice] = []
    for extents in _tiled(cascade, shape.extents):
        whole = Shape(resolve_extents(cascade, extents), shape.instances, shape.workload, shape.seq_len)
        bound = unfused_design(cascade, machine, whole)
        found.append(Choice(bound, estimate(cascade, bound, machine, whole, accounting), whole, BASELINE, refused))
    return min(found, key=lambda c: objective_of(c.estimate, objective))


def _tiled(cascade: Cascade, extents: Mapping[str, int]) -> list[Mapping[str, int]]:
    """The extents with one tile size for all partitions that have none."""
    composites = structure(cascade).composites
    tried: list[Mapping[str, int]] = []
    for tile in TILES:
        own = dict(extents)
        known = known_extents(cascade, own)
        for name, (_, *inner) in composites.items():
            for part in inner:
                if part not in known:
                    own[part] = min(tile, known.get(name, tile))
                    known = known_extents(cascade, own)
        if own not in tried:
            tried.append(own)
    return tried


def _is_for(file: DesignFile, named: NamedCascade, machine: Machine) -> bool:
    return file.cascade == named.cascade.name and (not file.machines or machine.id in file.machines)
