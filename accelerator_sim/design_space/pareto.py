"""Pareto fronts: the points that no other point is as good as in all figures and better in one. Exact."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def pareto_front(costs: Array) -> Array:
    """Returns which rows of ``costs`` (points x figures, the less the better) no other row dominates, as truth values.

    Rows that are equal stay together; rows with a NaN or an infinity belong to no front. Time is n log n for one, two and three
    figures; for more it grows with the size of the front.
    """
    import numpy as np
    found: Array = np.zeros(len(costs), bool)
    finite = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if not len(finite):
        return found
    # Rows that are equal are one; they come out sorted by the first figure, then the second, ...
    rows, place = np.unique(costs[finite], axis=0, return_inverse=True)
    kept = _of_two(rows) if rows.shape[1] <= 2 else _of_three(rows) if rows.shape[1] == 3 else _of_more(rows)
    found[finite] = kept[place.reshape(-1)]
    return found


def _of_two(rows: Array) -> Array:
    """Of rows sorted by the first figure: those that are better in the last than all before them."""
    import numpy as np
    last = rows[:, -1]
    if rows.shape[1] == 1:
        least: Array = np.arange(len(rows)) == 0
        return least
    before = np.minimum.accumulate(np.concatenate(([np.inf], last[:-1])))
    kept: Array = last < before
    return kept


def _of_three(rows: Array) -> Array:
    """A row is dominated if one before it is as good in the second and third figure; of those before, the stairs of the best
    pairs are kept: the second figure grows, the third falls."""
    import numpy as np
    kept = np.ones(len(rows), bool)
    seconds: list[float] = []
    thirds: list[float] = []
    for number, (second, third) in enumerate(rows[:, 1:].tolist()):
        place = bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            kept[number] = False
            continue
        # A stair that the new one makes useless has as large a second figure or a larger one, and a third as large.
        start = place - 1 if place and seconds[place - 1] == second else place
        end = start
        while end < len(thirds) and thirds[end] >= third:
            end += 1
        seconds[start:end] = [second]
        thirds[start:end] = [third]
    return kept


def _of_more(rows: Array) -> Array:
    """Takes the row with the least sum of ranks, which no row dominates, and drops all that it does; again and again."""
    import numpy as np
    # A row that dominates another has a smaller or equal rank in each figure, and a smaller one in some: its sum is less.
    left = _ranks(rows).sum(axis=1).argsort(kind="stable")
    kept = np.zeros(len(rows), bool)
    while len(left):
        first = left[0]
        kept[first] = True
        worse = (rows[left] >= rows[first]).all(axis=1)
        left = left[~worse]
    return kept


def _ranks(rows: Array) -> Array:
    """Of each figure, how many distinct values are below each row's."""
    import numpy as np
    return np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in rows.T], axis=1)
