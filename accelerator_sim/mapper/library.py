"""What single Einsums cost, by the simulator's own counts: their tiles under an order of loops, their work on a unit.

Groups are put together from these: an Einsum in a group has the loops of the group over its own ranks, and its tiles, what
passes through them, and its work depend on these alone. So each is counted once, for all combinations of tile sizes of its own
ranks, and used for every group, order and partner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from accelerator_sim.capacity import tile_values
from accelerator_sim.counts import count_stage, cycles_of, cycles_per_point, walk_present
from accelerator_sim.design import Kept
from accelerator_sim.machine import Machine
from accelerator_sim.mapper.problem import Placement, Problem
from accelerator_sim.mapper.structures import (
    Loops,
    Structure,
    Table,
    at_depth,
    grid_of,
    group_design,
    loop_names,
    tables_of,
)
from accelerator_sim.mapper.tiles import Array, Grid
from accelerator_sim.operators import per_point
from accelerator_sim.plan import Plan, Shape, make_plan
from accelerator_sim.plan import Work as SimulatedWork
from accelerator_sim.quantities import Quantity
from einsum_cascades.errors import DesignError
from einsum_cascades.structure import structure


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one Einsum under loops, for each combination of sizes: by tensor and number of loops outside of the tile, the
    ``values`` that it holds and those that pass through it, of operands (``moved``) and of results (``made``), of which some
    come ``back``. ``rounds`` is how often some of its loops, by number, run together. ``invalid`` marks combinations that have no counts."""

    values: Mapping[tuple[str, int], Array]
    moved: Mapping[tuple[str, int], Array]
    made: Mapping[tuple[str, int], Array]
    back: Mapping[tuple[str, int], Array]
    rounds: Mapping[tuple[int, ...], Array]
    invalid: Array


@dataclass(frozen=True, eq=False)
class Work:
    """The work of one Einsum on a unit, for each combination of sizes: ``energy_pj`` of its operations and registers; values that it ``reads`` and ``writes`` at the memory that holds each tensor; the energy of registers that take an
    operand from a memory (``delivered_pj``), which is not spent where it is forwarded, and of those that take it from another
    unit (``passed_pj``)."""

    energy_pj: Array
    reads: Mapping[str, Array]
    writes: Mapping[str, Array]
    delivered_pj: Mapping[str, Array]
    passed_pj: Mapping[str, Array]
    invalid: Array


@dataclass(frozen=True, eq=False)
class Library:
    """The Einsums of a problem by themselves. Nothing is counted before it is asked for."""

    problem: Problem

    @cached_property
    def _tiles(self) -> dict[tuple[str, Loops], Tiles]:
        return {}

    @cached_property
    def _works(self) -> dict[tuple[str, Loops, str, Table], Work]:
        return {}

    @cached_property
    def _grids(self) -> dict[Loops, Grid]:
        return {}

    @cached_property
    def roomy(self) -> Machine:
        """The machine with memories as large as needed: what does not fit is found by the group."""
        machine = self.problem.machine
        return replace(machine, memories=MappingProxyType({n: replace(m, bytes=None) for n, m in machine.memories.items()}))

    def grid(self, loops: Loops) -> Grid:
        """Returns the grid of all sizes under some loops."""
        key = tuple(sorted(loops))
        if key not in self._grids:
            self._grids[key] = grid_of(self.problem, loops)
        return self._grids[key]

    def shape(self, sizes: Mapping[str, Quantity]) -> Shape:
        """Returns the shape of the problem with sizes of parts."""
        return Shape({**self.extents, **sizes}, self.problem.shape.instances)

    @cached_property
    def extents(self) -> dict[str, int]:
        """The extents that a design is given: those of ranks that the cascade cuts, and of their inner parts."""
        outer = {own[0] for own in structure(self.problem.cascade).composites.values()}
        return {r: n for r, n in self.problem.extents.items() if r not in outer}

    def own(self, name: str, loops: Loops) -> Loops:
        """Returns those of a group's loops that an Einsum has."""
        ranks = self.problem.ranks(name)
        return tuple(r for r in loops if r in ranks)

    def pointwise(self, names: tuple[str, ...]) -> bool:
        """Returns whether some Einsum has predicates or windows, which are counted for one combination at a time."""
        return any(self._tied[n] for n in names)

    @cached_property
    def _tied(self) -> dict[str, bool]:
        plans = {n: make_plan(self.problem.cascade, group_design(self.problem, self._alone(n, ())), self.roomy, self.shape({}), whole=False)
                 for n in self.problem.order}
        return {n: any(w.frame.conditions or any(o.windows for o in (*w.operands, *w.results)) for works in p.works for w in works)
                for n, p in plans.items()}

    def tiles(self, name: str, loops: Loops) -> Tiles:
        """Returns the tiles of an Einsum under loops over its own ranks."""
        key = name, loops
        if key not in self._tiles:
            self._tiles[key] = self._count_tiles(name, loops)
        return self._tiles[key]

    def work(self, name: str, loops: Loops, placed: Placement, table: Table) -> Work:
        """Returns the work of an Einsum on a unit, spread by a table over its own parts."""
        key = name, loops, placed.unit, table
        if key not in self._works:
            self._works[key] = self._count_work(name, loops, placed, table)
        return self._works[key]

    def cycles(self, name: str, loops: Loops, placed: Placement, table: Table) -> Mapping[str, Array]:
        """Returns the cycles of an Einsum on each unit, infinite where it has no counts; the order of the loops does not matter but
        where predicates skip some of their rounds."""
        key = name, loops if self._tied[name] else tuple(sorted(loops)), placed.unit, table
        if key not in self._cycles:
            self._cycles[key] = self._count_cycles(name, key[1], placed, table)
        return self._cycles[key]

    @cached_property
    def _cycles(self) -> dict[tuple[str, Loops, str, Table], Mapping[str, Array]]:
        return {}

    def floor(self, name: str) -> tuple[dict[str, float], float]:
        """Returns cycles that an Einsum takes at least on each unit, and the least energy of its operations and registers: no tile
        takes fewer steps than whole ranks do, and every point reads its operands and writes its result."""
        problem = self.problem
        plan = self._base(name, (), {}, (0, 1, 0))
        base = plan.works[0][0]
        cycles: dict[str, float] = {}
        least_pj = np.inf
        for placed in problem.placements[name]:
            unit = problem.machine.units[placed.unit]
            cost = unit.register_file.cost(f"{placed.unit}.register_file")
            work = self._placed(base, placed, ())
            present = float(walk_present(work))
            points = present if self._tied[name] else float(base.walk.points())
            pj = points * (len(work.operands) * cost.read_pj + cost.write_pj)
            for operator, number in work.operators.items():
                pj += present * number * problem.machine.units[placed.elsewhere.get(operator, placed.unit)].energy_of(operator)
            least_pj = min(least_pj, float(pj))
            if self._tied[name]:
                cycles[placed.unit] = present * float(cycles_per_point(work)) / float(unit.pes)
                continue
            cycles[placed.unit] = min(float(self.cycles(name, (), placed, table)[placed.unit][0])
                                      for table in tables_of(problem, unit, (name,), ()))
        return cycles, least_pj

    # --- private parts ---

    def _alone(self, name: str, loops: Loops, placed: Placement | None = None, table: Table = ()) -> Structure:
        memories = tuple(self.problem.machine.memories)[1:2]
        # A tensor that is read at several places at once cannot be kept by this Einsum alone.
        tensors = (*self.problem.results(name), *(t for t in self.problem.operands(name) if self.problem.reads(name, t) == 1)) if memories else ()
        placed = placed or self.problem.placements[name][0]
        return Structure((name,), loops, {name: placed}, {placed.unit: table}, dict.fromkeys(tensors, ((memories[0], 0),) if memories else ()))

    def _base(self, name: str, loops: Loops, sizes: Mapping[str, Quantity], block: tuple[int, ...]) -> Plan:
        """The plan of an Einsum by itself, on any unit and not spread; those of whole blocks of sizes are kept."""
        key = name, loops, block
        if key not in self._plans:
            design = group_design(self.problem, self._alone(name, loops))
            plan = make_plan(self.problem.cascade, design, self.roomy, self.shape(sizes), whole=False)
            if block[1] == 1 and self.grid(loops).count > 1:
                return plan
            self._plans[key] = plan
        return self._plans[key]

    @cached_property
    def _plans(self) -> dict[tuple[str, Loops, tuple[int, ...]], Plan]:
        return {}

    @cached_property
    def _pes(self) -> dict[tuple[str, str], int]:
        return {}

    def pes(self, unit: str, sides: str) -> int:
        """Returns over how many PEs sides of a unit spread a part. One object for each: spaces tell sides apart by identity."""
        key = unit, sides
        if key not in self._pes:
            self._pes[key] = prod(int(self.problem.machine.units[unit].dimensions[s]) for s in sides.split("*"))
        return self._pes[key]

    def _placed(self, work: SimulatedWork, placed: Placement, table: Table) -> SimulatedWork:
        """The work of an Einsum on another unit, spread by a table."""
        units = self.problem.machine.units
        unit, others = units[placed.unit], {op: units[u] for op, u in placed.elsewhere.items()}
        operators = per_point(work.frame.operators, work.frame.sums_product, {**unit.cycles, **others}, work.name, unit.name)
        spread = {part: self.pes(placed.unit, sides) for part, sides in table}
        return replace(work, unit=unit, operators=operators, elsewhere=others, walk=replace(work.walk, spread=spread))

    def _count_tiles(self, name: str, loops: Loops) -> Tiles:
        problem = self.problem

        def count(sizes: Mapping[str, Quantity], block: tuple[int, ...]) -> dict[Any, Quantity]:
            plan = self._base(name, loops, sizes, block)
            work = plan.works[0][0]
            names = loop_names(problem, loops)
            found: dict[Any, Quantity] = {
                ("rounds", own): work.walk.rounds((*problem.instances, *(names[n] for n in own)))
                for count in range(len(loops) + 1) for own in combinations(range(len(loops)), count)}
            for depth in range(len(loops) + 1):
                at = at_depth(problem, loops, depth)
                above = work.above(at)
                for operand in (*work.operands, *work.results):
                    found["values", operand.tensor, depth] = tile_values(plan, 0, Kept(operand.tensor, at))
                for operand in work.operands:
                    moved, key = work.walk.moved(operand, above), ("moved", operand.tensor, depth)
                    found[key] = np.maximum(found[key], moved) if key in found else moved
                for operand in work.results:
                    found["made", operand.tensor, depth] = work.walk.moved(operand, above)
                    found["back", operand.tensor, depth] = work.walk.returning(operand, above)
            return found

        found, invalid = self.counted(self.grid(loops), count, (name,))

        def of(kind: str) -> dict[tuple[str, int], Array]:
            return {(k[1], k[2]): v for k, v in found.items() if k[0] == kind}
        return Tiles(of("values"), of("moved"), of("made"), of("back"), {k[1]: v for k, v in found.items() if k[0] == "rounds"}, invalid)

    def _count_cycles(self, name: str, loops: Loops, placed: Placement, table: Table) -> Mapping[str, Array]:
        def count(sizes: Mapping[str, Quantity], block: tuple[int, ...]) -> dict[Any, Quantity]:
            return {**cycles_of(self._placed(self._base(name, loops, sizes, block).works[0][0], placed, table))}

        found, invalid = self.counted(self.grid(loops), count, (name,))
        return {str(unit): np.where(invalid, np.inf, cycles) for unit, cycles in found.items()}

    def _count_work(self, name: str, loops: Loops, placed: Placement, table: Table) -> Work:
        units = self.problem.machine.units
        costs = {u: unit.register_file.cost(f"{u}.register_file") for u, unit in units.items()}

        def count(sizes: Mapping[str, Quantity], block: tuple[int, ...]) -> dict[Any, Quantity]:
            plan = self._base(name, loops, sizes, block)
            work = self._placed(plan.works[0][0], placed, table)
            counts = count_stage(replace(plan, works=((work,),)), plan.design.stages[0])
            registers = counts.registers[name]
            energy = registers.reads * costs[placed.unit].read_pj + registers.writes * costs[placed.unit].write_pj
            for operator, number in counts.operations[name].items():
                energy = energy + number * units[placed.elsewhere.get(operator, placed.unit)].energy_of(operator)
            found: dict[Any, Quantity] = {("energy",): energy}
            kept = {k.tensor: memory for memory, kepts in plan.design.bindings[0].kept.items() for k in kepts}
            for tensor in (*self.problem.results(name), *self.problem.operands(name)):
                access = counts.memories[kept.get(tensor, self.problem.machine.outermost.name)][tensor]
                found["reads", tensor], found["writes", tensor] = access.reads, access.writes
            for operand in work.operands:
                delivered = work.walk.delivered(operand, work.loops) * costs[placed.unit].write_pj
                found["delivered", operand.tensor] = found.get(("delivered", operand.tensor), 0) + delivered
                found["passed", operand.tensor] = work.walk.held(operand) * costs[placed.unit].write_pj
            return found

        found, invalid = self.counted(self.grid(loops), count, (name,))

        def of(kind: str) -> dict[str, Array]:
            return {k[1]: v for k, v in found.items() if k[0] == kind}
        return Work(found["energy",], of("reads"), of("writes"), of("delivered"), of("passed"), invalid)

    def counted(self, grid: Grid, count: Callable[[Mapping[str, Quantity], tuple[int, ...]], Mapping[Any, Quantity]],
                names: tuple[str, ...], chosen: Array | None = None) -> tuple[dict[Any, Array], Array]:
        """Returns what a function counts at each combination of a grid, or of some by number, and which it refuses. All are given at
        once, but for predicates and windows; where some are refused, the others are found by halves."""
        every = np.arange(grid.count) if chosen is None else chosen
        found: dict[Any, Array] = {}
        invalid = np.zeros(len(every), bool)
        pending = [np.arange(len(every))]
        if self.pointwise(names):
            pending = [np.array([n]) for n in range(len(every))]
        elif len(every) > 1:
            # What does not divide its rank is refused more often.
            even = grid.even(self.problem.extents)[every]
            pending = [part for part in (np.flatnonzero(even), np.flatnonzero(~even)) if len(part)]
        while pending:
            place = pending.pop()
            one = len(place) == 1
            sizes = {p: int(v[every[place[0]]]) if one else v[every[place]] for p, v in grid.sizes.items()}
            try:
                made = count(sizes, (int(every[place[0]]), len(place), int(every[place[-1]])))
            except DesignError:
                if one:
                    invalid[place] = True
                else:
                    pending += [place[:len(place) // 2], place[len(place) // 2:]]
                continue
            for key, value in made.items():
                if key not in found:
                    found[key] = np.zeros(len(every))
                found[key][place] = value
        return found, invalid
