"""Neighbourhood attention: which keys a query sees, and the operators that it becomes at the ends of its range."""

from __future__ import annotations

from itertools import product
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
    drawn_for,
    outputs,
)
from workloads.draws import constant
from workloads.variants import load_variant
from workloads.variants.fna import flops

FNA = load_variant("fna")
LINES = ("1d", "1d-2pass", "1d-1pass", "1d-masked", "1d-strided", "1d-dilated")


def window(i: int, length: int, size: int, stride: int = 1, dilation: int = 1) -> set[int]:
    """The published rule, as it is written: the keys of a query on one axis."""
    inner, residue = i // dilation, i % dilation
    own_length = -(-(length - residue) // dilation)
    leader = min(inner // stride * stride + stride // 2, own_length - 1)
    start = min(max(leader - size // 2, 0), own_length - size)
    return {residue + dilation * (start + j) for j in range(size)}


def causal_window(i: int, length: int, size: int, stride: int = 1) -> set[int]:
    leader = min(i // stride * stride + stride - 1, length - 1)
    return set(range(max(leader - size + 1, 0), i + 1))


def weights(algorithm: str, extents: dict[str, int]) -> Any:
    """The weight of each key for each query, seen through values that are unit vectors, where all scores are equal."""
    keys = int(np.prod([extents[rank] for rank in "pzyx" if rank in extents]))
    inputs, _ = drawn_for(FNA, algorithm, {**extents, "e": 1, "f": keys}, Q=constant(0.0))
    inputs["V"] = np.eye(keys).reshape(inputs["V"].shape)
    return outputs(FNA, algorithm, inputs, {**extents, "e": 1, "f": keys})["O"].reshape(keys, keys)


@pytest.mark.parametrize("seed", range(3))
def test_every_algorithm_is_the_reference(seed: int) -> None:
    check_cases(FNA, seed)


@pytest.mark.parametrize("algorithm", tuple(FNA.algorithms))
def test_the_slow_interpreter_agrees(algorithm: str) -> None:
    check_slow_twin(FNA, algorithm)


def test_published_figures_and_shapes() -> None:
    check_published(FNA)
    check_shapes(FNA, tiles=("w0",))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_query_sees_the_keys_of_the_published_rule(data: st.DataObject) -> None:
    length, stride = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 5))
    algorithm = data.draw(st.sampled_from([*LINES, "1d-causal"]))
    dilation = data.draw(st.integers(1, length)) if algorithm == "1d-dilated" else 1
    size = data.draw(st.integers(1, length // dilation))
    strided = stride if algorithm in ("1d-strided", "1d-causal") else 1
    found = weights(algorithm, {"p": length, "m": length, "w": size, "w0": data.draw(st.integers(1, 5)), "t": stride,
                                "p0": dilation})
    for i in range(length):
        keys = causal_window(i, length, size, strided) if algorithm == "1d-causal" else \
            window(i, length, size, strided, dilation)
        assert keys == set(np.flatnonzero(found[i]))
        # A causal stride beyond the window leaves the first queries of a group nothing to see.
        np.testing.assert_allclose(found[i, sorted(keys)], 1 / max(len(keys), 1), rtol=1e-14)


def test_windows_in_more_dimensions_are_products_of_those_of_their_axes() -> None:
    for algorithm, extents in (("2d", {"y": 5, "x": 4, "wy": 3, "wx": 2}),
                               ("2d-1pass", {"y": 3, "x": 6, "wy": 2, "wx": 5}),
                               ("2d-strided", {"y": 5, "x": 6, "wy": 3, "wx": 4, "ty": 2, "tx": 3}),
                               ("2d-dilated", {"y": 5, "x": 7, "wy": 2, "wx": 2, "y0": 2, "x0": 3}),
                               ("3d", {"z": 2, "y": 3, "x": 4, "wz": 1, "wy": 2, "wx": 3})):
        axes = [rank for rank in "zyx" if rank in extents]
        shape = tuple(extents[rank] for rank in axes)
        found = weights(algorithm, extents)
        for number, query in enumerate(product(*map(range, shape))):
            each = (window(i, extents[r], extents[f"w{r}"], extents.get(f"t{r}", 1), extents.get(f"{r}0", 1))
                    for i, r in zip(query, axes, strict=True))
            keys = {int(np.ravel_multi_index(key, shape)) for key in product(*each)}
            assert keys == set(np.flatnonzero(found[number])), (algorithm, query)


@pytest.mark.parametrize("length", range(1, 12))
def test_all_ways_to_see_a_window_agree_at_dilation_and_stride_1(length: int) -> None:
    for size in range(1, length + 1):
        extents = {"p": length, "m": length, "w": size, "w0": 3, "t": 1, "p0": 1, "e": 3, "f": 2}
        inputs, _ = drawn_for(FNA, "1d", extents)
        plain = outputs(FNA, "1d", inputs, extents)["O"]
        for algorithm in LINES[1:]:
            np.testing.assert_allclose(outputs(FNA, algorithm, inputs, extents)["O"], plain, rtol=1e-12, atol=1e-15)


def test_a_plane_of_one_row_is_a_line_and_a_space_of_one_plane_is_a_plane() -> None:
    inputs, _ = drawn_for(FNA, "1d", {"p": 9, "w": 4, "e": 3, "f": 2})
    line = outputs(FNA, "1d", inputs, {"p": 9, "w": 4, "e": 3, "f": 2})["O"]
    row = {name: array[None] for name, array in inputs.items()}
    for algorithm in ("2d", "2d-2pass", "2d-1pass"):
        got = outputs(FNA, algorithm, row, {"y": 1, "x": 9, "wy": 1, "wx": 4, "e": 3, "f": 2})["O"]
        np.testing.assert_allclose(got[0], line, rtol=1e-12, atol=1e-15)
    extents = {"y": 4, "x": 5, "wy": 3, "wx": 2, "e": 3, "f": 2}
    inputs, _ = drawn_for(FNA, "2d", extents)
    got = outputs(FNA, "3d", {name: array[None] for name, array in inputs.items()}, {**extents, "z": 1, "wz": 1})["O"]
    np.testing.assert_allclose(got[0], outputs(FNA, "2d", inputs, extents)["O"], rtol=1e-12, atol=1e-15)


def test_a_bias_of_0_is_none_and_one_that_is_infinite_selects_its_key() -> None:
    extents = {"y": 5, "x": 6, "wy": 3, "wx": 3, "e": 3, "f": 2}
    inputs, _ = drawn_for(FNA, "2d-bias", extents, Rpb=constant(0.0))
    assert inputs["Rpb"].shape == (5, 5)
    plain = outputs(FNA, "2d", inputs, extents)["O"]
    np.testing.assert_allclose(outputs(FNA, "2d-bias", inputs, extents)["O"], plain, rtol=1e-14)
    # The middle of the table is the query itself.
    inputs["Rpb"][2, 2] = 1000.0
    np.testing.assert_allclose(outputs(FNA, "2d-bias", inputs, extents)["O"], inputs["V"], rtol=1e-14)


def test_a_causal_window_of_all_keys_is_causal_attention() -> None:
    extents = {"p": 9, "w": 9, "t": 1, "e": 3, "f": 2}
    inputs, _ = drawn_for(FNA, "1d-causal", extents)
    scores = np.where(np.tri(9) > 0, inputs["Q"] @ inputs["K"].T / np.sqrt(3), -np.inf)
    want = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) @ inputs["V"]
    np.testing.assert_allclose(outputs(FNA, "1d-causal", inputs, extents)["O"], want, rtol=1e-12)


def test_flops_are_four_for_each_query_key_and_value() -> None:
    assert flops("1d", {"p": 30, "w": 7, "e": 5, "f": 5}) == 4 * 30 * 7 * 5
    assert flops("2d", {"y": 10, "x": 9, "wy": 3, "wx": 5, "e": 4, "f": 4}) == 4 * 90 * 15 * 4
    assert flops("3d", {"z": 4, "y": 5, "x": 6, "wz": 2, "wy": 3, "wx": 4, "e": 2, "f": 2}) == 4 * 120 * 24 * 2


def test_passes_over_the_window_are_those_of_softmax_and_over_the_queries_one() -> None:
    counts = {name: passes(FNA.cascade(name)) for name in FNA.algorithms}
    assert (counts["1d"]["w"], counts["1d-2pass"]["w"], counts["1d-1pass"]["w"]) == (3, 2, 1)
    assert counts["1d-masked"]["m"] == 3
    assert (counts["2d"]["wy"], counts["2d-2pass"]["wy"], counts["2d-1pass"]["wy"]) == (3, 2, 1)
    assert all(found.get(rank, 1) == 1 for found in counts.values() for rank in "pzyx")
