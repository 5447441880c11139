"""Passes: for each rank, the fewest sweeps in which the cascade can visit the fibers of each tensor.

The definition (docs/notation.md, after FuseMax, arXiv 2406.10491, section III: "a pass is a traversal of every
element of a particular fiber of a particular rank and tensor", made exact for prefixes, filters, opposite scans and
lost ranks):

* A *sweep* of rank r visits its coordinates once, in one order. An Einsum that iterates r runs wholly in one
  sweep, each point at its coordinate, give or take a constant lag.
* Values without r are free state. Values with r are visited again, stored or recomputed.
* An Einsum *visits* X along r if it reads, along r, X or a tensor that keeps r and derives from X coordinate by
  coordinate. A recurrence over r derives from what it reads at its own coordinate.
* passes(r, X) is the fewest sweeps that visit X in any legal schedule, passes(r) the largest over X, at least 1.

A composite rank counts only Einsums that iterate all its parts. Where an iteration over another rank makes one
sweep impossible (Sinkhorn), it is unrolled for a few numbers of generations and the count is their formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from einsum_cascades.analysis.graph import Node, Read, nodes
from einsum_cascades.analysis.relations import Graph, Relation
from einsum_cascades.analysis.sweeps import CircleError, Plan, plan
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from einsum_cascades.symbols import Formula, interpolated

_SAMPLES = (3, 4)
"""Generations that an unrolled iteration is counted for; two of them make a formula of degree 1."""


@dataclass(frozen=True)
class RankPasses:
    """The passes of one rank.

    ``count`` is the number of passes, or a formula in the extents of the ranks that were unrolled; ``tensors`` the
    same for each tensor that is visited along the rank. ``schedule`` is one that reaches ``count`` (for unrolled
    iterations, of their first generations): the sweep of each Einsum that iterates the rank. ``forced`` are the
    relations that no sweep can hold both ends of.
    """

    rank: str
    count: int | Formula
    tensors: Mapping[str, int | Formula]
    schedule: Mapping[str, int]
    directions: tuple[int, ...]
    forced: tuple[Relation, ...]
    graph: Graph


def passes(cascade: Cascade, extents: Mapping[str, int] | None = None) -> dict[str, int | str]:
    """Returns the passes of every rank and every named composite, in order of appearance.

    A count that depends on the extent of an enclosing iteration is a formula such as ``"T + 1"``, or its value where
    ``extents`` gives that extent.
    """
    counted: dict[str, int | str] = {}
    for rank, found in rank_passes(cascade).items():
        value = found.count
        if isinstance(value, Formula) and extents is not None and value.symbols() <= {r.upper() for r in extents}:
            value = int(value.value({r.upper(): n for r, n in extents.items()}))
        counted[rank] = value if isinstance(value, int) else str(value)
    return counted


@lru_cache(maxsize=256)
def rank_passes(cascade: Cascade) -> Mapping[str, RankPasses]:
    """Returns all about the passes of every rank and every named composite, in order of appearance."""
    found = structure(cascade)
    graph = Graph(nodes(cascade), found.composites)
    return {rank: _of_rank(cascade, rank, graph) for rank in dict.fromkeys((*found.ranks, *found.composites))}


def _of_rank(cascade: Cascade, rank: str, graph: Graph) -> RankPasses:
    try:
        return _counted(rank, graph)
    except CircleError as circle:
        unroll = _loops(graph, circle, rank, ())
    while True:
        # An iteration that no single sweep runs: count it for a few numbers of generations.
        try:
            results = {}
            for sizes in product(_SAMPLES, repeat=len(unroll)):
                unrolled = Graph(nodes(cascade, dict(zip(unroll, sizes, strict=True))), graph.composites)
                results[sizes] = _counted(rank, unrolled)
            break
        except CircleError as circle:
            unroll = (*unroll, *_loops(unrolled, circle, rank, unroll))
    first = results[(_SAMPLES[0],) * len(unroll)]
    names = tuple(r.upper() for r in unroll)

    def formula(of: Mapping[tuple[int, ...], int]) -> int | Formula:
        made = interpolated(names, of)
        return int(made.value({})) if not made.symbols() else made

    tensors = {t: formula({s: int(str(r.tensors[t])) for s, r in results.items()}) for t in first.tensors}
    return RankPasses(rank, formula({s: int(str(r.count)) for s, r in results.items()}), tensors, first.schedule,
                      first.directions, first.forced, first.graph)


def _loops(graph: Graph, circle: CircleError, rank: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The iterations to unroll next: the outermost around the circle's nodes that is not unrolled yet."""
    own = set(graph.leaves(rank)) | {rank}
    for depth in range(max(len(graph.nodes[n].loops) for n in circle.nodes)):
        for n in sorted(circle.nodes):
            loops = graph.nodes[n].loops
            if depth < len(loops) and loops[depth] not in own and loops[depth] not in known:
                return (loops[depth],)
    raise AssertionError("definitions are acyclic within a generation, so an iteration closes every circle")


def _counted(rank: str, graph: Graph) -> RankPasses:
    members = graph.members(rank)
    relations = graph.relations(rank)
    made = plan(members, relations)
    visits = visitors(rank, graph)
    masks = {tensor: made.mask(who) for tensor, who in visits.items()}
    known: dict[int, tuple[int, tuple[int, ...]]] = {}
    for mask in set(masks.values()):
        known[mask] = made.fewest(mask)
    tensors = {tensor: known[mask][0] for tensor, mask in masks.items()}
    count = max(tensors.values(), default=1)
    # The schedule shown is one of a tensor that needs most, of those with the most visitors.
    worst = max((m for t, m in masks.items() if tensors[t] == count), key=lambda m: m.bit_count(), default=0)
    directions = known[worst][1] if worst in known else ()
    stage = made.stages(directions, worst)
    schedule = {graph.nodes[m].name: stage[made.group[m]] for m in members}
    return RankPasses(rank, count, tensors, schedule, directions, _forced(relations, made), graph)


def _forced(relations: tuple[Relation, ...], made: Plan) -> tuple[Relation, ...]:
    """The relations that keep their ends in different sweeps."""
    return tuple(r for r in relations if r.forced or made.group[r.consumer] != made.group[r.producer] and not (
        r.forward and 1 in made.runs[made.group[r.consumer]] & made.runs[made.group[r.producer]]
        or r.backward and -1 in made.runs[made.group[r.consumer]] & made.runs[made.group[r.producer]]))


def visitors(rank: str, graph: Graph) -> dict[str, frozenset[int]]:
    """Returns the nodes that visit each tensor along a rank, directly or through tensors that derive from it."""
    leaves = frozenset(graph.leaves(rank))
    readers: dict[str, set[int]] = {}
    derived: dict[str, set[str]] = {}
    for number in graph.members(rank):
        node = graph.nodes[number]
        for read in node.reads:
            how = _along(read, node, rank, leaves)
            if how is None:
                continue
            readers.setdefault(read.tensor, set()).add(number)
            if how and (rank in node.kept):
                derived.setdefault(read.tensor, set()).update(out for out, _ in node.outputs)
    result = {}
    for tensor in readers:
        reached = {tensor}
        stack = [tensor]
        while stack:
            for after in derived.get(stack.pop(), ()):
                if after not in reached:
                    reached.add(after)
                    stack.append(after)
        result[tensor] = frozenset(n for t in reached for n in readers.get(t, ()))
    return result


def _along(read: Read, node: Node, rank: str, leaves: frozenset[str]) -> bool | None:
    """Whether a read goes along a rank coordinate by coordinate (True), by a gather (False), or not at all (None)."""
    mentioned = frozenset(r for d, kept in enumerate(read.kept) for r in kept if read.gathers[d] is None)
    if rank in mentioned or mentioned >= leaves:
        return True
    return False if rank in read.gathers else None
