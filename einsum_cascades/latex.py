"""A cascade as LaTeX: one aligned line for each Einsum, sums written out."""

from __future__ import annotations

import math
import re

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, UserOperator

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _PREFIX, _OPERAND = range(8)
_INFIX = {
    "or": (r"\lor", _OR), "and": (r"\land", _AND), "lt": ("<", _COMPARISON), "le": (r"\leq", _COMPARISON),
    "gt": (">", _COMPARISON), "ge": (r"\geq", _COMPARISON), "eq": ("=", _COMPARISON), "ne": (r"\neq", _COMPARISON),
    "add": ("+", _SUM), "sub": ("-", _SUM), "mul": (r"\cdot", _PRODUCT), "mod": (r"\bmod", _PRODUCT),
}
_FUNCTIONS = {"max": r"\max", "min": r"\min", "exp": r"\exp", "log": r"\log", "sin": r"\sin", "cos": r"\cos",
              "tanh": r"\tanh", "sigmoid": r"\sigma"}
_REDUCTIONS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min", "any": r"\bigvee", "all": r"\bigwedge"}


def to_latex(cascade: Cascade) -> str:
    """Returns the cascade as an ``align*`` environment (package amsmath): operators, seeds, Einsums in text order.

    Names are set upright; a rank's parts become subscripts of it (``m0`` is set as m with subscript 0).
    """
    lines = [_operator(operator) for operator in cascade.operators]
    lines += [_einsum(seed) for seed in cascade.inits]
    lines += [_einsum(einsum) for einsum in cascade.einsums]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}\n"


def expr_latex(expr: Expr) -> str:
    """Returns an expression as LaTeX in math mode."""
    return _expr(expr, _OR)


def _einsum(einsum: Einsum) -> str:
    left = _tuple([_access(out) for out in einsum.outputs])
    body = _tuple([_expr(part, _SUM + 1 if _reduces(einsum) else _OR) for part in einsum.bodies])
    heads = []
    if einsum.reduction is not None:
        head = einsum.reduction
        name = _REDUCTIONS.get(head.op, rf"\operatorname*{{{_escaped(head.op)}}}")
        into = rf" \to {', '.join(map(_rank, head.into))}" if head.into else ""
        heads.append(rf"{name}_{{{', '.join(map(_rank, head.ranks))}{into}}}")
    if einsum.summed_ranks:
        heads.append(rf"\sum_{{{', '.join(map(_rank, einsum.summed_ranks))}}}")
    where = rf" \quad \text{{where }} {_expr(einsum.where, _OR)}" if einsum.where is not None else ""
    return f"{left} &= {' '.join((*heads, body))}{where}"


def _reduces(einsum: Einsum) -> bool:
    return (einsum.reduction is not None or bool(einsum.summed_ranks)) and len(einsum.bodies) == 1


def _operator(operator: UserOperator) -> str:
    operands = "; ".join(", ".join(_rank(p) for p in operand) for operand in operator.operands)
    return rf"\operatorname{{{_escaped(operator.name)}}}({operands}) &= {_tuple([_expr(b, _OR) for b in operator.bodies])}"


def _tuple(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else rf"\left({', '.join(parts)}\right)"


def _expr(expr: Expr, level: int) -> str:
    match expr:
        case Num(value=value):
            return _number(value, level)
        case Coord(rank=rank):
            return _rank(rank)
        case Extent(name=name):
            return _rank(name)
        case Access(tensor=tensor, indices=()) if tensor[0].islower():
            # A parameter of an operator.
            return _rank(tensor)
        case Access():
            return _access(expr)
        case Call(op=op, args=(left, right)) if op in _INFIX:
            symbol, own = _INFIX[op]
            text = f"{_expr(left, own + 1 if own == _COMPARISON else own)} {symbol} {_expr(right, own + 1)}"
            return rf"\left({text}\right)" if own < level else text
        case Call(op="not", args=(inner,)):
            text = rf"\lnot {_expr(inner, _PREFIX)}"
            return rf"\left({text}\right)" if level > _NOT else text
        case Call(op="neg", args=(inner,)):
            text = f"-{_expr(inner, _PREFIX)}"
            return rf"\left({text}\right)" if level > _SUM else text
        case Call(op=op, args=args):
            return _function(op, args)


def _function(op: str, args: tuple[Expr, ...]) -> str:
    inside = [_expr(a, _OR) for a in args]
    match op:
        case "div":
            return rf"\frac{{{inside[0]}}}{{{inside[1]}}}"
        case "floordiv":
            return rf"\left\lfloor \frac{{{inside[0]}}}{{{inside[1]}}} \right\rfloor"
        case "floor":
            return rf"\left\lfloor {inside[0]} \right\rfloor"
        case "ceil":
            return rf"\left\lceil {inside[0]} \right\rceil"
        case "abs":
            return rf"\left| {inside[0]} \right|"
        case "sqrt":
            return rf"\sqrt{{{inside[0]}}}"
        case "rsqrt":
            return rf"\frac{{1}}{{\sqrt{{{inside[0]}}}}}"
        case "square":
            return rf"{{{_expr(args[0], _OPERAND)}}}^{{2}}"
        case "exp2":
            return rf"2^{{{inside[0]}}}"
        case "pow":
            return rf"{{{_expr(args[0], _OPERAND)}}}^{{{inside[1]}}}"
        case "where":
            return (rf"\begin{{cases}} {inside[1]} & \text{{if }} {inside[0]} \\ {inside[2]} & \text{{otherwise}} "
                    r"\end{cases}")
    name = _FUNCTIONS.get(op, rf"\operatorname{{{_escaped(op)}}}")
    return rf"{name}\left({', '.join(inside)}\right)"


def _access(access: Access) -> str:
    if not access.indices:
        return _word(access.tensor)
    fill = rf"; {_number(access.fill, _OR)}" if access.fill is not None else ""
    return rf"{_word(access.tensor)}_{{{', '.join(_expr(i, _OR) for i in access.indices)}{fill}}}"


def _word(name: str) -> str:
    return name if len(name) == 1 else rf"\mathit{{{_escaped(name)}}}"


def _rank(name: str) -> str:
    parts = re.fullmatch(r"([A-Za-z])_?(\d+)", name)
    return rf"{parts.group(1)}_{{{parts.group(2)}}}" if parts else _word(name)


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def _number(value: float, level: int) -> str:
    if math.isinf(value):
        text = r"\infty" if value > 0 else r"-\infty"
    elif value == int(value) and abs(value) < 1e16:
        text = str(int(value))
    else:
        mantissa, _, exponent = repr(value).partition("e")
        text = rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa
    bound = _SUM if value < 0 else _PRODUCT if r"\times" in text else _OPERAND
    return rf"\left({text}\right)" if level > bound else text
