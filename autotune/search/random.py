"""Random search: configurations drawn without putting them back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.search.strategy import Outcome, Problem, Proposal, Strategy


@dataclass
class _Random:
    order: list[int]

    def ask(self, room: int) -> Sequence[Proposal]:
        now, self.order = self.order[:room], self.order[room:]
        return [Proposal(i) for i in now]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing is learnt."""


def make(problem: Problem) -> Strategy:
    """Returns the strategy."""
    rng = random.Random(f"random {problem.seed}")
    return _Random(rng.sample(range(len(problem.configurations)), min(problem.budget, len(problem.configurations))))
