"""The largest divisor below a bound, for one number or for arrays."""

from __future__ import annotations

from functools import lru_cache

from accelerator_sim.quantities import Quantity, is_array


def largest_divisor(whole: Quantity, most: Quantity) -> Quantity:
    """Returns the largest divisor of ``whole`` that is at most ``most`` (at least 1), point by point."""
    if not is_array(whole) and not is_array(most):
        return max(d for d in divisors(int(whole)) if d <= most)
    import numpy as np
    wholes, mosts = np.broadcast_arrays(np.asarray(whole), np.asarray(most))
    result = np.empty(wholes.shape, np.int64)
    # Points with the same number share its divisors: sort them together, and search each group at once. Ranks of numbers are
    # small, and small whole numbers sort in linear time.
    values = np.unique(wholes)
    place = np.searchsorted(values, wholes).astype(np.int16 if len(values) < 2 ** 15 else np.int64)
    order = np.argsort(place, kind="stable")
    start = 0
    for value, end in zip(values, np.cumsum(np.bincount(place, minlength=len(values))), strict=True):
        rows = order[start:end]
        known = np.array(divisors(int(value)))
        result[rows] = known[np.searchsorted(known, mosts[rows], side="right") - 1]
        start = end
    return result


@lru_cache(maxsize=65536)
def divisors(n: int) -> tuple[int, ...]:
    """Returns the divisors of a number, in order."""
    small = [d for d in range(1, int(n ** 0.5) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))
