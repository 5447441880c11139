"""Brute force for passes and footprints: every Einsum written out point by point, every order of a rank tried.

It shares no code with ``einsum_cascades.analysis``: it evaluates indices and predicates itself, follows the
dependencies from element to element, and searches the schedules of docs/notation.md's definition directly.

For a rank r with a few coordinates: a sweep has an order (all permutations are tried, or the two directions where r
has many coordinates), and runs a set of Einsums. Each of them has a lag of at most ``lag`` coordinates. Time of the
point at coordinate x is place(x) + lag; a point comes no earlier than what it needs. A value that an Einsum needs at
every coordinate of one of its fibers is not waited for with a lag, unless its neighbours in the same tensor are (the
first tile of many): all that it is made of comes first in the order itself ("all" means all present elements).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from einsum_cascades.ir import Access, Cascade, Einsum, Expr, accesses, coords, kept_coords
from einsum_cascades.structure import structure
from tests.einsum_cascades.point_oracle import Element, Expansion, Point, expand, value_of

PERMUTED = 6
"""Coordinates of which all orders are tried."""

Place = tuple[int, ...]


# --- schedules of one rank ---

Node = tuple[int, tuple[int, ...]]
Pairs = set[tuple[Place, Place]]


@dataclass
class Problem:
    """What the nodes that iterate a rank need of each other, coordinate by coordinate.

    ``lagged[c, p, t]`` are pairs (x, y): c at x needs an element of t that p writes at y. ``strict[c, p, t]`` are those
    of elements that c needs at every coordinate of a fiber. ``needs`` are, for each node, the others that it needs, as
    bits.
    """

    nodes: list[Node]
    places: list[Place]
    lagged: dict[tuple[int, int, str], Pairs]
    strict: dict[tuple[int, int, str], Pairs]
    needs: list[int]


def leaves_of(cascade: Cascade, rank: str) -> list[str]:
    """Returns the parts of a composite rank, outer first; a plain rank is its only part."""
    composites = structure(cascade).composites
    return [leaf for part in composites[rank] for leaf in leaves_of(cascade, part)] if rank in composites else [rank]


def problem(made: Expansion, rank: str, split: Sequence[str]) -> Problem:
    """Returns the problem of a rank; Einsums are split by generation of the ranks ``split``."""
    leaves = leaves_of(made.cascade, rank)
    nodes: dict[Node, int] = {}
    where: list[tuple[int, Place] | None] = []
    for point in made.points:
        place = place_of(point, rank, leaves, made.extents)
        node = (point.number, tuple(point.at.get(s, -1) for s in split))
        where.append(None if place is None else (nodes.setdefault(node, len(nodes)), place))
    # For each fiber of each node, the elements that it needs and that nodes of the rank write, with who needs them.
    needed: dict[tuple[int, Place, Element], set[Place]] = {}
    spots: dict[tuple[int, Place], set[Place]] = {}
    for point, spot in zip(made.points, where, strict=True):
        if spot is not None:
            fiber = tuple(x for r, x in sorted(point.at.items()) if r != rank and r not in leaves)
            spots.setdefault((spot[0], fiber), set()).add(spot[1])
            for element in _needed(made, point, where, spot[0]):
                needed.setdefault((spot[0], fiber, element), set()).add(spot[1])
    lagged: dict[tuple[int, int, str], Pairs] = {}
    strict: dict[tuple[int, int, str], Pairs] = {}
    for (number, fiber, element), here in needed.items():
        everywhere = len(here) == len(spots[number, fiber])
        for w in made.writers[element]:
            there = where[w]
            if there is not None:
                kind = strict if everywhere else lagged
                kind.setdefault((number, there[0], element[0]), set()).update((x, there[1]) for x in here)
    needs = [0] * len(nodes)
    for c, p, _ in (*lagged, *strict):
        if c != p:
            needs[c] |= 1 << p
    places = list(product(*(range(made.extents[leaf]) for leaf in leaves)))
    return Problem(list(nodes), places, lagged, strict, needs)


def _needed(made: Expansion, point: Point, where: list[tuple[int, Place] | None], node: int) -> set[Element]:
    """The elements that a point needs and that nodes of the rank write: directly, through free state, or through points
    of its own node (of a recurrence, all states need what its seed is made of)."""
    found: set[Element] = set()
    reached: set[int] = set()
    queue = deque([point])
    while queue:
        for element in queue.popleft().reads:
            for w in made.writers.get(element, []):
                there = where[w]
                if there is not None:
                    found.add(element)
                if (there is None or there[0] == node) and w not in reached:
                    reached.add(w)
                    queue.append(made.points[w])
    return found


def place_of(point: Point, rank: str, leaves: list[str], extents: Mapping[str, int]) -> Place | None:
    """Returns a point's coordinate along a rank, as coordinates of its parts; None where it does not iterate it."""
    if all(leaf in point.at for leaf in leaves):
        return tuple(point.at[leaf] for leaf in leaves)
    if rank not in point.at:
        return None
    place, rest = [], point.at[rank]
    for leaf in reversed(leaves[1:]):
        rest, digit = divmod(rest, extents[leaf])
        place.append(digit)
    return rest, *reversed(place)


def orders(places: list[Place]) -> Iterator[dict[Place, int]]:
    """Yields the orders of a sweep that are tried."""
    if len(places) <= PERMUTED:
        for order in permutations(places):
            yield {place: i for i, place in enumerate(order)}
    else:
        yield {place: i for i, place in enumerate(places)}
        yield {place: -i for i, place in enumerate(places)}


def fits(weights: Mapping[tuple[int, int], int], members: list[int], most: int) -> bool:
    """Returns whether lags of 0 to ``most`` exist: lag(c) - lag(p) at least the weight of (c, p)."""
    lag = dict.fromkeys(members, 0)
    for _ in range(len(members) * (most + 1) + 1):
        changed = False
        for (c, p), weight in weights.items():
            if c in lag and p in lag and lag[c] < lag[p] + weight:
                lag[c] = lag[p] + weight
                changed = True
                if lag[c] > most:
                    return False
        if not changed:
            return True
    return False


def sweeps(given: Problem, lag: int) -> list[set[int]]:
    """Returns, for each order that makes a difference, the sets of nodes (as bits) that can run in one sweep."""
    found = []
    known: set[tuple[object, ...]] = set()
    for place in orders(given.places):
        weights: dict[tuple[int, int], int] = {}
        never: set[tuple[int, int]] = set()
        lags: dict[tuple[int, int, str], int] = {}
        for (c, p, tensor), pairs in given.lagged.items():
            lags[c, p, tensor] = max(place[y] - place[x] for x, y in pairs)
            weights[c, p] = max(weights.get((c, p), -10**6), lags[c, p, tensor])
        for (c, p, tensor), pairs in given.strict.items():
            ahead = max(place[y] - place[x] for x, y in pairs)
            # It may lag no more than what moves along with the coordinate.
            if ahead > max(lags.get((c, p, tensor), 0), 0):
                never.add((c, p))
            weights[c, p] = max(weights.get((c, p), -10**6), ahead)
        key = (frozenset(weights.items()), frozenset(never))
        if key in known:
            continue
        known.add(key)
        sets = set()
        for mask in range(1, 1 << len(given.nodes)):
            members = [n for n in range(len(given.nodes)) if mask >> n & 1]
            if not any((c, p) in never for c in members for p in members) and fits(weights, members, lag):
                sets.add(mask)
        if sets not in found:
            found.append(sets)
    return found


def fewest(given: Problem, possible: list[set[int]], visitors: int) -> int | None:
    """Returns the fewest sweeps with a visitor in which all visitors run; None where no schedule exists."""
    cost = {0: 0}
    queue = deque([0])
    masks = set().union(*possible) if possible else set()
    while queue:
        done = queue.popleft()
        if visitors & ~done == 0:
            return cost[done]
        for mask in masks:
            if mask & done or any(mask >> n & 1 and given.needs[n] & ~(done | mask) for n in range(len(given.nodes))):
                continue
            after, price = done | mask, cost[done] + (1 if mask & visitors else 0)
            if price < cost.get(after, 10**6):
                cost[after] = price
                (queue.append if mask & visitors else queue.appendleft)(after)
    return None


# --- who visits what ---

def _varies(indices: Sequence[Expr], rank: str, extents: Mapping[str, int]) -> bool:
    """Whether some indices move with a rank, outside of computed ones."""
    static = [i for i in indices if not accesses(i)]
    if rank not in {r for i in static for r in kept_coords(i)}:
        return False
    ranks = [r for r in dict.fromkeys(r for i in static for r in coords(i)) if r != rank]
    return any(len({tuple(value_of(i, {**dict(zip(ranks, at, strict=True)), rank: x}, extents) for i in static)
                    for x in range(extents[rank])}) > 1
               for at in product(*(range(extents[r]) for r in ranks)))


def _gathers(made: Expansion, access: Access, einsum: Einsum, rank: str, d: int) -> bool:
    name = structure(made.cascade).dimensions[access.tensor][d]
    return name == rank and rank not in einsum.ranks and bool(accesses(access.indices[d]))


def visitors(made: Expansion, rank: str) -> dict[str, set[int]]:
    """Returns the Einsums that visit each tensor along a rank."""
    leaves = leaves_of(made.cascade, rank)
    readers: dict[str, set[int]] = {}
    derived: dict[str, set[str]] = {}
    for number, einsum in enumerate(made.einsums):
        moved = [rank] if rank in einsum.ranks else leaves
        for access in einsum.reads:
            along = all(_varies(access.indices, leaf, made.extents) for leaf in moved)
            if along or any(_gathers(made, access, einsum, rank, d) for d in range(len(access.indices))):
                readers.setdefault(access.tensor, set()).add(number)
            if along and all(any(_varies(o.indices, leaf, made.extents) for o in einsum.outputs) for leaf in moved):
                derived.setdefault(access.tensor, set()).update(o.tensor for o in einsum.outputs)
    result: dict[str, set[int]] = {}
    for tensor in readers:
        family, stack = {tensor}, [tensor]
        while stack:
            for after in derived.get(stack.pop(), set()) - family:
                family.add(after)
                stack.append(after)
        result[tensor] = set().union(*(readers.get(t, set()) for t in family))
    return result


def users(made: Expansion, rank: str) -> dict[tuple[str, int], set[int]]:
    """Returns the Einsums that write a tensor, or read it themselves, along a rank in one of its dimensions."""
    leaves = leaves_of(made.cascade, rank)
    found: dict[tuple[str, int], set[int]] = {}
    for number, einsum in enumerate(made.einsums):
        moved = [rank] if rank in einsum.ranks else leaves
        for access in (*einsum.outputs, *einsum.reads):
            for d, index in enumerate(access.indices):
                along = all(_varies((index,), leaf, made.extents) for leaf in moved)
                if along or _gathers(made, access, einsum, rank, d):
                    found.setdefault((access.tensor, d), set()).add(number)
    return found


# --- answers ---

def _solved(cascade: Cascade, extents: Mapping[str, int], rank: str, lag: int,
            most: int) -> tuple[Expansion, Problem, list[set[int]]] | None:
    """The problem of a rank and its sweeps: with Einsums whole, or else split by generation; None where they are too
    many, or an Einsum has no point at all on these extents."""
    made = expand(cascade, extents, rank)
    if len({point.number for point in made.points}) < len(made.einsums):
        return None
    iterated = {i.rank for i in structure(cascade).iterative.values()} - set(leaves_of(cascade, rank))
    for split in ([], sorted(iterated)):
        given = problem(made, rank, split)
        if len(given.nodes) > most:
            return None
        possible = sweeps(given, lag)
        if fewest(given, possible, (1 << len(given.nodes)) - 1) is not None:
            return made, given, possible
    raise AssertionError(f"no schedule of {rank} exists")


def _of(given: Problem, possible: list[set[int]], numbers: set[int]) -> int:
    count = fewest(given, possible, sum(1 << i for i, node in enumerate(given.nodes) if node[0] in numbers))
    assert count is not None
    return count


def passes_of(cascade: Cascade, extents: Mapping[str, int], rank: str, lag: int = 1, most: int = 9) -> int | None:
    """Returns the passes of a rank by brute force; None where it cannot tell: there are more than ``most`` nodes to
    try, or an Einsum has no point at all on these extents."""
    solved = _solved(cascade, extents, rank, lag, most)
    if solved is None:
        return None
    made, given, possible = solved
    return max((_of(given, possible, numbers) for numbers in visitors(made, rank).values()), default=1) or 1


def held_of(cascade: Cascade, extents: Mapping[str, int], rank: str, lag: int = 1,
            most: int = 9) -> set[tuple[str, int]] | None:
    """Returns the tensors, each with a dimension, that no schedule makes and reads in one sweep of a rank; None where
    it cannot tell, or where Einsums are split by generation."""
    solved = _solved(cascade, extents, rank, lag, most)
    if solved is None or any(generation for _, generation in solved[1].nodes):
        return None
    made, given, possible = solved
    return {key for key, numbers in users(made, rank).items() if _of(given, possible, numbers) > 1}
