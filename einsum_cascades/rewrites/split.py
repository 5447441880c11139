"""Splits a reduction over several ranks into a local one over some of them and a global one over one rank.

``GM[p] = max[m1, m0] QK[p,m1,m0]`` becomes ``LGM[m1,p] = max[m0] QK[p,m1,m0]; GM[p] = max[m1] LGM[m1,p]``.

Legal for a reduction that is declared associative and commutative and whose partial results are combined by a map, or
are merged by another reduction (counts are summed). What a sum inside of another reduction adds up is split off the
same way.
"""

from __future__ import annotations

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Cascade, Einsum, Expr, Reduction, coords
from einsum_cascades.operators import reduction_operator
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import bare_ranks, conjunction, reductions
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import structure

NAME = "split"


def split(cascade: Cascade, tensor: str, rank: str) -> Cascade:
    """Returns the cascade with a reduction that is local in ``rank`` and then goes over it.

    Raises: IllegalRewriteError where the reduction cannot be split, or goes over that rank alone.
    """
    line = structure(cascade).producers[tensor]
    draft = Draft(cascade)
    draft.begin(tensor)
    part, merge = local(draft, line, rank)
    draft.replace(Einsum(line.outputs, (part,), Reduction(merge, (rank,)), conjunction(own_conjuncts(line)), line.span))
    return draft.finish()


def local(draft: Draft, line: Einsum, rank: str, prefix: str = "L") -> tuple[Access, str]:
    """Adds the local part of a reduction, with ``rank`` as its first rank; returns a read of it and what merges it.

    Raises: IllegalRewriteError where the reduction cannot be split, or goes over that rank alone.
    """
    head = splittable(draft.cascade, line, rank)
    others = tuple(r for r in line.reduced_ranks if r != rank)
    if not others:
        raise IllegalRewriteError(f"tensor {line.name!r}: it reduces rank {rank!r} alone, got nothing to split off; "
                                  "partition the rank first")
    op, merge = head
    named = line.reduction.ranks if line.reduction is not None else ()
    inside = tuple(r for r in named if r != rank)
    if line.reduction is not None and not inside:
        # Only the sum inside is local.
        op = "sum"
    keep = own_conjuncts(line)
    guards = tuple(c for c in conjuncts(line.where) if c not in keep)
    reduction = Reduction(op, inside) if line.reduction is not None and inside else None
    ranks = (rank, *(r for r in line.output_ranks))
    return draft.define(prefix + line.name, ranks, line.body, reduction, conjunction(guards)), merge


def splittable(cascade: Cascade, line: Einsum, rank: str) -> tuple[str, str]:
    """Returns the reduction of a line and the one that merges its partial results.

    Raises: IllegalRewriteError where partial results cannot be merged.
    """
    name = line.reduction.op if line.reduction is not None else "sum"
    head = reduction_operator(name, cascade)
    if rank not in line.reduced_ranks or len(line.outputs) != 1 or bare_ranks(line.output) is None or head is None:
        raise IllegalRewriteError(f"tensor {line.name!r}: it is no plain reduction over rank {rank!r}, got {name!r} "
                                  f"over {', '.join(line.reduced_ranks) or 'nothing'}; choose another tensor")
    if not head.associative or not head.commutative or head.combine is None and not head.merged_by:
        raise IllegalRewriteError(f"reduction {name!r}: its partial results cannot be combined in any order, got it "
                                  f"for {line.name!r}; only a reduction that is declared associative and commutative "
                                  "can be split")
    if line.reduction is not None and rank not in line.reduction.ranks:
        raise IllegalRewriteError(f"tensor {line.name!r}: a sum over rank {rank!r} stands inside of {name!r}, got "
                                  "both; split off the sum first")
    return name, head.merged_by or name


def own_conjuncts(line: Einsum) -> tuple[Expr, ...]:
    """Returns the predicates of a line that only mention ranks which its left side keeps."""
    kept = set(line.output_ranks)
    return tuple(c for c in conjuncts(line.where) if set(coords(c)) <= kept)

apply = split
candidates = reductions
