"""How an Einsum walks its iteration space: how often its loops run, and what passes through a tile inside them.

The rule of reuse is the same everywhere: a tile is fetched again whenever a loop outside of it over one of its ranks
advances; a run of innermost loops over other ranks reuses it. Without ties between ranks the counts are products, and
evaluate for arrays of machine parameters at once (see reuse.py). A predicate (``where m <= p``) or a window (``K[p + j]``) ties ranks;
then they are sums over boxes (see regions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerator_sim.frame import Operand, Window
from accelerator_sim.quantities import Quantity, is_array
from accelerator_sim.regions import MOST_BOXES, MOST_POINTS, Tiles, active, gathered, split, touched, whole
from accelerator_sim.reuse import Reuse
from accelerator_sim.space import Space
from einsum_cascades.analysis.counting import evaluated, inequalities
from einsum_cascades.analysis.linear import Linear
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access, Expr, coords, walk


@dataclass(frozen=True, eq=False)
class Ties:
    """Predicates that leave out points of an Einsum.

    ``conditions`` are over whole ranks. Iterations of ``loops`` that hold no point are skipped; loops further in run
    wholly inside an iteration that is not.
    """

    conditions: tuple[Expr, ...]
    loops: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Walk:
    """The walk of one Einsum: ``parts`` of its iteration space, all its ``loops`` outer to inner, the PEs along parts that are
    ``spread``, and ``ties`` where predicates skip iterations. ``expected`` counts gathers by their mean."""

    name: str
    space: Space
    parts: tuple[str, ...]
    loops: tuple[str, ...]
    spread: Mapping[str, Quantity]
    ties: Ties | None = None
    expected: bool = False

    def points(self) -> Quantity:
        """Returns how many points it walks: those of iterations that are not skipped."""
        if self.ties is None:
            return self.space.size(self.parts)
        return self._summed(Operand("", frozenset(self.parts), frozenset()), frozenset(self.loops))

    def steps(self) -> Quantity:
        """Returns how many steps the walk takes, one point of every PE at a time."""
        if self.ties is None:
            return self.space.steps(self.parts, self.spread)
        return self._summed(None, frozenset(self.loops))

    def rounds(self, loops: Iterable[str]) -> Quantity:
        """Returns how often the outermost of its loops run together: iterations that are not skipped."""
        around = frozenset(x for x in loops if x in self.loops)
        return self.space.steps(around, self.spread) if self.ties is None else self._summed(None, around)

    def moved(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns how many values of an operand pass through a tile inside some of its outer loops."""
        around = tuple(loops)
        if not self._tied(operand):
            return self._reuse.passing(operand.parts, around)
        again = self._again(around, operand.walked)
        return self._summed(operand, frozenset(again) | frozenset(x for x in around if x in operand.walked))

    def delivered(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns as :meth:`moved`, but each value once for every PE that it comes to."""
        if not self._tied(operand):
            return self._reuse.passing(operand.parts, tuple(loops), pes=True)
        return self.moved(operand, loops) * self._copies(operand)

    def distinct(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns as :meth:`moved`, but each tile once."""
        if not self._tied(operand):
            return self.space.size(operand.parts)
        return self._summed(operand, frozenset(x for x in loops if x in operand.walked))

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
        return self.distinct(operand, self.loops) * self._copies(operand)

    def most(self, operand: Operand, loops: Iterable[str]) -> Quantity:
        """Returns the most values that an operand's windows have in a tile inside some of its outer loops."""
        total: Quantity = 1
        for window in operand.windows:
            self._need_numbers()
            inside = frozenset(x for x in loops if x in window.parts)
            tiles = {r: self._tiles(r, frozenset(x for x in inside if self.space.whole(x) == r))
                     for r in coords(window.index)}
            boxes, _ = self._mesh(tuple(tiles), tiles, {r: t.length for r, t in tiles.items()})
            total = total * int(self._touched(window, boxes).max())
        return total

    @property
    def _reuse(self) -> Reuse:
        return Reuse(self.name, self.space, self.spread)

    def _tied(self, operand: Operand) -> bool:
        return self.ties is not None or bool(operand.windows)

    def _again(self, around: tuple[str, ...], parts: frozenset[str]) -> tuple[str, ...]:
        """The loops over other ranks that have, further in, a loop over one of the parts that advances."""
        last = max((i for i, x in enumerate(around) if x in parts and not self._reuse.single(x)), default=0)
        return tuple(x for x in around[:last] if x not in parts)

    def _copies(self, operand: Operand) -> Quantity:
        """How many PEs hold each value of an operand."""
        return self.space.tally({p: "pe" for p in self.spread if p not in operand.walked}, self.spread)

    # --- sums over boxes ---

    def _summed(self, operand: Operand | None, loops: frozenset[str]) -> Quantity:
        """Values of an operand (or iterations, without one) over all iterations of the loops that are not empty."""
        self._need_numbers()
        windows = operand.windows if operand is not None else ()
        plain = operand.parts if operand is not None else frozenset()
        groups = _groups([*(coords(w.index) for w in windows),
                          *(coords(c) for c in (self.ties.conditions if self.ties is not None else ()))])
        ranks = dict.fromkeys(self.space.whole(p) for p in (*loops, *plain))
        ranks.update(dict.fromkeys(r for g in groups for r in g if any(w for w in windows if set(coords(w.index)) & set(g))))
        total: Quantity = 1
        done: set[str] = set()
        for rank in ranks:
            if rank in done:
                continue
            group = next((g for g in groups if rank in g), (rank,))
            done.update(group)
            own = [w for w in windows if set(coords(w.index)) <= set(group)]
            conditions = [c for c in (self.ties.conditions if self.ties is not None else ()) if set(coords(c)) <= set(group)]
            if not own and not conditions:
                total = total * self.space.size(p for p in plain if self.space.whole(p) == rank) \
                    * self._loop_count(rank, loops, plain)
            else:
                total = total * self._group(group, own, conditions, plain, loops)
        return total

    def _loop_count(self, rank: str, loops: frozenset[str], plain: frozenset[str]) -> Quantity:
        """Iterations of the loops over a rank that an operand does not walk."""
        if any(self.space.whole(p) == rank for p in plain):
            return 1
        return self.space.steps([x for x in loops if self.space.whole(x) == rank], self.spread)

    def _group(self, group: Sequence[str], windows: Sequence[Window], conditions: Sequence[Expr], plain: frozenset[str],
               loops: frozenset[str]) -> Quantity:
        skipping = frozenset(self.ties.loops) if self.ties is not None else frozenset()
        coarse: dict[str, Tiles] = {}
        weights: dict[str, Any] = {}
        windowed = {r for w in windows for r in coords(w.index)}
        for rank in group:
            outer = self._tiles(rank, loops & skipping if conditions else loops)
            fine = self._tiles(rank, loops)
            coarse[rank] = outer
            own = [p for p in self.space.parts[rank] if p in plain and rank not in windowed]
            weights[rank] = gathered(self._coordinates(rank, own, fine), fine, outer)
        if windows:
            if any(len(coarse[r].low) != len(self._tiles(r, loops).low) for r in group):
                raise DesignError(f"Einsum {self.name!r}: a window inside of iterations that another Einsum's predicate skips has "
                                  f"no counts, got ranks {', '.join(group)}; give the nest 'skip_empty: false'")
            return self._windows(group, windows, conditions, coarse, weights)
        forms = _inequalities(conditions, self.space.extents)
        if forms is None:
            return self._tried(group, conditions, coarse, weights)
        return self._banded(group, forms, coarse, weights)

    def _coordinates(self, rank: str, plain: Sequence[str], tiles: Tiles) -> Any:
        """How many coordinates of the parts of a rank, the outer ones or all, each tile holds; 1 without parts."""
        import numpy as np
        if not plain:
            return np.ones(len(tiles.low), np.int64)
        inside = 1
        for part in self.space.parts[rank][len(plain):]:
            inside *= int(self.space.extent(part))
        return -(-tiles.length // inside)

    def _tiles(self, rank: str, loops: frozenset[str]) -> Tiles:
        """The tiles that loops cut a rank into."""
        if rank not in self.space.parts:
            raise DesignError(f"Einsum {self.name!r}: a predicate or window over a part of a rank has no counts, got rank "
                              f"{rank!r}; write it over the whole rank")
        tiles = whole(int(self.space.extents[rank]))
        parts = self.space.parts[rank]
        last = max((i for i, p in enumerate(parts) if p in loops), default=-1)
        inside = 1
        sizes = []
        for part in reversed(parts):
            sizes.append(inside * int(self.spread[part]) if part in self.spread else inside)
            inside *= int(self.space.extent(part))
        for part, size in zip(parts[:last + 1], reversed(sizes), strict=False):
            if part not in loops:
                raise DesignError(f"Einsum {self.name!r}: a loop over a part inside of another that is not walked has no counts "
                                  f"with predicates or windows, got loops {', '.join(sorted(loops))}; reorder the loops")
            tiles = split(tiles, size)
        return tiles

    def _banded(self, group: Sequence[str], forms: Sequence[Linear], tiles: Mapping[str, Tiles],
                weights: Mapping[str, Any]) -> int:
        """Boxes that linear inequalities leave: along one rank they are an interval for each box of the others."""
        import numpy as np
        inner = max((r for r in group if tiles[r].uniform is not None), key=lambda r: len(tiles[r].low), default=None)
        if inner is None:
            return self._meshed(group, forms, tiles, weights)
        others = [r for r in group if r != inner]
        mesh = np.meshgrid(*(np.arange(len(tiles[r].low)) for r in others), indexing="ij") if others else []
        boxes = {r: (tiles[r].low[m], tiles[r].high[m]) for r, m in zip(others, mesh, strict=True)}
        size, extent = tiles[inner].uniform, int(self.space.extents[inner])
        assert size is not None
        first: Any = 0
        last: Any = len(tiles[inner].low) - 1
        keep: Any = True
        for form in forms:
            least: Any = form.constant
            for rank, coefficient in form.coordinates:
                if rank != inner:
                    least = least + coefficient * boxes[rank][0 if coefficient > 0 else 1]
            along = form.coefficient(inner)
            if along > 0:
                last = np.minimum(last, np.floor_divide(np.floor_divide(-least, along), size))
            elif along < 0:
                bound = -np.floor_divide(-least, -along)
                first = np.maximum(first, np.floor_divide(bound, size))
                keep = keep & (bound < extent)
            else:
                keep = keep & (least <= 0)
        sums = np.concatenate([[0], np.cumsum(weights[inner])])
        most = len(sums) - 1
        span_of = np.where(keep & (last >= first), sums[np.clip(last + 1, 0, most)] - sums[np.clip(first, 0, most)], 0)
        for rank, m in zip(others, mesh, strict=True):
            span_of = span_of * weights[rank][m]
        return int(np.sum(span_of))

    def _meshed(self, group: Sequence[str], forms: Sequence[Linear], tiles: Mapping[str, Tiles],
                weights: Mapping[str, Any]) -> int:
        import numpy as np
        boxes, product = self._mesh(group, tiles, weights)
        return int(np.sum(np.where(active(forms, boxes), product, 0)))

    def _mesh(self, group: Sequence[str], tiles: Mapping[str, Tiles], weights: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        import numpy as np
        count = 1
        for rank in group:
            count *= len(tiles[rank].low)
        if count > MOST_BOXES:
            raise DesignError(f"Einsum {self.name!r}: its predicates and windows tie too many tiles, got {count}; use larger "
                              f"tiles or shorter ranks")
        mesh = np.meshgrid(*(np.arange(len(tiles[r].low)) for r in group), indexing="ij", sparse=True)
        boxes = {r: (tiles[r].low[m], tiles[r].high[m]) for r, m in zip(group, mesh, strict=True)}
        product: Any = 1
        for rank, m in zip(group, mesh, strict=True):
            product = product * weights[rank][m]
        return boxes, product

    def _windows(self, group: Sequence[str], windows: Sequence[Window], conditions: Sequence[Expr],
                 tiles: Mapping[str, Tiles], weights: Mapping[str, Any]) -> Quantity:
        import numpy as np
        boxes, product = self._mesh(group, tiles, weights)
        for window in windows:
            product = product * self._touched(window, boxes)
        forms = _inequalities(conditions, self.space.extents)
        if conditions and forms is None:
            raise DesignError(f"Einsum {self.name!r}: a window and a predicate that is no linear inequality have no counts "
                              f"together, got ranks {', '.join(group)}; simulate a cascade without one of them")
        return np.sum(np.where(active(forms or (), boxes), product, 0)).item()

    def _touched(self, window: Window, boxes: Mapping[str, Any]) -> Any:
        import numpy as np
        try:
            return np.asarray(touched(window.index, boxes, self.space.extents, self._size(window), self.expected))
        except LookupError as error:
            raise DesignError(f"Einsum {self.name!r}: an index of tensor {window.tensor!r} has no action counts, got "
                              f"{error.args[0]}; simulate a cascade without it") from None

    def _size(self, window: Window) -> int | None:
        size = self.space.extents.get(window.rank) if window.rank is not None else None
        return None if size is None else int(size)

    def _tried(self, group: Sequence[str], conditions: Sequence[Expr], tiles: Mapping[str, Tiles],
               weights: Mapping[str, Any]) -> int:
        """Boxes that other predicates leave, tried at every point; those that depend on data leave all."""
        import numpy as np
        known = [c for c in conditions if not any(isinstance(node, Access) for node in walk(c))]
        points = 1
        for rank in group:
            points *= int(self.space.extents[rank])
        if points > MOST_POINTS:
            known = []
        grid = np.meshgrid(*(np.arange(int(self.space.extents[r])) for r in group), indexing="ij", sparse=True)
        coordinates = dict(zip(group, grid, strict=True))
        held = np.ones(tuple(int(self.space.extents[r]) for r in group), bool) if known else np.ones((1,) * len(group), bool)
        for condition in known:
            held = held & (evaluated(condition, coordinates, self.space.extents) != 0)
        result: Any = held
        if known:
            for axis, rank in enumerate(group):
                result = np.logical_or.reduceat(result, tiles[rank].low, axis=axis)
        total = result.astype(np.int64)
        for axis, rank in enumerate(group):
            shape = [1] * len(group)
            shape[axis] = -1
            total = total * weights[rank].reshape(shape)
        return int(np.sum(total))

    def _need_numbers(self) -> None:
        if any(is_array(v) for v in (*self.space.extents.values(), *self.space.sizes.values(), *self.spread.values())):
            raise DesignError(f"Einsum {self.name!r}: predicates and windows are counted for one machine at a time, got arrays of "
                              f"sizes; evaluate each design point by itself")


def _groups(sets: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Ranks that are tied together, directly or through others."""
    groups: list[list[str]] = []
    for found in sets:
        mine = list(dict.fromkeys(found))
        joined = [g for g in groups if set(g) & set(mine)]
        merged = list(dict.fromkeys([r for g in joined for r in g] + mine))
        groups = [g for g in groups if g not in joined] + ([merged] if merged else [])
    return [tuple(g) for g in groups]


def _inequalities(conditions: Sequence[Expr], extents: Mapping[str, Quantity]) -> list[Linear] | None:
    forms: list[Linear] = []
    for condition in conditions:
        if any(isinstance(node, Access) for node in walk(condition)):
            return None
        made = inequalities(condition, extents)
        if made is None:
            return None
        forms += made
    return forms
