"""Scalar maps and reductions of lists in plain Python, with the safe rules of the notation."""

from __future__ import annotations

import math
from collections.abc import Callable

INF = math.inf


def _add(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return math.nan
    return -INF if -INF in (a, b) else INF if INF in (a, b) else a + b


def _sub(a: float, b: float) -> float:
    if a == INF and b == INF:
        return 0.0
    return -INF if a == -INF else a - b


def _mul(a: float, b: float) -> float:
    return 0.0 if math.isnan(a * b) and 0 in (a, b) else a * b


def _div(a: float, b: float) -> float:
    if (a == 0 and b == 0) or (abs(a) == INF and abs(b) == INF):
        return 0.0
    if b == 0:
        return math.copysign(INF, a) * math.copysign(1.0, b)
    return a / b


def _guarded(function: Callable[[float], float]) -> Callable[[float], float]:
    def called(x: float) -> float:
        try:
            return function(x)
        except OverflowError:
            return INF
    return called


def _pow(a: float, b: float) -> float:
    if a < 0 and (math.isinf(b) or b != int(b)):
        return 0.0
    if a == 0 and b < 0:
        return math.copysign(INF, a) if b % 2 == 1 else INF
    try:
        return math.pow(a, b)
    except OverflowError:
        return INF if a > 0 or b % 2 == 0 else -INF


def _whole(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: x if math.isinf(x) else float(function(x))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -INF


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def _softplus(x: float) -> float:
    return x if x > 700 else math.log1p(math.exp(x))


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


SCALARS: dict[str, Callable[..., float]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": lambda x: -x, "max": max, "min": min,
    "exp": _guarded(math.exp), "exp2": _guarded(lambda x: math.pow(2.0, x)), "log": _log,
    "log2": lambda x: math.log2(x) if x > 0 else -INF, "log1p": lambda x: math.log1p(x) if x > -1 else -INF,
    "expm1": _guarded(math.expm1), "sqrt": lambda x: math.sqrt(x) if x > 0 else 0.0,
    "rsqrt": lambda x: 1.0 / math.sqrt(x) if x > 0 else INF, "square": lambda x: x * x, "pow": _pow, "abs": abs,
    "sign": lambda x: float((x > 0) - (x < 0)), "floor": _whole(math.floor), "ceil": _whole(math.ceil),
    "round": _whole(round), "sigmoid": _sigmoid, "tanh": math.tanh, "silu": lambda x: _mul(x, _sigmoid(x)),
    "gelu": lambda x: _mul(x, 0.5 * (1.0 + math.erf(x * math.sqrt(0.5)))),
    "gelu_tanh": lambda x: _mul(x, 0.5 * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))),
    "mish": lambda x: _mul(x, math.tanh(_softplus(x))), "relu": lambda x: max(x, 0.0), "softplus": _softplus,
    "elu": lambda x: x if x > 0 else math.expm1(x), "leaky_relu": lambda x, slope: x if x > 0 else _mul(slope, x),
    "hard_sigmoid": lambda x: _clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hard_swish": lambda x: _mul(x, _clip(x + 3.0, 0.0, 6.0) / 6.0), "erf": math.erf,
    "sin": lambda x: 0.0 if math.isinf(x) else math.sin(x), "cos": lambda x: 0.0 if math.isinf(x) else math.cos(x),
    "atan2": math.atan2, "where": lambda c, a, b: a if c != 0 else b, "clamp": _clip,
    "floordiv": lambda a, b: 0.0 if b == 0 or math.isinf(a) else a // b,
    "mod": lambda a, b: 0.0 if b == 0 or math.isinf(a) else a % b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "and": lambda a, b: a != 0 and b != 0,
    "or": lambda a, b: a != 0 or b != 0, "not": lambda a: a == 0,
}


def _total(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total = _add(total, value)
    return total


def _prod(values: list[float]) -> float:
    result = 1.0
    for value in values:
        result = _mul(result, value)
    return result


def _mean(values: list[float]) -> float:
    return _total(values) / len(values) if values else 0.0


def _var(values: list[float]) -> float:
    mean = _mean(values)
    return _mean([_sub(v, mean) * _sub(v, mean) for v in values])


REDUCED: dict[str, Callable[[list[float]], float]] = {
    "sum": _total, "prod": _prod, "max": lambda v: max(v, default=-INF), "min": lambda v: min(v, default=INF),
    "any": lambda v: float(any(x != 0 for x in v)), "all": lambda v: float(all(x != 0 for x in v)),
    "count": lambda v: float(len(v)), "mean": _mean, "var": _var}
POSITIONS: dict[str, Callable[[list[tuple[int, float]]], int]] = {
    "argmax": lambda pairs: min(pairs, key=lambda p: (-p[1], p[0]), default=(0, 0.0))[0],
    "argmin": lambda pairs: min(pairs, key=lambda p: (p[1], p[0]), default=(0, 0.0))[0]}
