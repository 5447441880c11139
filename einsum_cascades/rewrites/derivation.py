"""Applies rewrites along one rank, so that each reduction is in the sweep that was chosen for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from einsum_cascades.ir import Access, Cascade
from einsum_cascades.rewrites.carry import carry
from einsum_cascades.rewrites.common_subexpressions import share
from einsum_cascades.rewrites.defer import defer
from einsum_cascades.rewrites.editing import reductions
from einsum_cascades.rewrites.fold import fold, fold_copies
from einsum_cascades.rewrites.iterate import iterate
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.partition import partition, parts_of
from einsum_cascades.rewrites.rebase import rebase
from einsum_cascades.rewrites.regroup import regroup
from einsum_cascades.rewrites.split import split
from einsum_cascades.rewrites.stages import Stages
from einsum_cascades.rewrites.terms import Deviation, Phase
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Step:
    """A rewrite that was applied, and where: a tensor, a rank, both ("AV over m"), or nowhere in particular."""

    name: str
    site: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.site}".rstrip()


@dataclass(frozen=True)
class Derived:
    """A cascade and the rewrites that led to it."""

    cascade: Cascade
    steps: tuple[Step, ...] = ()

    def then(self, name: str, cascade: Cascade, site: str = "") -> Derived:
        """Returns the cascade after one more rewrite; one that changes nothing is not counted."""
        return self if cascade == self.cascade else Derived(cascade, (*self.steps, Step(name, site)))


def derive(cascade: Cascade, rank: str, chosen: Mapping[str, int]) -> Derived:
    """Returns the cascade with each reduction over a rank in its earliest sweep, or in a later one that is ``chosen``.

    Running values go tile by tile; coordinate by coordinate where the rank is one of tiles already, or has no tiles.

    Raises: IllegalRewriteError where a rewrite that is needed is not legal.
    """
    is_outer = any(rank == parts[0] for parts in structure(cascade).composites.values())
    try:
        return _derived(cascade, rank, chosen, in_tiles=not is_outer)
    except IllegalRewriteError as error:
        try:
            return _derived(cascade, rank, chosen, in_tiles=is_outer)
        except IllegalRewriteError:
            raise error from None


def _derived(cascade: Cascade, rank: str, chosen: Mapping[str, int], *, in_tiles: bool) -> Derived:
    made = _Derivation(Derived(cascade), rank, chosen)
    made.free()
    made.stream(in_tiles)
    made.tidy()
    return made.derived


def regrouped(derived: Derived, rank: str) -> Derived:
    """Returns the cascade with every sum of products over a rank regrouped that can be."""
    for tensor, reduced in tuple(reductions(derived.cascade)):
        if reduced != rank or tensor not in structure(derived.cascade).producers:
            continue
        try:
            derived = derived.then("regroup", regroup(derived.cascade, tensor, rank), f"{tensor} over {rank}")
        except IllegalRewriteError:
            continue
    return derived.then("fold", fold_copies(derived.cascade))


class _Derivation:
    def __init__(self, derived: Derived, rank: str, chosen: Mapping[str, int]) -> None:
        self.derived, self.rank = derived, rank
        self.chosen = dict(chosen)
        self.given = {e.name: e for e in derived.cascade.einsums}

    @property
    def cascade(self) -> Cascade:
        return self.derived.cascade

    def stages(self) -> Stages:
        return Stages(self.cascade, self.rank, self.chosen)

    def apply(self, name: str, made: Cascade, *site: str) -> None:
        """Notes a rewrite that was applied."""
        self.derived = self.derived.then(name, made, " over ".join(site))

    def apply_where_legal(self, name: str, rewrite: Callable[..., Cascade], *site: str) -> None:
        """Applies a rewrite unless it is not legal."""
        try:
            self.apply(name, rewrite(self.cascade, *site), *site)
        except IllegalRewriteError:
            return

    # --- factors and references ---

    def free(self) -> None:
        """Frees every reduction of the statistics that it can be freed of."""
        for tensor in self.stages().reductions:
            stages = self.stages()
            stage = stages.stage[tensor]
            is_outer = stages.outer(tensor, stage)
            try:
                parts = stages.parts(tensor)
            except IllegalRewriteError:
                continue
            if parts.is_free:
                continue
            before = set(structure(self.cascade).producers)
            if parts.mixes and self._rebases(tensor, is_outer):
                made = rebase(self.cascade, tensor, self.rank, is_outer)
                if parts.defers:
                    steps = (*self.derived.steps, Step("defer", f"{tensor} over {self.rank}"))
                    self.derived = Derived(self.cascade, steps)
                self.apply("rebase", made, tensor, self.rank)
            elif parts.defers:
                self.apply("defer", defer(self.cascade, tensor, self.rank, is_outer), tensor, self.rank)
            for new in set(structure(self.cascade).producers) - before:
                self.chosen[new] = stage

    def _rebases(self, tensor: str, is_outer: Callable[[Access], bool]) -> bool:
        try:
            rebase(self.cascade, tensor, self.rank, is_outer, only_if_needed=True)
        except IllegalRewriteError:
            return False
        return True

    # --- one sweep ---

    def stream(self, in_tiles: bool) -> None:
        """Makes references iterative and carries what is about them."""
        stages = self.stages()
        carried: list[str] = []
        references: dict[str, None] = {}
        for tensor in stages.reductions:
            try:
                parts = stages.parts(tensor, multiply_out=False)
            except IllegalRewriteError:
                continue
            mixtures: list[Phase | Deviation] = []
            for term in parts.terms:
                mixtures += [*term.phases, *term.deviations]
            if mixtures:
                carried.append(tensor)
                references |= {e.tensor: None for m in mixtures for _, e in m.outer if isinstance(e, Access)}
        if not carried:
            return
        rank = self.rank
        if in_tiles:
            self.apply("partition", partition(self.cascade, rank), rank)
            rank = parts_of(rank)[0]
        for tensor in references:
            self.apply_where_legal("split", split, tensor, rank)
            self.apply("iterate", iterate(self.cascade, tensor, rank), tensor, rank)
        slots = frozenset(self._slot(t) for t in references)
        self.apply("fold", fold_copies(self.cascade))
        for tensor in carried:
            self.apply("carry", carry(self.cascade, tensor, rank, slots), tensor, rank)

    def _slot(self, tensor: str) -> str:
        """The iterative tensor that holds the running value of a reference."""
        body = structure(self.cascade).producers[tensor].body
        assert isinstance(body, Access)
        return body.tensor

    # --- at the end ---

    def tidy(self) -> None:
        """Folds copies and lines that only one other reads, and computes once what new lines share."""
        self.apply("fold", fold_copies(self.cascade))
        for line in self.cascade.einsums:
            reads = [a.tensor for e in (*self.cascade.einsums, *self.cascade.inits) for a in e.reads]
            if line.name not in self.given and reads.count(line.name) == 1 and self._plain(line.name):
                self.apply_where_legal("fold", fold, line.name)
        new = [e.name for e in self.cascade.einsums if self.given.get(e.name) != e]
        self.apply("common-subexpressions", share(self.cascade, new))

    def _plain(self, name: str) -> bool:
        """Whether a line is a map without what iterates: one that stands after a sweep."""
        line = structure(self.cascade).producers[name]
        return not any(r.endswith("1") and r[:-1] == self.rank or r == self.rank for r in line.ranks)
