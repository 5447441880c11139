"""Bounds of how far coordinates are apart, carried from the Einsum that reads a tensor to the one that wrote it.

A *state* holds, for the coordinates v of one node, upper bounds of v - c and of c - v for some *centers* c: the
coordinate of the Einsum where the way began, and points that no rank moves (0, an extent, a scalar tensor).
Constraints of differences (equal indices, predicates, extents) carry a state over one read: shortest paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from einsum_cascades.analysis.linear import UNBOUNDED, Anchor, Linear, anchor, apart, plus, span
from einsum_cascades.ir import Expr, coords

Center = tuple[str, object]
"""``("origin", rank)`` or ``("anchor", point)``."""

Variable = tuple[str, str]
"""A coordinate: ``("n", rank)`` of the node that reads, ``("d", rank)`` of the one that wrote."""

Bounds = dict[str, dict[Center, tuple[int, int]]]
"""A state: for a coordinate v and a center c, upper bounds of v - c and of c - v."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """``high - low <= distance`` of two variables; ``("anchor", point)`` stands for a fixed one."""

    low: Center
    high: Center
    distance: int


Table = dict[Variable, int]


@dataclass
class Carrier:
    """Constraints compiled for :meth:`carry`: steps between variables, and what follows from anchors alone.

    ``empty`` says that no point meets the constraints, whatever the state.
    """

    up: dict[Variable, list[tuple[Variable, int]]] = field(default_factory=dict)
    down: dict[Variable, list[tuple[Variable, int]]] = field(default_factory=dict)
    above: dict[Center, Table] = field(default_factory=dict)
    below: dict[Center, Table] = field(default_factory=dict)
    empty: bool = False

    def carry(self, state: Bounds, side: str) -> Bounds | None:
        """Returns what the constraints and a state of the reading node say of the variables of a side, or None
        where they contradict each other: no point meets them."""
        if self.empty:
            return None
        above: dict[Center, Table] = {}
        below: dict[Center, Table] = {}
        for name, centers in state.items():
            for center, (high, low) in centers.items():
                if high < UNBOUNDED:
                    above.setdefault(center, {})["n", name] = high
                if low < UNBOUNDED:
                    below.setdefault(center, {})["n", name] = low
        for tables, steps, known in ((above, self.up, self.above), (below, self.down, self.below)):
            for center, table in tables.items():
                if not _relaxed(table, steps):
                    return None
                for variable, value in known.get(center, {}).items():
                    _lower(table, variable, value)
            for center, table in known.items():
                tables.setdefault(center, table)
        result: Bounds = {}
        for center in (above if above.keys() >= below.keys() else {**above, **below}):
            highs, lows = above.get(center, {}), below.get(center, {})
            for variable in (highs if highs.keys() >= lows.keys() else {**highs, **lows}):
                high, low = highs.get(variable, UNBOUNDED), lows.get(variable, UNBOUNDED)
                if high + low < 0:
                    return None
                if variable[0] == side:
                    result.setdefault(variable[1], {})[center] = high, low
        return result


def compiled(constraints: Iterable[Constraint]) -> Carrier:
    """Returns constraints in the form that carries states."""
    made = Carrier()
    for c in constraints:
        if c.distance >= UNBOUNDED:
            continue
        if c.low[0] == "anchor":
            if c.high[0] != "anchor":
                _lower(made.above.setdefault(c.low, {}), _variable(c.high), c.distance)
        elif c.high[0] == "anchor":
            _lower(made.below.setdefault(c.high, {}), _variable(c.low), c.distance)
        else:
            made.up.setdefault(_variable(c.low), []).append((_variable(c.high), c.distance))
            made.down.setdefault(_variable(c.high), []).append((_variable(c.low), c.distance))
    # Shortest paths from several starts are the least of those from each: those from anchors are found once.
    made.empty = not (all(_relaxed(t, made.up) for t in made.above.values())
                      and all(_relaxed(t, made.down) for t in made.below.values()))
    return made


def _variable(center: Center) -> Variable:
    return center[0], str(center[1])


def _lower(table: Table, variable: Variable, value: int) -> None:
    if value < table.get(variable, UNBOUNDED):
        table[variable] = value


def _relaxed(table: Table, steps: Mapping[Variable, Sequence[tuple[Variable, int]]]) -> bool:
    """Shortest paths from what the table holds; False where a circle makes them endless."""
    queue = [v for v in table if v in steps]
    rounds = 0
    while queue:
        rounds += 1
        if rounds > 4 * (len(steps) + len(table)):
            return False
        following = []
        for start in queue:
            for end, distance in steps.get(start, ()):
                if table[start] + distance < table.get(end, UNBOUNDED):
                    table[end] = table[start] + distance
                    following.append(end)
        queue = following
    return True


# --- where constraints come from ---

def of_predicate(form: Linear, side: str, own: frozenset[str]) -> list[Constraint]:
    """Returns what a form that is at most 0 says of the coordinates of a side."""
    made = []
    if len(form.coordinates) == 1:
        (rank, coefficient), = form.coordinates
        if abs(coefficient) == 1:
            point = anchor(Linear(symbols=tuple((s, -coefficient * c) for s, c in form.symbols)))
            variable, fixed = (side, rank), ("anchor", point)
            made.append(Constraint(fixed, variable, -form.constant) if coefficient > 0
                        else Constraint(variable, fixed, -form.constant))
    for high, up in form.coordinates:
        for low, down in form.coordinates:
            if up == 1 and down == -1:
                rest = Linear(tuple((r, c) for r, c in form.coordinates if r not in (high, low)), form.symbols,
                              form.constant)
                made.append(Constraint((side, low), (side, high), -span(rest, None, own)[0]))
    return made


def of_index(left: Linear, index: Expr, form: Linear | None, own: frozenset[str]) -> list[Constraint]:
    """Returns what the equality of an index on a left side with one that is read says; ``form`` is the latter's."""
    if not left.coordinates:
        if form is None or len(form.coordinates) != 1 or form.coordinates[0][1] != 1:
            return []
        fixed = plus(left, Linear(symbols=form.symbols, constant=form.constant), -1)
        return _equal(("n", form.coordinates[0][0]), fixed)
    if len(left.coordinates) != 1 or left.coordinates[0][1] != 1 or left.symbols:
        return []
    variable = ("d", left.coordinates[0][0])
    names = coords(index) if form is None else tuple(n for n, _ in form.coordinates)
    if form is not None and not names:
        return _equal(variable, plus(form, left, -1))
    made = []
    for name in names:
        low, high = span(form, name, own) if form is not None else apart(index, name, own)
        if high < UNBOUNDED:
            made.append(Constraint(("n", name), variable, high - left.constant))
        if low > -UNBOUNDED:
            made.append(Constraint(variable, ("n", name), left.constant - low))
    return made


def _equal(variable: Center, fixed: Linear) -> list[Constraint]:
    """A variable stands at a fixed point (whose coordinates, if it has any, do not count)."""
    point: Anchor = anchor(fixed)
    return [Constraint(("anchor", point), variable, fixed.constant),
            Constraint(variable, ("anchor", point), -fixed.constant)]


# --- states ---

def within(state: Bounds, other: Bounds) -> bool:
    """Returns whether every bound of the other holds in the state too."""
    return all(name in state and center in state[name] and state[name][center][0] <= bounds[0]
               and state[name][center][1] <= bounds[1]
               for name, centers in other.items() for center, bounds in centers.items())


def joined(a: Bounds, b: Bounds) -> Bounds:
    """Returns the bounds that hold in both states."""
    return {name: {center: (max(here[0], b[name][center][0]), max(here[1], b[name][center][1]))
                   for center, here in centers.items() if center in b[name]}
            for name, centers in a.items() if name in b}


def widened(old: Bounds, new: Bounds) -> Bounds:
    """Returns the new state with every bound that grew unbounded."""
    return {name: {center: (UNBOUNDED if here[0] > old[name][center][0] else here[0],
                            UNBOUNDED if here[1] > old[name][center][1] else here[1])
                   for center, here in centers.items()} for name, centers in new.items()}


def frozen(state: Bounds) -> frozenset[tuple[str, Center, int, int]]:
    """Returns a state as a value that can be a key."""
    return frozenset((name, center, high, low) for name, centers in state.items()
                     for center, (high, low) in centers.items())
