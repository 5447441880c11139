"""Which rounds are tainted: those in which the card was slowed down, or ran at other clocks than in the rest."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autotune.store.record import Round

SLOWED = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})
"""Reasons of NVML that say that the card protects itself. Its power cap is not one of them: a heavy kernel runs at it
in every round, and what it then reaches is what it reaches. What the cap does to a single round shows in the clock."""


@dataclass(frozen=True)
class TaintRules:
    """When a round is tainted: for a throttle reason among ``reasons``, an SM or memory clock under ``clock_share`` of the
    median of the same candidate's rounds, or above ``hottest_c`` degrees (None: any)."""

    reasons: frozenset[str] = SLOWED
    clock_share: float = 0.95
    hottest_c: float | None = None


def marked(rounds: Mapping[str, Sequence[Round]], rules: TaintRules) -> dict[str, list[Round]]:
    """Returns the rounds of candidates, each with the reason for which it is tainted, or none.

    A candidate's clock is compared with that candidate's own median: kernels differ in the power that they draw.
    Rounds that show a slow-down do not count in the median.
    """
    return {name: _marked(own, rules) for name, own in rounds.items()}


def _marked(rounds: Sequence[Round], rules: TaintRules) -> list[Round]:
    first = [replace(one, taint=_slowed(one, rules)) for one in rounds]
    fields = ("sm_clock_mhz", "memory_clock_mhz")
    usual = {name: _median([getattr(r, name) for r in first if not r.taint]) for name in fields}
    found = []
    for one in first:
        taint = one.taint
        for name in fields:
            clock, median = getattr(one, name), usual[name]
            if not taint and clock is not None and median is not None and clock < rules.clock_share * median:
                taint = f"{name.removesuffix('_clock_mhz')} clock at {clock:.0f} of {median:.0f} MHz"
        found.append(replace(one, taint=taint))
    return found


def _slowed(one: Round, rules: TaintRules) -> str:
    reasons = [reason for reason in one.throttle_reasons if reason in rules.reasons]
    if reasons:
        return f"slowed down: {', '.join(reasons)}"
    if rules.hottest_c is not None and one.temperature_c is not None and one.temperature_c > rules.hottest_c:
        return f"too hot: {one.temperature_c:.0f} C"
    return ""


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
