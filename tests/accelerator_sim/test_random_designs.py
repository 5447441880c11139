"""Action counts of random designs of random cascades against a brute-force trace: equal, or refused."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from accelerator_sim.counts import count_stage
from accelerator_sim.data import Data
from accelerator_sim.plan import Plan, Shape, make_plan
from einsum_cascades.errors import DesignError
from tests.accelerator_sim.random_designs import Case, random_case
from tests.accelerator_sim.random_ties import random_tied_case
from tests.accelerator_sim.test_counts_against_trace import check
from tests.accelerator_sim.trace import LostError, trace


def counted(case: Case) -> Plan | None:
    """Returns the plan of a case that the simulator counts, None for one that it refuses."""
    try:
        plan = make_plan(case.cascade, case.design, case.machine, Shape(case.extents, case.instances, data=Data(case.data)))
        for stage in case.design.stages:
            count_stage(plan, stage)
    except DesignError:
        return None
    return plan


def hold(case: Case) -> None:
    """Asserts that a case that is not refused is counted as the trace sees it, which misses no value then."""
    plan = counted(case)
    if plan is not None:
        check(plan)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_random_designs_are_counted_as_traced(seed: int) -> None:
    hold(random_case(Random(seed)))


@given(seed=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
def test_random_ties_are_counted_as_traced(seed: int) -> None:
    hold(random_tied_case(Random(seed)))


@pytest.mark.slow
def test_thousands_of_random_ties_are_counted_as_traced() -> None:
    for seed in range(10**9, 10**9 + 2000):
        hold(random_tied_case(Random(seed)))


@pytest.mark.slow
def test_thousands_of_random_designs_are_counted_as_traced() -> None:
    for seed in range(10**9, 10**9 + 3000):
        hold(random_case(Random(seed)))


def test_most_random_designs_are_counted() -> None:
    taken = [counted(random_case(Random(seed))) is not None for seed in range(300)]
    assert sum(taken) > 240
    taken = [counted(random_tied_case(Random(seed))) is not None for seed in range(200)]
    assert sum(taken) > 140


def test_designs_that_lose_a_value_are_refused_and_do_occur() -> None:
    lost = 0
    for seed in range(400):
        case = random_case(Random(seed))
        try:
            trace(case.cascade, case.design, case.machine, case.extents, case.instances, case.sizes)
        except LostError:
            lost += 1
            assert counted(case) is None, seed
    assert lost >= 3
