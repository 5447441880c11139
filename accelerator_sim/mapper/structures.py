"""Structures of groups of Einsums: shared loops, spread, units and what is kept, as ordinary designs of a part of a cascade.

A structure is a design with its tile sizes left open: they are given with the shape, as arrays of all combinations at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from accelerator_sim.design import Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.machine import ComputeUnit
from accelerator_sim.mapper.problem import Placement, Problem
from accelerator_sim.mapper.tiles import Grid, tile_sizes
from accelerator_sim.pipeline import dependences
from einsum_cascades.mapping import CascadeMapping, Nest

ID = "mapped"

Loops = tuple[str, ...]
"""The shared loops of a group, outer to inner, as the ranks that they are over; a rank that comes twice is cut twice."""

Table = tuple[tuple[str, str], ...]
"""Parts of ranks with the sides of a unit over which they are spread, as ``(("p0", "rows"), ("m0", "cols*depth"))``."""


@dataclass(frozen=True)
class Structure:
    """A group of Einsums under shared loops. ``placed`` on units, ``tables`` of each unit; ``kept`` says for each tensor in which
    memories and at how many shared loops its tiles live, ``forward`` which Einsums take it from registers."""

    names: tuple[str, ...]
    loops: Loops
    placed: Mapping[str, Placement]
    tables: Mapping[str, Table] = field(default_factory=dict)
    kept: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    forward: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def cut(problem: Problem, loops: Loops) -> dict[str, tuple[str, ...]]:
    """Returns the parts, outer to inner, of each rank that is cut by loops over it; ranks that the cascade cuts, or iterates over,
    are looped over as they are."""
    known = problem.known_cuts
    if loops not in known:
        known[loops] = _cut(problem, loops)
    return known[loops]


def _cut(problem: Problem, loops: Loops) -> dict[str, tuple[str, ...]]:
    taken = {*problem.extents, *problem.instances}
    found: dict[str, tuple[str, ...]] = {}
    for rank in dict.fromkeys(loops):
        if uncut(problem, rank):
            continue
        last = loops.count(rank)
        names = tuple(f"{rank}{n}" for n in range(last, -1, -1))
        while any(n in taken for n in names):
            names = tuple(f"{n[:-1]}_{n[-1]}" for n in names)
        found[rank] = names
    return found


def uncut(problem: Problem, rank: str) -> bool:
    """Returns whether a loop over a rank runs over each of its coordinates: the cascade cuts it, or iterates over it."""
    return rank in problem.leaves or rank in problem.iterative


def loop_names(problem: Problem, loops: Loops) -> tuple[str, ...]:
    """Returns the parts that shared loops are over."""
    parts = cut(problem, loops)
    return tuple(parts[r][loops[:n].count(r)] if r in parts else r for n, r in enumerate(loops))


def choices(problem: Problem, rank: str, times: int) -> tuple[tuple[int, ...], ...]:
    """Returns the sizes that the parts of a rank may have, but for the outermost, where loops cut it so many times."""
    if uncut(problem, rank):
        return ((),) if problem.extents[rank] > 1 else ()
    extent = problem.extents[rank]
    found: list[tuple[int, ...]] = []
    for inner in problem.tile_sizes(rank):
        tiles = -(-extent // inner)
        if times == 1:
            found.append((inner,))
        else:
            found += [(n, inner) for n in tile_sizes(tiles, (), problem.space.most_sizes) if n > 1]
    return tuple(found)


def grid_of(problem: Problem, loops: Loops) -> Grid:
    """Returns the grid of all tile sizes under some loops."""
    parts = cut(problem, loops)
    ranks = sorted(set(loops))
    return Grid({r: parts.get(r, (r,)) for r in ranks}, {r: choices(problem, r, loops.count(r)) for r in ranks})


def inner_parts(problem: Problem, name: str, loops: Loops) -> tuple[str, ...]:
    """Returns the parts of an Einsum's own loops, outer to inner: those of its result outside of those that it reduces, so that
    sums stay in registers."""
    known = problem.known_parts
    key = name, loops
    if key not in known:
        known[key] = _inner_parts(problem, name, loops)
    return known[key]


def _inner_parts(problem: Problem, name: str, loops: Loops) -> tuple[str, ...]:
    parts = cut(problem, loops)
    own = [r for r in problem.ranks(name) if r in parts or r not in loops]
    einsum = problem.einsums[name]
    kept = {p for r in einsum.output_ranks for p in problem.partitions.get(r, (r,))}
    return tuple(parts[r][-1] if r in parts else r for r in sorted(own, key=lambda r: r not in kept))


def tables_of(problem: Problem, unit: ComputeUnit, names: Sequence[str], loops: Loops) -> Iterator[Table]:
    """Yields every assignment of the inner parts that some Einsums have to the sides of a unit; each side longer than 1 takes one.
    Of assignments that spread every part over as many PEs, as equal sides can be exchanged, it is the first."""
    parts = list(dict.fromkeys(p for name in names for p in inner_parts(problem, name, loops) if _long(problem, p, loops)))
    sides = [s for s, n in unit.dimensions.items() if n > 1]
    if not parts or not sides:
        yield ()
        return
    seen = set()
    for owners in product(parts, repeat=len(sides)):
        over: dict[str, list[str]] = {}
        pes: dict[str, int] = {}
        for side, owner in zip(sides, owners, strict=True):
            over.setdefault(owner, []).append(side)
            pes[owner] = pes.get(owner, 1) * int(unit.dimensions[side])
        key = frozenset(pes.items())
        if key in seen:
            continue
        seen.add(key)
        yield tuple(sorted((part, "*".join(own)) for part, own in over.items()))


def _long(problem: Problem, part: str, loops: Loops) -> bool:
    return problem.extents.get(part, 2) > 1


def restricted(table: Table, parts: Sequence[str]) -> Table:
    """Returns what of a table is about some parts."""
    return tuple((p, sides) for p, sides in table if p in parts)


def at_depth(problem: Problem, loops: Loops, depth: int) -> str | None:
    """Returns the loop inside which a tile lives that is inside so many of the shared loops; with none, one instance's."""
    if depth:
        return loop_names(problem, loops)[depth - 1]
    return problem.instances[-1] if problem.instances else None


def group_design(problem: Problem, made: Structure, sizes: Mapping[str, int] | None = None, ident: str = ID) -> Design:
    """Returns the design of a group: one stage of one nest. Without ``sizes`` its tiles are of size 1 until a shape gives them."""
    loops = made.loops
    parts = cut(problem, loops)
    inner = {name: inner_parts(problem, name, loops) for name in made.names}
    spread = {name: dict(restricted(made.tables.get(made.placed[name].unit, ()), inner[name])) for name in made.names}
    kept: dict[str, list[Kept]] = {}
    for tensor, places in made.kept.items():
        for memory, depth in places:
            kept.setdefault(memory, []).append(Kept(tensor, at_depth(problem, loops, depth)))
    nest = Nest(made.names, (*problem.instances, *loop_names(problem, loops)), inner, {n: tuple(s) for n, s in spread.items()})
    binding = Binding({n: p.unit for n, p in made.placed.items()}, spread, {m: tuple(k) for m, k in kept.items()}, made.forward,
                      elsewhere={n: p.elsewhere for n, p in made.placed.items() if p.elsewhere})
    given = {p: Size((sizes or {}).get(p, 1)) for own in parts.values() for p in own[1:]}
    given |= {leaf: Size(problem.extents[leaf]) for leaf in cascade_tiles(problem)}
    mapping = CascadeMapping((nest,), {**problem.partitions, **parts}, problem.instances)
    return Design(ident, "Found by a search", "found by a search; no published design", problem.cascade.name, (problem.machine.id,),
                  mapping, given, (binding,), (Stage(made.names[0], (0,), Schedule(pipelined=overlapping(problem, made.names))),))


def cascade_tiles(problem: Problem) -> tuple[str, ...]:
    """Returns the inner parts of the ranks that the cascade cuts: they are as long in every stage."""
    from einsum_cascades.structure import structure
    composites = structure(problem.cascade).composites
    return tuple(dict.fromkeys(p for own in composites.values() for p in own[1:] if p not in composites))


def overlapping(problem: Problem, names: Sequence[str]) -> bool:
    """Returns whether Einsums depend on each other, so that their overlap has to be derived; else all units overlap freely."""
    return any(d.producer in names and d.consumer in names for d in dependences(problem.cascade))
