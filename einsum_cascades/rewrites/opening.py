"""What an expression reads along a rank, and what of it is known only after a sweep: tensors that derive from that are
opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, coords
from einsum_cascades.operators import reduction_operator
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.canonical import Canon
from einsum_cascades.rewrites.editing import Names, bare_ranks, ends_with, is_renameable, outermost, substitute
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.support import Support
from einsum_cascades.structure import structure


class InseparableError(IllegalRewriteError):
    """A body mixes what it reads along the rank with what is known only after a sweep of it.

    ``along`` and ``outer`` are the two reads, ``mixture`` the expression that mixes them.
    """

    def __init__(self, why: str, along: Access | None, outer: Access | None, mixture: Expr) -> None:
        self.along, self.outer, self.mixture, self.why = along, outer, mixture, why
        text = expr_text(along) if along is not None else "its operand"
        super().__init__(f"expression: {why}, got {expr_text(mixture)}", read=text)


class Opening:
    """Tells inner from outer reads along ``rank`` for one Einsum; ``is_outer`` tells the reads to be freed of."""

    def __init__(self, cascade: Cascade, rank: str, is_outer: Callable[[Access], bool],
                 taken: tuple[str, ...] = ()) -> None:
        self.cascade, self.rank, self.is_outer = cascade, rank, is_outer
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
            known = self._outer[expr] = any(self.is_outer(a) or self.derives(a) for a in outermost(expr)) \
                or any(self.has_outer(i) for a in outermost(expr) for i in a.indices if not isinstance(i, Coord))
        return known

    def derives(self, access: Access) -> bool:
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
            late = next((a for i in access.indices for a in outermost(i) if self.is_outer(a) or self.derives(a)), None)
            if self.is_outer(access):
                outer = outer or access
            elif late is not None:
                along, outer = along or access, outer or late
            elif self.derives(access) and depth:
                line = self.producers[access.tensor]
                names = bare_ranks(line.output)
                table = dict(zip(names, access.indices, strict=True)) if names is not None else {}
                for body in (*line.bodies, *conjuncts(line.where)):
                    inner = self.culprits(substitute(body, table), depth - 1)
                    along, outer = along or inner[0], outer or inner[1]
            elif self.moves(access):
                along = along or access
        return along, outer

    def opened(self, access: Access, combine: str | None) -> tuple[Expr, tuple[str, ...], tuple[Expr, ...]]:
        """Returns a tensor's definition at a read: its body, the ranks that it reduces by ``combine``, its guards."""
        line = self.producers[access.tensor]
        names = bare_ranks(line.output)
        if len(line.outputs) != 1 or names is None or access.tensor in self.iterative or access.fill is not None:
            raise self.fail(access, "a recurrence, a tuple or a scattered tensor reads it")
        if not all(i == Coord(r) or ends_with(line, r) for r, i in zip(names, access.indices, strict=True)):
            raise self.fail(access, "it is read at another coordinate, where nothing says whether it exists")
        table: dict[str, Expr] = dict(zip(names, access.indices, strict=True))
        reduced = line.reduced_ranks
        if reduced:
            head = reduction_operator(line.reduction.op if line.reduction else "sum", self.cascade)
            plain = head is not None and not (line.reduction and line.reduction.into) and head.combine is not None
            both = bool(line.summed_ranks and line.reduction) and head is not None and head.name != "sum"
            if not plain or head is None or head.combine != combine or both:
                raise self.fail(access, "a reduction over other ranks stands between")
        made = []
        for r in reduced:
            if r in self.taken and not is_renameable(line, r):
                raise self.fail(access, f"its rank {r!r} is taken, and part of another index")
            name = r if r not in self.taken else self.names.rank(r)
            self.taken.add(name)
            made.append(name)
            table[r] = Coord(name)
        guards = tuple(substitute(c, table) for c in (*conjuncts(line.where), *self._skipped(access, line)))
        return substitute(line.body, table), tuple(made), guards

    def _skipped(self, access: Access, line: Einsum) -> list[Expr]:
        """Predicates that say which terms of a sum are there, which a read of the sum does not tell."""
        reduced = set(line.reduced_ranks)
        found = [c for c in self.support.of_terms(line).values() if set(coords(c.expr)) & reduced] if reduced else []
        if not all(c.is_predicate for c in found):
            raise self.fail(access, "where the terms of a sum are present is not known as a predicate")
        return [c.expr for c in found]

    @cached_property
    def support(self) -> Support:
        """Where values are present."""
        return Support(self.cascade, Canon(self.cascade))
