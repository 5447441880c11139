"""Agents, blocks that a head sees, halos and dilated neighbourhoods: what each sees, what it costs, what was published."""

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
from workloads.variants.s2_attention import density_bound, pattern

AGENT, S2, HALO, DINAT = (load_variant(name) for name in ("agent_attention", "s2_attention", "halonet", "dinat"))
ALL = (AGENT, S2, HALO, DINAT)


@pytest.mark.parametrize("variant", ALL, ids=lambda v: v.id)
@pytest.mark.parametrize("seed", range(2))
def test_every_algorithm_is_the_reference(variant: Any, seed: int) -> None:
    check_cases(variant, seed)


@pytest.mark.parametrize(("variant", "algorithm"), [(v, a) for v in ALL for a in v.algorithms],
                         ids=lambda x: x if isinstance(x, str) else x.id)
def test_the_slow_interpreter_agrees(variant: Any, algorithm: str) -> None:
    check_slow_twin(variant, algorithm)


def test_published_figures() -> None:
    # The larger Agent-DeiT is published with fewer parameters than 49 agents have, and more operations.
    check_published(AGENT, {"parameters of Agent-deit-b": 87.76, "multiplications of Agent-deit-b": 17.22})
    for variant in (S2, HALO, DINAT):
        check_published(variant)


def test_shapes() -> None:
    check_shapes(AGENT, tiles=("m0",))
    for variant in (S2, HALO, DINAT):
        check_shapes(variant, tiles=())


@settings(max_examples=25, deadline=None)
@given(p=st.integers(1, 8), m=st.integers(1, 12), a=st.integers(1, 5), m0=st.integers(1, 13), seed=st.integers(0, 2**32))
def test_weights_of_agents_are_a_product_of_stochastic_matrices_of_their_rank(p: int, m: int, a: int, m0: int, seed: int) -> None:
    extents = {"p": p, "m": m, "a": a, "e": 3, "f": m, "m0": m0}
    inputs, _ = drawn_for(AGENT, "3pass", extents, seed)
    inputs["V"] = np.eye(m)
    for algorithm in ("3pass", "1pass"):
        weights = outputs(AGENT, algorithm, inputs, extents)["O"]
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
        assert (weights >= 0).all()
        assert np.linalg.matrix_rank(weights, tol=1e-9) <= min(a, p, m)


def test_agents_need_the_products_of_two_thin_matrices() -> None:
    n, a, e = 24, 3, 4
    counts = counted(AGENT, "3pass", {"p": n, "m": n, "a": a, "e": e, "f": e})
    # 4 A N E multiplications in place of 2 N^2 E.
    assert sum(counts[name]["mul"] for name in ("QK1", "QK2", "VA", "O")) == 4 * a * n * e
    assert total(counts, "exp") == 2 * a * n
    counts = counted(AGENT, "grid-1pass", {"y": 6, "x": 4, "a": 3, "b": 1, "e": e, "f": e})
    # The 3 x 3 convolution, whose taps beyond the border are 0, and pools, each query in one (3 divides 6).
    assert counts["CV"]["mul"] == 9 * 24 * e
    assert counts["AG"]["mean"] == 24 * e


def test_one_sweep_of_agents_keeps_no_row_of_scores() -> None:
    assert str(live_footprint(AGENT.cascade("3pass"))["SN1"].values) == "M"
    assert str(live_footprint(AGENT.cascade("1pass"))["S1"].values) == "M0"


def test_the_class_token_is_neither_pooled_nor_convolved() -> None:
    extents = {"y": 4, "x": 3, "a": 2, "b": 2, "e": 3, "f": 2, "m": 13}
    inputs, _ = drawn_for(AGENT, "deit", extents)
    shown = outputs(AGENT, "deit", inputs, extents, ("AG", "CB"))
    other = outputs(AGENT, "deit", {name: np.concatenate((a[:1] + 1, a[1:])) if name in "QV" else a for name, a in inputs.items()},
                    extents, ("AG", "CB"))
    np.testing.assert_array_equal(other["AG"], shown["AG"])
    np.testing.assert_array_equal(other["CB"], shown["CB"])
    assert (other["O"] != shown["O"]).all()


@settings(max_examples=25, deadline=None)
@given(p=st.integers(1, 14), m0=st.integers(1, 5), h=st.integers(1, 4), last=st.integers(1, 4), stride=st.integers(1, 6),
       seed=st.integers(0, 2**32))
def test_both_stages_are_the_mask_and_count_its_pairs(p: int, m0: int, h: int, last: int, stride: int, seed: int) -> None:
    extents = {"h": h, "p": p, "m": p, "m0": m0, "p0": m0, "l": last, "v": stride, "e": 2, "f": 2,
               "m1": -(-p // m0), "j": -(-p // m0)}
    inputs, _ = drawn_for(S2, "3pass", extents, seed)
    want = outputs(S2, "3pass", inputs, {r: n for r, n in extents.items() if r != "m1"})["O"]
    np.testing.assert_allclose(outputs(S2, "whole", inputs, extents)["O"], want, rtol=1e-11, atol=1e-13)
    blocks = pattern(-(-p // m0), h, last, stride).repeat(m0, axis=1).repeat(m0, axis=2)[:, :p, :p]
    pairs = int((blocks & np.tri(p, dtype=bool)).sum())
    own = {r: n for r, n in extents.items() if r != "m1"}
    for algorithm, name in (("3pass", "SN"), ("1pass", "SLN")):
        counts = counted(S2, algorithm, own)
        assert counts[name]["exp"] == pairs
        assert counts["QK"]["mul"] == 2 * pairs


def test_the_heads_together_see_every_block_and_no_row_is_empty() -> None:
    for heads, stride in ((3, 3), (4, 2), (2, 4), (8, 8), (3, 9)):
        seen = pattern(20, heads, 1, stride)
        assert seen.any(axis=2).all()
        # Fewer heads than the stride is long cannot, whatever the step: each sees one residue.
        assert (seen.any(axis=0) == np.tri(20, dtype=bool)).all() == (heads >= stride)
    # Blocks that are not among the last are the same for every later query: what a cache may drop.
    seen = pattern(20, 2, 3, 5)
    for head in range(2):
        for block in range(20):
            assert len({bool(seen[head, query, block]) for query in range(block + 3, 20)}) <= 1


def test_the_density_is_that_of_all_where_all_is_seen() -> None:
    assert density_bound(1024, 64, 16, 7, 4) == 1
    assert density_bound(1024, 64, 1, 1, 4) == 1


def test_a_listed_index_is_read_in_any_order() -> None:
    extents = {"h": 2, "p": 12, "p0": 3, "m0": 3, "j": 3, "e": 3, "f": 2}
    inputs, _ = drawn_for(S2, "blocks", extents)
    inputs["Count"][:] = 3
    turned = {**inputs, "Cols": inputs["Cols"][:, :, ::-1]}
    for algorithm in ("blocks", "blocks-1pass"):
        np.testing.assert_allclose(outputs(S2, algorithm, turned, extents)["O"], outputs(S2, algorithm, inputs, extents)["O"],
                                   rtol=1e-12, atol=1e-15)


def halo_weights(algorithm: str, extents: dict[str, int], **draws: Any) -> Any:
    """The weight of every pixel for every pixel, seen through values that are unit vectors."""
    own = {**extents, "e": 3, "f": extents["y"] * extents["x"]}
    inputs, _ = drawn_for(HALO, algorithm, own, **draws)
    inputs["V"] = np.eye(own["f"]).reshape(extents["y"], extents["x"], -1)
    return outputs(HALO, algorithm, inputs, own)["O"].reshape(own["f"], own["f"])


def test_a_window_is_a_block_and_its_halo_and_padding_takes_weight_unless_masked() -> None:
    extents = {"y": 6, "x": 6, "y0": 2, "x0": 3, "wy": 4, "wx": 5}
    masked, padded = halo_weights("masked", extents), halo_weights("2pass", extents)
    seen = np.array([[abs(2 * (y // 2) + 0.5 - v) < 2 and abs(3 * (x // 3) + 1 - u) < 3 for v in range(6) for u in range(6)]
                     for y in range(6) for x in range(6)])
    np.testing.assert_array_equal(masked > 0, seen)
    np.testing.assert_allclose(masked.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(padded > 0, seen)
    # Pixels whose window lies inside of the image lose no weight to the border; of these blocks none does.
    assert (padded.sum(axis=1) < 1).all()


def test_halo_costs_a_window_for_each_query() -> None:
    extents = {"y": 8, "x": 8, "y0": 4, "x0": 4, "wy": 6, "wx": 6, "e": 3, "f": 2}
    counts = counted(HALO, "2pass", extents)
    assert counts["QK"]["mul"] == 64 * 36 * 3
    assert counts["SNV"]["mul"] == 64 * 36 * 2
    assert counts["RY"]["mul"] + counts["RX"]["mul"] == 64 * (6 + 6) * 3
    inside = sum(1 for y in range(8) for x in range(8) for v in range(8) for u in range(8)
                 if -1 <= v - y // 4 * 4 < 5 and -1 <= u - x // 4 * 4 < 5)
    assert counted(HALO, "masked", extents)["QK"]["mul"] == inside * 3


def test_dilation_keeps_as_many_keys_and_masks_are_its_windows() -> None:
    extents = {"y": 7, "x": 6, "y0": 2, "x0": 3, "wy": 3, "wx": 2, "e": 3, "f": 2}
    for algorithm in ("3pass", "2pass", "1pass"):
        counts = counted(DINAT, algorithm, extents)
        assert counts["QK"]["mul"] == 42 * 6 * 3
        # Running statistics have rows of 4 x 2 for the 7 of the grid.
        assert total(counts, "exp") == 42 * 6 + (48 * 3 if algorithm == "1pass" else 0)
    own = {**extents, "my": 7, "mx": 6}
    inputs, _ = drawn_for(DINAT, "masked", own, Rpb=constant(0.0), V=constant(1.0))
    np.testing.assert_allclose(outputs(DINAT, "masked", inputs, own)["O"], 1, rtol=1e-13)


def test_passes_of_two_stages() -> None:
    counts = {name: passes(AGENT.cascade(name)) for name in AGENT.algorithms}
    assert (counts["3pass"]["m"], counts["1pass"]["m"], counts["3pass"]["p"]) == (3, 1, 1)
    # On a grid the queries are pooled, and then there are the agents: two sweeps, over rows where one suffices for keys.
    assert (counts["grid-3pass"]["y"], counts["grid-1pass"]["y"]) == (3, 2)
