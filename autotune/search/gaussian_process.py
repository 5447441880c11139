"""Regression by a Gaussian process with a Matérn 5/2 kernel and a length for each feature.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, algorithm 2.1 and equation 4.17.
Lengths are chosen by marginal likelihood from a short list, one feature after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LENGTHS = (0.2, 0.4, 0.8, 1.6, 6.4)
"""Of the unit cube; the last one all but ignores the feature."""

_NOISES = (1e-4, 1e-3, 1e-2)
"""Variance of what the features do not explain, over that of what they do."""

_SWEEPS = 2


@dataclass(frozen=True)
class Hyperparameters:
    """The length of each feature, and the share of noise."""

    lengths: tuple[float, ...]
    noise: float


def fitted(points: Array, values: Array, start: Hyperparameters | None = None) -> Hyperparameters:
    """Returns lengths and noise of high marginal likelihood, beginning with ``start``."""
    best = start or Hyperparameters((0.8,) * points.shape[1], _NOISES[1])
    score = _likelihood(points, values, best)
    for _ in range(_SWEEPS):
        before = score
        options = [Hyperparameters((*best.lengths[:i], length, *best.lengths[i + 1:]), best.noise)
                   for i in range(points.shape[1]) for length in LENGTHS]
        for i in range(points.shape[1]):
            for length in LENGTHS:
                option = Hyperparameters((*best.lengths[:i], length, *best.lengths[i + 1:]), best.noise)
                found = _likelihood(points, values, option)
                best, score = (option, found) if found > score else (best, score)
        options = [Hyperparameters(best.lengths, noise) for noise in _NOISES]
        for option in options:
            found = _likelihood(points, values, option)
            best, score = (option, found) if found > score else (best, score)
        if score <= before:
            break
    return best


def predicted(points: Array, values: Array, at: Array, chosen: Hyperparameters) -> tuple[Array, Array]:
    """Returns the mean and the standard deviation at other points."""
    import numpy as np
    factor, weights, scale = _solved(points, values, chosen)
    across = _kernel(at, points, chosen.lengths)
    mean = across @ weights
    half = np.linalg.solve(factor, across.T)
    return mean, np.sqrt(np.maximum(scale * (1.0 + chosen.noise - (half**2).sum(axis=0)), 1e-12))


def _likelihood(points: Array, values: Array, chosen: Hyperparameters) -> float:
    import numpy as np
    factor, _, scale = _solved(points, values, chosen)
    return float(-0.5 * len(values) * math.log(scale) - np.log(np.diag(factor)).sum())


def _solved(points: Array, values: Array, chosen: Hyperparameters) -> tuple[Array, Array, float]:
    """The Cholesky factor, the weights, and the variance, which has a closed form."""
    import numpy as np
    covariance = _kernel(points, points, chosen.lengths)
    covariance[np.diag_indices_from(covariance)] += chosen.noise
    factor = np.linalg.cholesky(covariance)
    weights = np.linalg.solve(factor.T, np.linalg.solve(factor, values))
    return factor, weights, max(float(values @ weights) / len(values), 1e-12)


def _kernel(one: Array, other: Array, lengths: tuple[float, ...]) -> Array:
    import numpy as np
    a, b = one / np.array(lengths), other / np.array(lengths)
    squared = np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T, 0.0)
    distance = np.sqrt(5.0 * squared)
    result: Array = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return result
