"""The search for a legal sequence of rewrites that reaches a number of passes with the fewest operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from einsum_cascades.ir import Access, Cascade
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.carry import carry
from einsum_cascades.rewrites.defer import defer
from einsum_cascades.rewrites.editing import edited
from einsum_cascades.rewrites.fold import fold, fold_copies
from einsum_cascades.rewrites.iterate import iterate
from einsum_cascades.rewrites.legality import IllegalRewriteError, NoRewriteError
from einsum_cascades.rewrites.partition import partition, parts_of
from einsum_cascades.rewrites.rebase import rebase
from einsum_cascades.rewrites.stages import Stages
from einsum_cascades.rewrites.terms import Phase
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Derived:
    """A cascade and the names of the rewrites that led to it."""

    cascade: Cascade
    applied: tuple[str, ...]

    def then(self, name: str, cascade: Cascade) -> Derived:
        """Returns the cascade after one more rewrite."""
        return Derived(cascade, (*self.applied, name))


@dataclass(frozen=True)
class Rewriting:
    """A derived cascade: the names of the rewrites that led to it (none where the target was met), and what it costs."""

    cascade: Cascade
    applied: tuple[str, ...]
    passes: Mapping[str, int | str]


def rewrite(cascade: Cascade, passes: int = 1, over: str | None = None) -> Rewriting:
    from einsum_cascades.analysis.passes import passes as counted
    found = structure(cascade)
    parts = {p for ps in found.composites.values() for p in ps}
    targets = [over] if over else [r for r in (*found.ranks, *found.composites) if r not in parts]
    derived = Derived(cascade, ())
    for rank in targets:
        now = counted(derived.cascade)[rank]
        if now <= passes:
            continue
        o = found.composites[rank][0] if rank in found.composites else rank
        best = None
        for d in derivations(derived.cascade, o, passes):
            best = best or d
        derived = Derived(best.cascade, (*derived.applied, *best.applied))
    return Rewriting(derived.cascade, derived.applied, counted(derived.cascade))


def derivations(cascade: Cascade, rank: str, target: int) -> Iterator[Derived]:
    """Yields cascades in which the rank needs at most ``target`` sweeps.

    Raises: NoRewriteError where there is none.
    """
    stages = Stages(cascade, rank)
    if stages.needed > target:
        raise no_rewrite(cascade, stages, target)
    for chosen in _choices(cascade, rank, target):
        yield _Derivation(Derived(cascade, ()), rank, chosen).made()


def no_rewrite(cascade: Cascade, stages: Stages, target: int) -> NoRewriteError:
    """Returns the error for a rank that needs more sweeps than the target, with the read that forces the next one."""
    delay = next(d for t, d in stages.delays.items() if stages.stage.get(t, 0) > target)
    along = expr_text(delay.along) if delay.along is not None else "its operand"
    outer = expr_text(delay.outer) if delay.outer is not None else "a statistic"
    return NoRewriteError(
        f"{cascade.name}: rank {stages.rank!r}: no legal rewrite reaches {target} pass{'es' if target != 1 else ''}, got "
        f"{stages.needed} at the least; {delay.line.name} reads {along} once {outer} is known, and {delay.why}",
        rank=stages.rank, einsum=delay.line.name, read=along, passes=stages.needed)


def _choices(cascade: Cascade, rank: str, target: int) -> Iterator[dict[str, int]]:
    """Yields which reductions to leave to a later sweep than the earliest that they could be in."""
    def extend(chosen: dict[str, int], done: int) -> Iterator[dict[str, int]]:
        stages = Stages(cascade, rank, chosen)
        if stages.needed > target:
            return
        if done == len(stages.reductions):
            yield chosen
            return
        tensor = stages.reductions[done]
        for stage in range(stages.stage[tensor], target + 1):
            yield from extend({**chosen, tensor: stage}, done + 1)
    yield from extend({}, 0)


class _Derivation:
    """Applies the rewrites of one choice of stages."""

    def __init__(self, derived: Derived, rank: str, chosen: Mapping[str, int]) -> None:
        self.derived, self.rank = derived, rank
        self.chosen = dict(chosen)

    @property
    def cascade(self) -> Cascade:
        return self.derived.cascade

    def stages(self) -> Stages:
        return Stages(self.cascade, self.rank, self.chosen)

    def made(self) -> Derived:
        for name in ("defer", "rebase"):
            for tensor in self.stages().reductions:
                self._try(name, tensor)
        carried = [t for t in self.stages().reductions if self._mixes(t)]
        if carried:
            self._stream(carried)
        self.derived = self.derived.then("fold", fold_copies(self.cascade))
        return self.derived

    def _try(self, name: str, tensor: str) -> None:
        stages = self.stages()
        try:
            parts = stages.parts(tensor)
            if parts.is_free:
                return
            before = set(structure(self.cascade).producers)
            outer = stages.outer(tensor, stages.stage[tensor])
            made = {"defer": defer, "rebase": rebase}[name](self.cascade, tensor, self.rank, outer)
        except IllegalRewriteError as e:
            import os
            if os.environ.get('DBG'): print('TRY', name, tensor, e)
            return
        for new in set(structure(made).producers) - before:
            self.chosen[new] = stages.stage[tensor]
        self.derived = self.derived.then(name, made)

    def _mixes(self, tensor: str) -> bool:
        try:
            return self.stages().parts(tensor).mixes
        except IllegalRewriteError:
            return False

    def _stream(self, carried: list[str]) -> None:
        stages = self.stages()
        references = {}
        for tensor in carried:
            for term in stages.parts(tensor).terms:
                for mixture in (*term.phases, *term.deviations):
                    for _, e in mixture.outer:
                        references[e.tensor] = None
        rank = self.rank
        try:
            self.derived = self.derived.then("partition", partition(self.cascade, rank))
            rank = parts_of(rank)[0]
        except IllegalRewriteError:
            pass
        for tensor in references:
            self.derived = self.derived.then("iterate", iterate(self.cascade, tensor, rank))
        names = frozenset(self._slots(references))
        self.derived = self.derived.then("fold", fold_copies(self.cascade))
        for tensor in carried:
            self.derived = self.derived.then("carry", carry(self.cascade, tensor, rank, names))

    def _slots(self, references: Mapping[str, None]) -> Iterator[str]:
        """The iterative tensors that hold the running values of references."""
        producers = structure(self.cascade).producers
        for tensor in references:
            body = producers[tensor].body
            assert isinstance(body, Access)
            yield body.tensor
