"""Compulsory traffic against marking every element that a present point touches."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings

from einsum_cascades.analysis.traffic import compulsory_traffic
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Cascade, Coord, accesses
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.einsum_cascades.point_oracle import value_of
from tests.einsum_cascades.presence_oracle import points
from tests.einsum_cascades.strategies import Sample, random_sample
from tests.einsum_cascades.test_operations import GOLDEN, TEXTS, golden_extents
from tests.einsum_cascades.test_passes import DEFERRED

Touched = dict[str, set[tuple[int, ...]]]


def marked(cascade: Cascade, extents: Mapping[str, int]) -> tuple[Touched, Touched]:
    """Returns the elements of inputs that are read, as far as no data decides, and those of outputs."""
    found = structure(cascade)
    read: Touched = {t: set() for t in found.inputs}
    written: Touched = {t: set() for t in found.outputs}
    for own in points(cascade, extents):
        for at in own.over(own.ranks):
            for access in own.einsum.reads:
                if access.tensor in read and not any(accesses(i) for i in access.indices):
                    element = tuple(int(value_of(i, at, extents) or 0) for i in access.indices)
                    sizes = [extents[n] if n is not None else 10**9 for n in found.dimensions[access.tensor]]
                    if all(0 <= i < n for i, n in zip(element, sizes, strict=True)):
                        read[access.tensor].add(element)
        for out in own.einsum.outputs:
            iteration = found.iterative.get(out.tensor)
            if out.tensor not in written or own.seed:
                continue
            if iteration is not None or any(accesses(i) for i in out.indices):
                sizes = [extents[n] + (iteration is not None and d == iteration.dimension)
                         for d, n in enumerate(found.dimensions[out.tensor]) if n is not None]
                written[out.tensor] = set(product(*map(range, sizes)))
                continue
            ranks = tuple(i.rank for i in out.indices if isinstance(i, Coord))
            populated = [r for r in ranks if r not in own.ranks]
            for at in own.over(tuple(r for r in ranks if r in own.ranks)):
                for values in product(*(range(extents[r]) for r in populated)):
                    place = at | dict(zip(populated, values, strict=True))
                    written[out.tensor].add(tuple(place[r] for r in ranks))
    return read, written


def check(cascade: Cascade, extents: dict[str, int]) -> None:
    """Asserts that numbers and formulas are those of the elements marked, or no less where they say so."""
    known = {rank.upper(): size for rank, size in extents.items()}
    read, written = marked(cascade, extents)
    for found in (compulsory_traffic(cascade, extents), compulsory_traffic(cascade)):
        for counted, expected in ((found.read, read), (found.write, written)):
            assert set(counted) == set(expected)
            for tensor, elements in expected.items():
                value = counted[tensor].value(known)
                if tensor in found.bounds:
                    assert value >= len(elements), tensor
                else:
                    assert value == len(elements), tensor


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
@pytest.mark.parametrize("size", [2, 3])
def test_golden_cascades(path: Path, size: int) -> None:
    check(load(path), golden_extents(path, size))


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


EXACT = {
    "a mask of more keys than queries": (
        "S[p,m] = Q[p] * K[m] where m <= p", {"p": 3, "m": 5}, {"Q": 3, "K": 3}, {"S": 6}),
    "the same, the other way": ("S[p,m] = Q[p] * K[m] where m <= p", {"p": 5, "m": 3}, {"Q": 5, "K": 3}, {"S": 12}),
    "a suffix": ("S[p] = K[m] where m >= p + 2", {"p": 2, "m": 6}, {"K": 4}, {"S": 2}),
    "a window": ("Y[t] = X[t + s]", {"t": 5, "s": 3}, {"X": 7}, {"Y": 5}),
    "a window with strides": ("Y[t] = X[2*t + s]", {"t": 5, "s": 1}, {"X": 5}, {"Y": 5}),
    "a dilated window": ("Y[t] = X[t + 3*s]", {"t": 2, "s": 3}, {"X": 6}, {"Y": 2}),
    "a causal convolution": (
        "Y[t] = W[s] * X[t - S + 1 + s, 0; fill=0] + 0 * Z[t,s]", {"t": 5, "s": 3}, {"X": 5, "W": 3}, {}),
    "grouped keys": ("S[h,m] = Q[h] * K[h//2,m]", {"h": 5, "m": 3}, {"K": 9}, {"S": 15}),
    "a slice": ("Y[n] = X[R + n] * V[r]", {"n": 3, "r": 2}, {"X": 3, "V": 2}, {"Y": 3}),
    "the diagonal": ("Y[i] = X[i,i]", {"i": 4}, {"X": 4}, {"Y": 4}),
    "one element": ("Y[i] = X[i] * S[] * X0[0]", {"i": 4}, {"S": 1, "X0": 1}, {"Y": 4}),
    "read twice": ("G[] = X[k]; Z[k] = X[k] * G[]", {"k": 4}, {"X": 4}, {"Z": 4}),
    "a tail that does not fill its tile": ("B[m1,m0] = K[m1*M0 + m0] * 2", {"m": 7, "m0": 3}, {"K": 7}, {"B": 7}),
    "slots": ("init H[0] = A[]; H[i+1] = H[i] * X[i]", {"i": 4}, {"A": 1, "X": 4}, {"H": 5}),
    "top-k": ("I[p,j] = topk[m; j](S[p,m])", {"p": 2, "m": 5, "j": 3}, {"S": 10}, {"I": 6}),
}


@pytest.mark.parametrize(("text", "extents", "read", "write"), EXACT.values(), ids=EXACT)
def test_by_hand(text: str, extents: dict[str, int], read: dict[str, int], write: dict[str, int]) -> None:
    cascade = parse(text)
    sizes = resolve_extents(cascade, extents)
    found = compulsory_traffic(cascade, sizes)
    assert {t: found.read[t].constant for t in read} == read
    assert {t: found.write[t].constant for t in write} == write
    check(cascade, sizes)


def test_formulas() -> None:
    found = compulsory_traffic(parse(DEFERRED))
    assert {t: v.text() for t, v in found.read.items()} == {"Q": "E*P", "K": "E*M", "V": "F*M"}
    assert found.write["AV"].text() == "F*P"
    assert found.bounds == ()
    causal = compulsory_traffic(parse(DEFERRED.replace("K[m,e]", "K[m,e] where m <= p")))
    assert {t: v.text() for t, v in causal.read.items()} == {"Q": "E*P", "K": "E*min(M, P)", "V": "F*min(M, P)"}


def test_a_gather_is_a_bound() -> None:
    """It reads at most every element, and at most one for each index."""
    found = compulsory_traffic(parse("Y[p,e] = X[I[p],e]; Z[v] = X[v,0]"))
    assert found.bounds == ("X",)
    alone = compulsory_traffic(parse("Y[p,e] = X[I[p],e]"))
    assert {t: v.text() for t, v in alone.read.items()} == {"X": "E*P", "I": "P"}
    small = compulsory_traffic(parse("S[m] = X[m,e]; Y[p,e] = X[I[p],e]"), {"p": 100, "m": 4, "e": 3})
    assert small.read["X"].constant == 12


def test_what_data_skips_is_a_bound() -> None:
    found = compulsory_traffic(parse("Y[p] = X[p] where Mask[p] > 0"))
    assert set(found.bounds) == {"X", "Y"}
    assert found.read["Mask"].text() == "P"
