"""A body taken apart: what moves along a rank, what is known only after a sweep of it, and what mixes the two.

The *outer* reads of a body are those that it is to be freed of (statistics of the rank that is reduced). A body becomes a
sum of :class:`Term`; each is a product of outer factors, inner factors, and two kinds of mixture that are closed under a
change of reference:

* a :class:`Phase`, f(e + s) with f a homomorphism from sums to products: f(e + s') = f(e + s) * f(s' - s);
* a :class:`Deviation`, (e + s)**k: a polynomial, which the moments below it translate to another reference.

Everything else that mixes inner and outer reads is inseparable. Tensors that derive from outer reads are opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Call, Cascade, Coord, Expr, Num, coords
from einsum_cascades.operators import Homomorphism, MapOperator, map_operator, reduction_operator
from einsum_cascades.printing import expr_text
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
from einsum_cascades.rewrites.editing import Names, bare_ranks, ends_with, outermost, substitute
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import structure


class InseparableError(IllegalRewriteError):
    """A body mixes what it reads along the rank with what is known only after a sweep of it.

    ``along`` and ``outer`` are the two reads, ``mixture`` the expression that mixes them.
    """

    def __init__(self, why: str, along: Access | None, outer: Access | None, mixture: Expr) -> None:
        self.along, self.outer, self.mixture, self.why = along, outer, mixture, why
        text = expr_text(along) if along is not None else "its operand"
        super().__init__(f"expression: {why}, got {expr_text(mixture)}", read=text)


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
        return Term(self.sign * other.sign, self.outer + other.outer, self.inner + other.inner, self.phases + other.phases,
                    self.deviations + other.deviations, self.ranks + other.ranks,
                    tuple(dict.fromkeys(self.guards + other.guards)))


class Separator:
    """Takes bodies of one Einsum apart along ``rank``; ``is_outer`` tells the reads to be freed of."""

    def __init__(self, cascade: Cascade, rank: str, is_outer: Callable[[Access], bool], ring: Ring,
                 taken: tuple[str, ...] = ()) -> None:
        self.cascade, self.rank, self.is_outer, self.ring = cascade, rank, is_outer, ring
        found = structure(cascade)
        self.producers, self.iterative = found.producers, found.iterative
        self.taken = set(taken)
        self.names = Names(cascade)
        self._outer: dict[Expr, bool] = {}
        self._inside: set[str] = set()

    # --- what is what ---

    def has_outer(self, expr: Expr) -> bool:
        """Whether an expression reads an outer value, or a tensor along the rank that derives from one."""
        known = self._outer.get(expr)
        if known is None:
            self._outer[expr] = False
            known = self._outer[expr] = any(self.is_outer(a) or self._derives(a) for a in outermost(expr)) \
                or any(self.has_outer(i) for a in outermost(expr) for i in a.indices if not isinstance(i, Coord))
        return known

    def _derives(self, access: Access) -> bool:
        if self.rank not in coords(access):
            return False
        line = self.producers.get(access.tensor)
        if line is None or access.tensor in self._inside:
            return False
        out = next(o for o in line.outputs if o.tensor == access.tensor)
        names = bare_ranks(out)
        table = dict(zip(names, access.indices, strict=True)) if names is not None else {}
        parts = (*line.bodies, *conjuncts(line.where))
        # A recurrence reads itself at other coordinates without end.
        self._inside.add(access.tensor)
        found = any(self.has_outer(substitute(part, table)) for part in parts)
        self._inside.discard(access.tensor)
        return found

    def moves(self, expr: Expr) -> bool:
        """Whether an expression mentions the rank."""
        return self.rank in coords(expr)

    def fail(self, expr: Expr, why: str) -> InseparableError:
        """The error for a mixture, naming a read of either kind."""
        along, outer = self.culprits(expr)
        return InseparableError(why, along, outer, expr)

    def culprits(self, expr: Expr, depth: int = 12) -> tuple[Access | None, Access | None]:
        """A read along the rank and an outer one that an expression mixes, of the tensors that were opened too."""
        along = outer = None
        for access in outermost(expr):
            if self.is_outer(access):
                outer = outer or access
            elif self._derives(access) and depth:
                line = self.producers[access.tensor]
                names = bare_ranks(line.output)
                table = dict(zip(names, access.indices, strict=True)) if names is not None else {}
                for body in line.bodies:
                    inner = self.culprits(substitute(body, table), depth - 1)
                    along, outer = along or inner[0], outer or inner[1]
            elif self.moves(access):
                along = along or access
        return along, outer

    def opened(self, access: Access, combine: str | None) -> tuple[Expr, tuple[str, ...], tuple[Expr, ...]]:
        """Returns the definition of a tensor at a read: its body, the ranks that it sums (by ``combine``), its guards."""
        line = self.producers[access.tensor]
        names = bare_ranks(line.output)
        if len(line.outputs) != 1 or names is None or access.tensor in self.iterative or access.fill is not None:
            raise self.fail(access, "a recurrence, a tuple or a scattered tensor reads it")
        if not all(isinstance(i, Coord) or ends_with(line, r) for r, i in zip(names, access.indices, strict=True)):
            raise self.fail(access, "it is read at another coordinate, where nothing says whether it exists")
        table: dict[str, Expr] = dict(zip(names, access.indices, strict=True))
        reduced = line.reduced_ranks
        if reduced:
            head = reduction_operator(line.reduction.op if line.reduction else "sum", self.cascade)
            plain = head is not None and not (line.reduction and line.reduction.into) and head.combine is not None
            if not plain or head is None or head.combine != combine or line.summed_ranks and head.name != "sum" and line.reduction:
                raise self.fail(access, "a reduction over other ranks stands between")
        made = []
        for r in reduced:
            name = r if r not in self.taken else self.names.rank(r)
            self.taken.add(name)
            made.append(name)
            table[r] = Coord(name)
        return (substitute(line.body, table), tuple(made), tuple(substitute(c, table) for c in conjuncts(line.where)))

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
            if not self._derives(expr):
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
        if found.target == ring.mul and source is not None and source.sub is not None:
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
        scale, guards, argument = self._scaled(source, argument)
        inner, outer, more = self._additive(source, argument)
        guards = (*guards, *more)
        if found.safe_to_split:
            parts = [Call(name, (product_of(source, ((1, sum_of(source, part)), *scale)),)) for part in (inner, outer)]
            return Term(outer=((1, parts[1]),), inner=((1, parts[0]),), guards=guards)
        return Term(phases=(Phase(name, found.source, inner, outer, scale),), guards=guards)

    def _logarithm(self, expr: Call, operator: MapOperator, term: Term, outer: Expr, inner: Expr) -> tuple[Term, ...]:
        ring = self.ring
        above: list[tuple[int, Expr]] = [(1, Call(operator.name, (inner,)))] if term.inner else []
        beyond: list[tuple[int, Expr]] = [(1, Call(operator.name, (outer,)))] if term.outer else []
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

    # --- arguments of homomorphisms ---

    def _scaled(self, source: Ring, expr: Expr) -> tuple[Signed, tuple[Expr, ...], Expr]:
        """Takes factors without the rank that are known to be at least 0 off a sum."""
        scale: list[tuple[int, Expr]] = []
        guards: tuple[Expr, ...] = ()
        while self.has_outer(expr) and self.moves(expr):
            if isinstance(expr, Access) and self._derives(expr):
                expr, _, more = self.opened(expr, None)
                guards = (*guards, *more)
                continue
            if not isinstance(expr, Call) or expr.op not in (source.mul, source.div):
                break
            left, right = expr.args
            if expr.op == source.mul and self.has_outer(right) and not self.has_outer(left):
                left, right = right, left
            if self.has_outer(right) or self.moves(right) or not nonnegative(right, self.producers, self.cascade):
                break
            scale.insert(0, (1 if expr.op == source.mul else -1, right))
            expr = left
        return tuple(scale), guards, expr

    def _additive(self, source: Ring, expr: Expr) -> tuple[Signed, Signed, tuple[Expr, ...]]:
        """Returns the inner and the outer terms of a sum, and the guards of tensors that were opened for them."""
        inner: list[tuple[int, Expr]] = []
        outer: list[tuple[int, Expr]] = []
        guards: list[Expr] = []
        for sign, leaf in flat(expr, source.add, source.sub, self.cascade):
            if not self.has_outer(leaf):
                inner.append((sign, leaf))
            elif not self.moves(leaf):
                outer.append((sign, leaf))
            else:
                a, b, more = self._leaf(source, leaf)
                inner += [(s * sign, e) for s, e in a]
                outer += [(s * sign, e) for s, e in b]
                guards += more
        return tuple(inner), tuple(outer), tuple(guards)

    def _leaf(self, source: Ring, leaf: Expr) -> tuple[Signed, Signed, tuple[Expr, ...]]:
        if isinstance(leaf, Access) and self._derives(leaf):
            body, _, guards = self.opened(leaf, None)
            if any(self.has_outer(g) for g in guards):
                raise self.fail(leaf, "a predicate depends on it")
            inner, outer, more = self._additive(source, body)
            return inner, outer, (*guards, *more)
        if isinstance(leaf, Call) and leaf.op in (source.mul, source.div):
            return self._distributed(source, leaf)
        operator = map_operator(leaf.op, self.cascade) if isinstance(leaf, Call) else None
        if isinstance(leaf, Call) and operator is not None and operator.selects and not self.has_outer(leaf.args[0]):
            return self._selected(source, leaf)
        if isinstance(leaf, Call) and operator is not None and operator.arity == 1:
            outside = Separator(self.cascade, self.rank, self.is_outer, source, tuple(self.taken))
            terms = outside.terms(leaf)
            if len(terms) == 1 and len(terms[0].deviations) == 1 and terms[0] == Term(deviations=terms[0].deviations,
                                                                                      guards=terms[0].guards):
                (deviation,) = terms[0].deviations
                return deviation.inner, deviation.outer, terms[0].guards
        if isinstance(leaf, Call):
            definition = expanded(leaf, self.cascade)
            if definition is not None:
                return self._additive(source, definition)
        raise self.fail(leaf, "it mixes both inside of another operator")

    def _distributed(self, source: Ring, leaf: Call) -> tuple[Signed, Signed, tuple[Expr, ...]]:
        left, right = leaf.args
        if leaf.op == source.mul and self.has_outer(right) and self.moves(right) and not (
                self.has_outer(left) and self.moves(left)):
            left, right = right, left
        sign = 1 if leaf.op == source.mul else -1
        if not (self.has_outer(left) and self.moves(left)) or self.has_outer(right) and self.moves(right):
            raise self.fail(leaf, "it multiplies one with the other")
        inner, outer, guards = self._additive(source, left)
        if inner and self.has_outer(right) or outer and self.moves(right):
            raise self.fail(leaf, "it multiplies one with the other")
        def scaled(parts: Signed) -> Signed:
            return tuple((s, product_of(source, ((1, e), (sign, right)))) for s, e in parts)
        return scaled(inner), scaled(outer), guards

    def _selected(self, source: Ring, leaf: Call) -> tuple[Signed, Signed, tuple[Expr, ...]]:
        condition, first, second = leaf.args
        a, outer, guards = self._additive(source, first)
        b, beyond, more = self._additive(source, second)
        if guards or more:
            raise self.fail(leaf, "a filtered tensor stands in a condition")
        # -inf and inf absorb what is added to them.
        endless = {Num(float("inf")), Num(float("-inf"))}
        if second in endless:
            beyond = outer
        elif first in endless:
            outer = beyond
        if outer != beyond:
            raise self.fail(leaf, "the two sides of a condition need different values")
        made = Call(leaf.op, (condition, sum_of(source, a), sum_of(source, b)))
        return ((1, made),), outer, ()


def product(left: tuple[Term, ...], right: tuple[Term, ...]) -> tuple[Term, ...]:
    """Returns the products of every two terms."""
    return tuple(a.times(b) for a in left for b in right)


def multiplied_out(terms: tuple[Term, ...], ring: Ring) -> tuple[Term, ...]:
    """Returns the terms with deviations that stand alone and to the first power as two terms each: they are no polynomials
    whose moments would have to be translated."""
    found = []
    for term in terms:
        if len(term.deviations) == 1:
            (deviation,) = term.deviations
            rest = replace(term, deviations=())
            found.append(rest.times(Term(inner=((1, sum_of(ring, deviation.inner)),))))
            found.append(rest.times(Term(outer=((1, sum_of(ring, deviation.outer)),))))
        else:
            found.append(term)
    return tuple(found)
