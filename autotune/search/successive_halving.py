"""Successive halving: many configurations with few samples, then the better third with three times as many, and so on.

Every configuration of the first rung is a trial, so the budget is what the first rung takes: random ones, or those that
a model predicts to be fast with as many random ones. Rungs save time on the device, not trials.

Source: Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from autotune.search.strategy import Outcome, Problem, Proposal, Strategy

_KEPT = 3
"""One in so many goes on to the next rung."""
_FIRST_SHARE = 1.0 / _KEPT**2


@dataclass
class _SuccessiveHalving:
    waiting: list[int]
    reserve: list[int]
    share: float = _FIRST_SHARE
    asked: int = 0
    found: list[tuple[float, int]] = field(default_factory=list)

    def ask(self, room: int) -> Sequence[Proposal]:
        if not self.waiting and not self.asked:
            self._climb()
        now, self.waiting = self.waiting[:room], self.waiting[room:]
        self.asked += len(now)
        return [Proposal(i, self.share) for i in now]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self.asked -= len(outcomes)
        free = sum(outcome.free for outcome in outcomes)
        if self.share == _FIRST_SHARE:
            self.waiting, self.reserve = [*self.waiting, *self.reserve[:free]], self.reserve[free:]
        self.found.extend((o.us, o.index) for o in outcomes if o.us is not None)

    def _climb(self) -> None:
        if self.share < 1.0:
            self.share = min(1.0, self.share * _KEPT)
            best = sorted(self.found)[:-(-len(self.found) // _KEPT)]
            self.waiting, self.found = [index for _, index in best], []


def make(problem: Problem) -> Strategy:
    """Returns the strategy."""
    rng = random.Random(f"successive halving {problem.seed}")
    count = len(problem.configurations)
    order = rng.sample(range(count), count)
    if problem.predicted_us is not None:
        predicted = problem.predicted_us
        fast = sorted(range(count), key=lambda i: (predicted[i], i))[:problem.budget // 2]
        order = [*fast, *(i for i in order if i not in set(fast))]
    return _SuccessiveHalving(order[:problem.budget], order[problem.budget:])
