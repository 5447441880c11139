"""The search for a legal sequence of rewrites that reaches a number of passes with the fewest operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from einsum_cascades.analysis.explanation import reasons
from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.passes import passes as counted_passes
from einsum_cascades.analysis.passes import rank_passes
from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.errors import FusebenchError, UnknownNameError
from einsum_cascades.extents import known_extents, mentioned
from einsum_cascades.ir import Cascade, coords
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.derivation import Derived, derive, regrouped
from einsum_cascades.rewrites.legality import IllegalRewriteError, NoRewriteError
from einsum_cascades.rewrites.stages import Stages
from einsum_cascades.structure import structure

_MOST = 10
"""Choices of stages that are tried for one rank: those that rewrite least come first."""

_LONG, _SHORT, _TILE = 256, 32, 32
"""Extents that decide between two derivations where none is given: of the rank at hand, of others, of a tile."""


def search(cascade: Cascade, target: int, over: str | None, extents: Mapping[str, int]) -> Derived:
    """Returns the cascade that reaches the target over a rank (None: over all) with the fewest operations.

    Raises: NoRewriteError where none reaches it; UnknownNameError for a rank that the cascade does not have.
    """
    found = structure(cascade)
    every = tuple(dict.fromkeys((*found.ranks, *found.composites)))
    if over is not None and over not in every:
        raise UnknownNameError("rank", over, every, place=cascade.name)
    parts = {p for names in found.composites.values() for p in names}
    targets = (over,) if over is not None else tuple(r for r in every if r not in parts)
    derived = Derived(cascade)
    for _ in range(2 * len(targets)):
        missed = [r for r in targets if not _reached(derived.cascade, r, target)]
        if not missed:
            return derived
        derived = _over(derived, missed[0], target, extents)
    raise _unexplained(derived.cascade, missed[0], target)


def _reached(cascade: Cascade, rank: str, target: int) -> bool:
    # A rank that only a copy had is gone with it.
    count = counted_passes(cascade).get(rank, 0)
    return isinstance(count, int) and count <= target


def _over(derived: Derived, rank: str, target: int, extents: Mapping[str, int]) -> Derived:
    """The derivation that brings one rank to the target with the fewest operations."""
    cascade = derived.cascade
    found = structure(cascade)
    outer = rank
    while outer in found.composites and outer not in found.ranks:
        outer = found.composites[outer][0]
    stages = Stages(cascade, outer)
    if stages.needed > target:
        raise _forced(cascade, rank, stages, target)
    best: tuple[int, int, Derived] | None = None
    failure: FusebenchError | None = None
    for chosen in islice(_choices(cascade, outer, target), _MOST):
        try:
            made = derive(cascade, outer, chosen)
        except IllegalRewriteError as error:
            failure = error
            continue
        for variant in dict.fromkeys((made, regrouped(made, outer))):
            if variant.cascade == cascade or not _reached(variant.cascade, rank, target):
                continue
            cost = (total_operations(variant.cascade, rank, extents), len(variant.steps))
            if best is None or cost < best[:2]:
                best = (*cost, variant)
    if best is not None:
        return Derived(best[2].cascade, (*derived.steps, *best[2].steps))
    if isinstance(failure, IllegalRewriteError):
        raise NoRewriteError(f"{cascade.name}: rank {rank!r}: no legal rewrite reaches {_passes(target)}, got "
                             f"{counted_passes(cascade)[rank]}; {failure}", rank=rank, read=failure.read)
    raise _unexplained(cascade, rank, target)


def _choices(cascade: Cascade, rank: str, target: int) -> Iterator[dict[str, int]]:
    """Yields the sweep of each reduction, between the first that it can be in and the one that it is in as it stands.

    What rewrites least comes first.
    """
    def extend(chosen: dict[str, int], done: int) -> Iterator[dict[str, int]]:
        stages = Stages(cascade, rank, chosen)
        if stages.needed > target:
            return
        if done == len(stages.reductions):
            yield chosen
            return
        tensor = stages.reductions[done]
        for stage in range(min(target, stages.natural[tensor]), stages.stage[tensor] - 1, -1):
            yield from extend({**chosen, tensor: stage}, done + 1)
    if target == 1:
        yield {}
    else:
        yield from extend({}, 0)


def total_operations(cascade: Cascade, rank: str, extents: Mapping[str, int]) -> int:
    """Returns all operations of a cascade, at typical extents where none is known."""
    sizes = sample_extents(cascade, rank, extents)
    named = {r.upper(): n for r, n in sizes.items()}
    return int(sum(f.value(named) for f in count_operations(cascade, sizes).total.values()))


def sample_extents(cascade: Cascade, rank: str, extents: Mapping[str, int]) -> dict[str, int]:
    """Returns an extent for every rank: those that are known, and typical ones for the rest."""
    names = mentioned(cascade)
    given = {r: n for r, n in extents.items() if r in names}
    composites = structure(cascade).composites
    inner = {p for parts in composites.values() for p in parts[1:]}
    order = [r for r in names if r in composites] + [r for r in names if r in inner] + list(names)
    # Ranks that predicates compare with it are as long: queries and keys of one sequence.
    long = {rank} | {r for e in cascade.einsums for c in conjuncts(e.where) if rank in coords(c) for r in coords(c)}
    known = known_extents(cascade, given)
    for name in dict.fromkeys(order):
        if name not in known:
            given[name] = _TILE if name in inner else _LONG if name in long else _SHORT
            known = known_extents(cascade, given)
    return known


# --- why there is none ---

def _passes(number: int | str) -> str:
    return f"{number} pass" if number == 1 else f"{number} passes"


def _forced(cascade: Cascade, rank: str, stages: Stages, target: int) -> NoRewriteError:
    """The error for a rank whose algebra needs more sweeps, with the read that forces the first of them."""
    delay = next(d for t, d in stages.delays.items() if stages.stage.get(t, 0) > target)
    read = expr_text(delay.read) if delay.read is not None else delay.line.name
    known = expr_text(delay.outer) if delay.outer is not None else "what it reads"
    along = f" (of {expr_text(delay.along)})" if delay.along is not None and delay.along != delay.read else ""
    return NoRewriteError(
        f"{cascade.name}: rank {rank!r}: no legal rewrite reaches {_passes(target)}, got {stages.needed} at the least; "
        f"{delay.line.name} reads {read}{along} again once {known} is known, and {delay.why}",
        rank=rank, einsum=delay.line.name, read=read, passes=stages.needed)


def _unexplained(cascade: Cascade, rank: str, target: int) -> NoRewriteError:
    """The error for a rank whose sweeps the algebra of reductions does not decide: opposite scans, enclosing loops."""
    found = rank_passes(cascade)[rank]
    count = counted_passes(cascade)[rank]
    reason = next((r for r in reasons(found) if r.sweep > target), None)
    if reason is None:
        return NoRewriteError(f"{cascade.name}: rank {rank!r}: no legal rewrite reaches {_passes(target)}, got "
                              f"{count}; an iteration around it repeats its sweeps", rank=rank, passes=count)
    return NoRewriteError(f"{cascade.name}: rank {rank!r}: no legal rewrite reaches {_passes(target)}, got {count}; "
                          f"{reason.einsum} visits {reason.visited} again and reads {reason.read}, {reason.because}",
                          rank=rank, einsum=reason.einsum, read=reason.read, passes=count)
