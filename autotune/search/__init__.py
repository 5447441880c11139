"""Search strategies, one a module, and the landscapes that they are tried on."""

from __future__ import annotations

from autotune.search.errors import SearchError
from autotune.search.strategy import Outcome, Problem, Proposal, Strategy, make_strategy, strategy_ids

__all__ = ["Outcome", "Problem", "Proposal", "SearchError", "Strategy", "make_strategy", "strategy_ids"]
