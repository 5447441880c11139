"""Formulas in extents: polynomials with exact coefficients whose unknowns are extents and a few functions of them.

A formula prints as text that any calculator reads: ``P*M*E``, ``(P*P + P)/2``, ``ceil(M/M0)``, ``min(P, M)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache, reduce


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
        object.__setattr__(self, "key", self._written(()))

    @cached_property
    def _least(self) -> int | None:
        if self.function == "log2":
            return 0
        bounds = [1 if is_positive(a - 1) else 0 if is_positive(a) else -1 for a in self.arguments]
        if self.function in ("ceil", "floor"):
            # Both are at least 1 and at least 0: a quotient of what is at least 1.
            return (1 if self.function == "ceil" else 0) if min(bounds) == 1 else None
        found = min(bounds) if self.function == "min" else max(bounds)
        return found if found >= 0 else None

    def least(self) -> int | None:
        """Returns 1 or 0 where it is certainly at least that for all extents of at least 1, None otherwise."""
        return self._least

    def text(self, order: Sequence[str]) -> str:
        """Returns the call as text."""
        return self._written(order) if order else self.key

    def _written(self, order: Sequence[str]) -> str:
        if self.function in ("ceil", "floor"):
            over, under = (_wrapped(a, order) for a in self.arguments)
            return f"{self.function}({over}/{under})"
        if self.function == "log2":
            return f"ceil(log2({self.arguments[0].text(order)}))"
        return f"{self.function}({', '.join(a.text(order) for a in self.arguments)})"

    def value(self, extents: Mapping[str, int]) -> Number:
        """Returns its value; log2 is rounded up to a whole number, as the depth of a tree is."""
        values = [a.value(extents) for a in self.arguments]
        match self.function:
            case "min":
                return min(values)
            case "max":
                return max(values)
            case "ceil":
                return math.ceil(Fraction(values[0]) / values[1])
            case "floor":
                return math.floor(Fraction(values[0]) / values[1])
            case "log2":
                return max(math.ceil(values[0]) - 1, 0).bit_length()
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
        return quotient(made[0], made[1], self.function)


Unknown = str | Atom
Monomial = tuple[Unknown, ...]
"""The unknowns of a product, sorted, repeated as often as they occur."""

Number = int | Fraction


def _key(unknown: Unknown) -> tuple[int, str]:
    return (0, unknown) if isinstance(unknown, str) else (1, unknown.key)


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A sum of products: ``terms`` pairs each monomial with its coefficient, which is not 0, in any order."""

    terms: tuple[tuple[Monomial, Number], ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and dict(self.terms) == dict(other.terms)

    def __hash__(self) -> int:
        return hash(frozenset(self.terms))

    def __add__(self, other: Formula | int) -> Formula:
        total = dict(self.terms)
        for monomial, coefficient in formula(other).terms:
            total[monomial] = total.get(monomial, 0) + coefficient
        return _made(total)

    def __radd__(self, other: int) -> Formula:
        return self + other

    def __neg__(self) -> Formula:
        return Formula(tuple([(m, -c) for m, c in self.terms]))

    def __sub__(self, other: Formula | int) -> Formula:
        total = dict(self.terms)
        for monomial, coefficient in formula(other).terms:
            total[monomial] = total.get(monomial, 0) - coefficient
        return _made(total)

    def __rsub__(self, other: int) -> Formula:
        return formula(other) - self

    def __mul__(self, other: Formula | Number) -> Formula:
        total: dict[Monomial, Number] = {}
        for a, x in self.terms:
            for b, y in formula(other).terms:
                monomial = tuple(sorted((*a, *b), key=_key)) if a and b else a or b
                total[monomial] = total.get(monomial, 0) + x * y
        return _made(total)

    def __rmul__(self, other: Number) -> Formula:
        return self * other

    @property
    def constant(self) -> Number | None:
        """The value of a formula without unknowns, or None."""
        if not self.terms:
            return 0
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

    def value(self, extents: Mapping[str, int]) -> Number:
        """Returns its value; extents are given by their capital names.

        Raises: KeyError for an extent that is not given.
        """
        total: Number = 0
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
            parts.append((-len(unknowns), [rank(u) for u in unknowns], int(coefficient * common),
                          [texts[u] for u in unknowns]))
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


def _made(total: Mapping[Monomial, Number]) -> Formula:
    return Formula(tuple([term for term in total.items() if term[1]]))


def _wrapped(made: Formula, order: Sequence[str]) -> str:
    single = len(made.terms) == 1 and len(made.terms[0][0]) <= 1 and (made.terms[0][1] == 1 or not made.terms[0][0])
    return made.text(order) if single else f"({made.text(order)})"


def formula(value: Formula | Number | str) -> Formula:
    """Returns a number, or the extent of that capital name, as a formula."""
    if isinstance(value, Formula):
        return value
    if isinstance(value, str):
        return Formula((((value,), 1),))
    return Formula((((), value),)) if value else Formula()


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


@lru_cache(maxsize=4096)
def _chosen(function: str, a: Formula, b: Formula) -> Formula:
    parts: list[Formula] = []
    for part in (*_operands(a, function), *_operands(b, function)):
        # What is certainly not the smaller one (the larger one) of two drops out.
        over = [(part - other) if function == "min" else (other - part) for other in parts]
        if any(map(is_positive, over)):
            continue
        parts = [other for other, apart in zip(parts, over, strict=True) if not is_positive(-apart)]
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    return _single(Atom(function, tuple(sorted(parts, key=Formula.text))))


def _operands(made: Formula, function: str) -> list[Formula]:
    """The operands of a formula that is this function, or that plus something: max(a, b) + c has a + c and b + c."""
    for monomial, coefficient in made.terms:
        atom = monomial[0] if len(monomial) == 1 and coefficient == 1 else None
        if isinstance(atom, Atom) and atom.function == function:
            rest = made - _single(atom)
            return [part + rest for operand in atom.arguments for part in _operands(operand, function)]
    return [made]


def _single(atom: Atom) -> Formula:
    return Formula((((atom,), 1),))


def is_positive(made: Formula) -> bool:
    """Returns whether a formula is at least 0 for all extents of at least 1, as far as the signs of its terms tell."""
    least: dict[Monomial, Number] = {}
    negative = []
    for monomial, coefficient in made.terms:
        for unknown in monomial:
            if not isinstance(unknown, str) and unknown.least() is None:
                return False
        if coefficient > 0:
            least[monomial] = coefficient
        else:
            negative.append((monomial, -coefficient))
    for monomial, missing in negative:
        # A product is at least what is left of it when factors of at least 1 are taken out.
        for other, spare in least.items():
            extra = list(other)
            whole = all(_taken(extra, u) for u in monomial)
            if spare and whole and all(isinstance(u, str) or u.least() == 1 for u in extra):
                taken = min(spare, missing)
                least[other] -= taken
                missing -= taken
        if missing:
            return False
    return True


def _taken(unknowns: list[Unknown], one: Unknown) -> bool:
    if one not in unknowns:
        return False
    unknowns.remove(one)
    return True


def quotient(a: Formula, b: Formula, function: str = "ceil") -> Formula:
    """Returns a / b rounded up (``ceil``) or down (``floor``)."""
    x, y = a.constant, b.constant
    if x is not None and y:
        return formula(math.ceil(Fraction(x) / y) if function == "ceil" else math.floor(Fraction(x) / y))
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


