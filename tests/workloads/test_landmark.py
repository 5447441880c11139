"""Landmark attention: its weights, its single sweep, and that inference which keeps every block is training."""

from __future__ import annotations

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

LANDMARK = load_variant("landmark")
ALGORITHMS = tuple(LANDMARK.algorithms)
TRAINING = ("grouped", "1pass")


def weights(algorithm: str, extents: dict[str, int], seed: int = 0) -> tuple[Any, dict[str, Any]]:
    """The weight of each key for each query, seen through values that are unit vectors; and the inputs."""
    own = {**extents, "e": 3, "f": extents["m"]}
    inputs, _ = drawn_for(LANDMARK, algorithm, own, seed)
    inputs["V"] = np.eye(extents["m"])
    return outputs(LANDMARK, algorithm, inputs, own)["O"], inputs


def grouped_softmax(inputs: dict[str, Any], size: int) -> Any:
    """The weights as the released code finds them: keys in groups, a softmax for each, landmarks' weights handed on.

    Group 0 holds the query's own tokens and the landmarks before, group g the tokens of block g - 1.
    """
    queries, keys = inputs["Q"], inputs["K"]
    scores = np.exp(queries @ keys.T / np.sqrt(queries.shape[1]))
    place, position = np.arange(len(keys)), np.arange(len(queries)) + len(keys) - len(queries)
    block, landmark = place // size, place % size == size - 1
    own = position // size
    group = np.where(landmark | (block == own[:, None]), 0, block + 1)
    seen = (place <= position[:, None]) & ~(landmark & (block >= own[:, None]))
    scores = scores * seen
    shares = np.zeros_like(scores)
    for g in range(block.max() + 2):
        members = scores * (group == g)
        shares += members / np.maximum(members.sum(axis=1, keepdims=True), 1e-300)
    handed = np.array([[shares[q, (b + 1) * size - 1] if b < own[q] else 1.0 for b in block]
                       for q in range(len(queries))])
    return shares * handed * ~landmark


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(LANDMARK, seed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(LANDMARK, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(LANDMARK)
    check_shapes(LANDMARK, tiles=())


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 20), before=st.integers(0, 19), size=st.integers(2, 9), seed=st.integers(0, 2**32),
       algorithm=st.sampled_from(TRAINING))
def test_weights_are_those_of_the_grouped_softmax(m: int, before: int, size: int, seed: int, algorithm: str) -> None:
    found, inputs = weights(algorithm, {"p": max(m - before, 1), "m": m, "m0": size}, seed)
    np.testing.assert_allclose(found, grouped_softmax(inputs, size), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weights_sum_to_1_and_landmarks_and_later_keys_have_none(algorithm: str) -> None:
    found, _ = weights(algorithm, {"p": 23, "m": 23, "m0": 5, "j": 2})
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-13)
    assert (found >= 0).all()
    assert (found[:, 4::5] == 0).all()
    assert (np.triu(found, 1) == 0).all()


@pytest.mark.parametrize("algorithm", ["topk", "topk-shared"])
def test_inference_that_keeps_every_block_is_training(algorithm: str) -> None:
    for m, p, size in ((24, 24, 4), (26, 5, 4), (9, 9, 3), (13, 2, 2)):
        extents = {"p": p, "m": m, "m0": size, "j": -(-m // size)}
        trained, _ = weights("grouped", extents)
        np.testing.assert_allclose(weights(algorithm, extents)[0], trained, rtol=1e-12, atol=1e-15)


def test_inference_sees_the_tokens_of_its_own_block_and_of_the_blocks_it_chose() -> None:
    extents = {"p": 4, "m": 24, "m0": 4, "j": 2}
    found, inputs = weights("topk", extents)
    landmarks = inputs["Q"] @ inputs["K"][3:20:4].T
    for query in range(4):
        best = set(np.argsort(-landmarks[query])[:2])
        want = {4 * block + token for block in best for token in range(3)} | set(range(20, min(20 + query, 22) + 1))
        assert want == set(np.flatnonzero(found[query]))
    shared, inputs = weights("topk-shared", extents)
    chosen = {frozenset(key // 4 for key in np.flatnonzero(row) if key < 20) for row in shared}
    assert len(chosen) == 1
    share = np.exp(inputs["Q"] @ inputs["K"][3:20:4].T / np.sqrt(3))
    share /= share.sum(axis=1, keepdims=True)
    assert chosen == {frozenset(np.argsort(-share.max(axis=0))[:2].tolist())}


def test_the_order_of_tokens_inside_a_past_block_has_no_meaning() -> None:
    extents = {"p": 3, "m": 15, "m0": 5, "e": 3, "f": 2}
    inputs, _ = drawn_for(LANDMARK, "grouped", extents)
    order = [2, 0, 3, 1, 4, 8, 5, 7, 6, 9, *range(10, 15)]
    moved = {**inputs, "K": inputs["K"][order], "V": inputs["V"][order]}
    for algorithm in TRAINING:
        np.testing.assert_allclose(outputs(LANDMARK, algorithm, moved, extents)["O"],
                                   outputs(LANDMARK, algorithm, inputs, extents)["O"], rtol=1e-12)


def test_products_are_those_of_causal_attention_and_inner_and_outer_softmax_add_exponentials() -> None:
    n, size, e, f = 24, 6, 3, 2
    pairs = n * (n + 1) // 2
    own = (size - 1) * size // 2 + size - 1
    blocks = n // size
    past_blocks = blocks * (blocks - 1) // 2 * size
    counts = counted(LANDMARK, "grouped", {"p": n, "m": n, "m0": size, "e": e, "f": f})
    assert counts["QK"]["mul"] == pairs * e
    assert counts["NI"]["exp"] == past_blocks * (size - 1)
    assert counts["NL"]["exp"] == past_blocks
    assert counts["NT"]["exp"] == blocks * own
    # Every visible key has a value, but for the landmarks.
    assert counts["OT"]["mul"] + counts["OB"]["mul"] == (blocks * own + past_blocks * (size - 1)) * f
    assert total(counts, "exp") == pairs - blocks  # a block's landmark does not see itself


def test_passes_are_3_written_out_1_in_training_and_2_in_inference() -> None:
    counts = {name: passes(LANDMARK.cascade(name)) for name in ALGORITHMS}
    assert [counts[name]["m"] for name in ("grouped", "1pass", "topk", "topk-shared")] == [3, 1, 2, 2]
    assert counts["1pass"]["m1"] == 1
