"""Linear time-invariant states, the dynamical systems framework, and how attention is computed elsewhere."""

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

S4D, S5, DSF, TAXONOMY = ALL = tuple(load_variant(name) for name in ("s4d", "s5", "dsf", "attention_taxonomy"))


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
    if variant.shapes:
        check_shapes(variant, tiles=())


@settings(max_examples=30, deadline=None)
@given(i=st.integers(1, 14), i0=st.integers(1, 15), n=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_recurrence_convolution_and_chunks_are_one_function(i: int, i0: int, n: int, seed: int) -> None:
    inputs, _ = drawn_for(S4D, "recurrent", {"i": i, "e": 2, "n": n}, seed)
    want = outputs(S4D, "recurrent", inputs, {})["Y"]
    for algorithm, extents in (("convolution", {"i": i, "j": i, "l": i}), ("chunked", {"i": i, "i0": i0, "l": i0})):
        np.testing.assert_allclose(outputs(S4D, algorithm, inputs, extents)["Y"], want, rtol=1e-9, atol=1e-11)


def test_convolutions_have_all_pairs_and_their_kernel_does_not_know_the_sequence() -> None:
    i, e, n = 16, 2, 3
    counts = counted(S4D, "convolution", {"i": i, "j": i, "l": i, "e": e, "n": n})
    assert counts["YK"]["mul"] == e * i * (i + 1) // 2
    assert counts["VR"]["exp"] == counts["VR"]["cos"] == e * i * n
    counts = counted(S4D, "chunked", {"i": i, "i0": 4, "l": 4, "e": e, "n": n})
    assert counts["YK"]["mul"] == e * i * 5 // 2
    # What depends on the place in a chunk alone is made once for all chunks.
    assert counts["QR"]["exp"] == e * 4 * n
    counts = counted(S4D, "recurrent", {"i": i, "e": e, "n": n})
    assert counts["HR"]["mul"] + counts["HI"]["mul"] == 6 * i * e * n
    assert total(counts, "exp") == e + 3 * e * n  # steps, rates, and the magnitude of each part of a decay


def test_matrices_are_the_work_of_one_system_for_all_features() -> None:
    i, p, h = 8, 4, 16
    counts = counted(S5, "sequential", {"i": i, "p": p, "h": h})
    products = sum(counts[name]["mul"] for name in ("UR", "UI", "YR", "YI"))
    assert products == 4 * i * p * h
    assert counts["XR"]["mul"] + counts["XI"]["mul"] == 4 * i * p
    # However the prefixes are found, they are read alike.
    assert counted(S5, "associative", {"i": i, "k": i, "p": p, "h": h})["YR"] == counts["YR"]


@pytest.mark.parametrize("algorithm", ["sequential", "associative"])
def test_a_system_goes_on_from_a_state(algorithm: str) -> None:
    extents = {"i": 9, "p": 3, "h": 2}
    inputs, _ = drawn_for(S5, algorithm, extents)
    shown = outputs(S5, algorithm, inputs, extents, ("XR", "XI"))
    at = {"sequential": 4, "associative": 3}[algorithm]  # a recurrence has a slot before the first token
    rest = {**inputs, "U": inputs["U"][4:], "R0": shown["XR"][at], "I0": shown["XI"][at]}
    np.testing.assert_allclose(outputs(S5, algorithm, rest, {})["Y"], shown["Y"][4:], rtol=1e-11, atol=1e-13)


def test_both_directions_of_equal_matrices_on_a_palindrome() -> None:
    inputs, _ = drawn_for(S5, "bidirectional", {"i": 7, "p": 3, "h": 2})
    inputs |= {"CRB": inputs["CR"], "CIB": inputs["CI"], "U": inputs["U"] + inputs["U"][::-1]}
    found = outputs(S5, "bidirectional", inputs, {})["Y"]
    np.testing.assert_allclose(found, found[::-1], rtol=1e-11, atol=1e-13)
    assert passes(S5.cascade("bidirectional"))["i"] == 2


@settings(max_examples=25, deadline=None)
@given(i=st.integers(1, 7), n=st.integers(1, 3), d=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_system_is_its_lower_triangular_operator(i: int, n: int, d: int, seed: int) -> None:
    inputs, _ = drawn_for(DSF, "system", {"i": i, "n": n, "d": d}, seed)
    want = outputs(DSF, "system", inputs, {})["Y"]
    found = outputs(DSF, "operator", inputs, {"i": i, "j": i, "l": i})
    np.testing.assert_allclose(found["Y"], want, rtol=1e-10, atol=1e-12)


def test_a_normalizer_may_be_anything_and_linear_attention_is_one() -> None:
    inputs, _ = drawn_for(DSF, "separable", {"i": 9, "e": 3, "f": 2})
    doubled = outputs(DSF, "separable", {**inputs, "Eta": 2 * inputs["Eta"]}, {})["Y"]
    np.testing.assert_allclose(2 * doubled, outputs(DSF, "separable", inputs, {})["Y"], rtol=1e-12)
    linear = load_variant("linear_attention")
    given_ = {name: inputs[name] for name in "QKV"}
    want = outputs(linear, "causal-quadratic", {**given_, "Eps": np.zeros(())}, {})["O"]
    np.testing.assert_allclose(outputs(DSF, "linear", given_, {})["Y"], want, rtol=1e-11, atol=1e-13)


def test_softmax_needs_ever_more_states_and_a_sigmoid_is_the_decay_of_s6() -> None:
    extents = {"i": 8, "e": 4, "g": 4, "f": 3}
    counts = counted(DSF, "taylor2", extents)
    # 1 + E + E^2 numerators of F each, in place of E.
    assert counts["H0"]["add"] + counts["H1"]["add"] + counts["H2"]["add"] == 8 * (1 + 4 + 16) * 3
    x, a = np.linspace(-30, 30, 61), 2.5
    np.testing.assert_allclose((1 / (1 + np.exp(x))) ** a, np.exp(-a * np.logaddexp(0, x)), rtol=1e-12)


def test_every_way_to_compute_attention_is_one_function() -> None:
    inputs, _ = drawn_for(TAXONOMY, "pytorch", {"p": 7, "m": 13, "e": 3, "f": 4}, V=constant(1.0))
    for algorithm in TAXONOMY.algorithms:
        np.testing.assert_allclose(outputs(TAXONOMY, algorithm, inputs, {"p0": 3, "m0": 4})["AV"], 1, rtol=1e-13)


def test_passes_divisions_and_exponentials_of_the_taxonomy() -> None:
    p, m, e, f, tiles = 6, 24, 4, 3, 4
    extents = {"p": p, "m": m, "e": e, "f": f, "p0": 2, "m0": m // tiles}
    counts = {name: counted(TAXONOMY, name, extents) for name in TAXONOMY.algorithms}
    assert {name: total(own, "div") for name, own in counts.items()} == {
        "pytorch": p * m, "flat": p * m, "tileflow": p * tiles, "rabe-staats": p * f, "flashattention1": p * f * tiles,
        "flashattention2": p * f}
    assert {name: total(own, "exp") for name, own in counts.items()} == {
        name: p * m + (0 if name in ("pytorch", "flat") else p * tiles) for name in counts}
    # Carrying the output divided costs a multiplication of F for the old denominator, as carrying it whole does for PRM.
    assert counts["flashattention1"]["SPO"]["mul"] == counts["flashattention2"]["SPNV"]["mul"] == p * f * tiles


def test_three_passes_keep_a_row_two_a_row_of_tiles_and_one_nothing() -> None:
    held = {name: {t: str(f.values) for t, f in live_footprint(TAXONOMY.cascade(name)).items()} for name in TAXONOMY.algorithms}
    assert held["pytorch"]["SN"] == held["flat"]["SN"] == "M"
    assert held["tileflow"]["LM"] == held["rabe-staats"]["LM"] == "M1"
    assert held["flashattention2"]["RM"] == held["flashattention2"]["RNV"] == held["flashattention1"]["RO"] == "1"
