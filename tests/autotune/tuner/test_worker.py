"""Worker processes: what hangs, dies, answers garbage or loses its device costs its own trial and no other."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from autotune.store import Status
from autotune.timing import Mode, RoundPlan
from autotune.tuner import TrialFailure, TuneError
from autotune.tuner.evaluation import Evaluator, Timeouts
from autotune.tuner.fake import FACTORY
from autotune.tuner.process import Worker
from tests.autotune.tuner.targets import target

PLAN = RoundPlan(rounds=2, samples=3, extra=2)


def evaluator(made: Any, **more: Any) -> Evaluator:
    return Evaluator(made.factory, made.arguments, timeouts=Timeouts(prepare_s=1.0, time_s=5.0), **more)


def test_each_kind_of_failure_costs_its_own_trial() -> None:
    faults = {1: "hang", 2: "die", 3: "garble", 4: "wrong", 5: "memory", 6: "access", 7: "syntax", 8: "unforeseen"}
    made = target(faults=faults)
    with evaluator(made) as one:
        found = one.evaluate(made.configurations[:10], [Mode.COLD_FLUSHED], PLAN, stage="sweep")
    assert [e.status for e in found] == [
        Status.OK, Status.TIMEOUT, Status.CRASH, Status.CRASH, Status.WRONG_RESULT, Status.OUT_OF_MEMORY, Status.LAUNCH_ERROR,
        Status.COMPILE_ERROR, Status.CRASH, Status.OK]
    reasons = [e.reason for e in found]
    assert reasons[1] == "no answer within 1 s"
    assert "signal SIGSEGV" in reasons[2]
    assert "it answered what cannot be read" in reasons[3]
    assert "the relative error is 1, the tolerance 0" in reasons[4]
    assert reasons[8] == "its process ended with status 1: RuntimeError: something that nothing foresaw"
    assert all(not e.rounds for e in found[1:9])
    assert all(e.rounds and e.facts["check_error"] == 0.0 for e in (found[0], found[9]))


def test_a_process_that_dies_while_several_are_timed_costs_the_guilty_one(tmp_path: Any) -> None:
    made = target()
    arguments = {**made.arguments, "fatal": [2]}
    with Evaluator("tests.autotune.tuner.test_worker:dies_when_timed", arguments, timeouts=Timeouts(5.0, 5.0)) as one:
        found = one.evaluate(made.configurations[:4], [Mode.COLD_FLUSHED, Mode.WARM_GRAPH], PLAN, stage="sweep")
    assert [e.status for e in found] == [Status.OK, Status.OK, Status.CRASH, Status.OK]
    for e in (found[0], found[1], found[3]):
        assert {r.cache for r in e.rounds} == {"cold_l2_flushed", "warm_l2_graph"}


def dies_when_timed(arguments: dict[str, Any]) -> Any:
    """A subject whose third configuration kills the process when it is launched for timing."""
    from autotune.timing.fake import FakeDevice
    from autotune.tuner.fake import FakeSubject

    class Device(FakeDevice):
        def burst(self, checked: Any, mode: Any, samples: int) -> Any:
            if checked.candidate.launches[0].name == bad:
                os.abort()
            return super().burst(checked, mode, samples)
    made = FakeSubject(arguments)
    from autotune.store.record import canonical
    bad = canonical(arguments["configurations"][arguments["fatal"][0]])
    made.device = Device()
    return made


def test_a_worker_that_cannot_start_ends_tuning_with_the_reason() -> None:
    for factory, word in (("autotune.no_such_module:subject", "ModuleNotFoundError"), ("autotune.tuner.fake:nothing", "AttributeError")):
        with Worker(factory, {}) as worker, pytest.raises(TuneError, match=f"it cannot start, got .*{word}"):
            worker.open()


def test_a_hanging_worker_is_ended_with_what_it_started() -> None:
    made = target(faults={0: "hang"})
    with Worker(FACTORY, made.arguments) as worker:
        worker.open()
        assert worker._process is not None
        pid, begun = worker._process.pid, time.monotonic()
        with pytest.raises(TrialFailure, match=r"no answer within 0\.3 s"):
            worker.ask("prepare", 0.3, id="a", configuration=dict(made.configurations[0]), thorough=False, seed=0)
        assert time.monotonic() - begun < 5
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert worker.starts == 1
        worker.ask("prepare", 5, id="b", configuration=dict(made.configurations[1]), thorough=False, seed=0)
        assert worker.starts == 2


def test_a_long_question_to_a_process_that_does_not_read_times_out() -> None:
    with Worker("tests.autotune.tuner.test_worker:dies_when_timed", {"configurations": ["x" * 10_000_000]}, start_s=2.0) as worker, \
            pytest.raises(TuneError, match="it cannot start"):
        worker.open()
