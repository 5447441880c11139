"""Populates: ranks of coordinates, made from the values of fibers."""

from __future__ import annotations

import numpy as np

from einsum_cascades.interpreter.blocks import Array
from einsum_cascades.operators import POPULATES


def populated(op: str, values: Array, present: Array | None, axis: int, made: int,
              length: int) -> tuple[Array, Array | None]:
    """Returns the coordinates that a populate makes along the axis ``made``, and where they are present.

    It consumes ``axis``, which has the size 1 in the result; ``length`` is the extent of the rank made. Equal values
    are in the order of their coordinates; after the numbers come NaNs, then the absent elements.
    """
    shape = np.broadcast_shapes(values.shape, () if present is None else present.shape)
    values = np.moveaxis(np.broadcast_to(values, shape), axis, -1)
    held = None if present is None else np.moveaxis(np.broadcast_to(present, shape), axis, -1)
    there: Array | None = None
    if op == "threshold":
        positive = values > 0 if held is None else (values > 0) & held
        # A stable sort by "is not positive" keeps the coordinates of the positive ones in ascending order.
        order = np.argsort(~positive, axis=-1, kind="stable")
        there = np.take_along_axis(positive, order, axis=-1)
    else:
        keys = -values if POPULATES[op].descending else values
        # Absent elements are alike, so that they stay in the order of their coordinates.
        order = np.argsort(keys if held is None else np.where(held, keys, 0.0), axis=-1, kind="stable")
        if held is not None:
            absent = np.take_along_axis(~held, order, axis=-1)
            order = np.take_along_axis(order, np.argsort(absent, axis=-1, kind="stable"), axis=-1)
        if length > order.shape[-1]:
            there = np.ones(order.shape, dtype=bool)

    def back(array: Array) -> Array:
        extra = length - array.shape[-1]
        array = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, extra)]) if extra > 0 else array[..., :length]
        return np.swapaxes(np.moveaxis(array, -1, axis), axis, made)

    return back(order.astype(float)), None if there is None else back(there)
