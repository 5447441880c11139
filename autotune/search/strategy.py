"""A search strategy: asked what to try next, told how it went. It neither builds nor times, and never sees a device."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from autotune.search.errors import SearchError
from autotune.space import Configuration
from einsum_cascades.errors import UnknownNameError

_PARTS = ("strategy", "errors", "features", "gaussian_process", "landscape", "replay")
"""Modules of this package that are no strategies."""


@dataclass(frozen=True)
class Problem:
    """What is searched: ``configurations`` (those that pruning left), with at most ``budget`` of them tried.

    ``predicted_us`` are times that a performance model predicts, one for each configuration; None without a model.
    """

    configurations: tuple[Configuration, ...]
    budget: int
    seed: int = 0
    predicted_us: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.configurations:
            raise SearchError("search: there is nothing to try, got no configurations; widen the space")
        if self.budget < 1:
            raise SearchError(f"search: at least one trial is needed, got a budget of {self.budget}; give more")
        if self.predicted_us is not None and len(self.predicted_us) != len(self.configurations):
            raise SearchError(f"search: there should be a prediction for each of {len(self.configurations)} configurations, got "
                              f"{len(self.predicted_us)}; predict all, or none")


@dataclass(frozen=True)
class Proposal:
    """Configuration number ``index`` is to be timed with ``share`` of the samples of a full trial."""

    index: int
    share: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a proposal went: its time in microseconds, None where it failed. ``free``: it never reached the device, since a
    limit was found to be exceeded before, and costs no trial."""

    index: int
    us: float | None
    share: float = 1.0
    free: bool = False


class Strategy(Protocol):
    """Decides what is tried. One trial is one configuration that was not tried before, however few its samples."""

    def ask(self, room: int) -> Sequence[Proposal]:
        """Returns up to ``room`` proposals that can be timed side by side; none where the search is done."""

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes the outcomes of proposals."""


def strategy_ids() -> tuple[str, ...]:
    """Returns the names of the strategies: the modules of this package, one each."""
    modules = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(sorted(name.replace("_", "-") for name in modules if name not in _PARTS))


def make_strategy(name: str, problem: Problem) -> Strategy:
    """Returns a strategy for a problem.

    Raises: UnknownNameError for one that there is not; SearchError where it lacks a library, or a budget that it can use.
    """
    if name not in strategy_ids():
        raise UnknownNameError("strategy", name, strategy_ids())
    made: Strategy = import_module(f"autotune.search.{name.replace('-', '_')}").make(problem)
    return made
