"""The interpreter against formulas written in NumPy: attention in one, two and three passes, scans, convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.einsum_cascades.running import normal, output, outputs

INF = np.inf

ATTENTION = {
    "3-pass": """S[p,m] = Q[p,e] * K[m,e] where Mask[p,m] > 0
                 G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p]); D[p] = N[p,m]; A[p,m] = N[p,m] / D[p]
                 AV[p,f] = A[p,m] * V[m,f]
                 LSE[p] = G[p] + log(D[p])""",
    "2-pass": """S[p,m] = Q[p,e] * K[m,e] where Mask[p,m] > 0
                 G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p]); D[p] = N[p,m]; AV[p,f] = N[p,m] * V[m,f] / D[p]
                 LSE[p] = G[p] + log(D[p])""",
    "1-pass": """init RM[0,p] = -inf; init RD[0,p] = 0; init RNV[f,0,p] = 0
                 S[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e] where Mask[p, m1*M0 + m0] > 0
                 LM[m1,p] = max[m0] S[m1,m0,p]; RM[m1+1,p] = max(RM[m1,p], LM[m1,p])
                 N[m1,m0,p] = exp(S[m1,m0,p] - RM[m1+1,p]); PRM[m1,p] = exp(RM[m1,p] - RM[m1+1,p])
                 LD[m1,p] = N[m1,m0,p]; RD[m1+1,p] = LD[m1,p] + RD[m1,p] * PRM[m1,p]
                 RNV[f,m1+1,p] = LNV[f,m1,p] + RNV[f,m1,p] * PRM[m1,p]; LNV[f,m1,p] = N[m1,m0,p] * V[m1*M0 + m0, f]
                 AV[p,f] = RNV[f,M1,p] / RD[M1,p]; LSE[p] = RM[M1,p] + log(RD[M1,p])""",
}


def softmax_attention(Q: np.ndarray, K: np.ndarray, V: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attention and log-sum-exp from the formula, in extended precision, without subtracting a maximum."""
    weights = np.exp(Q.astype(np.longdouble) @ K.T) * (mask > 0)
    total = weights.sum(1)
    seen = total > 0
    attended = np.where(seen[:, None], weights @ V / np.where(seen, total, 1)[:, None], 0)
    return attended.astype(float), np.where(seen, np.log(np.where(seen, total, 1)), -INF).astype(float)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 10), st.sampled_from((1.0, 9.0)),
       st.sampled_from((0.3, 0.9, 1.0)), st.integers(0, 2**31))
def test_attention_of_every_kind_is_the_softmax_of_the_formula(p: int, m: int, m0: int, scale: float, kept: float,
                                                               seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A scale of 9 makes logits of about +-80.
    Q, K, V = rng.normal(size=(p, 3)) * scale, rng.normal(size=(m, 3)) * scale, rng.normal(size=(m, 2))
    mask = (rng.random((p, m)) < kept).astype(float)
    mask[0] = 0 if kept < 1 else mask[0]
    attended, log_sum = softmax_attention(Q, K, V, mask)
    for name, text in ATTENTION.items():
        made = outputs(text, Q=Q, K=K, V=V, Mask=mask, extents={"m0": m0} if name == "1-pass" else {})
        assert_allclose(made["AV"], attended, rtol=1e-11, atol=1e-11, err_msg=name)
        assert_allclose(made["LSE"], log_sum, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("name", ATTENTION)
def test_logits_of_80_neither_overflow_nor_vanish(name: str) -> None:
    Q, K, V = np.array([[80.0], [-80.0]]), np.array([[1.0], [-1.0], [1.0]]), np.array([[1.0], [2.0], [4.0]])
    made = outputs(ATTENTION[name], Q=Q, K=K, V=V, Mask=np.ones((2, 3)), extents={"m0": 2} if name == "1-pass" else {})
    assert_allclose(made["AV"], [[2.5], [2.0]], rtol=1e-15)
    assert_allclose(made["LSE"], [80 + np.log(2), 80], rtol=1e-15)


@pytest.mark.parametrize("name", ATTENTION)
def test_a_row_that_sees_nothing_is_0_and_its_log_sum_exp_minus_infinity(name: str) -> None:
    Q, K, V = normal(2, 3), normal(5, 3), normal(5, 2)
    mask = np.array([[0.0] * 5, [0, 0, 0, 0, 1]])
    made = outputs(ATTENTION[name], Q=Q, K=K, V=V, Mask=mask, extents={"m0": 2} if name == "1-pass" else {})
    assert_array_equal(made["AV"], [[0, 0], V[4]])
    assert made["LSE"][0] == -INF


def test_scores_of_minus_infinity_are_present_but_weigh_nothing() -> None:
    text = """S[p,m] = where(Mask[p,m] > 0, X[p,m], -inf); G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p])
              D[p] = N[p,m]; A[p,m] = N[p,m] / D[p]; C[p] = count[m] S[p,m]; LSE[p] = G[p] + log(D[p])"""
    made = outputs(text, X=normal(2, 3), Mask=np.array([[0, 0, 0], [1, 0, 0]]))
    assert_array_equal(made["A"], [[0, 0, 0], [1, 0, 0]])
    assert_array_equal(made["C"], [3, 3])
    assert made["LSE"][0] == -INF


# --- recurrences, convolutions, devices ---

def test_a_selective_scan_in_three_forms() -> None:
    i, e, n = 7, 3, 2
    dl, A = np.abs(normal(i, e)), -np.abs(normal(e, n))
    B, C, X, H0 = normal(i, n), normal(i, n, seed=1), normal(i, e, seed=2), normal(e, n, seed=3)
    H, expected = H0, []
    for t in range(i):
        H = np.exp(dl[t][:, None] * A) * H + (dl[t] * X[t])[:, None] * B[t]
        expected.append(H @ C[t])
    sequential = """init H[0,e,n] = H0[e,n]; H[i+1,e,n] = exp(Dl[i,e] * A[e,n]) * H[i,e,n] + Dl[i,e] * B[i,n] * X[i,e]
                    Y[i,e] = H[i+1,e,n] * C[i,n]"""
    pairs = """op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
               (P[i,e,n], S[i,e,n]) = lin[k] (exp(Dl[k,e] * A[e,n]), Dl[k,e] * B[k,n] * X[k,e]) where k <= i
               H[i,e,n] = P[i,e,n] * H0[e,n] + S[i,e,n]; Y[i,e] = H[i,e,n] * C[i,n]"""
    chunked = """extent C1 3; extent C0 3
                 init G[0,e,n] = H0[e,n]
                 L[c1,c0,e,n] = sum[d0] Dl[c1*C0 + d0, e] * A[e,n] where d0 <= c0
                 U[c1,d0,e,n] = Dl[c1*C0 + d0, e] * B[c1*C0 + d0, n] * X[c1*C0 + d0, e]
                 W[c1,c0,e,n] = sum[d0] exp(L[c1,c0,e,n] - LL[c1,d0,e,n]) * U[c1,d0,e,n] where d0 <= c0
                 LL[c1,d0,e,n] = sum[b0] Dl[c1*C0 + b0, e] * A[e,n] where b0 <= d0
                 T[c1,c0,e,n] = W[c1,c0,e,n] + exp(L[c1,c0,e,n]) * G[c1,e,n]
                 G[c1+1,e,n] = T[c1,C0 - 1,e,n]
                 Y[c1,c0,e] = T[c1,c0,e,n] * Cc[c1*C0 + c0, n]"""
    given_arrays = {"Dl": dl, "A": A, "B": B, "X": X, "H0": H0}
    assert_allclose(output(sequential, **given_arrays, C=C), expected, rtol=1e-12)
    assert_allclose(output(pairs, **given_arrays, C=C, extents={"i": i}), expected, rtol=1e-12)
    made = output(chunked, **given_arrays, Cc=C, extents={"d0": 3, "b0": 3}).reshape(9, e)
    assert_allclose(made, [*expected, *np.zeros((2, e))], rtol=1e-11, atol=1e-11)


def test_convolutions_are_those_of_the_definition() -> None:
    X, W = normal(6, 7), normal(3, 3)
    padded = np.pad(X, 1)
    expected = sum(W[j, i] * padded[j:j + 6, i:i + 7] for j in range(3) for i in range(3))
    made = output("Z[y,x] = W[j,i] * X[y + j - J//2, x + i - I//2; fill=0]", X=X, W=W, extents={"y": 6, "x": 7})
    assert_allclose(made, expected)
    pooled = output("Z[y,x] = max[j, i] X[2*y + j, 2*x + i; fill=-inf]", X=X, extents={"y": 3, "x": 4, "j": 2, "i": 2})
    assert_allclose(pooled, np.pad(X, ((0, 0), (0, 1)), constant_values=-INF).reshape(3, 2, 4, 2).max((1, 3)))


def test_device_ranks_are_ranks() -> None:
    X = normal(4, 3)
    made = outputs("device d, w; R[d,x] = X[(d + 1) % D, x]; S[w,x] = sum[d] X[d,x] where d < w", X=X, extents={"w": 4})
    assert_array_equal(made["R"], np.roll(X, -1, axis=0))
    assert_allclose(made["S"], np.cumsum(np.vstack([np.zeros(3), X[:-1]]), axis=0))


def test_an_operator_that_does_not_commute_goes_up_the_coordinate() -> None:
    M = normal(5, 2, 2) / 2
    text = """op mm(a, b, c, d; e, f, g, h) = (a*e + b*g, a*f + b*h, c*e + d*g, c*f + d*h) \
                identity (1, 0, 0, 1) associative
              (A[], B[], C[], D[]) = mm[k] (W[k,0 + 0*k], W[k,1 + 0*k], W[k,2 + 0*k], W[k,3 + 0*k])"""
    made = outputs(text, W=M.reshape(5, 4))
    assert_allclose([made[n] for n in "ABCD"], np.linalg.multi_dot(list(M)).reshape(4))
