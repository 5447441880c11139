"""How far a search is, and when it has to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY_S = 0.2


@dataclass(frozen=True)
class Progress:
    """Where a search is: ``evaluated`` combinations, the ``best`` value so far (None: none yet), a value that nothing is below,
    seconds gone, and those left where there is a budget."""

    evaluated: int
    best: float | None
    bound: float
    elapsed_s: float
    left_s: float | None


@dataclass(eq=False)
class Watch:
    """Counts what is evaluated, reports it now and then, and says when the budget is spent."""

    budget_s: float | None = None
    report: Callable[[Progress], None] | None = None
    began: float = field(default_factory=time.monotonic)
    evaluated: int = 0
    stopped: bool = False
    best: float | None = None
    bound: float = 0.0
    reported: float = 0.0

    def over(self) -> bool:
        """Returns whether the search has to stop."""
        now = time.monotonic()
        if self.report is not None and now - self.reported > EVERY_S:
            self.reported = now
            gone = now - self.began
            self.report(Progress(self.evaluated, self.best, self.bound, gone, None if self.budget_s is None else max(self.budget_s - gone, 0)))
        if self.budget_s is not None and now - self.began > self.budget_s:
            self.stopped = True
        return self.stopped

    def count(self, number: int) -> None:
        """Counts combinations that have been evaluated."""
        self.evaluated += number
