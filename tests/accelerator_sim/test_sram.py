"""Costs of SRAM: the table's points, what lies between them, and what is refused."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelerator_sim
from accelerator_sim.errors import ComponentError
from accelerator_sim.sram import sram_cost

TABLE = Path(accelerator_sim.__file__).parent / "components" / "sram_cacti.csv"
COSTS = ("read_pj", "write_pj", "area_mm2", "leak_mw")


def points() -> Iterator[tuple[int, int, int, tuple[float, ...]]]:
    """Node, width in bits, size in bytes, costs, of all lines that have them."""
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                costs = tuple(float(row[c]) for c in COSTS)
            except ValueError:
                continue
            yield int(row["tech_nm"]), int(row["width_bits"]), int(row["size_kib"]) * 1024, costs


POINTS = tuple(points())


def costs_of(node: int, width: int, size: float) -> tuple[float, ...]:
    found = sram_cost(size, width, node)
    return found.read_pj, found.write_pj, found.area_mm2, found.leakage_mw


def neighbours() -> list[tuple[int, int, int, int]]:
    curves: dict[tuple[int, int], list[int]] = {}
    for node, width, size, _ in POINTS:
        curves.setdefault((node, width), []).append(size)
    return [(*curve, low, high) for curve, sizes in curves.items() for low, high in pairwise(sorted(sizes))]


def test_the_table_is_read_whole() -> None:
    assert len(POINTS) > 200
    for node, width, size, costs in POINTS:
        assert costs_of(node, width, size) == pytest.approx(costs, rel=1e-12)


@given(between=st.sampled_from(neighbours()), a=st.floats(0, 1), b=st.floats(0, 1))
def test_costs_between_two_sizes_go_from_one_to_the_other(between: tuple[int, int, int, int], a: float, b: float) -> None:
    node, width, low, high = between
    a, b = sorted((a, b))
    ends = costs_of(node, width, low), costs_of(node, width, high)
    inside = [costs_of(node, width, low * (high / low) ** share) for share in (a, b)]
    for number, (first, last) in enumerate(zip(*ends, strict=True)):
        values = [first, inside[0][number], inside[1][number], last]
        rising = sorted(values, reverse=last < first)
        assert values == pytest.approx(rising, rel=1e-9)
        # Straight in logarithms: the cost at a share is the mean of the ends, weighted by it.
        assert inside[0][number] == pytest.approx(first ** (1 - a) * last ** a, rel=1e-9)


def test_costs_between_two_widths_go_from_one_to_the_other() -> None:
    for size in (1 << 20, 1 << 24):
        widths = [costs_of(45, width, size) for width in (1024, 1448, 1600, 2048)]
        for low, middle, high in ((0, 1, 3), (0, 2, 3)):
            for a, b, c in zip(widths[low], widths[middle], widths[high], strict=True):
                assert min(a, c) <= b <= max(a, c)
        # 1448 bits are half way between the logarithms of 1024 and 2048.
        assert widths[1] == pytest.approx([math.sqrt(a * c) for a, c in zip(widths[0], widths[3], strict=True)], rel=1e-3)


def test_wider_rows_are_banks_side_by_side() -> None:
    assert costs_of(45, 8192, 1 << 25) == pytest.approx([2 * c for c in costs_of(45, 4096, 1 << 24)], rel=1e-12)
    assert costs_of(45, 3 * 4096, 3 << 22) == pytest.approx([3 * c for c in costs_of(45, 4096, 1 << 22)], rel=1e-12)
    # Between whole numbers of banks, they are as wide as they need to be.
    assert costs_of(45, 4096 + 1024, 1 << 23) == pytest.approx([2 * c for c in costs_of(45, 2560, 1 << 22)], rel=1e-12)


@pytest.mark.parametrize(("mib", "read_pj", "write_pj", "mm2"), [(16, 12512.7, 15751.4, 84.2), (32, 23854.6, 27097.5, 175.7)])
def test_the_papers_buffers_cost_what_is_published(mib: int, read_pj: float, write_pj: float, mm2: float) -> None:
    found = sram_cost(mib << 20, 4096, 45)
    assert (found.read_pj, found.write_pj) == pytest.approx((read_pj, write_pj), abs=0.06)
    assert found.area_mm2 == pytest.approx(mm2, abs=0.05)


@pytest.mark.parametrize(("node", "width", "size", "message"), [
    (46, 4096, 1 << 24, "b: the SRAM table has no such technology node, got 46 nm; use one of "),
    (45, 32, 1 << 20, "b.row_bits: the SRAM table begins at 64 bits, got 32; use wider rows"),
])
def test_what_the_table_does_not_hold_is_refused(node: int, width: int, size: int, message: str) -> None:
    with pytest.raises(ComponentError) as caught:
        sram_cost(size, width, node, name="b")
    assert str(caught.value).startswith(message)


def test_nothing_is_extrapolated() -> None:
    sizes = [size for node, width, size, _ in POINTS if (node, width) == (45, 4096)]
    least, most = min(sizes), max(sizes)
    for size in (least * 0.99, most * 1.01):
        with pytest.raises(ComponentError) as caught:
            sram_cost(size, 4096, 45, name="b")
        assert str(caught.value) == (
            f"b.bytes: the SRAM table holds {least} to {most} bytes a bank for rows of 4096 bits and nothing is extrapolated, got "
            f"{size:g}; use a size in the table or give the costs in the machine file")
    with pytest.raises(ComponentError, match="nothing is extrapolated"):
        sram_cost(np.array([least, most * 2]), 4096, 45)


@given(sizes=st.lists(st.integers(1 << 20, 1 << 25), min_size=1, max_size=20))
def test_arrays_of_sizes_cost_what_each_costs(sizes: list[int]) -> None:
    found = sram_cost(np.array(sizes), 4096, 45)
    for n, size in enumerate(sizes):
        one = sram_cost(size, 4096, 45)
        assert (found.read_pj[n], found.write_pj[n], found.area_mm2[n]) == pytest.approx((one.read_pj, one.write_pj, one.area_mm2),
                                                                                         rel=1e-12)


def test_an_array_of_widths_is_refused() -> None:
    with pytest.raises(ComponentError, match="row_bits: it must be one number for all design points, got an array"):
        sram_cost(1 << 24, np.array([64, 128]), 45)
