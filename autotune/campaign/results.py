"""The results of a campaign: a row for each kernel and peer, against ceilings, floor and targets, with provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autotune.campaign.comparison import KERNEL
from autotune.campaign.definition import FLOOR, Campaign, Item
from autotune.campaign.floor import Ceilings, floor, needs
from autotune.campaign.run import CEILING, work_of
from autotune.store import Status, Store, Trial
from autotune.store.record import quantile
from autotune.timing import Mode, compare
from autotune.timing.fake import NAME


def results(campaign: Campaign, store: Store, sessions: Sequence[str]) -> dict[str, Any]:
    """Returns the results of those steps of a campaign that are in the store."""
    trials = [trial for session in sessions for trial in store.trials(session=session)]
    measured = _ceilings([t for t in trials if t.kernel.startswith(CEILING)])
    rows = [row for item in campaign.items for row in _rows(item, [t for t in trials if t.spec.get("item") == item.id], measured)]
    places = {t.environment.digest: t.environment for t in trials}
    gpus = sorted({place.gpu for place in places.values()})
    return {"campaign": campaign.id, "title": campaign.title, "devices": gpus, "measured": bool(gpus) and NAME not in gpus,
            "ceilings": asdict(measured), "rows": rows, "environments": {digest: asdict(place) for digest, place in places.items()},
            "first_s": min((t.created_s for t in trials), default=None), "last_s": max((t.created_s for t in trials), default=None)}


def slug(gpu: str) -> str:
    """Returns a device's name as that of a folder: ``nvidia-h200``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") or "device"


def _ceilings(trials: Sequence[Trial]) -> Ceilings:
    rates: dict[str, float] = {}
    for trial in trials:
        median = _median(trial, Mode.COLD_FLUSHED)
        amount = trial.facts.get("amount")
        if trial.status == Status.OK and median and isinstance(amount, (int, float)):
            rates[trial.kernel.removeprefix(CEILING)] = amount / (median * 1e-6)
    return Ceilings(rates.get("copy"), rates.get("matrix"), rates.get("exp"))


def _rows(item: Item, trials: Sequence[Trial], measured: Ceilings) -> list[dict[str, Any]]:
    if not trials:
        return []
    by_name = {str(trial.configuration["implementation"]): trial for trial in trials}
    levels = {mode: {s.name: s.level_us for s in compare(
        {name: [r for r in t.rounds if r.cache == mode] for name, t in by_name.items() if t.status == Status.OK}).standings}
        for mode in (Mode.COLD_FLUSHED, Mode.WARM_GRAPH)}
    cold = levels[Mode.COLD_FLUSHED]
    work = work_of(item)
    wanted = needs(work.cascade(), item.extents, item.instances, item.dtype)
    lowest = floor(wanted, measured)
    rows = []
    for name, trial in by_name.items():
        own = cold.get(name)
        energies = [r.energy_j for r in trial.rounds if r.energy_j is not None and not r.taint]
        rows.append({
            "item": item.id, "implementation": name, "cascade": item.cascade, "extents": dict(item.extents), "instances": item.instances,
            "dtype": item.dtype, "status": str(trial.status), "reason": trial.reason,
            "configuration": {k: v for k, v in trial.configuration.items() if k != "implementation"},
            "cold_us": own, "warm_us": levels[Mode.WARM_GRAPH].get(name), "energy_j": quantile(energies, 0.5) if energies else None,
            "matrix_tflops": wanted.matrix_operations / own / 1e6 if own else None,
            "kernel_speed_over_it": own / cold[KERNEL] if own and KERNEL in cold else None,
            "floor_us": lowest.us if lowest else None, "floor_bound": lowest.bound if lowest else None,
            "floor_share": lowest.us / own if lowest and own else None,
            "targets": _targets(item, cold, lowest.us if lowest else None) if name == KERNEL else []})
    return rows


def _targets(item: Item, cold: Mapping[str, float], floor_us: float | None) -> list[dict[str, Any]]:
    found = []
    for goal in item.goals:
        reference = floor_us if goal.of == FLOOR else cold.get(goal.of)
        ratio = reference / cold[KERNEL] if reference is not None and KERNEL in cold else None
        found.append({"of": goal.of, "at_least": goal.at_least, "ratio": ratio, "met": None if ratio is None else ratio >= goal.at_least})
    return found


def _median(trial: Trial, mode: Mode) -> float | None:
    samples = trial.samples_us(str(mode))
    return quantile(samples, 0.5) if samples else None
