"""An Einsum taken apart once, before it is evaluated at any point: conditions, stages of reduction, products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.indices import Offset, offset
from einsum_cascades.interpreter.blocks import Space
from einsum_cascades.interpreter.contraction import planned
from einsum_cascades.ir import Access, Call, Einsum, Expr, conjuncts, coords, unique
from einsum_cascades.operators import POPULATES
from einsum_cascades.structure import Iteration


@dataclass(frozen=True, slots=True)
class Term:
    """One additive term of a body: ``sign`` times the product of ``numerators`` over that of ``denominators``."""

    sign: float
    numerators: tuple[Expr, ...]
    denominators: tuple[Expr, ...]


@dataclass(frozen=True)
class Recipe:
    """An Einsum's parts.

    ``conditions`` are the conjuncts of its predicate. ``inner`` ranks are summed first; then ``operator`` reduces or
    populates over ``outer`` (None: nothing is left). ``scattered`` are the ranks of the index tensors on the left
    that are reduced. ``terms`` belong to each body. ``iterations`` are those of iterative outputs (None for others),
    and ``carried`` says of each that a slot is present only where the slot before it is, because its body reads that.
    """

    einsum: Einsum
    conditions: tuple[Expr, ...]
    inner: tuple[str, ...]
    operator: str | None
    outer: tuple[str, ...]
    scattered: tuple[str, ...]
    terms: tuple[tuple[Term, ...], ...]
    iterations: tuple[Iteration | None, ...]
    carried: tuple[bool, ...]

    @property
    def populates(self) -> bool:
        """Whether the operator makes a rank."""
        return self.operator in POPULATES

    def splittable(self, space: Space) -> tuple[str, ...]:
        """Returns the ranks along which the work can be cut: kept ones, except an iteration's and a populate's."""
        head = self.einsum.reduction
        never = {*(head.into if head else ()), *(own.rank for own in self.iterations if own is not None),
                 *(r for out in self.einsum.outputs for i in out.indices if isinstance(i, Access) for r in coords(i))}
        return tuple(r for r in self.einsum.output_ranks if r in space.axes and r not in never)

    def most(self, space: Space, careful: bool) -> int:
        """Returns the most elements of any array that evaluation over the space makes.

        ``careful`` evaluation forms every product before it is summed.
        """
        found = 1
        for condition in self.conditions:
            found = max(found, space.points(coords(condition)) // 8)
        sent = unique(tuple(r for out in self.einsum.outputs for i in out.indices if isinstance(i, Access)
                            for r in (*coords(i), *self.scattered)))
        for body, terms in zip(self.einsum.bodies, self.terms, strict=True):
            if sent:
                found = max(found, space.points({*coords(body), *sent, *self.outer}))
            if careful or not self.inner:
                found = max(found, space.points(coords(body)))
                continue
            away = frozenset(space.axes_of(self.inner))
            for term in terms:
                factors = [frozenset(space.axes_of(coords(f))) for f in (*term.numerators, *term.denominators)]
                sizes = [planned(tuple(factors), away, space.sizes).most]
                found = max(found, *sizes, *(space.points(coords(f)) for f in (*term.numerators, *term.denominators)))
        return found


def recipe(einsum: Einsum, iterative: Mapping[str, Iteration]) -> Recipe:
    """Returns how an Einsum is evaluated; ``iterative`` says which tensors iterate."""
    head = einsum.reduction
    iterations = tuple(iterative.get(out.tensor) for out in einsum.outputs)
    if head is None or head.op == "sum":
        inner, named = einsum.reduced_ranks, None
    else:
        inner, named = einsum.summed_ranks, head
    scattered = unique(tuple(r for o in einsum.outputs for i in o.indices if isinstance(i, Access) for r in coords(i)
                             if r in einsum.reduced_ranks))
    return Recipe(einsum, conjuncts(einsum.where), inner, named.op if named else None,
                  named.ranks if named else (), scattered,
                  tuple(tuple(_terms(body, 1.0)) for body in einsum.bodies), iterations,
                  tuple(map(_carries, einsum.outputs, einsum.bodies, iterations)))


def _terms(body: Expr, sign: float) -> list[Term]:
    match body:
        case Call(op="add", args=(left, right)):
            return [*_terms(left, sign), *_terms(right, sign)]
        case Call(op="sub", args=(left, right)):
            return [*_terms(left, sign), *_terms(right, -sign)]
        case Call(op="neg", args=(inner,)):
            return _terms(inner, -sign)
    numerators, denominators = _factors(body)
    return [Term(sign, numerators, denominators)]


def _factors(expr: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    match expr:
        case Call(op="mul", args=(left, right)):
            (a, c), (b, d) = _factors(left), _factors(right)
            return (*a, *b), (*c, *d)
        case Call(op="div", args=(left, right)):
            a, c = _factors(left)
            return a, (*c, right)
    return (expr,), ()


def _carries(out: Access, body: Expr, own: Iteration | None) -> bool:
    """Whether a body reads its output's own previous slot, at the same coordinates of all other ranks."""
    if own is None:
        return False
    previous = Offset(own.rank, 0 if own.step > 0 else 1)
    return any(a.tensor == out.tensor and a.fill is None
               and all(offset(i) == previous if d == own.dimension else i == o
                       for d, (i, o) in enumerate(zip(a.indices, out.indices, strict=True)))
               for a in _operands(body))


def _operands(body: Expr) -> tuple[Access, ...]:
    """The reads of a body that are values, not indices of others."""
    if isinstance(body, Access):
        return (body,)
    return tuple(a for part in body.args for a in _operands(part)) if isinstance(body, Call) else ()
