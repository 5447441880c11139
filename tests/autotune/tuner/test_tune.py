"""Tuning on the fake device: near the best under noise, the same winner again, and everything in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.space import Configuration
from autotune.space.pruning import Verdict
from autotune.store import Key, Status, Store, look_up
from autotune.timing import RoundPlan
from autotune.tuner import Settings, TuneError, tune
from autotune.tuner.choice import Tied, choose
from autotune.tuner.evaluation import Timeouts
from tests.autotune.tuner.targets import target, times_of, true_us

QUICK = Settings(budget=40, sweep=RoundPlan(2, 5, 3), final=RoundPlan(3, 8, 4, 0.1), timeouts=Timeouts(1.0, 5.0))


def test_the_winner_is_near_the_best_and_is_found_again_without_tuning(tmp_path: Path) -> None:
    made = target(seed=3)
    with Store(tmp_path) as store:
        done = tune(made, store, QUICK)
        assert done.winner is not None
        assert done.lookup.status == "miss"
        key = Key("made_up", "d1", made.bucket, "fake device", "")
        found = look_up(store, key)
        assert found.configuration is not None
        assert times_of(made, dict(found.configuration)) <= 1.05 * min(true_us(made))
        assert look_up(store, replace(key, kernel_digest="d2")).status == "stale"
        stored = store.trials()
    assert stored == list(done.trials)
    sweeps = [t for t in stored if all(r.stage == "sweep" for r in t.rounds)]
    finals = [t for t in stored if any(r.stage == "final" for r in t.rounds)]
    assert len(sweeps) == len({str(t.configuration) for t in sweeps}) == 40
    assert len(finals) == 5
    assert {r.process for t in finals for r in t.rounds} == {1, 2, 3}
    assert {r.cache for t in finals for r in t.rounds} == {"cold_l2_flushed", "warm_l2_graph"}
    assert all(sum(r.energy_j is not None for r in t.rounds) == 2 * 3 for t in finals), "once in each mode and process"
    assert {t.id for t in done.band} >= {done.winner.trial}
    assert all(t.facts["made_up"] and t.environment.gpu == "fake device" for t in stored)


def test_among_ties_the_same_winner_is_chosen_again(tmp_path: Path) -> None:
    """Other noise each time; the configuration that was chosen before stays, as long as it is tied."""
    made = target(seed=5)
    with Store(tmp_path) as store:
        wide = replace(QUICK, tolerance=0.15, strategy="random", budget=60)
        chosen = []
        for noise in range(3):
            done = tune(made, store, replace(wide, sweep=RoundPlan(2, 5 + noise, 3)))
            assert done.winner is not None
            chosen.append(next(t.configuration for t in done.trials if t.id == done.winner.trial))
            assert len(done.band) > 1
        assert chosen[0] == chosen[1] == chosen[2]


def test_the_choice_does_not_depend_on_order() -> None:
    tied = [Tied({"a": 1, "num_warps": 8}, {"shared_bytes": 10}), Tied({"a": 2, "num_warps": 4}, {"shared_bytes": 10}),
            Tied({"a": 3, "num_warps": 4}, {"shared_bytes": 10}), Tied({"a": 0, "num_warps": 1}, {"shared_bytes": 99})]
    assert choose(tied)[0] == choose(tied[::-1])[0] == tied[1]
    assert choose(tied, {"a": 0, "num_warps": 1}) == (tied[3], "tied, and chosen before")
    assert choose(tied[:1]) == (tied[0], "fastest")


def test_failures_are_stored_with_their_reasons_and_tuning_goes_on(tmp_path: Path) -> None:
    made = target(faults=dict(zip(range(0, 288, 4), ["die", "wrong", "memory", "syntax"] * 18, strict=True)))
    with Store(tmp_path) as store:
        done = tune(made, store, replace(QUICK, strategy="random", budget=48))
        failed = [t for t in store.trials() if t.status != Status.OK]
    assert done.winner is not None
    assert {t.status for t in failed} >= {Status.CRASH, Status.WRONG_RESULT, Status.OUT_OF_MEMORY, Status.COMPILE_ERROR}
    assert all(t.reason and not t.rounds for t in failed)


def test_what_is_pruned_costs_no_trial_and_what_a_model_rules_out_is_not_run(tmp_path: Path) -> None:
    made = target(seed=1)

    def pruner(configurations: Sequence[Configuration]) -> list[Verdict | None]:
        return [Verdict(Status.OVER_LIMIT, "shared memory", {"shared_bytes": 300_000}) if c["p"] == 128 else
                Verdict(Status.OK, "", {"registers": 100}) for c in configurations]

    def predictor(configurations: Sequence[Configuration]) -> list[float | None]:
        return [10.0 if c["m0"] == 16 else None if c["m0"] == 32 else 1.0 for c in configurations]
    with Store(tmp_path) as store:
        done = tune(made, store, replace(QUICK, skip_beyond=5.0), pruner=pruner, predictor=predictor)
        trials = store.trials()
    by_status = {status: [t for t in trials if t.status == status] for status in Status}
    assert len(by_status[Status.SKIPPED_BY_MODEL]) == 72
    assert all(t.configuration["m0"] == 16 and "predicted at 10 us, over 5 us" in t.reason for t in by_status[Status.SKIPPED_BY_MODEL])
    assert by_status[Status.OVER_LIMIT]
    assert all(t.configuration["p"] == 128 and t.facts == {"shared_bytes": 300_000} for t in by_status[Status.OVER_LIMIT])
    assert all(t.facts["registers"] == 100 and t.facts["made_up"] for t in by_status[Status.OK])
    ran = {str(t.configuration) for t in trials if t.rounds}
    assert len(ran) == 40
    assert not any(t.configuration["p"] == 128 or t.configuration["m0"] == 16 for t in by_status[Status.OK])
    assert done.winner is not None
    assert {t.predicted_us for t in by_status[Status.OK]} == {None, 1.0}


def test_nothing_that_runs_is_an_error_that_says_why(tmp_path: Path) -> None:
    made = target(faults=dict.fromkeys(range(288), "memory"))
    with Store(tmp_path) as store, pytest.raises(TuneError, match=r"no configuration ran, got 6 out_of_memory \(the last one: the device"):
        tune(made, store, replace(QUICK, budget=6))


def test_ctrl_c_keeps_what_was_found(tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt
    with Store(tmp_path) as store:
        done = tune(target(), store, QUICK, progress=stop)
        assert done.interrupted
        assert done.winner is not None
        assert len(store.trials()) == 16
        assert store.winners() == [done.winner]
