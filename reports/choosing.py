"""Chooses the design that a cascade runs under on a machine: a given one, the best of those that fit, the mapper's, or Einsum by Einsum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.design import Design
from accelerator_sim.designs import DesignFile, design_ids, load_design_file
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.frame import make_frame
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import unfused_design
from einsum_cascades.errors import DefinitionError, DesignError, ExtentError, UnknownNameError
from einsum_cascades.extents import known_extents, resolve_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from reports.cascades import NamedCascade

OBJECTIVES = ("latency", "energy", "edp")
WAYS = ("auto", "best", "designs", "mapper", "unfused")
"""Where designs come from: shipped ones, where none fits the mapper, and where it finds none Einsum by Einsum; the best of shipped
ones and the mapper's; or one of them alone."""

BUDGET_S = 10.0
"""Seconds that the mapper has for a cascade, a machine and a length."""

TILES = tuple(2 ** k for k in range(4, 13))
"""Tile sizes that the baseline tries where a partition has none."""

DESIGN, MAPPER, BASELINE = "design", "mapper", "einsum-by-einsum"


@dataclass(frozen=True, eq=False)
class Choice:
    """A design with its estimate; ``way`` says where it is from, ``refused`` why others do not fit, by design. ``gap`` is how far the
    mapper's is from what it proved to be the least, in proportion (0: proven optimal in its space)."""

    design: Design
    estimate: Estimate
    shape: Shape
    way: str
    refused: Mapping[str, str]
    gap: float | None = None


def objective_of(found: Estimate, objective: str) -> float:
    """Returns the figure that is to be small: s, pJ, or their product."""
    latency, energy = float(found.latency_s), float(found.energy_pj["total"])
    return {"latency": latency, "energy": energy, "edp": latency * energy}[objective]


def choose(named: NamedCascade, machine: Machine, shape: Shape, *, objective: str = "latency", design: str | None = None,
           way: str = "auto", accounting: str = PHYSICAL, budget_s: float = BUDGET_S) -> Choice:
    """Returns the given design (an id or a file), or the one that the way leads to (see ``WAYS``).

    Raises: DesignError, with the reason of each design, where none fits; FusebenchError of the part that is wrong.
    """
    if design is not None:
        bound = load_design_file(design).design(shape.workload, shape.seq_len)
        return Choice(bound, estimate(named.cascade, bound, machine, shape, accounting), shape, DESIGN, {})
    refused: dict[str, str] = {}
    found = _shipped(named, machine, shape, objective, accounting, refused) if way in ("auto", "best", "designs") else None
    if way in ("best", "mapper") or way == "auto" and found is None:
        mapped = _mapped(named.cascade, machine, shape, objective, accounting, budget_s, refused)
        if mapped is not None and (found is None or objective_of(mapped.estimate, objective) < objective_of(found.estimate, objective)):
            found = mapped
    unproven = found is not None and bool(found.gap)
    if found is not None and not (unproven and way != "mapper"):
        return found
    if way in ("designs", "mapper"):
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise DesignError(f"cascade {named.cascade.name!r}: there is no design for it on machine {machine.id!r} by way of {way}, got "
                          f"{why or 'none that places its Einsums'}; give one with --design, or another way")
    try:
        plain = _einsum_by_einsum(named.cascade, machine, shape, objective, accounting, refused)
    except (DesignError, ExtentError):
        if found is None:
            raise
        return found
    # A search that its time ended may have found less than no search.
    return found if found is not None and objective_of(found.estimate, objective) <= objective_of(plain.estimate, objective) else plain


def _shipped(named: NamedCascade, machine: Machine, shape: Shape, objective: str, accounting: str,
             refused: dict[str, str]) -> Choice | None:
    """The best of the shipped designs that fit; notes why others do not."""
    best: Choice | None = None
    for file in (load_design_file(d) for d in design_ids()):
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
    return best


def _mapped(cascade: Cascade, machine: Machine, shape: Shape, objective: str, accounting: str, budget_s: float,
            refused: dict[str, str]) -> Choice | None:
    """What the mapper finds in its time; notes why, where it is nothing."""
    from accelerator_sim.mapper import OBJECTIVES, map_cascade
    goal = next(name for name in OBJECTIVES if name == objective)
    try:
        result = map_cascade(cascade, machine, shape, goal, budget_s=budget_s)
        # It chooses tile sizes as well: they are part of its shape.
        own = result.estimate.plan.shape
        found = estimate(cascade, result.design, machine, own, accounting)
    except (DesignError, ExtentError) as error:
        refused[MAPPER] = str(error)
        return None
    return Choice(result.design, found, own, MAPPER, refused, result.gap)


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
    """Whether a design is for the machine, and for the cascade by name or because it places its Einsums."""
    if file.machines and machine.id not in file.machines:
        return False
    if file.cascade in (named.cascade.name, named.cascade.name.partition(":")[0]):
        return True
    if file.table:
        return False
    try:
        make_frame(named.cascade, file.design())
    except DesignError:
        return False
    return True
