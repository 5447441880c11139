"""Formulas in extents: polynomials with exact coefficients whose unknowns are extents and a few functions of them.

A formula prints as text that any calculator reads: ``P*M*E``, ``(P*P + P)/2``, ``ceil(M/M0)``, ``min(P, M)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce


@dataclass(frozen=True)
class Atom:
    """A function of formulas that stands in a product like an unknown: min, max, ceil, floor or log2.

    ``key`` is its text: equal atoms have equal ones.
    """

    function: str = field(compare=False)
    arguments: tuple[Formula, ...] = field(compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        # Products are sorted and compared all the time: by a text that is made once.
        object.__setattr__(self, "key", self.text(()))

    def least(self) -> int | None:
        """Returns 1 or 0 where it is certainly at least that for all extents of at least 1, None otherwise."""
        bounds = [1 if is_positive(a - 1) else 0 if is_positive(a) else -1 for a in self.arguments]
        found = min(bounds) if self.function == "min" else max(bounds) if self.function == "max" else -1
        return found if found >= 0 else None

    def text(self, order: Sequence[str]) -> str:
        """Returns the call as text."""
        if self.function in ("ceil", "floor"):
            over, under = (_wrapped(a, order) for a in self.arguments)
            return f"{self.function}({over}/{under})"
        if self.function == "log2":
            return f"ceil(log2({self.arguments[0].text(order)}))"
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

    def put(self, extents: Mapping[str, int]) -> Formula:
        """Returns the atom with the extents of some ranks put in."""
        made = [a.put(extents) for a in self.arguments]
        match self.function:
            case "min":
                return reduce(minimum, made)
            case "max":
                return reduce(maximum, made)
            case "log2":
                return depth_of_tree(*made)
        return quotient(*made, self.function)


Unknown = str | Atom
Monomial = tuple[Unknown, ...]
"""The unknowns of a product, sorted, repeated as often as they occur."""


def _key(unknown: Unknown) -> tuple[int, str]:
    return (0, unknown) if isinstance(unknown, str) else (1, unknown.key)


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

    def put(self, extents: Mapping[str, int]) -> Formula:
        """Returns the formula with the extents of some ranks (in lower case) put in."""
        known = {rank.upper(): size for rank, size in extents.items()}
        if not self.symbols() & known.keys():
            return self
        total = Formula()
        for monomial, coefficient in self.terms:
            factors = [formula(known.get(u, u)) if isinstance(u, str) else u.put(extents) for u in monomial]
            total = total + multiplied(factors) * coefficient
        return total

    def plain(self, order: Sequence[str] = ()) -> int | str:
        """Returns a whole number where it is one, and its :meth:`text` otherwise."""
        constant = self.constant
        return int(constant) if constant is not None and constant.denominator == 1 else self.text(order)

    def text(self, order: Sequence[str] = ()) -> str:
        """Returns the formula as text, with the unknowns of each product in the given order, then alphabetical."""
        if not self.terms:
            return "0"
        place = {name: i for i, name in enumerate(order)}

        def rank(unknown: Unknown) -> tuple[int, int, str]:
            if isinstance(unknown, Atom):
                return 1, 0, unknown.key
            return 0, place.get(unknown, len(place)), unknown

        common = math.lcm(*(c.denominator for _, c in self.terms))
        texts: dict[Unknown, str] = {}
        parts = []
        for monomial, coefficient in self.terms:
            unknowns = sorted(monomial, key=rank)
            for unknown in unknowns:
                if unknown not in texts:
                    texts[unknown] = unknown if isinstance(unknown, str) else unknown.text(order)
            parts.append((-len(unknowns), [rank(u) for u in unknowns], int(coefficient * common), [texts[u] for u in unknowns]))
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


def _wrapped(made: Formula, order: Sequence[str]) -> str:
    single = len(made.terms) == 1 and len(made.terms[0][0]) <= 1 and (made.terms[0][1] == 1 or made.constant is not None)
    return made.text(order) if single else f"({made.text(order)})"


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
    if is_positive(a - b):
        return b if function == "min" else a
    if is_positive(b - a):
        return a if function == "min" else b
    parts = {part.text(): part for made in (a, b) for part in _operands(made, function)}
    return _single(Atom(function, tuple(parts[text] for text in sorted(parts))))


def _operands(made: Formula, function: str) -> tuple[Formula, ...]:
    """The operands of a formula that is this function itself, or the formula."""
    match made.terms:
        case (((Atom() as atom,), coefficient),) if atom.function == function and coefficient == 1:
            return atom.arguments
    return (made,)


def _single(atom: Atom) -> Formula:
    return Formula((((atom,), Fraction(1)),))


def is_positive(made: Formula) -> bool:
    """Returns whether a formula is at least 0 for all extents of at least 1, as far as the signs of its terms tell."""
    total = Fraction(0)
    for monomial, coefficient in made.terms:
        factors = [1 if isinstance(u, str) else u.least() for u in monomial]
        if None in factors or coefficient < 0 and monomial:
            return False
        total += coefficient * math.prod(f for f in factors if f is not None)
    return total >= 0


def quotient(a: Formula, b: Formula, function: str = "ceil") -> Formula:
    """Returns a / b rounded up (``ceil``) or down (``floor``)."""
    x, y = a.constant, b.constant
    if x is not None and y:
        return formula(math.ceil(x / y) if function == "ceil" else math.floor(x / y))
    return _single(Atom(function, (a, b)))


def depth_of_tree(leaves: Formula) -> Formula:
    """Returns the depth of a balanced binary tree: log2, rounded up."""
    known = leaves.constant
    if known is not None:
        return formula(max(math.ceil(known) - 1, 0).bit_length())
    return _single(Atom("log2", (leaves,)))


def interpolated(names: Sequence[str], values: Mapping[tuple[int, ...], int]) -> Formula:
    """Returns the formula of degree 1 in each name that takes the given values on a grid of two points a name."""
    if not names:
        return formula(values[()])
    low, high = sorted({point[0] for point in values})
    at_low = interpolated(names[1:], {p[1:]: v for p, v in values.items() if p[0] == low})
    at_high = interpolated(names[1:], {p[1:]: v for p, v in values.items() if p[0] == high})
    slope = (at_high - at_low) * Fraction(1, high - low)
    return at_low + slope * (formula(names[0]) - low)


