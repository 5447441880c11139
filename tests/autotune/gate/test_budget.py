"""Tolerances: rounding as NumPy and torch round, and errors that follow the operator and its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.gate.budget import BITS, bits_of, inexact, product_operands, rounded, tolerances
from einsum_cascades.errors import UnknownNameError
from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse
from workloads.variants import load_variant

_DOT = parse("Z[m,n] = A[k,m] * B[k,n]", source="dot")


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_rounding_is_to_nearest_and_ties_to_even(dtype: str) -> None:
    kind = {"fp16": np.float16, "fp32": np.float32}[dtype]
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=1000), rng.normal(size=1000) * 1e3, [0.0, 1.0, -1.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-10]])
    assert np.array_equal(rounded(values, BITS[dtype]), values.astype(kind).astype(float))


def test_rounding_is_torchs_for_bf16() -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(4).normal(size=1000) * 1e5
    assert np.array_equal(rounded(values, BITS["bf16"]), torch.from_numpy(values).bfloat16().double().numpy())


def test_rounding_keeps_what_is_not_finite_and_has_no_bounds() -> None:
    assert rounded(np.array([np.inf, -np.inf, 1e300, 1e-300]), 8)[:2].tolist() == [np.inf, -np.inf]
    assert rounded(np.array([1e300]), 53)[0] == 1e300
    assert np.isnan(rounded(np.array([np.nan]), 8)[0])
    with pytest.raises(UnknownNameError, match="unknown type, got 'bf32'; did you mean 'tf32'"):
        bits_of("bf32")


def test_operands_of_products_are_those_that_a_dot_would_take() -> None:
    variant = load_variant("attention")
    assert product_operands(variant.cascade("3pass")) == {"A"}
    assert product_operands(variant.cascade("2pass")) == {"SN"}
    assert product_operands(variant.cascade("1pass")) == {"SLN"}
    assert product_operands(_DOT) == frozenset()


def budget(cascade, inputs, dtype: str, **options) -> dict[str, float]:  # type: ignore[no-untyped-def]
    extents = {"m": 8, "n": 6, "k": 64}
    want = run(cascade, inputs, extents)
    return tolerances(cascade, inputs, extents, want, operands=dtype, outputs=dict.fromkeys(want, dtype), stored={}, **options)


@pytest.fixture
def matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {"A": rng.normal(size=(64, 8)), "B": rng.normal(size=(64, 6))}


def test_exact_operands_need_the_rounding_of_the_output_and_little_more(matrices) -> None:  # type: ignore[no-untyped-def]
    for dtype in ("fp16", "bf16"):
        unit = 2.0 ** -BITS[dtype]
        assert 2 * unit < budget(_DOT, matrices, dtype)["Z"] < 2.02 * unit


def test_float32_has_room_for_sums_in_float32(matrices) -> None:  # type: ignore[no-untyped-def]
    """NumPy's own product in float32 is within it, and one in half precision is not."""
    allowed = budget(_DOT, matrices, "fp32")["Z"]
    exact = matrices["A"].T @ matrices["B"]
    single = {name: values.astype(np.float32) for name, values in matrices.items()}
    error = np.abs(single["A"].T @ single["B"] - exact).max() / np.abs(exact).max()
    half = {name: values.astype(np.float16).astype(float) for name, values in matrices.items()}
    assert error < allowed < 1e-5 < np.abs(half["A"].T @ half["B"] - exact).max() / np.abs(exact).max()


def test_sums_that_cancel_have_more_room(matrices) -> None:  # type: ignore[no-untyped-def]
    """Columns that nearly add up to nothing: the error is as before, what it is measured against is a thousandth."""
    cancelling = {"A": np.ones((64, 8)), "B": matrices["B"] - matrices["B"].mean(axis=0) + 1e-3}
    assert budget(_DOT, cancelling, "fp32")["Z"] > 20 * budget(_DOT, matrices, "fp32")["Z"]


def test_computed_operands_are_rounded_and_coarser_dots_have_more_room(matrices) -> None:  # type: ignore[no-untyped-def]
    two = parse("X[k,m] = exp(A[k,m])\nZ[m,n] = X[k,m] * B[k,n]", source="two")
    assert budget(two, matrices, "fp16")["Z"] > 1.3 * 2 * 2.0**-11
    assert budget(_DOT, matrices, "fp32", dots="tf32")["Z"] > 20 * budget(_DOT, matrices, "fp32")["Z"]


def test_states_of_iterations_are_not_rounded() -> None:
    scan = parse("init H[0,n] = 0\nH[i+1,n] = D[i,n] * H[i,n] + X[i,n]\nY[i] = C[i,n] * H[i+1,n]", source="scan")
    assert product_operands(scan) == frozenset()


def test_sums_divisions_and_elementary_functions_are_inexact() -> None:
    text = """
X[k]  = A[k] - B[k]
M[]   = max[k] X[k]
E[k]  = exp(X[k] - M[])
D[]   = E[k]
P[k]  = E[k] / D[]
Y[k]  = where(A[k] > 0, P[k], B[k]) * 2
"""
    assert inexact(parse(text, source="some")) == {"E", "D", "P"}
