"""Formulas in extents: polynomials with exact coefficients whose unknowns are extents and a few functions of them.

A formula prints as text that any calculator reads: ``P*M*E``, ``(P*P + P)/2``, ``ceil(M/M0)``, ``min(P, M)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Atom:
    """A function of formulas that stands in a product like an unknown: min, max, ceil, floor or log2."""

    function: str
    arguments: tuple[Formula, ...]

    def text(self, order: Sequence[str]) -> str:
        """Returns the call as text."""
        if self.function in ("ceil", "floor") and len(self.arguments) == 2:
            over, under = (a.text(order) for a in self.arguments)
            return f"{self.function}({_wrapped(over)}/{_wrapped(under)})"
        return f"{self.function}({', '.join(a.text(order) for a in self.arguments)})"

    def value(self, extents: Mapping[str, int]) -> Fraction:
        """Returns its value; log2 is rounded up to a whole number, as the depth of a tree is."""
        values = [a.value(extents) for a in self.arguments]
        match self.function:
            case "min":
                return min(values)
            case "max":
                return max(values)
            case "ceil":
                return Fraction(math.ceil(values[0] / values[1]))
            case "floor":
                return Fraction(math.floor(values[0] / values[1]))
            case "log2":
                return Fraction(max(math.ceil(values[0]) - 1, 0).bit_length())
        raise ValueError(f"atom: unknown function, got {self.function!r}; use min, max, ceil, floor or log2")


Unknown = str | Atom
Monomial = tuple[Unknown, ...]
"""The unknowns of a product, sorted, repeated as often as they occur."""


def _key(unknown: Unknown) -> tuple[int, str]:
    return (0, unknown) if isinstance(unknown, str) else (1, unknown.text(()))


@dataclass(frozen=True, slots=True)
class Formula:
    """A sum of products: ``terms`` pairs each monomial with its coefficient, which is not 0."""

    terms: tuple[tuple[Monomial, Fraction], ...] = ()

    def __add__(self, other: Formula | int) -> Formula:
        total = dict(self.terms)
        for monomial, coefficient in formula(other).terms:
            total[monomial] = total.get(monomial, Fraction(0)) + coefficient
        return _made(total)

    def __radd__(self, other: int) -> Formula:
        return self + other

    def __neg__(self) -> Formula:
        return Formula(tuple((m, -c) for m, c in self.terms))

    def __sub__(self, other: Formula | int) -> Formula:
        return self + -formula(other)

    def __rsub__(self, other: int) -> Formula:
        return formula(other) - self

    def __mul__(self, other: Formula | int | Fraction) -> Formula:
        total: dict[Monomial, Fraction] = {}
        for a, x in self.terms:
            for b, y in formula(other).terms:
                monomial = tuple(sorted((*a, *b), key=_key))
                total[monomial] = total.get(monomial, Fraction(0)) + x * y
        return _made(total)

    def __rmul__(self, other: int | Fraction) -> Formula:
        return self * other

    @property
    def constant(self) -> Fraction | None:
        """The value of a formula without unknowns, or None."""
        if not self.terms:
            return Fraction(0)
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    def symbols(self) -> frozenset[str]:
        """Returns the extents that it mentions."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for unknown in monomial:
                if isinstance(unknown, str):
                    found.add(unknown)
                else:
                    for argument in unknown.arguments:
                        found |= argument.symbols()
        return frozenset(found)

    def value(self, extents: Mapping[str, int]) -> Fraction:
        """Returns its value; extents are given by their capital names.

        Raises: KeyError for an extent that is not given.
        """
        total = Fraction(0)
        for monomial, coefficient in self.terms:
            for unknown in monomial:
                coefficient *= extents[unknown] if isinstance(unknown, str) else unknown.value(extents)
            total += coefficient
        return total

    def text(self, order: Sequence[str] = ()) -> str:
        """Returns the formula as text, with the unknowns of each product in the given order, then alphabetical."""
        if not self.terms:
            return "0"
        place = {name: i for i, name in enumerate(order)}

        def rank(unknown: Unknown) -> tuple[int, int, str]:
            name = unknown if isinstance(unknown, str) else unknown.text(order)
            return (0, place.get(unknown, len(place)), name) if isinstance(unknown, str) else (1, 0, name)

        common = math.lcm(*(c.denominator for _, c in self.terms))
        parts = []
        for monomial, coefficient in self.terms:
            unknowns = sorted(monomial, key=rank)
            names = [u if isinstance(u, str) else u.text(order) for u in unknowns]
            parts.append((-len(names), [rank(u) for u in unknowns], int(coefficient * common), names))
        parts.sort(key=lambda p: (p[0], p[1]))
        text = ""
        for number, (_, _, coefficient, names) in enumerate(parts):
            size = "*".join(([] if abs(coefficient) == 1 and names else [str(abs(coefficient))]) + names)
            sign = "-" if coefficient < 0 else "+"
            text += (("-" if coefficient < 0 else "") + size) if number == 0 else f" {sign} {size}"
        if common == 1:
            return text
        return f"({text})/{common}" if len(parts) > 1 else f"{text}/{common}"

    def __str__(self) -> str:
        return self.text()


def _made(total: Mapping[Monomial, Fraction]) -> Formula:
    return Formula(tuple(sorted(((m, c) for m, c in total.items() if c), key=lambda t: [_key(u) for u in t[0]])))


def _wrapped(text: str) -> str:
    return f"({text})" if any(sign in text for sign in "+-*/ ") and not text.endswith(")") else text


def formula(value: Formula | int | Fraction | str) -> Formula:
    """Returns a number, or the extent of that capital name, as a formula."""
    if isinstance(value, Formula):
        return value
    if isinstance(value, str):
        return Formula((((value,), Fraction(1)),))
    return Formula((((), Fraction(value)),)) if value else Formula()


def extent(rank: str) -> Formula:
    """Returns the extent of a rank (``m0`` gives ``M0``)."""
    return formula(rank.upper())


def multiplied(factors: Iterable[Formula]) -> Formula:
    """Returns the product."""
    result = formula(1)
    for factor in factors:
        result = result * factor
    return result


def minimum(a: Formula, b: Formula) -> Formula:
    """Returns the smaller of two formulas."""
    return _chosen("min", a, b)


def maximum(a: Formula, b: Formula) -> Formula:
    """Returns the larger of two formulas."""
    return _chosen("max", a, b)


def _chosen(function: str, a: Formula, b: Formula) -> Formula:
    apart = (a - b).constant
    if apart is not None:
        return a if (apart <= 0) == (function == "min") else b
    if _positive(a - b):
        return b if function == "min" else a
    if _positive(b - a):
        return a if function == "min" else b
    first, second = sorted((a, b), key=lambda f: f.text())
    return Formula((((Atom(function, (first, second)),), Fraction(1)),))


def _positive(made: Formula) -> bool:
    """Whether a formula is at least 0 for all extents of at least 1, as far as the signs of its terms tell."""
    if any(isinstance(u, Atom) for m, _ in made.terms for u in m):
        return False
    negative = sum(c for _, c in made.terms if c < 0)
    whole = any(c < 0 and m for m, c in made.terms)
    return not whole and sum(c for _, c in made.terms if c > 0) + negative >= 0


def quotient(a: Formula, b: Formula, function: str = "ceil") -> Formula:
    """Returns a / b rounded up (``ceil``) or down (``floor``)."""
    x, y = a.constant, b.constant
    if x is not None and y:
        return formula(math.ceil(x / y) if function == "ceil" else math.floor(x / y))
    return Formula((((Atom(function, (a, b)),), Fraction(1)),))


def depth_of_tree(leaves: Formula) -> Formula:
    """Returns the depth of a balanced binary tree: log2, rounded up."""
    known = leaves.constant
    if known is not None:
        return formula(max(math.ceil(known) - 1, 0).bit_length())
    return Formula((((Atom("log2", (leaves,)),), Fraction(1)),))


def interpolated(names: Sequence[str], values: Mapping[tuple[int, ...], int]) -> Formula:
    """Returns the formula of degree 1 in each name that takes the given values on a grid of two points a name."""
    if not names:
        return formula(values[()])
    low, high = sorted({point[0] for point in values})
    at_low = interpolated(names[1:], {p[1:]: v for p, v in values.items() if p[0] == low})
    at_high = interpolated(names[1:], {p[1:]: v for p, v in values.items() if p[0] == high})
    slope = (at_high - at_low) * Fraction(1, high - low)
    return at_low + slope * (formula(names[0]) - low)


