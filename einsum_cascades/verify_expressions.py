"""Checks of single expressions: names, operators, numbers of operands, whole indices, depth."""

from __future__ import annotations

import math
import re
from typing import NoReturn

from einsum_cascades.errors import NotationError, suggest
from einsum_cascades.expressions import RESERVED
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Span, children, walk
from einsum_cascades.operators import MAPS, POPULATES, REDUCTIONS, map_operator, parameters

DEEPEST_EXPRESSION = 100
"""Levels that an expression may have; a sum of n terms has n."""

_TENSOR = re.compile(r"^[A-Z][A-Za-z0-9_]*$")
RANK_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
OPERATOR_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
_ROUNDING = frozenset(("floor", "ceil", "round"))


class ExpressionCheck:
    """Checks expressions of one cascade; every check raises NotationError at the place of the thing."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade

    def fail(self, message: str, span: Span | None) -> NoReturn:
        raise NotationError(message, source=self.cascade.name, line=span.line if span else None,
                            column=span.column if span else None)

    def expressions(self, einsum: Einsum) -> None:
        if not einsum.outputs or len(einsum.outputs) != len(einsum.bodies):
            self.fail(f"line: the two sides differ in their number of values, got {len(einsum.outputs)} on the left and "
                      f"{len(einsum.bodies)} on the right; give one value for each tensor", einsum.span)
        for expr in (*einsum.outputs, *einsum.bodies, *((einsum.where,) if einsum.where is not None else ())):
            self.depth(expr)
            for node in walk(expr):
                self.node(node, einsum)

    def depth(self, expr: Expr) -> None:
        level: tuple[Expr, ...] = (expr,)
        for _ in range(DEEPEST_EXPRESSION):
            level = tuple(child for node in level for child in children(node))
            if not level:
                return
        self.fail(f"expression: nested too deeply, got more than {DEEPEST_EXPRESSION} levels; give a part of it a line of "
                  f"its own", getattr(expr, "span", None))

    def node(self, node: Expr, einsum: Einsum | None) -> None:
        match node:
            case Num(value=value):
                if math.isnan(value):
                    self.fail("number: it is not a number, got nan; write a literal or inf", node.span)
            case Coord(rank=rank):
                self.rank_name(rank, node.span)
            case Extent(name=name):
                if not _TENSOR.match(name):
                    self.fail(f"extent {name!r}: names of extents begin with a capital letter, got {name!r}; write "
                              f"{name.upper()!r}", node.span)
            case Access(tensor=tensor, indices=indices, fill=fill):
                if not _TENSOR.match(tensor):
                    self.fail(f"tensor {tensor!r}: names of tensors begin with a capital letter, got {tensor!r}; use ASCII "
                              f"letters, digits and _", node.span)
                if fill is not None and math.isnan(fill):
                    self.fail(f"tensor {tensor!r}: its fill is not a number, got nan; write a literal or inf", node.span)
                for index in indices:
                    self.index(index, tensor, node.span)
            case Call(op=op, args=args):
                self.call(op, args, node.span)

    def rank_name(self, rank: str, span: Span | None) -> None:
        if not RANK_NAME.match(rank) or rank in RESERVED:
            self.fail(f"rank {rank!r}: names of ranks are in lower case, got {rank!r}; write "
                      f"{(rank.lower().lstrip('_') or 'r')!r}" if rank not in RESERVED else
                      f"rank {rank!r}: the word has another meaning, got {rank!r}; choose another name", span)

    def call(self, op: str, args: tuple[Expr, ...], span: Span | None) -> None:
        found = map_operator(op, self.cascade)
        if found is None:
            users = {o.name: o for o in self.cascade.operators}
            if op in users:
                self.fail(f"operator {op!r}: it gives {len(users[op].bodies)} values, got it where one is wanted; put it at "
                          f"the head of the right side, with {len(users[op].bodies)} tensors on the left", span)
            if op in REDUCTIONS or op in POPULATES:
                self.fail(f"operator {op!r}: it is a reduction, got it as a map; write '{op}[rank] ...' at the head of the "
                          f"right side", span)
            valid = [name for name, m in MAPS.items() if m.symbol is None] + list(users)
            self.fail(f"operator {op!r}: there is none of that name, got {op!r}; {suggest(op, valid)}", span)
        elif len(args) != found.arity:
            names = ", ".join("abcdefgh"[:found.arity]) if found.user is None else ", ".join(parameters(found.user))
            self.fail(f"operator {op!r}: it takes {found.arity} operand{'s' if found.arity != 1 else ''}, got {len(args)}; "
                      f"write {op}({names}){f' or {op}[rank] ...' if op in REDUCTIONS else ''}", span)

    def index(self, index: Expr, tensor: str, span: Span | None) -> None:
        match index:
            case Num(value=value) if not math.isfinite(value) or value != int(value):
                self.fail(f"tensor {tensor!r}: an index is a whole number, got {value:g}; use floor(...) or another index",
                          index.span or span)
            case Call(op=op) if op in _ROUNDING:
                return
            case Call(op=op) if op in MAPS and MAPS[op].kind == "value" and not MAPS[op].integral and op != "where":
                use = "//" if op == "div" else f"floor({op}(...))"
                self.fail(f"tensor {tensor!r}: an index is a whole number, got {op!r} in it; write {use}",
                          index.span or span)
            case Call(args=args):
                for argument in args:
                    self.index(argument, tensor, span)
