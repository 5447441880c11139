"""Sigmoid attention: one pass, no statistics of a row, and partial results that add up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.passes import passes
from tests.workloads.variant_checks import (
    check_cases,
    check_published,
    check_shapes,
    check_slow_twin,
    counted,
    drawn_for,
    outputs,
    total,
)
from workloads.variants import load_variant

SIGMOID = load_variant("flash_sigmoid")
ALGORITHMS = tuple(SIGMOID.algorithms)
SMALL = {"p": 5, "m": 9, "e": 4, "f": 3, "m0": 4}


def loops(inputs: dict[str, Any]) -> Any:
    """Sigmoid attention, one number at a time, with the sums in exact arithmetic."""
    queries, keys, values = inputs["Q"], inputs["K"], inputs["V"]
    result = np.zeros((len(queries), values.shape[1]))
    for p, query in enumerate(queries):
        weights = []
        for m, key in enumerate(keys):
            score = math.fsum(query * key) / math.sqrt(len(query)) + float(inputs["Bias"])
            score -= float(inputs.get("Slope", 0.0)) * abs(p - m)
            weights.append(1 / (1 + math.exp(-score)))
        for f in range(values.shape[1]):
            result[p, f] = math.fsum(w * v for w, v in zip(weights, values[:, f], strict=True))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(SIGMOID, seed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(SIGMOID, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(SIGMOID)
    check_shapes(SIGMOID, tiles=("m0",))
    # Of one hidden size and one number of tokens: 16384 tokens of 2048 values.
    assert {s.instances * s.extents["p"] * s.extents["e"] for s in SIGMOID.shapes} == {16384 * 2048}


@settings(max_examples=40, deadline=None)
@given(p=st.integers(1, 5), m=st.integers(1, 9), e=st.integers(1, 4), f=st.integers(1, 4), m0=st.integers(1, 10),
       seed=st.integers(0, 2**32))
def test_the_algorithms_are_the_formula_on_any_shape(p: int, m: int, e: int, f: int, m0: int, seed: int) -> None:
    for algorithm in ALGORITHMS:
        inputs, extents = drawn_for(SIGMOID, algorithm, {"p": p, "m": m, "e": e, "f": f, "m0": m0}, seed)
        got = outputs(SIGMOID, algorithm, inputs, extents)["O"]
        np.testing.assert_allclose(got, loops(inputs), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("algorithm", ["sigmoid", "tanh", "streamed"])
def test_partial_results_of_parts_of_the_keys_simply_add(algorithm: str) -> None:
    inputs, extents = drawn_for(SIGMOID, algorithm, SMALL)
    whole = outputs(SIGMOID, algorithm, inputs, extents)["O"]
    parts = 0.0
    for keys in (slice(0, 4), slice(4, 9)):
        part = {**inputs, "K": inputs["K"][keys], "V": inputs["V"][keys]}
        given = {**SMALL, "m": keys.stop - keys.start}
        parts = parts + outputs(SIGMOID, algorithm, part, given)["O"]
    np.testing.assert_allclose(parts, whole, rtol=1e-13)


def test_the_order_of_keys_has_no_meaning() -> None:
    inputs, extents = drawn_for(SIGMOID, "sigmoid", SMALL)
    order = np.random.default_rng(0).permutation(9)
    moved = {**inputs, "K": inputs["K"][order], "V": inputs["V"][order]}
    np.testing.assert_allclose(outputs(SIGMOID, "sigmoid", moved, extents)["O"],
                               outputs(SIGMOID, "sigmoid", inputs, extents)["O"], rtol=1e-13)


def test_every_rank_has_one_pass() -> None:
    for algorithm in ALGORITHMS:
        assert set(passes(SIGMOID.cascade(algorithm)).values()) == {1}


def test_a_score_costs_a_fused_multiply_add_and_a_sigmoid_or_two_and_a_tanh() -> None:
    # Beside the two products, per score: scale and bias, the function, and for tanh its scale and offset.
    p, m, e, f = (SMALL[rank] for rank in "pmef")
    products = p * m * (e + f)
    for algorithm, function, extra in (("sigmoid", "sigmoid", 1), ("tanh", "tanh", 2), ("split", "sigmoid", 1)):
        counts = counted(SIGMOID, algorithm, SMALL)
        assert total(counts, "mul") == products + extra * p * m
        assert total(counts, function) == p * m
        assert total(counts, "max", "exp", "sub") == 0
    assert total(counted(SIGMOID, "tanh", SMALL), "div") == 1  # the halved bias
