"""Attention with log-sum-exp and splits, with virtual keys, and with temperatures: one softmax, its identities, counts."""

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

LSE, SINK, SSA = (load_variant(name) for name in ("attention_lse", "attn_sink", "ssa"))
SPLITS = ("split-kv", "split-kv-streamed")


@pytest.mark.parametrize("variant", [LSE, SINK, SSA], ids=lambda v: v.id)
@pytest.mark.parametrize("seed", range(2))
def test_every_algorithm_is_the_reference(variant: Any, seed: int) -> None:
    check_cases(variant, seed)


@pytest.mark.parametrize(("variant", "algorithm"), [(v, a) for v in (LSE, SINK, SSA) for a in v.algorithms],
                         ids=lambda x: x if isinstance(x, str) else x.id)
def test_the_slow_interpreter_agrees(variant: Any, algorithm: str) -> None:
    check_slow_twin(variant, algorithm)


@pytest.mark.parametrize("variant", [LSE, SINK, SSA], ids=lambda v: v.id)
def test_published_figures(variant: Any) -> None:
    check_published(variant)


@pytest.mark.parametrize("variant", [SINK, SSA], ids=lambda v: v.id)
def test_shapes(variant: Any) -> None:
    check_shapes(variant, tiles=("m0",))


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 20), m0=st.integers(1, 21), m00=st.integers(1, 6), algorithm=st.sampled_from(SPLITS),
       scale=st.sampled_from([1.0, 300.0]), seed=st.integers(0, 2**32))
def test_splits_are_attention_however_the_keys_are_split(m: int, m0: int, m00: int, algorithm: str, scale: float,
                                                         seed: int) -> None:
    extents = {"p": 3, "m": m, "e": 2, "f": 3, "m0": m0, "m00": m00}
    inputs, _ = drawn_for(LSE, algorithm, extents, seed)
    inputs["Q"] = inputs["Q"] * scale
    found = outputs(LSE, algorithm, inputs, extents)
    scores = inputs["Q"] @ inputs["K"].T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found["AV"], weights @ inputs["V"] / weights.sum(axis=1, keepdims=True), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["LSE"], np.log(weights.sum(axis=1)) + scores.max(axis=1), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any), seed=st.integers(0, 2**32))
def test_merged_parts_are_the_whole_in_any_order_and_with_empty_ones(parts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(3, 2)), rng.normal(size=(sum(parts), 2)), rng.normal(size=(sum(parts), 4))
    ends = np.cumsum(parts)
    own = {"PM": [], "PD": [], "PN": [], "PL": [], "PO": []}  # type: dict[str, list[Any]]
    for end, size in zip(ends, parts, strict=True):
        scores = q @ k[end - size:end].T
        own["PM"].append(scores.max(axis=1, initial=-np.inf))
        weights = np.exp(scores - (own["PM"][-1][:, None] if size else 0))
        own["PD"].append(weights.sum(axis=1))
        own["PN"].append(weights @ v[end - size:end])
        own["PL"].append(own["PM"][-1] + np.log(own["PD"][-1]) if size else own["PM"][-1])
        own["PO"].append(own["PN"][-1] / own["PD"][-1][:, None] if size else own["PN"][-1])
    order = rng.permutation(len(parts))
    partial = {name: np.stack(values)[order] for name, values in own.items()}
    whole = outputs(LSE, "3pass", {"Q": q, "K": k, "V": v}, {})
    for algorithm in ("merge", "merge-lse"):
        merged = outputs(LSE, algorithm, partial, {})
        for name in ("AV", "LSE"):
            np.testing.assert_allclose(merged[name], whole[name], rtol=1e-11, atol=1e-13)


def test_a_merge_of_merges_is_a_merge() -> None:
    inputs, _ = drawn_for(LSE, "merge-lse", {"w": 6, "p": 3, "f": 2})
    halves = [outputs(LSE, "merge-lse", {name: a[part] for name, a in inputs.items()}, {})
              for part in (slice(2), slice(2, 6))]
    again = {"PL": np.stack([h["LSE"] for h in halves]), "PO": np.stack([h["AV"] for h in halves])}
    whole = outputs(LSE, "merge-lse", inputs, {})
    for name, found in outputs(LSE, "merge-lse", again, {}).items():
        np.testing.assert_allclose(found, whole[name], rtol=1e-12)


def test_splits_add_one_exponential_for_each_query_and_split() -> None:
    p, m, e, f = 5, 24, 4, 3
    extents = {"p": p, "m": m, "e": e, "f": f, "m0": 6, "m00": 2}
    assert total(counted(LSE, "2pass", extents), "exp") == p * m
    assert total(counted(LSE, "split-kv", extents), "exp") == p * (m + 4)
    # Running inside a split, each tile has one more.
    assert total(counted(LSE, "split-kv-streamed", extents), "exp") == p * (m + 12 + 4)
    for algorithm in ("3pass", "2pass", *SPLITS):
        counts = counted(LSE, algorithm, extents)
        assert counts["S"]["mul"] == p * m * e
        assert total(counts, "log") == p
        assert total(counts, "div") == (p * m if algorithm == "3pass" else p * f)


def test_a_split_keeps_its_statistics_until_all_are_known() -> None:
    # Each tensor is judged by itself: SLD and SLNV could be made when they are read, if scores were kept.
    found = live_footprint(LSE.cascade("split-kv"))
    assert {name: str(found[name].values) for name in ("S", "LM", "K", "V")} == {"S": "M0", "LM": "M1", "K": "1", "V": "1"}
    streamed = live_footprint(LSE.cascade("split-kv-streamed"))
    assert {name: str(streamed[name].values) for name in ("S", "RM", "K", "V")} == {"S": "M00", "RM": "M1", "K": "1", "V": "1"}
    assert str(live_footprint(LSE.cascade("3pass"))["SN"].values) == "M"


def test_a_virtual_key_is_a_key_that_all_see() -> None:
    extents = {"p": 6, "m": 6, "m0": 4, "e": 3, "f": 2}
    inputs, _ = drawn_for(SINK, "kv-bias-1pass", extents)
    longer = {"Q": inputs["Q"] / np.sqrt(3), "K": np.concatenate((inputs["Ks"][None], inputs["K"])),
              "V": np.concatenate((inputs["Vs"][None], inputs["V"]))}
    # One key more, before all others: causal attention of as many queries, of which the positions are the last.
    causal = load_variant("causal_attention")
    want = outputs(causal, "1pass", {**longer, "Q": longer["Q"][None]}, {"m0": 4})["AV"][0]
    for algorithm in ("kv-bias-1pass", "kv-bias-3pass"):
        np.testing.assert_allclose(outputs(SINK, algorithm, inputs, extents)["O"], want, rtol=1e-12)


def test_a_virtual_key_costs_one_score_and_one_exponential_for_each_query() -> None:
    extents = {"p": 6, "m": 6, "e": 3, "f": 2}
    plain, virtual = (counted(SINK, name, extents) for name in ("v-bias-3pass", "kv-bias-3pass"))
    assert total(virtual, "exp") - total(plain, "exp") == 6
    assert virtual["SK"]["mul"] == 6 * 3
    # As the beginning of running statistics, it costs no exponential at all.
    tiled = {**extents, "m0": 2}
    assert total(counted(SINK, "kv-bias-1pass", tiled), "exp") == total(counted(SINK, "v-bias-1pass", tiled), "exp")


def test_weights_sum_to_less_than_one_where_a_part_goes_nowhere_and_to_one_where_it_does_not() -> None:
    extents = {"p": 7, "m": 7, "m0": 3, "e": 3, "f": 2}
    for algorithm, whole in (("k-bias-1pass", False), ("k-bias-gate", False), ("off-by-one-1pass", False),
                             ("kv-bias-1pass", True), ("sigmoid-normed", True), ("elu-normed", True)):
        inputs, _ = drawn_for(SINK, algorithm, extents, V=constant(1.0))
        if algorithm.startswith("kv"):
            inputs["Vs"] = np.ones_like(inputs["Vs"])
        sums = outputs(SINK, algorithm, inputs, extents)["O"]
        assert (sums > 0).all()
        if whole:
            np.testing.assert_allclose(sums, 1, rtol=1e-6)
        else:
            assert (sums < 1).all()


@pytest.mark.parametrize("algorithm", [a for a in SINK.algorithms if a.startswith("kernel")])
def test_kernelised_attention_looks_at_no_pair_of_tokens(algorithm: str) -> None:
    def work(tokens: int) -> int:
        return total(counted(SINK, algorithm, {"m": tokens, "e": 4, "f": 3, "g": 5, "u": 6}), "mul", "add")
    assert work(64) == 2 * work(32) == 4 * work(16)


def test_temperatures_are_scales_of_queries_and_values() -> None:
    extents = {"p": 5, "m": 9, "m0": 4, "e": 3, "f": 2}
    inputs, _ = drawn_for(SSA, "1pass", extents)
    causal = load_variant("causal_attention")
    scaled = {"Q": (inputs["Q"] * inputs["TQ"][:, None] / np.sqrt(3))[None], "K": inputs["K"],
              "V": inputs["V"] * inputs["TV"][:, None]}
    want = outputs(causal, "3pass", scaled, {})["AV"][0]
    for algorithm in ("1pass", "2pass", "3pass"):
        np.testing.assert_allclose(outputs(SSA, algorithm, inputs, extents)["O"], want, rtol=1e-12)


def test_passes_of_bases_are_kept() -> None:
    counts = {name: passes(SINK.cascade(name))["m"] for name in SINK.algorithms}
    assert {name: n for name, n in counts.items() if n != 1} == {
        "kv-bias-3pass": 3, "k-bias-3pass": 3, "k-bias-gate": 2, "off-by-one-3pass": 3, "v-bias-3pass": 3,
        "sigmoid-normed": 2, "elu-normed": 2}
    assert [passes(SSA.cascade(name))["m"] for name in SSA.algorithms] == [1, 2, 3, 1, 1]
