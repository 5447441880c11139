"""The layered layout: on random graphs no boxes meet, no edge runs through a box, and all edges run down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.layered_layout import Edge, Layout, Size, layered

Rectangle = tuple[float, float, float, float]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, Size], list[Edge]]:
    count = draw(st.integers(1, 14))
    sizes = {n: Size(draw(st.sampled_from([10.0, 60.0, 150.0])), draw(st.sampled_from([8.0, 30.0, 55.0])),
                     draw(st.sampled_from([0.0, 0.0, 25.0]))) for n in range(count)}
    pairs = list(combinations(range(count), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=24, unique=True)) if pairs else []
    return sizes, [Edge(a, b, draw(st.integers(1, 2))) for a, b in chosen]


def rectangles(sizes: Mapping[int, Size], layout: Layout) -> dict[int, Rectangle]:
    found = {}
    for box, size in sizes.items():
        x, y = layout.centres[box]
        found[box] = (x - size.width / 2, y - size.height / 2, x + size.width / 2 + size.right, y + size.height / 2)
    return found


def meet(a: Rectangle, b: Rectangle, gap: float = 0.0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] and b[1] < a[3]


def bends(way: Sequence[tuple[float, float]]) -> list[Rectangle]:
    """Returns boxes around the parts of a way; a slanting part is a curve within the box of its ends."""
    return [(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            for (x0, y0), (x1, y1) in pairwise(way)]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_nothing_meets(graph: tuple[dict[int, Size], list[Edge]]) -> None:
    sizes, edges = graph
    layout = layered(sizes, edges)
    boxes = rectangles(sizes, layout)
    assert len(layout.ways) == len(edges)
    for a, b in combinations(boxes.values(), 2):
        assert not meet(a, b, gap=5.0)
    for left, top, right, bottom in boxes.values():
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= layout.width + 1e-9
        assert bottom <= layout.height + 1e-9
    for edge, way in zip(edges, layout.ways, strict=True):
        assert isinstance(edge.source, int)
        assert isinstance(edge.target, int)
        source, target = boxes[edge.source], boxes[edge.target]
        assert way[0][1] == pytest.approx(source[3])
        assert way[-1][1] == pytest.approx(target[1])
        assert source[0] <= way[0][0] <= source[2] - sizes[edge.source].right
        assert target[0] <= way[-1][0] <= target[2] - sizes[edge.target].right
        assert all(y0 <= y1 for (_, y0), (_, y1) in pairwise(way))
        assert all(way[k][0] == way[k + 1][0] for k in range(0, len(way), 2))
        for box, rectangle in boxes.items():
            if box not in (edge.source, edge.target):
                assert not any(meet(part, rectangle) for part in bends(way))


def ports(sizes: Mapping[int, Size], edges: Sequence[Edge]) -> list[tuple[float, float]]:
    return [(way[0][0], way[-1][0]) for way in layered(sizes, edges).ways]


def test_a_chain_is_a_straight_line() -> None:
    sizes = {n: Size(40.0 + 30 * (n % 3), 20.0) for n in range(6)}
    layout = layered(sizes, [Edge(n, n + 1) for n in range(5)])
    assert len({x for x, _ in layout.centres.values()}) == 1
    assert all(len({x for x, _ in way}) == 1 for way in layout.ways)


def test_a_long_edge_is_straight_between_its_ends() -> None:
    sizes = {n: Size(60.0, 20.0) for n in range(8)}
    layout = layered(sizes, [*(Edge(n, n + 1) for n in range(7)), Edge(0, 7)])
    inner = [x for x, _ in layout.ways[-1][2:-2]]
    assert max(inner) - min(inner) < 1e-9


def test_a_tree_has_no_crossings() -> None:
    """A tree can be drawn without any: at each depth, the children stand in the order of their parents."""
    sizes = {n: Size(20.0, 10.0) for n in range(15)}
    edges = [Edge((n - 1) // 2, n) for n in (14, 3, 9, 1, 7, 12, 2, 5, 8, 13, 4, 6, 10, 11)]
    layout = layered(sizes, edges)
    for depth in range(1, 4):
        below = sorted((n for n in sizes if (n + 1).bit_length() - 1 == depth), key=lambda n: layout.centres[n][0])
        parents = [layout.centres[(n - 1) // 2][0] for n in below]
        assert parents == sorted(parents)


def test_crossing_edges_are_uncrossed() -> None:
    sizes = {n: Size(30.0, 10.0) for n in "abcdefgh"}
    layout = layered(sizes, [Edge(a, b) for a, b in ("ah", "bg", "cf", "de")])
    x = {box: place for box, (place, _) in layout.centres.items()}
    above = {"h": "a", "g": "b", "f": "c", "e": "d"}
    assert sorted("abcd", key=x.__getitem__) == [above[b] for b in sorted("efgh", key=x.__getitem__)]


def test_one_box() -> None:
    assert layered({"a": Size(30.0, 10.0, 5.0)}, []) == Layout({"a": (15.0, 5.0)}, (), 35.0, 10.0)
