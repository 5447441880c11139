"""The layers of language models as variants: their formulas, and what they are beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.interpreter import run
from tests.workloads.variant_checks import (
    check_cases,
    check_published,
    check_slow_twin,
    counted,
    drawn_for,
    outputs,
    total,
)
from workloads.variants import load_variant

IDS = ("activation", "causal_attention", "depthwise_conv1d", "embedding", "expert_router", "gated_linear_unit", "gated_rms_norm",
       "layer_norm", "linear", "relative_bias_attention", "residual", "rms_norm", "rotary", "sliding_window_attention",
       "soft_capped_attention", "state_update")
ATTENTION = [(name, algorithm) for name in IDS if name.endswith("attention") for algorithm in load_variant(name).algorithms
             if algorithm != "buckets"]


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("seed", range(2))
def test_every_algorithm_is_the_reference(name: str, seed: int) -> None:
    check_cases(load_variant(name), seed)


@pytest.mark.parametrize(("name", "algorithm"), [(name, a) for name in IDS for a in load_variant(name).algorithms])
def test_the_slow_interpreter_agrees(name: str, algorithm: str) -> None:
    check_slow_twin(load_variant(name), algorithm)


@pytest.mark.parametrize("name", ["layer_norm", "causal_attention"])
def test_published_figures(name: str) -> None:
    check_published(load_variant(name))


def visible(name: str, algorithm: str, p: int, m: int, w: int) -> int:
    """The pairs of queries and keys that are computed, one by one."""
    def seen(query: int, key: int) -> bool:
        position = m - p + query
        if algorithm.startswith("full"):
            return True
        return key <= position and (position - key < w or not ("window" in algorithm or name.startswith("sliding")))
    return sum(seen(query, key) for query in range(p) for key in range(m))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ATTENTION), st.integers(1, 9), st.integers(0, 6), st.integers(1, 8), st.integers(1, 3))
def test_attention_counts_what_its_mask_lets_through(which: tuple[str, str], p: int, before: int, w: int, r: int) -> None:
    name, algorithm = which
    counts = counted(load_variant(name), algorithm, {"r": r, "p": p, "m": p + before, "e": 4, "f": 5, "m0": 3, "w": w})
    pairs = r * visible(name, algorithm, p, p + before, w)
    assert counts["QK" if "QK" in counts else "S"]["mul"] == 4 * pairs
    assert sum(counts[own]["mul"] for own in ("AV", "SNV", "SLNV") if "mul" in counts.get(own, {})) == 5 * pairs
    assert sum(counts[own].get("exp", 0) for own in ("SN", "SLN") if own in counts) == pairs


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32))
def test_grouped_queries_are_heads_whose_keys_are_repeated(r: int, groups: int, p: int, e: int, seed: int) -> None:
    # Head h of all heads reads key head h // R: another cascade, with all heads in it.
    whole = "S[h,p,m] = Q[h,p,e] * K[h // R,m,e] where m <= p\nG[h,p] = max[m] S[h,p,m]\nN[h,p,m] = exp(S[h,p,m] - G[h,p])\n" \
            "D[h,p] = N[h,p,m]\nO[h,p,f] = N[h,p,m] * V[h // R,m,f] / D[h,p]"
    from einsum_cascades.notation import parse
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(heads, p, e)) for heads in (r * groups, groups, groups))
    expected = run(parse(whole), {"Q": q, "K": k, "V": v}, {"r": r})["O"]
    causal = load_variant("causal_attention").cascade("2pass")
    found = [run(causal, {"Q": q[g * r:(g + 1) * r], "K": k[g], "V": v[g]}, {})["AV"] for g in range(groups)]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32))
def test_a_convolution_goes_on_from_its_window(i: int, w: int, e: int, seed: int) -> None:
    conv = load_variant("depthwise_conv1d")
    inputs, extents = drawn_for(conv, "sequence", {"b": 2, "i": i + 1, "e": e, "w": w}, seed)
    whole = outputs(conv, "sequence", inputs, extents)
    before = outputs(conv, "sequence", {**inputs, "X": inputs["X"][:, :-1]}, {**extents, "i": i})
    step = outputs(conv, "step", {**inputs, "S0": before["CS"], "XN": inputs["X"][:, -1]}, extents)
    np.testing.assert_allclose(step["U"], whole["U"][:, -1], rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(step["S1"], whole["CS"])


def test_a_state_goes_on_from_a_scan() -> None:
    scan, step = load_variant("mamba_s6"), load_variant("state_update")
    inputs, extents = drawn_for(scan, "sequential", {"i": 7, "e": 3, "n": 2}, 1)
    whole = outputs(scan, "sequential", inputs, extents)
    tokens = ("DP", "U", "Z", "B", "C")
    before = outputs(scan, "sequential", {**inputs, **{t: inputs[t][:-1] for t in tokens}}, {**extents, "i": 6})
    last = {t: inputs[t][-1:] for t in tokens}
    found = outputs(step, "s6", {**inputs, **last, "H0": before["HL"][None]}, {"b": 1, "e": 3, "n": 2})
    np.testing.assert_allclose(found["G"][0], whole["G"][-1], rtol=1e-12)
    np.testing.assert_allclose(found["H1"][0], whole["HL"], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_rotation_keeps_products_of_equal_distances(p: int, h: int, j: int, seed: int) -> None:
    # What rotary embedding is for: a score depends on the distance of its positions alone.
    from workloads.variants.rotary import cosines, signed_sines
    rng = np.random.default_rng(seed)
    extents = {"b": 1, "p": p + 3, "h": h, "c": 2, "j": j}
    query, key = (np.tile(rng.normal(size=(1, 1, h, 2, j)), (1, p + 3, 1, 1, 1)) for _ in range(2))
    tables = {"Cos": cosines(rng, (), extents), "Sin": signed_sines(rng, (), extents)}
    rotary = load_variant("rotary").cascade()
    turned: list[Any] = [run(rotary, {"X": x, **tables}, {})["Y"] for x in (query, key)]
    scores = np.einsum("bphcj,bqhcj->hpq", *turned)
    np.testing.assert_allclose(scores[:, 1:, 1:], scores[:, :-1, :-1], rtol=1e-10, atol=1e-10)
    assert total(counted(load_variant("rotary"), "halves", extents), "mul", "add") == 3 * (p + 3) * h * 2 * j


def test_buckets_of_relative_positions_make_a_matrix_of_equal_diagonals() -> None:
    bias = load_variant("relative_bias_attention")
    inputs, _ = drawn_for(bias, "full-3pass", {"r": 1, "p": 5, "m": 5, "e": 2, "f": 5}, 3)
    # Values of the identity: the outputs are the weights, of which ratios show the biases.
    weights = outputs(bias, "full-3pass", {**inputs, "Q": np.zeros((1, 5, 2)), "V": np.eye(5)}, {})["AV"][0]
    found = np.log(weights / weights[:, :1]) + inputs["RB"][4::-1][:, None]
    np.testing.assert_allclose(found, [[inputs["RB"][m - p + 4] for m in range(5)] for p in range(5)], rtol=1e-11, atol=1e-12)
