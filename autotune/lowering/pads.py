"""What a value may be in lanes that do not count: a constant, a finite number, a number, or anything.

A lane of a tile does not count where one of its conditions fails: it lies beyond an extent, or a predicate does not hold.
What is there (the *pad*) decides whether a reduction needs a mask: none where the pad is the reduction's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from einsum_cascades.elementwise import function_of
from einsum_cascades.operators import MAPS

Pad = float | str
"""A constant, or how little is known: FINITE, NUMBER (perhaps infinite), ANY (perhaps NaN)."""

FINITE, NUMBER, ANY = "finite", "number", "any"
_ORDER = (FINITE, NUMBER, ANY)
_BOUNDED = frozenset(("sigmoid", "tanh", "erf", "sin", "cos", "sign", "hard_sigmoid", "lt", "le", "gt", "ge", "eq", "ne",
                      "and", "or", "not"))
_CLOSED = frozenset(("neg", "abs", "relu", "silu", "gelu", "gelu_tanh", "softplus", "floor", "ceil", "round", "mish", "elu",
                     "hard_swish", "square"))


def join(pads: Iterable[Pad]) -> Pad:
    """Returns what a lane may be that is one of several."""
    found = list(pads)
    if not found:
        return FINITE
    if all(p == found[0] for p in found):
        return found[0]
    return _ORDER[max(_ORDER.index(_level(p)) for p in found)]


def _level(pad: Pad) -> str:
    if isinstance(pad, str):
        return pad
    return FINITE if math.isfinite(pad) else NUMBER


def mapped(op: str, pads: tuple[Pad, ...]) -> Pad:
    """Returns what a map makes of lanes that are such; maps follow the safe rules of the notation."""
    constants = [p for p in pads if not isinstance(p, str)]
    if len(constants) == len(pads) and op in MAPS:
        value = float(function_of(op)(*constants))
        if op == "mul" and 0.0 in constants and not all(map(math.isfinite, constants)):
            return ANY
        return value if not math.isnan(value) else ANY
    levels = [_level(p) for p in pads]
    finite = all(level == FINITE for level in levels)
    match op:
        case "mul":
            return 0.0 if 0.0 in constants and finite else FINITE if finite else ANY
        case "div":
            return 0.0 if pads[0] == 0.0 and finite else NUMBER if finite else ANY
        case "add":
            return -math.inf if -math.inf in constants and _at_most_finite(pads, -math.inf) else FINITE if finite else ANY
        case "sub":
            return -math.inf if pads[0] == -math.inf and ANY not in levels else FINITE if finite else ANY
        case "max" | "min":
            neutral = -math.inf if op == "max" else math.inf
            rest = [p for p in pads if p != neutral]
            return rest[0] if len(rest) == 1 else join(levels)
        case "clamp":
            return FINITE if finite else ANY
        case "where":
            return join(pads[1:])
        case "exp" | "exp2" | "expm1":
            return NUMBER if levels[0] != ANY else ANY
    if op in _BOUNDED:
        return FINITE if ANY not in levels else ANY
    if op in _CLOSED:
        return levels[0]
    return ANY


def _at_most_finite(pads: tuple[Pad, ...], constant: float) -> bool:
    return all(p == constant or _level(p) == FINITE for p in pads)


def reduced(op: str, pad: Pad, identity: float) -> Pad:
    """Returns what a reduction makes of lanes that are all such."""
    if pad == identity:
        return identity
    level = _level(pad)
    if level == FINITE:
        return FINITE
    return NUMBER if level == NUMBER and op in ("max", "min") else ANY
