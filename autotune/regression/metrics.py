"""Metrics that are the same in every run, compared between two versions: registers, shared memory, instruction counts, passes,
simulated cycles and energy.

They gate without a GPU: what changed, changed. The file is JSON; what is in it is said by whoever fills it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.regression.errors import RegressionGateError
from autotune.regression.verdict import Outcome

KIND = "fusebench metrics"
VERSION = 1

_FLOAT_NOISE = 1e-9
"""Sums in another order differ by less; nobody acts on it."""

MORE_IS_BETTER = frozenset({"occupancy"})
"""Metrics of which more is better; of all others less is."""


@dataclass(frozen=True)
class MetricSet:
    """Metrics by benchmark and name. ``origin`` says what they are of (commit, versions of Triton and of fusebench)."""

    metrics: Mapping[str, Mapping[str, float]]
    origin: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Returns the file's document."""
        return {"kind": KIND, "version": VERSION, "origin": dict(self.origin),
                "metrics": {name: dict(own) for name, own in self.metrics.items()}}


@dataclass(frozen=True)
class MetricVerdict:
    """What is said of one metric of one benchmark. ``base`` and ``head`` are None where the side has no such figure."""

    benchmark: str
    metric: str
    outcome: Outcome
    base: float | None
    head: float | None
    reason: str = ""

    @property
    def change(self) -> float | None:
        """Head over base, less 1; None where one is missing, infinite where the base is 0."""
        if self.base is None or self.head is None:
            return None
        if self.base == 0:
            return 0.0 if self.head == 0 else math.copysign(math.inf, self.head)
        return self.head / self.base - 1

    def to_dict(self) -> dict[str, object]:
        """Returns it in JSON's types."""
        return {**vars(self), "outcome": str(self.outcome), "change": self.change}


def read_metrics(path: Path) -> MetricSet:
    """Returns the metrics of a file.

    Raises: RegressionGateError where it is none, or cannot be read.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegressionGateError(f"{path}: it cannot be read, got {error.strerror!r}; check the path") from None
    except ValueError as error:
        raise RegressionGateError(f"{path}: it is no JSON, got {error}; make it with 'fusebench metrics --out {path.name}'") from None
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        got = raw.get("kind") if isinstance(raw, dict) else type(raw).__name__
        raise RegressionGateError(f"{path}: kind: it should be {KIND!r}, got {got!r}; make it with 'fusebench metrics --out {path.name}'")
    if raw.get("version") != VERSION:
        raise RegressionGateError(f"{path}: version: this release reads {VERSION}, got {raw.get('version')!r}; make it again")
    found, origin = raw.get("metrics"), raw.get("origin", {})
    if not isinstance(found, dict) or not isinstance(origin, dict):
        raise RegressionGateError(f"{path}: metrics: they should be a mapping by benchmark, got {type(found).__name__}; make it again")
    for name, own in found.items():
        if not isinstance(own, dict):
            raise RegressionGateError(f"{path}: metrics.{name}: it should be a mapping by metric, got {type(own).__name__}; make it again")
        for metric, value in own.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise RegressionGateError(f"{path}: metrics.{name}.{metric}: it should be a finite number, got {value!r}; make it again")
    return MetricSet(found, {str(k): str(v) for k, v in origin.items()})


def compare_metrics(base: MetricSet, head: MetricSet, allowed: Mapping[str, float] | None = None) -> list[MetricVerdict]:
    """Returns a verdict for each metric of each benchmark that either side has, in order of the base's, then of new ones.

    ``allowed`` is by metric the share by which it may grow (``{"registers": 0.05}``). What the head lacks is inconclusive:
    nobody can say that it did not become worse. What is new is the same: there is nothing to be worse than.

    Raises: RegressionGateError where the two have no benchmark in common, or for a metric that neither has.
    """
    if not base.metrics.keys() & head.metrics.keys():
        raise RegressionGateError(f"metrics: base and head have no benchmark in common, got {len(base.metrics)} and {len(head.metrics)}; "
                                  f"compare what was made of the same benchmarks")
    limits = dict(allowed or {})
    metrics = {m for side in (base, head) for own in side.metrics.values() for m in own}
    for metric in limits:
        if metric not in metrics:
            raise RegressionGateError(f"--allow {metric!r}: no benchmark has such a metric, got metrics {', '.join(sorted(metrics))}; "
                                      f"name one of them")
    upgrade = _upgrade(base, head)
    found = []
    for name in dict.fromkeys((*base.metrics, *head.metrics)):
        old, new = base.metrics.get(name, {}), head.metrics.get(name, {})
        for metric in dict.fromkeys((*old, *new)):
            found.append(_verdict(name, metric, old.get(metric), new.get(metric), limits.get(metric, 0.0), upgrade))
    return found


def _verdict(name: str, metric: str, old: float | None, new: float | None, allowed: float, upgrade: str) -> MetricVerdict:
    if old is None:
        return MetricVerdict(name, metric, Outcome.SAME, None, new, "new: there is nothing to compare it with")
    if new is None:
        return MetricVerdict(name, metric, Outcome.INCONCLUSIVE, old, None, "the head lacks it")
    room = max(abs(old), abs(new)) * _FLOAT_NOISE
    worse = old - new if metric in MORE_IS_BETTER else new - old
    if worse > room + allowed * abs(old):
        return MetricVerdict(name, metric, Outcome.REGRESSION, old, new, upgrade)
    if worse < -room:
        return MetricVerdict(name, metric, Outcome.IMPROVEMENT, old, new, upgrade)
    return MetricVerdict(name, metric, Outcome.SAME, old, new, "grew by less than is allowed" if worse > room else "")


def _upgrade(base: MetricSet, head: MetricSet) -> str:
    """What else than the code differs between the two."""
    changed = [f"{name} {base.origin[name]} to {head.origin[name]}" for name in ("triton",)
               if base.origin.get(name) and head.origin.get(name) and base.origin[name] != head.origin[name]]
    return f"made with {' and '.join(changed)}" if changed else ""
