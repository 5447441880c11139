"""GEMM: the ranks that the contract names, the product, and its counts."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascades.structure import structure
from tests.workloads.variant_checks import check_cases, check_slow_twin, counted, drawn_for, outputs
from workloads.variants import load_variant

GEMM = load_variant("gemm")


@pytest.mark.parametrize("seed", range(3))
def test_the_algorithm_is_the_reference(seed: int) -> None:
    check_cases(GEMM, seed)


def test_the_slow_interpreter_agrees() -> None:
    check_slow_twin(GEMM, "product")


def test_ranks_are_those_of_the_contract() -> None:
    found = structure(GEMM.cascade())
    assert found.ranks == ("m", "n", "k")
    assert found.dimensions["Z"] == ("m", "n")


def test_it_is_the_product_of_two_matrices() -> None:
    inputs, extents = drawn_for(GEMM, "product", {"m": 5, "n": 3, "k": 9})
    got = outputs(GEMM, "product", inputs, extents)["Z"]
    np.testing.assert_allclose(got, np.einsum("mk,kn->mn", inputs["A"], inputs["B"]), rtol=1e-13)


def test_operations_are_m_n_k() -> None:
    assert counted(GEMM, "product", {"m": 5, "n": 3, "k": 9}) == {"Z": {"mul": 135, "add": 135}}
