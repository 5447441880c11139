"""Pads never promise more than holds: values of the classes are put through the maps, and the results are of the class."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autotune.lowering import pads
from einsum_cascades.elementwise import function_of
from einsum_cascades.operators import MAPS

_UNARY = sorted(n for n, m in MAPS.items() if m.arity == 1 and m.kind == "value")
_BINARY = ("add", "sub", "mul", "div", "max", "min")
numbers = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.5, -3.0]), st.floats(-5, 5))


@st.composite
def lanes(draw: st.DrawFn) -> tuple[pads.Pad, float]:
    """A class, and a value of it."""
    kind = draw(st.sampled_from(["constant", "infinite", pads.FINITE, pads.NUMBER]))
    if kind == "constant":
        value = draw(numbers)
        return value, value
    if kind == "infinite":
        return -math.inf, -math.inf
    value = draw(numbers)
    return kind, draw(st.sampled_from([value, -math.inf, math.inf])) if kind == pads.NUMBER else value


def holds(pad: pads.Pad, value: float) -> bool:
    """Whether a value is of a class."""
    if pad == pads.ANY:
        return True
    if pad == pads.NUMBER:
        return not math.isnan(value)
    if pad == pads.FINITE:
        return math.isfinite(value)
    return value == pad


@given(st.sampled_from(_UNARY), lanes())
def test_maps_of_one_operand(op: str, lane: tuple[pads.Pad, float]) -> None:
    pad, value = lane
    assert holds(pads.mapped(op, (pad,)), float(function_of(op)(value)))


@given(st.sampled_from(_BINARY), lanes(), lanes())
def test_maps_of_two_operands(op: str, one: tuple[pads.Pad, float], other: tuple[pads.Pad, float]) -> None:
    assert holds(pads.mapped(op, (one[0], other[0])), float(function_of(op)(one[1], other[1])))


@given(st.lists(lanes(), min_size=1, max_size=4))
def test_a_join_holds_every_lane(found: list[tuple[pads.Pad, float]]) -> None:
    whole = pads.join(pad for pad, _ in found)
    assert all(holds(whole, value) for _, value in found)
