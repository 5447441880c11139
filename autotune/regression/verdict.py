"""Verdicts on timed benchmarks: a statistical and a practical threshold, both of which a regression must pass.

A pair is two fresh processes, one of the base and one of the head, run one right after the other; its difference is the
logarithm of the ratio of their medians. Only pairs count, never samples: the bias of a process is the same for all of its
samples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune.regression.signed_rank import Shift, holm, shift_of
from autotune.store.record import Round, quantile

_MAD_TO_DEVIATION = 1.4826
"""Of a normal distribution."""

_FEWEST_CALIBRATING = 8
"""With fewer pairs of A/A runs their spread is not known well enough to raise a threshold by."""


class Outcome(StrEnum):
    """What is said of a benchmark."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Thresholds:
    """When a difference is one.

    ``alpha`` bounds the probability of any false alarm over all benchmarks of a run (Holm); ``practical`` is the least
    share that anybody acts on, raised to ``floors`` times the standard error that A/A runs of the benchmark show.
    ``confidence`` is of the intervals; ``suspicion`` is the share of the practical threshold from which on a benchmark is
    timed a second time before anything is said.
    """

    alpha: float = 0.01
    practical: float = 0.03
    floors: float = 3.0
    confidence: float = 0.95
    suspicion: float = 0.5


@dataclass(frozen=True)
class ProcessTimes:
    """What one fresh process measured: rounds by benchmark. ``side`` is base or head, ``pair`` the number of its pair."""

    side: str
    pair: int
    rounds: Mapping[str, Sequence[Round]]

    def median_us(self, benchmark: str) -> float | None:
        """Returns the median of the samples that are not tainted; None where there are none."""
        samples = [s for r in self.rounds.get(benchmark, ()) if not r.taint for s in r.samples_us]
        return quantile(samples, 0.5) if samples else None

    @property
    def tainted(self) -> int:
        """How many rounds were rejected."""
        return sum(bool(r.taint) for rounds in self.rounds.values() for r in rounds)


@dataclass(frozen=True)
class TimedVerdict:
    """What is said of one benchmark, and why.

    ``change`` is head over base, less 1 (0.05: the head takes 5% longer), between ``low`` and ``high`` at
    ``confidence``; ``threshold`` the least change that counts; ``probability`` that of such signs without a change,
    adjusted for all benchmarks. ``rerun`` says that it was timed a second time before this was said.
    """

    benchmark: str
    outcome: Outcome
    change: float
    low: float
    high: float
    confidence: float
    threshold: float
    probability: float
    pairs: int
    base_us: float
    head_us: float
    rerun: bool
    reason: str
    evidence: Mapping[str, float | int | str]

    def to_dict(self) -> dict[str, object]:
        """Returns it in JSON's types."""
        return {**{k: v for k, v in vars(self).items() if k not in ("evidence", "outcome")}, "outcome": str(self.outcome),
                "evidence": dict(self.evidence)}


def differences(processes: Sequence[ProcessTimes], benchmark: str, reference: str | None = None) -> list[float]:
    """Returns the logarithm of head over base of each pair that has both; with a ``reference`` each is taken over the
    reference's time in the same process, which cancels what a process, or a clock, does to all kernels alike."""
    found: dict[int, dict[str, float]] = {}
    for process in processes:
        value = process.median_us(benchmark)
        if value is None:
            continue
        level = math.log(value)
        if reference is not None:
            other = process.median_us(reference)
            if other is None:
                continue
            level -= math.log(other)
        found.setdefault(process.pair, {})[process.side] = level
    return [pair["head"] - pair["base"] for _, pair in sorted(found.items()) if len(pair) == 2]


def noise_floor(calibration: Sequence[float], pairs: int) -> float:
    """Returns the standard error of a change over ``pairs`` pairs, from the differences of pairs of A/A runs, in which
    base and head are the same; 0 where there are too few to tell."""
    if len(calibration) < _FEWEST_CALIBRATING or pairs == 0:
        return 0.0
    centre = statistics.median(calibration)
    return _MAD_TO_DEVIATION * statistics.median(abs(d - centre) for d in calibration) / math.sqrt(pairs)


def judge(processes: Mapping[str, Sequence[ProcessTimes]], thresholds: Thresholds, *, reference: str | None = None,
          calibration: Mapping[str, Sequence[float]] | None = None, rerun: frozenset[str] = frozenset()) -> list[TimedVerdict]:
    """Returns the verdict of each benchmark from the processes that timed it; ``calibration`` has the differences of A/A
    pairs, ``rerun`` names the benchmarks that were timed again."""
    known = calibration or {}
    shifts = {name: shift_of(differences(own, name, reference), thresholds.confidence) for name, own in processes.items()}
    slower = dict(zip(shifts, holm([s.p_greater for s in shifts.values()]), strict=True))
    faster = dict(zip(shifts, holm([s.p_less for s in shifts.values()]), strict=True))
    found = []
    for name, shift in shifts.items():
        floor = noise_floor(known.get(name, ()), shift.pairs)
        threshold = max(math.log1p(thresholds.practical), thresholds.floors * floor)
        outcome, reason = _outcome(shift, threshold, slower[name], faster[name], thresholds)
        own = processes[name]
        found.append(TimedVerdict(
            name, outcome, math.expm1(shift.estimate), math.expm1(shift.low), math.expm1(shift.high) if shift.high < 700 else math.inf,
            shift.confidence, math.expm1(threshold), min(slower[name], faster[name]), shift.pairs, _level(own, name, "base"),
            _level(own, name, "head"), name in rerun, reason, {**_evidence(own, name), "noise_floor": floor}))
    return found


def suspected(verdicts: Sequence[TimedVerdict], thresholds: Thresholds) -> list[str]:
    """Returns the benchmarks that are to be timed again before anything is said: those that look slower or faster."""
    return [v.benchmark for v in verdicts if v.pairs and abs(math.log1p(v.change)) >= thresholds.suspicion * math.log1p(thresholds.practical)]


def _outcome(shift: Shift, threshold: float, slower: float, faster: float, thresholds: Thresholds) -> tuple[Outcome, str]:
    if shift.pairs == 0:
        return Outcome.INCONCLUSIVE, "no pair of processes has a round that is not tainted"
    for sign, probability, outcome in ((1, slower, Outcome.REGRESSION), (-1, faster, Outcome.IMPROVEMENT)):
        if sign * shift.estimate >= threshold:
            if probability <= thresholds.alpha:
                return outcome, "both thresholds are passed"
            return Outcome.INCONCLUSIVE, f"beyond the practical threshold, but such signs have a probability of {probability:.2g} without a change"
    if shift.low > -threshold and shift.high < threshold:
        return Outcome.SAME, "the interval lies within the practical threshold"
    return Outcome.INCONCLUSIVE, "the interval reaches beyond the practical threshold: more processes would tell"


def _level(processes: Sequence[ProcessTimes], name: str, side: str) -> float:
    medians = [m for p in processes if p.side == side and (m := p.median_us(name)) is not None]
    return statistics.median(medians) if medians else math.nan


def _evidence(processes: Sequence[ProcessTimes], name: str) -> dict[str, float | int | str]:
    """What the card did meanwhile."""
    rounds = [r for p in processes for r in p.rounds.get(name, ())]
    clocks = [r.sm_clock_mhz for r in rounds if r.sm_clock_mhz is not None]
    reasons = sorted({reason for r in rounds for reason in r.throttle_reasons})
    found: dict[str, float | int | str] = {"rounds": len(rounds), "tainted_rounds": sum(bool(r.taint) for r in rounds),
                                           "samples": sum(len(r.samples_us) for r in rounds if not r.taint)}
    if clocks:
        found.update(least_sm_clock_mhz=min(clocks), most_sm_clock_mhz=max(clocks))
    if reasons:
        found["throttle_reasons"] = ", ".join(reasons)
    return found
