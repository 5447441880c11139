"""Pareto fronts against brute force: every pair of points compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.design_space.pareto import pareto_front


def by_hand(rows: list[tuple[float, ...]]) -> list[bool]:
    """Whether no row is at least as good in all figures and better in one."""
    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))
    known = [r for r in rows if all(np.isfinite(r))]
    return [all(np.isfinite(r)) and not any(dominates(other, r) for other in known) for r in rows]


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 5).flatmap(lambda k: st.lists(
    st.tuples(*[st.one_of(st.integers(0, 4).map(float), st.just(float("nan")), st.just(float("inf")))] * k), max_size=40)))
def test_small_sets_with_many_ties(rows: list[tuple[float, ...]]) -> None:
    if rows:
        assert pareto_front(np.array(rows, float)).tolist() == by_hand(rows)


@pytest.mark.parametrize("figures", [1, 2, 3, 4, 5])
def test_random_sets(figures: int) -> None:
    rng = np.random.default_rng(figures)
    for rows in (rng.normal(size=(300, figures)), rng.integers(-5, 5, (300, figures)).astype(float)):
        assert pareto_front(rows).tolist() == by_hand([tuple(r) for r in rows.tolist()])


def test_equal_points_stay_together() -> None:
    assert pareto_front(np.array([[1.0, 2, 3], [1, 2, 3], [1, 2, 4], [0, 9, 9]])).tolist() == [True, True, False, True]


def test_a_front_of_every_point() -> None:
    """Points on a plane dominate none of each other: the worst case of a front."""
    angle = np.linspace(0, 1, 2000)
    assert pareto_front(np.stack([angle, 1 - angle], 1)).all()
    assert pareto_front(np.stack([angle, 1 - angle, np.zeros(2000)], 1)).all()


def test_none() -> None:
    assert pareto_front(np.empty((0, 2))).tolist() == []
    assert pareto_front(np.array([[np.nan, 1.0]])).tolist() == [False]
