"""Rounds: candidates are timed in turn, in an order that is drawn anew each time, so that drift meets all of them alike."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.store.record import Round
from autotune.timing.device import Checked, Device, Mode
from autotune.timing.taint import TaintRules, marked


@dataclass(frozen=True)
class RoundPlan:
    """How candidates are timed: ``rounds`` of ``samples`` each; rounds that are tainted are made up for by as many as
    ``extra`` more. ``energy_s`` seconds of launches tell a candidate's energy (0: it is not asked for)."""

    rounds: int = 5
    samples: int = 10
    extra: int = 5
    energy_s: float = 0.0
    rules: TaintRules = field(default_factory=TaintRules)


def time_interleaved(device: Device, candidates: Mapping[str, Checked], mode: Mode, plan: RoundPlan, *, stage: str, process: int = 0,
                     first: int = 0, seed: int = 0) -> dict[str, list[Round]]:
    """Returns the rounds of each candidate, tainted ones marked.

    Every round times each candidate that still needs one, so that numbers of one round can be compared; a candidate whose
    rounds were tainted gets further ones together with one that has enough: alone it would have nothing to be compared with.
    ``first`` is the number of the first round.

    Raises: TimingError for a mode that there is not.
    """
    rng = random.Random(f"{seed} {stage} {process} {first}")
    found: dict[str, list[Round]] = {name: [] for name in candidates}
    for index in range(first, first + plan.rounds + plan.extra):
        done = marked(found, plan.rules)
        wanting = [name for name in candidates if sum(not r.taint for r in done[name]) < plan.rounds]
        if not wanting:
            break
        turn = wanting if len(wanting) > 1 else [*wanting, *[n for n in candidates if n not in wanting][:1]]
        rng.shuffle(turn)
        for name in turn:
            found[name].append(_round(device, candidates[name], mode, plan, stage, process, index, index == first and plan.energy_s > 0))
    return marked(found, plan.rules)


def _round(device: Device, checked: Checked, mode: Mode, plan: RoundPlan, stage: str, process: int, index: int,
           ask_energy: bool) -> Round:
    burst = device.burst(checked, mode, plan.samples)
    reading = burst.reading
    return Round(str(mode), stage, process, index, burst.samples_us, reading.sm_clock_mhz, reading.memory_clock_mhz,
                 reading.temperature_c, reading.power_w, reading.throttle_reasons,
                 device.energy_j(checked, plan.energy_s) if ask_energy else None)
