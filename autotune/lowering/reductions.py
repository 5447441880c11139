"""Reductions as instructions: contractions as dots where they can be, other sums and reductions along axes, prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.errors import LoweringError
from autotune.lowering import pads
from autotune.lowering.expressions import Expressions, unbounded
from autotune.lowering.nodes import Node, is_node
from autotune.lowering.support import exists
from autotune.lowering.values import Value
from einsum_cascades.ir import Access, Call, Expr
from einsum_cascades.operators import reduction_operator

SMALLEST_DOT = 16
"""Lanes that each axis of a dot needs."""

SIMPLE = frozenset(("sum", "max", "min", "prod", "any", "all", "count", "mean"))
"""Reductions that have source; a cascade's own ones have it too."""


@dataclass(frozen=True)
class DotShape:
    """Which factors of a product go to which side of a dot, over axis ``k``, into axes ``a`` and ``b``."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    rest: tuple[int, ...]
    a: str
    b: str
    k: str


def factors(expr: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Returns an expression as a product: what is multiplied, and what it is divided by."""
    match expr:
        case Call(op="mul", args=(left, right)):
            (a, b), (c, d) = factors(left), factors(right)
            return (*a, *c), (*b, *d)
        case Call(op="div", args=(left, right)):
            a, b = factors(left)
            return a, (*b, right)
    return (expr,), ()


def dot_shape(axes: Sequence[tuple[str, ...]], lost: Sequence[str], sizes: dict[str, int], order: Sequence[str]) -> DotShape | None:
    """Returns how a product of factors with these axes, summed over one axis, is a dot, or None."""
    if len(lost) != 1:
        return None
    k = lost[0]
    own = [n for n, a in enumerate(axes) if k in a]
    rest = tuple(n for n in range(len(axes)) if n not in own)
    sides: dict[str, list[int]] = {}
    free = []
    for n in own:
        others = [a for a in axes[n] if a != k]
        if len(others) > 1:
            return None
        if others:
            sides.setdefault(others[0], []).append(n)
        else:
            free.append(n)
    if len(sides) != 2:
        return None
    a, b = sorted(sides, key=list(order).index)
    if any(sizes[x] < SMALLEST_DOT for x in (a, b, k)):
        return None
    return DotShape((*sides[a], *free), tuple(sides[b]), rest, a, b, k)


class Reductions(Expressions):
    """Adds reductions. ``dot_type`` is the storage type that computed operands of a dot are cast to."""

    dot_type: str = "fp16"
    precision: str = "ieee"

    def lost_axes(self, ranks: Sequence[str], node: Node) -> tuple[str, ...]:
        """Returns the axes that a reduction over ranks removes.

        Raises: LoweringError where an axis holds other ranks too, or a rank of the grid is reduced.
        """
        found = []
        for axis in self.axes.values():
            own = [r for r in axis.ranks if r in ranks]
            if own and len(own) < len(axis.ranks):
                raise LoweringError(f"{self.name}: tensor {node.tensor!r}: it reduces {', '.join(own)} alone of the packed ranks "
                                    f"{', '.join(axis.ranks)}, got one axis; do not pack them")
            if own:
                found.append(axis.name)
        for rank in ranks:
            if self.roles[rank].kind == "grid":
                raise LoweringError(f"{self.name}: tensor {node.tensor!r}: it reduces rank {rank!r}, which is spread over programs, "
                                    f"got the role grid; give {rank!r} the role loop or tile, or store {node.tensor!r} between "
                                    f"two kernels")
        return tuple(found)

    def conditions_of(self, node: Node, ranks: Sequence[str]) -> tuple[Expr, ...]:
        """The conditions of a node's own, and that reduced coordinates exist."""
        return (*node.where, *(c for w in node.where for c in self.support.expression(w)), *(exists(r) for r in ranks))

    def node_values(self, node: Node) -> tuple[Value, ...]:
        """Returns the values of a node; over looped ranks only what this step adds."""
        lost = node.lost
        conditions = self.conditions_of(node, lost)
        if node.scan is not None:
            return self.prefixes(node, conditions)
        self.keep_masked(node)
        if not node.reduction:
            return tuple(self.attached(self.floating_or_whole(self.named(name[1:], b)), conditions)
                         for name, b in zip(node.outputs, node.bodies, strict=True))
        if node.reduction == "sum" and len(node.bodies) == 1:
            return (self.contracted(node, node.bodies[0], (*node.reduced, *node.inner), conditions),)
        if node.inner:
            summed = tuple(self.contracted(node, b, node.inner, conditions) for b in node.bodies)
        else:
            summed = tuple(self.attached(self.floating(self.value(b)), conditions) for b in node.bodies)
        return self.reduced(node, summed, self.lost_axes(node.reduced, node), node.reduced, conditions)

    def keep_masked(self, node: Node) -> None:
        """A reduction of a node's value masks it, once: whoever reads the value next reads the masked one.

        Only conditions of the value itself, which everybody has who reads it, not those that this reduction adds.
        """
        operator = reduction_operator(node.reduction, self.cascade)
        body = node.bodies[0]
        if len(node.bodies) > 1 or not isinstance(body, Access) or not is_node(body.tensor) or "@" in body.tensor or (
                operator is None or operator.combine is None):
            return
        value = self.node(body.tensor)
        lost = set(node.lost)
        own = [c for c in (*value.pads, *(exists(r) for r in node.lost)) if lost & self.support.ranks(c)]
        if value.is_integer or not set(node.lost) <= {r for a in value.axes for r in self.axes[a].ranks} | {
                r for r in node.lost if not any(r in a.ranks for a in self.axes.values())}:
            return
        masked = self.masked(self.attached(value, own), own, operator.identity[0])
        if masked.axes == value.axes:
            self.values[body.tensor] = masked

    def floating_or_whole(self, value: Value) -> Value:
        """A value as fp32, or as the whole number that it is."""
        return value if value.is_integer and value.type != "int1" else self.floating(value)

    # --- sums of products ---

    def contracted(self, node: Node, body: Expr, ranks: Sequence[str], conditions: Sequence[Expr]) -> Value:
        """Returns the sum of a product over ranks: a dot where its factors allow it."""
        lost = self.lost_axes(ranks, node)
        over, under = factors(body)
        kept = tuple(d for d in under if not self.support.ranks(d) & set(ranks) and not set(self.axes_of(d)) & set(lost))
        inside = tuple(d for d in under if d not in kept)
        values = [self.value(f) for f in over]
        values += [self.mapped("div", [self.number(1.0), self.value(d)]) for d in inside]
        shape = dot_shape([v.axes for v in values], lost, {n: a.size for n, a in self.axes.items()}, self.order)
        if inside or any(unbounded(v) for v in values):
            shape = None  # 0/0 is 0 in each term, not in each factor; and 0 times an infinite factor is
        if shape is None:
            product = self.floating(self.value(body if inside else _product(over)))
            (total,) = self.reduced(node, (self.attached(product, conditions),), lost, ranks, conditions)
        else:
            total = self.dotted(node, values, shape, conditions, frozenset(ranks))
        for divisor in kept if not inside else ():
            total = self.mapped("div", [total, self.value(divisor)])
        return total

    def axes_of(self, expr: Expr) -> tuple[str, ...]:
        """Returns the axes of an expression."""
        return self.value(expr).axes

    def dotted(self, node: Node, values: list[Value], shape: DotShape, conditions: Sequence[Expr],
               ranks: frozenset[str]) -> Value:
        values = [self.attached(v, ()) for v in values]
        every = self.open_conditions((*conditions, *(c for v in values for c in v.pads)))
        # A condition on any summed rank, looped ones included, decides which terms there are.
        sums = [c for c in every if self.support.ranks(c) & ranks]
        values = self.silenced(values, shape, sums)
        left, right = (self.product([values[n] for n in side]) for side in (shape.left, shape.right))
        left, right = self.same_type(left, right)
        oriented = [self.turned(left, (shape.a, shape.k)), self.turned(right, (shape.k, shape.b))]
        axes = (shape.a, shape.b)
        rest = [c for c in every if c not in sums]
        found = {c: pads.reduced("sum", self.term((left, right), c), 0.0) for c in rest}
        total = self.emit(node.name[1:], "dot", oriented, axes, "fp32", (self.precision,), pads=found)
        for n in shape.rest:
            total = self.mapped("mul", [total, values[n]])
        return total

    def term(self, values: Sequence[Value], condition: Expr) -> pads.Pad:
        """What a product's lanes hold where a condition fails."""
        result: pads.Pad = 1.0
        for value in values:
            result = pads.mapped("mul", (result, value.at(condition)))
        return result

    def silenced(self, values: list[Value], shape: DotShape, conditions: Sequence[Expr]) -> list[Value]:
        """The factors, with zeros where a condition on the summed axis fails so that the product is 0 there."""
        own = (*shape.left, *shape.right)
        wanted: dict[int, list[Expr]] = {n: [] for n in own}
        for condition in conditions:
            if self.term([values[n] for n in own], condition) == 0.0:
                continue
            # 0 * x is 0 for finite x alone: a factor that may be anything else is masked, and if none is, one that fits.
            bad = [n for n in own if pads.join((values[n].at(condition), 0.0)) in (pads.NUMBER, pads.ANY)]
            axes = set(self.axes_of_condition(condition))
            fits = [n for n in own if axes <= set(values[n].axes)] or [n for n in own if len(values[n].axes) == 2] or list(own)
            for n in bad or fits[:1]:
                wanted[n].append(condition)
        changed = list(values)
        for n, failing in wanted.items():
            if failing:
                changed[n] = self.masked(values[n], failing, 0.0)
            if not set(changed[n].axes) <= {shape.a if n in shape.left else shape.b, shape.k}:
                raise LoweringError(f"{self.name}: a condition of a contraction ties both of its factors together, got axes "
                                    f"{', '.join(changed[n].axes)}; write the product as an Einsum of its own first")
        return changed

    def axes_of_condition(self, condition: Expr) -> tuple[str, ...]:
        """Returns the axes that a condition varies along."""
        ranks = self.support.ranks(condition)
        return tuple(a.name for a in self.axes.values() if ranks & set(a.ranks))

    def product(self, values: Sequence[Value]) -> Value:
        """Returns the product of factors, as it is for one."""
        total = values[0]
        for value in values[1:]:
            total = self.mapped("mul", [total, value])
        return total

    def same_type(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Both operands of a dot in one type: a computed one takes its partner's, two computed ones the storage type."""
        small = {v.type for v in (left, right)} & {"fp16", "bf16"}
        target = small.pop() if len(small) == 1 else self.dot_type
        return self.cast(left, target), self.cast(right, target)

    def turned(self, value: Value, axes: tuple[str, str]) -> Value:
        """Returns an operand of a dot with its axes in this order."""
        if value.axes == axes:
            return value
        turned = self.emit(f"{value.text}_t", "trans", (value,), axes, value.type, pads=value.pads, real=value.real)
        return replace(turned, axes=axes)

    # --- other reductions ---

    def reduced(self, node: Node, values: Sequence[Value], lost: tuple[str, ...], ranks: Sequence[str],
                conditions: Sequence[Expr]) -> tuple[Value, ...]:
        """Returns values reduced along axes: lanes that do not count are the identity."""
        op = reduction_operator(node.reduction or "sum", self.cascade)
        assert op is not None
        if op.user is None and op.name not in SIMPLE:
            raise LoweringError(f"{self.name}: tensor {node.tensor!r}: reduction {op.name!r} has no source, got {op.name}; use one "
                                f"of {', '.join(sorted(SIMPLE))}, or a kernel before")
        if op.name in ("count", "mean"):
            raise LoweringError(f"{self.name}: tensor {node.tensor!r}: reduction {op.name!r} is of two parts, got {op.name}; write it as "
                                f"a sum over a sum")
        if op.name in ("any", "all"):
            values = tuple(self.emit("truth", "cast", (self.truth(v),), v.axes, "fp32", ("fp32",), pads=v.pads) for v in values)
        # A condition on reduced ranks decides which terms there are; others belong to the result.
        gone = set(ranks)
        own = [c for v in values for c in self.open_conditions((*v.pads, *conditions)) if self.support.ranks(c) & gone]
        masked = [self.masked(self.attached(v, own), own, identity) for v, identity in zip(values, op.identity, strict=True)]
        axes = self.sorted_axes(*(v.axes for v in masked), lost)
        wide = [v if not lost or v.axes == axes or set(lost) <= set(v.axes) and op.user is None else self.spread(v, axes)
                for v in masked]
        results = list(wide)
        for axis in lost:
            results = list(self.along(node, op.name, results, axis))
        return tuple(self.result(op.name, before, after, gone, identity)
                     for before, after, identity in zip(masked, results, op.identity, strict=True))

    def result(self, op: str, before: Value, after: Value, gone: set[str], identity: float) -> Value:
        found = {c: pads.reduced(op, p, identity) for c, p in before.pads.items() if not gone & self.support.ranks(c)}
        real = pads.NUMBER if op in ("max", "min") or unbounded(before) else pads.FINITE
        return replace(after, pads=found, real=real, constant=None,
                       infinite=op in ("max",) or before.infinite and op in ("sum", "min"))

    def spread(self, value: Value, axes: tuple[str, ...]) -> Value:
        """Returns a value with all of the axes."""
        if value.axes == axes:
            return value
        return self.emit(f"{value.text}_wide", "spread", (value,), axes, value.type, axes, pads=value.pads, real=value.real,
                         infinite=value.infinite)

    def along(self, node: Node, op: str, values: Sequence[Value], axis: str) -> tuple[Value, ...]:
        axes = tuple(a for a in values[0].axes if a != axis)
        place = str(values[0].axes.index(axis))
        stem = node.name[1:]
        if len(values) == 1 and op in ("sum", "max", "min", "any", "all", "prod"):
            return (self.emit(stem, "reduce", values, axes, values[0].type, (op, place)),)
        return self.several(node, "reduce_tuple", values, axes, (op, place))

    def several(self, node: Node, kind: str, values: Sequence[Value], axes: tuple[str, ...], detail: tuple[str, ...]) -> tuple[Value, ...]:
        """Emits an instruction with several results."""
        names = tuple(self.fresh(n[1:]) for n in node.outputs)
        first = self.emit(names[0] + "_all", kind, tuple(values), axes, "fp32", (*detail, *names))
        return tuple(Value(name, axes, "fp32", first.depth) for name in names)

    def combined(self, op: str, node: Node, left: Sequence[Value], right: Sequence[Value]) -> tuple[Value, ...]:
        """Returns two partial results combined, the earlier one first."""
        reduction = reduction_operator(op or "sum", self.cascade)
        assert reduction is not None
        if reduction.user is not None:
            from einsum_cascades.operators import inlined
            table: dict[str, Value] = {}
            args: list[Expr] = []
            for n, value in enumerate((*left, *right)):
                table[f".operand{n}"] = value
                args.append(Access(f".operand{n}", ()))
            self.values |= table
            return tuple(self.floating(self.value(b)) for b in inlined(reduction.user, tuple(args)))
        name = {"sum": "add", "prod": "mul", "any": "max", "all": "min"}.get(op or "sum", op)
        return (self.mapped(name, [left[0], right[0]], None, left[0].text + "_next"),)

    # --- prefixes ---

    def prefixes(self, node: Node, conditions: Sequence[Expr]) -> tuple[Value, ...]:
        """Returns the reductions over all coordinates up to each one of the scanned rank, within the tile."""
        assert node.scan is not None
        rank = node.scan
        op = reduction_operator(node.reduction or "sum", self.cascade)
        assert op is not None
        role = self.roles[rank]
        if role.kind == "grid":
            raise LoweringError(f"{self.name}: tensor {node.tensor!r}: it scans rank {rank!r}, which is spread over programs, got the "
                                f"role grid; give {rank!r} the role tile or loop")
        values = [self.attached(self.floating(self.value(b)), conditions) for b in node.bodies]
        own = [c for v in values for c in v.pads if rank in self.support.ranks(c)]
        masked = [self.masked(self.attached(v, own), own, identity) for v, identity in zip(values, op.identity, strict=True)]
        axis = next((a for a in self.axes.values() if rank in a.ranks), None)
        if axis is None:
            return tuple(replace(m, pads={c: p for c, p in m.pads.items() if rank not in self.support.ranks(c)}) for m in masked)
        if axis.ranks != (rank,):
            raise LoweringError(f"{self.name}: tensor {node.tensor!r}: it scans rank {rank!r} of packed ranks "
                                f"{', '.join(axis.ranks)}, got one axis; do not pack them")
        axes = self.sorted_axes(*(v.axes for v in masked), (axis.name,))
        wide = [self.spread(v, axes) for v in masked]
        place = str(axes.index(axis.name))
        if len(wide) == 1:
            results: tuple[Value, ...] = (self.emit(node.name[1:], "scan", wide, axes, "fp32", (op.name, place)),)
        else:
            results = self.several(node, "scan_tuple", wide, axes, (op.name, place))
        return tuple(replace(r, pads={c: pads.reduced(op.name, p, i) for c, p in m.pads.items() if rank not in self.support.ranks(c)}
                             | {c: pads.ANY if op.user else pads.FINITE for c in own if c == exists(rank)})
                     for r, m, i in zip(results, masked, op.identity, strict=True))


def _product(parts: Sequence[Expr]) -> Expr:
    total = parts[0]
    for part in parts[1:]:
        total = Call("mul", (total, part))
    return total
