"""Strategies: what they try, within their budget and without trying twice, and the same again from the same seed."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from autotune.search import Outcome, Problem, Proposal, SearchError, make_strategy, strategy_ids
from autotune.search.gaussian_process import Hyperparameters, fitted, predicted
from autotune.search.landscape import landscape
from autotune.search.replay import replay
from autotune.space import Axis, Configuration, Constraint, Space, SpaceError
from einsum_cascades.errors import UnknownNameError

POWERS = tuple(2**i for i in range(4, 8))
SPACE = Space((Axis("p", POWERS), Axis("m0", POWERS), Axis("num_warps", (2, 4, 8, 16)), Axis("num_stages", (1, 2, 3, 4)),
               Axis("split", (1, 2, 4)), Axis("order", ("pm", "mp")), Axis("descriptors", (False, True))))
WITH = pytest.param("bayesian", marks=pytest.mark.skipif(find_spec("optuna") is None, reason="needs Optuna (the extra 'tune')"))
INFORMED = ["random", "successive-halving", "model-guided", WITH]


def small() -> tuple[Configuration, ...]:
    return tuple(Space(SPACE.axes[2:5]).configurations())


def test_the_space_is_the_product_without_what_constraints_exclude() -> None:
    limit = Constraint("p * m0 is at most 4096", ("p", "m0"), lambda p, m0: p * m0 <= 4096)
    never = Constraint("one warp for each 16 rows", ("num_warps", "p"), lambda w, p: w * 16 <= p)
    space = Space(SPACE.axes, (limit, never))
    found = list(space.configurations())
    by_hand = [c for c in SPACE.configurations() if c["p"] * c["m0"] <= 4096 and c["num_warps"] * 16 <= c["p"]]  # type: ignore[operator]
    assert found == by_hand
    assert space.combinations == len(list(SPACE.configurations())) == 3072
    assert space.violated({**found[0], "p": 128, "m0": 128}) == limit
    assert space.violated(found[-1]) is None
    with pytest.raises(SpaceError, match="axis 'p' has no such value, got 3; valid: 16, 32, 64, 128"):
        space.violated({**found[0], "p": 3})


def test_a_pool_is_all_of_a_small_space_and_a_draw_of_a_large_one() -> None:
    assert SPACE.pool(5000) == tuple(SPACE.configurations())
    odd = Constraint("a + b is odd", ("a", "b"), lambda a, b: (a + b) % 2 == 1)
    large = Space(tuple(Axis(name, tuple(range(40))) for name in "abcdef"), (odd,))
    drawn = large.pool(300, seed=1)
    assert drawn == large.pool(300, seed=1) != large.pool(300, seed=2)
    assert len({tuple(c.values()) for c in drawn}) == 300
    assert all(large.violated(c) is None for c in drawn)
    assert len({c["f"] for c in drawn}) == 40, "it is spread over the whole space"
    with pytest.raises(SpaceError, match="none of its 4 combinations is allowed"):
        Space(tuple(Axis(name, (0, 2)) for name in "ab"), (odd,)).pool(9)


@pytest.mark.parametrize(("axes", "constraints", "message"), [
    ((Axis("a", ()),), (), "it has no values"), ((Axis("a", (1, 1)),), (), "stands twice"),
    ((Axis("a", (1,)), Axis("a", (2,))), (), "stands twice"),
    ((Axis("a", (1,)),), (Constraint("b holds", ("b",), bool),), "there is no such axis, got 'b'; did you mean")])
def test_a_space_that_makes_no_sense_is_refused(axes: tuple[Axis, ...], constraints: tuple[Constraint, ...], message: str) -> None:
    if "did you mean" in message:
        message = message.partition("; did")[0]
    with pytest.raises(SpaceError, match=message):
        Space(axes, constraints)


def test_names_and_refusals() -> None:
    assert strategy_ids() == ("bayesian", "exhaustive", "model-guided", "random", "successive-halving")
    with pytest.raises(UnknownNameError, match="did you mean 'model-guided'"):
        make_strategy("model-guide", Problem(small(), 5))
    with pytest.raises(SearchError, match="there are 48 configurations, got a budget of 47"):
        make_strategy("exhaustive", Problem(small(), 47))
    with pytest.raises(SearchError, match="there is nothing to try"):
        Problem((), 1)
    with pytest.raises(SearchError, match="a budget of 0"):
        Problem(small(), 0)
    with pytest.raises(SearchError, match="a prediction for each of 48 configurations, got 1"):
        Problem(small(), 5, predicted_us=(1.0,))


def test_bayesian_search_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.search.bayesian.find_spec", lambda name: None)
    with pytest.raises(SearchError, match=r"it needs Optuna, got no such package; install fusebench\[tune\]"):
        make_strategy("bayesian", Problem(small(), 5))


@pytest.mark.parametrize("name", ["exhaustive", *INFORMED])
def test_a_strategy_keeps_to_its_budget_and_is_seeded(name: str) -> None:
    """Also where a third of the configurations fail, and where proposals are asked for in odd numbers."""
    pool = small()
    budget = len(pool) if name == "exhaustive" else 20
    rng = random.Random(1)
    times = [None if rng.random() < 0.33 else rng.uniform(1, 2) for _ in pool]
    orders = []
    for _ in range(2):
        search = make_strategy(name, Problem(pool, budget, seed=5))
        asked: list[Proposal] = []
        while proposals := search.ask(3):
            assert len(proposals) <= 3
            asked.extend(proposals)
            search.tell([Outcome(p.index, times[p.index], p.share) for p in proposals])
        tried = [p.index for p in asked]
        orders.append(tried)
        assert len(set(tried)) == budget
        full = [p.index for p in asked if p.share >= 1.0]
        assert len(full) == len(set(full)), "no configuration is timed in full twice"
    assert orders[0] == orders[1]
    if name not in ("exhaustive",):
        other = replay(name, Problem(pool, budget, seed=6), times)
        assert list(other.order) != list(dict.fromkeys(orders[0]))


@pytest.mark.parametrize("name", ["model-guided", WITH])
def test_a_search_survives_nothing_but_failures_and_a_space_of_one(name: str) -> None:
    pool = small()
    assert replay(name, Problem(pool, 20), [None] * 47 + [1.0]).trials == 20
    assert replay(name, Problem(pool[:1], 9), [2.0]).regret == 0.0


def test_halving_gives_the_better_third_three_times_the_samples() -> None:
    pool = small()
    search = make_strategy("successive-halving", Problem(pool, 27, seed=2))
    shares: dict[float, list[int]] = {}
    while proposals := search.ask(10):
        for p in proposals:
            shares.setdefault(round(p.share, 6), []).append(p.index)
        search.tell([Outcome(p.index, float(p.index), p.share) for p in proposals])
    rungs = list(shares.values())
    assert list(shares) == [round(1 / 9, 6), round(1 / 3, 6), 1.0]
    assert [len(r) for r in rungs] == [27, 9, 3]
    assert rungs[1] == sorted(rungs[0])[:9]
    assert rungs[2] == sorted(rungs[0])[:3]


def test_predictions_come_first() -> None:
    pool = small()
    predicted_us = tuple(float((i * 7) % 48 + 1) for i in range(48))
    best = sorted(range(48), key=lambda i: predicted_us[i])
    first = make_strategy("model-guided", Problem(pool, 20, predicted_us=predicted_us)).ask(8)
    assert {p.index for p in first} >= set(best[:4])
    halving = make_strategy("successive-halving", Problem(pool, 20, predicted_us=predicted_us)).ask(20)
    assert [p.index for p in halving][:10] == best[:10]


def test_a_gaussian_process_is_the_textbooks() -> None:
    """Against the formulas written out with inverses."""
    rng = np.random.default_rng(0)
    x, y, at = rng.uniform(size=(12, 2)), rng.normal(size=12), rng.uniform(size=(5, 2))
    chosen = Hyperparameters((0.4, 0.8), 1e-2)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        r = np.sqrt((((a[:, None, :] - b[None, :, :]) / np.array(chosen.lengths))**2).sum(axis=2) * 5)
        return np.asarray((1 + r + r * r / 3) * np.exp(-r))
    inverse = np.linalg.inv(kernel(x, x) + 1e-2 * np.eye(12))
    scale = y @ inverse @ y / 12
    mean, deviation = predicted(x, y, at, chosen)
    assert mean == pytest.approx(kernel(at, x) @ inverse @ y)
    variance = scale * (1.01 - np.einsum("ij,jk,ik->i", kernel(at, x), inverse, kernel(at, x)))
    assert deviation == pytest.approx(np.sqrt(variance))


def test_lengths_ignore_a_feature_that_does_nothing() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(60, 3))
    chosen = fitted(x, np.sin(9 * x[:, 0]) + 0.3 * x[:, 1])
    assert chosen.lengths[0] < chosen.lengths[1] <= chosen.lengths[2]
    assert chosen.lengths[2] == 6.4


def test_the_landscape_follows_from_its_seed_and_is_rough() -> None:
    pool = tuple(SPACE.configurations())[::17]
    one, again, other = (landscape(pool, seed) for seed in (1, 1, 2))
    times = [one.time_us(c) for c in pool]
    assert times == [again.time_us(c) for c in pool] != [other.time_us(c) for c in pool]
    assert max(times) / min(times) > 2
    assert sys.float_info.max > min(times) > 0
