"""Regroups a product of sums: the sum over one rank is taken first, of the factors that know it.

``S[p,m] = Q[p,e] * K[m,e]; O[p,f] = S[p,m] * V[m,f]`` becomes ``G[e,f] = K[m,e] * V[m,f]; O[p,f] = Q[p,e] * G[e,f]``:
linear attention from its quadratic form. Where a predicate ties the rank to a kept one (``m <= p``), G is a prefix sum,
which is made iterative: a recurrence with a matrix as its state.

Legal for sums of products of a map that is declared associative and commutative and to distribute over the sum.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, coords, unique
from einsum_cascades.operators import REDUCTIONS
from einsum_cascades.rewrites.algebra import Ring, flat, product_of, ring_of
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import (
    Names,
    bare_ranks,
    conjunction,
    is_renameable,
    reductions,
    substitute,
    sum_head,
)
from einsum_cascades.rewrites.iterate import iterate
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import structure

NAME = "regroup"

Factors = list[tuple[int, Expr]]


def regroup(cascade: Cascade, tensor: str, rank: str) -> Cascade:
    """Returns the cascade with a sum of products over ``rank`` that sums over it first, then over what else was summed.

    Raises: IllegalRewriteError where a factor is no sum of products that knows the rank, or nothing else can be summed
    after.
    """
    line = structure(cascade).producers[tensor]
    ring = _ring(cascade, line)
    factors, summed, guards = _opened(cascade, line, rank, ring)
    first = [(s, f) for s, f in factors if rank in coords(f)]
    rest = [(s, f) for s, f in factors if rank not in coords(f)]
    tied = [g for g in guards if rank in coords(g)]
    kept = unique(tuple(r for _, f in first for r in coords(f) if r != rank) + tuple(
        r for g in tied for r in coords(g) if r != rank))
    own = set(line.output_ranks)
    if not rest or not any(r in summed and r != rank for _, f in rest for r in coords(f)):
        raise IllegalRewriteError(f"tensor {tensor!r}: no factor is left to be summed after rank {rank!r}, got every "
                                  "one in it; choose another rank")
    draft = Draft(cascade)
    draft.begin(tensor)
    gone = tuple(r for r in summed if r == rank or r not in {x for _, f in rest for x in coords(f)}
                 and not any(r in coords(g) for g in guards if g not in tied))
    kept = tuple(r for r in kept if r not in gone)
    body = product_of(ring, first)
    made = draft.define("G" + tensor, (*(r for r in kept if r not in own), *(r for r in kept if r in own)), body,
                        sum_head(body, gone), conjunction(tied))
    after = tuple(r for r in summed if r not in gone)
    outside = product_of(ring, (*rest, (1, made)))
    loose = conjunction(g for g in guards if g not in tied)
    draft.replace(Einsum(line.outputs, (outside,), sum_head(outside, after), loose, line.span))
    result = draft.finish()
    # A prefix sum for each coordinate would cost more than it saves.
    return iterate(result, made.tensor, rank) if tied else result


def _ring(cascade: Cascade, line: Einsum) -> Ring:
    total = REDUCTIONS["sum"]
    ring = ring_of(str(total.combine), cascade)
    assert ring is not None
    if line.reduction is not None and line.reduction.op != total.name or len(line.outputs) != 1 \
            or bare_ranks(line.output) is None or not line.reduced_ranks:
        raise IllegalRewriteError(f"tensor {line.name!r}: it is no sum of products, got "
                                  f"{line.reduction.op if line.reduction else 'no sum'!r}; regroup sums only")
    return ring


def _opened(cascade: Cascade, line: Einsum, rank: str, ring: Ring) -> tuple[Factors, tuple[str, ...], tuple[Expr, ...]]:
    """The factors of a sum with those that are sums of products along the rank written out, all summed ranks, and
    guards."""
    found = structure(cascade)
    names = Names(cascade)
    taken = set(line.ranks)
    factors: Factors = []
    summed = list(line.reduced_ranks)
    guards = list(conjuncts(line.where))
    opened = 0
    for sign, factor in flat(line.body, ring.mul, ring.div, None):
        made = found.producers.get(factor.tensor) if isinstance(factor, Access) else None
        if not isinstance(factor, Access) or made is None or sign < 0 or rank not in coords(factor) \
                or not _is_product(made, found.iterative) or not all(isinstance(i, Coord) for i in factor.indices):
            factors.append((sign, factor))
            continue
        opened += 1
        left = bare_ranks(made.output)
        assert left is not None
        table: dict[str, Expr] = dict(zip(left, factor.indices, strict=True))
        for r in made.reduced_ranks:
            if r in taken and not is_renameable(made, r):
                raise IllegalRewriteError(f"tensor {line.name!r}: rank {r!r} is summed twice, got it as part of "
                                          "another index; rename one of them")
            fresh = names.rank(r) if r in taken else r
            taken.add(fresh)
            table[r] = Coord(fresh)
            summed.append(fresh)
        factors += [(s, substitute(f, table)) for s, f in flat(made.body, ring.mul, ring.div, None)]
        guards += [substitute(g, table) for g in conjuncts(made.where)]
    if not opened:
        raise IllegalRewriteError(f"tensor {line.name!r}: no factor is a sum of products along rank {rank!r}, got "
                                  f"{', '.join(a.tensor for a in line.reads)}; there is nothing to regroup")
    return factors, tuple(summed), tuple(dict.fromkeys(guards))


def _is_product(line: Einsum, iterative: Container[str]) -> bool:
    return (len(line.outputs) == 1 and bare_ranks(line.output) is not None and line.name not in iterative
            and bool(line.reduced_ranks) and (line.reduction is None or line.reduction.op == "sum"))


def candidates(cascade: Cascade) -> Iterator[tuple[str, str]]:
    """Yields every tensor with every rank that its line reduces."""
    return reductions(cascade)


apply = regroup
