"""Map operators on single numbers, with the safe rules of the notation: to check what an operator declares.

The checks run when a cascade is built, without NumPy. They are samples, not proofs: a declared property that fails
on a sample is an error, and the rest is the author's word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product

from einsum_cascades.ir import Access, Call, Expr, Num, UserOperator
from einsum_cascades.operators import INFINITY, property_arguments, reduces

_SAMPLES = (0.375, 1.25, 0.8125, 2.5)
_TOLERANCE = 1e-9


def evaluate(expr: Expr, values: Mapping[str, float], operators: Mapping[str, UserOperator]) -> float:
    """Returns the value of an operator's body, its parameters given by name.

    Raises: KeyError for a map or parameter that does not exist.
    """
    match expr:
        case Num(value=value):
            return value
        case Access(tensor=name):
            return values[name]
        case Call(op=op, args=args):
            return call(op, [evaluate(a, values, operators) for a in args], operators)
        case _:
            raise KeyError(type(expr).__name__)


def call(op: str, operands: list[float], operators: Mapping[str, UserOperator]) -> float:
    """Returns the value of a map on numbers; NaN where a real function has none."""
    if op in operators:
        return results(operators[op], operands, operators)[0]
    try:
        return float(_SCALARS[op](*operands))
    except OverflowError:
        return INFINITY
    except ValueError:
        return math.nan


def results(operator: UserOperator, operands: list[float], operators: Mapping[str, UserOperator]) -> tuple[float, ...]:
    """Returns every result of a cascade's own operator on flat operands."""
    names = [name for operand in operator.operands for name in operand]
    values = dict(zip(names, operands, strict=True))
    return tuple(evaluate(body, values, operators) for body in operator.bodies)


def broken_property(operator: UserOperator, operators: Mapping[str, UserOperator]) -> tuple[str, str] | None:
    """Returns the first declared property that fails on a sample, with the sample, or None.

    Samples are positive, so that an operator may be meant for positive values only.
    """
    width = len(operator.bodies)
    samples = [tuple(_SAMPLES[(start + i) % len(_SAMPLES)] for i in range(width)) for start in range(len(_SAMPLES))]

    def apply(*operands: tuple[float, ...]) -> tuple[float, ...]:
        return results(operator, [v for o in operands for v in o], operators)

    if reduces(operator) and operator.identity is not None:
        for x in samples:
            if not (_equal(apply(operator.identity, x), x) and _equal(apply(x, operator.identity), x)):
                return "identity", f"x = {_text(x)}"
    binary = len(operator.operands) == 2 and {len(o) for o in operator.operands} == {width}
    if "associative" in operator.properties:
        for x, y, z in product(samples[:3], repeat=3):
            if not binary or not _equal(apply(apply(x, y), z), apply(x, apply(y, z))):
                return "associative", f"x = {_text(x)}, y = {_text(y)}, z = {_text(z)}"
    if "commutative" in operator.properties:
        for x, y in product(samples, repeat=2):
            if not binary or not _equal(apply(x, y), apply(y, x)):
                return "commutative", f"x = {_text(x)}, y = {_text(y)}"
    if "idempotent" in operator.properties:
        for x in samples:
            if not binary or not _equal(apply(x, x), x):
                return "idempotent", f"x = {_text(x)}"
    return _broken_relation(operator, operators) if width == 1 else None


def _broken_relation(operator: UserOperator, operators: Mapping[str, UserOperator]) -> tuple[str, str] | None:
    def apply(*operands: float) -> float:
        return results(operator, list(operands), operators)[0]

    count = sum(len(o) for o in operator.operands)
    pairs = list(product(_SAMPLES, repeat=2))
    if count == 1:
        for source, target in property_arguments(operator, "homomorphism"):
            for x, y in pairs:
                left = apply(call(source, [x, y], operators))
                if not _equal((left,), (call(target, [apply(x), apply(y)], operators),)):
                    return f"homomorphism({source},{target})", f"x = {x:g}, y = {y:g}"
    if count == 2:
        for (over,) in property_arguments(operator, "distributes_over"):
            for (x, y), c in product(pairs, _SAMPLES):
                left = apply(call(over, [x, y], operators), c)
                if not _equal((left,), (call(over, [apply(x, c), apply(y, c)], operators),)):
                    return f"distributes_over({over})", f"x = {x:g}, y = {y:g}, c = {c:g}"
    return None


def _equal(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    # A sample outside of the domain (NaN) says nothing.
    return all(math.isnan(a) or math.isnan(b) or a == b or math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
               for a, b in zip(left, right, strict=True))


def _text(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{v:g}" for v in values)
    return shown if len(values) == 1 else f"({shown})"


def _sub(a: float, b: float) -> float:
    return a - b if not (math.isinf(a) and a == b) else (-INFINITY if a < 0 else 0.0)


def _add(a: float, b: float) -> float:
    return -INFINITY if math.isinf(a) and a == -b else a + b


def _mul(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _div(a: float, b: float) -> float:
    if b == 0:
        return 0.0 if a == 0 else math.copysign(INFINITY, a)
    return 0.0 if math.isinf(a) and math.isinf(b) else a / b


def _rounded(function: Callable[[float], float], x: float) -> float:
    return x if math.isinf(x) else function(x)


def _sigmoid(x: float) -> float:
    small = math.exp(-abs(x))
    return (1.0 if x >= 0 else small) / (1.0 + small)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -INFINITY


def _sqrt(x: float) -> float:
    return math.sqrt(max(x, 0.0))


_SCALARS: dict[str, Callable[..., float]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": lambda x: -x, "max": max, "min": min,
    "exp": lambda x: math.exp(x) if x > -INFINITY else 0.0, "exp2": lambda x: 2.0 ** x, "log": _log,
    "log2": lambda x: math.log2(x) if x > 0 else -INFINITY,
    "log1p": lambda x: math.log1p(x) if x > -1 else -INFINITY, "expm1": math.expm1, "sqrt": _sqrt,
    "rsqrt": lambda x: _div(1.0, _sqrt(x)), "square": lambda x: x * x, "pow": lambda a, b: math.pow(a, b) if a >= 0 or float(b).is_integer() else 0.0, "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0), "floor": lambda x: _rounded(math.floor, x),
    "ceil": lambda x: _rounded(math.ceil, x), "round": lambda x: _rounded(round, x), "sigmoid": _sigmoid,
    "tanh": math.tanh, "silu": lambda x: _mul(x, _sigmoid(x)),
    "gelu": lambda x: _mul(x, 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))),
    "gelu_tanh": lambda x: _mul(x, 0.5 * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))),
    "mish": lambda x: _mul(x, math.tanh(_softplus(x))), "relu": lambda x: max(x, 0.0), "softplus": _softplus,
    "elu": lambda x: x if x > 0 else math.expm1(x), "leaky_relu": lambda x, slope: x if x > 0 else _mul(slope, x),
    "hard_sigmoid": lambda x: min(max(x + 3.0, 0.0), 6.0) / 6.0,
    "hard_swish": lambda x: _mul(x, min(max(x + 3.0, 0.0), 6.0) / 6.0), "erf": math.erf, "sin": math.sin,
    "cos": math.cos, "atan2": math.atan2, "where": lambda c, a, b: a if c else b,
    "clamp": lambda x, low, high: min(max(x, low), high), "floordiv": lambda a, b: a // b if b else 0.0,
    "mod": lambda a, b: a % b if b else 0.0, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "and": lambda a, b: bool(a) and bool(b), "or": lambda a, b: bool(a) or bool(b), "not": lambda a: not a,
}
