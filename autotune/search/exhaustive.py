"""Exhaustive search: every configuration once, in the order of the space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.search.errors import SearchError
from autotune.search.strategy import Outcome, Problem, Proposal, Strategy


@dataclass
class _Exhaustive:
    count: int
    asked: int = 0

    def ask(self, room: int) -> Sequence[Proposal]:
        start, self.asked = self.asked, min(self.count, self.asked + room)
        return [Proposal(i) for i in range(start, self.asked)]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing is learnt."""


def make(problem: Problem) -> Strategy:
    """Returns the strategy.

    Raises: SearchError where the budget does not reach: the first part of a space is no sample of it.
    """
    if problem.budget < len(problem.configurations):
        raise SearchError(f"exhaustive: there are {len(problem.configurations)} configurations, got a budget of {problem.budget}; raise "
                          f"it, or use another strategy")
    return _Exhaustive(len(problem.configurations))
