"""Which Einsum needs which, how many generations back, and an order in which a cascade can be evaluated.

Definitions must be acyclic within a generation. A cycle is broken by a rank of an iterative tensor where every
read on it stays in its generation or goes back; what remains then must be acyclic, or be broken by another rank
(an iteration inside an iteration).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from einsum_cascades.errors import NotationError
from einsum_cascades.indices import Offset, offset
from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr, Span

_SHOWN = 8
"""Tensors of a cycle that a message names."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Einsums that are evaluated together, coordinate by coordinate of ``rank``; ``step`` -1 runs backwards."""

    rank: str
    step: int
    body: tuple[Einsum | Loop, ...]


@dataclass(frozen=True, slots=True)
class _Edge:
    """Node ``reader`` needs node ``producer``: it reads ``access`` of what the producer writes as ``out``."""

    producer: int
    reader: int
    out: Access
    access: Access


class _CycleError(Exception):
    """A cycle among ``edges`` that no iteration breaks; ``through`` are the edges that no rank can break."""

    def __init__(self, edges: Sequence[_Edge], through: Sequence[_Edge] = ()) -> None:
        super().__init__()
        self.edges, self.through = tuple(edges), tuple(through) or tuple(edges)


def schedule(cascade: Cascade, iterative: Mapping[str, tuple[str, int]]) -> tuple[Einsum | Loop, ...]:
    """Returns the Einsums and seeds in an order of evaluation, recurrences as loops.

    ``iterative`` gives the rank and step of each iterative tensor. Text order is kept where it can be.

    Raises: NotationError naming the tensors of a cycle that no iteration breaks.
    """
    nodes = (*cascade.inits, *cascade.einsums)
    try:
        return _ordered(nodes, tuple(range(len(nodes))), _edges(cascade, nodes), iterative)
    except _CycleError as cycle:
        raise _cycle_message(cascade, cycle) from None


def lag(out: Access, reader: Einsum, access: Access, rank: str, step: int) -> int | None:
    """Returns how many generations of ``rank`` back a read goes (0: the same), or None where it has no such distance.

    ``out`` is the left side that wrote the tensor. A distance by an extent counts 1, which is the least it can be.
    """
    for dimension, left in enumerate(out.indices):
        place = offset(left)
        if place is None or place.rank != rank or place.extents:
            continue
        if rank not in reader.output_ranks or dimension >= len(access.indices):
            return None
        back = _distance(offset(access.indices[dimension]), reader, rank, step)
        return None if back is None else step * place.constant + back
    return None


def _distance(read: Offset | None, reader: Einsum, rank: str, step: int) -> int | None:
    if read is None:
        return None
    if read.rank == rank:
        signs = {coefficient * step > 0 for _, coefficient in read.extents}
        if True in signs:
            return None
        return -step * read.constant + (1 if signs else 0)
    if read.extents:
        return None
    bound = _bound(reader.where, read.rank, rank, step)
    return None if bound is None else -step * (read.constant + bound)


def _bound(where: Expr | None, rank: str, by: str, step: int) -> int | None:
    """The c of a predicate ``rank <= by + c`` (``>=`` for a reverse iteration), or None."""
    match where:
        case Call(op="and", args=(left, right)):
            found = [b for b in (_bound(left, rank, by, step), _bound(right, rank, by, step)) if b is not None]
            return (min(found) if step > 0 else max(found)) if found else None
        case Call(op="lt" | "le" | "gt" | "ge" as op, args=(left, right)):
            if op in ("gt", "ge"):
                left, right, op = right, left, "lt" if op == "gt" else "le"
            if step < 0:
                left, right = right, left
            small, large = offset(left), offset(right)
            if small is None or large is None or small.extents or large.extents:
                return None
            if small.rank == rank and large.rank == by:
                return large.constant - small.constant - (step if op == "lt" else 0)
    return None


def _edges(cascade: Cascade, nodes: Sequence[Einsum]) -> tuple[_Edge, ...]:
    first = len(cascade.inits)
    written = {out.tensor: (first + i, out) for i, e in enumerate(cascade.einsums) for out in e.outputs}
    edges = []
    for reader, einsum in enumerate(nodes):
        for access in einsum.reads:
            if access.tensor in written:
                producer, out = written[access.tensor]
                edges.append(_Edge(producer, reader, out, access))
    for number, seed in enumerate(cascade.inits):
        for out in seed.outputs:
            if out.tensor in written:
                reader, left = written[out.tensor]
                edges.append(_Edge(number, reader, out, left))
    return tuple(edges)


def _ordered(nodes: Sequence[Einsum], members: Sequence[int], edges: Sequence[_Edge],
             iterative: Mapping[str, tuple[str, int]]) -> tuple[Einsum | Loop, ...]:
    steps: list[Einsum | Loop] = []
    component = _components(members, edges)
    inside: dict[int, list[_Edge]] = {}
    for edge in edges:
        if component[edge.producer] == component[edge.reader]:
            inside.setdefault(component[edge.producer], []).append(edge)
    for group in _topological(members, edges, component):
        own = inside.get(component[group[0]])
        steps.append(nodes[group[0]] if own is None else _loop(nodes, group, own, iterative))
    return tuple(steps)


def _loop(nodes: Sequence[Einsum], group: Sequence[int], edges: Sequence[_Edge],
          iterative: Mapping[str, tuple[str, int]]) -> Loop:
    found: _CycleError | None = None
    choices = dict.fromkeys(iterative[out.tensor] for n in group for out in nodes[n].outputs if out.tensor in iterative)
    for rank, step in choices:
        lags = [lag(e.out, nodes[e.reader], e.access, rank, step) for e in edges]
        bad = [e for e, back in zip(edges, lags, strict=True) if back is None or back < 0]
        if bad or not any(lags):
            found = found or _CycleError(edges, bad)
            continue
        same = [e for e, back in zip(edges, lags, strict=True) if back == 0]
        try:
            return Loop(rank, step, _ordered(nodes, group, same, iterative))
        except _CycleError as cycle:
            found = found or cycle
    raise found or _CycleError(edges)


def _components(members: Sequence[int], edges: Sequence[_Edge]) -> dict[int, int]:
    """The strongly connected component of each node, by Tarjan's algorithm without recursion."""
    following: dict[int, list[int]] = {m: [] for m in members}
    for edge in edges:
        following[edge.producer].append(edge.reader)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    done: dict[int, int] = {}
    for root in members:
        if root in index:
            continue
        work = [(root, iter(following[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, rest = work[-1]
            for after in rest:
                if after not in index:
                    index[after] = low[after] = len(index)
                    stack.append(after)
                    work.append((after, iter(following[after])))
                    break
                if after not in done:
                    low[node] = min(low[node], index[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    while True:
                        member = stack.pop()
                        done[member] = node
                        if member == node:
                            break
    return done


def _topological(members: Sequence[int], edges: Sequence[_Edge], component: Mapping[int, int]) -> list[list[int]]:
    """The components in an order that respects the edges, the earliest in the text first."""
    groups: dict[int, list[int]] = {}
    for member in sorted(members):
        groups.setdefault(component[member], []).append(member)
    needs: dict[int, set[int]] = {c: set() for c in groups}
    followers: dict[int, set[int]] = {c: set() for c in groups}
    for edge in edges:
        before, after = component[edge.producer], component[edge.reader]
        if before != after:
            needs[after].add(before)
            followers[before].add(after)
    ready = [(group[0], c) for c, group in groups.items() if not needs[c]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, current = heapq.heappop(ready)
        order.append(groups[current])
        for after in followers[current]:
            needs[after].discard(current)
            if not needs[after]:
                heapq.heappush(ready, (groups[after][0], after))
    return order


def _cycle_message(cascade: Cascade, cycle: _CycleError) -> NotationError:
    path = _shortest_cycle(cycle.edges, cycle.through)
    tensors = [e.access.tensor for e in path]
    names = " -> ".join((*(tensors if len(path) <= _SHOWN else (*tensors[:_SHOWN], "...")), tensors[0]))
    span: Span | None = path[0].access.span
    listed = ", ".join(map(repr, tensors[:_SHOWN])) + (f" and {len(path) - _SHOWN} more" if len(path) > _SHOWN else "")
    what = (f"tensor {tensors[0]!r}: it is defined by itself" if len(path) == 1
            else f"tensors {listed}: their definitions form a cycle")
    return NotationError(f"{what}, got {names}; break it with an iterative rank (R[i+1,...] = ... R[i,...] ... and "
                         f"'init R[0,...] = ...') or rename one of the tensors", source=cascade.name,
                         line=span.line if span else None, column=span.column if span else None)


def _shortest_cycle(edges: Sequence[_Edge], through: Sequence[_Edge]) -> list[_Edge]:
    """The shortest cycle through one of the given edges; any of the edges where there is none."""
    following: dict[int, list[_Edge]] = {}
    for edge in edges:
        following.setdefault(edge.producer, []).append(edge)
    best: list[_Edge] = []
    # Long cycles are all alike: a few starting points are enough for a message.
    for first in through[:50]:
        paths: dict[int, list[_Edge]] = {first.reader: [first]}
        queue = deque([first.reader])
        while queue and first.producer not in paths:
            node = queue.popleft()
            for edge in following.get(node, ()):
                if edge.reader not in paths:
                    paths[edge.reader] = [*paths[node], edge]
                    queue.append(edge.reader)
        found = paths.get(first.producer, [])
        if found and (not best or len(found) < len(best)):
            best = found
    start = min(range(len(best)), key=lambda i: best[i].producer, default=0)
    return [*best[start:], *best[:start]] or list(edges[:1])
