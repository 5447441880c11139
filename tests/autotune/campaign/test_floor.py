"""Floors: needs by hand for small operators, and the larger of three times."""

from __future__ import annotations

import pytest

from autotune.campaign.floor import Ceilings, Needs, floor, needs
from einsum_cascades.notation import parse
from workloads.variants import load_variant


def test_the_needs_of_a_product_and_of_what_is_none() -> None:
    product = parse("Z[m,n] = A[m,k] * B[k,n]")
    assert needs(product, {"m": 3, "n": 5, "k": 7}, 2, "bf16") == Needs(2 * 2 * (21 + 35 + 15), 2 * 2 * 105, 0)
    # Element by element, an outer product and a matrix by a vector: nothing for the matrix units.
    for text in ("Z[m,n] = A[m,n] * B[m,n]", "Z[m,n] = A[m] * B[n]", "Z[m] = A[m,k] * B[k]", "Z[m,n] = min[k] A[m,k] * B[k,n]"):
        sizes = {rank: size for rank, size in {"m": 3, "n": 5, "k": 7}.items() if rank in text}
        assert needs(parse(text), sizes, 1, "fp32").matrix_operations == 0


def test_attention_needs_four_operations_for_each_pair_and_feature() -> None:
    found = needs(load_variant("attention").cascade("3pass"), {"p": 64, "m": 96, "e": 32, "f": 16}, 1, "bf16")
    assert found.matrix_operations == 2 * 64 * 96 * (32 + 16)
    assert found.exponentials == 64 * 96
    assert found.memory_bytes == 2 * (64 * 32 + 96 * 32 + 96 * 16 + 64 * 16)
    causal = needs(load_variant("causal_attention").cascade("3pass"), {"p": 64, "m": 64, "e": 32, "f": 16, "r": 1}, 1, "bf16")
    assert causal.exponentials == 64 * 65 // 2


def test_the_floor_is_the_largest_of_three_times() -> None:
    wanted = Needs(1e9, 1e12, 1e9)
    rates = Ceilings(1e12, 5e14, 1e13)
    found = floor(wanted, rates)
    assert found is not None
    assert found.us == pytest.approx(2000.0)
    assert found.bound == "matrix"
    assert floor(wanted, Ceilings(1e12, None, 1e13)) is None
    assert floor(Needs(1e9, 0, 0), Ceilings(1e12)) is not None
