"""The operators of tile programs as source: expressions, and helper functions that a kernel's module defines where it needs them."""

from __future__ import annotations

TEMPLATES: dict[str, str] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "floordiv": "{0} // {1}", "mod": "{0} % {1}", "cdiv": "tl.cdiv({0}, {1})",
    "floor_floordiv": "_floordiv({0}, {1})", "floor_mod": "_mod({0}, {1})",
    "max": "tl.maximum({0}, {1})", "min": "tl.minimum({0}, {1})",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "holds": "tl.where({0}, 1, 0) != 0", "not": "{0} == 0", "where": "tl.where({0}, {1}, {2})",
    "finite": "tl.where({0} == float('-inf'), 0.0, {0})", "safe_sub": "_sub({0}, {1})", "safe_div": "_div({0}, {1})",
    "safe_mul": "_mul({0}, {1})",
    "exp": "tl.exp({0})", "exp2": "tl.exp2({0})", "log": "tl.log(tl.maximum({0}, 0.0))", "log2": "tl.log2(tl.maximum({0}, 0.0))",
    "sqrt": "tl.sqrt(tl.maximum({0}, 0.0))", "rsqrt": "1.0 / tl.sqrt(tl.maximum({0}, 0.0))", "square": "{0} * {0}",
    "abs": "tl.abs({0})", "floor": "tl.floor({0})", "ceil": "tl.ceil({0})", "sin": "tl.sin({0})", "cos": "tl.cos({0})",
    "erf": "tl.erf({0})", "relu": "tl.maximum({0}, 0.0)", "sigmoid": "_sigmoid({0})", "silu": "{0} * _sigmoid({0})",
    "tanh": "_tanh({0})", "softplus": "_softplus({0})", "log1p": "_log1p({0})", "expm1": "_expm1({0})", "sign": "_sign({0})",
    "round": "_round({0})", "gelu": "0.5 * (1.0 + tl.erf({0} * 0.7071067811865476)) * {0}",
    "gelu_tanh": "0.5 * (1.0 + _tanh(0.7978845608028654 * ({0} + 0.044715 * {0} * {0} * {0}))) * {0}",
    "mish": "{0} * _tanh(_softplus({0}))", "elu": "tl.where({0} > 0, {0}, _expm1(tl.minimum({0}, 0.0)))",
    "hard_sigmoid": "tl.minimum(tl.maximum({0} + 3.0, 0.0), 6.0) / 6.0",
    "hard_swish": "{0} * (tl.minimum(tl.maximum({0} + 3.0, 0.0), 6.0) / 6.0)", "copy": "{0}",
}
"""Operators as Python expressions of their operands, each of which is a name, a literal or an indexed name."""

HELPERS: dict[str, str] = {
    "_floordiv": """
def _floordiv(a, b):
    # Division of whole numbers rounds towards zero; this one rounds down. b is at least 1.
    return tl.where(a >= 0, a // b, -((b - 1 - a) // b))
""",
    "_mod": """
def _mod(a, b):
    # The remainder that goes with rounding down.
    return ((a % b) + b) % b
""",
    "_sub": """
def _sub(a, b):
    # -inf - b is -inf, whatever b is.
    return tl.where(a == float('-inf'), a, a - b)
""",
    "_div": """
def _div(a, b):
    # 0 / 0 is 0.
    return tl.where(a == 0.0, 0.0, a / b)
""",
    "_mul": """
def _mul(a, b):
    # 0 * x is 0, whatever x is.
    return tl.where(a == 0.0, 0.0, tl.where(b == 0.0, 0.0, a * b))
""",
    "_sigmoid": """
def _sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)
""",
    "_log1p": """
def _log1p(x):
    # The rounding of 1 + x is corrected for, so that small x keep their digits.
    one = 1.0 + x
    return tl.where(one == 1.0, x, tl.log(one) * (x / tl.where(one == 1.0, 1.0, one - 1.0)))
""",
    "_expm1": """
def _expm1(x):
    # Half an argument at a time: exp(x) - 1 = tanh(x / 2) * (exp(x) + 1), whose factors keep their digits.
    return tl.where(tl.abs(x) < 1.0, _tanh(0.5 * x) * (tl.exp(x) + 1.0), tl.exp(x) - 1.0)
""",
    "_tanh": """
def _tanh(x):
    # A series where 1 - exp(-2x) would lose digits.
    size = tl.abs(x)
    square = x * x
    small = tl.exp(-2.0 * size)
    large = (1.0 - small) / (1.0 + small)
    series = x * (1.0 - square * (0.3333333333333333 - square * (0.13333333333333333 - square * 0.05396825396825397)))
    return tl.where(size < 0.15, series, tl.where(x >= 0, large, -large))
""",
    "_softplus": """
def _softplus(x):
    return tl.maximum(x, 0.0) + _log1p(tl.exp(-tl.abs(x)))
""",
    "_sign": """
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))
""",
    "_round": """
def _round(x):
    # Halves go to the even neighbour.
    up = tl.floor(x + 0.5)
    return tl.where((up - x == 0.5) & (up != 2.0 * tl.floor(up * 0.5)), up - 1.0, up)
""",
    "_add": """
def _add(a, b):
    return a + b
""",
    "_multiply": """
def _multiply(a, b):
    return a * b
""",
    "_larger": """
def _larger(a, b):
    return tl.maximum(a, b)
""",
    "_smaller": """
def _smaller(a, b):
    return tl.minimum(a, b)
""",
}
"""Helper functions by name, without their decorator."""

NEEDS: dict[str, tuple[str, ...]] = {"_softplus": ("_log1p",), "_expm1": ("_tanh",)}
"""Helpers that a helper calls."""

COMBINERS: dict[str, str] = {"sum": "_add", "prod": "_multiply", "max": "_larger", "min": "_smaller", "any": "_larger",
                             "all": "_smaller"}
"""The helper that combines two partial results of a reduction."""
