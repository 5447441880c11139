"""What the nodes of a cascade need of each other along a rank: bounds of their distance, over every way.

A node that iterates a rank at coordinate x needs points of earlier nodes at coordinates y, directly or through
tensors without the rank (free state). The bounds of y - x are found by abstract interpretation: states (see
``distances``) are carried over every way from a node to those that it needs; ways are told apart, up to a number, and
what keeps growing around a recurrence is unbounded. All steps are sound, so that no forced sweep is missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from einsum_cascades.analysis.distances import (
    Bounds,
    Carrier,
    Center,
    Constraint,
    compiled,
    frozen,
    joined,
    of_index,
    of_predicate,
    widened,
    within,
)
from einsum_cascades.analysis.graph import Node, Read
from einsum_cascades.analysis.linear import FAR, UNBOUNDED, Anchor, Linear, anchor, linear, most, plus, span
from einsum_cascades.analysis.relations import Order, Relation
from einsum_cascades.ir import Call, Coord, Expr, Extent, accesses

_STATES = 6
"""States of one node that are told apart; further ones are joined, and a bound that then grows is unbounded."""


class Graph:
    """The nodes of a cascade and who writes what; made once, asked for every rank."""

    def __init__(self, nodes: Sequence[Node], composites: Mapping[str, tuple[str, ...]]) -> None:
        self.nodes = nodes
        self.composites = composites
        self.writers: dict[str, list[tuple[int, tuple[Linear | None, ...]]]] = {}
        for node in nodes:
            for tensor, forms in node.outputs:
                self.writers.setdefault(tensor, []).append((node.number, forms))
        self.iterative = {t for t, who in self.writers.items()
                          if any(nodes[n].seed for n, _ in who) or len(who) > 1}
        self.anchors = frozenset(self._anchors())
        self._members: dict[str, tuple[int, ...]] = {}

    def _anchors(self) -> set[Anchor]:
        found: set[Anchor] = set()
        for node in self.nodes:
            for form in node.bounds:
                if len(form.coordinates) == 1:
                    sign = -form.coordinates[0][1]
                    found.add(anchor(Linear(symbols=tuple((s, sign * c) for s, c in form.symbols))))
            for read in node.reads:
                found |= {anchor(f) for f in read.forms if f is not None and not f.coordinates}
            if node.seed or node.generation:
                found |= {anchor(f) for _, forms in node.outputs for f in forms if f is not None and not f.coordinates}
        return found

    def leaves(self, rank: str) -> tuple[str, ...]:
        """Returns the parts of a rank, outer first, down to those that are no composites; itself for a plain one."""
        if rank not in self.composites:
            return (rank,)
        return tuple(leaf for part in self.composites[rank] for leaf in self.leaves(part))

    def own_ranks(self, rank: str) -> frozenset[str]:
        """Returns the ranks whose extents grow with a fiber of this rank."""
        grown = {rank}
        for name, parts in self.composites.items():
            if rank == name:
                grown.add(self.leaves(name)[0])
            if rank in parts:
                grown |= {name}
        return frozenset(grown)

    def members(self, rank: str) -> tuple[int, ...]:
        """Returns the nodes that iterate a rank, or traverse it by a gather."""
        if rank not in self._members:
            self._members[rank] = tuple(n.number for n in self.nodes if rank in n.ranks or rank in n.virtual)
        return self._members[rank]

    def relations(self, rank: str) -> tuple[Relation, ...]:
        """Returns, for a rank, every pair of nodes that iterate it and need each other without another in between."""
        return _Search(self, rank).relations()


class _Search:
    """The search for all that the nodes need of each other along one rank."""

    def __init__(self, graph: Graph, rank: str) -> None:
        self.graph, self.rank = graph, rank
        self.own = graph.own_ranks(rank)
        self.leaves = graph.leaves(rank)
        self.positions = tuple(dict.fromkeys((rank, *self.leaves)))
        self.members = frozenset(graph.members(rank))
        self.constraints: dict[tuple[int, str], list[Constraint]] = {}
        self.carriers: dict[tuple[int, int, int], Carrier | None] = {}
        self.known: dict[tuple[int, object], list[tuple[Read, int, Bounds]]] = {}
        self.far: dict[int, list[tuple[int, Bounds, tuple[str, ...]]]] = {}

    def relations(self) -> tuple[Relation, ...]:
        found: list[Relation] = []
        for number in sorted(self.members):
            found += self.of(self.graph.nodes[number])
        return tuple(found)

    def of(self, origin: Node) -> list[Relation]:
        """All that one node needs."""
        start: Bounds = {} if self.rank in origin.virtual else {
            q: {("origin", q): (0, 0)} for q in (*self.positions, *self.bounding(origin)) if q in origin.ranks}
        fixed = compiled(self.own_constraints(origin, "n")).carry(start, "n")
        if fixed is None:
            return []  # no point of it is present
        found: dict[int, Relation] = {}
        states: dict[int, list[Bounds]] = {}
        blind: set[int] = set()
        queue: deque[tuple[int, Bounds, Read, tuple[str, ...]]] = deque()

        def arrive(state: Bounds, read: Read, path: tuple[str, ...], target: int) -> None:
            if target in self.members:
                made = self.relation(origin, fixed, target, state, read, path)
                found[target] = found[target].joined(made) if target in found else made
                return
            if not any(center[0] == "origin" for centers in state.values() for center in centers):
                # Nothing is known of where it stands: what it needs is the same for all that come here so.
                if target not in blind:
                    blind.add(target)
                    for member, after, way in self.beyond(target):
                        arrive(after, read, (*path, *way), member)
                return
            known = states.setdefault(target, [])
            if any(within(state, old) for old in known):
                return
            if len(known) < _STATES:
                known.append(state)
            else:
                # Too many ways: what they have in common, and nothing that still grows.
                state = widened(known[-1], joined(known[-1], state))
                known[-1] = state
            queue.append((target, state, read, path))

        for number, read in enumerate(origin.reads):
            before = {} if self.rank in read.steers else start
            for target, _ in self.graph.writers.get(read.tensor, ()):
                state = self.step(origin, number, before, target, True)
                if state is not None:
                    arrive(state, read, (read.tensor,), target)
        while queue:
            node, state, first, path = queue.popleft()
            for read, target, after in self.onward(node, state):
                arrive(after, first, path if read.tensor in path else (*path, read.tensor), target)
        return list(found.values())

    def bounding(self, node: Node) -> list[str]:
        """The other coordinates that a node's predicates tie to its own along the rank. In a fiber they stand still."""
        tied = [{r for r, _ in form.coordinates} for form in node.bounds]
        others = set().union(*tied) - set(self.positions)
        return sorted(others) if any(t & set(self.positions) and t & others for t in tied) else []

    def beyond(self, node: int) -> list[tuple[int, Bounds, tuple[str, ...]]]:
        """The nodes of the rank that a node needs, with what is known of where they stand and the tensors between."""
        if node not in self.far:
            made: dict[tuple[int, object], tuple[int, Bounds, tuple[str, ...]]] = {}
            ways: dict[int, tuple[str, ...]] = {node: ()}
            queue = deque([node])
            while queue:
                here = queue.popleft()
                for read, target, after in self.onward(here, {}):
                    way = ways[here] if read.tensor in ways[here] else (*ways[here], read.tensor)
                    if target in self.members:
                        made.setdefault((target, frozen(after)), (target, after, way))
                    elif target not in ways:
                        ways[target] = way
                        queue.append(target)
            self.far[node] = list(made.values())
        return self.far[node]

    def onward(self, node: int, state: Bounds) -> list[tuple[Read, int, Bounds]]:
        """The states of the nodes that wrote what a node reads; origins share them."""
        key = node, frozen(state)
        if key not in self.known:
            made = []
            for number, read in enumerate(self.graph.nodes[node].reads):
                for target, _ in self.graph.writers.get(read.tensor, ()):
                    after = self.step(self.graph.nodes[node], number, state, target, False)
                    if after is not None:
                        made.append((read, target, after))
            self.known[key] = made
        return self.known[key]

    def step(self, node: Node, read: int, state: Bounds, target: int, first: bool) -> Bounds | None:
        """The state of the node that wrote what is read, or None where no value of it is read."""
        key = node.number, read, target
        if key not in self.carriers:
            self.carriers[key] = self.carrier(node, node.reads[read], target)
        carrier = self.carriers[key]
        if carrier is None:
            return None
        if first and self.rank in node.virtual:
            state = {**state, "@": {("origin", self.rank): (0, 0)}}
        after = carrier.carry(state, "d")
        return None if after is None else self.completed(after)

    def carrier(self, node: Node, read: Read, target: int) -> Carrier | None:
        graph = self.graph
        constraints = [] if read.earlier_slot else [
            c for c in self.own_constraints(node, "n") if node.number not in self.members or not self.is_fixed(c)]
        if read.tensor not in graph.iterative:
            constraints += self.own_constraints(graph.nodes[target], "d")
        forms = next(f for n, f in graph.writers[read.tensor] if n == target)
        for d, (left, index) in enumerate(zip(forms, read.access.indices, strict=True)):
            form = read.forms[d]
            if left is None:
                continue
            if read.gathers[d] is not None:
                if read.gathers[d] == self.rank and self.rank in node.virtual and left.coordinates:
                    made: Center = ("d", left.coordinates[0][0])
                    constraints += [Constraint(("n", "@"), made, 0), Constraint(made, ("n", "@"), 0)]
                continue
            if form is not None and not left.coordinates and not form.coordinates:
                between = plus(form, left, -1)
                if most(between, frozenset()) < 0 or most(plus(Linear(), between, -1), frozenset()) < 0:
                    return None
                continue
            constraints += of_index(left, index, form, self.own)
        return compiled(constraints + self.taken_apart(forms, read))

    def is_fixed(self, constraint: Constraint) -> bool:
        """Whether a constraint ties a coordinate along the rank to one that stands still in a fiber."""
        ends = constraint.low, constraint.high
        return all(e[0] != "anchor" for e in ends) and sum(e[1] in self.positions for e in ends) == 1

    def taken_apart(self, forms: Sequence[Linear | None], read: Read) -> list[Constraint]:
        """What ``T[p//P0, p % P0]`` reads of a T that was written at p1 and p0 is at p1*P0 + p0 = p."""
        places = {left: read.access.indices[d] for d, left in enumerate(forms) if left is not None}
        made: list[Constraint] = []
        for name, (*outer, inner) in self.graph.composites.items():
            if len(outer) != 1:
                continue
            match places.get(_bare(outer[0])), places.get(_bare(inner)):
                case (Call(op="floordiv", args=(Coord(rank=whole), Extent() as size)),
                      Call(op="mod", args=(Coord(rank=again), Extent() as divisor))):
                    if whole == again and size.rank == divisor.rank == inner:
                        made += [Constraint(("n", whole), ("d", name), 0), Constraint(("d", name), ("n", whole), 0)]
        return made

    def own_constraints(self, node: Node, side: str) -> list[Constraint]:
        """A node's predicates, and the extents of the coordinates that matter."""
        known = self.constraints.get((node.number, side))
        if known is not None:
            return known
        made: list[Constraint] = []
        for form in node.bounds:
            made += of_predicate(form, side, self.own)
        for rank in self.positions:
            if rank not in node.ranks:
                continue
            if () in self.graph.anchors:
                made.append(Constraint((side, rank), ("anchor", ()), 0))
            end = ((rank, 1),)
            if end in self.graph.anchors:
                made.append(Constraint(("anchor", end), (side, rank), -1))
        self.constraints[node.number, side] = made
        return made

    def completed(self, state: Bounds) -> Bounds:
        """A composite that stays where it is keeps its parts where they are, and the other way round."""
        if len(self.leaves) == 1:
            return state
        center = {q: state.get(q, {}).get(("origin", q)) for q in self.positions}
        if center[self.rank] == (0, 0):
            return {**state, **{q: {**state.get(q, {}), ("origin", q): (0, 0)} for q in self.leaves}}
        if all(center[q] == (0, 0) for q in self.leaves):
            return {**state, self.rank: {**state.get(self.rank, {}), ("origin", self.rank): (0, 0)}}
        return state

    # --- what a way says ---

    def relation(self, origin: Node, fixed: Bounds, target: int, state: Bounds, read: Read,
                 path: tuple[str, ...]) -> Relation:
        ahead, behind = self.bounds(fixed, state, self.rank)
        if len(self.leaves) > 1:
            pairs = [self.bounds(fixed, state, leaf) for leaf in self.leaves]
            ahead = min(ahead, _lexicographic([p[0] for p in pairs]))
            behind = min(behind, _lexicographic([p[1] for p in pairs]))
        bounded = ahead < UNBOUNDED and behind < UNBOUNDED
        firsts: frozenset[Order] | None = None
        if not bounded:
            firsts = frozenset(("first", center[1], high) for center, (high, low) in state.get(self.rank, {}).items()
                               if center[0] == "anchor" and isinstance(center[1], tuple) and high == -low)
        folds = bounded or len(path) == 1 and self.folded(origin, read, target)
        return Relation(origin.number, target, ahead, behind, folds, firsts, read, path)

    def bounds(self, fixed: Bounds, state: Bounds, position: str) -> tuple[int, int]:
        centers = state.get(position, {})
        ahead, behind = centers.get(("origin", position), (UNBOUNDED, UNBOUNDED))
        for center, (up, down) in fixed.get(position, {}).items():
            if center in centers and (center[0] == "anchor" or center[1] not in self.positions):
                # Through a point that stands still in a fiber, only an order counts: a distance is no constant lag,
                # since all elements of the fiber (that are present) would be visited before any is visited again.
                if centers[center][0] + down <= 0:
                    ahead = min(ahead, centers[center][0] + down)
                if centers[center][1] + up <= 0:
                    behind = min(behind, centers[center][1] + up)
        # What is near the start comes before what is near the end: extents are longer than any number in the text.
        start, end = ("anchor", ()), ("anchor", ((position, 1),))
        if _near(centers, start, 0) and _near(fixed.get(position, {}), end, 1):
            ahead = min(ahead, -1)
        if _near(centers, end, 1) and _near(fixed.get(position, {}), start, 0):
            behind = min(behind, -1)
        return ahead, behind

    def folded(self, origin: Node, read: Read, target: int) -> bool:
        """Whether a read finds what was written at R-1-x or (x + c) % R, give or take a constant."""
        if self.rank not in origin.ranks:
            return False
        forms = next(f for n, f in self.graph.writers[read.tensor] if n == target)
        for left, index in zip(forms, read.access.indices, strict=True):
            if left is not None and left.coordinates == ((self.rank, 1),) and not accesses(index):
                return self.is_folded(index)
        return False

    def is_folded(self, index: Expr) -> bool:
        end = Linear(symbols=((self.rank, 1),))
        around = False
        match index:
            case Call(op="mod", args=(inner, Extent() as extent)) if extent.rank == self.rank:
                index, around = inner, True
        form = linear(index)
        step = form.coefficient(self.rank) if form is not None else 0
        if form is None or step not in (1, -1) or step == 1 and not around:
            return False
        rest = plus(form, Linear(((self.rank, 1),)), -step)
        # R-1-x is x around the end: what is left must be constant but for whole extents.
        rest = plus(rest, end, -dict(rest.symbols).get(self.rank, 0) if around else -1)
        low, high = span(rest, None, self.own)
        return low > -UNBOUNDED and high < UNBOUNDED


def _bare(rank: str) -> Linear:
    return Linear(((rank, 1),))


def _near(centers: Mapping[Center, tuple[int, int]], center: Center, side: int) -> bool:
    return center in centers and centers[center][side] < FAR


def _lexicographic(bounds: list[int]) -> int:
    """The bound of a composite's distance from those of its parts, outer first; inner extents are constants."""
    first, *rest = bounds
    if first >= UNBOUNDED:
        return UNBOUNDED
    if first < 0:
        return first
    if first > 0 or not rest:
        return FAR if rest else first
    inner = _lexicographic(rest)
    return inner if inner < UNBOUNDED else FAR
