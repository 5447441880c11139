"""Random search: configurations drawn without putting them back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.search.strategy import Outcome, Problem, Proposal, Strategy


@dataclass
class _Random:
    order: list[int]
    left: int

    def ask(self, room: int) -> Sequence[Proposal]:
        room = min(room, self.left)
        now, self.order = self.order[:room], self.order[room:]
        self.left -= len(now)
        return [Proposal(i) for i in now]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Makes up for what cost no trial."""
        self.left += sum(outcome.free for outcome in outcomes)


def make(problem: Problem) -> Strategy:
    """Returns the strategy."""
    rng = random.Random(f"random {problem.seed}")
    count = len(problem.configurations)
    return _Random(rng.sample(range(count), count), problem.budget)
