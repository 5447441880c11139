"""Folds a line into those that read it: its right side is written in the place of each read.

``A[p,m] = SN[p,m] / SD[p]; AV[p,f] = A[p,m] * V[m,f]`` becomes ``AV[p,f] = SN[p,m] / SD[p] * V[m,f]``.

Legal for a plain map that is no output and no recurrence, read at ranks or at a fixed slot, outside of indices and
without a fill. Its predicate moves along. A map is computed wherever it is read: what is read more than once is not
folded, unless it is a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, Extent, Num, transform
from einsum_cascades.rewrites.canonical import Canon
from einsum_cascades.rewrites.editing import (
    bare_ranks,
    conjunction,
    edited,
    ends_with,
    map_reads,
    outermost,
    substitute,
)
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.support import Support
from einsum_cascades.structure import structure

NAME = "fold"


def fold(cascade: Cascade, tensor: str) -> Cascade:
    """Returns the cascade with a map written out where it is read.

    Raises: IllegalRewriteError where it cannot be folded.
    """
    found = structure(cascade)
    line = found.producers.get(tensor)
    if line is None or line.reduction is not None or line.reduced_ranks or len(line.outputs) != 1 \
            or tensor in found.iterative or bare_ranks(line.output) is None:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is no plain map, got a reduction, a recurrence or a tuple; "
                                  "fold maps only")
    if tensor in found.outputs:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is an output, got it to fold; fold tensors that nobody asks "
                                  "for")
    if not all(ends_with(line, r) for r in line.output_ranks):
        raise IllegalRewriteError(f"tensor {tensor!r}: nothing else says how long its ranks are, got a line without "
                                  "such reads; fold another tensor")
    return edited(cascade, (_into(e, line) for e in cascade.einsums if e is not line),
                  (_into(e, line) for e in cascade.inits))


def _into(reader: Einsum, line: Einsum) -> Einsum:
    tensor = line.name
    reads = [a for a in reader.reads if a.tensor == tensor]
    if not reads:
        return reader
    plain = [a for body in (*reader.bodies, *conjuncts(reader.where)) for a in outermost(body) if a.tensor == tensor]
    if len(plain) != len(reads) or any(a.fill is not None or not all(_is_simple(i) for i in a.indices) for a in reads):
        raise IllegalRewriteError(f"tensor {tensor!r}: it is read inside of an index, at a distance or with a fill by "
                                  f"{reader.name!r}, got such a read; fold tensors that are read at their ranks")
    names = bare_ranks(line.output)
    assert names is not None
    guards: list[Expr] = []

    def place(node: Expr) -> Expr:
        if not isinstance(node, Access) or node.tensor != tensor:
            return node
        table = dict(zip(names, node.indices, strict=True))
        for predicate in conjuncts(line.where):
            guards.append(substitute(predicate, table))
        return substitute(line.body, table)

    where = transform(reader.where, place) if reader.where is not None else None
    if guards and where is not None:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is filtered and read in a predicate of {reader.name!r}, got "
                                  "both; fold another tensor")
    made = replace(reader, bodies=tuple(transform(b, place) for b in reader.bodies), where=where)
    return replace(made, where=conjunction((*conjuncts(made.where), *guards)))


def _is_simple(index: Expr) -> bool:
    return isinstance(index, (Coord, Num, Extent))


def fold_copies(cascade: Cascade) -> Cascade:
    """Returns the cascade with reads of copies (``GM[p] = RM[M1,p]``) replaced by reads of what they copy.

    The predicate of a filtered copy moves along where the reader is not filtered alike already.
    """
    found = structure(cascade)
    copies = {e.name: e for e in cascade.einsums
              if isinstance(e.body, Access) and e.reduction is None and not e.reduced_ranks
              and len(e.outputs) == 1 and e.name not in found.iterative and bare_ranks(e.output) is not None}

    support = Support(cascade, Canon(cascade))

    def folded(reader: Einsum) -> Einsum:
        guards: list[Expr] = []

        def place(access: Access) -> Access:
            line = copies.get(access.tensor)
            names = bare_ranks(line.output) if line is not None else None
            if line is None or names is None or access.fill is not None \
                    or not all(_is_simple(i) for i in access.indices):
                return access
            table = dict(zip(names, access.indices, strict=True))
            guards.extend(substitute(c, table) for c in conjuncts(line.where))
            source = substitute(line.body, table)
            assert isinstance(source, Access)
            return place(source)

        made = map_reads(reader, place)
        known = support.of_terms(made)
        added = [c.expr for k, c in support.predicates(guards).items() if k not in known]
        return replace(made, where=conjunction((*conjuncts(made.where), *added)))
    return edited(cascade, (folded(e) for e in cascade.einsums), (folded(e) for e in cascade.inits))


def candidates(cascade: Cascade) -> Iterator[tuple[str]]:
    """Yields the lines that are read once, or are copies."""
    reads = [a.tensor for e in (*cascade.einsums, *cascade.inits) for a in e.reads]
    for line in cascade.einsums:
        if reads.count(line.name) == 1 or isinstance(line.body, Access):
            yield (line.name,)


apply = fold
