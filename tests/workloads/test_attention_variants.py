"""Attention with convolutions, over windows of voxels, between channels, of one head, by moments, under a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.footprint import live_footprint
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
from workloads.draws import constant
from workloads.variants import load_variant

RCMHA, LINFUSION, SCATTER, SHVIT, DAVIT, GAAM, SAT = ALL = tuple(load_variant(name) for name in (
    "rcmha", "linfusion", "scatterformer", "shvit", "davit", "gaam", "sat_spatial_query_attention"))


@pytest.mark.parametrize("variant", ALL, ids=lambda v: v.id)
@pytest.mark.parametrize("seed", range(2))
def test_every_algorithm_is_the_reference(variant: Any, seed: int) -> None:
    check_cases(variant, seed)


@pytest.mark.parametrize(("variant", "algorithm"), [(v, a) for v in ALL for a in v.algorithms],
                         ids=lambda x: x if isinstance(x, str) else x.id)
def test_the_slow_interpreter_agrees(variant: Any, algorithm: str) -> None:
    check_slow_twin(variant, algorithm)


@pytest.mark.parametrize("variant", ALL, ids=lambda v: v.id)
def test_published_figures_and_shapes(variant: Any) -> None:
    check_published(variant)
    check_shapes(variant, tiles=("m0",))


@pytest.mark.parametrize("algorithm", tuple(RCMHA.algorithms))
def test_convolved_attention_is_causal_and_reaches_back_by_its_taps(algorithm: str) -> None:
    extents = {"p": 8, "m": 8, "m0": 3, "n": 8, "w": 3, "e": 3, "f": 8}
    inputs, _ = drawn_for(RCMHA, algorithm, extents)
    changed = {**inputs, "V0": inputs["V0"] + np.eye(8)[5][:, None]}
    difference = outputs(RCMHA, algorithm, changed, extents)["O"] - outputs(RCMHA, algorithm, inputs, extents)["O"]
    assert (difference[:5] == 0).all()
    assert (difference[5:] != 0).all()
    counts = counted(RCMHA, algorithm, extents)
    pairs = 8 * 9 // 2
    assert counts["QK"]["mul"] == counts["QR"]["mul"] == pairs * 3
    # Three taps, but for the first two tokens: what stands before them is multiplied all the same.
    assert counts["CK"]["mul"] == 8 * 3 * 3


def test_means_are_sums_over_all_keys_that_no_pair_is_looked_at_for() -> None:
    n, e, f = 24, 4, 3
    counts = counted(LINFUSION, "core", {"p": n, "m": n, "e": e, "f": f})
    assert counts["KV"]["mul"] + counts["N"]["mul"] == 2 * n * e * f
    assert counted(LINFUSION, "quadratic", {"p": n, "m": n, "e": e, "f": f})["W"]["mul"] == n * n * e
    # Scaled by 1/sqrt(M) on both sides, sums of M keys stay as small as one.
    inputs, extents = drawn_for(LINFUSION, "scaled", {"p": 2, "m": 4096, "e": 2, "f": 2}, K=constant(3.0), V=constant(4.0))
    shown = outputs(LINFUSION, "scaled", inputs, extents, ("KV",))["KV"]
    np.testing.assert_allclose(shown, 16, rtol=1e-12)


def test_windows_are_attention_of_their_own_in_any_order_of_voxels() -> None:
    extents = {"n": 14, "w": 4, "e": 3, "f": 2}
    inputs, _ = drawn_for(SCATTER, "segments", extents)
    want = outputs(SCATTER, "segments", inputs, extents)["O"]
    windows = np.searchsorted(inputs["Off"], np.arange(14), side="right") - 1
    order = np.random.default_rng(0).permutation(14)
    turned = {**{name: inputs[name][order] for name in "QKV"}, "Win": windows[order]}
    np.testing.assert_allclose(outputs(SCATTER, "scatter", turned, extents)["O"], want[order], rtol=1e-11, atol=1e-14)
    quadratic = {**{name: inputs[name] for name in "QKV"}, "Win": windows}
    np.testing.assert_allclose(outputs(SCATTER, "quadratic", quadratic, extents)["O"], want, rtol=1e-11, atol=1e-14)
    counts = counted(SCATTER, "scatter", extents)
    assert counts["TV"]["mul"] + counts["N"]["mul"] == 2 * 14 * 3 * 2


def test_values_wider_than_keys_cost_what_they_are_wide() -> None:
    counts = counted(SHVIT, "core-1pass", {"p": 12, "m": 12, "m0": 4, "e": 2, "f": 9})
    assert (counts["QK"]["mul"], counts["SLNV"]["mul"]) == (12 * 12 * 2, 12 * 12 * 9)


def test_channels_mix_by_one_matrix_and_cost_two_products_of_tokens() -> None:
    n, c = 24, 4
    counts = counted(DAVIT, "channel", {"n": n, "c": c, "d": c})
    assert counts["KV"]["mul"] + counts["O"]["mul"] == 2 * n * c * c
    assert total(counts, "exp") == c * c
    inputs, extents = drawn_for(DAVIT, "channel", {"n": n, "c": c, "d": c}, Q=constant(1.0))
    # Rows of the matrix sum to 1.
    np.testing.assert_allclose(outputs(DAVIT, "channel", inputs, extents)["O"], 1, rtol=1e-13)
    # The scores wait for all tokens, which keys and values are visited once for; queries come after.
    assert passes(DAVIT.cascade("channel"))["n"] == 1
    assert str(live_footprint(DAVIT.cascade("channel"))["SN"].values) == "D"


@pytest.mark.parametrize("algorithm", ["spatial-3pass", "spatial-1pass"])
def test_padded_tokens_of_a_window_are_seen(algorithm: str) -> None:
    extents = {"y": 3, "x": 3, "y0": 2, "x0": 2, "v0": 2, "u0": 2, "e": 2, "f": 1}
    inputs, _ = drawn_for(DAVIT, algorithm, extents, V=constant(1.0), Bv=constant(0.0))
    found = outputs(DAVIT, algorithm, inputs, extents)["O"][:, :, 0]
    np.testing.assert_allclose(found[:2, :2], 1, rtol=1e-12)
    assert (found[2, :] < 1).all()
    assert (found[:, 2] < 1).all()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 12), k=st.integers(1, 4), scale=st.floats(0.1, 50), shift=st.floats(-50, 50), seed=st.integers(0, 2**32))
def test_weights_by_moments_sum_to_one_and_follow_the_data(n: int, k: int, scale: float, shift: float, seed: int) -> None:
    inputs, extents = drawn_for(GAAM, "log", {"b": 1, "n": n, "k": k}, seed)
    inputs["Delta"][:] = 0
    weights = outputs(GAAM, "log", inputs, extents, ("W",))["W"]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    # Gaussians at the mean know distances in standard deviations alone (1e-8 is added to the variance).
    moved = outputs(GAAM, "log", {**inputs, "X": inputs["X"] * scale + shift}, extents, ("W",))["W"]
    np.testing.assert_allclose(moved, weights, rtol=1e-3)


def test_products_of_gaussians_count_an_exponential_each_and_logarithms_one_for_all() -> None:
    extents = {"b": 2, "n": 7, "k": 5}
    assert total(counted(GAAM, "direct", extents), "exp") == 2 * 7 * 5
    assert total(counted(GAAM, "log", extents), "exp") == 2 * 7


def test_a_map_multiplies_values_as_it_does_weights() -> None:
    extents = {"h": 2, "p": 6, "m": 6, "m0": 4, "e": 3, "f": 2}
    inputs, _ = drawn_for(SAT, "3pass", extents)
    want = outputs(SAT, "3pass", inputs, extents)["O"]
    for algorithm in ("vgate-3pass", "vgate-2pass", "vgate-1pass"):
        np.testing.assert_allclose(outputs(SAT, algorithm, inputs, extents)["O"], want, rtol=1e-12)
    # One row of scores more than attention has.
    counts = counted(SAT, "vgate-2pass", extents)
    assert counts["LK"]["mul"] == 2 * 6 * 3
    assert counts["QK"]["mul"] == 2 * 6 * 6 * 3
    shown = outputs(SAT, "map", {"QL": inputs["Q"][:, -1], "K": inputs["K"]}, {})["MG"]
    np.testing.assert_allclose(outputs(SAT, "3pass", inputs, extents, ("MG",))["MG"], shown, rtol=1e-13)
