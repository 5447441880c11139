"""How base and head are timed: fresh processes in pairs, in ABBA order, and once more before a regression is called one.

ABBA: base, head, head, base, ... A drift that goes one way slows the second process of each pair; with the order turned
from pair to pair it favours neither side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autotune.regression.errors import RegressionGateError
from autotune.regression.signed_rank import least_pairs
from autotune.regression.verdict import ProcessTimes, Thresholds, TimedVerdict, judge, suspected
from autotune.store.record import Round

FEWEST_PROCESSES = 5
"""With the noise of processes as it is, fewer than five of a side tell no change of 5% reliably."""

SIDES = ("base", "head")


class Runner(Protocol):
    """Runs benchmarks in fresh processes."""

    def run(self, side: str, benchmarks: Sequence[str], process: int) -> Mapping[str, Sequence[Round]]:
        """Returns the rounds of each benchmark from one fresh process of a side; ``process`` counts over the whole run.

        Raises: RegressionGateError where the process fails.
        """


@dataclass(frozen=True)
class GatePlan:
    """``processes`` of each side, and as many again for what is to be timed a second time; ``reference`` is a benchmark
    that every process times beside the others, to take times over it."""

    processes: int = 10
    thresholds: Thresholds = field(default_factory=Thresholds)
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.processes < FEWEST_PROCESSES:
            raise RegressionGateError(f"processes: at least {FEWEST_PROCESSES} of each side are needed, got {self.processes}; one process has "
                                      f"a bias of its own that no number of samples removes")

    def enough_for(self, benchmarks: int) -> GatePlan:
        """Returns the plan with as many processes as the test needs to tell anything over so many benchmarks."""
        # After the second round there are twice as many pairs.
        least = -(-least_pairs(self.thresholds.alpha / max(benchmarks, 1)) // 2)
        return replace(self, processes=max(self.processes, least))


@dataclass(frozen=True)
class GateRun:
    """What a run of the gate found: verdicts, and all that was timed."""

    verdicts: tuple[TimedVerdict, ...]
    processes: tuple[ProcessTimes, ...]
    plan: GatePlan


def run_gate(runner: Runner, benchmarks: Sequence[str], plan: GatePlan, calibration: Mapping[str, Sequence[float]] | None = None) -> GateRun:
    """Returns the verdicts on benchmarks; those that look slower or faster are timed again, and judged by both runs together.

    Raises: RegressionGateError for no benchmark, or where a process fails.
    """
    if not benchmarks:
        raise RegressionGateError("benchmarks: there is nothing to compare, got none; name at least one")
    plan = plan.enough_for(len(benchmarks))
    first = _timed(runner, benchmarks, plan, 0)
    verdicts = judge(dict.fromkeys(benchmarks, first), plan.thresholds, reference=plan.reference, calibration=calibration)
    again = suspected(verdicts, plan.thresholds)
    if not again:
        return GateRun(tuple(verdicts), tuple(first), plan)
    second = _timed(runner, again, plan, plan.processes)
    times = {name: [*first, *second] if name in again else first for name in benchmarks}
    verdicts = judge(times, plan.thresholds, reference=plan.reference, calibration=calibration, rerun=frozenset(again))
    return GateRun(tuple(verdicts), (*first, *second), plan)


def _timed(runner: Runner, benchmarks: Sequence[str], plan: GatePlan, start: int) -> list[ProcessTimes]:
    names = [*benchmarks, *([plan.reference] if plan.reference and plan.reference not in benchmarks else [])]
    found = []
    for pair in range(start, start + plan.processes):
        order = SIDES if pair % 2 == 0 else SIDES[::-1]
        for place, side in enumerate(order):
            found.append(ProcessTimes(side, pair, runner.run(side, names, 2 * pair + place)))
    return found
