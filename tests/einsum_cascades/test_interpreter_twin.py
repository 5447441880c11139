"""The vectorised interpreter against its slow twin: random and golden cascades, the docs' examples, corner cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.elementwise import function_of
from einsum_cascades.extents import known_extents, mentioned, resolve_extents
from einsum_cascades.interpreter import execution, reductions, run
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.operators import MAPS
from einsum_cascades.printing import to_text
from einsum_cascades.structure import structure
from tests.einsum_cascades.slow_interpreter import slow_run
from tests.einsum_cascades.slow_scalars import SCALARS
from tests.einsum_cascades.strategies import Sample, arrays_for, random_sample
from tests.einsum_cascades.test_notation_docs import CASCADES

GOLDEN = Path(__file__).parent / "golden"
UNNAMED = "?"
"""Stands for the size of dimensions that no rank names."""

EXTENTS: dict[str, dict[str, int]] = {
    "attention_1pass": {"p": 3, "m": 7, "m0": 3, "e": 2, "f": 2},
    "attention_2pass": {"p": 4, "m": 4, "e": 2, "f": 2},
    "attention_3pass": {"p": 3, "m": 4, "e": 2, "f": 2},
    "backward_scan": {"i": 5, "n": 2},
    "bilinear": {"q": 6, "c": 2, UNNAMED: 3},
    "block_sparse": {"h": 2, "p": 6, "m": 6, "e": 2, "f": 2, "b": 2, "l": 1, "t": 1, "v": 2},
    "complex_recurrence": {"i": 4, "k": 4, "n": 3},
    "concatenation": {"t": 5, "l": 2, "e": 2, "n": 2, "r": 2, UNNAMED: 6},
    "convolutions": {"t": 4, "s": 3, "c": 2, "d": 2, "y": 3, "x": 3, "ky": 3, "kx": 2, "z": 2, "k": 3, "v": 6, "u": 6,
                     "j": 2, "i": 2, "g": 1, "r": 2, UNNAMED: 6},
    "dense_history": {"l": 3, "e": 2},
    "devices": {"d": 2, "w": 2, "m": 3, "e": 2, "f": 2, "p": 2, "x": 3},
    "grouped_softmax": {"p": 6, "g": 2, "t": 3, "e": 2, "f": 2, UNNAMED: 6},
    "layer_norm": {"p": 3, "e": 4},
    "neighborhood_2d": {"y": 4, "x": 4, "h": 4, "w": 4, "j": 3, "i": 3, "e": 2, "f": 2},
    "nested_iteration": {"l": 2, "p": 3, "e": 2},
    "ragged_segments": {"s": 3, "t": 6, "e": 2},
    "scan_pairs": {"i": 5, "k": 5, "n": 2},
    "scatter": {"t": 6, "u": 6, "s": 3, "j": 6, "e": 2},
    "selective_scan": {"i": 4, "e": 2, "n": 2},
    "sink_attention": {"p": 4, "m": 4, "h": 2, "r": 2, "e": 2, "f": 2, "w": 2},
    "sinkhorn": {"t": 3, "i": 3, "j": 2},
    "topk_gather": {"p": 3, "m": 5, "j": 2, "t": 4, "r": 2, "e": 2, "f": 2},
    "user_maps": {"p": 4, "e": 3},
}

CASES: tuple[tuple[str, str], ...] = (
    ("scatter by every reduction",
     """A[I[t],e] = prod[t] Y[t,e]; B[I[t],e] = max[t] Y[t,e] where Y[t,e] > 0; C[I[t],e] = min[t] Y[t,e]
        D[I[t],e] = mean[t] Y[t,e]; F[I[t],e] = var[t] Y[t,e]; G[I[t],e] = any[t] Y[t,e] > 0
        H[I[t],e] = all[t] Y[t,e] > 0
        J[I[t],e] = count[t] Y[t,e] where e > 0; K[I[t],e] = argmax[t] Y[t,e]
        L[I[t],e] = argmin[t] Y[t,e] where Y[t,e] < 1
        M[I[t]] = Y[t,e]; Z[s,e] = A[s,e]+B[s,e]+C[s,e]+D[s,e]+F[s,e]+G[s,e]+H[s,e]+J[s,e]+K[s,e]+L[s,e]+M[s]"""),
    ("scatter of pairs",
     """op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
        (A[I[t],e], B[I[t],e]) = lin[t] (X[t,e], Y[t,e]) where Y[t,e] > -1
        Z[s,e] = A[s,e] + B[s,e]"""),
    ("scatter along a kept rank", "A[I[t],t] = X[t,e]; B[I[t],t] = X[t,e] where t > 1; Z[s,t] = A[s,t] * B[s,t]"),
    ("scatter along a kept rank with a reduction of its own", "A[I[t],t] = argmax[u] X[t,u]; Z[s,t] = A[s,t]"),
    ("scatter by two index tensors", "A[I[t],J[t],e] = X[t,e] * Y[e,f]; Z[s,r,e] = A[s,r,e]"),
    ("scatter over two ranks", "A[I[t],J[u]] = max[t, u] X[t,u]; B[I2[t,u]] = max[u] X[t,u]; Z[s,r] = A[s,r] * B[s]"),
    ("scatter over a rank that no name mentions",
     """A[I[t]] = max[u] X[t,u]; B[I[t]] = argmax[u] X[t,u]; Z[s] = A[s] * B[s]"""),
    ("scatter where an index is absent", "K[t] = threshold[m; t](X[m]); A[K[t]] = Y[t]; Z[m] = A[m] * 2"),
    ("gather where an index is absent",
     """K[q,t] = threshold[m; t](X[q,m]) where m <= q and q > 0; G[q,t,e] = V[K[q,t],e]; S[q,t] = G[q,t,e] * Q[e]
        P[q] = max[t] S[q,t]; N[q,t] = exp(S[q,t] - P[q]); M[q] = mean[t] S[q,t]; L[q] = V[K[q,0],1; fill=9]"""),
    ("populates",
     """extent J 7
        A[q,j] = topk[m; j](X[q,m] * W[m,e]) where m <= q; B[q,j] = bottomk[m; j](X[q,m]) where q > 1 and m > 0
        C[q,r] = sort[m; r](X[q,m]) where X[q,m] > 0; D[q,r] = sort_descending[m; r](X[q,m])
        Z[q,j] = X[q,A[q,j]] * B[q,j]"""),
    ("tuples without an operator of their own",
     """(A[p], B[p]) = max[m] (X[p,m], Y[p,m]) where m <= p; (C[p], D[p]) = (X[p,m] * W[m], Y[p,m])
        (E[p,m], F[p,m]) = (X[p,m] + 1, 2) where p > 1"""),
    ("diagonals", "A[p] = X[p,p] + X[p,p]; B[p] = Y[p,p+1,p]; C[p] = Y[p,p,2*p]"),
    ("fills of tensors with absent elements",
     """A[p,m] = X[p+m] * 2 where m > 0; B[p] = sum[m] A[p,m; fill=3] + A[p, m+1; fill=-1] + A[p, m - 2] where m >= 0
        C[p,j] = A[p,j+1; fill=2]; D[p] = mean[j] C[p,j]; E[p] = count[j] C[p,j]"""),
    ("absent seeds of a slot that reads the one before",
     """extent K 5
        init H[0,e] = X[e] where e < 2
        H[i+1,e] = H[i,e] * 0.5 + Y[i,e] where Y[i,e] > 0
        init R[I,e] = X[e] where e < 2
        R[i,e] = R[i+1,e] * 0.5 + Y[i,e] where Y[i,e] > 0
        S[i] = mean[e] H[i,e]; T[e] = mean[k] H[k,e]; U[] = max[e] H[I,e]; V[e] = max[k] R[k,e]
        W[] = count[e] T[e] * V[e]"""),
    ("absent seeds of slots that come to be",
     """extent K 5
        init H[0,e] = X[e] where e < 2
        init R[I,e] = X[e] where e < 2
        init G[0,e] = X[e] where e < 2
        init J[0,e] = X[e] where e < 2
        init L[0,e] = X[e]
        H[i+1,e] = Y[i,e] where Y[i,e] > 0
        R[i,e] = Y[i,e] where Y[i,e] > 0
        G[i+1,e] = Y[i,e]
        J[i+1,e] = J[i, (e + 1) % E] + Y[i,e]
        L[i+1,e] = X[e] where X[e] > 0
        S[k] = mean[e] H[k,e]; T[e] = mean[k] H[k,e]; U[] = max[e] H[I,e]; V[k,e] = H[k,e] * R[k,e]
        W[k] = max[e] V[k,e]
        A[e] = mean[k] G[k,e]; B[e] = mean[k] J[k,e]; C[] = count[e] A[e] * B[e] * T[e]; D[k] = L[k,e]"""),
    ("absent seeds through another tensor",
     """init H[0,e] = X[e] where e < 2
        G[i,e] = H[i,e] * 2
        H[i+1,e] = G[i,e] - Y[i,e] where Y[i,e] > -1
        T[i] = max[e] G[i,e]; U[] = mean[e] H[I,e]"""),
    ("a reverse iteration in a forward one",
     """init X[0,p,e] = X0[p,e] where p > 0
        init H[l,P,e] = X0[P - 1, e] where l > 0
        H[l,p,e] = A[e] * H[l,p+1,e] + X[l,p,e] where p < 3
        X[l+1,p,e] = X[l,p,e] + tanh(H[l,p,e] * W[l,e]) where W[l,e] > -1
        Y[p] = mean[e] X[L,p,e]"""),
    ("iterative pairs, one history, two lags",
     """init A[0,n] = 1; init B[0,n] = 2; init C[0] = 1; init D[0] = 1
        (A[i+1,n], B[i+1,n]) = (A[i,n]*0.5 + B[i,n], B[i,n] - X[i,n]) where X[i,n] > 0
        C[i+1] = C[i] + C[i - 1; fill=0] + Y[i]; D[i+1] = D[i] + D[i - 1] + Y[i]
        Z[n] = A[I,n] * B[I,n] + C[I] * D[I]"""),
    ("a scatter in each generation", "init M[0,s] = 0; M[i+1,I[i]] = (M[i,s] + 1) * Y[i]; Z[s] = M[I,s]"),
    ("prefixes and suffixes",
     """op absmax(a; b) = max(abs(a), abs(b)) identity 0 associative commutative
        op last(a; b) = where(b == 0, a, b) identity 0
        op odd(a; b) = a + b + a*b*(a - b) / 9 identity 0
        A[i] = max[k] X[k] where k <= i; B[i] = max[k] X[k] where k >= i; C[i] = min[k] X[k] where k < i and i > 1
        D[i] = prod[k] X[k] where k > i; E[i,n] = absmax[k] X[k] * Y[n] where k <= i
        F[i,n] = absmax[k] X[k] * Y[n] where k > i
        G[i,n] = absmax[k] X[k] * Y[n] where k % 2 == i % 2; H[] = absmax[k] X[k] where k > 90
        J[i] = last[k] X[k] where k <= i; L[i] = odd[k] X[k] where k >= i; N[i] = odd[k] X[k] where k <= i
        M[i] = last[k] X[k] * Y[i] where k < i"""),
    ("scan pairs over parts of fibers",
     """op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
        (A[i,n], B[i,n]) = lin[k] (X[k,n], Y[k,n]) where k >= i
        (C[i,n], D[i,n]) = lin[k] (X[k,n], Y[k,n]) where k < i
        (E[n], F[n]) = lin[k, m] (X[k,n], Z[m,n]) where k <= m
        (G[n], H[n]) = lin[m, k] (X[k,n], Z[m,n]) where k + m < 5
        (P[i,n], Q[i,n]) = lin[k] (X[k,n], Y[k,n]) where Off[i] <= k and k < Off[i+1]"""),
    ("bodies without their reduced ranks",
     """A[p] = sum[m] 1 where m <= p; B[p] = sum[m] m where m < p; C[] = sum[p, m] p * m + 1 where p != m
        D[p] = count[m] 1 where m <= p; E[p] = mean[m] m*X[p] where m >= p; F[p] = max[m] X[p] where m > p"""),
    ("conditions of kept and of reduced ranks",
     """A[p,m] = X[p] * Y[m] where not (m > p or p == 1); B[p] = max[m] A[p,m]; C[m] = max[p] A[p,m]; D[p] = A[p,m]
        E[p] = max[m] X[p] * Y[m] where p < 2 or m > 9; F[p] = sum[m] A[p,m] * W[m,e] where e < 0; G[] = count[p] F[p]
        O[p] = max[m] X[m] where not not (p < 2 and m < 0); P[] = count[p] O[p]
        H[p,m] = X[p] * Y[m] where p < 2; J[p] = max[m] H[p,m]; K[] = count[p] J[p]; L[p,m] = X[p] where m != m"""),
    ("predicates on tensors with absent elements",
     """A[p] = X[p] where X[p] > 0; B[p] = count[m] W[p,m] where X[p] > 0 and W[p,m] > 0
        C[p] = A[p] + 1 where A[p] < 1
        D[p] = X[p] where A[p] > 0 or X[p] < 9; E[] = count[p] D[p]; F[] = max[p] C[p]"""),
    ("quotients",
     """A[p] = X[p,m] / Y[p]; B[p] = X[p,m] * Y[p] / Z[m] / W[p,m] - X[p,m]
        C[p] = -(X[p,m] * -Y[p]) / (Z[m] / X[p,m])"""),
    ("quotients by 0", "A[p] = X[p,m] / Zero[p]; B[p] = X[p,m] / Zero[m] ; C[p,f] = X[p,m] * Y[m,f] / Zero[p]"),
    ("gathers and their neighbours",
     """A[p,e] = K[I[p], e] where I[p] >= 0; B[p] = max[e] A[p,e]; C[p] = K[I[p] + 1, e] * A[p,e]
        D[p] = X[floor(Y[p])]; E[p] = X[round(Y[p] * 2); fill=1]; F[p] = X[ceil(Y[p]) % 3] where p > 0"""),
    ("ragged tiles",
     """extent M 7; extent M0 3
        A[m1,m0] = X[m1*M0 + m0]; B[m1,m0] = A[m1,m0] * Y[e] * Z[e,m1]; C[m1] = max[m0] B[m1,m0]
        D[m1] = mean[m0] B[m1,m0]
        E[m1] = var[m0] B[m1,m0]; F[m1] = argmin[m0] B[m1,m0]; G[m1] = max[m0] Q[p,e] * K[m1*M0 + m0, e]
        H[m1] = max[m0] Q[p,e] * K[m1*M0 + m0, e] where e < 0"""),
    ("moved indices",
     """device d
        extent J 2
        T[q] = X[clamp(q - 1, 0, M - 1)] * Y[min(q, M - 1)] + Y[max(q - 2, 0)] + X[where(q > 1, 0, q)] + sqrt(M)/M
        R[d] = V[(d + 1) % D]; S[d] = V[D - 1 - d]; A[j] = V[2*j + 1]; U[d] = V[d//2]"""),
    ("chains of products",
     """A[p,q] = X[p,m] * Y[m,n] * Z[n,q] * W[q]; B[] = X[p,m] * Y[m,n] * Z[n,q]
        C[p] = sum[m, n] X[p,m] * Y[m,n]"""),
    ("truth values in sums",
     """A[] = X[] * inf; B[] = X[] > 0 and not X[] > 1; C[p] = (P[p] > 0) + (P[p] < 1) + (P[p] > -5)"""),
)


def inputs_for(cascade: Cascade, extents: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    """Returns inputs: small numbers, some of them 0; coordinates below 3 for index tensors; ascending offsets."""
    rng = np.random.default_rng(seed)
    found = structure(cascade)
    arrays: dict[str, np.ndarray] = {}
    for tensor in found.inputs:
        shape = tuple(extents.get(UNNAMED, 9) if size is None else size for size in found.shape(tensor, extents))
        if tensor in found.index_tensors:
            arrays[tensor] = rng.integers(0, 3, shape)
        elif tensor in ("Off", "Length", "Stop"):
            arrays[tensor] = np.sort(rng.integers(0, 6, shape), axis=None).reshape(shape)
        elif tensor == "Zero":
            arrays[tensor] = rng.integers(-1, 2, shape) * (seed % 2)
        else:
            # Eighths add up without rounding, so that what is equal is so in every order of evaluation.
            arrays[tensor] = np.round(rng.normal(size=shape) * 12) / 8
    return arrays


def assert_equal_to_twin(cascade: Cascade, arrays: Mapping[str, np.ndarray], extents: Mapping[str, int]) -> None:
    fast, slow = run(cascade, arrays, extents, history=True), slow_run(cascade, arrays, extents)
    assert fast.keys() == slow.keys()
    for name, expected in slow.items():
        assert not np.isnan(expected).any(), name
        np.testing.assert_allclose(fast[name], expected, rtol=1e-9, atol=1e-9, err_msg=f"{name} of\n{to_text(cascade)}")
    # Without the history, tensors go when nothing reads them any more.
    for name, value in run(cascade, arrays, extents).items():
        np.testing.assert_array_equal(value, fast[name])


@settings(max_examples=300, deadline=None)
@given(random_sample(8), st.integers(0, 1000))
def test_random_cascades(sample: Sample, seed: int) -> None:
    assert_equal_to_twin(sample.cascade, arrays_for(sample, seed), sample.extents)


@settings(max_examples=150, deadline=None)
@given(random_sample(6), st.integers(0, 1000))
def test_random_cascades_on_infinities_zeros_and_extremes(sample: Sample, seed: int) -> None:
    rng = np.random.default_rng(seed)
    special = np.array([0.0, 0.0, -0.0, np.inf, -np.inf, 1e200, -1e200, 1e-200])
    arrays = arrays_for(sample, seed)
    for name in arrays.keys() - structure(sample.cascade).index_tensors:
        chosen = rng.random(arrays[name].shape) < 0.3
        arrays[name] = np.where(chosen, special[rng.integers(0, len(special), arrays[name].shape)], arrays[name])
    assert_equal_to_twin(sample.cascade, arrays, sample.extents)


@settings(max_examples=150, deadline=None)
@given(random_sample(6), st.integers(0, 1000), st.integers(1, 8))
def test_random_cascades_in_pieces(sample: Sample, seed: int, largest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "LARGEST", largest)
        patch.setattr(reductions, "LARGEST", largest)
        assert_equal_to_twin(sample.cascade, arrays_for(sample, seed), sample.extents)


def test_every_golden_cascade_has_extents() -> None:
    assert {path.stem for path in GOLDEN.glob("*.cascade")} == EXTENTS.keys()


@pytest.mark.parametrize("name", sorted(EXTENTS))
@pytest.mark.parametrize("seed", range(3))
def test_golden_cascades(name: str, seed: int) -> None:
    cascade = parse((GOLDEN / f"{name}.cascade").read_text(encoding="utf-8"))
    named = {rank: size for rank, size in EXTENTS[name].items() if rank != UNNAMED}
    assert_equal_to_twin(cascade, inputs_for(cascade, resolve_extents(cascade, named) | EXTENTS[name], seed), named)


@pytest.mark.parametrize(("text", "extents"), CASCADES)
def test_examples_of_the_docs(text: str, extents: dict[str, int]) -> None:
    cascade = parse(text)
    known = resolve_extents(cascade, extents) | {UNNAMED: 6}
    for seed in range(3):
        assert_equal_to_twin(cascade, inputs_for(cascade, known, seed), extents)


@pytest.mark.parametrize("largest", [reductions.LARGEST, 6])
@pytest.mark.parametrize("text", [text for _, text in CASES], ids=[name for name, _ in CASES])
def test_corner_cases(text: str, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "LARGEST", largest)
    monkeypatch.setattr(reductions, "LARGEST", largest)
    cascade = parse(text)
    extents = known_extents(cascade, {})
    for rank in mentioned(cascade):
        if rank not in extents:
            extents = known_extents(cascade, extents | {rank: 3 if rank in ("r", "s") else 4})
    for seed in range(8):
        assert_equal_to_twin(cascade, inputs_for(cascade, extents, seed), extents)


@pytest.mark.parametrize("name", sorted(MAPS))
def test_maps_on_every_kind_of_number(name: str) -> None:
    numbers = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 2.5, -2.5, 1e-200, -1e-200, 1e200, -1e200, 800.0, -800.0,
               np.inf, -np.inf)
    points = np.array(list(itertools.product(numbers, repeat=MAPS[name].arity)))
    found = np.asarray(function_of(name)(*points.T), dtype=float)
    np.testing.assert_allclose(found, [float(SCALARS[name](*map(float, p))) for p in points], rtol=1e-9, atol=1e-12)
