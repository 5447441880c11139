"""How an Einsum walks its iteration space: how often its loops run, and what passes through a tile inside them.

The rule of reuse is the same everywhere: a tile is fetched again whenever a loop outside of it over one of its ranks
advances; a run of innermost loops over other ranks reuses it. Without ties between ranks the counts are products, and
evaluate for arrays of machine parameters at once (see reuse.py). A predicate (``where m <= p``), a window (``K[p + j]``) or a halo
ties ranks; then they are sums over tiles (see grids.py), and a tile comes anew in each iteration, that is not empty, of the loops
down to the innermost over its ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from accelerator_sim.data import EXPECTED, NOTHING, WORST, Case, Data
from accelerator_sim.frame import Operand
from accelerator_sim.grids import Grid, Ties
from accelerator_sim.quantities import Quantity, is_array
from accelerator_sim.recompute import Halo
from accelerator_sim.reuse import Reuse
from accelerator_sim.space import Seen, Space
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Expr, coords

__all__ = ["Ties", "Walk"]


@dataclass(frozen=True, eq=False)
class Walk:
    """The walk of one Einsum: ``parts`` of its iteration space, all its ``loops`` outer to inner, the PEs along parts that are
    ``spread``, and ``ties`` where predicates skip iterations. ``halos`` are ranks that follow windows of others, ``leaves`` the parts
    of leaves of composites. What depends on ``data`` that are not known counts in the ``case``: at worst, or expected."""

    name: str
    space: Space
    parts: tuple[str, ...]
    loops: tuple[str, ...]
    spread: Mapping[str, Quantity]
    ties: Ties | None = None
    leaves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    halos: tuple[Halo, ...] = ()
    data: Data = NOTHING
    case: Case = WORST

    def points(self) -> Quantity:
        """Returns how many points it walks: those of iterations that are not skipped."""
        if not self._ties_ranks:
            return self.space.size(self.parts)
        return self._total(frozenset(self.parts), frozenset(self.loops))

    def present(self, conditions: tuple[Expr, ...]) -> Quantity:
        """Returns how many of all points meet some conditions."""
        if not conditions:
            return self.points()
        self._need_numbers()
        return self._grid.present(frozenset(self.parts), frozenset(self.loops), conditions)

    def steps(self) -> Quantity:
        """Returns how many steps the walk takes, one point of every PE at a time."""
        return self.rounds(self.loops) if self._ties_ranks else self.space.steps(self.parts, self.spread)

    def rounds(self, loops: Iterable[str]) -> Quantity:
        """Returns how often the outermost of its loops run together: iterations that are not skipped."""
        around = frozenset(x for x in loops if x in self.loops)
        return self._total(frozenset(), around) if self._ties_ranks else self.space.steps(around, self.spread)

    def moved(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns how many values of an operand pass through a tile inside some of its outer loops."""
        around = tuple(loops)
        if not self._tied(operand):
            return self._reuse.passing(operand.parts, around)
        return self._total(operand.parts, self._down(operand, around), operand)

    def delivered(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns as :meth:`moved`, but each value once for every PE that it comes to."""
        around = tuple(loops)
        if not self._tied(operand):
            return self._reuse.passing(operand.parts, around, pes=True)
        return self._total(operand.parts, self._down(operand, around), operand, pairs=True)

    def distinct(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns as :meth:`moved`, but each tile once."""
        if not self._tied(operand):
            return self.space.size(operand.parts)
        walked = frozenset(x for x in loops if x in operand.walked)
        if not operand.windows:
            return self._total(operand.parts, walked)
        # What a scatter meets in one tile it may meet in another, at worst all of it.
        over = {r for w in operand.windows for r in coords(w.index)}
        caps: dict[str, int] = {}
        if self.case != EXPECTED:
            self._need_numbers()
            caps = self._grid.longest(over, walked)
        own = frozenset(p for r in over for p in self._grid.parts_of(r))
        return self._total(operand.parts, walked - own, operand, caps=caps)

    def returning(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns as :meth:`moved`, but each tile at all but its first time."""
        around = tuple(loops)
        if not self._tied(operand):
            return self._reuse.returning(operand.parts, around)
        return self.moved(operand, around) - self.distinct(operand, around)

    def held(self, operand: Operand) -> Quantity:
        """Returns how many values of an operand all PEs hold in turn, each once for every PE that it comes to."""
        if not self._tied(operand):
            return self._reuse.held(operand.parts)
        return self._total(operand.parts, frozenset(x for x in self.loops if x in operand.walked), operand, pairs=True)

    def tile(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns the most values that a tile of an operand holds inside some of its outer loops; of an iterative tensor those of
        one generation."""
        outer = frozenset(loops)
        most: Quantity = 1
        done: frozenset[str] = frozenset()
        if operand.windows or self.halos:
            self._need_numbers()
            most, done = self._grid.most(operand.state, operand.windows, outer)
        # A loop that steps over PEs leaves as many coordinates inside as there are PEs.
        inside: dict[str, Seen] = {p: "all" if p not in outer else "pe" for p in operand.state
                                   if p not in done and (p not in outer or p in self.spread)}
        return self.space.tally(inside, self.spread) * most

    @property
    def _reuse(self) -> Reuse:
        return Reuse(self.name, self.space, self.spread)

    @property
    def _grid(self) -> Grid:
        return Grid(self.name, self.space, self.spread, self.leaves, self.halos, self.ties, self.data, self.case)

    @property
    def _ties_ranks(self) -> bool:
        return self.ties is not None or bool(self.halos)

    def _tied(self, operand: Operand) -> bool:
        return self._ties_ranks or bool(operand.windows)

    def _down(self, operand: Operand, around: tuple[str, ...]) -> frozenset[str]:
        """The loops down to the innermost, that advances, over one of an operand's parts."""
        walked = operand.walked
        last = max((i for i, x in enumerate(around) if x in walked and not self._reuse.single(x)), default=0)
        return frozenset(around[:last]) | frozenset(x for x in around if x in walked)

    def _total(self, parts: frozenset[str], loops: frozenset[str], operand: Operand | None = None, *, pairs: bool = False,
               caps: Mapping[str, int] | None = None) -> Quantity:
        self._need_numbers()
        return self._grid.total(parts, operand.windows if operand is not None else (), loops, pairs=pairs, caps=caps)

    def _need_numbers(self) -> None:
        if any(is_array(v) for v in (*self.space.extents.values(), *self.space.sizes.values(), *self.spread.values())):
            raise DesignError(f"Einsum {self.name!r}: predicates and windows are counted for one machine at a time, got arrays of "
                              f"sizes; evaluate each design point by itself")
