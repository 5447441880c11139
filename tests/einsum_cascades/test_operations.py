"""Operations against counting them one by one, and against the formulas of the literature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings

from einsum_cascades.analysis.operations import count_operations, operations
from einsum_cascades.errors import ExtentError
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Access, Call, Cascade, Expr, accesses
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.operators import POPULATES, map_operator, reduction_operator
from einsum_cascades.structure import structure
from tests.einsum_cascades.presence_oracle import points
from tests.einsum_cascades.strategies import Sample, random_sample
from tests.einsum_cascades.test_passes import DEFERRED, LITERATURE, LOCAL, ONE_PASS, SINKHORN, THREE_PASS

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.cascade"))


def counted_one_by_one(cascade: Cascade, extents: Mapping[str, int]) -> Counter[str]:
    """Rule 9 by enumeration: a map counts at each present point, a reduction for each present element."""
    total: Counter[str] = Counter()
    for own in points(cascade, extents):
        einsum, head = own.einsum, own.einsum.reduction
        number = sum(1 for _ in own.over(own.ranks))
        for body in einsum.bodies:
            for name in _maps(body, cascade):
                total[name] += number
            if einsum.summed_ranks:
                total["add"] += number
        if head is not None:
            inner = sum(1 for _ in own.over(tuple(r for r in own.ranks if r not in einsum.summed_ranks)))
            operator = reduction_operator(head.op, cascade)
            total[operator.counts if operator is not None else POPULATES[head.op].counts] += inner
    return +total


def _maps(expr: Expr, cascade: Cascade) -> list[str]:
    """The classes that one evaluation of a body counts."""
    if not isinstance(expr, Call) or not _outside_of_indices(expr):
        return []
    operator = map_operator(expr.op, cascade)
    inner = [name for arg in expr.args for name in _maps(arg, cascade)]
    return [*(operator.cost if operator is not None else ()), *inner]


def _outside_of_indices(expr: Expr) -> bool:
    return isinstance(expr, Access) or isinstance(expr, Call) and any(map(_outside_of_indices, expr.args))


def check(cascade: Cascade, extents: dict[str, int]) -> None:
    """Asserts that numbers and formulas are those of the enumeration, or no less where they say so."""
    expected = counted_one_by_one(cascade, extents)
    known = {rank.upper(): size for rank, size in extents.items()}
    for found in (count_operations(cascade, extents), count_operations(cascade)):
        numbers = {name: value.value(known) for name, value in found.total.items() if value.value(known)}
        if found.bounds:
            assert all(numbers.get(name, 0) >= number for name, number in expected.items())
        else:
            assert numbers == expected
    tried = count_operations(cascade, extents).bounds
    data = any(e.where is not None and accesses(e.where) for e in cascade.einsums)
    assert data or not tried, f"points that no data decides are counted exactly, got bounds for {tried}"


SHAPES = {"convolutions": {"c": 4, "d": 4, "g": 2, "r": 2}, "neighborhood_2d": {"h": 4, "w": 4, "y": 4, "x": 4}}
"""Extents that golden cascades need; others may be anything, or all alike."""


def golden_extents(path: Path, size: int) -> dict[str, int]:
    """Returns small extents of a golden cascade, all different where they may be."""
    cascade = load(path)
    composites = structure(cascade).composites
    fixed = SHAPES.get(path.stem, {}) | dict(cascade.extents)
    sizes = {r: fixed.get(r, size + i % 2) for i, r in enumerate(mentioned(cascade)) if r not in composites}
    try:
        return resolve_extents(cascade, sizes)
    except ExtentError:
        return resolve_extents(cascade, {r: fixed.get(r, size) for r in sizes})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
@pytest.mark.parametrize("size", [2, 3])
def test_golden_cascades(path: Path, size: int) -> None:
    check(load(path), golden_extents(path, size))


TEXTS = [ONE_PASS, THREE_PASS, DEFERRED, LOCAL, SINKHORN, *(text for text, _ in LITERATURE.values())]


@pytest.mark.parametrize("text", TEXTS)
def test_literature(text: str) -> None:
    cascade = parse(text)
    composites = structure(cascade).composites
    sizes = {r: 3 for r in mentioned(cascade) if r not in composites and r != "m1"} | ({"m": 5} if composites else {})
    check(cascade, resolve_extents(cascade, sizes))


@settings(max_examples=150, deadline=None)
@given(random_sample())
def test_random_cascades(sample: Sample) -> None:
    check(sample.cascade, sample.extents)


MASKS: dict[str, tuple[str, Callable[[int, int, int], bool]]] = {
    "causal": ("m <= p", lambda p, m, size: m <= p),
    "strictly": ("m < p", lambda p, m, size: m < p),
    "suffix": ("m >= p", lambda p, m, size: m >= p),
    "shifted": ("m <= p + 2", lambda p, m, size: m <= p + 2),
    "window": ("m <= p and p - m < W", lambda p, m, size: m <= p and p - m < 3),
    "symmetric window": ("p - m < W and m - p < W", lambda p, m, size: abs(p - m) < 3),
    "two windows": ("m <= p and p - m < W and p - m < 2", lambda p, m, size: m <= p and p - m < 2),
    "a bound": ("m < W", lambda p, m, size: m < 3),
    "two bounds": ("m >= 1 and p < P - 1", lambda p, m, size: m >= 1 and p < size - 1),
    "the diagonal": ("m == p", lambda p, m, size: m == p),
    "nothing": ("m < 0", lambda p, m, size: False),
    "itself": ("m <= m", lambda p, m, size: True),
    "less than itself": ("p < p", lambda p, m, size: False),
}


@pytest.mark.parametrize(("where", "holds"), MASKS.values(), ids=MASKS)
def test_masks_have_closed_forms(where: str, holds: Callable[[int, int, int], bool]) -> None:
    """The formula of a masked map, at every small shape, also wider than long, and with windows beyond the keys."""
    cascade = parse(f"S[p,m] = exp(X[p,m]) where {where}; Y[w] = V[w] + 1")
    found = count_operations(cascade)
    assert not found.bounds
    for p in range(1, 7):
        for m in range(1, 7):
            number = sum(holds(a, b, p) for a in range(p) for b in range(m))
            assert found.total["exp"].value({"P": p, "M": m, "W": 3}) == number
            assert count_operations(cascade, {"p": p, "m": m, "w": 3}).total["exp"].constant == number


def test_formulas_are_text() -> None:
    assert operations(parse(THREE_PASS)) == {
        "mul": "P*M*E + P*M*F", "add": "P*M*E + P*M*F + P*M", "max": "P*M", "exp": "P*M", "sub": "P*M", "div": "P*M"}
    assert operations(parse(DEFERRED))["div"] == "P*F"
    sizes = resolve_extents(parse(ONE_PASS), {"p": 4, "m": 10, "m0": 4, "e": 3, "f": 5})
    assert operations(parse(ONE_PASS), sizes) == {
        "mul": 4 * 10 * (3 + 5) + 4 * 3 + 4 * 3 * 5, "add": 4 * 10 * (3 + 1 + 5) + 4 * 3 + 4 * 3 * 5,
        "max": 4 * 10 + 4 * 3, "exp": 4 * 10 + 4 * 3, "sub": 4 * 10 + 4 * 3, "div": 4 * 5}


def test_large_extents_are_counted_at_once() -> None:
    """A million tokens, causal and in a window: by intervals, not point by point."""
    cascade = parse("S[p,m] = exp(X[p,m]) where m <= p and p - m < W; Y[w] = V[w] * 2")
    n, w = 1_000_000, 4096
    assert operations(cascade, {"p": n, "m": n, "w": w})["exp"] == w * n - w * (w - 1) // 2


def test_what_data_decides_is_a_bound() -> None:
    found = count_operations(parse("S[p,m] = exp(X[p,m]) where Mask[p,m] > 0; D[p] = S[p,m]"))
    assert found.bounds == ("S", "D")
    assert found.total["exp"].plain(["P", "M"]) == "P*M"


def test_user_operators_count_their_class() -> None:
    text = ("op hsw(x) = x * clamp(x + 3, 0, 6) / 6 cost hard_swish\n"
            "op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n"
            "Y[k] = hsw(X[k]); (P[i], S[i]) = lin[k] (A[k], Y[k]) where k <= i")
    assert operations(parse(text), {"k": 4, "i": 4}) == {"hard_swish": 4, "lin": 10}


def test_indices_and_constants_count_nothing() -> None:
    assert operations(parse("Y[p] = X[p + 1 - 1 + 0] / sqrt(E) + 0 * E; Z[e] = V[e] * 1")) == {
        "div": "P", "add": "P", "mul": "E"}
