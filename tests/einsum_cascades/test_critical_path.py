"""Critical path against the longest way through the graph of all elements."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import given, settings

from einsum_cascades.analysis.critical_path import critical_path
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Access, Call, Cascade, Expr, accesses
from einsum_cascades.notation import parse
from einsum_cascades.operators import POPULATES, reduction_operator
from einsum_cascades.structure import structure
from tests.einsum_cascades.point_oracle import Element, Point, elements_of, expand
from tests.einsum_cascades.strategies import Sample, random_sample
from tests.einsum_cascades.test_passes import DEFERRED, LITERATURE, LOCAL, ONE_PASS, SINKHORN, THREE_PASS


def tree(leaves: int) -> int:
    """Returns the depth of a balanced tree."""
    return max(leaves - 1, 0).bit_length()


def longest_way(cascade: Cascade, extents: Mapping[str, int]) -> int:
    """Returns the depth of the deepest element, one by one: every point, and a tree for each reduction."""
    made = expand(cascade, extents)

    @cache
    def element(of: Element) -> int:
        points = [made.points[w] for w in made.writers.get(of, [])]
        if not points:
            return 0
        if points[0].copied:
            return max(element(e) for e in points[0].reads)
        einsum = made.einsums[points[0].number]
        deepest = max(value(body, p) for p in points for body in einsum.bodies)
        deepest = max([deepest, *(read(a, p) for p in points for a in einsum.reads)])
        inner: dict[tuple[int, ...], int] = {}
        head = einsum.reduction
        for p in points:
            place = tuple(p.at[r] for r in head.ranks) if head is not None else ()
            inner[place] = inner.get(place, 0) + 1
        if einsum.summed_ranks:
            deepest += tree(max(inner.values()))
        if head is not None:
            operator = None if head.op in POPULATES else reduction_operator(head.op, cascade)
            deepest += tree(len(inner)) if operator is None or operator.associative else len(inner) - 1
        return deepest

    def read(access: Access, p: Point) -> int:
        return max((element(e) for a in accesses(access) for e in elements_of(made, a, p.at)), default=0)

    def value(expr: Expr, p: Point) -> int:
        if isinstance(expr, Access):
            return read(expr, p)
        if isinstance(expr, Call) and any(map(_is_value, expr.args)):
            return max(value(a, p) for a in expr.args) + 1
        return 0

    return max((element(e) for e in made.writers), default=0)


def _is_value(expr: Expr) -> bool:
    return isinstance(expr, Access) or isinstance(expr, Call) and any(map(_is_value, expr.args))


def sizes(cascade: Cascade, size: int) -> dict[str, int]:
    """Returns extents of a size, all of them alike; of a composite, a whole number of tiles."""
    composites = structure(cascade).composites
    follow = {*composites, *(parts[0] for parts in composites.values())}
    known = {r: size for r in mentioned(cascade) if r not in follow}
    return resolve_extents(cascade, known | {c: 3 * size ** (len(parts) - 1) for c, parts in composites.items()})


EXACT = {
    "3-pass attention": (THREE_PASS, "ceil(log2(E)) + 3*ceil(log2(M)) + 5"),
    "2-pass attention": (DEFERRED, "ceil(log2(E)) + 2*ceil(log2(M)) + 5"),
    "1-pass attention": (ONE_PASS, "2*M1 + ceil(log2(E)) + 2*ceil(log2(M0)) + 5"),
    "Sinkhorn": (SINKHORN, "T*ceil(log2(I)) + T*ceil(log2(J)) + 2*T + 1"),
    "a map": ("Y[p] = exp(X[p] - 1) * 2", "3"),
    "a scan": ("init H[0] = 0; H[i+1] = H[i] * A[i] + X[i]", "2*I"),
    "a scan of what is deep": ("init H[0] = 0; H[i+1] = H[i] + exp(exp(X[i]))", "I + 2"),
    "scans in a row overlap": (
        "init F[0] = 0; F[i+1] = F[i] * A[i] + X[i]; init G[0] = 0; G[i+1] = G[i] + F[i+1]", "2*I + 1"),
    "scans that wait do not": (
        "init F[0] = 0; F[i+1] = F[i] * A[i] + X[i]; init G[0] = 0; G[i+1] = G[i] + F[I]", "3*I"),
    "opposite scans in a row": (
        "init F[0] = 0; F[i+1] = F[i] + X[i]; init R[I] = 0; R[i] = R[i+1] + F[i+1]", "2*I"),
    "opposite scans, combined": (
        "init F[0] = 0; F[i+1] = F[i] + X[i]; init R[I] = 0; R[i] = R[i+1] + X[i]; Z[i] = F[i+1] * R[i]", "I + 1"),
    "a wavefront": (
        "init X[0,p] = X0[p]; init H[l,0] = 0; H[l,p+1] = A[p] * H[l,p] + X[l,p]; X[l+1,p] = X[l,p] + tanh(H[l,p+1])",
        "3*L + 2*P - 1"),
    "an associative scan": (
        "op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n(P[], S[]) = lin[k] (A[k], B[k])",
        "ceil(log2(K))"),
    "one that is not associative": (
        "op far(a; b) = max(a, b) - min(a, b) identity 0\nD[] = far[k] A[k]", "K - 1"),
    "a sum inside of a maximum": ("G[p] = max[m] Q[p,e] * K[m,e]", "ceil(log2(E)) + ceil(log2(M)) + 1"),
    "a gather waits for its index": ("I[j] = topk[m; j](S[m] * 2); Y[j] = S[I[j]] + 1", "ceil(log2(M)) + 2"),
}


@pytest.mark.parametrize(("text", "formula"), EXACT.values(), ids=EXACT)
def test_exact(text: str, formula: str) -> None:
    cascade = parse(text)
    found = critical_path(cascade)
    assert found.text() == formula
    for size in (2, 3, 4, 5):
        extents = sizes(cascade, size)
        assert found.value({r.upper(): n for r, n in extents.items()}) == longest_way(cascade, extents), size


@pytest.mark.parametrize("text", [LOCAL, *(t for t, _ in LITERATURE.values())])
def test_literature_is_bounded(text: str) -> None:
    cascade = parse(text)
    for size in (2, 3):
        extents = sizes(cascade, size)
        assert critical_path(cascade).value({r.upper(): n for r, n in extents.items()}) >= longest_way(cascade, extents)


@settings(max_examples=150, deadline=None)
@given(random_sample())
def test_random_cascades_are_bounded(sample: Sample) -> None:
    value = critical_path(sample.cascade).value({r.upper(): n for r, n in sample.extents.items()})
    assert value >= longest_way(sample.cascade, sample.extents)
