"""The signed-rank test against enumeration of all signs, SciPy, and its own promises."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon  # type: ignore[import-untyped]

from autotune.regression.signed_rank import holm, least_pairs, shift_of

WHOLE = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=8)


def mean_ranks(values: list[float]) -> list[float]:
    order = sorted(values)
    return [sum(i + 1 for i, v in enumerate(order) if v == value) / order.count(value) for value in values]


def enumerated(differences: list[float]) -> tuple[float, float]:
    """Of all signs of the sizes that there are, the share whose rank sum is at least, and at most, the one seen."""
    ranks = mean_ranks([abs(d) for d in differences])
    moving = [r for r, d in zip(ranks, differences, strict=True) if d != 0]
    seen = sum(r for r, d in zip(ranks, differences, strict=True) if d > 0)
    sums = [sum(r for r, plus in zip(moving, signs, strict=True) if plus) for signs in itertools.product((0, 1), repeat=len(moving))]
    return sum(s >= seen for s in sums) / len(sums), sum(s <= seen for s in sums) / len(sums)


@given(WHOLE)
def test_probabilities_are_those_of_all_signs_with_ties_and_zeros(differences: list[float]) -> None:
    found = shift_of(differences)
    assert (found.p_greater, found.p_less) == pytest.approx(enumerated(differences), abs=1e-12)


@pytest.mark.parametrize("n", [5, 9, 16])
def test_probabilities_are_scipys(n: int) -> None:
    rng = random.Random(n)
    differences = [rng.gauss(0.4, 1) for _ in range(n)]
    found = shift_of(differences)
    assert found.p_greater == pytest.approx(wilcoxon(differences, alternative="greater", method="exact").pvalue)
    assert found.p_less == pytest.approx(wilcoxon(differences, alternative="less", method="exact").pvalue)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.floats(-3, 3))
def test_estimate_and_interval_move_with_the_differences(differences: list[float], by: float) -> None:
    here, there = shift_of(differences), shift_of([d + by for d in differences])
    assert there.estimate == pytest.approx(here.estimate + by, abs=1e-9)
    assert there.low == pytest.approx(here.low + by, abs=1e-9)
    assert here.low <= here.estimate <= here.high


@pytest.mark.parametrize(("n", "wanted"), [(5, 0.9375), (8, 0.95), (12, 0.95)])
def test_the_interval_holds_the_truth_as_often_as_it_says(n: int, wanted: float) -> None:
    rng = random.Random(n)
    found = [shift_of([rng.gauss(1.0, 2.0) for _ in range(n)], wanted) for _ in range(2000)]
    assert found[0].confidence >= wanted
    hits = sum(s.low <= 1.0 <= s.high for s in found) / len(found)
    # Three standard errors of 2000 draws.
    assert hits == pytest.approx(found[0].confidence, abs=3 * math.sqrt(wanted * (1 - wanted) / 2000))


def test_nothing_is_known_of_nothing() -> None:
    found = shift_of([])
    assert (found.low, found.high, found.p_greater, found.p_less) == (-math.inf, math.inf, 1.0, 1.0)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 1e-4])
def test_fewest_pairs_reach_the_probability(alpha: float) -> None:
    n = least_pairs(alpha)
    assert shift_of([1.0 + i for i in range(n)]).p_greater <= alpha < shift_of([1.0 + i for i in range(n - 1)]).p_greater


def test_holm_in_a_worked_example() -> None:
    # Smallest times 4, next times 3 but no smaller than the one before, and so on.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
