"""Sums of products of arrays, contracted pair by pair with matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from einsum_cascades.interpreter.blocks import Array

Axes = frozenset[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which two operands to multiply next (their result goes to the end), and the most elements of any result."""

    pairs: tuple[tuple[int, int], ...]
    most: int


def contract(operands: Sequence[Array], away: Axes, sizes: tuple[int, ...]) -> Array:
    """Returns the product of the operands, summed over the axes ``away`` (which stay, with size 1).

    Operands have as many axes as ``sizes``, of size 1 where they do not depend on one. An axis that no operand has
    counts each of its coordinates. Nothing is done about infinities: a result that is not finite is not to be used.
    """
    todo = list(operands)
    plan = planned(tuple(axes_of(o) for o in todo), away, sizes)
    for i, j in plan.pairs:
        right, left = todo.pop(j), todo.pop(i)
        others: Axes = frozenset().union(*map(axes_of, todo))
        todo.append(_product(left, right, away - others))
    result = _summed(todo[0], away)
    present: Axes = frozenset().union(*map(axes_of, operands))
    times = math.prod(sizes[axis] for axis in away - present)
    return result if times == 1 else result * times


@lru_cache(maxsize=4096)
def planned(operands: tuple[Axes, ...], away: Axes, sizes: tuple[int, ...]) -> Plan:
    """Returns the order of pairwise products that makes the smallest results, chosen one after the other."""
    todo, pairs, most = list(operands), [], 1
    while len(todo) > 1:
        costs = []
        for i, j in combinations(range(len(todo)), 2):
            others: Axes = frozenset().union(*(axes for n, axes in enumerate(todo) if n not in (i, j)))
            visited = todo[i] | todo[j]
            made = visited - (away - others)
            costs.append((_elements(made, sizes), _elements(visited, sizes), i, j, made))
        elements, _, i, j, made = min(costs, key=lambda cost: cost[:4])
        most = max(most, elements)
        pairs.append((i, j))
        todo = [axes for n, axes in enumerate(todo) if n not in (i, j)] + [made]
    return Plan(tuple(pairs), most)


def _elements(axes: Axes, sizes: tuple[int, ...]) -> int:
    return math.prod(sizes[axis] for axis in axes)


def axes_of(array: Array) -> Axes:
    """Returns the axes along which an array has more than one element."""
    return frozenset(axis for axis, size in enumerate(array.shape) if size != 1)


def _product(left: Array, right: Array, gone: Axes) -> Array:
    """The product of two operands, summed over the axes ``gone``."""
    own, other = axes_of(left), axes_of(right)
    left, right = _summed(left, gone - other), _summed(right, gone - own)
    shared = sorted(gone & own & other)
    if not shared:
        return left * right
    own, other = axes_of(left), axes_of(right)
    batch = sorted((own & other) - gone)
    rows, columns = sorted(own - other), sorted(other - own)
    a, b = _matrices(left, batch, rows, shared), _matrices(right, batch, shared, columns)
    # A stack of dot products is no work for a matrix product.
    dots = a.shape[-2] == b.shape[-1] == 1
    product: Array = np.einsum("bk,bk->b", a[:, 0, :], b[:, :, 0]) if dots else np.matmul(a, b)
    made = [*batch, *rows, *columns]
    sizes = [right.shape[axis] if left.shape[axis] == 1 else left.shape[axis] for axis in made]
    order = sorted(range(len(made)), key=made.__getitem__)
    shape = [1] * left.ndim
    for axis, size in zip(made, sizes, strict=True):
        shape[axis] = size
    return product.reshape(sizes).transpose(order).reshape(shape)


def _matrices(array: Array, batch: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> Array:
    """An array as a stack of matrices."""
    used = [*batch, *rows, *columns]
    rest = [axis for axis in range(array.ndim) if axis not in used]
    shape = [math.prod(array.shape[axis] for axis in group) for group in (batch, rows, columns)]
    return array.transpose([*used, *rest]).reshape(shape)


def _summed(array: Array, away: Axes) -> Array:
    axes = tuple(axis for axis in away if array.shape[axis] != 1)
    return np.asarray(np.sum(array, axis=axes, keepdims=True)) if axes else array
