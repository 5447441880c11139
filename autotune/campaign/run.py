"""Runs a campaign step by step, within a time limit; what is in the store already is not run again.

A step is the ceilings, the tuning of one kernel, or one kernel beside its peers. Each is stored in one piece when it has
ended, under a name that follows from what it is of: the item of the file, the kernel's source, the device and Triton. So
a run that was stopped goes on where it stopped, and a changed kernel is measured anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autotune.campaign import ceilings, comparison
from autotune.campaign.comparison import KERNEL
from autotune.campaign.definition import Campaign, Item
from autotune.space import Configuration
from autotune.space.kernels import kernel_space
from autotune.space.pruning import Pruner
from autotune.store import Environment, Store, look_up
from autotune.store.record import Status, Trial, digest_of
from autotune.timing import Mode, RoundPlan
from autotune.tuner import Settings, TuneError, tune
from autotune.tuner import fake as fake_subjects
from autotune.tuner.evaluation import Evaluation, Evaluator, Timeouts
from autotune.tuner.kernels import Work, kernel_key, kernel_target
from einsum_cascades.errors import FusebenchError

CEILING = "ceiling:"
"""Begins the name under which a ceiling is stored."""

_MADE_UP_AMOUNT = 1e11
"""Work of a ceiling on the fake device."""

MakePruner = Callable[[Any], Pruner | None]
"""Makes the pruner of a kernel's space."""


@dataclass(frozen=True)
class RunSettings:
    """``seconds`` that the run may take (None: all), whether it is on the fake device, and how steps are timed."""

    seconds: float | None = None
    fake: bool = False
    processes: int = 3
    seed: int = 0
    final: RoundPlan = field(default_factory=lambda: RoundPlan(rounds=7, samples=20, extra=7, energy_s=0.5))
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(prepare_s=300.0, time_s=60.0))


@dataclass(frozen=True)
class Step:
    """A step: ``session`` is the name that its trials are stored under."""

    title: str
    session: str
    item: Item | None = None
    tunes: bool = False


@dataclass(frozen=True)
class Ran:
    """What a run did: titles of the steps that it did, found done, and left; and why some failed, by title."""

    environment: Environment
    done: tuple[str, ...]
    known: tuple[str, ...]
    left: tuple[str, ...]
    failed: dict[str, str]
    sessions: tuple[str, ...]
    interrupted: bool = False


def run_campaign(campaign: Campaign, store: Store, settings: RunSettings, *, any_device: bool = False,
                 pruner: MakePruner = lambda space: None, told: Callable[[str], None] = lambda line: None) -> Ran:
    """Runs the steps of a campaign that are not in the store yet, until the time is over.

    Raises: TuneError without a device, or with another one than the campaign is for.
    """
    place = _environment(campaign, settings)
    if not settings.fake and not any_device and campaign.device.lower() not in place.gpu.lower():
        raise TuneError(f"campaign {campaign.id}: it is for a device named {campaign.device!r}, got {place.gpu!r}; give --any-device to "
                        f"measure this one")
    begun = time.monotonic()
    failed: dict[str, str] = {}
    steps = _steps(campaign, place, failed)
    known = [step for step in steps if _is_done(step, store, place)]
    waiting = [step for step in steps if step not in known]
    done: list[Step] = []
    interrupted = False
    while waiting and not interrupted:
        spent = time.monotonic() - begun
        guess = spent / len(done) if done else campaign.seconds
        if settings.seconds is not None and done and spent + guess > settings.seconds:
            break
        step = waiting.pop(0)
        told(f"{step.title} ({len(steps) - len(waiting)} of {len(steps)})")
        try:
            left = None if settings.seconds is None else max(settings.seconds - spent, 1.0)
            interrupted = _run(step, campaign, store, settings, left, pruner)
            done.append(step)
        except FusebenchError as error:
            failed[step.title] = str(error)
        except KeyboardInterrupt:
            waiting.insert(0, step)
            interrupted = True
    return Ran(place, _titles(done), _titles(known), _titles(waiting), failed, tuple(s.session for s in steps), interrupted)


def work_of(item: Item) -> Work:
    """Returns the work of an item."""
    return Work(item.cascade, dict(item.extents), item.dtype, item.instances)


def implementations(item: Item, configuration: Configuration) -> list[dict[str, Any]]:
    """Returns the kernel in a configuration (empty: the default) and the peers of an item, as candidates."""
    return [{"implementation": KERNEL, **configuration}, *({"implementation": peer.id} for peer in item.peers)]


def _environment(campaign: Campaign, settings: RunSettings) -> Environment:
    factory, arguments = _ceilings(campaign, settings)
    with Evaluator(factory, arguments) as evaluator:
        return evaluator.environment()


def _steps(campaign: Campaign, place: Environment, failed: dict[str, str]) -> list[Step]:
    where = [campaign.id, place.gpu, place.triton, place.driver]
    steps = [Step("ceilings", _session([*where, "ceilings", list(campaign.ceilings)]))] if campaign.ceilings else []
    for item in campaign.items:
        try:
            key = kernel_key(work_of(item), place.gpu, place.triton)
        except FusebenchError as error:
            failed[f"{item.id}"] = str(error)
            continue
        own = [*where, asdict(item), key.kernel_digest]
        if item.trials:
            steps.append(Step(f"{item.id}: tuning", _session([*own, "tune"]), item, True))
        steps.append(Step(f"{item.id}: beside its peers", _session([*own, "compare"]), item))
    return steps


def _is_done(step: Step, store: Store, place: Environment) -> bool:
    if step.tunes:
        assert step.item is not None
        return look_up(store, kernel_key(work_of(step.item), place.gpu, place.triton)).status == "hit"
    return bool(store.trials(session=step.session, limit=1))


def _run(step: Step, campaign: Campaign, store: Store, settings: RunSettings, left: float | None, pruner: MakePruner) -> bool:
    """Runs a step and stores it; returns whether Ctrl-C ended it early with what it had."""
    if step.item is None:
        _ceiling_step(step, campaign, store, settings)
        return False
    if step.tunes:
        return _tuning_step(step.item, store, settings, left, pruner)
    _comparison_step(step, step.item, store, settings)
    return False


def _tuning_step(item: Item, store: Store, settings: RunSettings, left: float | None, pruner: MakePruner) -> bool:
    work = work_of(item)
    space = kernel_space(work.cascade(), work.extents, work.dtype)
    target = kernel_target(work, space)
    if settings.fake:
        target = replace(target, factory=fake_subjects.FACTORY, arguments=_made_up(target.configurations, settings.seed))
    tuning = Settings(budget=item.trials, seed=settings.seed, processes=settings.processes, seconds=left and 0.7 * left,
                      timeouts=settings.timeouts)
    return tune(target, store, tuning, pruner=pruner(space)).interrupted


def _comparison_step(step: Step, item: Item, store: Store, settings: RunSettings) -> None:
    work = work_of(item)
    factory: str = comparison.FACTORY
    arguments: dict[str, Any] = {"work": work.to_dict(), "peers": {p.id: {"peer": p.peer, **p.options} for p in item.peers}}
    with Evaluator(fake_subjects.FACTORY, _made_up([{"x": 0}], 0)) if settings.fake else Evaluator(factory, arguments) as asked:
        place = asked.environment()
    key = kernel_key(work, place.gpu, place.triton)
    candidates = implementations(item, look_up(store, key).configuration or {})
    if settings.fake:
        factory, arguments = fake_subjects.FACTORY, _made_up(candidates, settings.seed)
    found = _in_processes(factory, arguments, candidates, settings)
    if found[0].status != Status.OK:
        raise TuneError(f"{item.id}: the kernel itself did not run, got {found[0].status}: {found[0].reason}; correct it first")
    rank_sizes = {**item.extents, "instances": item.instances}
    store.add([_trial(one, item.cascade if one.configuration["implementation"] == KERNEL else str(one.configuration["implementation"]),
                      key.kernel_digest, {"type": item.dtype, "item": item.id}, rank_sizes, key.bucket, place, step.session)
               for one in found])


def _ceiling_step(step: Step, campaign: Campaign, store: Store, settings: RunSettings) -> None:
    factory, arguments = _ceilings(campaign, settings)
    candidates: list[Configuration] = [{"ceiling": name} for name in campaign.ceilings]
    with Evaluator(factory, arguments) as asked:
        place = asked.environment()
    found = _in_processes(factory, arguments, candidates, settings)
    store.add([_trial(one, f"{CEILING}{one.configuration['ceiling']}", "", {"item": "ceilings"}, {}, "", place, step.session)
               for one in found])


def _in_processes(factory: str, arguments: dict[str, Any], candidates: Sequence[Configuration], settings: RunSettings) -> list[Evaluation]:
    """Evaluates candidates side by side in several fresh processes; one that failed in a process is out of the next."""
    gathered: list[list[Evaluation]] = [[] for _ in candidates]
    for process in range(1, settings.processes + 1):
        alive = [i for i, own in enumerate(gathered) if all(e.status == Status.OK for e in own)]
        with Evaluator(factory, arguments, process=process, seed=settings.seed, thorough=True, timeouts=settings.timeouts) as evaluator:
            done = evaluator.evaluate([candidates[i] for i in alive], [Mode.COLD_FLUSHED, Mode.WARM_GRAPH], settings.final, stage="final")
        for i, one in zip(alive, done, strict=True):
            gathered[i].append(one)
    return [replace(next((e for e in own if e.status != Status.OK), own[0]), rounds=tuple(r for e in own for r in e.rounds),
                    facts=own[0].facts) for own in gathered]


def _ceilings(campaign: Campaign, settings: RunSettings) -> tuple[str, dict[str, Any]]:
    if settings.fake:
        made_up = _made_up([{"ceiling": name} for name in campaign.ceilings] or [{"x": 0}], settings.seed)
        return fake_subjects.FACTORY, {**made_up, "facts": {"amount": _MADE_UP_AMOUNT}}
    return ceilings.FACTORY, {}


def _made_up(configurations: Sequence[Configuration], seed: int) -> dict[str, Any]:
    return {"configurations": [dict(c) for c in configurations], "seed": seed}


def _trial(one: Evaluation, kernel: str, digest: str, spec: dict[str, Any], extents: dict[str, int], bucket: str, place: Environment,
           session: str) -> Trial:
    return Trial(kernel, digest, spec, extents, bucket, dict(one.configuration), one.status, place, one.reason, one.source_digest,
                 one.rounds, dict(one.facts), None, session, "campaign", time.time())


def _session(parts: list[Any]) -> str:
    return f"campaign-{digest_of(parts)[:16]}"


def _titles(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.title for step in steps)
