"""Keys of expressions: two expressions with one key have one value, whatever the tensors in between are called.

A key looks through tensors that are plain maps and through reductions, renames reduced ranks, and forgets the order of
operands where an operator is declared associative and commutative.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import permutations

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, coords
from einsum_cascades.operators import MAPS, map_operator
from einsum_cascades.rewrites.algebra import flat, negates
from einsum_cascades.rewrites.editing import bare_ranks, substitute
from einsum_cascades.structure import Iteration, structure

Key = Hashable

_DEEPEST = 40


class Canon:
    """Keys of the expressions of one cascade."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        found = structure(cascade)
        self.producers: Mapping[str, Einsum] = found.producers
        self.iterative: Mapping[str, Iteration] = found.iterative
        self._known: dict[Expr, Key] = {}

    def key(self, expr: Expr, depth: int = 0) -> Key:
        """Returns the key of an expression."""
        known = self._known.get(expr)
        if known is None:
            known = self._known[expr] = self._make(expr, depth)
        return known

    def _make(self, expr: Expr, depth: int) -> Key:
        match expr:
            case Num(value=value):
                return ("number", value)
            case Coord(rank=rank):
                return ("rank", rank)
            case Extent(name=name):
                return ("extent", name)
            case Access():
                return self._access(expr, depth)
            case Call():
                return self._call(expr, depth)

    def _call(self, call: Call, depth: int) -> Key:
        for forward, backward in self._groups(call.op):
            parts = flat(call, forward, backward, self.cascade)
            if len(parts) == 1 and parts[0][0] > 0:
                return self.key(parts[0][1], depth)
            keys = sorted(((sign, self.key(part, depth)) for sign, part in parts), key=repr)
            return ("group", forward, tuple(keys))
        return ("call", call.op, tuple(self.key(a, depth) for a in call.args))

    def _groups(self, op: str) -> list[tuple[str, str | None]]:
        """The associative and commutative map that an operator is, or is the inverse of."""
        own = map_operator(op, self.cascade)
        if own is None:
            return []
        if own.associative and own.commutative and own.arity == 2:
            return [(op, own.inverse)]
        candidates = [m for m in MAPS.values() if m.associative and m.commutative and m.arity == 2]
        if own.arity == 2:
            return [(m.name, m.inverse) for m in candidates if m.inverse == op]
        return [(m.name, m.inverse) for m in candidates if m.inverse is not None and negates(own, m.name)]

    def _access(self, access: Access, depth: int) -> Key:
        line = self.producers.get(access.tensor)
        table = self._table(line, access) if line is not None and access.fill is None and depth < _DEEPEST else None
        if line is None or table is None:
            return ("read", access.tensor, tuple(self.key(i, depth + 1) for i in access.indices), access.fill)
        if line.reduction is None and not line.reduced_ranks and line.where is None:
            return self.key(substitute(line.body, table), depth + 1)
        # Numbered from the ranks that reductions around it have renamed, so that equal lines get equal names anywhere.
        first = 1 + max((int(r[1:]) for r in coords(access) if r.startswith("%")), default=-1)
        return self.reduction(line, table, first, depth)

    def reduction(self, line: Einsum, table: Mapping[str, Expr] | None = None, first: int = 0, depth: int = 0) -> Key:
        """Returns the key of a line of one value, with its reduced ranks renamed and ``table`` in the place of the
        others."""
        reduced = [r for r in coords(line.body) if r in line.reduced_ranks]
        reduced += [r for r in line.reduced_ranks if r not in reduced]
        names = {r: f"%{first + i}" for i, r in enumerate(reduced)}
        inner: dict[str, Expr] = {**(table or {}), **{r: Coord(n) for r, n in names.items()}}
        # A sum that is not named is the same as one that is.
        plain = line.reduction is None or line.reduction.op == "sum"
        named = () if plain or line.reduction is None else tuple(sorted(names.get(r, r) for r in line.reduction.ranks))
        head = ("sum", (), ()) if line.reduction is None or plain else (line.reduction.op, named, line.reduction.into)
        return ("line", head, tuple(names.values()), self.key(substitute(line.body, inner), depth + 1),
                None if line.where is None else self.key(substitute(line.where, inner), depth + 1))

    def _table(self, line: Einsum, access: Access) -> dict[str, Expr] | None:
        populates = line.reduction is not None and bool(line.reduction.into)
        if len(line.outputs) != 1 or access.tensor in self.iterative or populates:
            return None
        names = bare_ranks(line.output)
        return None if names is None else dict(zip(names, access.indices, strict=True))

    def same(self, a: Expr, b: Expr) -> bool:
        """Whether two expressions have one key."""
        return a == b or self.key(a) == self.key(b)

    def unify(self, pattern: Expr, free: tuple[str, ...], expr: Expr) -> Mapping[str, Expr] | None:
        """Returns what the free ranks of a pattern stand for in an expression that it equals, or None."""
        # A rank that the pattern does not mention may be anything: it stands for itself.
        free = tuple(r for r in free if r in coords(pattern))
        if not free:
            return {} if self.same(pattern, expr) else None
        own = coords(expr)
        if all(r in own for r in free) and self.same(pattern, expr):
            return {r: Coord(r) for r in free}
        if len(free) > 3 or len(own) > 6:
            return None
        for chosen in permutations(own, len(free)):
            table: dict[str, Expr] = {r: Coord(c) for r, c in zip(free, chosen, strict=True)}
            if self.same(substitute(pattern, table), expr):
                return table
        return None
