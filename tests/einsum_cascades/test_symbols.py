"""Formulas: arithmetic, comparison, text that a calculator reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascades.symbols import (
    Formula,
    depth_of_tree,
    extent,
    formula,
    interpolated,
    is_positive,
    maximum,
    minimum,
    multiplied,
    quotient,
)

NAMES = ("P", "M", "E")
P, M, E = map(formula, NAMES)

Pairing = tuple[Formula, Callable[[dict[str, int]], Fraction]]


@st.composite
def expressions(draw: Callable[[Any], Any], depth: int = 3) -> Pairing:
    """Draws a formula with a function that evaluates it by itself."""
    kinds = ("name", "number", "add", "sub", "mul", "min", "max", "ceil", "floor", "log2")
    kind = draw(st.sampled_from(kinds if depth else kinds[:2]))
    if kind == "name":
        name = draw(st.sampled_from(NAMES))
        return extent(name.lower()), lambda at: Fraction(at[name])
    if kind == "number":
        number = draw(st.fractions(-3, 3, max_denominator=2))
        return formula(number), lambda at: Fraction(number)
    (a, f), (b, g) = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    match kind:
        case "add":
            return a + b, lambda at: f(at) + g(at)
        case "sub":
            return a - b, lambda at: f(at) - g(at)
        case "mul":
            return a * b, lambda at: f(at) * g(at)
        case "min":
            return minimum(a, b), lambda at: min(f(at), g(at))
        case "max":
            return maximum(a, b), lambda at: max(f(at), g(at))
        case "log2":
            return depth_of_tree(a), lambda at: Fraction(math.ceil(math.log2(max(math.ceil(f(at)), 1))))
        case _:
            by, rounded = draw(st.sampled_from(NAMES)), math.ceil if kind == "ceil" else math.floor
            return quotient(a, formula(by), kind), lambda at: Fraction(rounded(f(at) / at[by]))


SIZES = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


@given(expressions(), SIZES)
def test_value(pairing: Pairing, at: dict[str, int]) -> None:
    made, value = pairing
    assert made.value(at) == value(at)


@given(expressions(), SIZES)
def test_text_evaluates_to_the_value(pairing: Pairing, at: dict[str, int]) -> None:
    """The text is plain arithmetic: read here as an expression of this language's own numbers."""
    made, value = pairing
    functions = {"ceil": lambda x: Fraction(math.ceil(x)), "floor": lambda x: Fraction(math.floor(x)), "min": min,
                 "max": max,
                 "log2": lambda x: Fraction(math.ceil(math.log2(max(math.ceil(x), 1))))}
    names = {name: Fraction(size) for name, size in at.items()}
    text = made.text(["M", "P"])
    assert _calculated(text, functions, names) == value(at), text


def _calculated(text: str, functions: dict[str, Any], names: dict[str, Fraction]) -> Fraction:
    """Evaluates arithmetic by a parser of its own."""
    import ast

    def of(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() as value):
                return Fraction(value)
            case ast.Name(id=name):
                return names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -of(operand)
            case ast.BinOp(left=left, op=op, right=right):
                a, b = of(left), of(right)
                return a + b if isinstance(op, ast.Add) else a - b if isinstance(op, ast.Sub) else a * b if isinstance(
                    op, ast.Mult) else a / b
            case ast.Call(func=ast.Name(id=name), args=args):
                return functions[name](*map(of, args))
        raise ValueError(ast.dump(node))

    return Fraction(of(ast.parse(text, mode="eval").body))


@given(expressions(), SIZES)
def test_what_is_certainly_positive_is(pairing: Pairing, at: dict[str, int]) -> None:
    if is_positive(pairing[0]):
        assert pairing[1](at) >= 0


@given(expressions(), expressions(), SIZES)
def test_equal_formulas_have_equal_values_and_hashes(one: Pairing, other: Pairing, at: dict[str, int]) -> None:
    same = one[0] + other[0] - other[0]
    assert same == one[0]
    assert hash(same) == hash(one[0])
    if one[0] == other[0]:
        assert one[1](at) == other[1](at)


@given(expressions(), SIZES, st.sets(st.sampled_from(NAMES)))
def test_extents_put_in(pairing: Pairing, at: dict[str, int], known: set[str]) -> None:
    made = pairing[0].put({name.lower(): at[name] for name in known})
    assert not made.symbols() & known
    assert made.value(at) == pairing[1](at)


@pytest.mark.parametrize(("made", "text"), [
    (formula(0), "0"), (P * M * E, "E*M*P"), (P * P + P, "P*P + P"), ((P * P + P) * Fraction(1, 2), "(P*P + P)/2"),
    (P * Fraction(1, 2), "P/2"), (-P + 3, "-P + 3"), (3 - P, "-P + 3"), (2 * P - 1, "2*P - 1"),
    (quotient(M, P), "ceil(M/P)"), (quotient(M + 1, P * E, "floor"), "floor((M + 1)/(E*P))"),
    (depth_of_tree(M), "ceil(log2(M))"),
    (minimum(M, P), "min(M, P)"), (minimum(P, minimum(M, E)), "min(E, M, P)"), (minimum(M, M + 1), "M"),
    (maximum(M, M * P), "M*P"), (maximum(M, 2 * M - 1), "2*M - 1"),
    (maximum(maximum(M, P) + 2, P + 1), "max(M + 2, P + 2)"), (maximum(formula(0), P - 1), "P - 1"),
    (maximum(formula(0), P - M), "max(-M + P, 0)"), (maximum(depth_of_tree(M), formula(0)), "ceil(log2(M))"),
    (multiplied([]), "1"), (sum([P, M], formula(0)), "M + P"),
])
def test_text(made: Formula, text: str) -> None:
    assert made.text() == text == str(made)


def test_order_of_names() -> None:
    assert (E * M * P + M * P).text(["P", "M", "E"]) == "P*M*E + P*M"


def test_plain_numbers() -> None:
    assert [formula(4).plain(), (P - P).plain(), formula(Fraction(1, 2)).plain(), P.plain()] == [4, 0, "1/2", "P"]
    assert isinstance(formula(Fraction(4, 2)).plain(), int)


def test_unknown_extent() -> None:
    with pytest.raises(KeyError, match="M"):
        (P + M).value({"P": 1})


@given(st.tuples(*[st.integers(-3, 3)] * 4), st.integers(0, 9), st.integers(0, 9))
def test_interpolation(coefficients: tuple[int, int, int, int], t: int, s: int) -> None:
    a, b, c, d = coefficients

    def value(x: int, y: int) -> int:
        return a + b * x + c * y + d * x * y
    made = interpolated(("T", "S"), {(x, y): value(x, y) for x in (3, 4) for y in (3, 4)})
    assert made.value({"T": t, "S": s}) == value(t, s)
