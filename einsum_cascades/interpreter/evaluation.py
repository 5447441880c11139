"""Expressions evaluated over a space: maps of blocks, and reads of tensors at affine, computed and gathered indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from einsum_cascades.elementwise import function_of
from einsum_cascades.errors import ExecutionError
from einsum_cascades.indices import Affine, affine
from einsum_cascades.interpreter.blocks import NO_PARTS, Array, Block, Parts, Space, Tensor, joined
from einsum_cascades.ir import Access, Call, Cascade, Coord, Expr, Extent, Num, UserOperator, coords
from einsum_cascades.operators import MAPS, parameters
from einsum_cascades.printing import expr_text


@dataclass(frozen=True, slots=True)
class _Slice:
    """Consecutive or evenly spaced elements along a free rank."""

    elements: slice
    rank: str


@dataclass(frozen=True, slots=True)
class _Gather:
    """Elements ``at`` whole numbers within the dimension; ``inside`` is where the index was (None: everywhere)."""

    at: Array
    inside: Array | None
    parts: Parts


_Index = int | _Slice | _Gather


class Evaluator:
    """Evaluates expressions of one cascade on its ``tensors``, which grow and fill as the cascade runs."""

    def __init__(self, cascade: Cascade, extents: Mapping[str, int], inputs: frozenset[str]) -> None:
        self.name, self.extents, self.inputs = cascade.name, extents, inputs
        self.tensors: dict[str, Tensor] = {}
        self.users = {operator.name: operator for operator in cascade.operators}
        # Expressions of a cascade live as long as it does: their identity is a cheap key.
        self._ranks: dict[int, frozenset[str]] = {}
        self._affine: dict[int, Affine | None] = {}

    def value(self, expr: Expr, space: Space) -> Block:
        """Returns an expression over a space; its array may be boolean."""
        match expr:
            case Access():
                return self._read(expr, space)
            case Call(op=op, args=args):
                blocks = [self.value(a, space) for a in args]
                return Block(self.mapped(op, [b.values for b in blocks]), joined(*(b.parts for b in blocks)))
            case Num(value=value):
                return Block(np.asarray(value))
            case Extent():
                return Block(np.asarray(self.extents[expr.rank]))
            case Coord(rank=rank):
                return Block(space.coordinates[rank] if rank in space.coordinates else np.asarray(space.bound[rank]))

    def condition(self, expr: Expr, space: Space) -> Array:
        """Returns where a condition holds: it is true, and nothing that it reads is absent."""
        block = self.value(expr, space)
        holds = block.values if block.values.dtype == bool else np.not_equal(block.values, 0)
        for held in block.parts.values():
            holds = holds & held
        return holds

    def ranks_of(self, expr: Expr) -> frozenset[str]:
        """Returns the ranks whose coordinates an expression mentions."""
        found = self._ranks.get(id(expr))
        if found is None:
            found = self._ranks[id(expr)] = frozenset(coords(expr))
        return found

    def mapped(self, op: str, operands: Sequence[Array]) -> Array:
        """Returns a map, one of the cascade's own included, of arrays."""
        if op in self.users:
            return self.results(self.users[op], operands)[0]
        if MAPS[op].kind != "logic" and op != "where":
            # NumPy adds truth values as truth values.
            operands = [o.astype(float) if o.dtype == bool else o for o in operands]
        return np.asarray(function_of(op)(*operands))

    def results(self, operator: UserOperator, operands: Sequence[Array]) -> list[Array]:
        """Returns every result of a cascade's own operator on its operands, given flat."""
        named = dict(zip(parameters(operator), operands, strict=True))

        def body(expr: Expr) -> Array:
            match expr:
                case Access(tensor=name):
                    return named[name]
                case Call(op=op, args=args):
                    return self.mapped(op, [body(a) for a in args])
                case Num(value=value):
                    return np.asarray(value)
            raise TypeError(expr)

        return [body(b) for b in operator.bodies]

    # --- reads ---

    def _read(self, access: Access, space: Space) -> Block:
        tensor = self.tensors[access.tensor]
        shape = tensor.values.shape
        indices = [self._index(access, d, size, space) for d, size in enumerate(shape)]
        every = frozenset(range(len(shape)))
        values = _taken(tensor.values, indices, every, space)
        inside: Parts = {}
        parts: list[Parts] = []
        for index, expr in zip(indices, access.indices, strict=True):
            if isinstance(index, _Gather):
                parts.append(index.parts)
                if index.inside is not None:
                    inside = joined(inside, {self.ranks_of(expr): index.inside})
        own = {dimensions: _taken(part, indices, dimensions, space) for dimensions, part in tensor.parts.items()}
        if access.fill is None:
            parts += [inside, *({self._label(access, d): part} for d, part in own.items())]
        elif inside:
            within = np.logical_and.reduce(np.broadcast_arrays(*inside.values()))
            values = np.where(within, values, access.fill)
            parts += [{self._label(access, every): part | ~within} for part in own.values()]
        else:
            parts += [{self._label(access, every): part} for part in own.values()]
        return Block(values, joined(*parts))

    def _label(self, access: Access, dimensions: frozenset[int]) -> frozenset[str]:
        return frozenset().union(*(self.ranks_of(access.indices[d]) for d in dimensions))

    def _index(self, access: Access, dimension: int, size: int, space: Space) -> _Index:
        expr = access.indices[dimension]
        form = self._form(expr)
        if form is not None:
            constant = form.constant + sum(c * self.extents[r] for r, c in form.extents)
            free = []
            for rank, coefficient in form.coordinates:
                if rank in space.axes:
                    free.append((rank, coefficient))
                else:
                    constant += coefficient * space.bound[rank]
            if not free:
                if 0 <= constant < size:
                    return constant
                return _Gather(np.asarray(0), np.asarray(False), NO_PARTS)
            if len(free) == 1 and free[0][1] > 0:
                rank, step = free[0]
                low, high = space.ranges[rank]
                first, last = step * low + constant, step * (high - 1) + constant
                if first >= 0 and last < size and high > low:
                    return _Slice(slice(first, last + 1, step), rank)
        return self.whole(expr, size, space, access, dimension)

    def _form(self, expr: Expr) -> Affine | None:
        if id(expr) not in self._affine:
            self._affine[id(expr)] = affine(expr)
        return self._affine[id(expr)]

    def whole(self, expr: Expr, size: int, space: Space, access: Access, dimension: int) -> _Gather:
        """Returns an index expression as whole numbers within a dimension of the given size.

        Raises: ExecutionError where it is no whole number, or an input that indexes directly leaves the dimension.
        """
        block = self.value(expr, space)
        values = block.values
        where = f"tensor {access.tensor!r}, dimension {dimension + 1}"
        if values.dtype.kind == "f":
            rounded = np.rint(values)
            self._refuse(rounded != values, values, block.parts, space,
                         f"{where}: its index {expr_text(expr)} is no whole number",
                         "round it with floor(...) or give whole numbers")
            values = rounded
        inside = (values >= 0) & (values < size)
        if inside.all():
            return _Gather(values.astype(np.intp), None, block.parts)
        if isinstance(expr, Access) and expr.tensor in self.inputs and access.fill is None:
            self._refuse(~inside, values, block.parts, space,
                         f"tensor {expr.tensor!r}: it indexes dimension {dimension + 1} of {access.tensor!r}, which "
                         f"has {size} coordinates",
                         f"give numbers from 0 to {size - 1}, or read with a fill or a predicate such as "
                         f"'where {expr_text(expr)} >= 0'")
        return _Gather(np.where(inside, values, 0).astype(np.intp), inside, block.parts)

    def _refuse(self, bad: Array, values: Array, parts: Parts, space: Space, what: str, remedy: str) -> None:
        """Raises ExecutionError where a bad index is present and the predicate holds."""
        if not bad.any():
            return
        for held in (*parts.values(), *space.predicate.values()):
            bad = bad & held
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            shown = np.broadcast_to(values, bad.shape)[place]
            at = ", ".join(f"{rank}={space.ranges[rank][0] + place[axis]}" for rank, axis in space.axes.items()
                           if bad.ndim and bad.shape[axis] > 1)
            raise ExecutionError(f"{self.name}: {what}, got {shown:g}{' at ' + at if at else ''}; {remedy}")


def _taken(array: Array, indices: Sequence[_Index], live: frozenset[int], space: Space) -> Array:
    """Elements of an array at the indices of its ``live`` dimensions (of others the first), over the space."""
    basic = tuple(0 if d not in live else i if isinstance(i, int) else i.elements if isinstance(i, _Slice)
                  else slice(None) for d, i in enumerate(indices))
    array = array[basic]
    left = [i for d, i in enumerate(indices) if d in live and not isinstance(i, int)]
    named = [i.rank for i in left if isinstance(i, _Slice)]
    gathers = [i.at for i in left if isinstance(i, _Gather)]
    across = _across(gathers)
    if not gathers and len(set(named)) == len(named):
        return placed(np.asarray(array), [space.axes[r] for r in named], space)
    # A rank of several dimensions goes along a diagonal: all of its dimensions are gathered together.
    together: list[tuple[int, Array]] = []
    alone: list[tuple[int, str]] = []
    for d, index in enumerate(left):
        if isinstance(index, _Gather):
            together.append((d, index.at))
        elif space.axes[index.rank] in across or named.count(index.rank) > 1:
            line = np.arange(array.shape[d])
            together.append((d, space.along(line, index.rank)))
        else:
            alone.append((d, index.rank))
    axes = sorted(_across([at for _, at in together]))
    picked = tuple(at.reshape([at.shape[a] for a in axes]) if at.ndim else at for _, at in together)
    array = array.transpose([*(d for d, _ in together), *(d for d, _ in alone)])
    if 0 in array.shape[:len(together)]:
        # Nothing can be read of an empty dimension; what would have been read is absent or filled.
        sizes = [max(at.shape[axis] if at.ndim else 1 for _, at in together) for axis in axes]
        return placed(np.zeros([*sizes, *array.shape[len(together):]], array.dtype),
                       [*axes, *(space.axes[r] for _, r in alone)], space)
    return placed(np.asarray(array[picked]), [*axes, *(space.axes[r] for _, r in alone)], space)


def _across(arrays: Sequence[Array]) -> frozenset[int]:
    """The axes along which any of the arrays has more than one element."""
    return frozenset(axis for a in arrays for axis, size in enumerate(a.shape) if size != 1)


def placed(array: Array, axes: Sequence[int], space: Space) -> Array:
    """Returns an array whose dimensions lie along the given axes, with all axes of the space."""
    order = sorted(range(len(axes)), key=axes.__getitem__)
    shape = [1] * len(space.ranks)
    for axis, size in zip(axes, array.shape, strict=True):
        shape[axis] = size
    return array.transpose(order).reshape(shape)
