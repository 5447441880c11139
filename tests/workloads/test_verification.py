"""Verification: how inputs are drawn, and that a wrong algorithm or reference is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from einsum_cascades.errors import DefinitionError, ExecutionError
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from workloads.draws import constant, coordinates, normal, offsets, signs, uniform, visible
from workloads.variant import Case, Variant
from workloads.verification import drawn, relative_error, verify

if TYPE_CHECKING:
    from workloads.variant import Draw


def sums(inputs: Mapping[str, Any], extents: Mapping[str, int]) -> dict[str, Any]:
    return {"Z": inputs["A"].sum(axis=1)}


def variant(*cases: Case, **changed: Any) -> Variant:
    fields: dict[str, Any] = {"id": "rows", "title": "Sums of rows", "system": "none", "source": "none", "reference": sums,
                              "algorithms": {"plain": "Z[m] = A[m,k]", "tiled": "T[m,k1] = A[m,k1*K0 + k0]\nZ[m] = T[m,k1]"}}
    return Variant(cases=cases, **{**fields, **changed})


RANDOM = Case("random", {"m": 3, "k": 7, "k0": 2})


def test_inputs_have_the_shapes_of_the_cascade_and_extents_are_complete() -> None:
    inputs, extents = drawn(variant(RANDOM), RANDOM)
    assert {name: array.shape for name, array in inputs.items()} == {"A": (3, 7)}
    assert extents == {"m": 3, "k": 7, "k0": 2, "k1": 4}


def test_draws_depend_on_seed_case_and_tensor_alone() -> None:
    text = {"plain": "Z[m] = A[m,k] * B[k]"}
    other = Case("other", RANDOM.extents)
    first, _ = drawn(variant(RANDOM), RANDOM)
    more, _ = drawn(variant(RANDOM, algorithms={**text, "tiled": "T[m,k1] = A[m,k1*K0 + k0]\nZ[m] = T[m,k1]"}), RANDOM)
    np.testing.assert_array_equal(first["A"], more["A"])
    assert not np.array_equal(first["A"], drawn(variant(RANDOM), RANDOM, seed=1)[0]["A"])
    assert not np.array_equal(first["A"], drawn(variant(other), other)[0]["A"])
    assert not np.array_equal(more["A"][0], more["B"])


def test_shapes_that_ranks_do_not_say() -> None:
    case = Case("every other", {"p": 4})
    strided: dict[str, Any] = {"algorithms": {"plain": "Z[p] = X[2*p; fill=0]"},
                               "reference": lambda inputs, extents: {"Z": np.append(inputs["X"][::2], 0)}}
    found = variant(case, **strided, input_shapes={"X": lambda extents: (2 * extents["p"] - 2,)})
    assert drawn(found, case)[0]["X"].shape == (6,)
    assert verify(found, run).ok
    with pytest.raises(DefinitionError, match=r"^variant 'rows', case 'every other': the shape of an input is not known, got "
                                              r"'X' of rows:plain; give it in input_shapes$"):
        drawn(variant(case, **strided), case)


@pytest.mark.parametrize(("case", "message"), [
    (Case("typo", {"m": 3, "k": 7, "k0": 2, "q": 2}), "no algorithm has the rank, got 'q'; valid: k, k0, k1, m"),
    (Case("typo", RANDOM.extents, {"B": normal()}), "no algorithm reads the input, got 'B'; valid: A"),
])
def test_cases_that_do_not_fit(case: Case, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        verify(variant(case), run)
    assert str(caught.value) == f"variant 'rows', case 'typo': {message}"


def test_every_algorithm_runs_every_case_that_is_for_it() -> None:
    only = Case("tiled alone", {"m": 2, "k": 4, "k0": 2}, algorithms=("tiled",))
    found = verify(variant(RANDOM, only), run)
    assert [(r.case, r.algorithm) for r in found.results] == [
        ("random", "plain"), ("random", "tiled"), ("tiled alone", "tiled")]
    assert found.ok
    assert [r.algorithm for r in verify(variant(RANDOM, only), run, algorithm="plain").results] == ["plain"]


def test_a_wrong_algorithm_fails() -> None:
    texts = {"plain": "Z[m] = A[m,k]", "short": "Z[m] = A[m,k] where k < K - 1"}
    found = verify(variant(Case("random", {"m": 3, "k": 7}), algorithms=texts), run)
    assert [(r.algorithm, bool(r.reason)) for r in found.results] == [("plain", False), ("short", True)]
    assert found.worst.algorithm == "short"


def test_a_reference_of_a_case_replaces_the_variants() -> None:
    zero = Case("zero", RANDOM.extents, {"A": constant(0.0)}, reference=lambda inputs, extents: {"Z": np.zeros(extents["m"])})
    assert verify(variant(zero), run).ok
    one = Case("one", RANDOM.extents, {"A": constant(0.0)}, reference=lambda inputs, extents: {"Z": np.ones(extents["m"])})
    assert not verify(variant(one), run).ok


def test_a_reference_has_the_inputs_of_its_algorithm() -> None:
    def biased(inputs: Mapping[str, Any], extents: Mapping[str, int]) -> dict[str, Any]:
        return {"Z": inputs["A"].sum(axis=1) + inputs.get("Bias", 0.0)}
    texts = {"plain": "Z[m] = A[m,k]", "biased": "T[m] = A[m,k]\nZ[m] = T[m] + Bias[]"}
    assert verify(variant(Case("random", {"m": 3, "k": 7}), reference=biased, algorithms=texts), run).ok


def test_outputs_need_the_same_names() -> None:
    with pytest.raises(DefinitionError, match="the reference and 'plain' do not have the same outputs, got Y, Z of one alone"):
        verify(variant(RANDOM, reference=lambda inputs, extents: {"Y": inputs["A"]}), run)


def test_an_algorithm_that_cannot_run_fails_with_its_reason() -> None:
    def refuses(cascade: Cascade, inputs: Mapping[str, Any], extents: Mapping[str, int]) -> Mapping[str, Any]:
        raise ExecutionError("it does not run, got this; do that")
    found = verify(variant(RANDOM), refuses)
    assert {r.reason for r in found.results} == {"it does not run, got this; do that"}
    assert found.worst.max_relative_error == np.inf


@pytest.mark.parametrize(("got", "want", "error"), [
    ([1.0, 2.0], [1.0, 2.0], 0.0), ([1.0, 2.5], [1.0, 2.0], 0.25), ([0.0, 0.25], [0.0, 0.0], 0.25), ([], [], 0.0),
    ([-np.inf, 2.0], [-np.inf, 2.0], 0.0), ([0.0, 2.0], [-np.inf, 2.0], np.inf), ([-np.inf, 2.0], [1.0, 2.0], np.inf),
    ([np.inf, 2.0], [-np.inf, 2.0], np.inf), ([np.nan, 2.0], [1.0, 2.0], np.inf), ([1.0, 2.0], [np.nan, 2.0], np.inf),
    ([1.0], [1.0, 1.0], np.inf), ([True, False], [1.0, 0.0], 0.0),
])
def test_the_relative_error(got: Any, want: Any, error: float) -> None:
    assert relative_error(np.array(got), np.array(want)) == error


@pytest.mark.parametrize(("draw", "holds"), [
    (normal(2.0, 5.0), lambda a: abs(a.mean() - 5) < 0.2 and abs(a.std() - 2) < 0.2),
    (uniform(-3, -1), lambda a: a.min() >= -3 and a.max() <= -1 and a.max() - a.min() > 1.9),
    (signs(20.0), lambda a: set(np.unique(a)) == {-20.0, 20.0} and abs(a.mean()) < 3),
    (constant(2.5), lambda a: (a == 2.5).all()),
    (coordinates("t"), lambda a: a.dtype.kind == "i" and set(np.unique(a)) == set(range(7))),
    (visible(0.25, empty_rows=3), lambda a: a.dtype == bool and not a[:3].any() and abs(a[3:].mean() - 0.25) < 0.05),
], ids=["normal", "uniform", "signs", "constant", "coordinates", "visible"])
def test_draws(draw: Draw, holds: Any) -> None:
    array = draw(np.random.default_rng(1), (40, 50), {"t": 7})
    assert array.shape == (40, 50)
    assert holds(array)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_offsets_go_from_0_to_the_extent(count: int) -> None:
    found = offsets("t")(np.random.default_rng(count), (count,), {"t": 5})
    assert found.shape == (count,)
    assert found[0] == 0
    assert count == 1 or found[-1] == 5
    assert (np.diff(found) >= 0).all()
