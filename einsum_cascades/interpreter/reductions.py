"""Reductions of arrays over axes, with elements that are skipped: the built-in ones and a cascade's own operators.

Every function takes values and ``present`` (None: everything) that broadcast together, and gives a result in which
the reduced axes have the size 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from einsum_cascades.elementwise import function_of
from einsum_cascades.interpreter.blocks import Array

LARGEST = 2**24
"""Elements of an array that is made at once (128 MiB); a larger one is made in pieces."""

Combine = Callable[[list[Array], list[Array]], list[Array]]
"""Two operands, each of as many arrays as the operator has values, into one."""


def total(values: Array, present: Array | None, axes: Sequence[int], sizes: Sequence[int]) -> Array:
    """Returns the sum; a fiber with a -inf, or with both infinities, sums to -inf."""
    return _reduced(_sum, values, present, axes, sizes)


def reduced(op: str, values: Array, present: Array | None, axes: Sequence[int], sizes: Sequence[int]) -> Array:
    """Returns a built-in reduction; ``sizes`` are those of the axes of the space.

    Raises: KeyError for a name that is none.
    """
    if op in _EXTREMES and present is not None:
        prefixes = _prefixes([values], present, axes, sizes)
        if prefixes is not None:
            line, lengths, forward = prefixes
            ufunc, identity = _EXTREMES[op]
            running = ufunc.accumulate(line[0] if forward else line[0][::-1])
            start = np.full((1, *running.shape[1:]), identity)
            return _back(_at(np.concatenate([start, running]), lengths), axes, len(sizes))
    return _reduced(_REDUCTIONS[op], values, present, axes, sizes)


def folded(combine: Combine, identity: Sequence[float], values: Sequence[Array], present: Array | None,
           axes: Sequence[int], sizes: Sequence[int], *, associative: bool) -> list[Array]:
    """Returns the reduction of tuples by an operator of any kind, in ascending order of the coordinates.

    The first of ``axes`` is the outermost. Where what is present are prefixes of the fiber (and, for an associative
    operator, suffixes), the running results of one pass serve all of them.
    """
    state = [np.full((1,) * (len(sizes) - len(axes)), unit) for unit in identity]
    prefixes = None if present is None else _prefixes(values, present, axes, sizes, suffixes=associative)
    if prefixes is not None:
        lines, lengths, forward = prefixes
        history = [state]
        for number in range(len(lines[0])):
            element = [line[number if forward else -1 - number] for line in lines]
            history.append(combine(history[-1], element) if forward else combine(element, history[-1]))
        shape = np.broadcast_shapes(*(a.shape for state in history for a in state))
        stacked = [np.stack([np.broadcast_to(state[n], shape) for state in history]) for n in range(len(identity))]
        return [_back(_at(s, lengths), axes, len(sizes)) for s in stacked]
    lines = [_line(v, axes, sizes) for v in values]
    held = None if present is None else _line(present, axes, sizes)
    for number in range(len(lines[0])):
        after = combine(state, [line[number] for line in lines])
        # A result may be a constant: adding the state's shape keeps its axes.
        state = [np.where(True if held is None else held[number], a, s) for a, s in zip(after, state, strict=True)]
    return [_back(s, axes, len(sizes)) for s in state]


# --- built-in reductions ---

_Reduction = Callable[[Array, Array | None, tuple[int, ...]], Array]


def _reduced(function: _Reduction, values: Array, present: Array | None, axes: Sequence[int],
             sizes: Sequence[int]) -> Array:
    """The reduction, in pieces along a kept axis where the whole is too large an array."""
    whole = np.broadcast_shapes(values.shape, () if present is None else present.shape,
                                tuple(size if axis in axes else 1 for axis, size in enumerate(sizes)))
    kept = max((axis for axis in range(len(whole)) if axis not in axes), key=whole.__getitem__, default=None)
    if math.prod(whole) > LARGEST and kept is not None and whole[kept] > 1:
        half = whole[kept] // 2
        return np.concatenate([_reduced(function, _cut(values, kept, part), None if present is None else
                                        _cut(present, kept, part), axes, sizes)
                               for part in (slice(0, half), slice(half, None))], axis=kept)
    values = np.broadcast_to(values, whole)
    with np.errstate(all="ignore"):
        return function(values, None if present is None else np.broadcast_to(present, whole), tuple(axes))


def _cut(array: Array, axis: int, part: slice) -> Array:
    return array if array.shape[axis] == 1 else array[(slice(None),) * axis + (part,)]


def _sum(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    result: Array = np.sum(values if present is None else np.where(present, values, 0.0), axis=axes, keepdims=True)
    undefined = np.isnan(result)
    if undefined.any():
        bad = np.isnan(values) if present is None else np.isnan(values) & present
        result = np.where(undefined & ~bad.any(axis=axes, keepdims=True), -np.inf, result)
    return result


def _product(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    values = values if present is None else np.where(present, values, 1.0)
    result: Array = np.prod(values, axis=axes, keepdims=True)
    return np.where((values == 0).any(axis=axes, keepdims=True), 0.0, result)


def _count(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    held = np.ones(values.shape, dtype=bool) if present is None else present
    return np.asarray(np.sum(held, axis=axes, keepdims=True, dtype=float))


def _mean(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    return _sum(values, present, axes) / np.maximum(_count(values, present, axes), 1.0)


def _variance(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    return _mean(np.square(function_of("sub")(values, _mean(values, present, axes))), present, axes)


def _extreme(ufunc: np.ufunc, identity: float) -> _Reduction:
    def reduction(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
        values = values if present is None else np.where(present, values, identity)
        return np.asarray(ufunc.reduce(values, axis=axes, keepdims=True, initial=identity))
    return reduction


def _any(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.any(values if present is None else (values != 0) & present, axis=axes, keepdims=True), float)


def _all(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.all(values if present is None else (values != 0) | ~present, axis=axes, keepdims=True), float)


def _position(identity: float, sign: float) -> _Reduction:
    def reduction(values: Array, present: Array | None, axes: tuple[int, ...]) -> Array:
        (axis,) = axes
        if values.shape[axis] == 0:
            return _count(values, present, axes)
        held = np.ones(values.shape, dtype=bool) if present is None else present
        best = _extreme(np.maximum if sign > 0 else np.minimum, identity)(values, present, axes)
        # The first coordinate that is present and the best; 0 where nothing is present.
        return np.asarray(np.argmax(held & (values == best), axis=axis, keepdims=True), float)
    return reduction


_EXTREMES: dict[str, tuple[np.ufunc, float]] = {"max": (np.maximum, -np.inf), "min": (np.minimum, np.inf)}
_REDUCTIONS: dict[str, _Reduction] = {
    "prod": _product, "count": _count, "mean": _mean, "var": _variance, "any": _any, "all": _all,
    "max": _extreme(np.maximum, -np.inf), "min": _extreme(np.minimum, np.inf),
    "argmax": _position(-np.inf, 1.0), "argmin": _position(np.inf, -1.0)}


# --- fibers as lines ---

def _line(array: Array, axes: Sequence[int], sizes: Sequence[int]) -> Array:
    """An array with its reduced axes as one leading axis, the kept axes behind."""
    full = np.broadcast_to(array, [sizes[a] if a in axes else s for a, s in enumerate(array.shape)])
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    moved = full.transpose([*axes, *kept])
    return moved.reshape([math.prod(sizes[a] for a in axes), *(array.shape[a] for a in kept)])


def _back(array: Array, axes: Sequence[int], ndim: int) -> Array:
    """A result over the kept axes with the reduced axes of size 1 again."""
    kept = iter(array.shape)
    return array.reshape([1 if axis in axes else next(kept) for axis in range(ndim)])


def _prefixes(values: Sequence[Array], present: Array, axes: Sequence[int], sizes: Sequence[int],
              *, suffixes: bool = True) -> tuple[list[Array], Array, bool] | None:
    """The fibers, how many elements of each are present, and whether they are its first (else its last) ones.

    None where they are neither, or where the values depend on all that their presence depends on, so that every
    fiber is reduced once anyhow.
    """
    kept = [axis for axis in range(present.ndim) if axis not in axes and present.shape[axis] > 1]
    if not any(all(v.shape[axis] == 1 for v in values) for axis in kept):
        return None
    held = _line(present, axes, sizes)
    forward = bool((held[1:] <= held[:-1]).all())
    if not forward and not (suffixes and (held[1:] >= held[:-1]).all()):
        return None
    return [_line(v, axes, sizes) for v in values], held.sum(axis=0), forward


def _at(running: Array, lengths: Array) -> Array:
    """The running result after as many elements as ``lengths`` says; kept axes broadcast."""
    grids = np.meshgrid(*(np.arange(size) for size in running.shape[1:]), indexing="ij", sparse=True) \
        if running.ndim > 1 else []
    return np.asarray(running[(lengths, *grids)])
