"""Arguments of homomorphisms taken apart: the terms of a sum that move along a rank, and those that are outer."""

from __future__ import annotations

from einsum_cascades.ir import Access, Call, Expr, Num
from einsum_cascades.operators import map_operator
from einsum_cascades.rewrites.algebra import Ring, Signed, expanded, flat, nonnegative, product_of, sum_of
from einsum_cascades.rewrites.opening import Opening

Split = tuple[Signed, Signed, tuple[Expr, ...]]
"""The inner and the outer terms of a sum, and the guards of tensors that were opened for them."""


class Arguments(Opening):
    """Takes sums apart; what it cannot take apart it asks :meth:`deviation_of`, which knows all operators."""

    def deviation_of(self, source: Ring, leaf: Expr) -> Split | None:
        """Returns the single deviation that an expression is in another ring, or None."""
        raise NotImplementedError

    def scaled(self, source: Ring, expr: Expr) -> tuple[Signed, tuple[Expr, ...], Expr]:
        """Takes factors without the rank that are known to be at least 0 off a sum."""
        scale: list[tuple[int, Expr]] = []
        guards: tuple[Expr, ...] = ()
        while self.has_outer(expr) and self.moves(expr):
            if isinstance(expr, Access) and self.derives(expr):
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

    def additive(self, source: Ring, expr: Expr) -> Split:
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

    def _leaf(self, source: Ring, leaf: Expr) -> Split:
        if isinstance(leaf, Access) and self.derives(leaf):
            body, _, guards = self.opened(leaf, None)
            if any(self.has_outer(g) for g in guards):
                raise self.fail(leaf, "a predicate depends on it")
            inner, outer, more = self.additive(source, body)
            return inner, outer, (*guards, *more)
        if isinstance(leaf, Call) and leaf.op in (source.mul, source.div):
            return self._distributed(source, leaf)
        operator = map_operator(leaf.op, self.cascade) if isinstance(leaf, Call) else None
        if isinstance(leaf, Call) and operator is not None and operator.selects and not self.has_outer(leaf.args[0]):
            return self._selected(source, leaf)
        if isinstance(leaf, Call) and operator is not None and operator.arity == 1:
            found = self.deviation_of(source, leaf)
            if found is not None:
                return found
        if isinstance(leaf, Call):
            definition = expanded(leaf, self.cascade)
            if definition is not None:
                return self.additive(source, definition)
        raise self.fail(leaf, "both stand inside of an operator that does not take sums apart")

    def _distributed(self, source: Ring, leaf: Call) -> Split:
        left, right = leaf.args
        if leaf.op == source.mul and self.has_outer(right) and self.moves(right) and not (
                self.has_outer(left) and self.moves(left)):
            left, right = right, left
        sign = 1 if leaf.op == source.mul else -1
        if not (self.has_outer(left) and self.moves(left)) or self.has_outer(right) and self.moves(right):
            raise self.fail(leaf, "it multiplies one with the other")
        inner, outer, guards = self.additive(source, left)
        if inner and self.has_outer(right) or outer and self.moves(right):
            raise self.fail(leaf, "it multiplies one with the other")
        def scaled(parts: Signed) -> Signed:
            return tuple((s, product_of(source, ((1, e), (sign, right)))) for s, e in parts)
        return scaled(inner), scaled(outer), guards

    def _selected(self, source: Ring, leaf: Call) -> Split:
        condition, first, second = leaf.args
        a, outer, guards = self.additive(source, first)
        b, beyond, more = self.additive(source, second)
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
