"""Where values are present: the conditions under which an element of a tensor exists (rule 3 of the notation).

A condition on a rank that is reduced skips terms; one on kept ranks alone makes the result absent, whichever operand
brings it. A rewrite that takes a read out of a reduction must change neither: it compares conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.indices import bounding_rank, composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.canonical import Canon, Key
from einsum_cascades.rewrites.editing import bare_ranks, outermost, substitute
from einsum_cascades.structure import Iteration, structure


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of presence: a predicate, or an index or a read that decides in another way; then ``of`` names
    what."""

    expr: Expr
    of: str = ""

    @property
    def is_predicate(self) -> bool:
        """Whether it can be written after ``where``."""
        return not self.of

    def moved(self, table: Mapping[str, Expr]) -> Condition:
        """The condition at other coordinates."""
        return Condition(substitute(self.expr, table), self.of)

    def __str__(self) -> str:
        return f"{expr_text(self.expr)} of {self.of}" if self.of else expr_text(self.expr)


Conditions = Mapping[Key, Condition]


class Support:
    """The conditions of the values of one cascade."""

    def __init__(self, cascade: Cascade, canon: Canon) -> None:
        self.canon = canon
        found = structure(cascade)
        self.producers: Mapping[str, Einsum] = found.producers
        self.iterative: Mapping[str, Iteration] = found.iterative
        self.dimensions = found.dimensions

    def keyed(self, conditions: Iterable[Condition]) -> dict[Key, Condition]:
        """Returns conditions by their key."""
        return {(c.of, self.canon.key(c.expr)): c for c in conditions}

    def predicates(self, exprs: Iterable[Expr]) -> dict[Key, Condition]:
        """Returns predicates as conditions by their key."""
        return self.keyed(Condition(e) for e in exprs)

    def of(self, expr: Expr) -> dict[Key, Condition]:
        """Returns the conditions under which a map of an expression is present: those of all of its reads."""
        found: dict[Key, Condition] = {}
        for access in outermost(expr):
            found |= self.of_read(access)
        return found

    def of_read(self, access: Access) -> dict[Key, Condition]:
        """Returns the conditions under which a read is present; none if it always is."""
        if access.tensor in self.iterative:
            return {}
        line = self.producers.get(access.tensor)
        out = next(o for o in line.outputs if o.tensor == access.tensor) if line is not None else None
        found = self.keyed(self._inside(access, out)) if access.fill is None else {}
        if line is None or out is None:
            return found
        names = bare_ranks(out)
        if names is None or line.reduction is not None and line.reduction.into:
            return found | self.keyed([Condition(access, "what makes it")])
        table = dict(zip(names, access.indices, strict=True))
        return found | self.keyed(c.moved(table) for c in self.of_line(line).values())

    def _inside(self, access: Access, out: Access | None) -> Iterator[Condition]:
        names = self.dimensions.get(access.tensor, (None,) * len(access.indices))
        for d, index in enumerate(access.indices):
            if isinstance(index, Coord) or index == Num(0.0) or _is_group(index):
                continue
            left = out.indices[d] if out is not None else None
            rank = left.rank if isinstance(left, Coord) else names[d]
            if rank is None or accesses(index):
                # Only this index decides whether the element exists.
                yield Condition(index, f"dimension {d + 1} of {access.tensor}")
                continue
            if bounding_rank(index) == rank:
                continue
            made = composite(index)
            if made is None or made.name != rank:
                yield Condition(Call("le", (Num(0.0), index)))
            yield Condition(Call("lt", (index, Extent(rank.upper()))))

    def of_line(self, line: Einsum) -> dict[Key, Condition]:
        """Returns the conditions under which an element of an Einsum's outputs is present."""
        kept = set(line.output_ranks)
        return {k: c for k, c in self.of_terms(line).items() if set(coords(c.expr)) <= kept}

    def of_terms(self, line: Einsum) -> dict[Key, Condition]:
        """Returns the conditions under which a point of an Einsum is present, also those that only skip terms."""
        found = self.predicates(conjuncts(line.where))
        for body in line.bodies:
            found |= self.of(body)
        return found


def _is_group(index: Expr) -> bool:
    """Whether an index is the group of a coordinate (``h // R``, ``h*G // H``): every tensor that is read so has it."""
    match index:
        case Call(op="floordiv", args=(above, Num() | Extent())):
            return _is_scaled(above)
    return False


def _is_scaled(expr: Expr) -> bool:
    match expr:
        case Coord():
            return True
        case Call(op="mul", args=(left, Num() | Extent())) | Call(op="mul", args=(Num() | Extent(), left)):
            return _is_scaled(left)
    return False
