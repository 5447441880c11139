"""Stages: the sweep of a rank in which each value can be had at the earliest, once the algebra has been used.

A value of stage k needs k sweeps. A reduction reads statistics of the rank; those that can be taken out of it, by
deferring a factor or by carrying it about a running reference, do not delay it. What cannot be taken apart does: its
stage comes after theirs. So do results that keep the rank, and recurrences, where they read statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, coords
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.editing import keeps, outermost
from einsum_cascades.rewrites.flow import Flow
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.opening import InseparableError, Opening
from einsum_cascades.rewrites.separation import Separation, separation
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Delay:
    """Why a line is not of an earlier stage: what it ``read``s, which moves ``along`` the rank, needs an ``outer``
    value."""

    line: Einsum
    read: Access | None
    along: Access | None
    outer: Access | None
    why: str


class Stages:
    """Stages of the lines of a cascade along one rank; ``chosen`` may put a reduction later than it could be."""

    def __init__(self, cascade: Cascade, rank: str, chosen: Mapping[str, int] | None = None) -> None:
        self.cascade, self.rank = cascade, rank
        self.flow = Flow(cascade, rank)
        self.chosen = dict(chosen or {})
        self.stage: dict[str, int] = {}
        self.delays: dict[str, Delay] = {}
        self.natural: dict[str, int] = {}
        self.reductions: list[str] = []
        self.results = self._results()
        for line in structure(cascade).order:
            self._line(line)

    @property
    def needed(self) -> int:
        """The sweeps that the rank needs."""
        return max(self.stage.values(), default=1)

    def outer(self, tensor: str, stage: int) -> Callable[[Access], bool]:
        """Returns the test for reads that the definition of a tensor must be freed of to be of a stage."""
        visited = self.flow.visits(tensor)

        def is_outer(access: Access) -> bool:
            return self.stage.get(access.tensor, 0) >= stage and self.flow.conflicts(visited, access)
        return is_outer

    def parts(self, tensor: str, *, multiply_out: bool = True) -> Separation:
        """Returns a reduction taken apart as its stage needs it.

        Raises: IllegalRewriteError where it is none.
        """
        return separation(self.cascade, self.flow.producers[tensor], self.rank, self.outer(tensor, self.stage[tensor]),
                          multiply_out=multiply_out)

    def _line(self, line: Einsum) -> None:
        if self.rank not in line.ranks:
            found = max((self.stage.get(a.tensor, 0) for a in self._reads(line)), default=0)
        else:
            reduces = self.rank in line.reduced_ranks and not any(keeps(o, self.rank) for o in line.outputs)
            is_result = reduces or any(o.tensor in self.results for o in line.outputs)
            if not is_result:
                return
            found = max(self._earliest(line, reduces), self.chosen.get(line.name, 1))
            if reduces:
                self.reductions.append(line.name)
        for out in line.outputs:
            self.stage[out.tensor] = max(found, self.stage.get(out.tensor, 0))

    def _results(self) -> frozenset[str]:
        """Tensors along the rank that are wanted as they are: outputs, recurrences, and what is read along another
        rank."""
        found = {*self.flow.outputs, *self.flow.seeds}
        left = {o.tensor: o for e in self.cascade.einsums for o in e.outputs if keeps(o, self.rank)}
        for line in self.cascade.einsums:
            for access in line.reads:
                if access.tensor not in left:
                    continue
                pairs = zip(left[access.tensor].indices, access.indices, strict=True)
                if any(own == Coord(self.rank) and coords(i) and self.rank not in coords(i) for own, i in pairs):
                    found.add(access.tensor)
        return frozenset(found)

    def _reads(self, line: Einsum) -> list[Access]:
        seeds = [s for o in line.outputs for s in self.flow.seeds.get(o.tensor, ())]
        return [a for e in (line, *seeds) for a in e.reads]

    def _earliest(self, line: Einsum, reduces: bool) -> int:
        """The first stage that a line can be of; notes the one that it is of as it stands."""
        last = max(self.stage.values(), default=0) + 1
        found: int | None = None
        for stage in range(1, last + 1):
            late = self._late(line, stage)
            if not late:
                self.natural[line.name] = stage
                return stage if found is None else found
            if found is None:
                delay = self._delay(line, reduces, stage, late)
                if delay is None:
                    found = stage
                else:
                    self.delays[line.name] = delay
        raise AssertionError("no value is of a later stage than the last")

    def _finder(self, line: Einsum, stage: int) -> Opening:
        return Opening(self.cascade, self.rank, self.outer(line.name, stage), line.ranks)

    def _late(self, line: Einsum, stage: int) -> list[Expr]:
        """The parts of a line that need a value of this stage or a later one."""
        finder = self._finder(line, stage)
        parts = [*line.bodies, *conjuncts(line.where), *(i for o in line.outputs for i in o.indices)]
        return [p for p in parts if finder.has_outer(p)]

    def _delay(self, line: Einsum, reduces: bool, stage: int, late: list[Expr]) -> Delay | None:
        finder = self._finder(line, stage)
        read = next((a for p in late for a in outermost(p) if self.rank in coords(a) and finder.has_outer(a)), None) \
            or next((a for p in late for a in outermost(p) if self.rank in coords(a)), None)
        if reduces:
            try:
                separation(self.cascade, line, self.rank, self.outer(line.name, stage))
                return None
            except InseparableError as error:
                return Delay(line, read, error.along, error.outer, f"in {_short(error.mixture)} {error.why}")
            except IllegalRewriteError as error:
                along, outer = finder.culprits(late[0])
                return Delay(line, read, along, outer, str(error))
        along, outer = finder.culprits(late[0])
        own = structure(self.cascade).iterative
        iterates = any(o.tensor in own and own[o.tensor].rank == self.rank for o in line.outputs)
        kind = "iterates over" if iterates else "keeps"
        return Delay(line, read, along, outer, f"{line.name} {kind} rank {self.rank!r}")


def _short(expr: Expr) -> str:
    text = expr_text(expr)
    return text if len(text) <= 60 else text[:57] + "..."
