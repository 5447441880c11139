"""Evaluates configurations in worker processes: each is built and checked alone, then those that are right are timed in turn.

A failure costs the trial that caused it. Where the process dies while several are timed, they are timed again one by one,
so that the guilty one is found and the others have their times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autotune.space import Configuration
from autotune.store.record import Environment, Round, Scalar, Status, canonical
from autotune.timing import Mode, RoundPlan
from autotune.tuner.errors import TrialFailure, TuneError
from autotune.tuner.process import Worker


@dataclass(frozen=True)
class Timeouts:
    """Seconds that a step of a trial may take: to build and check it, and to time each candidate of a round."""

    prepare_s: float = 120.0
    time_s: float = 30.0


@dataclass(frozen=True)
class Evaluation:
    """How one configuration went."""

    configuration: Configuration
    status: Status
    reason: str = ""
    rounds: tuple[Round, ...] = ()
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    source_digest: str = ""


class Evaluator:
    """Evaluates configurations of a subject in one process, which is begun anew where it died.

    ``process`` is its number: that of the seed of inputs, and in the rounds.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], *, process: int = 0, seed: int = 0, thorough: bool = False,
                 timeouts: Timeouts | None = None) -> None:
        self.process, self.seed, self.thorough = process, seed, thorough
        self.timeouts = timeouts or Timeouts()
        self._worker = Worker(factory, {**arguments, "process": process})
        self._ready: dict[str, dict[str, Any]] = {}
        self._starts = 0
        self._index = 0

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.end()

    def environment(self) -> Environment:
        """Returns where trials run.

        Raises: TuneError where the worker cannot start.
        """
        return Environment(**self._worker.open()["environment"])

    def mode(self, wanted: Mode | None = None) -> Mode:
        """Returns the mode that is wanted, or else the device's first.

        Raises: TuneError where the device does not have it.
        """
        modes = [Mode(name) for name in self._worker.open()["modes"]]
        if wanted is not None and wanted not in modes:
            raise TuneError(f"device: it does not time in this mode, got {wanted}; valid: {', '.join(modes)}")
        return wanted or modes[0]

    def evaluate(self, configurations: Sequence[Configuration], modes: Sequence[Mode], plan: RoundPlan, *, stage: str) -> list[Evaluation]:
        """Returns how configurations went, in their order; those that are right are timed side by side in each mode."""
        failed: dict[str, TrialFailure] = {}
        names = [_name(c) for c in configurations]
        by_name = dict(zip(names, configurations, strict=True))
        for name, configuration in by_name.items():
            self._prepare(name, configuration, failed)
        rounds: dict[str, list[Round]] = {name: [] for name in names}
        for mode in modes:
            alive = [name for name in names if name not in failed]
            self._time(alive, by_name, mode, plan, stage, rounds, failed)
        return [self._evaluation(name, by_name[name], rounds[name], failed.get(name)) for name in names]

    def forget(self, configurations: Iterable[Configuration]) -> None:
        """Drops what the worker keeps of configurations."""
        names = [name for c in configurations if (name := _name(c)) in self._ready]
        if names and self._worker.starts == self._starts:
            self._worker.ask("forget", self.timeouts.time_s, ids=names)
        for name in names:
            del self._ready[name]

    def _prepare(self, name: str, configuration: Configuration, failed: dict[str, TrialFailure]) -> None:
        if name in self._ready and self._worker.starts == self._starts:
            return
        try:
            self._worker.open()
            if self._worker.starts != self._starts:
                self._ready.clear()
                self._starts = self._worker.starts
            self._ready[name] = self._worker.ask("prepare", self.timeouts.prepare_s, id=name, configuration=dict(configuration),
                                                 thorough=self.thorough, seed=self.seed * 1000 + self.process)
        except TrialFailure as failure:
            failed[name] = failure

    def _time(self, names: Sequence[str], by_name: Mapping[str, Configuration], mode: Mode, plan: RoundPlan, stage: str,
              rounds: dict[str, list[Round]], failed: dict[str, TrialFailure]) -> None:
        groups = [list(names)] if names else []
        first = self._index
        while groups:
            group = groups.pop(0)
            # Those before may have died with the process.
            for name in group:
                self._prepare(name, by_name[name], failed)
            if not all(name in self._ready for name in group):
                groups = [[name for name in group if name not in failed], *groups]
                groups = [g for g in groups if g]
                continue
            rules = {**asdict(plan.rules), "reasons": sorted(plan.rules.reasons)}
            try:
                found = self._worker.ask("time", self.timeouts.time_s * len(group), ids=group, mode=str(mode), stage=stage,
                                         plan={**asdict(plan), "rules": rules}, process=self.process, first=first, seed=self.seed)
            except TrialFailure as failure:
                self._lost()
                if len(group) == 1:
                    failed[group[0]] = failure
                else:
                    groups = [[name] for name in group] + groups
                continue
            for name, own in found.items():
                rounds[name].extend(Round(**{**one, "samples_us": tuple(one["samples_us"]),
                                             "throttle_reasons": tuple(one["throttle_reasons"])}) for one in own)
        self._index += plan.rounds + plan.extra

    def _lost(self) -> None:
        # The failure may have ended the process; if it did not, what it holds is in doubt all the same.
        self._worker.end()
        self._ready.clear()

    def _evaluation(self, name: str, configuration: Configuration, rounds: Sequence[Round], failure: TrialFailure | None) -> Evaluation:
        if failure is not None:
            return Evaluation(configuration, failure.status, failure.reason, tuple(rounds))
        ready = self._ready.get(name, {"facts": {}, "source_digest": ""})
        if not any(not r.taint for r in rounds):
            last = rounds[-1].taint if rounds else "none was taken"
            return Evaluation(configuration, Status.UNSTABLE, f"every round is tainted, the last one: {last}", tuple(rounds),
                              ready["facts"], ready["source_digest"])
        return Evaluation(configuration, Status.OK, "", tuple(rounds), ready["facts"], ready["source_digest"])


def _name(configuration: Configuration) -> str:
    return canonical(dict(configuration))
