"""What is removed from a space before it runs: what exceeds a limit, and what a model predicts to be far from the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autotune.space.space import Configuration
from autotune.store.record import Scalar, Status


@dataclass(frozen=True)
class Verdict:
    """What is known of a configuration before it runs: that it does not compile or exceeds a limit, and why; or, with the
    status ok, what it needs."""

    status: Status
    reason: str
    facts: Mapping[str, Scalar] = field(default_factory=dict)


Pruner = Callable[[Sequence[Configuration]], Sequence[Verdict | None]]
"""Judges configurations before they run; None: nothing is known against it."""


def predicted(times: Sequence[float | None]) -> tuple[tuple[float, ...], bool]:
    """Returns the predictions, those that are missing as the middle of the others, and whether there is any."""
    known = sorted(time for time in times if time is not None)
    if not known:
        return (), False
    middle = known[len(known) // 2]
    return tuple(middle if time is None else time for time in times), True
