"""The selective scan: every algorithm is the sum that the recurrence unrolls to, and states compose."""

from __future__ import annotations

import math
from math import prod
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
from workloads.variants import load_variant
from workloads.variants.mamba_s6 import MODELS, WEIGHTS, layer, parameters

S6 = load_variant("mamba_s6")
SCANS = ("sequential", "associative", "kogge-stone", "brent-kung", "tiled", "split", "quadratic")


def sizes(i: int, e: int, n: int, i0: int) -> dict[str, int]:
    return {"i": i, "e": e, "n": n, "i0": i0, "s": max(1, math.ceil(math.log2(i)))}


def unrolled(inputs: dict[str, Any]) -> Any:
    """Y of the gate as a sum over earlier tokens, each with the decay exp(A * sum of the steps between)."""
    step = np.log1p(np.exp(inputs["DP"] + inputs["Bdt"]))
    a, x, z = -np.exp(inputs["Alog"]), inputs["U"], inputs["Z"]
    y = inputs["D"] * x
    for i in range(len(x)):
        for k in range(i + 1):
            decay = np.exp(a * step[k + 1:i + 1].sum(axis=0)[:, None])
            y[i] += (decay * inputs["B"][k] * inputs["C"][i]).sum(axis=1) * step[k] * x[k]
        y[i] += (np.exp(a * step[:i + 1].sum(axis=0)[:, None]) * inputs["H0"]) @ inputs["C"][i]
    return y * z / (1 + np.exp(-z))


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(S6, seed)


@pytest.mark.parametrize("algorithm", tuple(S6.algorithms))
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(S6, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(S6)
    check_shapes(S6, tiles=("i0", "s"))


@settings(max_examples=40, deadline=None)
@given(i=st.integers(1, 19), e=st.integers(1, 3), n=st.integers(1, 3), i0=st.integers(1, 20),
       seed=st.integers(0, 2**32), algorithm=st.sampled_from(SCANS))
def test_a_scan_is_the_unrolled_sum_whatever_the_chunks(i: int, e: int, n: int, i0: int, seed: int,
                                                        algorithm: str) -> None:
    extents = sizes(i, e, n, i0)
    inputs, _ = drawn_for(S6, algorithm, extents, seed)
    got = outputs(S6, algorithm, inputs, extents)["G"]
    np.testing.assert_allclose(got, unrolled(inputs), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", [*SCANS, "zoh"])
def test_a_scan_goes_on_from_the_state_that_another_left(algorithm: str) -> None:
    extents = sizes(13, 3, 2, 4)
    inputs, _ = drawn_for(S6, algorithm, extents)
    whole = outputs(S6, algorithm, inputs, extents)
    for cut in (1, 4, 7, 12):
        first = {name: a[:cut] if name in ("DP", "U", "B", "C", "Z") else a for name, a in inputs.items()}
        before = outputs(S6, algorithm, first, sizes(cut, 3, 2, 4))
        rest = {name: a[cut:] if name in ("DP", "U", "B", "C", "Z") else a for name, a in inputs.items()}
        after = outputs(S6, algorithm, {**rest, "H0": before["HL"]}, sizes(13 - cut, 3, 2, 4))
        np.testing.assert_allclose(np.concatenate((before["G"], after["G"])), whole["G"], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(after["HL"], whole["HL"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("algorithm", SCANS)
def test_no_token_sees_a_later_one(algorithm: str) -> None:
    extents = sizes(11, 2, 2, 4)
    inputs, _ = drawn_for(S6, algorithm, extents)
    changed = {name: np.concatenate((a[:6], a[6:] + 1.0)) if name in ("DP", "U", "B", "C", "Z") else a
               for name, a in inputs.items()}
    before, after = (outputs(S6, algorithm, given, extents)["G"] for given in (inputs, changed))
    np.testing.assert_allclose(after[:6], before[:6], rtol=1e-12)
    assert (after[6:] != before[6:]).all()


def test_a_chunk_decays_by_the_exponential_of_its_steps() -> None:
    extents = sizes(12, 3, 2, 4)
    inputs, _ = drawn_for(S6, "split", extents)
    shown = outputs(S6, "split", inputs, extents, ("PC", "AB"))
    np.testing.assert_allclose(shown["PC"], shown["AB"].prod(axis=1), rtol=1e-13)


def test_a_step_of_the_recurrence_is_6_operations_and_an_exponential() -> None:
    i, e, n = 7, 5, 3
    counts = counted(S6, "sequential", sizes(i, e, n, 4))
    # Beside those of each state: A; the bias, the product with U, the skip (2) and the gate.
    assert total(counts, "mul", "add") == 6 * i * e * n + 5 * i * e
    assert total(counts, "exp") == i * e * n + e * n
    # Functions of the exponential's unit: one for each state, and softplus and silu with two each.
    assert total(counts, "exp", "softplus", "softplus", "silu", "silu") - e * n == i * e * (n + 4)


def test_parallel_scans_combine_as_often_as_they_are_known_to() -> None:
    counts = counted(S6, "kogge-stone", sizes(64, 1, 1, 4))
    assert counts["KA"]["mul"] == counts["KB"]["mul"] == counts["KB"]["add"] == 321  # 64 * 6 - 64 + 1
    counts = counted(S6, "brent-kung", sizes(64, 1, 1, 4))
    assert (counts["UA"]["mul"], counts["VA"]["mul"]) == (63, 57)  # 2 * 64 - log2(64) - 2 together
    for i in (5, 23, 40):
        s = math.ceil(math.log2(i))
        counts = counted(S6, "kogge-stone", sizes(i, 1, 1, 4))
        assert counts["KA"]["mul"] == sum(i - 2**step for step in range(s))


def test_the_quadratic_form_has_an_exponential_for_each_pair_of_a_chunk() -> None:
    counts = counted(S6, "quadratic", sizes(24, 2, 3, 8))
    assert counts["LW"]["exp"] == 3 * 8 * 9 // 2 * 2 * 3


def test_what_grows_with_the_tokens_is_read_and_written_once() -> None:
    found = structure(S6.cascade("sequential"))
    extents = {"i": 100, "e": 8, "n": 4}
    moved = sum(prod(extents[r] for r in found.dimensions[tensor] if r is not None)
                for tensor in (*found.inputs, *found.outputs) if "i" in found.dimensions[tensor])
    assert moved == 100 * (4 * 8 + 2 * 4)  # U, DP, Z and G; B and C


def test_passes_are_one_over_the_tokens_and_two_inside_chunks() -> None:
    counts = {name: passes(S6.cascade(name)) for name in S6.algorithms}
    assert {name: found["i"] for name, found in counts.items()} == dict.fromkeys(S6.algorithms, 1)
    assert {name: (counts[name]["i1"], counts[name]["i0"]) for name in ("tiled", "split", "quadratic")} == \
        dict.fromkeys(("tiled", "split", "quadratic"), (1, 2))


def test_the_released_softplus_is_the_exact_one_to_the_last_digits() -> None:
    x = np.linspace(20, 40, 1001)
    assert np.abs(np.log1p(np.exp(x)) - x).max() < 3e-9


def test_parameters_of_a_layer_are_its_weights() -> None:
    # 3 E M + E (W + 1) + (R + 2 N) E + E R + E + E N + E + M, of the layer of 130m.
    m, e, n, r, w = 768, 1536, 16, 48, 4
    own = 3 * e * m + e * (w + 1) + (r + 2 * n) * e + e * r + e + e * n + e + m
    assert parameters("130m") == pytest.approx((24 * own + 50280 * m + m) / 1e6)
    assert set(WEIGHTS) == set(structure(S6.cascade("block")).inputs) - {"X", "RES"}
    assert [layer(model, 1)["r"] for model in MODELS] == [48, 64, 96, 128, 160]
