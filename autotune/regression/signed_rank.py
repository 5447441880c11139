"""The exact signed-rank test of paired differences, with its estimate and interval.

Why it, and not a test on pooled samples: samples of one process share that process's bias, so that pooling them finds
differences between processes that are none between kernels. Here one pair of fresh processes is one observation.

Source: F. Wilcoxon, "Individual Comparisons by Ranking Methods", 1945; J. L. Hodges and E. L. Lehmann, "Estimates of
Location Based on Rank Tests", 1963.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Shift:
    """How far differences are from zero.

    ``estimate`` is the median of their Walsh averages, ``low`` and ``high`` its interval at ``confidence`` (what the
    number of differences allows, at most what was asked for). ``p_greater`` is the probability of signs at least as much in
    favour of a positive shift where there is none, ``p_less`` of a negative one.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    p_greater: float
    p_less: float
    pairs: int


def shift_of(differences: Sequence[float], confidence: float = 0.99) -> Shift:
    """Returns the shift of paired differences; without any, nothing is known (an infinite interval, probabilities of 1).

    Differences that are equal share their mean rank, and those of zero count for half on either side, so that the test
    stays exact.
    """
    n = len(differences)
    if n == 0:
        return Shift(0.0, -math.inf, math.inf, 0.0, 1.0, 1.0, 0)
    doubled = _doubled_ranks([abs(d) for d in differences])
    # Twice the rank sum of the positive ones; twice again, so that the half of a zero stays whole.
    positive = sum(2 * r if d > 0 else r if d == 0 else 0 for d, r in zip(differences, doubled, strict=True))
    ways = _ways(tuple(sorted(2 * r for d, r in zip(differences, doubled, strict=True) if d != 0)))
    fixed = sum(r for d, r in zip(differences, doubled, strict=True) if d == 0)
    total = sum(ways)
    at_least = sum(ways[max(positive - fixed, 0):]) / total
    at_most = sum(ways[:positive - fixed + 1]) / total
    averages = sorted((differences[i] + differences[j]) / 2 for i in range(n) for j in range(i, n))
    drop, reached = _drop(n, confidence)
    return Shift(statistics.median(averages), averages[drop], averages[-1 - drop], reached, at_least, at_most, n)


def least_pairs(alpha: float) -> int:
    """Returns the fewest pairs with which the test can reach a probability of ``alpha``: 2^-n is the least that there is."""
    return max(1, math.ceil(-math.log2(alpha)))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Returns probabilities adjusted for being several (Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    1979): rejecting those of at most alpha keeps the probability of any false alarm at alpha."""
    order = sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    adjusted = [0.0] * len(probabilities)
    worst = 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, (len(probabilities) - place) * probabilities[i]))
        adjusted[i] = worst
    return adjusted


def _doubled_ranks(sizes: Sequence[float]) -> list[int]:
    """Twice the rank of each, from 2; equal ones share the mean of theirs."""
    order = sorted(sizes)
    first = {size: order.index(size) for size in set(sizes)}
    count = {size: order.count(size) for size in set(sizes)}
    return [2 * first[size] + count[size] + 1 for size in sizes]


@lru_cache(maxsize=64)
def _ways(ranks: tuple[int, ...]) -> tuple[int, ...]:
    """In how many of all choices of signs the positive ranks have each sum."""
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        ways = [ways[s] + (ways[s - rank] if s >= rank else 0) for s in range(len(ways))]
    return tuple(ways)


@lru_cache(maxsize=64)
def _drop(n: int, confidence: float) -> tuple[int, float]:
    """How many Walsh averages the interval leaves out at either end, and the confidence that it has."""
    ways = _ways(tuple(range(1, n + 1)))
    total, below, drop, left = 2 ** n, 0, 0, 0
    for s in range(len(ways) // 2):
        left += ways[s]
        if 2 * left / total > 1 - confidence:
            break
        drop, below = s + 1, left
    # With too few differences even the widest interval, from the least to the largest, is less sure than asked for.
    return (drop - 1, 1 - 2 * below / total) if drop else (0, 1 - 2 / total)
