"""Comparison of candidates that were timed in the same rounds: times without drift, and which of them are tied.

The logarithm of a candidate's median in a round is taken as the sum of its own level, what the round (or its process)
does to all alike, and noise. Levels follow by median polish (Tukey, Exploratory Data Analysis, 1977), which outliers
and missing rounds hardly move. Two candidates are tied where their levels differ by less than a share that nobody would
tune for, or by less than noise explains; the unit of noise is the process where there are at least three, else the round.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.store.record import Round, quantile

_POLISHES = 20
_SETTLED = 1e-9
_FEWEST_PROCESSES = 3

_MAD_TO_DEVIATION = 1.4826
"""Of a normal distribution; a median's own error is 1.2533 times a mean's."""
_MEDIAN_OVER_MEAN = 1.2533

Block = tuple[int, int]
"""A process and the index of a round in it: what is timed in one block is timed side by side."""


@dataclass(frozen=True)
class Standing:
    """A candidate's time in microseconds without drift, and how far behind the best it is: the share, and its standard
    error (infinite where too few rounds tell)."""

    name: str
    level_us: float
    behind: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """Candidates from best to worst, and the names of those that are tied with the best one."""

    standings: tuple[Standing, ...]
    band: tuple[str, ...]


def compare(rounds: Mapping[str, Sequence[Round]], *, tolerance: float = 0.01, errors: float = 2.0) -> Comparison:
    """Returns how candidates compare by their clean rounds; those without any are left out.

    Tied with the best are those that are behind by at most ``tolerance``, or by at most ``errors`` standard errors of the
    difference.
    """
    medians = {name: {(r.process, r.index): math.log(quantile(r.samples_us, 0.5)) for r in own if not r.taint and r.samples_us}
               for name, own in rounds.items()}
    medians = {name: own for name, own in medians.items() if own}
    if not medians:
        return Comparison((), ())
    levels = polished(medians)
    best = min(levels, key=lambda name: (levels[name], name))
    standings = []
    for name in sorted(levels, key=lambda n: (levels[n], n)):
        behind = levels[name] - levels[best]
        error = 0.0 if name == best else _error(medians[name], medians[best])
        standings.append(Standing(name, math.exp(levels[name]), math.expm1(behind), error))
    band = tuple(s.name for s in standings if s.behind <= tolerance or s.behind <= errors * s.error < math.inf)
    return Comparison(tuple(standings), band)


def polished(medians: Mapping[str, Mapping[Block, float]]) -> dict[str, float]:
    """Returns the level of each candidate, from the logarithms of its medians by block."""
    blocks = sorted({block for own in medians.values() for block in own})
    level = dict.fromkeys(medians, 0.0)
    effect = dict.fromkeys(blocks, 0.0)
    for _ in range(_POLISHES):
        moved = 0.0
        for name, own in medians.items():
            new = statistics.median(value - effect[block] for block, value in own.items())
            moved, level[name] = max(moved, abs(new - level[name])), new
        for block in blocks:
            effect[block] = statistics.median(own[block] - level[name] for name, own in medians.items() if block in own)
        # Only differences of levels are determined; times are those of the middle block.
        middle = statistics.median(effect.values())
        effect = {block: value - middle for block, value in effect.items()}
        level = {name: value + middle for name, value in level.items()}
        if moved < _SETTLED:
            break
    return level


def _error(one: Mapping[Block, float], best: Mapping[Block, float]) -> float:
    """The standard error of the difference, from blocks that have both."""
    by_process: dict[int, list[float]] = {}
    for block in one.keys() & best.keys():
        by_process.setdefault(block[0], []).append(one[block] - best[block])
    if len(by_process) >= _FEWEST_PROCESSES:
        centres = [statistics.median(values) for values in by_process.values()]
        return statistics.stdev(centres) / math.sqrt(len(centres))
    differences = [value for values in by_process.values() for value in values]
    if len(differences) < 2:
        return math.inf
    centre = statistics.median(differences)
    deviation = _MAD_TO_DEVIATION * statistics.median(abs(value - centre) for value in differences)
    return _MEDIAN_OVER_MEAN * deviation / math.sqrt(len(differences))
