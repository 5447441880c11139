"""How far apart, along a rank, two Einsums are that need each other: bounds of their distance, through all paths.

For a rank r, an Einsum that iterates r at coordinate x needs points of earlier Einsums at coordinates y, directly
or through tensors without r (free state). What decides whether both may share a sweep are bounds of ``y - x``: at
most a constant allows a forward sweep, at least a constant a backward one, none of both a separate sweep.

The bounds are found by abstract interpretation: a state holds, for every coordinate of a node, bounds of its
distance to the origin's coordinate and to fixed points (0, an extent, a scalar tensor); states are joined over
paths, and what keeps growing around a recurrence is unbounded. All steps are sound, so that no forced sweep is
missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from einsum_cascades.analysis.graph import Node, Read
from einsum_cascades.analysis.linear import FAR, UNBOUNDED, Anchor, Linear, anchor, most, plus, span

Center = tuple[str, object]
Bounds = dict[str, dict[Center, tuple[int, int]]]
"""For a coordinate v and a center c: upper bounds of v - c and of c - v."""

_STATES = 6
"""States of one node that are told apart; further ones are joined, and a bound that then grows is unbounded."""


@dataclass(frozen=True, slots=True)
class Relation:
    """``consumer`` needs ``producer``: upper bounds of y - x and of x - y (x the consumer's coordinate).

    ``read`` is the access through which it does, ``path`` the tensors on the way.
    """

    consumer: int
    producer: int
    ahead: int
    behind: int
    read: Read
    path: tuple[str, ...]

    @property
    def forward(self) -> bool:
        """Whether both may share a forward sweep."""
        return self.ahead < UNBOUNDED

    @property
    def backward(self) -> bool:
        """Whether both may share a backward sweep."""
        return self.behind < UNBOUNDED

    @property
    def forced(self) -> bool:
        """Whether they need two sweeps."""
        return not self.forward and not self.backward


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
        self._own: dict[tuple[int, str], tuple[_Constraint, ...]] = {}
        self._rank = ""

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
        return tuple(n.number for n in self.nodes if rank in n.ranks or rank in n.virtual)

    # --- relations along one rank ---

    def relations(self, rank: str) -> tuple[Relation, ...]:
        """Returns, for a rank, every pair of nodes that iterate it and need each other without another in between."""
        own = self.own_ranks(rank)
        positions = tuple(dict.fromkeys((rank, *self.leaves(rank))))
        members = frozenset(self.members(rank))
        self._own = {}
        found: list[Relation] = []
        for number in members:
            found += _Origin(self, rank, own, positions, members, number).relations()
        return tuple(sorted(found, key=lambda r: (r.consumer, r.producer)))

    def constraints(self, node: Node, side: str, own: frozenset[str]) -> tuple[_Constraint, ...]:
        """Returns a node's predicates and the extents of its coordinates as constraints of differences."""
        known = self._own.get((node.number, side))
        if known is not None:
            return known
        made: list[_Constraint] = []
        for form in node.bounds:
            made += _predicate(form, side, own)
        for rank in sorted(node.ranks):
            if () in self.anchors:
                made.append(_Constraint((side, rank), ("anchor", ()), 0))
            end = ((rank, 1),)
            if end in self.anchors:
                made.append(_Constraint(("anchor", end), (side, rank), -1))
        self._own[node.number, side] = tuple(made)
        return self._own[node.number, side]


@dataclass(frozen=True, slots=True)
class _Constraint:
    """``high - low <= distance``; a variable is (side, rank), and ("anchor", point) is fixed."""

    low: Center
    high: Center
    distance: int


def _predicate(form: Linear, side: str, own: frozenset[str]) -> list[_Constraint]:
    made = []
    if len(form.coordinates) == 1:
        (rank, coefficient), = form.coordinates
        if abs(coefficient) == 1:
            point = anchor(Linear(symbols=tuple((s, -coefficient * c) for s, c in form.symbols)))
            var, fixed = (side, rank), ("anchor", point)
            made.append(_Constraint(fixed, var, -form.constant) if coefficient > 0
                        else _Constraint(var, fixed, -form.constant))
    for high, up in form.coordinates:
        for low, down in form.coordinates:
            if up == 1 and down == -1:
                rest = Linear((*((r, c) for r, c in form.coordinates if r not in (high, low)), ("", 1)),
                              form.symbols, form.constant)
                distance = -span(rest, "", own)[0]
                if distance < UNBOUNDED:
                    made.append(_Constraint((side, low), (side, high), distance))
    return made


class _Origin:
    """All that one node needs along one rank."""

    def __init__(self, graph: Graph, rank: str, own: frozenset[str], positions: tuple[str, ...],
                 members: frozenset[int], number: int) -> None:
        self.graph, self.rank, self.own, self.positions, self.members = graph, rank, own, positions, members
        self.origin = graph.nodes[number]
        self.virtual = rank in self.origin.virtual
        self.found: dict[int, Relation] = {}
        start: Bounds = {} if self.virtual else {
            q: {("origin", q): (0, 0)} for q in positions if q in self.origin.ranks}
        self.fixed = _closed(start, graph.constraints(self.origin, "n", own), ("n",)) if graph.anchors else start

    def relations(self) -> list[Relation]:
        graph = self.graph
        start: Bounds = {q: {c: b for c, b in centers.items() if c[0] == "origin"}
                         for q, centers in self.fixed.items()}
        states: dict[int, list[Bounds]] = {}
        queue: deque[tuple[int, Bounds, Read, tuple[str, ...]]] = deque()

        def arrive(state: Bounds | None, read: Read, path: tuple[str, ...], target: int) -> None:
            if state is None:
                return
            if target in self.members:
                self.record(target, state, read, path)
                return
            known = states.setdefault(target, [])
            if any(_within(state, old) for old in known):
                return
            if len(known) < _STATES:
                known.append(state)
            else:
                # Too many ways: what they have in common, and nothing that still grows.
                state = _widened(known[-1], _joined(known[-1], state))
                known[-1] = state
            queue.append((target, state, read, path))

        for read in self.origin.reads:
            for target, forms in graph.writers.get(read.tensor, ()):
                before = {} if self.rank in read.steers else start
                arrive(self.step(self.origin, before, read, target, forms), read, (read.tensor,), target)
        while queue:
            number, state, first, path = queue.popleft()
            for read in graph.nodes[number].reads:
                for target, forms in graph.writers.get(read.tensor, ()):
                    after = self.step(graph.nodes[number], state, read, target, forms)
                    arrive(after, first, path if read.tensor in path else (*path, read.tensor), target)
        return list(self.found.values())

    def record(self, target: int, state: Bounds, read: Read, path: tuple[str, ...]) -> None:
        """Notes one more way in which the origin needs a node: the bounds hold for all ways."""
        made = self.relation(target, state, read, path)
        known = self.found.get(target)
        if known is not None:
            # The way that is remembered is the one that forces most.
            way = known if known.forced or not made.forced else made
            made = Relation(made.consumer, target, max(known.ahead, made.ahead), max(known.behind, made.behind),
                            way.read, way.path)
        self.found[target] = made

    def step(self, node: Node, state: Bounds, read: Read, target: int,
             forms: tuple[Linear | None, ...]) -> Bounds | None:
        """The state of the node that wrote what is read, or None where no value of it is read."""
        graph, own = self.graph, self.own
        writer = graph.nodes[target]
        constraints: list[_Constraint] = [] if read.earlier_slot else list(graph.constraints(node, "n", own))
        if read.tensor not in graph.iterative:
            constraints += graph.constraints(writer, "d", own)
        gathered: str | None = None
        for d, (left, index) in enumerate(zip(forms, read.forms, strict=True)):
            if left is None:
                continue
            if index is None:
                if read.gathers[d] == self.rank and node is self.origin and self.virtual and left.coordinates:
                    gathered = left.coordinates[0][0]
                continue
            if not left.coordinates and not index.coordinates:
                apart = plus(index, left, -1)
                if not apart.loose and (most(apart, frozenset()) < 0 or most(plus(Linear(), apart, -1), frozenset()) < 0):
                    return None
                continue
            constraints += _link(left, index, own)
        if gathered is not None:
            state = {**state, "@": {("origin", self.rank): (0, 0)}}
            constraints += [_Constraint(("n", "@"), ("d", gathered), 0), _Constraint(("d", gathered), ("n", "@"), 0)]
        closed = _closed(state, constraints, ("n", "d"))
        for centers in closed.values():
            for up, down in centers.values():
                if up + down < 0:
                    return None
        return {name[1:]: centers for name, centers in closed.items() if name.startswith("d")}

    def relation(self, target: int, state: Bounds, read: Read, path: tuple[str, ...]) -> Relation:
        ahead, behind = self._bounds(state, self.rank)
        leaves = self.graph.leaves(self.rank)
        if len(leaves) > 1:
            pairs = [self._bounds(state, leaf) for leaf in leaves]
            ahead = min(ahead, _lexicographic([p[0] for p in pairs]))
            behind = min(behind, _lexicographic([p[1] for p in pairs]))
        return Relation(self.origin.number, target, ahead, behind, read, path)

    def _bounds(self, state: Bounds, position: str) -> tuple[int, int]:
        centers = state.get(position, {})
        ahead, behind = centers.get(("origin", position), (UNBOUNDED, UNBOUNDED))
        for center, (up, down) in self.fixed.get(position, {}).items():
            if center[0] == "anchor" and center in centers:
                # Through a fixed point, only an order counts: a distance there is no lag that stays constant.
                if centers[center][0] + down <= 0:
                    ahead = min(ahead, centers[center][0] + down)
                if centers[center][1] + up <= 0:
                    behind = min(behind, centers[center][1] + up)
        return ahead, behind


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


def _link(left: Linear, index: Linear, own: frozenset[str]) -> list[_Constraint]:
    """What the equality of an index on the left with one on the right says."""
    made: list[_Constraint] = []
    if left.coordinates:
        (rank, coefficient), = left.coordinates[:1]
        if len(left.coordinates) != 1 or coefficient != 1 or left.symbols:
            return made
        var = ("d", rank)
        if not index.coordinates:
            fixed, distance = ("anchor", anchor(index)), index.constant - left.constant
            return [_Constraint(fixed, var, distance), _Constraint(var, fixed, -distance)]
        for name, factor in index.coordinates:
            if factor == 1:
                low, high = span(index, name, own)
                if high < UNBOUNDED:
                    made.append(_Constraint(("n", name), var, high - left.constant))
                if low > -UNBOUNDED:
                    made.append(_Constraint(var, ("n", name), left.constant - low))
        return made
    if len(index.coordinates) == 1 and index.coordinates[0][1] == 1 and not index.loose:
        apart = plus(left, Linear(symbols=index.symbols, constant=index.constant), -1)
        var, fixed = ("n", index.coordinates[0][0]), ("anchor", anchor(apart))
        made = [_Constraint(fixed, var, apart.constant), _Constraint(var, fixed, -apart.constant)]
    return made


def _closed(state: Bounds, constraints: Sequence[_Constraint], sides: tuple[str, ...]) -> Bounds:
    """The state of all variables that the constraints reach; names are prefixed by their side where there are two."""
    prefixed = len(sides) > 1
    moving = [c for c in constraints if c.low[0] != "anchor" and c.high[0] != "anchor"]
    up: dict[Center, dict[Center, int]] = {}
    down: dict[Center, dict[Center, int]] = {}
    for name, centers in state.items():
        for center, (high, low) in centers.items():
            if high < UNBOUNDED:
                up.setdefault(center, {})["n", name] = high
            if low < UNBOUNDED:
                down.setdefault(center, {})["n", name] = low
    for c in constraints:
        if c.low[0] == "anchor" and c.high[0] != "anchor":
            table = up.setdefault(c.low, {})
            table[c.high] = min(table.get(c.high, UNBOUNDED), c.distance)
        elif c.high[0] == "anchor" and c.low[0] != "anchor":
            table = down.setdefault(c.high, {})
            table[c.low] = min(table.get(c.low, UNBOUNDED), c.distance)
    for table in up.values():
        _relax(table, [(c.low, c.high, c.distance) for c in moving])
    for table in down.values():
        _relax(table, [(c.high, c.low, c.distance) for c in moving])
    result: Bounds = {}
    for center in {**up, **down}:
        above, below = up.get(center, {}), down.get(center, {})
        for var in {**above, **below}:
            name = f"{var[0]}{var[1]}" if prefixed else str(var[1])
            result.setdefault(name, {})[center] = (above.get(var, UNBOUNDED), below.get(var, UNBOUNDED))
    return result


def _relax(table: dict[Center, int], edges: list[tuple[Center, Center, int]]) -> None:
    for _ in range(len(edges) + 1):
        changed = False
        for start, end, distance in edges:
            if start in table and table[start] + distance < table.get(end, UNBOUNDED):
                table[end] = table[start] + distance
                changed = True
        if not changed:
            return


def _within(state: Bounds, other: Bounds) -> bool:
    """Whether every bound of the other holds in the state too."""
    return all(name in state and center in state[name] and state[name][center][0] <= bounds[0]
               and state[name][center][1] <= bounds[1]
               for name, centers in other.items() for center, bounds in centers.items())


def _joined(a: Bounds, b: Bounds) -> Bounds:
    """The bounds that hold in both states."""
    return {name: {center: (max(here[0], b[name][center][0]), max(here[1], b[name][center][1]))
                   for center, here in centers.items() if center in b[name]}
            for name, centers in a.items() if name in b}


def _widened(old: Bounds, new: Bounds) -> Bounds:
    """The new state with every bound that grew unbounded."""
    return {name: {center: (UNBOUNDED if here[0] > old[name][center][0] else here[0],
                            UNBOUNDED if here[1] > old[name][center][1] else here[1])
                   for center, here in centers.items()} for name, centers in new.items()}
