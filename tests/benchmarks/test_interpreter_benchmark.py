"""How long the interpreter takes for the catalogue's reduced shapes, beside the same formula in plain NumPy.

The figure to reach is well under a second for each.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse

GOLDEN = Path(__file__).parents[1] / "einsum_cascades" / "golden"
PAIRS = """
op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
(P[i,e,n], S[i,e,n]) = lin[k] (exp(DL[k,e] * A[e,n]), DL[k,e] * B[k,n] * U[k,e]) where k <= i
H[i,e,n] = P[i,e,n] * H0[e,n] + S[i,e,n]
Y[i,e] = H[i,e,n] * C[i,n]
"""
SEQUENTIAL = """
init H[0,e,n] = H0[e,n]
H[i+1,e,n] = exp(DL[i,e] * A[e,n]) * H[i,e,n] + DL[i,e] * B[i,n] * U[i,e]
Y[i,e] = H[i+1,e,n] * C[i,n]
"""


def numpy_attention(Q: np.ndarray, K: np.ndarray, V: np.ndarray, causal: bool) -> np.ndarray:
    S = Q @ K.T
    if causal:
        S = np.where(np.tri(len(Q), len(K), dtype=bool), S, -np.inf)
    N = np.exp(S - S.max(1, keepdims=True))
    return np.asarray(N @ V / N.sum(1, keepdims=True))


def numpy_scan(H0: np.ndarray, DL: np.ndarray, A: np.ndarray, B: np.ndarray, C: np.ndarray,
               U: np.ndarray) -> np.ndarray:
    H, Y = H0, []
    for dl, b, c, u in zip(DL, B, C, U, strict=True):
        H = np.exp(dl[:, None] * A) * H + (dl * u)[:, None] * b
        Y.append(H @ c)
    return np.array(Y)


def compare(benchmark: Any, interpreted: Callable[[], np.ndarray], plain: Callable[[], np.ndarray]) -> None:
    """Times the interpreter, and puts its ratio to the plain function beside the time."""
    np.testing.assert_allclose(benchmark(interpreted), plain(), rtol=1e-9, atol=1e-9)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["ratio_to_numpy"] = seconds / min(timeit.repeat(plain, number=1, repeat=5))
        assert seconds < 1.0


@pytest.mark.parametrize(("name", "causal", "tile"), [
    ("attention_1pass", False, 64), ("attention_1pass", False, 60), ("attention_2pass", True, 0),
    ("attention_3pass", False, 0)])
def test_attention(benchmark: Any, name: str, causal: bool, tile: int) -> None:
    cascade = parse((GOLDEN / f"{name}.cascade").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(512, 64)) for _ in range(3))
    extents = {"m0": tile} if tile else {}
    compare(benchmark, lambda: run(cascade, {"Q": Q, "K": K, "V": V}, extents)["AV"],
            lambda: numpy_attention(Q, K, V, causal))


@pytest.mark.parametrize("text", [SEQUENTIAL, PAIRS], ids=["sequential", "pairs"])
def test_selective_scan(benchmark: Any, text: str) -> None:
    cascade = parse(text)
    rng = np.random.default_rng(0)
    i, e, n = 1024, 64, 16
    arrays = {"H0": rng.normal(size=(e, n)), "DL": np.abs(rng.normal(size=(i, e))) / 8,
              "A": -np.abs(rng.normal(size=(e, n))), "B": rng.normal(size=(i, n)), "C": rng.normal(size=(i, n)),
              "U": rng.normal(size=(i, e))}
    compare(benchmark, lambda: run(cascade, arrays, {"i": i})["Y"], lambda: numpy_scan(**arrays))
