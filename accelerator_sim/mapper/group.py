"""A group of Einsums that are fused: which loops they can share, and where their tensors can be kept.

What is legal is what the simulator's own checks accept, and in addition what the pass analysis says: Einsums share a loop over
a rank only where one sweep of it serves them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

import numpy as np

from accelerator_sim.design import Kept
from accelerator_sim.frame import Frame, make_frame
from accelerator_sim.mapper.library import Library
from accelerator_sim.mapper.problem import Placement, Problem
from accelerator_sim.mapper.structures import Loops, Structure, Table, at_depth, cut, group_design, inner_parts, uncut
from accelerator_sim.mapper.tiles import Array
from accelerator_sim.residency import check_kept
from einsum_cascades.errors import DesignError
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Place:
    """Where a group keeps a tensor: the memories, outermost first, with how many shared loops are outside of its tile in each; in
    no memory, it is forwarded from registers to all that read it."""

    levels: tuple[tuple[str, int], ...]

    @property
    def forwarded(self) -> bool:
        """Whether it stays in registers."""
        return not self.levels


@dataclass(frozen=True, eq=False)
class Group:
    """Einsums next to each other in the evaluation order, fused in one nest."""

    problem: Problem
    library: Library
    names: tuple[str, ...]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The ranks that they walk."""
        return tuple(dict.fromkeys(r for n in self.names for r in self.problem.ranks(n)))

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """What they read and make."""
        return tuple(dict.fromkeys(t for n in self.names for t in (*self.problem.operands(n), *self.problem.results(n))))

    @cached_property
    def crossing(self) -> frozenset[str]:
        """What comes from or goes to the outermost memory."""
        problem = self.problem
        found = structure(problem.cascade)
        made = set(self.makers)
        used = {t for n in self.names for t in problem.operands(n)}
        elsewhere = {t for n in problem.order if n not in self.names for t in problem.operands(n)}
        return frozenset((*found.outputs, *(used - made), *(made & elsewhere))) & frozenset(self.tensors)

    @cached_property
    def makers(self) -> dict[str, str]:
        """The Einsum that makes each tensor that is made here."""
        return {t: n for n in self.names for t in self.problem.results(n)}

    @cached_property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """The Einsums that read each tensor here, but the one that makes it."""
        return {t: tuple(n for n in self.names if t in self.problem.operands(n)) for t in self.tensors}

    @cached_property
    def iterated(self) -> frozenset[str]:
        """Ranks that they iterate over: the loop over them is shared, for each round needs the one before."""
        return self.problem.iterated(self.names)

    def loops(self) -> Iterator[Loops]:
        """Yields every order of shared loops, short ones first."""
        problem, space = self.problem, self.problem.space
        most = max(space.most_loops, len(self.iterated))
        often: dict[str, int] = {}
        for rank in self.ranks:
            if problem.extents[rank] <= 1 and rank not in self.iterated:
                continue
            if not uncut(problem, rank):
                found = space.most_parts - 1 if problem.tile_sizes(rank) else 0
            else:
                # Of a rank that the cascade cuts, the outer part is a loop; the inner one is a tile.
                found = int(rank not in problem.leaves or self._outermost(rank))
            if found and (len(self.names) == 1 or problem.one_sweep(rank, self.names)):
                often[rank] = found
        for length in range(len(self.iterated), most + 1):
            for loops in product(often, repeat=length):
                if any(a == b for a, b in pairwise(loops)) or any(loops.count(r) > often[r] for r in loops):
                    continue
                if self.iterated <= set(loops) and all(self.library.grid(loops).choices.values()):
                    yield loops

    def _outermost(self, leaf: str) -> bool:
        return structure(self.problem.cascade).composites[self.problem.leaves[leaf]][0] == leaf

    def frame(self, loops: Loops) -> Frame:
        """Returns the frame of the group under loops, with what it makes kept outside of all.

        Raises: DesignError where the loops have no counts.
        """
        memories = tuple(self.problem.machine.memories)[1:2]
        kept = {t: ((m, 0),) for m in memories for t in self.makers}
        made = Structure(self.names, loops, {n: self.problem.placements[n][0] for n in self.names}, {}, kept)
        return make_frame(self.problem.cascade, group_design(self.problem, made), False)

    def places(self, loops: Loops) -> dict[str, tuple[Place, ...]] | None:
        """Returns where each tensor can be kept under loops; None where there is a tensor that can be kept nowhere."""
        try:
            frame = self.frame(loops)
        except DesignError:
            return None
        found = {}
        memories = list(self.problem.machine.memories)[1:]
        for tensor in self.tensors:
            depths = self._depths(frame, loops, tensor)
            own: list[Place] = []
            if tensor in self.crossing:
                own = [Place(((m, d),)) for m in memories for d in depths]
                if self.problem.space.levels > 1:
                    own += [Place(((a, d), (b, e))) for i, a in enumerate(memories) for b in memories[i + 1:]
                            for d in depths for e in depths if e > d]
            elif depths:
                # What stays on the chip moves the same values whatever its tile: the smallest is best.
                own = [Place(((m, depths[-1]),)) for m in memories]
            if self.forwardable(tensor):
                own.append(Place(()))
            if tensor in self.crossing and (not memories or not depths and tensor not in self.makers):
                # What can be kept nowhere comes from the outermost memory each time.
                own.append(Place(()))
            if not own:
                return None
            found[tensor] = tuple(own)
        return found

    def _depths(self, frame: Frame, loops: Loops, tensor: str) -> list[int]:
        """The numbers of loops outside of a tile that are legal; a loop that does not change the tile is no reason for one."""
        problem = self.problem
        touching = [n for n in self.names if tensor in problem.results(n) or tensor in problem.operands(n)]
        works = [f for f in frame.einsums[0] if f.einsum.name in touching]
        parts = {p for f in works for o in (*f.operands, *f.results) if o.tensor == tensor for p in o.walked}
        names = frame.design.nest(0).loops[len(problem.instances):]
        found = []
        for depth in range(len(loops) + 1):
            if depth and names[depth - 1] not in parts:
                continue
            kept = Kept(tensor, at_depth(problem, loops, depth))
            try:
                check_kept(problem.cascade, frame.design, frame.einsums[0], 0, "memory", kept, 0 if tensor in self.makers else None,
                           tensor in self.crossing)
            except DesignError:
                continue
            found.append(depth)
        return found

    # --- what passes from registers to registers ---

    def forwardable(self, tensor: str) -> bool:
        """Returns whether a tensor could be forwarded at all: it is made and read here, in the same round."""
        if not self.problem.space.forward or tensor not in self.makers or not self.readers[tensor]:
            return False
        return tensor not in structure(self.problem.cascade).iterative

    def might_forward(self, tensor: str, loops: Loops) -> Array:
        """Returns for which combinations of sizes some unit has enough PEs for one value each of a tensor in a round; where one
        Einsum reads it, values may also be taken as they are made."""
        grid, maker = self.library.grid(loops), self.makers[tensor]
        if len(self.readers[tensor]) == 1:
            return np.ones(grid.count, bool)
        most = max(float(self.problem.machine.units[p.unit].pes) for p in self.problem.placements[maker])
        total = np.ones(grid.count)
        for part in inner_parts(self.problem, maker, loops):
            if self._has(tensor, part, loops):
                total = total * grid.sizes.get(part, float(self.problem.extents.get(part, 1)))
        return np.asarray(total <= most)

    def fits_registers(self, tensor: str, loops: Loops, placed: Mapping[str, Placement], tables: Mapping[str, Table]) -> Array:
        """Returns for which combinations of sizes a tensor can be forwarded: each PE that makes it holds one value of it in a
        round, or the one Einsum that reads it takes the values as they are made (which needs the table of its unit)."""
        problem, grid = self.problem, self.library.grid(loops)
        unit = problem.machine.units[placed[self.makers[tensor]].unit]
        table = dict(tables[unit.name])
        parts = [p for p in inner_parts(problem, self.makers[tensor], loops) if self._has(tensor, p, loops)]
        theirs = tables.get(placed[self.readers[tensor][0]].unit)
        streams = theirs is not None and self._streams(tensor, loops, parts, table, dict(theirs))
        one = np.ones(grid.count, bool)
        for part in parts:
            if part in table or not streams:
                pes = prod(int(unit.dimensions[s]) for s in table[part].split("*")) if part in table else 1
                one &= grid.sizes.get(part, float(problem.extents.get(part, 1))) <= pes
        return one

    def _has(self, tensor: str, part: str, loops: Loops) -> bool:
        """Whether a part is of a rank that a tensor has."""
        rank = next((r for r, own in cut(self.problem, loops).items() if part in own), part)
        return rank in {p for r in self.problem.einsums[self.makers[tensor]].output_ranks for p in self.problem.partitions.get(r, (r,))}

    def _streams(self, tensor: str, loops: Loops, parts: list[str], table: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
        """Whether the only Einsum that reads a tensor walks its values in the order in which they are made."""
        if len(self.readers[tensor]) != 1:
            return False
        extents = self.problem.extents
        along = [p for p in parts if p not in table and extents.get(p, 2) > 1]
        walked = [p for p in inner_parts(self.problem, self.readers[tensor][0], loops) if p not in theirs and extents.get(p, 2) > 1]
        return walked[:len(along)] == along
