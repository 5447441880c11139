"""A layered layout of a directed graph without circles: boxes that do not overlap, and ways between them that hit none.

Source of the method: Sugiyama, Tagawa and Toda, Methods for visual understanding of hierarchical system structures,
1981, in the steps of Gansner et al., A technique for drawing directed graphs, 1993: layers, an order in each layer
with few crossings, coordinates. Edges that span several layers get a bend in each layer between.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_SIDE_GAP, _BEND_WIDTH = 14.0, 8.0
_LEAST_GAP, _MOST_GAP = 13.0, 54.0
_PORT_GAP, _CORNER = 14.0, 7.0
_ROUNDS = 24

Point = tuple[float, float]
Item = Hashable
"""A box or a :class:`_Bend`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a box is; ``right`` is room for something at its right side."""

    width: float
    height: float
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge from a box to one that is at least ``layers`` further down."""

    source: Hashable
    target: Hashable
    layers: int = 1


@dataclass(frozen=True)
class Layout:
    """Centres of boxes, and for each edge the points of its way from the lower side of its source to the upper side of
    its target: the first part and each second one after it are vertical, within a layer; the others lie between layers
    and are free to slant. x and y begin at 0, y points down."""

    centres: Mapping[Any, Point]
    ways: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Bend:
    edge: int
    layer: int


def layered(sizes: Mapping[Any, Size], edges: Sequence[Edge]) -> Layout:
    """Returns a layout of boxes, known by any keys, and edges. The graph must have no circle."""
    layer = _layers(list(sizes), edges)
    chains = [[e.source, *(_Bend(n, at) for at in range(layer[e.source] + 1, layer[e.target])), e.target]
              for n, e in enumerate(edges)]
    bends = {bend: Size(_BEND_WIDTH, 0) for chain in chains for bend in chain[1:-1]}
    everything: dict[Item, Size] = dict(sizes) | bends
    rows = _ordered(_rows(layer, chains), chains)
    x = _placed(rows, chains, everything)
    return _drawn(rows, chains, everything, x)


# --- layers ---

def _layers(boxes: Sequence[Hashable], edges: Sequence[Edge]) -> dict[Hashable, int]:
    """The layer of each box: as far up as it can be, then moved to where edges are shortest."""
    into: dict[Hashable, list[Edge]] = {box: [] for box in boxes}
    out: dict[Hashable, list[Edge]] = {box: [] for box in boxes}
    for edge in edges:
        into[edge.target].append(edge)
        out[edge.source].append(edge)
    order: list[Hashable] = []
    waiting = {box: len(into[box]) for box in boxes}
    ready = [box for box in boxes if not waiting[box]]
    for box in ready:
        order.append(box)
        for edge in out[box]:
            waiting[edge.target] -= 1
            if not waiting[edge.target]:
                ready.append(edge.target)
    layer: dict[Hashable, int] = {}
    for box in order:
        layer[box] = max((layer[e.source] + e.layers for e in into[box]), default=0)
    for _ in range(len(boxes)):
        before = dict(layer)
        for box in reversed(order):
            if out[box] and len(out[box]) >= len(into[box]):
                layer[box] = min(layer[e.target] - e.layers for e in out[box])
            elif into[box]:
                layer[box] = max(layer[e.source] + e.layers for e in into[box])
        if layer == before:
            break
    first = min(layer.values(), default=0)
    used = {at: number for number, at in enumerate(sorted({v - first for v in layer.values()}))}
    return {box: used[at - first] for box, at in layer.items()}


def _rows(layer: Mapping[Hashable, int], chains: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """The items of each layer in the order in which a walk from the top meets them."""
    rows: list[list[Item]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    below = _neighbours(chains)[1]
    seen: set[Item] = set()
    for box in sorted(layer, key=lambda b: layer[b]):
        stack = [box]
        while stack:
            item = stack.pop()
            if item not in seen:
                seen.add(item)
                rows[item.layer if isinstance(item, _Bend) else layer[item]].append(item)
                stack += reversed(below.get(item, []))
    return rows


# --- order ---

def _ordered(rows: list[list[Item]], chains: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """The order in each layer, with as few crossings as sweeps of barycentres and swaps of neighbours find."""
    above, below = _neighbours(chains)
    best, least = [list(row) for row in rows], _crossings(rows, below)
    for number in range(_ROUNDS):
        down = number % 2 == 0
        for at in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            _by_barycentre(rows[at], rows[at - 1 if down else at + 1], above if down else below)
        _swapped(rows, above, below)
        count = _crossings(rows, below)
        if count < least:
            best, least = [list(row) for row in rows], count
        if not least:
            break
    return best


def _neighbours(chains: Sequence[Sequence[Item]]) -> tuple[dict[Item, list[Item]], dict[Item, list[Item]]]:
    """What each item is joined to in the layer above and in the layer below."""
    above: dict[Item, list[Item]] = {}
    below: dict[Item, list[Item]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _by_barycentre(row: list[Item], fixed: Sequence[Item], neighbours: Mapping[Item, Sequence[Item]]) -> None:
    place = {item: float(i) for i, item in enumerate(fixed)}
    value = {}
    for i, item in enumerate(row):
        near = neighbours.get(item, ())
        value[item] = sum(place[n] for n in near) / len(near) if near else i * len(fixed) / max(len(row), 1)
    row.sort(key=value.__getitem__)


def _swapped(rows: list[list[Item]], above: Mapping[Item, Sequence[Item]], below: Mapping[Item, Sequence[Item]]
             ) -> None:
    """Swaps neighbours in each layer as long as that lessens crossings."""
    for at, row in enumerate(rows):
        sides = [({item: i for i, item in enumerate(rows[n])}, ways)
                 for n, ways in ((at - 1, above), (at + 1, below)) if 0 <= n < len(rows)]
        for _ in range(len(row)):
            changed = False
            for i in range(len(row) - 1):
                gain = sum(_inverted(place, ways, row[i], row[i + 1]) - _inverted(place, ways, row[i + 1], row[i])
                           for place, ways in sides)
                if gain > 0:
                    row[i], row[i + 1] = row[i + 1], row[i]
                    changed = True
            if not changed:
                break


def _inverted(place: Mapping[Item, int], ways: Mapping[Item, Sequence[Item]], left: Item, right: Item) -> int:
    return sum(place[a] > place[b] for a in ways.get(left, ()) for b in ways.get(right, ()))


def _crossings(rows: Sequence[Sequence[Item]], below: Mapping[Item, Sequence[Item]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {item: i for i, item in enumerate(lower)}
        passed: list[int] = []
        for item in upper:
            ends = sorted(place[n] for n in below.get(item, ()))
            total += sum(len(passed) - bisect_left(passed, end + 1) for end in ends)
            for end in ends:
                insort(passed, end)
    return total


# --- coordinates ---

def _placed(rows: Sequence[Sequence[Item]], chains: Sequence[Sequence[Item]], sizes: Mapping[Item, Size]
            ) -> dict[Item, float]:
    """The x of each item: items that follow one another stand in columns, those of an edge's bends before all others.

    Source: Brandes and Koepf, Fast and simple horizontal coordinate assignment, 2001: columns from above and from
    below, packed to the left and to the right, and the middle of the four.
    """
    above, below = _neighbours(chains)
    banned = _crossed(rows, below)
    # What goes on above and below: not where the graph begins or ends, nor the edges from there.
    through = {item for chain in chains if chain[0] in above and chain[-1] in below for item in chain}
    found: list[tuple[int, dict[Item, float]]] = []
    for order, near, far in ((rows, above, below), (rows[::-1], below, above)):
        for side in (1, -1):
            turned = [list(row)[::side] for row in order]
            column = _columns(turned, near, far, banned, through)
            x = _packed(turned, column, sizes, side)
            found.append((side, {item: side * x[column[item]] for item in column}))
    narrow = min((x for _, x in found), key=lambda x: max(x.values()) - min(x.values()))
    low, high = min(narrow.values()), max(narrow.values())
    moved = [{item: v + (low - min(x.values()) if side > 0 else high - max(x.values())) for item, v in x.items()}
             for side, x in found]
    return {item: sum(sorted(x[item] for x in moved)[1:3]) / 2 for item in narrow}


def _crossed(rows: Sequence[Sequence[Item]], below: Mapping[Item, Sequence[Item]]) -> set[tuple[Item, Item]]:
    """The parts of edges that cross a part between two bends, which goes before them."""
    banned: set[tuple[Item, Item]] = set()
    for upper, lower in pairwise(rows):
        place = {item: i for i, item in enumerate(lower)}
        parts = [(i, place[b], a, b) for i, a in enumerate(upper) for b in below.get(a, ())]
        for i, k, a, b in parts:
            if isinstance(a, _Bend) and isinstance(b, _Bend) and (a, b) not in banned:
                banned |= {(c, d) for j, n, c, d in parts if (i - j) * (k - n) < 0}
    return banned


def _columns(rows: Sequence[Sequence[Item]], near: Mapping[Item, Sequence[Item]], far: Mapping[Item, Sequence[Item]],
             banned: Collection[tuple[Item, Item]], through: Set[Item]) -> dict[Item, Item]:
    """The column of each item, named by its first item: an item stands below its middle neighbour where it can.

    What goes ``through`` comes first, so that an input at the side of a chain does not push the chain away.
    """
    column: dict[Item, Item] = {}
    for number, row in enumerate(rows):
        place = {item: i for i, item in enumerate(rows[number - 1])} if number else {}
        taken = -1
        for item in row:
            column[item] = item
            every = near.get(item, ())
            ways = sorted([n for n in every if n in through] or every, key=place.__getitem__)
            for other in ways[(len(ways) - 1) // 2:len(ways) // 2 + 1]:
                if item not in through and not through.isdisjoint(far[other]):
                    continue
                if place[other] > taken and (other, item) not in banned and (item, other) not in banned:
                    column[item] = column[other]
                    taken = place[other]
                    break
    return column


def _packed(rows: Sequence[Sequence[Item]], column: Mapping[Item, Item], sizes: Mapping[Item, Size], side: int
            ) -> dict[Item, float]:
    """The x of each column: as far to the left as it can be, then to the right as far as its neighbours allow."""
    after: dict[Item, dict[Item, float]] = {name: {} for name in column.values()}
    waiting = dict.fromkeys(after, 0)
    for row in rows:
        for left, right in pairwise(row):
            a, b = column[left], column[right]
            waiting[b] += b not in after[a]
            apart = _apart(left, right, sizes) if side > 0 else _apart(right, left, sizes)
            after[a][b] = max(after[a].get(b, 0.0), apart)
    ready = [name for name, count in waiting.items() if not count]
    x = dict.fromkeys(after, 0.0)
    for name in ready:
        for other, distance in after[name].items():
            x[other] = max(x[other], x[name] + distance)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for name in reversed(ready):
        if after[name]:
            x[name] = min(x[other] - distance for other, distance in after[name].items())
    return x


def _apart(left: Item, right: Item, sizes: Mapping[Item, Size]) -> float:
    return sizes[left].width / 2 + sizes[left].right + _SIDE_GAP + sizes[right].width / 2


def _drawn(rows: Sequence[Sequence[Item]], chains: Sequence[Sequence[Item]], sizes: Mapping[Item, Size],
           x: Mapping[Item, float]) -> Layout:
    left = min((x[i] - sizes[i].width / 2 for row in rows for i in row), default=0.0)
    right = max((x[i] + sizes[i].width / 2 + sizes[i].right for row in rows for i in row), default=0.0)
    ports = _ports(chains, sizes, x)
    layer = {item: at for at, row in enumerate(rows) for item in row}
    slant = [0.0] * len(rows)
    for chain, places in zip(chains, ports, strict=True):
        for item, here, there in zip(chain, places, places[1:], strict=False):
            slant[layer[item]] = max(slant[layer[item]], abs(there - here))
    spans: list[tuple[float, float]] = []
    top = 0.0
    for at, row in enumerate(rows):
        spans.append((top, top + max(sizes[item].height for item in row)))
        # Slanting edges need room, or they would lie flat.
        top = spans[-1][1] + min(_LEAST_GAP + slant[at] / 8, _MOST_GAP)
    middle = {item: sum(spans[at]) / 2 for item, at in layer.items()}
    ways = []
    for chain, places in zip(chains, ports, strict=True):
        points: list[Point] = []
        for item, place in zip(chain, places, strict=True):
            upper, lower = spans[layer[item]]
            half = sizes[item].height / 2
            points.append((place - left, middle[item] + half if item == chain[0] else upper))
            points.append((place - left, middle[item] - half if item == chain[-1] else lower))
        ways.append(tuple(points))
    centres = {item: (x[item] - left, middle[item]) for item in layer if not isinstance(item, _Bend)}
    return Layout(centres, tuple(ways), right - left, spans[-1][1] if spans else 0.0)


def _ports(chains: Sequence[Sequence[Item]], sizes: Mapping[Item, Size], x: Mapping[Item, float]) -> list[list[float]]:
    """The x of each chain at each of its items; at a box it is the nearest to where the chain comes from or goes to."""
    ports = [[x[item] for item in chain] for chain in chains]
    for end, beside in ((-1, -2), (0, 1)):
        own: dict[Item, list[int]] = {}
        for n, chain in enumerate(chains):
            own.setdefault(chain[end], []).append(n)
        for box, numbers in own.items():
            half = max(sizes[box].width / 2 - _CORNER, 0.0)
            step = min(2 * half / len(numbers), _PORT_GAP)
            numbers.sort(key=lambda n: ports[n][beside])
            wanted = [min(max(ports[n][beside] - x[box], -half), half) for n in numbers]
            for n, place in zip(numbers, _spaced(wanted, step, half), strict=True):
                ports[n][end] += place
    return ports


def _spaced(wanted: Sequence[float], step: float, half: float) -> list[float]:
    """The places nearest to those wanted, in the same order, a step apart and within a half on either side."""
    pools: list[tuple[float, int]] = []
    for number, value in enumerate(wanted):
        total, count = value - number * step, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            more, members = pools.pop()
            total, count = total + more, count + members
        pools.append((total, count))
    places = [total / count for total, count in pools for _ in range(count)]
    # The last may have been pushed out: what is left of the room bounds every place.
    last = half - (len(wanted) - 1) * step
    return [min(max(place, -half), last) + number * step for number, place in enumerate(places)]
