"""Attention: its four algorithms are one function, with the pass counts of the paper's taxonomy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.interpreter import run
from einsum_cascades.structure import structure
from workloads.draws import visible
from workloads.variant import Case
from workloads.variants import load_variant
from workloads.variants.attention import reference
from workloads.verification import cascades_of, drawn, own_extents, verify

ATTENTION = load_variant("attention")
CASES = {case.name: case for case in ATTENTION.cases}
MASK = {"QK": "Mask[p,m]", "BQK": "Mask[p, m1*M0 + m0]"}


def outputs(case: Case, inputs: dict[str, Any], extents: dict[str, int]) -> dict[str, Any]:
    return {name: run(cascade, inputs, own_extents(cascade, extents))["AV"]
            for name, cascade in cascades_of(ATTENTION, case).items()}


def loops(inputs: dict[str, Any]) -> Any:
    """Softmax attention, one number at a time, with the sums in exact arithmetic."""
    queries, keys, values = inputs["Q"], inputs["K"], inputs["V"]
    mask = inputs.get("Mask", np.ones((len(queries), len(keys)), dtype=bool))
    result = np.zeros((len(queries), values.shape[1]))
    for p in range(len(queries)):
        scores = {m: math.fsum(queries[p] * keys[m]) for m in range(len(keys)) if mask[p, m]}
        if scores:
            weights = {m: math.exp(s - max(scores.values())) for m, s in scores.items()}
            for f in range(values.shape[1]):
                result[p, f] = math.fsum(w * values[m, f] for m, w in weights.items()) / math.fsum(weights.values())
    return result


def test_inputs_outputs_and_ranks_are_those_of_the_paper() -> None:
    for algorithm in ATTENTION.algorithms:
        found = structure(ATTENTION.cascade(algorithm))
        assert (set(found.inputs), found.outputs) == ({"Q", "K", "V"}, ("AV",))
        assert [found.dimensions[t] for t in ("Q", "K", "V", "AV")] == [("p", "e"), ("m", "e"), ("m", "f"), ("p", "f")]
    tensors = {einsum.name for einsum in ATTENTION.cascade("1pass").einsums}
    assert tensors == {"BQK", "LM", "RM", "SLN", "SLD", "SLNV", "PRM", "SPD", "RD", "SPNV", "RNV", "AV"}


def test_published_figures_are_reached() -> None:
    assert [p.value for p in ATTENTION.published] == [3, 2, 2, 1]
    for published in ATTENTION.published:
        assert published.computed is not None
        assert published.computed() == published.value


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    found = verify(ATTENTION, run, seed=seed)
    assert not [r.reason for r in found.results if r.reason]
    assert len(found.results) == 4 * len(ATTENTION.cases)


@pytest.mark.parametrize("name", [name for name in CASES if "beyond" not in name and "causal" not in name])
def test_the_reference_is_softmax_attention(name: str) -> None:
    inputs, extents = drawn(ATTENTION, CASES[name])
    got = (CASES[name].reference or reference)(inputs, extents)["AV"]
    np.testing.assert_allclose(got, loops(inputs), rtol=1e-12, atol=1e-14)


def test_the_causal_reference_is_the_masked_one() -> None:
    case = CASES["causal"]
    inputs, extents = drawn(ATTENTION, case)
    assert case.reference is not None
    np.testing.assert_allclose(case.reference(inputs, extents)["AV"], loops({**inputs, "Mask": np.tri(13, 13) > 0}), rtol=1e-12)


def test_the_cases_have_the_logits_and_rows_that_they_name() -> None:
    for name in ("logits of 80 and -80", "masked logits of 80 and -80"):
        inputs, _ = drawn(ATTENTION, CASES[name])
        logits = inputs["Q"] @ inputs["K"].T
        assert (logits.min(), logits.max()) == (-80, 80)
    inputs, _ = drawn(ATTENTION, CASES["logits beyond the range of exp"])
    assert np.abs(inputs["Q"] @ inputs["K"].T).max() > 710
    masked = CASES["masked, rows that see nothing"]
    inputs, extents = drawn(ATTENTION, masked)
    assert not inputs["Mask"][:2].any()
    assert inputs["Mask"][2:].any(axis=1).all()
    for result in outputs(masked, inputs, extents).values():
        assert (result[:2] == 0).all()
        assert (result[2:] != 0).all()


@settings(max_examples=40, deadline=None)
@given(p=st.integers(1, 6), m=st.integers(1, 12), e=st.integers(1, 4), f=st.integers(1, 4), m0=st.integers(1, 13),
       share=st.sampled_from([0.0, 0.2, 0.8, 1.0]), scale=st.sampled_from([0.0, 1.0, 40.0]), seed=st.integers(0, 2**32))
def test_the_algorithms_agree_on_any_shape_and_mask(p: int, m: int, e: int, f: int, m0: int, share: float, scale: float,
                                                    seed: int) -> None:
    case = Case("any", {"p": p, "m": m, "e": e, "f": f, "m0": m0}, {"Mask": visible(share)}, MASK)
    inputs, extents = drawn(ATTENTION, case, seed)
    inputs["Q"] = inputs["Q"] * scale
    want = loops(inputs)
    for result in outputs(case, inputs, extents).values():
        np.testing.assert_allclose(result, want, rtol=1e-10, atol=1e-12)
