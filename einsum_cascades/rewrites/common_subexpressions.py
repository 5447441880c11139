"""Computes once what several lines compute, and what does not change along all ranks of a line.

``D[p] = S[p] * exp(G[p] - H[p]); O[p,f] = N[p,f] * exp(G[p] - H[p])`` becomes ``X[p] = exp(G[p] - H[p])`` and two reads
of it.

Always legal: a line of its own is present wherever the lines that read it are. Only lines that are named are searched,
so that what was written stays as it was; lines that say the same are made one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr, coords, transform, unique
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import conjunction, outermost
from einsum_cascades.structure import structure

NAME = "common-subexpressions"


def share(cascade: Cascade, lines: Iterable[str] | None = None) -> Cascade:
    """Returns the cascade with repeated and invariant expressions of some lines (all by default) on their own lines."""
    chosen = set(lines) if lines is not None else {e.name for e in cascade.einsums}
    while True:
        found = next(_repeated(cascade, chosen), None)
        if found is None:
            return cascade
        cascade, name = _extracted(cascade, *found)
        chosen.add(name)


def _repeated(cascade: Cascade, chosen: set[str]) -> Iterator[tuple[Expr, list[str]]]:
    """Yields expressions to take out, the largest first, with the lines that have them."""
    where: dict[Expr, list[str]] = {}
    invariant: set[Expr] = set()
    for line in cascade.einsums:
        if line.name not in chosen or structure(cascade).iterative.get(line.name) and len(line.outputs) > 1:
            continue
        for body in line.bodies:
            for call in _calls(body):
                where.setdefault(call, []).append(line.name)
                if set(coords(call)) < set(line.ranks):
                    invariant.add(call)
    for expr in sorted(where, key=_size, reverse=True):
        names = where[expr]
        if len(names) > 1 or expr in invariant:
            yield expr, list(unique(tuple(names)))


def _calls(expr: Expr) -> Iterator[Call]:
    """Yields the operators of an expression that work on values, the outermost first."""
    if isinstance(expr, Call) and next(outermost(expr), None) is not None:
        yield expr
        for arg in expr.args:
            yield from _calls(arg)


def _size(expr: Expr) -> int:
    return 1 + sum(_size(a) for a in expr.args) if isinstance(expr, Call) else 1


def _extracted(cascade: Cascade, expr: Expr, names: list[str]) -> tuple[Cascade, str]:
    draft = Draft(cascade)
    draft.begin(names[0])
    own = set(coords(expr))
    lines = [structure(cascade).producers[n] for n in names]
    shared = [c for c in conjuncts(lines[0].where) if set(coords(c)) <= own
              and all(c in conjuncts(other.where) for other in lines[1:])]
    ranks = tuple(r for r in unique(tuple(r for line in lines for r in line.ranks)) if r in own)
    made = draft.define("X" + names[0], ranks, expr, None, conjunction(shared))

    def place(node: Expr) -> Expr:
        return made if node == expr else node

    for line in lines:
        if line.name != made.tensor:
            draft.replace(replace(line, bodies=tuple(transform(b, place) for b in line.bodies)))
    return draft.finish(), made.tensor


def merge(cascade: Cascade) -> Cascade:
    """Returns the cascade with lines that say the same made one."""
    draft = Draft(cascade)
    found = structure(cascade)
    table: dict[str, Access] = {}
    for line in cascade.einsums:
        same = draft.same_line(line)
        if same is not None and line.name not in found.outputs:
            table[line.name] = same
    return cascade if not table else _merged(cascade, table)


def _merged(cascade: Cascade, table: dict[str, Access]) -> Cascade:
    from einsum_cascades.rewrites.editing import bare_ranks, edited, map_reads, substitute
    producers = structure(cascade).producers

    def place(access: Access) -> Access:
        same = table.get(access.tensor)
        names = bare_ranks(producers[access.tensor].output) if same is not None else None
        if same is None or names is None:
            return access
        moved = substitute(same, dict(zip(names, access.indices, strict=True)))
        assert isinstance(moved, Access)
        return replace(moved, fill=access.fill)

    def changed(line: Einsum) -> Einsum:
        return map_reads(line, place)
    return edited(cascade, (changed(e) for e in cascade.einsums if e.name not in table),
                  (changed(e) for e in cascade.inits))


def apply(cascade: Cascade) -> Cascade:
    """Returns the cascade with nothing computed twice."""
    return share(merge(cascade))


def candidates(cascade: Cascade) -> Iterator[tuple[()]]:
    """Yields the cascade as a whole."""
    yield ()
