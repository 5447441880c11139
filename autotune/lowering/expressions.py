"""Expressions of a cascade as instructions on tiles: coordinates, extents, loads with their masks, maps with safe rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from autotune.config import Role
from autotune.errors import LoweringError
from autotune.lowering import pads
from autotune.lowering.nodes import LAST, PREVIOUS, Node, is_node, split
from autotune.lowering.pads import Pad
from autotune.lowering.parameters import Parameters
from autotune.lowering.support import Support, inside, is_existence, nonnegative
from autotune.lowering.tile import Axis
from autotune.lowering.values import Emitter, Value
from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Expr, Extent, Num
from einsum_cascades.operators import MAPS, inlined
from einsum_cascades.structure import Structure

_INTEGER_MAPS = frozenset(("add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "abs", "lt", "le", "gt", "ge", "eq",
                           "ne", "and", "or", "not", "clamp", "where"))
_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
UNARY = frozenset(("neg", "exp", "exp2", "log", "log2", "log1p", "expm1", "sqrt", "rsqrt", "square", "abs", "sign", "floor",
                   "ceil", "round", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "mish", "relu", "softplus", "elu",
                   "hard_sigmoid", "hard_swish", "erf", "sin", "cos"))
"""Maps of one operand that have source (see functions.py)."""
_NEVER_INFINITE = frozenset(("exp", "exp2", "sigmoid", "tanh", "erf", "sin", "cos", "square", "sqrt", "relu", "softplus"))


_KEEPS_INFINITY = frozenset(("add", "sub", "mul", "max", "min", "neg", "abs", "where", "relu", "clamp"))


def unbounded(value: Value) -> bool:
    """Returns whether a lane that counts may be infinite, other than as an input is."""
    return value.real == pads.NUMBER or isinstance(value.real, float) and math.isinf(value.real)


class Expressions(Emitter):
    """Evaluates expressions. ``values`` are those of nodes by name (``@previous`` and ``@last`` of states too);
    ``assumed`` are conditions that hold in all lanes of the part of a loop that is being built."""

    def __init__(self, name: str, axes: Sequence[Axis], cascade: Cascade, found: Structure, support: Support,
                 parameters: Parameters, roles: Mapping[str, Role], extents: Mapping[str, int], copies: Mapping[str, str],
                 storage: Callable[[str], str], instances: tuple[str, ...]) -> None:
        super().__init__(name, axes)
        self.cascade, self.structure, self.support = cascade, found, support
        self.parameters, self.roles, self.extents, self.copies = parameters, roles, extents, copies
        self.storage, self.instances = storage, instances
        self.users = {operator.name: operator for operator in cascade.operators}
        self.coordinates: dict[str, Value] = {}
        self.corners: dict[str, tuple[Value, int]] = {}
        self.values: dict[str, Value] = {}
        self.assumed: frozenset[Expr] = frozenset()
        self.stem: str | None = None

    # --- extents and conditions ---

    def original(self, rank: str) -> str:
        """Returns the rank of the cascade that a renamed rank is a copy of."""
        return self.copies.get(rank, rank)

    def runtime(self, rank: str) -> bool:
        """Returns whether a rank's extent is given at run time: it, or a part of it, is in the grid or looped."""
        rank = self.original(rank)
        own = self.roles.get(rank)
        if own is not None:
            return own.kind != "tile"
        parts = self.structure.composites.get(rank, ())
        return any(self.runtime(p) for p in parts)

    def extent(self, rank: str) -> Value:
        """Returns an extent: a constant where it is one of the kernel."""
        rank = self.original(rank)
        if self.runtime(rank):
            return Value(self.parameters.extent(rank), (), "int32")
        if rank not in self.extents:
            raise LoweringError(f"{self.name}: rank {rank!r} has no extent, got none; give one")
        return replace(self.number(self.extents[rank], "int32"), text=self.parameters.constant(rank, self.extents[rank]))

    def length(self, name: str) -> Value:
        """Returns what an extent's name stands for: of a rank, or of a dimension that nothing names (``@T@d``)."""
        if name.startswith("@"):
            _, tensor, dimension = name.split("@")
            return Value(self.parameters.size(tensor, int(dimension) + len(self.instances)), (), "int32")
        return self.extent(name.lower())

    def exact(self, condition: Expr) -> bool:
        """Returns whether a coordinate exists in every lane of its axis."""
        if not is_existence(condition):
            return False
        assert isinstance(condition, Call)
        first = condition.args[0]
        assert isinstance(first, Coord)
        axis = next((a for a in self.axes.values() if first.rank in a.ranks), None)
        if axis is None:
            return True
        role = self.roles[first.rank]
        return role.kind == "tile" and axis.blocks[axis.ranks.index(first.rank)] == self.extents[self.original(first.rank)]

    def open_conditions(self, conditions: Iterable[Expr]) -> tuple[Expr, ...]:
        """Returns the conditions that may fail somewhere."""
        return tuple(c for c in dict.fromkeys(conditions) if c not in self.assumed and not self.exact(c))

    def mask(self, conditions: Iterable[Expr]) -> Value | None:
        """Returns where all conditions hold; None where they always do."""
        found: Value | None = None
        for condition in self.open_conditions(conditions):
            value = self.truth(self.value(condition))
            found = value if found is None else self.emit("mask", "and", (found, value), None, "int1")
        return found

    def truth(self, value: Value) -> Value:
        """Returns a value as a truth value: not 0."""
        if value.type == "int1":
            return value
        return self.emit("c", "ne", (value, self.number(0, value.type)), value.axes, "int1")

    def attached(self, value: Value, conditions: Iterable[Expr]) -> Value:
        """Returns a value that counts only where conditions hold as well."""
        known = pads.join((value.real, *value.pads.values()))
        more = {c: known for c in self.open_conditions(conditions) if c not in value.pads}
        return replace(value, pads={**value.pads, **more})

    def masked(self, value: Value, conditions: Sequence[Expr], other: float) -> Value:
        """Returns a value with ``other`` in lanes where any of the conditions fails."""
        wrong = [c for c in self.open_conditions(conditions) if value.at(c) != other]
        mask = self.mask(wrong)
        if mask is None:
            return value
        changed = {c: pads.join((value.at(c), other)) for c in value.pads} | dict.fromkeys(wrong, other)
        return self.emit(f"{value.text}_masked", "where", (mask, value, self.number(other, value.type)), None, value.type,
                         pads=changed, real=value.real, infinite=value.infinite)

    # --- expressions ---

    def value(self, expr: Expr) -> Value:
        """Returns an expression as a value."""
        match expr:
            case Num(value=number):
                whole = number == int(number) if math.isfinite(number) else False
                return self.number(number, "int32" if whole and abs(number) < 2**31 else "fp32")
            case Coord(rank=rank):
                return self.coordinates[rank]
            case Extent(name=name):
                return self.length(name)
            case Access(tensor=name):
                return self.node(name) if is_node(name) else self.load(expr)
            case Call(op=op, args=args):
                if op in self.users:
                    return self.value(inlined(self.users[op], args)[0])
                stem, self.stem = self.stem, None
                if op == "sub":
                    return self.difference(expr, stem)
                return self.mapped(op, [self.value(a) for a in args], expr, stem)

    def named(self, name: str, expr: Expr) -> Value:
        """Returns an expression whose last result is called by a node's name."""
        self.stem = name
        found = self.value(expr)
        self.stem = None
        return found

    def node(self, name: str) -> Value:
        """Returns a node's value; conditions that hold now need no lanes."""
        value = self.values[name]
        return replace(value, pads={c: p for c, p in value.pads.items() if c not in self.assumed})

    def floating(self, value: Value) -> Value:
        """Returns a value as fp32."""
        return self.cast(value, "fp32")

    def mapped(self, op: str, args: Sequence[Value], expr: Expr | None = None, stem: str | None = None) -> Value:
        """Returns a map of values.

        Raises: LoweringError for a map that has no source.
        """
        if all(a.is_integer for a in args) and op in _INTEGER_MAPS:
            return self.whole(op, list(args), expr)
        kind = MAPS[op].kind
        if kind == "logic":
            args = [self.truth(a) for a in args]
        elif op == "where":
            args = [self.truth(args[0]), *(self.floating(a) for a in args[1:])]
        else:
            args = [self.floating(a) for a in args]
        if op == "clamp":
            return self.mapped("min", [self.mapped("max", [args[0], args[1]]), args[2]])
        if op == "leaky_relu":
            positive = self.mapped("gt", [args[0], self.number(0.0)])
            return self.mapped("where", [positive, args[0], self.mapped("mul", [args[1], args[0]])])
        found, infinite = self.facts(op, args)
        if all(a.constant is not None for a in args) and op not in _COMPARISONS and kind == "value":
            return self.number(float(MAPS[op].function(*(a.constant for a in args))))
        real = pads.NUMBER if op in ("log", "log2") or op in _KEEPS_INFINITY and any(unbounded(a) for a in args) else pads.FINITE
        if op == "mul" and any(unbounded(a) for a in args) and not any(a.constant not in (None, 0.0) for a in args):
            # 0 * x is 0, also where x is infinite.
            found = {c: p if p != 0.0 or all(isinstance(a.at(c), float) or a.at(c) == pads.FINITE for a in args) else pads.ANY
                     for c, p in found.items()}
            return self.emit(stem or _stem(expr, op), "safe_mul", args, None, pads=found, infinite=True, real=real)
        if op in ("add", "sub", "mul", "max", "min", "where", *_COMPARISONS) or kind == "logic":
            made = self.emit(stem or _stem(expr, op), op, args, None, "int1" if kind != "value" else "fp32", pads=found, infinite=infinite,
                             real=real)
            # Triton's interpreter makes numbers of comparisons of numbers, which cannot be combined with other conditions.
            return self.emit("c", "holds", (made,), made.axes, "int1", pads=found) if op in _COMPARISONS else made
        if op == "div":
            safe = args[1].constant not in (None, 0.0)
            return self.emit(stem or _stem(expr, op), "div" if safe else "safe_div", args, None, pads=found, infinite=infinite)
        if op in UNARY:
            return self.emit(stem or _stem(expr, op), op, args, None, pads=found, infinite=infinite, real=real)
        raise LoweringError(f"{self.name}: map {op!r} has no source, got {op}; write it with "
                            f"{', '.join(sorted(UNARY)[:8])}, ..., + - * /")

    def facts(self, op: str, args: Sequence[Value]) -> tuple[dict[Expr, Pad], bool]:
        """What is known of the lanes of a map's result."""
        conditions = dict.fromkeys(c for a in args for c in a.pads)
        found = {c: pads.mapped(op, tuple(a.at(c) for a in args)) for c in conditions}
        infinite = op not in _NEVER_INFINITE and (
            op in ("log", "log2") or any(a.infinite for a in args) and op in ("add", "sub", "max", "min", "where", "neg", "abs"))
        return found, infinite

    def difference(self, expr: Call, stem: str | None = None) -> Value:
        """Returns a - b, where -inf - b is -inf for any b."""
        a, b = self.value(expr.args[0]), self.value(expr.args[1])
        if a.is_integer and b.is_integer:
            return self.whole("sub", [a, b], expr)
        a, b = self.floating(a), self.floating(b)
        lowest = a.infinite or a.real == -math.inf or any(p == -math.inf or isinstance(p, str) and p != pads.FINITE
                                                         for p in a.pads.values())
        if not (b.infinite and lowest):
            return self.mapped("sub", [a, b], expr, stem)
        found, infinite = self.facts("sub", (a, b))
        real = pads.NUMBER if unbounded(a) else pads.FINITE
        if self.bounded(expr.args[0], expr.args[1]):
            # The minuend is at most the subtrahend: where that is -inf, so is the minuend, and nothing is to subtract.
            shift = self.emit(f"{b.text}_finite", "finite", (b,), b.axes, pads=b.pads, real=b.real)
            return self.emit(stem or _stem(expr, "sub"), "sub", (a, shift), None, pads=found, infinite=infinite, real=real)
        return self.emit(stem or _stem(expr, "sub"), "safe_sub", (a, b), None, pads=found, infinite=infinite, real=real)

    def bounded(self, low: Expr, high: Expr) -> bool:
        """Returns whether a node's value is at most another's, whatever the inputs: a maximum over it, or of it."""
        if not isinstance(low, Access) or not isinstance(high, Access) or not is_node(low.tensor) or not is_node(high.tensor):
            return False
        return low.tensor in self.dominated(high.tensor, 4)

    def dominated(self, name: str, deep: int) -> frozenset[str]:
        """Names of values that a node's value is at least: what it is the maximum of."""
        value, how = split(name)
        if deep == 0 or how:
            return frozenset()
        node = self.support.owner[value]
        return self.above_of(node, deep)

    def above_of(self, node: Node, deep: int) -> frozenset[str]:
        found: set[str] = set()
        stack = [node.bodies[0]]
        if node.reduction not in ("", "max") or node.where or len(node.bodies) > 1:
            return frozenset()
        while stack:
            match stack.pop():
                case Call(op="max", args=args):
                    stack += args
                case Access(tensor=name) if is_node(name):
                    found |= {name, *self.dominated(name, deep - 1)}
        return frozenset(found)

    def whole(self, op: str, args: list[Value], expr: Expr | None) -> Value:
        """Returns a map of integers."""
        if op == "clamp":
            return self.whole("min", [self.whole("max", args[:2], None), args[2]], None)
        if op == "where":
            return self.emit("at", "where", (self.truth(args[0]), *args[1:]), None, "int32")
        if op in ("and", "or", "not"):
            args = [self.truth(a) for a in args]
        if op in ("floordiv", "mod") and not (isinstance(expr, Call) and nonnegative(expr.args[0])) and not all(
                a.constant is not None for a in args):
            return self.emit("at", f"floor_{op}", args, None, "int32")
        made = composite(expr) if expr is not None else None
        found = self.integer(op, *args, stem=made.name if made is not None and made.name is not None else "at")
        conditions = dict.fromkeys(c for a in args for c in a.pads)
        return replace(found, pads=dict.fromkeys(conditions, pads.FINITE)) if conditions else found

    # --- memory ---

    def load(self, access: Access) -> Value:
        """Returns what a read of a stored tensor gives; lanes outside hold 0, or the fill."""
        conditions = inside(access, self.structure)
        indices = [self.value(i) for i in access.indices]
        nested = tuple(c for i in indices for c in i.pads)
        dtype = self.storage(access.tensor)
        checks = self.open_conditions((*conditions, *nested))
        mask = self.mask(checks)
        base = self.base(access.tensor)
        strides = self.strides(access.tensor)
        other = access.fill if access.fill is not None else 0.0
        axes = self.sorted_axes(*(i.axes for i in indices))
        if mask is not None:
            axes = self.sorted_axes(axes, mask.axes)
        type_ = {"bool": "int1", "int64": "int32"}.get(dtype, dtype)
        present = checks if access.fill is None else tuple(c for c in checks if is_existence(c))
        operands = (base, *indices, *((mask, self.number(other, type_)) if mask is not None else ()))
        wide = "".join("w" if self.wide(i) else "n" for i in access.indices)
        return self.emit(access.tensor, "load", operands, axes, type_,
                         (access.tensor, wide, dtype, *strides), pads=dict.fromkeys(present, other),
                         infinite=type_ in ("fp32", "bf16", "fp16"))

    def wide(self, index: Expr) -> bool:
        """Returns whether an index may be so large that its offset needs 64 bits."""
        match index:
            case Coord(rank=rank):
                return self.runtime(rank)
            case Num():
                return False
        return True

    def base(self, tensor: str) -> Value:
        """Returns a tensor's pointer at this program's instance."""
        pointer = Value(self.parameters.pointer(tensor, self.storage(tensor)), (), "pointer")
        if not self.instances:
            return pointer
        strides = tuple(self.parameters.stride(tensor, d, instance) for d, instance in enumerate(self.instances))
        operands = (pointer, *(self.coordinates["@" + instance] for instance in self.instances))
        return self.emit(f"{tensor}_base", "base", operands, (), "pointer", strides)

    def strides(self, tensor: str) -> tuple[str, ...]:
        """Returns the names of a tensor's strides, instances left out."""
        names = self.structure.dimensions[tensor]
        return tuple(self.parameters.stride(tensor, d + len(self.instances), f"{d}" if name is None or names.count(name) > 1
                                            else name) for d, name in enumerate(names))


def _stem(expr: Expr | None, op: str) -> str:
    """A readable name of an intermediate result."""
    match expr:
        case Call(args=(Access(tensor=name), *_)) if is_node(name):
            return f"{split(name)[0][1:]}_{op}"
    return op


__all__ = ["LAST", "PREVIOUS", "UNARY", "Expressions"]
