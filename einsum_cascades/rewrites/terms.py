"""A body taken apart: what moves along a rank, what is known only after a sweep of it, and what mixes the two.

The *outer* reads of a body are those that it is to be freed of (statistics of the rank that is reduced). A body becomes
a sum of :class:`Term`; each is a product of outer factors, inner factors, and two kinds of mixture that are closed
under a change of reference:

* a :class:`Phase`, f(e + s) with f a homomorphism from sums to products: f(e + s') = f(e + s) * f(s' - s);
* a :class:`Deviation`, (e + s)**k: a polynomial, which the moments below it translate to another reference.

Everything else that mixes inner and outer reads is inseparable. Tensors that derive from outer reads are opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from einsum_cascades.ir import Access, Call, Cascade, Expr, Num
from einsum_cascades.operators import Homomorphism, MapOperator, map_operator
from einsum_cascades.rewrites.algebra import (
    Ring,
    Signed,
    expanded,
    flat,
    negates,
    nonnegative,
    product_of,
    ring_of,
    sum_of,
    whole_power,
)
from einsum_cascades.rewrites.arguments import Arguments, Split
from einsum_cascades.rewrites.opening import InseparableError

__all__ = ["Deviation", "InseparableError", "Phase", "Separator", "Term", "multiplied_out"]


@dataclass(frozen=True, slots=True)
class Phase:
    """``op((inner + outer) * scale)``; ``plus`` is the sum that op turns into a product, ``scale`` is at least 0."""

    op: str
    plus: str
    inner: Signed
    outer: Signed
    scale: Signed = ()

    def inverted(self) -> Phase:
        """1 / op(x) is op(-x)."""
        return replace(self, inner=tuple((-s, e) for s, e in self.inner), outer=tuple((-s, e) for s, e in self.outer))


@dataclass(frozen=True, slots=True)
class Deviation:
    """``inner + outer`` in the ring of the reduction."""

    inner: Signed
    outer: Signed


@dataclass(frozen=True, slots=True)
class Term:
    """A product: ``sign * outer * inner * phases * deviations``, summed over ``ranks`` of sums that were opened, where
    the ``guards`` hold. Factors of -1 stand below the line."""

    sign: int = 1
    outer: Signed = ()
    inner: Signed = ()
    phases: tuple[Phase, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    ranks: tuple[str, ...] = ()
    guards: tuple[Expr, ...] = ()

    def times(self, other: Term) -> Term:
        """The product with another term."""
        return Term(self.sign * other.sign, self.outer + other.outer, self.inner + other.inner,
                    self.phases + other.phases, self.deviations + other.deviations, self.ranks + other.ranks,
                    tuple(dict.fromkeys(self.guards + other.guards)))


class Separator(Arguments):
    """Takes bodies of one Einsum apart along ``rank``; ``is_outer`` tells the reads to be freed of."""

    def __init__(self, cascade: Cascade, rank: str, is_outer: Callable[[Access], bool], ring: Ring,
                 taken: tuple[str, ...] = ()) -> None:
        super().__init__(cascade, rank, is_outer, taken)
        self.ring = ring

    # --- sums of products ---

    def terms(self, expr: Expr) -> tuple[Term, ...]:
        """Returns an expression as a sum of terms.

        Raises: InseparableError where it is none.
        """
        if not self.has_outer(expr):
            return (Term(inner=((1, expr),)),)
        if not self.moves(expr):
            return (Term(outer=((1, expr),)),)
        if isinstance(expr, Access):
            if not self.derives(expr):
                raise self.fail(expr, "it is read at a computed coordinate")
            body, ranks, guards = self.opened(expr, self.ring.add)
            if any(self.has_outer(g) for g in guards):
                raise self.fail(expr, "a predicate depends on it")
            return tuple(replace(t, ranks=ranks + t.ranks, guards=tuple(dict.fromkeys(guards + t.guards)))
                         for t in self.terms(body))
        assert isinstance(expr, Call)
        operator = map_operator(expr.op, self.cascade)
        assert operator is not None
        ring = self.ring
        if expr.op in (ring.add, ring.sub) or negates(operator, ring.add):
            return self._sum(expr)
        if expr.op == ring.mul:
            return product(self.terms(expr.args[0]), self.terms(expr.args[1]))
        if expr.op == ring.div:
            return product(self.terms(expr.args[0]), (self._inverse(expr),))
        return self._other(expr, operator)

    def _sum(self, expr: Expr) -> tuple[Term, ...]:
        inner: list[tuple[int, Expr]] = []
        outer: list[tuple[int, Expr]] = []
        mixed: list[Term] = []
        for sign, leaf in flat(expr, self.ring.add, self.ring.sub, self.cascade):
            if not self.has_outer(leaf):
                inner.append((sign, leaf))
            elif not self.moves(leaf):
                outer.append((sign, leaf))
            else:
                mixed += [replace(t, sign=t.sign * sign) for t in self.terms(leaf)]
        found: list[Term] = []
        if inner and outer and self.ring.sub is not None:
            found.append(Term(deviations=(Deviation(tuple(inner), tuple(outer)),)))
        else:
            found += [Term(inner=((1, sum_of(self.ring, inner)),))] if inner else []
            found += [Term(outer=((1, sum_of(self.ring, outer)),))] if outer else []
        return (*found, *mixed)

    def _inverse(self, expr: Call) -> Term:
        below = self.terms(expr.args[1])
        if len(below) != 1 or below[0].deviations or below[0].ranks:
            raise self.fail(expr, "it divides by a sum that mixes both")
        term = below[0]
        return replace(term, outer=tuple((-s, f) for s, f in term.outer), inner=tuple((-s, f) for s, f in term.inner),
                       phases=tuple(p.inverted() for p in term.phases))

    def _other(self, expr: Call, operator: MapOperator) -> tuple[Term, ...]:
        power = whole_power(operator, expr.args, self.ring.mul)
        if power and not any(self.has_outer(a) for a in expr.args[1:]):
            made = self.terms(expr.args[0])
            for _ in range(power - 1):
                made = product(made, self.terms(expr.args[0]))
            return made
        if operator.selects:
            return self._select(expr)
        if operator.arity == 1:
            argument = expr.args[0]
            if self._undoes(operator, argument):
                assert isinstance(argument, Call)
                return self.terms(argument.args[0])
            for homomorphism in operator.homomorphisms:
                made = self._homomorphism(expr, operator, homomorphism) or ()
                if made:
                    return made
        definition = expanded(expr, self.cascade)
        if definition is not None:
            return self.terms(definition)
        raise self.fail(expr, f"{operator.name!r} mixes both, and has no declared property that takes them apart")

    def _undoes(self, operator: MapOperator, argument: Expr) -> bool:
        if not isinstance(argument, Call) or operator.inverse != argument.op or len(argument.args) != 1:
            return False
        inner = map_operator(argument.op, self.cascade)
        # exp(log(x)) is x only where x is at least 0; log(exp(x)) always is.
        return inner is not None and inner.inverse == operator.name and (
            any(h.source == self.ring.add for h in inner.homomorphisms)
            or nonnegative(argument.args[0], self.producers, self.cascade))

    def _select(self, expr: Call) -> tuple[Term, ...]:
        condition, first, second = expr.args
        if self.has_outer(condition):
            raise self.fail(expr, "a condition depends on it")
        found: list[Term] = []
        for number, branch in enumerate((first, second)):
            if branch == Num(self.ring.zero):
                continue
            if self.moves(condition):
                # On a rank that is reduced, a predicate skips what would add nothing.
                guard = condition if number == 0 else Call("not", (condition,))
                found += [replace(t, guards=(*t.guards, guard)) for t in self.terms(branch)]
            else:
                one, zero = Num(self.ring.one), Num(self.ring.zero)
                factor = Call(expr.op, (condition, one, zero) if number == 0 else (condition, zero, one))
                found += [t.times(Term(inner=((1, factor),))) for t in self.terms(branch)]
        return tuple(found)

    def _homomorphism(self, expr: Call, operator: MapOperator, found: Homomorphism) -> tuple[Term, ...] | None:
        ring, argument = self.ring, expr.args[0]
        source = ring_of(found.source, self.cascade)
        grows = bool(operator.monotone) and operator.monotone[0] != 0
        # A map that may not be split needs a bound, which only one that grows or falls has.
        if found.target == ring.mul and source is not None and source.sub is not None \
                and (found.safe_to_split or grows):
            return (self._phase(operator.name, found, source, argument),)
        if found.source == ring.mul and found.safe_to_split and found.target in (ring.mul, ring.add):
            terms = self.terms(argument)
            if len(terms) != 1 or terms[0].deviations or terms[0].ranks:
                raise self.fail(expr, f"{operator.name!r} of a sum that mixes both")
            (term,) = terms
            outer, inner = product_of(ring, term.outer), product_of(ring, term.inner)
            if found.needs_nonnegative and term.outer and not nonnegative(outer, self.producers, self.cascade):
                raise self.fail(expr, f"{operator.name!r} splits only a factor that is known to be at least 0")
            if term.sign < 0:
                raise self.fail(expr, f"{operator.name!r} of a difference")
            if found.target == ring.add:
                return self._logarithm(expr, operator, term, outer, inner)
            if not term.phases:
                return (replace(term, outer=((1, Call(operator.name, (outer,))),) if term.outer else (),
                                inner=((1, Call(operator.name, (inner,))),) if term.inner else ()),)
        return None

    def _phase(self, name: str, found: Homomorphism, source: Ring, argument: Expr) -> Term:
        scale, guards, argument = self.scaled(source, argument)
        inner, outer, more = self.additive(source, argument)
        guards = (*guards, *more)
        if found.safe_to_split:
            parts = [Call(name, (product_of(source, ((1, sum_of(source, part)), *scale)),)) for part in (inner, outer)]
            return Term(outer=((1, parts[1]),), inner=((1, parts[0]),), guards=guards)
        return Term(phases=(Phase(name, found.source, inner, outer, scale),), guards=guards)

    def _logarithm(self, expr: Call, operator: MapOperator, term: Term, outer: Expr, inner: Expr) -> tuple[Term, ...]:
        ring = self.ring
        above: list[tuple[int, Expr]] = [(1, Call(operator.name, (inner,)))] if term.inner else []
        quotient = operator.homomorphism(ring.div) if ring.div is not None else None
        over = tuple(f for f in term.outer if f[0] > 0)
        under = tuple((1, f) for s, f in term.outer if s < 0)
        beyond: list[tuple[int, Expr]]
        if under and quotient is not None and quotient.target == ring.sub:
            # A quotient of factors is a difference of logarithms.
            beyond = [(1, Call(operator.name, (product_of(ring, over),)))] if over else []
            beyond.append((-1, Call(operator.name, (product_of(ring, under),))))
        else:
            beyond = [(1, Call(operator.name, (outer,)))] if term.outer else []
        for phase in term.phases:
            own = map_operator(phase.op, self.cascade)
            if own is None or own.inverse != operator.name or phase.plus != ring.add:
                raise self.fail(expr, f"{operator.name!r} does not undo {phase.op!r}")
            above += [(1, product_of(ring, ((1, sum_of(ring, phase.inner)), *phase.scale)))] if phase.inner else []
            beyond += [(1, product_of(ring, ((1, sum_of(ring, phase.outer)), *phase.scale)))] if phase.outer else []
        if ring.sub is None or not above or not beyond:
            return tuple(Term(**{kind: ((1, sum_of(ring, parts)),)}, guards=term.guards)  # type: ignore[arg-type]
                         for kind, parts in (("inner", above), ("outer", beyond)) if parts)
        return (Term(deviations=(Deviation(tuple(above), tuple(beyond)),), guards=term.guards),)

    def deviation_of(self, source: Ring, leaf: Expr) -> Split | None:
        terms = Separator(self.cascade, self.rank, self.is_outer, source, tuple(self.taken)).terms(leaf)
        if len(terms) != 1 or len(terms[0].deviations) != 1:
            return None
        (term,) = terms
        (deviation,) = term.deviations
        if term != Term(deviations=(deviation,), guards=term.guards):
            return None
        return deviation.inner, deviation.outer, term.guards


def product(left: tuple[Term, ...], right: tuple[Term, ...]) -> tuple[Term, ...]:
    """Returns the products of every two terms."""
    return tuple(a.times(b) for a in left for b in right)


def multiplied_out(terms: tuple[Term, ...], ring: Ring) -> tuple[Term, ...]:
    """Returns the terms with deviations that stand alone and to the first power as two terms each: they are no
    polynomials whose moments would have to be translated."""
    found = []
    for term in terms:
        if len(term.deviations) == 1:
            (deviation,) = term.deviations
            rest = replace(term, deviations=())
            for sign, parts, is_inner in ((*_signed(deviation.inner), True), (*_signed(deviation.outer), False)):
                factor = ((1, sum_of(ring, parts)),)
                found.append(rest.times(Term(sign, inner=factor) if is_inner else Term(sign, outer=factor)))
        else:
            found.append(term)
    return tuple(found)


def _signed(parts: Signed) -> tuple[int, Signed]:
    """The sign that all terms of a sum share, if they are subtracted, and the terms without it."""
    if all(sign < 0 for sign, _ in parts):
        return -1, tuple((-sign, e) for sign, e in parts)
    return 1, parts
