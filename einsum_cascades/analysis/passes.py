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
Extents are taken to be long: longer than any number in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

from einsum_cascades.analysis.graph import Read, nodes
from einsum_cascades.analysis.needs import Graph
from einsum_cascades.analysis.relations import Order, Relation
from einsum_cascades.analysis.sweeps import CircleError, Plan, plan
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from einsum_cascades.symbols import Formula, formula, interpolated

_SAMPLES = ((), (3, 4), (2, 3), (1, 2))
"""Generations that iterations are counted for where 1, 2, or more of them are unrolled; two numbers make a formula of
degree 1 in each. Few where many multiply."""


@dataclass(frozen=True)
class RankPlan:
    """How the nodes that iterate a rank need each other; of the iterations that are unrolled, for some generations.

    ``visits`` holds the nodes that visit each tensor along the rank.
    """

    rank: str
    graph: Graph
    relations: tuple[Relation, ...]
    plan: Plan
    visits: Mapping[str, frozenset[int]]

    @cached_property
    def _known(self) -> dict[int, tuple[int, tuple[Order, ...]]]:
        return {}

    def sweeps(self, visitors: frozenset[int]) -> tuple[int, tuple[Order, ...]]:
        """Returns the fewest sweeps in which all of some nodes run, and their orders; others run whenever they like."""
        mask = self.plan.mask(visitors)
        if mask not in self._known:
            self._known[mask] = self.plan.fewest(mask)
        return self._known[mask]


@dataclass(frozen=True)
class RankPasses:
    """The passes of one rank.

    ``count`` is the number of passes, ``tensors`` the same for each tensor that is visited along the rank; both are
    formulas in the extents of the ranks that had to be ``unrolled``. ``plan`` has their first few generations.
    """

    rank: str
    count: Formula
    tensors: Mapping[str, Formula]
    unrolled: tuple[str, ...]
    plan: RankPlan


def passes(cascade: Cascade, extents: Mapping[str, int] | None = None) -> dict[str, int | str]:
    """Returns the passes of every rank and every named composite, in order of appearance.

    A count that depends on the extent of an enclosing iteration is a formula such as ``"T + 1"``, or its value where
    ``extents`` gives that extent.
    """
    return {rank: found.count.put(extents or {}).plain() for rank, found in rank_passes(cascade).items()}


@lru_cache(maxsize=256)
def rank_passes(cascade: Cascade) -> Mapping[str, RankPasses]:
    """Returns all about the passes of every rank and every named composite, in order of appearance."""
    found = structure(cascade)
    graphs: dict[tuple[tuple[str, int], ...], Graph] = {}

    def unrolled(generations: tuple[tuple[str, int], ...]) -> Graph:
        if generations not in graphs:
            graphs[generations] = Graph(nodes(cascade, dict(generations)), found.composites)
        return graphs[generations]

    return {rank: _of_rank(rank, unrolled) for rank in dict.fromkeys((*found.ranks, *found.composites))}


def _of_rank(rank: str, unrolled: Callable[[tuple[tuple[str, int], ...]], Graph]) -> RankPasses:
    unroll: tuple[str, ...] = ()
    while True:
        # An iteration that no single sweep runs: count it for a few numbers of generations.
        plans: dict[tuple[int, ...], RankPlan] = {}
        graph = unrolled(())
        try:
            for sizes in product(_SAMPLES[min(len(unroll), 3)], repeat=len(unroll)):
                graph = unrolled(tuple(zip(unroll, sizes, strict=True)))
                plans[sizes] = _planned(rank, graph)
            break
        except CircleError as circle:
            unroll = (*unroll, _loop(graph, circle, rank, unroll))
    first = next(iter(plans.values()))
    names = tuple(r.upper() for r in unroll)
    counts = {tensor: {sizes: p.sweeps(p.visits[tensor])[0] for sizes, p in plans.items()} for tensor in first.visits}
    tensors = {tensor: interpolated(names, values) for tensor, values in counts.items()}
    largest = {sizes: max((values[sizes] for values in counts.values()), default=1) for sizes in plans}
    return RankPasses(rank, interpolated(names, largest) if plans else formula(1), tensors, unroll, first)


def _loop(graph: Graph, circle: CircleError, rank: str, known: tuple[str, ...]) -> str:
    """The iteration to unroll next: the outermost around the circle's nodes that is not unrolled yet."""
    own = set(graph.leaves(rank)) | {rank}
    for depth in range(max(len(graph.nodes[n].loops) for n in circle.nodes)):
        for n in sorted(circle.nodes):
            loops = graph.nodes[n].loops
            if depth < len(loops) and loops[depth] not in own and loops[depth] not in known:
                return loops[depth]
    raise AssertionError("definitions are acyclic within a generation, so an iteration closes every circle")


def _planned(rank: str, graph: Graph) -> RankPlan:
    relations = graph.relations(rank)
    return RankPlan(rank, graph, relations, plan(graph.members(rank), relations), visitors(rank, graph))


def visitors(rank: str, graph: Graph) -> dict[str, frozenset[int]]:
    """Returns the nodes that visit each tensor along a rank, directly or through tensors that derive from it."""
    leaves = frozenset(graph.leaves(rank))
    readers: dict[str, set[int]] = {}
    derived: dict[str, set[str]] = {}
    for number in graph.members(rank):
        node = graph.nodes[number]
        for read in node.reads:
            how = along(read, rank, leaves)
            if how is None:
                continue
            readers.setdefault(read.tensor, set()).add(number)
            if how and rank in node.kept:
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


def along(read: Read, rank: str, leaves: frozenset[str]) -> bool | None:
    """Returns whether a read goes along a rank coordinate by coordinate (True), by a gather (False), or not (None)."""
    mentioned = frozenset(r for d, kept in enumerate(read.kept) for r in kept if read.gathers[d] is None)
    if rank in mentioned or mentioned >= leaves:
        return True
    return False if rank in read.gathers else None


def stages(found: RankPasses) -> tuple[str, dict[int, int], tuple[Order, ...]]:
    """Returns a tensor that needs most sweeps (of these, the one with the fewest visitors), the sweep of each node in a
    schedule that reaches them, and their orders."""
    plans = found.plan
    if not plans.visits:
        return "", {}, ()
    tensor = max(plans.visits, key=lambda t: (plans.sweeps(plans.visits[t])[0], -len(plans.visits[t])))
    visits = plans.visits[tensor]
    orders = plans.sweeps(visits)[1]
    stage = plans.plan.stages(orders, plans.plan.mask(visits))
    return tensor, {node: stage[group] for node, group in plans.plan.group.items()}, orders

