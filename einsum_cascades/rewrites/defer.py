"""Defers factors: what does not depend on a reduced rank leaves the reduction and is applied once to its result.

``A[p,m] = SN[p,m] / SD[p]; AV[p,f] = A[p,m] * V[m,f]`` becomes ``N[p,f] = SN[p,m] * V[m,f]; AV[p,f] = N[p,f] / SD[p]``.

Legal where the map that applies the factor is declared to distribute over the map that combines the reduction's partial
results: * and / over +, + and - over max and min, * and / by a factor of at least 0 over max and min. Maps that are
declared homomorphisms and safe to split (a logarithm of a product) are split first; sums are multiplied out. The factor
must be present wherever the result is.
"""

from __future__ import annotations

from collections.abc import Callable

from einsum_cascades.ir import Access, Cascade, Expr
from einsum_cascades.rewrites.assembly import Assembly
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import reductions
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.separation import separation
from einsum_cascades.structure import structure

NAME = "defer"


def defer(cascade: Cascade, tensor: str, rank: str, is_outer: Callable[[Access], bool] | None = None) -> Cascade:
    """Returns the cascade with the outer factors of a reduction over ``rank`` taken out of it.

    ``is_outer`` tells the reads that are to leave it; without it, all reads of defined tensors that do not mention the
    rank.

    Raises: IllegalRewriteError where there is none, or where one cannot leave.
    """
    line = structure(cascade).producers[tensor]
    parts = separation(cascade, line, rank, is_outer or free_of(cascade, rank))
    if not parts.defers:
        raise IllegalRewriteError(f"tensor {tensor!r}: no factor can leave its reduction over {rank!r}, got none that "
                                  "is free of that rank; choose another tensor")
    draft = Draft(cascade)
    draft.begin(tensor)
    assembly = Assembly(draft, parts)
    summands = []
    for term in parts.terms:
        mixtures: list[Expr] = [assembly.phase(p, term.guards, "W" + tensor) for p in term.phases]
        mixtures += [assembly.deviation(d) for d in term.deviations]
        summands.append(assembly.numerator(term, tuple(mixtures), "N" + tensor))
    assembly.finish(summands)
    return draft.finish()


def free_of(cascade: Cascade, rank: str) -> Callable[[Access], bool]:
    """Returns a test for reads of defined tensors that do not mention a rank."""
    from einsum_cascades.ir import coords
    producers = structure(cascade).producers
    return lambda access: rank not in coords(access) and access.tensor in producers

apply = defer
candidates = reductions
