"""A design for any cascade on any machine: every Einsum by itself, its tensors through the outermost memory.

Nothing is searched. An Einsum runs on the unit that takes the fewest steps for it, its ranks spread over the sides so
that most PEs work; loops over kept ranks are outside of those that are reduced, so that sums stay in registers; of its
operands, the smallest that fit stay on chip for one instance. It is a baseline that fits everything, no optimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from accelerator_sim.design import OVERFLOW, Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.machine import ComputeUnit, Machine
from accelerator_sim.operators import FUSED, counted, own_operators, per_point
from accelerator_sim.parts import folded, leaves
from accelerator_sim.plan import Shape
from einsum_cascades.dependencies import Loop
from einsum_cascades.errors import DesignError
from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Cascade, Einsum, accesses, coords, unique
from einsum_cascades.mapping import CascadeMapping, Nest, walked
from einsum_cascades.structure import structure

ID = "einsum-by-einsum"
INSTANCES = "b"


def unfused_design(cascade: Cascade, machine: Machine, shape: Shape) -> Design:
    """Returns the design of a cascade on a machine at a shape in which each Einsum runs by itself.

    Raises: DesignError where no unit has an Einsum's operators; ExtentError for a rank without an extent.
    """
    extents = resolve_extents(cascade, shape.extents)
    # A cascade with a batch of its own is not repeated over one.
    instances = () if any(INSTANCES in e.ranks for e in cascade.einsums) else (INSTANCES,)
    found = structure(cascade)
    # Of a part that is cut again, its own parts have the sizes.
    sizes = {part: Size(extents[part]) for rank in found.composites for part in leaves(rank, found.composites)[1:]}
    # A rank that some Einsums walk whole and others in tiles is walked in the same tiles by all.
    partitions = {name: leaves(name, found.composites) for name in found.composites if name in found.ranks}
    nests, bindings, stages = [], [], []
    for number, (loops, einsums) in enumerate(_groups(found.schedule, frozenset(cascade.inits))):
        placed = {e.name: _placed(cascade, e, machine, extents, _parts(e, partitions)) for e in einsums}
        units = {name: made.unit.name for name, made in placed.items()}
        inner = {}
        for einsum in einsums:
            spread = placed[einsum.name].spread
            kept = {p for r in einsum.output_ranks for p in partitions.get(r, (r,))}
            parts = [p for p in _parts(einsum, partitions) if p not in loops and (extents[p] > 1 or p in spread)]
            inner[einsum.name] = tuple(sorted(parts, key=lambda p, kept=kept: p not in kept))  # type: ignore[misc]
        nests.append(Nest(tuple(placed), (*instances, *loops), inner, {n: tuple(made.spread) for n, made in placed.items()}))
        at = instances[0] if instances else None
        bindings.append(Binding(units, {n: made.spread for n, made in placed.items()},
                                _kept(einsums, machine, extents, at, frozenset(found.iterative), loops),
                                elsewhere={n: made.elsewhere for n, made in placed.items() if made.elsewhere}))
        stages.append(Stage(einsums[0].name, (number,), Schedule()))
    return Design(ID, "Einsum by Einsum, through the outermost memory", "made for the cascade; no published design",
                  cascade.name, (machine.id,), CascadeMapping(tuple(nests), partitions, instances), sizes, tuple(bindings), tuple(stages))


def _groups(steps: tuple[Einsum | Loop, ...], seeds: frozenset[Einsum]) -> Iterator[tuple[tuple[str, ...], tuple[Einsum, ...]]]:
    """Einsums one by one, but those of a recurrence together in its loop."""
    for step in steps:
        if isinstance(step, Loop):
            yield (step.rank,), tuple(e for e in _flat(step) if e not in seeds)
        elif step not in seeds:
            yield (), (step,)


def _flat(loop: Loop) -> Iterator[Einsum]:
    for step in loop.body:
        if isinstance(step, Loop):
            yield from _flat(step)
        else:
            yield step


def _parts(einsum: Einsum, partitions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return unique(tuple(p for r in walked(einsum) for p in partitions.get(r, (r,))))


@dataclass(frozen=True)
class _Place:
    """Where an Einsum runs: its unit, the sides that parts are spread over, and operators that other units perform."""

    unit: ComputeUnit
    spread: dict[str, str]
    elsewhere: dict[str, str]


def _placed(cascade: Cascade, einsum: Einsum, machine: Machine, extents: Mapping[str, int],
            parts: tuple[str, ...]) -> _Place:
    """The place where an Einsum takes least: on the unit that is done first, other units with what it lacks."""
    counts, sums_product = counted(cascade, einsum)
    points = prod(extents[p] for p in parts)
    place = f"cascade {cascade.name!r}: Einsum {einsum.name!r}"
    best: tuple[float, _Place] | None = None
    missing: DesignError | None = None
    for unit in machine.units.values():
        # A unit composes no operator that another one has; multiply-adds are fused only where the unit itself has them.
        others = {op: u for u in machine.units.values() for op in u.cycles if op not in unit.cycles and op != FUSED}
        try:
            operators = per_point(counts, sums_product, {**others, **unit.cycles}, place, unit.name, own_operators(cascade))
        except DesignError as error:
            missing = error
            continue
        cycles = sum(float(n * unit.cycles[op]) for op, n in operators.items() if op in unit.cycles)
        steps, spread = _spread(parts, unit, extents)
        time = steps * cycles
        for op, n in operators.items():
            if op not in unit.cycles:
                time = max(time, points * n * float(others[op].cycles[op]) / float(others[op].pes))
        # Of units that take as long, the one that performs more itself.
        time *= 1 + 1e-6 * sum(op not in unit.cycles for op in operators)
        if best is None or time < best[0]:
            best = time, _Place(unit, spread, {op: others[op].name for op in operators if op not in unit.cycles})
    if best is None:
        raise missing or DesignError(f"machine {machine.id!r}: it has no compute unit, got none; give it one")
    return best[1]


def _spread(parts: tuple[str, ...], unit: ComputeUnit, extents: Mapping[str, int]) -> tuple[int, dict[str, str]]:
    """The parts over the sides of a unit, several sides together where that is better, with the fewest steps."""
    sides = tuple(unit.dimensions)
    every = prod(extents[p] for p in parts)
    best: tuple[int, dict[str, str]] = (every, {})
    for owners in product((None, *parts), repeat=len(sides)):
        over: dict[str, list[str]] = {}
        for side, owner in zip(sides, owners, strict=True):
            if owner is not None:
                over.setdefault(owner, []).append(side)
        steps = every
        for part, own in over.items():
            pes = prod(int(unit.dimensions[side]) for side in own)
            steps = steps // extents[part] * -(-extents[part] // pes)
        if steps < best[0]:
            best = (steps, {part: "*".join(own) for part, own in over.items()})
    return best


def _kept(einsums: tuple[Einsum, ...], machine: Machine, extents: Mapping[str, int], at: str | None,
          iterative: frozenset[str], loops: tuple[str, ...]) -> dict[str, tuple[Kept, ...]]:
    """What stays on chip, in the outermost of the on-chip memories: what a recurrence carries and makes, whatever of it fits;
    then, for one instance, operands that are read more than once, the smallest first."""
    inner = [m for m in machine.memories.values() if m is not machine.outermost]
    made = {o.tensor for e in einsums for o in e.outputs}
    used = {a.tensor for e in einsums for b in e.bodies for a in accesses(b)}
    found = [Kept(t, at if t in iterative else loops[-1], OVERFLOW) for t in sorted(made & used)] if loops else []
    if not inner or inner[0].bytes is None:
        return {}
    left = float(inner[0].bytes)
    sizes: dict[str, int] = {}
    points = 0
    for einsum in einsums:
        points = max(points, prod(extents[r] for r in walked(einsum)))
        for access in dict.fromkeys(a for body in einsum.bodies for a in accesses(body)):
            ranks = dict.fromkeys(r for i in access.indices for r in coords(folded(i)))
            sizes[access.tensor] = max(sizes.get(access.tensor, 0), prod(extents[r] for r in ranks))
    for kept in found:
        left -= sizes[kept.tensor] / prod(extents[x] for x in loops) * float(machine.value_bytes)
    for tensor, values in sorted(sizes.items(), key=lambda item: item[1]):
        size = values * float(machine.value_bytes)
        # A tensor that is read once gains nothing from being kept.
        if tensor not in made and size <= left and values < points:
            left -= size
            found.append(Kept(tensor, at))
    return {inner[0].name: tuple(found)} if found else {}
