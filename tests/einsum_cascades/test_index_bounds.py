"""Bounds of indices and counts of regions, against trying all coordinates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.linear import FAR, UNBOUNDED, Linear, apart
from einsum_cascades.analysis.regions import longest, points_of, projected
from einsum_cascades.ir import Call, Coord, Expr, Extent, Num
from einsum_cascades.notation import parse
from einsum_cascades.symbols import extent
from tests.einsum_cascades.point_oracle import value_of

RANKS = ("k", "j")


@st.composite
def indices(draw: Callable[[Any], Any], depth: int = 3) -> Expr:
    """Draws an index over k and j."""
    kinds = ("k", "j", "number", "K", "J", "add", "sub", "mul", "floordiv", "mod", "clamp", "min", "max", "ceil", "neg")
    kind = draw(st.sampled_from(kinds if depth else kinds[:5]))
    match kind:
        case "k" | "j":
            return Coord(kind)
        case "number":
            return Num(float(draw(st.integers(-3, 3))))
        case "K" | "J":
            return Extent(kind)
        case "mul":
            return Call("mul", (Num(float(draw(st.integers(-2, 2)))), draw(indices(depth - 1))))
        case "floordiv" | "mod":
            by = draw(st.sampled_from((Num(2.0), Num(3.0), Extent("K"), Extent("J"))))
            return Call(kind, (draw(indices(depth - 1)), by))
        case "ceil":
            return Call("ceil", (Call("div", (draw(indices(depth - 1)), Num(2.0))),))
        case "clamp":
            return Call("clamp", (draw(indices(depth - 1)), draw(indices(0)), draw(indices(0))))
        case "neg":
            return Call("neg", (draw(indices(depth - 1)),))
    return Call(kind, (draw(indices(depth - 1)), draw(indices(depth - 1))))


@settings(max_examples=300, deadline=None)
@given(indices(), st.sampled_from((*RANKS, None)), st.sampled_from((frozenset[str](), frozenset("k"), frozenset("kj"))))
def test_bounds_hold(index: Expr, rank: str | None, own: frozenset[str]) -> None:
    """A bound that is a number holds everywhere; one that is a constant does not grow with the fiber."""
    low, high = apart(index, rank, own)
    seen: dict[tuple[int, int], list[float]] = {}
    for k_size, j_size in product((1, 2, 5, 20, 40), (1, 3, 8)):
        sizes = {"k": k_size, "j": j_size}
        for k, j in product(range(k_size), range(j_size)):
            at = {"k": k, "j": j}
            value = value_of(index, at, sizes)
            assert value is not None
            seen.setdefault((k_size, j_size), []).append(value - (0 if rank is None else at[rank]))
    smallest, largest = min(map(min, seen.values())), max(map(max, seen.values()))
    if abs(low) < FAR // 2:
        assert low <= smallest
    if abs(high) < FAR // 2:
        assert largest <= high
    if own == frozenset("k") and FAR // 2 <= high < UNBOUNDED:
        most = {j: [max(v) for (_, other), v in seen.items() if other == j] for j in (1, 3, 8)}
        # As k grows from 20 to 40, far beyond all numbers of the text, what is constant grows no more than these do.
        assert all(values[-1] - values[-2] <= 3 for values in most.values())


BOUNDS = {
    "k + 1": (1, 1), "2*k": (0, UNBOUNDED), "k//2": (-UNBOUNDED, 0), "(k + 1) % K": (-UNBOUNDED, 1),
    "(k + K - 1) % K": (-1, UNBOUNDED), "min(k, 5)": (-UNBOUNDED, 0), "max(k - 1, 0)": (-1, 0),
    "K - 1 - k": (-UNBOUNDED, UNBOUNDED),
    "k - J + 1 + j": (-FAR, 0), "clamp(k - J//2, 0, K - J) + j": (-FAR, FAR), "ceil(k/2)": (-UNBOUNDED, 0),
    "clamp(k, 2, 7)": (-UNBOUNDED, 2),
}


@pytest.mark.parametrize(("text", "bounds"), BOUNDS.items(), ids=BOUNDS)
def test_bounds(text: str, bounds: tuple[int, int]) -> None:
    """Written out for the forms that the catalogue uses; J is another rank's extent, a constant along k."""
    access = parse(f"Y[k,j] = X[{text}]").einsums[0].reads[0]
    low, high = apart(access.indices[0], "k", frozenset("k"))

    def kind(value: int) -> int:
        if abs(value) < FAR // 2:
            return value
        return (FAR if abs(value) < UNBOUNDED else UNBOUNDED) * (1 if value > 0 else -1)
    assert (kind(low), kind(high)) == bounds


FORMS = st.lists(st.builds(
    lambda a, b, c, w: Linear(tuple((r, x) for r, x in zip("abc", (a, b, c), strict=True) if x), (), w),
    st.integers(-1, 1), st.integers(-1, 1), st.integers(-1, 1), st.integers(-4, 4)), max_size=4)
SIZES = st.fixed_dictionaries({r: st.integers(1, 5) for r in "abc"})


def _meets(form: Linear, at: dict[str, int]) -> bool:
    return sum(c * at[r] for r, c in form.coordinates) + form.constant <= 0


@settings(max_examples=300, deadline=None)
@given(FORMS, SIZES)
def test_points_projections_and_fibers(forms: list[Linear], sizes: dict[str, int]) -> None:
    points = [dict(zip("abc", at, strict=True)) for at in product(*(range(sizes[r]) for r in "abc"))]
    held = [p for p in points if all(_meets(f, p) for f in forms)]
    known = {r.upper(): n for r, n in sizes.items()}
    symbols = {r: extent(r) for r in "abc"}
    count, exact = points_of(symbols, forms)
    assert count.value(known) == len(held) if exact else count.value(known) >= len(held)
    left, sure = projected(forms, symbols, "ab")
    shadow = {(p["a"], p["b"]) for p in held}
    meets = {(p["a"], p["b"]) for p in points if all(_meets_sized(f, p, sizes) for f in left)}
    assert meets == shadow if sure else meets >= shadow
    fibers: dict[tuple[int, int], int] = {}
    for p in held:
        fibers[p["b"], p["c"]] = fibers.get((p["b"], p["c"]), 0) + 1
    assert longest("a", forms, symbols).value(known) >= max(fibers.values(), default=0)


def _meets_sized(form: Linear, at: dict[str, int], sizes: dict[str, int]) -> bool:
    return _meets(form, at | {r: 0 for r in "abc" if r not in at}) if not form.symbols else sum(
        c * at[r] for r, c in form.coordinates) + sum(c * sizes[str(s)] for s, c in form.symbols) + form.constant <= 0
