"""Products without overlap, against SCALE-Sim's published cycles and against a walk through every fold and cycle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerator_sim.machines import load_machine
from accelerator_sim.systolic import Product, no_overlap, product_of
from einsum_cascades import FusebenchError, parse

ARRAY = load_machine("fusemax").units["array_2d"]

SCALE_SIM = [
    ((1024, 1024, 1024), "ws", 28639),
    ((1024, 1024, 1024), "os", 24543),
    ((1024, 1024, 64), "ws", 7159),
]
"""Cycles on a 256 x 256 array, measured with SCALE-Sim 3.0.0."""


@pytest.mark.parametrize(("size", "dataflow", "cycles"), SCALE_SIM)
def test_cycles_are_those_of_scale_sim(size: tuple[int, int, int], dataflow: str, cycles: int) -> None:
    assert no_overlap(Product(*size), ARRAY, dataflow).cycles == cycles


def _last_cycle(m: int, n: int, k: int, rows: int, cols: int, dataflow: str) -> int:
    """The number, from 0, of the cycle in which the last value leaves, by following the wavefront of every fold."""
    cycle = -1
    down, across, stream, load = (m, n, k, 0) if dataflow == "os" else (k, n, m, rows)
    for _ in range(0, down, rows):
        for _ in range(0, across, cols):
            # The operand of the last step enters the last row and column late, by one cycle for each row and column.
            arrivals = [load + step + row + col for step in (0, stream - 1) for row in (0, rows - 1) for col in (0, cols - 1)]
            cycle += max(arrivals) + 1
    return cycle


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9),
       st.sampled_from(("ws", "os")))
def test_cycles_follow_the_wavefront(m: int, n: int, k: int, rows: int, cols: int, dataflow: str) -> None:
    unit = load_machine("fusemax", {"array_2d.rows": rows, "array_2d.cols": cols}).units["array_2d"]
    found = no_overlap(Product(m, n, k), unit, dataflow)
    assert found.cycles == _last_cycle(m, n, k, rows, cols, dataflow)
    assert 0 < found.utilization <= 1


def test_products_are_recognised_by_their_ranks() -> None:
    cascade = parse("Y[h,t,o] = W[o,c] * X[h,t,c]")
    assert product_of(cascade, cascade.einsums[0], {"h": 3, "t": 5, "o": 7, "c": 11}) == Product(7, 15, 11)
    batched = parse("S[h,p,m] = Q[h,p,e] * K[h,m,e]")
    assert product_of(batched, batched.einsums[0], {"h": 3, "p": 5, "m": 7, "e": 11}) == Product(5, 7, 11, 3)


@pytest.mark.parametrize("text", ["Y[p] = max[m] X[p,m]", "Y[p,m] = A[p] * B[m]", "Y[p] = A[p,k] * B[k] where k < p"])
def test_what_is_no_product_is_refused(text: str) -> None:
    cascade = parse(text)
    with pytest.raises(FusebenchError, match="no matrix product"):
        product_of(cascade, cascade.einsums[0], {"p": 2, "m": 2, "k": 2})


def test_other_dataflows_and_units_are_refused() -> None:
    with pytest.raises(FusebenchError, match=r"unknown dataflow, got 'is'; .*valid: os, ws"):
        no_overlap(Product(1, 1, 1), ARRAY, "is")
    with pytest.raises(FusebenchError, match="a systolic array has rows and cols, got lanes"):
        no_overlap(Product(1, 1, 1), load_machine("fusemax").units["array_1d"], "os")
