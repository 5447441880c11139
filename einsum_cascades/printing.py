"""The printer of the notation: a cascade into text that parses back to the same cascade."""

from __future__ import annotations

import math

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, UserOperator

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _PREFIX, _OPERAND = range(8)
_INFIX: dict[str, tuple[str, int]] = {
    "or": ("or", _OR), "and": ("and", _AND),
    "lt": ("<", _COMPARISON), "le": ("<=", _COMPARISON), "gt": (">", _COMPARISON), "ge": (">=", _COMPARISON),
    "eq": ("==", _COMPARISON), "ne": ("!=", _COMPARISON), "add": ("+", _SUM), "sub": ("-", _SUM),
    "mul": ("*", _PRODUCT), "div": ("/", _PRODUCT), "floordiv": ("//", _PRODUCT), "mod": ("%", _PRODUCT),
}


def to_text(cascade: Cascade) -> str:
    """Returns the cascade as text, one line each: declarations, operators, seeds, Einsums, outputs.

    ``parse(to_text(cascade)) == cascade``.
    """
    lines = declarations(cascade)
    lines += [operator_text(operator) for operator in cascade.operators]
    lines += [f"init {einsum_text(seed)}" for seed in cascade.inits]
    lines += [einsum_text(einsum) for einsum in cascade.einsums]
    if cascade.declared_outputs:
        lines.append(f"output {', '.join(cascade.declared_outputs)}")
    return "\n".join(lines) + "\n"


def declarations(cascade: Cascade) -> list[str]:
    """Returns the lines that declare device ranks, extents and precisions."""
    lines = [f"device {', '.join(cascade.devices)}"] if cascade.devices else []
    lines += [f"extent {rank.upper()} {size}" for rank, size in cascade.extents]
    lines += [f"dtype {tensor} {kind}" for tensor, kind in cascade.dtypes]
    return lines


def einsum_text(einsum: Einsum) -> str:
    """Returns one Einsum as a line of text, without ``init``."""
    left = _tuple([_access(out) for out in einsum.outputs])
    body = _tuple([expr_text(part) for part in einsum.bodies])
    if einsum.reduction is not None:
        if einsum.reduction.into and len(einsum.bodies) == 1:
            body = f"({body})"
        body = f"{_reduction(einsum.reduction)}{'' if einsum.reduction.into else ' '}{body}"
    predicate = f" where {expr_text(einsum.where)}" if einsum.where is not None else ""
    return f"{left} = {body}{predicate}"


def expr_text(expr: Expr) -> str:
    """Returns an expression as text, with no more brackets than it needs."""
    return _expr(expr, _OR)


def operator_text(operator: UserOperator) -> str:
    """Returns a cascade's own operator as a line of text."""
    operands = "; ".join(", ".join(operand) for operand in operator.operands)
    parts = [f"op {operator.name}({operands}) = {_tuple([_parameters(body, operator) for body in operator.bodies])}"]
    if operator.identity is not None:
        parts.append("identity " + _tuple([_number(v) for v in operator.identity]))
    parts += sorted(operator.properties)
    if operator.cost_class is not None:
        parts.append(f"cost {operator.cost_class}")
    return " ".join(parts)


def _parameters(body: Expr, operator: UserOperator) -> str:
    names = frozenset(name for operand in operator.operands for name in operand)
    return _expr(body, _OR, names)


def _tuple(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _reduction(reduction: Reduction) -> str:
    into = f"; {', '.join(reduction.into)}" if reduction.into else ""
    return f"{reduction.op}[{', '.join(reduction.ranks)}{into}]"


def _expr(expr: Expr, level: int, parameters: frozenset[str] = frozenset()) -> str:
    match expr:
        case Num(value=value):
            return _number(value)
        case Coord(rank=rank):
            return rank
        case Extent(name=name):
            return name
        case Access(tensor=tensor) if tensor in parameters:
            return tensor
        case Access():
            return _access(expr, parameters)
        case Call(op=op, args=(left, right)) if op in _INFIX:
            symbol, own = _INFIX[op]
            # A comparison does not chain: (a < b) < c keeps its brackets on either side.
            below = own + 1 if own == _COMPARISON else own
            text = f"{_expr(left, below, parameters)} {symbol} {_expr(right, own + 1, parameters)}"
            return f"({text})" if own < level else text
        case Call(op="not", args=(inner,)):
            text = f"not {_expr(inner, _NOT, parameters)}"
            return f"({text})" if level > _NOT else text
        case Call(op="neg", args=(inner,)):
            # A bracket keeps -(1), a negation, apart from the literal -1.
            operand = f"({_number(inner.value)})" if isinstance(inner, Num) else _expr(inner, _PREFIX, parameters)
            return f"-{operand}" if level <= _PREFIX else f"(-{operand})"
        case Call(op=op, args=args):
            return f"{op}({', '.join(_expr(a, _OR, parameters) for a in args)})"


def _access(access: Access, parameters: frozenset[str] = frozenset()) -> str:
    indices = [_index(i, parameters) for i in access.indices]
    fill = f"; fill={_number(access.fill)}" if access.fill is not None else ""
    return f"{access.tensor}[{(', ' if any(' ' in i for i in indices) else ',').join(indices)}{fill}]"


def _index(index: Expr, parameters: frozenset[str]) -> str:
    # K[m1*M0 + m0, e] and RM[m1+1,p] read better than with blanks around every operator.
    text = _expr(index, _OR, parameters).replace(" * ", "*").replace(" // ", "//")
    match index:
        case Call(op="add" | "sub", args=(Coord() | Extent(), Num() | Coord())):
            return text.replace(" ", "")
    return text


def _number(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e16 and not (value == 0 and math.copysign(1.0, value) < 0):
        return str(int(value))
    return repr(float(value))
