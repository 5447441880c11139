"""Scatters: elements that are reduced where their index tensors say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from einsum_cascades.interpreter.blocks import Array

SCATTERED = frozenset((None, "max", "min", "any", "all", "count", "mean", "prod"))
"""Reductions (None is the sum) whose elements can be sent to their targets one by one, in any order."""


def scattered(op: str | None, values: Array, targets: Array, size: int) -> Array:
    """Returns ``size`` results: element n of ``values`` is reduced into element ``targets[n]``.

    Both are 1-dimensional and hold present elements only. A target that nothing meets has the identity.
    """
    with np.errstate(all="ignore"):
        match op:
            case None:
                return _sum(values, targets, size)
            case "mean":
                return _sum(values, targets, size) / np.maximum(np.bincount(targets, minlength=size), 1)
            case "count":
                return np.bincount(targets, minlength=size).astype(float)
            case "any":
                return _accumulated(np.maximum, 0.0, (values != 0).astype(float), targets, size)
            case "all":
                return _accumulated(np.minimum, 1.0, (values != 0).astype(float), targets, size)
            case "prod":
                product = _accumulated(np.multiply, 1.0, values, targets, size)
                return np.where(np.bincount(targets, weights=values == 0, minlength=size) > 0, 0.0, product)
            case "max":
                return _accumulated(np.maximum, -np.inf, values, targets, size)
        return _accumulated(np.minimum, np.inf, values, targets, size)


def _sum(values: Array, targets: Array, size: int) -> Array:
    result = np.bincount(targets, weights=values, minlength=size)
    undefined = np.isnan(result)
    if undefined.any():
        undefined &= np.bincount(targets, weights=np.isnan(values), minlength=size) == 0
        result[undefined] = -np.inf
    return result


def _accumulated(ufunc: np.ufunc, identity: float, values: Array, targets: Array, size: int) -> Array:
    result = np.full(size, identity)
    ufunc.at(result, targets, values)
    return result


def flat_targets(indices: Sequence[Array], sizes: Sequence[int]) -> Array:
    """Returns one number for each tuple of indices that broadcast together, in C order."""
    result = np.zeros((), dtype=np.intp)
    for index, size in zip(indices, sizes, strict=True):
        result = result * size + index
    return result
