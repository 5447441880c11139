"""Linear attention, retention and gated linear attention: one sum in three forms, however it is cut."""

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
from workloads.draws import constant
from workloads.variants import load_variant

LINEAR, RETNET, GLA = (load_variant(name) for name in ("linear_attention", "retnet", "gla"))
ALL = (LINEAR, RETNET, GLA)
SCANS = ((LINEAR, "causal-sequential", ("KV0", "KS0"), ("KVL", "KSL")), (LINEAR, "causal-chunked", ("KV0", "KS0"), ("KVL", "KSL")),
         (LINEAR, "plain-sequential", ("KV0",), ("KVL",)), (LINEAR, "plain-chunked", ("KV0",), ("KVL",)),
         (RETNET, "recurrent", ("S0",), ("SL",)), (RETNET, "chunked", ("S0",), ("SL",)),
         (GLA, "recurrent", ("S0",), ("SL",)), (GLA, "chunked", ("S0",), ("SL",)), (GLA, "subchunked", ("S0",), ("SL",)))


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
    check_shapes(variant, tiles=("i0", "i00"))


@settings(max_examples=60, deadline=None)
@given(which=st.sampled_from(SCANS), i=st.integers(2, 14), i0=st.integers(1, 15), i00=st.integers(1, 5), cut=st.floats(0, 1),
       seed=st.integers(0, 2**32))
def test_a_scan_goes_on_from_the_state_that_another_left(which: Any, i: int, i0: int, i00: int, cut: float, seed: int) -> None:
    variant, algorithm, first, last = which
    extents = {"i": i, "i0": i0, "i00": i00, "h": 2, "n": 3, "v": 2, "e": 3, "f": 2}
    inputs, _ = drawn_for(variant, algorithm, extents, seed)
    whole = outputs(variant, algorithm, inputs, extents)
    at = 1 + int(cut * (i - 2))
    tokens = [name for name in ("Q", "K", "V", "T") if name in inputs]
    before = outputs(variant, algorithm, {**inputs, **{t: inputs[t][:at] for t in tokens}}, {**extents, "i": at})
    rest = {**inputs, **{t: inputs[t][at:] for t in tokens},
            **{f: before[s] for f, s in zip(first, last, strict=True)}}
    after = outputs(variant, algorithm, rest, {**extents, "i": i - at})
    # A sum of weights of both signs may be small beside what it is made of.
    np.testing.assert_allclose(np.concatenate((before["O"], after["O"])), whole["O"], rtol=1e-9, atol=1e-11)
    for name in last:
        np.testing.assert_allclose(after[name], whole[name], rtol=1e-9, atol=1e-11)


def test_all_forms_without_gates_are_the_scan_of_mamba_2() -> None:
    # Queries C, keys B, values DT * X: steps of 1 (softplus(log(e - 1)) = 1) and no D.
    ssd = load_variant("mamba2_ssd")
    extents = {"i": 11, "h": 2, "g": 2, "p": 3, "n": 4, "i0": 4}
    inputs, _ = drawn_for(ssd, "chunked", extents)
    decay = 1 - 2.0**-np.array([5, 6])
    inputs |= {"T": np.zeros_like(inputs["T"]), "Bdt": np.full(2, np.log(np.e - 1)), "D": np.zeros(2),
               "Alog": np.log(-np.log(decay))}
    want = outputs(ssd, "chunked", inputs, extents)
    given_ = {"Q": inputs["C"] * 2, "K": inputs["B"], "V": inputs["X"], "S0": inputs["H0"].transpose(0, 2, 1)}
    for algorithm in ("recurrent", "chunked"):
        found = outputs(RETNET, algorithm, given_, {"i0": 5})
        np.testing.assert_allclose(found["O"], want["Y"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found["SL"].transpose(0, 2, 1), want["HL"], rtol=1e-9, atol=1e-12)


def test_noncausal_is_the_last_token_of_causal() -> None:
    extents = {"p": 1, "m": 9, "e": 3, "f": 2}
    inputs, _ = drawn_for(LINEAR, "noncausal", extents)
    causal = {**inputs, "Q": np.repeat(inputs["Q"], 9, axis=0)}
    want = outputs(LINEAR, "causal-quadratic", causal, {})["O"][-1]
    for algorithm in ("noncausal", "noncausal-quadratic"):
        np.testing.assert_allclose(outputs(LINEAR, algorithm, inputs, extents)["O"][0], want, rtol=1e-12)


def test_weights_of_noncausal_are_means() -> None:
    inputs, _ = drawn_for(LINEAR, "noncausal", {"p": 4, "m": 9, "e": 3, "f": 2}, V=constant(1.0), Eps=constant(0.0))
    np.testing.assert_allclose(outputs(LINEAR, "noncausal", inputs, {})["O"], 1, rtol=1e-13)


def test_linear_forms_count_no_pairs_and_chunks_only_their_own() -> None:
    n, e, f, chunk = 24, 4, 3, 6

    def products(algorithm: str, *names: str, **extents: int) -> int:
        return sum(counted(LINEAR, algorithm, extents)[name]["mul"] for name in names)
    # 2 N E F products in place of N^2 (E + F), as for the macro LIN of linear attention.
    assert products("noncausal", "KV", "N", p=n, m=n, e=e, f=f) == 2 * n * e * f
    assert products("noncausal-quadratic", "W", "N", p=n, m=n, e=e, f=f) == n * n * (e + f)
    assert products("causal-sequential", "KV", "N", i=n, e=e, f=f) == 2 * n * e * f
    assert products("causal-quadratic", "W", "N", i=n, e=e, f=f) == n * (n + 1) // 2 * (e + f)
    assert products("causal-chunked", "W", "NI", i=n, i0=chunk, e=e, f=f) == n * (chunk + 1) // 2 * (e + f)
    assert products("causal-chunked", "SV", "NC", i=n, i0=chunk, e=e, f=f) == 2 * n * e * f


def test_retention_and_gates_have_the_products_of_state_space_duality() -> None:
    i, h, n, v, q = 24, 2, 3, 5, 8
    counts = counted(RETNET, "chunked", {"i": i, "h": h, "n": n, "v": v, "i0": q})
    # Per token and head (Q + 1)/2 (N + V) pairs inside a chunk, 2 N V across, and N V for each chunk.
    assert counts["QK"]["mul"] + counts["OI"]["mul"] == i * h * (q + 1) // 2 * (n + v)
    assert counts["SC"]["mul"] + counts["QS"]["mul"] == 2 * i * h * n * v
    assert counts["S"]["mul"] == i // q * h * n * v
    counts = counted(GLA, "chunked", {"i": i, "n": n, "v": v, "i0": q})
    # Gates of each feature: as many exponentials as pairs times features, no product of matrices.
    assert counts["DA"]["exp"] == i * (q + 1) // 2 * n
    counts = counted(GLA, "subchunked", {"i": i, "n": n, "v": v, "i0": q, "i00": 2})
    assert counts["XD"]["exp"] == i * 3 // 2 * n
    assert counts["WP"]["mul"] == i // q * n * 2 * sum(2 * part for part in range(q // 2)) // 1
    assert total(counts, "exp") < total(counted(GLA, "chunked", {"i": i, "n": n, "v": v, "i0": q}), "exp")


def test_gates_are_the_roots_of_sigmoids_and_strong_ones_do_not_overflow() -> None:
    extents = {"i": 64, "n": 2, "v": 2, "i0": 64, "i00": 8}
    inputs, _ = drawn_for(GLA, "subchunked", extents, T=constant(-800.0))
    with np.errstate(over="raise", invalid="raise"):
        found = outputs(GLA, "subchunked", inputs, extents)
    # Each gate is exp(-50): only the token itself is left.
    np.testing.assert_allclose(found["O"][1:], (inputs["Q"] * inputs["K"]).sum(axis=1, keepdims=True)[1:] * inputs["V"][1:]
                               / np.sqrt(2), rtol=1e-12, atol=1e-15)


def test_passes_are_one_over_tokens_and_chunks() -> None:
    for variant in ALL:
        for algorithm in variant.algorithms:
            counts = passes(variant.cascade(algorithm))
            assert {counts[rank] for rank in ("i", "i1", "m", "p", "k") if rank in counts} == {1}
