"""Mixture-of-head attention: gates, what is skipped, and the attention that is left where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.passes import passes
from einsum_cascades.extents import resolve_extents
from tests.workloads.variant_checks import (
    check_cases,
    check_published,
    check_shapes,
    check_slow_twin,
    counted,
    drawn_for,
    outputs,
)
from workloads.variants import load_variant
from workloads.variants.moh import kept_share
from workloads.verification import own_extents

MOH = load_variant("moh")
TWO_KINDS = ("3pass", "1pass", "dense", "dispatch")
SIZES = {"d": 4, "e": 3, "f": 3, "o": 5, "h": 6, "s": 2, "r": 4, "j": 2, "p": 9, "q": 9, "m": 9, "m0": 4, "u": 3}


def gates(algorithm: str, inputs: dict[str, Any]) -> Any:
    return outputs(MOH, algorithm, inputs, SIZES, ("G",))["G"]


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(MOH, seed)


@pytest.mark.parametrize("algorithm", tuple(MOH.algorithms))
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(MOH, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(MOH)
    check_shapes(MOH, tiles=("m0",))
    assert kept_share(((1, 1, 3, 1), (3, 2, 0, 0))) == 100 * 8 / 10


@settings(max_examples=30, deadline=None)
@given(s=st.integers(1, 3), r=st.integers(1, 4), j=st.integers(1, 4), p=st.integers(1, 7), m=st.integers(1, 7),
       m0=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_what_skips_heads_is_what_multiplies_all_of_them_by_their_gates(s: int, r: int, j: int, p: int, m: int, m0: int,
                                                                        seed: int) -> None:
    extents = {**SIZES, "h": s + r, "s": s, "r": r, "j": min(j, r), "p": p, "q": p, "m": m, "m0": m0}
    inputs, _ = drawn_for(MOH, "dense", extents, seed)
    dense = outputs(MOH, "dense", inputs, extents)["Y"]
    for algorithm in TWO_KINDS:
        np.testing.assert_allclose(outputs(MOH, algorithm, inputs, extents)["Y"], dense, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("algorithm", [name for name in MOH.algorithms if name != "llama"])
def test_a_permutation_of_the_tokens_permutes_the_results(algorithm: str) -> None:
    extents = {**SIZES, **({"s": 6} if algorithm == "shared" else {"r": 6} if algorithm == "routed" else {})}
    inputs, _ = drawn_for(MOH, algorithm, extents)
    order = np.random.default_rng(0).permutation(9)
    moved = {**inputs, "X": inputs["X"][order], **{name: inputs[name][:, order] for name in "QKV"}}
    np.testing.assert_allclose(outputs(MOH, algorithm, moved, extents)["Y"],
                               outputs(MOH, algorithm, inputs, extents)["Y"][order], rtol=1e-11, atol=1e-13)


def test_a_token_keeps_its_best_heads_with_gates_that_sum_to_their_number() -> None:
    inputs, _ = drawn_for(MOH, "3pass", SIZES)
    found = gates("3pass", inputs)
    assert ((found > 0).sum(axis=1) == 2 + 2).all()
    assert (found[:, :2] > 0).all()
    router = inputs["X"] @ inputs["Wr"]
    for token in range(9):
        assert set(np.flatnonzero(found[token, 2:])) == set(np.argsort(-router[token])[:2])
    kinds = np.exp(inputs["X"] @ inputs["W0"])
    kinds = 2 * kinds / kinds.sum(axis=1, keepdims=True)
    # Shared gates sum to S, routed ones to J, each times the weight of its kind.
    np.testing.assert_allclose(found[:, :2].sum(axis=1), 2 * kinds[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found[:, 2:].sum(axis=1), 2 * kinds[:, 1], rtol=1e-12)


def test_a_trained_model_keeps_the_heads_of_the_longest_queries_with_gates_of_1() -> None:
    inputs, _ = drawn_for(MOH, "llama", SIZES)
    found = gates("llama", inputs)
    lengths = (inputs["Q"][2:]**2).sum(axis=2).T
    want = np.concatenate((np.ones((9, 2)), (lengths >= np.sort(lengths, axis=1)[:, [-2]])), axis=1)
    assert (found == want).all()


def test_what_a_token_does_not_keep_has_no_part_in_its_result() -> None:
    inputs, _ = drawn_for(MOH, "3pass", SIZES)
    skipped = gates("3pass", inputs) == 0
    changed = {**inputs, "Q": np.where(skipped.T[:, :, None], 1e6, inputs["Q"])}
    for algorithm in TWO_KINDS:
        np.testing.assert_allclose(outputs(MOH, algorithm, changed, SIZES)["Y"],
                                   outputs(MOH, algorithm, inputs, SIZES)["Y"], rtol=1e-12)


def test_key_heads_that_are_shared_are_copies() -> None:
    inputs, _ = drawn_for(MOH, "llama", SIZES)
    copied = {**inputs, "K": inputs["K"].repeat(2, axis=0), "V": inputs["V"].repeat(2, axis=0)}
    np.testing.assert_allclose(outputs(MOH, "llama", copied, {**SIZES, "u": 6})["Y"],
                               outputs(MOH, "llama", inputs, SIZES)["Y"], rtol=1e-12)


def test_the_list_of_a_head_holds_the_tokens_that_keep_it() -> None:
    inputs, _ = drawn_for(MOH, "dispatch", SIZES)
    shown = outputs(MOH, "dispatch", inputs, SIZES, ("G", "QD"))
    for head in range(6):
        tokens = np.flatnonzero(shown["G"][:, head])
        np.testing.assert_array_equal(shown["QD"][head, :len(tokens)], inputs["Q"][head, tokens])
        assert (shown["QD"][head, len(tokens):] == 0).all()


def test_products_are_those_of_all_heads_at_most_and_a_share_of_them_is_kept() -> None:
    dense = counted(MOH, "dense", SIZES)
    assert dense["QK"]["mul"] == 6 * 9 * 9 * 3
    assert dense["RL"]["mul"] == 9 * 4 * 4
    cascade = MOH.cascade("3pass")
    found = count_operations(cascade, resolve_extents(cascade, own_extents(cascade, SIZES)))
    assert {"QK", "AV", "Y"} <= set(found.bounds)
    assert int(found.einsums["QK"]["mul"].value({})) == dense["QK"]["mul"]
    kept = gates("3pass", drawn_for(MOH, "3pass", SIZES)[0]) > 0
    assert kept.mean() == pytest.approx((2 + 2) / 6)


def test_passes_are_those_of_softmax_attention() -> None:
    counts = {name: passes(MOH.cascade(name))["m"] for name in MOH.algorithms}
    assert counts == {**dict.fromkeys(MOH.algorithms, 3), "1pass": 1}
