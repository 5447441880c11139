"""Tuning: a strategy's proposals are pruned, evaluated and stored, finalists are timed again in processes of their own, and
one of those that are tied is chosen."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.search import Outcome, Problem, Proposal, make_strategy
from autotune.space import Configuration
from autotune.space.pruning import Pruner, predicted
from autotune.store import Key, Lookup, Store, look_up
from autotune.store.record import Environment, Round, Scalar, Status, Trial, Winner, canonical
from autotune.timing import Comparison, Mode, RoundPlan, compare
from autotune.tuner.choice import Tied, choose
from autotune.tuner.errors import TuneError
from autotune.tuner.evaluation import Evaluation, Evaluator, Timeouts

Predictor = Callable[[Sequence[Configuration]], Sequence[float | None]]
"""A performance model: times of configurations in microseconds, None where it does not know one. It is handed in: what
is tuned here does not know where it comes from."""


@dataclass(frozen=True)
class Target:
    """What is tuned. ``factory`` and ``arguments`` make the subject in a worker; ``configurations`` are all that there are.
    The rest is how its trials are stored and found again (see :class:`autotune.store.record.Trial`)."""

    kernel: str
    kernel_digest: str
    spec: Mapping[str, Scalar]
    extents: Mapping[str, int]
    bucket: str
    factory: str
    arguments: Mapping[str, Any]
    configurations: tuple[Configuration, ...]


@dataclass(frozen=True)
class Settings:
    """How it is tuned.

    ``budget`` trials, ``together`` of them timed side by side; the ``finalists`` best are timed again in ``processes``
    processes. A configuration that is predicted to take more than ``skip_beyond`` times the best prediction is skipped
    (None: none is). After ``seconds`` nothing new is tried (None: no limit). ``tolerance`` is the share within which configurations are tied whatever the noise.
    """

    strategy: str = "model-guided"
    budget: int = 100
    seed: int = 0
    together: int = 8
    finalists: int = 5
    processes: int = 3
    tolerance: float = 0.01
    mode: Mode | None = None
    skip_beyond: float | None = None
    seconds: float | None = None
    sweep: RoundPlan = field(default_factory=lambda: RoundPlan(rounds=3, samples=10, extra=3))
    final: RoundPlan = field(default_factory=lambda: RoundPlan(rounds=5, samples=20, extra=5, energy_s=0.2))
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True)
class Tuned:
    """What came of tuning. ``winner`` and ``comparison`` (by canonical text of the configuration) are of the finalists;
    ``trials`` are all that were stored; ``lookup`` is what the store knew before. ``interrupted`` where Ctrl-C ended it."""

    session: str
    environment: Environment
    trials: tuple[Trial, ...]
    winner: Winner | None
    band: tuple[Trial, ...]
    comparison: Comparison
    lookup: Lookup
    interrupted: bool = False


def tune(target: Target, store: Store, settings: Settings, *, pruner: Pruner | None = None, predictor: Predictor | None = None,
         progress: Callable[[int, int], None] = lambda done, of: None) -> Tuned:
    """Tunes a target and stores every trial as soon as it has ended, and the winner at the end.

    Raises: TuneError where there is no device or nothing that runs; SearchError, StoreError.
    """
    return _Tuning(target, store, settings, pruner, predictor, progress).run()


class _Tuning:
    def __init__(self, target: Target, store: Store, settings: Settings, pruner: Pruner | None, predictor: Predictor | None,
                 progress: Callable[[int, int], None]) -> None:
        self.target, self.store, self.settings, self.pruner, self.progress = target, store, settings, pruner, progress
        self.session = uuid.uuid4().hex[:16]
        self.trials: list[Trial] = []
        self.rounds: dict[str, list[Round]] = {}
        self.found: dict[str, Evaluation] = {}
        self.predictions = list(predictor(target.configurations)) if predictor is not None else [None] * len(target.configurations)
        self.numbers = {canonical(dict(c)): i for i, c in enumerate(target.configurations)}
        self.compiled: dict[str, Mapping[str, Scalar]] = {}
        self.ran = 0

    def run(self) -> Tuned:
        with Evaluator(self.target.factory, self.target.arguments, seed=self.settings.seed, timeouts=self.settings.timeouts) as evaluator:
            self.environment = evaluator.environment()
            self.mode = evaluator.mode(self.settings.mode)
            lookup = self.lookup()
            interrupted = False
            try:
                self.sweep(evaluator)
            except KeyboardInterrupt:
                interrupted = True  # what it found is kept, and decided on as it is
        self.comparison = compare(self.rounds, tolerance=self.settings.tolerance)
        if not self.comparison.standings:
            if interrupted:
                return Tuned(self.session, self.environment, tuple(self.trials), None, (), self.comparison, lookup, True)
            raise TuneError(f"{self.target.kernel}: no configuration ran, got {self.failures()}; see 'fusebench store list'")
        finals = list(self.found.values())
        if not interrupted:
            try:
                finals = self.finals()
            except KeyboardInterrupt:
                interrupted = True
        winner, band = self.choose(finals, lookup)
        return Tuned(self.session, self.environment, tuple(self.trials), winner, band, self.comparison, lookup, interrupted)

    def lookup(self) -> Lookup:
        return look_up(self.store, Key(self.target.kernel, self.target.kernel_digest, self.target.bucket, self.environment.gpu,
                                       self.environment.triton))

    # --- the sweep ---

    def sweep(self, evaluator: Evaluator) -> None:
        kept = self.kept_by_model()
        pool = [self.target.configurations[i] for i in kept]
        times, complete = predicted([self.predictions[i] for i in kept])
        problem = Problem(tuple(pool), min(self.settings.budget, len(pool)), self.settings.seed, times if complete else None)
        strategy = make_strategy(self.settings.strategy, problem)
        begun = time.monotonic()
        while proposals := strategy.ask(self.settings.together):
            if self.settings.seconds is not None and time.monotonic() - begun > self.settings.seconds:
                break
            outcomes = self.pruned(pool, proposals)
            rest = [p for p in proposals if p.index not in {o.index for o in outcomes}]
            for share in dict.fromkeys(p.share for p in rest):
                outcomes += self.evaluated(evaluator, pool, [p for p in rest if p.share == share], share)
            strategy.tell(outcomes)
            self.progress(min(self.ran, problem.budget), problem.budget)

    def kept_by_model(self) -> list[int]:
        """Leaves out, and stores as skipped, what is predicted to be far from the best."""
        known = [time for time in self.predictions if time is not None]
        indices = range(len(self.predictions))
        if self.settings.skip_beyond is None or not known:
            return list(indices)
        limit = self.settings.skip_beyond * min(known)
        skipped = {i for i in indices if (p := self.predictions[i]) is not None and p > limit}
        self.add([self.trial(Evaluation(self.target.configurations[i], Status.SKIPPED_BY_MODEL,
                                        f"predicted at {self.predictions[i]:.4g} us, over {limit:.4g} us")) for i in sorted(skipped)])
        return [i for i in indices if i not in skipped]

    def pruned(self, pool: Sequence[Configuration], proposals: Sequence[Proposal]) -> list[Outcome]:
        """What the compiler's limits exclude, before anything runs: it costs no trial."""
        if self.pruner is None:
            return []
        fresh = [p for p in proposals if canonical(dict(pool[p.index])) not in self.rounds]
        verdicts = self.pruner([pool[p.index] for p in fresh])
        self.compiled |= {canonical(dict(pool[p.index])): v.facts for p, v in zip(fresh, verdicts, strict=True) if v is not None}
        gone = [(p, v) for p, v in zip(fresh, verdicts, strict=True) if v is not None and v.status != Status.OK]
        self.add([self.trial(Evaluation(pool[p.index], v.status, v.reason, (), v.facts)) for p, v in gone])
        return [Outcome(p.index, None, p.share, free=True) for p, _ in gone]

    def evaluated(self, evaluator: Evaluator, pool: Sequence[Configuration], proposals: Sequence[Proposal], share: float) -> list[Outcome]:
        anchor = self.anchor()
        plan = replace(self.settings.sweep, rounds=max(1, round(self.settings.sweep.rounds * share)))
        wanted = [pool[p.index] for p in proposals]
        more = [anchor] if anchor is not None and anchor not in wanted else []
        done = evaluator.evaluate([*wanted, *more], [self.mode], plan, stage="sweep")
        for one in done:
            name = canonical(dict(one.configuration))
            self.ran += name not in self.found and one.configuration in wanted
            self.rounds.setdefault(name, []).extend(one.rounds)
            if one.configuration in wanted:
                self.found[name] = one
        self.add([self.trial(one) for one in done[:len(wanted)]])
        keep = self.anchor()
        evaluator.forget(one.configuration for one in done if keep is None or dict(one.configuration) != dict(keep))
        levels = {s.name: s.level_us for s in compare(self.rounds).standings}
        return [Outcome(p.index, levels.get(canonical(dict(c))), share) for p, c in zip(proposals, wanted, strict=True)]

    def anchor(self) -> Configuration | None:
        """The best so far: timed with every batch, so that batches can be compared whatever the clocks did between them."""
        standings = compare(self.rounds).standings
        return self.found[standings[0].name].configuration if standings else None

    # --- finals and choice ---

    def finals(self) -> list[Evaluation]:
        """Times the best again in fresh processes: the bias that a process has is not told from a kernel's time in one."""
        names = [s.name for s in self.comparison.standings[:max(self.settings.finalists, 1)]]
        finalists = [self.found[name].configuration for name in names]
        gathered: dict[str, list[Evaluation]] = {name: [] for name in names}
        for process in range(1, self.settings.processes + 1):
            alive = [c for name, c in zip(names, finalists, strict=True) if all(e.status == Status.OK for e in gathered[name])]
            with Evaluator(self.target.factory, self.target.arguments, process=process, seed=self.settings.seed, thorough=True,
                           timeouts=self.settings.timeouts) as evaluator:
                warm = [m for m in (Mode.WARM_GRAPH,) if str(m) in evaluator._worker.open()["modes"] and m != self.mode]
                for one in evaluator.evaluate(alive, [self.mode, *warm], self.settings.final, stage="final"):
                    gathered[canonical(dict(one.configuration))].append(one)
        finals = [_together(own) for own in gathered.values() if own]
        right = {canonical(dict(e.configuration)): [r for r in e.rounds if r.cache == self.mode] for e in finals if e.status == Status.OK}
        comparison = compare(right, tolerance=self.settings.tolerance)
        if not comparison.standings:
            raise TuneError(f"{self.target.kernel}: no finalist ran again, got {', '.join(sorted({e.reason for e in finals}))}; see "
                            f"'fusebench store list'")
        self.comparison = comparison
        return finals

    def choose(self, finals: Sequence[Evaluation], lookup: Lookup) -> tuple[Winner, tuple[Trial, ...]]:
        by_name = {canonical(dict(one.configuration)): one for one in finals}
        band = [by_name[name] for name in self.comparison.band]
        before = lookup.trial.configuration if lookup.trial is not None else None
        chosen, rule = choose([Tied(e.configuration, self.facts(e)) for e in band], before)
        trials = {canonical(dict(t.configuration)): t for t in self.trials if t.status == Status.OK}
        again = [self.trial(one) for one in finals if any(r.stage == "final" for r in one.rounds)]
        trials |= {canonical(dict(t.configuration)): t for t in again if t.status == Status.OK}
        tied = tuple(trials[name] for name in self.comparison.band)
        winner = Winner(self.session, self.target.kernel, self.target.kernel_digest, self.target.bucket, self.environment.gpu,
                        self.environment.triton, trials[canonical(dict(chosen.configuration))].id, tuple(t.id for t in tied), rule,
                        time.time())
        self.store.add(again, [winner])
        self.trials += again
        return winner, tied

    # --- storing ---

    def trial(self, one: Evaluation) -> Trial:
        index = self.numbers[canonical(dict(one.configuration))]
        return Trial(self.target.kernel, self.target.kernel_digest, self.target.spec, self.target.extents, self.target.bucket,
                     dict(one.configuration), one.status, self.environment, one.reason, one.source_digest, one.rounds, self.facts(one),
                     self.predictions[index], self.session, self.settings.strategy, time.time())

    def facts(self, one: Evaluation) -> dict[str, Scalar]:
        """What the compiler said of it before, and the worker since."""
        return {**self.compiled.get(canonical(dict(one.configuration)), {}), **one.facts}

    def add(self, trials: Sequence[Trial]) -> None:
        self.store.add(trials)
        self.trials += trials

    def failures(self) -> str:
        counts: dict[str, int] = {}
        for trial in self.trials:
            counts[str(trial.status)] = counts.get(str(trial.status), 0) + 1
        last = next((t.reason for t in reversed(self.trials) if t.reason), "")
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) + (f" (the last one: {last})" if last else "")


def _together(own: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of those of several processes: failed where one of them failed."""
    worst = next((e for e in own if e.status != Status.OK), own[-1])
    return replace(worst, rounds=tuple(r for e in own for r in e.rounds), facts=own[0].facts or worst.facts)
