"""Operators across devices, and S4: what is sent, that cuts and orders of shards have no meaning, and three ways to a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.collectives import collectives
from tests.workloads.variant_checks import (
    check_cases,
    check_published,
    check_shapes,
    check_slow_twin,
    counted,
    drawn_for,
    outputs,
)
from workloads.variants import load_variant
from workloads.variants.dist_attention import messages

LASP2, LASP2H, DIST, S4 = ALL = tuple(load_variant(name) for name in ("lasp2", "lasp2h", "dist_attention", "s4"))


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


def sent(variant: Any, algorithm: str) -> list[tuple[str, str]]:
    return [(found.kind, found.tensor) for found in collectives(variant.cascade(algorithm))]


def test_states_are_gathered_once_and_chunks_go_round_the_ring() -> None:
    assert sent(LASP2, "lasp2") == sent(LASP2, "bidirectional") == [("all-gather", "M")]
    assert sent(LASP2, "scan") == [("scan", "M")]
    assert sent(LASP2H, "gathered-1pass") == sent(LASP2H, "gathered-3pass") == [("all-gather", "K"), ("all-gather", "V")]
    assert sent(LASP2H, "ring") == [("point-to-point", "KR"), ("point-to-point", "VR")]
    assert {kind for kind, _ in sent(DIST, "shards-1pass")} == {"all-reduce"}


@settings(max_examples=25, deadline=None)
@given(w=st.integers(1, 5), c=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_any_cut_of_the_sequence_is_causal_linear_attention(w: int, c: int, seed: int) -> None:
    inputs, _ = drawn_for(LASP2, "scan", {"w": w, "d": w, "c": c, "q": c, "e": 2, "f": 3}, seed)
    flat = {name: a.reshape(w * c, -1) for name, a in inputs.items()}
    want = outputs(load_variant("linear_attention"), "plain-quadratic", flat, {})["O"] * np.sqrt(2)
    for algorithm in ("lasp2", "scan", "lasp1"):
        found = outputs(LASP2, algorithm, inputs, {"d": w})["O"].reshape(w * c, -1)
        np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-12)


def test_a_chunk_builds_its_state_and_reads_those_before() -> None:
    w, c, e, f = 4, 6, 3, 2
    counts = counted(LASP2, "lasp2", {"w": w, "d": w, "c": c, "q": c, "e": e, "f": f})
    assert counts["M"]["mul"] + counts["OC"]["mul"] == 2 * w * c * e * f
    assert counts["S"]["mul"] + counts["OI"]["mul"] == w * c * (c + 1) // 2 * (e + f)
    assert counts["B"]["add"] == w * (w - 1) // 2 * e * f
    # A state has no tokens: what is gathered does not grow with the sequence, and keys and values do.
    ring = counted(LASP2H, "ring", {"w": w, "s": w, "c": c, "q": c, "e": e, "f": f})
    assert ring["QK"]["mul"] == w * c * (w * c + 1) // 2 * e


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any), seed=st.integers(0, 2**32))
def test_shards_may_be_empty_and_come_in_any_order(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    extents = {"w": len(lengths), "p": 2, "m": 4, "m0": 3, "e": 3, "f": 2}
    inputs, _ = drawn_for(DIST, "shards-1pass", extents, seed)
    inputs["Len"] = np.array(lengths)
    order = rng.permutation(len(lengths))
    turned = {name: a[order] if name in ("K", "V", "Len") else a for name, a in inputs.items()}
    keys, values = (np.concatenate([inputs[name][w, :n] for w, n in enumerate(lengths)]) for name in "KV")
    weights = np.exp(inputs["Q"] @ keys.T / np.sqrt(3))
    want = weights @ values / weights.sum(axis=1, keepdims=True)
    for algorithm in ("shards-1pass", "shards-2pass"):
        for given_ in (inputs, turned):
            np.testing.assert_allclose(outputs(DIST, algorithm, given_, extents)["O"], want, rtol=1e-10, atol=1e-12)


def test_what_is_sent_does_not_grow_with_the_keys() -> None:
    # For a head of 128: 128 values out and 130 back from each of three other shards.
    assert messages(4, 1, 128, 128) == 3 * 258


def test_a_step_of_s4_costs_as_many_operations_as_it_has_states() -> None:
    def work(n: int) -> int:
        counts = counted(S4, "recurrent", {"t": 8, "n": n})
        return sum(own.get("mul", 0) for name, own in counts.items() if name in ("VR", "VI", "JR", "JI", "HR", "HI", "QR", "QI"))
    assert work(32) == 2 * work(16) == 4 * work(8)
    # Four sums over the states for each root, and a Fourier sum of all pairs.
    counts = counted(S4, "cauchy", {"t": 8, "j": 8, "k": 8, "l": 8, "n": 4})
    assert counts["N0R"]["mul"] == counts["N2I"]["mul"] == 2 * 8 * 4
    assert counts["KF"]["mul"] == 2 * 64


def test_a_kernel_by_steps_and_by_roots_of_unity_is_one() -> None:
    inputs, _ = drawn_for(S4, "convolution", {"t": 9, "j": 9, "n": 3})
    stepped = outputs(S4, "convolution", inputs, {"j": 9}, ("KE",))["KE"]
    low = inputs["PR"] + 1j * inputs["PI"]
    half = np.exp(inputs["Ldt"]) / 2 * (np.diag(-np.exp(inputs["LLr"]) + 1j * inputs["LI"]) - np.outer(low, low.conj()))
    matrix = np.linalg.solve(np.eye(3) - half, np.eye(3) + half)
    ends = (inputs["CR"] + 1j * inputs["CI"]) @ (np.eye(3) - np.linalg.matrix_power(matrix, 9))
    own = {name: a for name, a in inputs.items() if name not in ("CR", "CI")} | {"CtR": ends.real, "CtI": ends.imag}
    found = outputs(S4, "cauchy", own, {"j": 9, "k": 9, "l": 9}, ("KE",))["KE"]
    np.testing.assert_allclose(found, stepped, rtol=1e-8, atol=1e-12)
