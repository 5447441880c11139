"""The NumPy functions of the map operators, with the safe rules of the notation.

The rules: 0/0 = 0, x/0 for x not 0 is an infinity, -inf - x = -inf, 0*x = 0, log 0 = -inf. No function raises or
warns, and none makes a NaN from operands without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

Array = Any


def _quiet(function: Callable[..., Array]) -> Callable[..., Array]:
    @wraps(function)
    def called(*operands: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(*operands)
    return called


def _add(a: Array, b: Array) -> Array:
    return _defined(np.add(a, b), a, b, lambda: -np.inf)


def _sub(a: Array, b: Array) -> Array:
    return _defined(np.subtract(a, b), a, b, lambda: np.where(np.less(a, 0), -np.inf, 0.0))


def _mul(a: Array, b: Array) -> Array:
    product = np.multiply(a, b)
    undefined = np.isnan(product)
    return np.where(undefined & (np.equal(a, 0) | np.equal(b, 0)), 0.0, product) if undefined.any() else product


def _div(a: Array, b: Array) -> Array:
    return _defined(np.divide(a, b), a, b, lambda: 0.0)


def _defined(result: Array, a: Array, b: Array, otherwise: Callable[[], Array]) -> Array:
    """The result, with another value where it is NaN and neither operand is."""
    undefined = np.isnan(result)
    # Infinities are rare: most results need no second look.
    return np.where(undefined & ~np.isnan(a) & ~np.isnan(b), otherwise(), result) if undefined.any() else result


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(np.greater_equal(x, 0), 1.0, small) / (1.0 + small)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


_erf = np.vectorize(math.erf, otypes=[float])


def _gelu(x: Array) -> Array:
    return _mul(0.5 * (1.0 + _erf(np.asarray(x, dtype=float) / math.sqrt(2.0))), x)


def _gelu_tanh(x: Array) -> Array:
    x = np.asarray(x, dtype=float)
    return _mul(0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3))), x)


def _modulo(a: Array, b: Array) -> Array:
    return _or_zero(np.mod(a, np.where(np.equal(b, 0), 1, b)), np.equal(b, 0))


def _floor_division(a: Array, b: Array) -> Array:
    return _or_zero(np.floor_divide(a, np.where(np.equal(b, 0), 1, b)), np.equal(b, 0))


def _or_zero(result: Array, undefined: Array) -> Array:
    return np.where(undefined | np.isnan(result), 0.0, result)


def _periodic(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Sine or cosine, 0 at the infinities, where it has no limit."""
    return lambda x: np.where(np.isinf(x), 0.0, function(np.where(np.isinf(x), 0.0, x)))


def _power(a: Array, b: Array) -> Array:
    # A negative base has a real power for whole exponents only.
    undefined = np.less(a, 0) & (np.not_equal(b, np.round(b)) | np.isinf(b))
    return _or_zero(np.power(np.asarray(a, dtype=float), b), undefined)


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": np.negative, "max": np.maximum, "min": np.minimum,
    "exp": np.exp, "exp2": np.exp2, "log": lambda x: np.log(np.maximum(x, 0.0)),
    "log2": lambda x: np.log2(np.maximum(x, 0.0)), "log1p": lambda x: np.log1p(np.maximum(x, -1.0)),
    "expm1": np.expm1, "sqrt": lambda x: np.sqrt(np.maximum(x, 0.0)),
    "rsqrt": lambda x: _div(1.0, np.sqrt(np.maximum(x, 0.0))), "square": np.square, "pow": _power, "abs": np.abs,
    "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.round, "sigmoid": _sigmoid, "tanh": np.tanh,
    "silu": lambda x: _mul(_sigmoid(x), x), "gelu": _gelu, "gelu_tanh": _gelu_tanh,
    "mish": lambda x: _mul(np.tanh(_softplus(x)), x), "relu": lambda x: np.maximum(x, 0.0), "softplus": _softplus,
    "elu": lambda x: np.where(np.greater(x, 0), x, np.expm1(np.minimum(x, 0.0))),
    "leaky_relu": lambda x, slope: np.where(np.greater(x, 0), x, _mul(slope, x)),
    "hard_sigmoid": lambda x: np.clip(np.asarray(x) + 3.0, 0.0, 6.0) / 6.0,
    "hard_swish": lambda x: _mul(np.clip(np.asarray(x) + 3.0, 0.0, 6.0) / 6.0, x),
    "erf": lambda x: _erf(np.asarray(x, dtype=float)), "sin": _periodic(np.sin), "cos": _periodic(np.cos), "atan2": np.arctan2,
    "where": lambda c, a, b: np.where(np.not_equal(c, 0), a, b),
    "clamp": lambda x, low, high: np.minimum(np.maximum(x, low), high), "floordiv": _floor_division, "mod": _modulo,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}
_QUIET = {name: _quiet(function) for name, function in _FUNCTIONS.items()}


def function_of(name: str) -> Callable[..., Array]:
    """Returns the NumPy function of a map of the table, broadcasting over arrays of float64.

    Raises: KeyError for a name that is no map of the table (a cascade's own operators have bodies instead).
    """
    return _QUIET[name]
