"""Live footprint: what FuseMax says of attention, and what is held against brute force (see test_passes_oracle too)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given, settings

from einsum_cascades.analysis.footprint import live_footprint
from einsum_cascades.analysis.passes import rank_passes
from einsum_cascades.ir import Cascade, Coord, accesses
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.einsum_cascades.point_oracle import value_of
from tests.einsum_cascades.presence_oracle import points
from tests.einsum_cascades.strategies import Sample, random_sample
from tests.einsum_cascades.test_passes import DEFERRED, LOCAL, ONE_PASS, SINKHORN, THREE_PASS
from tests.einsum_cascades.test_passes_oracle import compares_itself


def held(text: str) -> dict[str, str]:
    """Returns the footprint of the tensors of which more than one value must live, with "?" after an upper bound."""
    return {tensor: found.values.text(["M", "M0", "P", "E"]) + ("" if found.exact else "?")
            for tensor, found in live_footprint(parse(text)).items() if found.values.text() != "1"}


CASES = {
    "three passes hold two fibers of scores": (THREE_PASS, {"QK": "M", "SN": "M"}),
    "deferral holds one": (DEFERRED, {"QK": "M"}),
    "local statistics hold a tile and its maxima": (LOCAL, {"BQK": "M0", "LM": "M1"}),
    "one pass holds a tile, whatever the length": (ONE_PASS, {"BQK": "M0"}),
    "Sinkhorn holds a row and a column": (SINKHORN, {"P": "J", "N": "I"}),
    "layer norm holds its row": ("Mu[p] = mean[e] X[p,e]; Y[p,e] = X[p,e] - Mu[p]", {"X": "E"}),
    "a recurrence holds its state": (
        "init H[0,n] = 0; H[i+1,n] = A[n] * H[i,n] + X[i,n]; Y[i] = H[i+1,n] * C[i,n]", {}),
    "a history that is read afterwards": (
        "init H[0,n] = 0; H[i+1,n] = A[n] * H[i,n] + X[i,n]; L[n] = H[I,n]; Y[i] = H[i+1,n] * L[n]", {"H": "I"}),
    "states read backwards": (
        "init F[0] = 0; F[k+1] = F[k] + X[k]; init R[K] = 0; R[k] = R[k+1] + F[k+1]", {"F": "K"}),
    "a causal mask": (DEFERRED.replace("K[m,e]", "K[m,e] where m <= p"), {"QK": "min(M, P)"}),
    "a window": (DEFERRED.replace("K[m,e]", "K[m,e] where m <= p and p - m < W") + "\nZ[w] = Y[w] * 2",
                 {"QK": "min(M, P, W)"}),
    "what a filter reads twice": ("G[] = X[k] where k < 2; Z[k] = X[k] * G[]", {"X": "min(2, K)"}),
    "what both sides touch": ("G[] = X[k] where k < K - 1; Z[k] = X[k] * G[] where k >= 2", {"X": "max(0, K - 3)"}),
    "two ranks held": ("G[] = sum[k, j] X[k,j]; Z[k,j] = X[k,j] * G[]", {"X": "J*K"}),
    "a part of a window": (
        ("S[p,j] = Q[p] * K[clamp(p - J//2, 0, M - J) + j]; G[p] = max[j] S[p,j]\n"
        "N[p,j] = exp(S[p,j] - G[p]) * K[clamp(p - J//2, 0, M - J) + j]"), {"S": "J", "K": "min(J, M)"}),
    "a gather after a top-k": ("I[p,j] = topk[m; j](S[p,m]); T[p,j] = S[p,I[p,j]]", {"S": "M"}),
    "what data filters": ("G[p] = max[m] S[p,m] where Mask[p,m] > 0; N[p,m] = exp(S[p,m] - G[p]) where Mask[p,m] > 0",
                          {"S": "M?", "Mask": "M?"}),
    "opposite scans read their input twice": (
        "init F[0] = 0; F[k+1] = F[k] + X[k]; init R[K] = 0; R[k] = R[k+1] + X[k]", {"X": "K"}),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_cases(text: str, expected: dict[str, str]) -> None:
    assert held(text) == expected


def test_every_tensor_has_one() -> None:
    found = live_footprint(parse(ONE_PASS))
    assert set(found) == {"Q", "K", "V", "BK", "BV", "BQK", "LM", "RM", "SLN", "SLD", "SLNV", "PRM", "SPD", "RD",
                          "SPNV", "RNV", "AV"}
    assert all("M1" not in f.values.symbols() for f in found.values())


def _most_touched_twice(cascade: Cascade, extents: Mapping[str, int], tensor: str, pair: set[str],
                        dims: set[int]) -> int:
    """The most elements over some dimensions, for any place in the others, that two Einsums both touch."""
    touched: dict[str, set[tuple[int, ...]]] = {name: set() for name in pair}
    found = structure(cascade)
    for own in points(cascade, extents):
        name = ("init " if own.seed else "") + own.einsum.name
        if name in pair:
            for at in own.over(own.ranks):
                for access in (*own.einsum.outputs, *own.einsum.reads):
                    if access.tensor == tensor and not any(accesses(i) for i in access.indices):
                        element = tuple(int(value_of(i, at, extents) or 0) for i in access.indices)
                        if all(n is None or 0 <= i < extents[n]
                               for i, n in zip(element, found.dimensions[tensor], strict=True)):
                            touched[name].add(element)
    both = set.intersection(*touched.values())
    places: dict[tuple[int, ...], int] = {}
    for element in both:
        place = tuple(i for d, i in enumerate(element) if d not in dims)
        places[place] = places.get(place, 0) + 1
    return max(places.values(), default=0)


def check_lengths(cascade: Cascade, extents: dict[str, int]) -> None:
    """Asserts that a footprint is what the two Einsums of some pair that no sweep can hold both touch."""
    for tensor, footprint in live_footprint(cascade).items():
        dims = {d for d, ranks in enumerate(footprint.held) if ranks}
        own = structure(cascade).iterative.get(tensor)
        lines = (*cascade.inits, *cascade.einsums)
        everything = [a for e in lines for a in (*e.outputs, *e.reads) if a.tensor == tensor]
        if not dims or own is not None or not all(isinstance(i, Coord) for a in everything for i in a.indices):
            continue
        most = 0
        for found in rank_passes(cascade).values():
            nodes = found.plan.graph.nodes
            users = [n for n in nodes if not n.generation and (found.rank in n.ranks) and (
                any(o == tensor for o, _ in n.outputs) or any(r.tensor == tensor for r in n.reads))]
            for a in users:
                for b in users:
                    if a.number < b.number and found.plan.sweeps(frozenset((a.number, b.number)))[0] > 1:
                        most = max(most, _most_touched_twice(cascade, extents, tensor, {a.name, b.name}, dims))
        value = footprint.values.value({rank.upper(): n for rank, n in extents.items()})
        # Of a pair that meets in one dimension only, the other dimensions may hold less: never more is claimed to live.
        assert value >= most or not footprint.exact, tensor
        # Extents that leave nothing of other ranks are not what a formula is made for.
        if footprint.exact and len(dims) == 1 and most:
            assert value == most, tensor


@settings(max_examples=150, deadline=None)
@given(random_sample(4))
def test_lengths_at_random(sample: Sample) -> None:
    assume(not any(e.where is not None and compares_itself(e.where) for e in sample.cascade.einsums))
    check_lengths(sample.cascade, sample.extents)


@pytest.mark.parametrize("extents", [{"p": 4, "m": 6}, {"p": 6, "m": 4}, {"p": 1, "m": 3}])
@pytest.mark.parametrize("where", [
    "m <= p", "m >= p", "m < 3", "m <= p and p - m < 2", "p < 2", "m == p", "m > 0 and m <= p"])
def test_lengths_of_masked_scores(where: str, extents: dict[str, int]) -> None:
    text = f"S[p,m] = X[p,m] * 2 where {where}; G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p])"
    check_lengths(parse(text), extents)
