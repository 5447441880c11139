"""State space duality: scan, chunks and quadratic form are one function, with the counts of matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.passes import passes
from einsum_cascades.structure import structure
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
from workloads.variants.mamba2_ssd import MODELS, WEIGHTS, chunked_flops, layer, parameters

SSD = load_variant("mamba2_ssd")
SCANS = ("sequential", "chunked", "quadratic")
TOKENS = ("T", "X", "B", "C")


def unrolled(inputs: dict[str, Any]) -> Any:
    """Y as a sum over earlier tokens, head by head, each with the decay of what lies between."""
    x = inputs["X"]
    heads, groups = x.shape[1], inputs["B"].shape[1]
    step = np.log1p(np.exp(inputs["T"] + inputs["Bdt"]))
    rate = -np.exp(inputs["Alog"])
    y = inputs["D"][:, None] * x
    for h in range(heads):
        b, c = inputs["B"][:, h * groups // heads], inputs["C"][:, h * groups // heads]
        for i in range(len(x)):
            for k in range(i + 1):
                y[i, h] += (c[i] @ b[k]) * np.exp(rate[h] * step[k + 1:i + 1, h].sum()) * step[k, h] * x[k, h]
            if "H0" in inputs:
                y[i, h] += np.exp(rate[h] * step[:i + 1, h].sum()) * (inputs["H0"][h] @ c[i])
    return y


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(SSD, seed)


@pytest.mark.parametrize("algorithm", tuple(SSD.algorithms))
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(SSD, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(SSD)
    check_shapes(SSD, tiles=())


@settings(max_examples=40, deadline=None)
@given(i=st.integers(1, 15), each=st.integers(1, 3), g=st.integers(1, 2), p=st.integers(1, 3), n=st.integers(1, 3),
       i0=st.integers(1, 16), seed=st.integers(0, 2**32), algorithm=st.sampled_from(SCANS))
def test_all_forms_are_the_unrolled_sum_whatever_the_chunks(i: int, each: int, g: int, p: int, n: int, i0: int,
                                                            seed: int, algorithm: str) -> None:
    extents = {"i": i, "h": each * g, "g": g, "p": p, "n": n, "i0": i0}
    inputs, _ = drawn_for(SSD, algorithm, extents, seed)
    np.testing.assert_allclose(outputs(SSD, algorithm, inputs, extents)["Y"], unrolled(inputs), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["sequential", "chunked"])
def test_a_scan_goes_on_from_the_state_that_another_left(algorithm: str) -> None:
    extents = {"i": 13, "h": 4, "g": 2, "p": 2, "n": 3, "i0": 4}
    inputs, _ = drawn_for(SSD, algorithm, extents)
    whole = outputs(SSD, algorithm, inputs, extents)
    for cut in (1, 4, 7, 12):
        first = {name: a[:cut] if name in TOKENS else a for name, a in inputs.items()}
        before = outputs(SSD, algorithm, first, {**extents, "i": cut})
        rest = {name: a[cut:] if name in TOKENS else a for name, a in inputs.items()}
        after = outputs(SSD, algorithm, {**rest, "H0": before["HL"]}, {**extents, "i": 13 - cut})
        np.testing.assert_allclose(np.concatenate((before["Y"], after["Y"])), whole["Y"], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(after["HL"], whole["HL"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("algorithm", SCANS)
def test_a_group_for_all_heads_is_one_for_each_with_copies(algorithm: str) -> None:
    one = {"i": 9, "h": 3, "g": 1, "p": 2, "n": 3, "i0": 4}
    inputs, _ = drawn_for(SSD, algorithm, one)
    copied = {**inputs, "B": inputs["B"].repeat(3, axis=1), "C": inputs["C"].repeat(3, axis=1)}
    np.testing.assert_allclose(outputs(SSD, algorithm, copied, {**one, "g": 3})["Y"],
                               outputs(SSD, algorithm, inputs, one)["Y"], rtol=1e-12)


def test_counts_per_token_and_head_are_those_of_the_forms() -> None:
    i, h, g, p, n, q = 24, 4, 2, 3, 5, 8
    extents = {"i": i, "h": h, "g": g, "p": p, "n": n, "i0": q}
    each = i * h
    counts = counted(SSD, "sequential", extents)
    assert sum(counts[name][op] for name in ("H", "YS") for op in ("mul", "add")) == 5 * n * p * each
    counts = counted(SSD, "chunked", extents)
    assert counts["CB"]["mul"] + counts["CB"]["add"] == 2 * q * n * i * g
    assert counts["YD"]["mul"] + counts["YD"]["add"] == (q + 1) * p * each
    assert sum(counts[name][op] for name in ("ST", "CH") for op in ("mul", "add")) == 4 * n * p * each
    assert (counts["HC"]["mul"] + counts["HC"]["add"]) * q == 2 * n * p * each
    # Exponentials of LM, LE and ES, one for each chunk, and A.
    assert total(counts, "exp") == each * (q + 1) // 2 + 2 * each + each // q + h
    counts = counted(SSD, "quadratic", extents)
    assert counts["LM"]["exp"] == h * i * (i + 1) // 2
    assert counts["CB"]["mul"] == g * i * i * n


def test_flops_of_whole_chunks_are_the_formula() -> None:
    # Per token and head 2 Q P + 4 N P + 2 N P / Q, per token and group 2 Q N.
    for model in MODELS:
        extents = layer(model, 4096)
        h, p, n, q = (extents[rank] for rank in ("h", "p", "n", "i0"))
        formula = 4096 * (h * (2 * q * p + 4 * n * p + 2 * n * p / q) + 2 * q * n)
        assert chunked_flops(model, 4096) == pytest.approx(formula / 1e9, rel=1e-12)


def test_parameters_of_a_layer_are_its_weights() -> None:
    m, e, h, n = 768, 1536, 24, 128
    own = m * (2 * e + 2 * n + h) + (e + 2 * n) * 5 + 3 * h + e + e * m + m
    assert parameters("130m") == pytest.approx((24 * own + 50288 * m + m) / 1e6)
    assert set(WEIGHTS) == set(structure(SSD.cascade("block")).inputs) - {"U", "Low", "High"}


def test_steps_of_the_layer_stay_within_their_bounds() -> None:
    extents = {"i": 9, "m": 6, "h": 4, "g": 1, "p": 2, "n": 3, "w": 4}
    inputs, _ = drawn_for(SSD, "block", extents, Low=constant(0.4), High=constant(0.9))
    steps = outputs(SSD, "block", inputs, extents, ("DT",))["DT"]
    assert (steps.min(), steps.max()) == (0.4, 0.9)
    assert ((steps > 0.4) & (steps < 0.9)).any()


def test_the_layer_is_causal_and_each_group_of_heads_is_normed() -> None:
    extents = {"i": 9, "m": 6, "h": 4, "g": 2, "p": 2, "n": 3, "w": 4}
    inputs, _ = drawn_for(SSD, "block", extents)
    later = {**inputs, "U": np.concatenate((inputs["U"][:5], inputs["U"][5:] + 1))}
    before, after = (outputs(SSD, "block", given, extents)["O"] for given in (inputs, later))
    np.testing.assert_allclose(after[:5], before[:5], rtol=1e-12)
    assert (after[5:] != before[5:]).all()
    shown = outputs(SSD, "block", {**inputs, "Wn": np.ones_like(inputs["Wn"])}, extents, ("YN",))["YN"]
    np.testing.assert_allclose((shown.reshape(9, 2, 4)**2).mean(axis=2), 1, rtol=1e-2)


def test_passes_are_one_over_tokens_and_chunks() -> None:
    counts = {name: passes(SSD.cascade(name)) for name in SSD.algorithms}
    assert {name: counts[name]["i"] for name in counts} == dict.fromkeys(SSD.algorithms, 1)
    assert (counts["chunked"]["i1"], counts["chunked"]["i0"]) == (1, 2)
