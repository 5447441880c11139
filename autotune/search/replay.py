"""Replays a search on known times: how near to the best a strategy comes, and with how many trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune.search.strategy import Outcome, Problem, make_strategy

_AT_ONCE = 8


@dataclass(frozen=True)
class Replay:
    """How a search ended: the trials it took, and its choice's time over the best of all."""

    strategy: str
    trials: int
    configurations: int
    regret: float
    order: tuple[int, ...]


def replay(strategy: str, problem: Problem, true_us: Sequence[float | None], told: Callable[[int, float], float] | None = None) -> Replay:
    """Returns how a strategy does where every configuration's time is known (None: it fails).

    ``told`` makes what the strategy hears of a time (index, share of samples), as noise does; its choice is the best it
    heard of with all samples, and is judged by its true time.
    """
    search = make_strategy(strategy, problem)
    heard: dict[int, float] = {}
    order: list[int] = []
    while proposals := search.ask(_AT_ONCE):
        outcomes = []
        for proposal in proposals:
            time = true_us[proposal.index]
            us = time if time is None or told is None else time * told(proposal.index, proposal.share)
            outcomes.append(Outcome(proposal.index, us, proposal.share))
            if us is not None and proposal.share >= 1.0:
                heard[proposal.index] = us
            order.append(proposal.index)
        search.tell(outcomes)
    best = min(time for time in true_us if time is not None)
    found = [time for index in sorted(heard, key=lambda i: (heard[i], i))[:1] if (time := true_us[index]) is not None]
    return Replay(strategy, len(set(order)), len(true_us), found[0] / best - 1.0 if found else float("inf"), tuple(dict.fromkeys(order)))
