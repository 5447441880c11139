"""Scans of images: routes and their inverses, symmetries, sharing of exponentials, published parameters and operations."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.passes import passes
from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse
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
from workloads.variants.scan_routes import CROSS, SNAKES, Route, gathered, merged

SS2D, PLAIN, GROUP, VIM = ALL = tuple(load_variant(name) for name in ("vmamba_ss2d", "plainmamba", "groupmamba", "vim"))
ROUTES = tuple(Route(columns, snake, backward) for columns in (False, True) for snake in (False, True) for backward in (False, True))


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
    # The larger VMamba is printed with 15.4 GMAC, and its layers have 15.3; the smaller PlainMamba with 7.3 M parameters,
    # and its layers have 7.36 M.
    misses = {"vmamba_ss2d": {"multiplications of VMamba-base": 15.295}, "plainmamba": {"parameters of PlainMamba-l1": 7.357}}
    check_published(variant, misses.get(variant.id))
    check_shapes(variant, tiles=())


@settings(max_examples=40, deadline=None)
@given(y=st.integers(1, 5), x=st.integers(1, 5))
def test_lines_of_a_route_are_its_walk_and_merging_undoes_it(y: int, x: int) -> None:
    image = np.arange(y * x, dtype=float).reshape(y, x, 1)
    for routes in (ROUTES, CROSS, SNAKES):
        extents = {"y": y, "x": x, "i": y * x, "e": 1}
        walked = run(parse(gathered(routes)), {"U": image}, extents)["US"]
        np.testing.assert_array_equal(walked[:, :, 0], [route.order(y, x) for route in routes])
        back = run(parse(f"extent K {len(routes)}\n{merged(routes)}"), {"Y": walked}, extents)["V"]
        np.testing.assert_array_equal(back, len(routes) * image)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_snake_never_leaves_its_neighbours(route: Route) -> None:
    walk = [divmod(pixel, 4) for pixel in route.order(3, 4)]
    moves = [abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(walk)]
    assert (set(moves) == {1}) == route.snake


def test_equal_parameters_on_a_symmetric_image_give_a_symmetric_result() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "e": 2, "n": 2, "r": 1}
    inputs, _ = drawn_for(SS2D, "scan", extents)
    inputs = {name: np.repeat(a[:1], 4, axis=0) if name != "U" else a + a[::-1, ::-1] for name, a in inputs.items()}
    found = outputs(SS2D, "scan", inputs, extents)["V"]
    np.testing.assert_allclose(found, found[::-1, ::-1], rtol=1e-11)


def test_a_row_scan_is_the_scan_of_mamba_on_its_pixels() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "e": 2, "n": 3, "r": 2}
    inputs, _ = drawn_for(SS2D, "scan", extents)
    shown = outputs(SS2D, "scan", inputs, extents, ("Y", "DP", "B", "C"))
    mamba = load_variant("mamba_s6")
    own = {"DP": shown["DP"][0], "U": inputs["U"].reshape(12, 2), "Z": np.ones((12, 2)), "B": shown["B"][0], "C": shown["C"][0],
           "H0": np.zeros((2, 3)), **{name: inputs[name][0] for name in ("Bdt", "Alog", "D")}}
    want = outputs(mamba, "sequential", own, {})["G"] / (1 / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(shown["Y"][0], want, rtol=1e-11)


def test_projections_of_the_image_need_no_copies_and_scans_cost_the_same() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "e": 2, "n": 3, "r": 2}
    along, raster = (counted(SS2D, name, {**extents, "k": 4}) for name in ("scan", "raster"))
    assert total(along, "exp") - total(raster, "exp") == 0
    assert along["H"] == raster["H"]
    assert total(along, "exp") == 4 * 12 * 2 * 3 + 4 * 2 * 3


def test_released_plain_scans_share_their_exponentials() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "e": 2, "n": 3, "r": 2, "k": 4}
    assert counted(PLAIN, "scan", extents)["AB"]["exp"] == 4 * counted(PLAIN, "raster", extents)["AB"]["exp"] == 4 * 12 * 2 * 3


def test_moves_are_none_right_left_up_and_down() -> None:
    extents = {"y": 2, "x": 3, "i": 6, "e": 1, "n": 1, "r": 1}
    inputs, _ = drawn_for(PLAIN, "scan", extents)
    found = outputs(PLAIN, "scan", inputs, extents, ("Dir",))["Dir"]
    np.testing.assert_array_equal(found, [[0, 1, 1, 4, 2, 2], [0, 1, 1, 3, 2, 2], [0, 4, 1, 3, 1, 4], [0, 3, 2, 4, 2, 3]])


def test_groups_do_a_quarter_of_the_work_of_the_cross_scan() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "n": 1, "r": 1, "k": 4}
    whole, grouped = counted(SS2D, "scan", {**extents, "e": 8}), counted(GROUP, "scan", {**extents, "e": 2})
    for name in ("H", "YS", "DA", "AB"):
        assert whole[name] == {op: 4 * n for op, n in grouped[name].items()}


def test_groups_are_scans_of_their_own() -> None:
    extents = {"y": 3, "x": 4, "i": 12, "e": 2, "n": 2, "r": 1}
    inputs, _ = drawn_for(GROUP, "scan", extents)
    found = outputs(GROUP, "scan", inputs, extents)["V"]
    changed = {**inputs, "U": inputs["U"] + (np.arange(4) == 2)[:, None, None, None]}
    moved = outputs(GROUP, "scan", changed, extents)["V"] != found
    assert [bool(moved[k].any()) for k in range(4)] == [False, False, True, False]


@pytest.mark.parametrize("algorithm", tuple(VIM.algorithms))
def test_equal_directions_on_a_palindrome_give_a_palindrome(algorithm: str) -> None:
    extents = {"i": 7, "m": 3, "e": 2, "n": 2, "r": 1, "w": 3}
    inputs, _ = drawn_for(VIM, algorithm, extents)
    inputs |= {name: inputs[f"{name[:-1]}F"] for name in inputs if name.endswith("B")}
    inputs["X"] = inputs["X"] + inputs["X"][::-1]
    found = outputs(VIM, algorithm, inputs, extents)["O"]
    np.testing.assert_allclose(found, found[::-1], rtol=1e-11)


def test_backward_is_forward_of_the_sequence_turned_round() -> None:
    extents = {"i": 6, "m": 3, "e": 2, "n": 2, "r": 1, "w": 4}
    inputs, _ = drawn_for(VIM, "reversed", extents)
    swapped = {**inputs, **{f"{name[:-1]}{'FB'[name[-1] == 'F']}": a for name, a in inputs.items() if name[-1] in "FB"},
               "X": inputs["X"][::-1]}
    np.testing.assert_allclose(outputs(VIM, "reversed", swapped, extents)["O"][::-1], outputs(VIM, "reversed", inputs, extents)["O"],
                               rtol=1e-11)
    assert total(counted(VIM, "flipped", extents), "exp") == total(counted(VIM, "reversed", extents), "exp")


def test_passes_along_routes_and_both_ways() -> None:
    assert [passes(v.cascade("scan"))["i"] for v in (SS2D, PLAIN, GROUP)] == [1, 1, 1]
    assert {name: passes(VIM.cascade(name))["i"] for name in VIM.algorithms} == {"flipped": 3, "reversed": 2}
    # The gate waits for the mean, which the norm before it can make: 2 sweeps over the image.
    assert passes(GROUP.cascade("layer"))["y"] == 2
