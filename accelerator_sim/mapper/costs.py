"""What a group costs, put together from its Einsums for all combinations of tile sizes at once: bounds, and options of places.

Work of the units, traffic and energy are sums over Einsums and tensors. So a lower bound takes each at its least by itself, and
for given units and tables the best places of the tensors are a choice among options whose costs add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from accelerator_sim.mapper.group import Group, Place
from accelerator_sim.mapper.library import Tiles, Work
from accelerator_sim.mapper.problem import Placement
from accelerator_sim.mapper.structures import Loops, Table, inner_parts, overlapping, restricted, tables_of
from accelerator_sim.mapper.tiles import Array
from accelerator_sim.pipeline import dependences, longest_chain

if TYPE_CHECKING:
    from accelerator_sim.mapper.search import Weights


@dataclass(frozen=True, eq=False)
class Option:
    """A place of a tensor, for some combinations of sizes: where it is possible (``ok``), the bytes that it takes in each memory,
    the bytes that it moves at each memory with a bandwidth, and the energy of all its accesses."""

    place: Place
    ok: Array
    taken: Mapping[str, Array]
    moved: Mapping[str, Array]
    energy_pj: Array


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs of one group."""

    group: Group

    @cached_property
    def _kept(self) -> dict[object, Array]:
        return {}

    # --- Einsums by themselves ---

    def index(self, name: str, loops: Loops) -> Array:
        """Returns, for each combination of the group's sizes, its number among those of an Einsum's own ranks."""
        key = "index", name, tuple(sorted(loops))
        if key not in self._kept:
            self._kept[key] = self.group.library.grid(loops).within(self.group.problem.ranks(name))
        return self._kept[key]

    def work(self, name: str, loops: Loops, placed: Placement, table: Table) -> Work:
        """Returns the work of an Einsum on a unit, for the combinations of its own sizes."""
        own = restricted(table, inner_parts(self.group.problem, name, loops))
        return self.group.library.work(name, self.group.library.own(name, loops), placed, own)

    def tiles(self, name: str, loops: Loops) -> Tiles:
        """Returns the tiles of an Einsum, for the combinations of its own sizes."""
        return self.group.library.tiles(name, self.group.library.own(name, loops))

    def all_cycles(self, name: str, loops: Loops, placed: Placement, table: Table) -> dict[str, Array]:
        """Returns the cycles of an Einsum on each unit."""
        library = self.group.library
        own = restricted(table, inner_parts(self.group.problem, name, loops))
        # By the numbers of sizes, which do not depend on the order of the loops but for predicates.
        key = name, loops, placed.unit, own
        if key not in self._cycles:
            at = self.index(name, loops)
            self._cycles[key] = {u: np.asarray(c[at]) for u, c in library.cycles(name, library.own(name, loops), placed, own).items()}
        return self._cycles[key]

    @cached_property
    def _cycles(self) -> dict[object, dict[str, Array]]:
        return {}

    @cached_property
    def _rounds(self) -> dict[object, Array]:
        return {}

    def cycles(self, name: str, loops: Loops, placed: Placement, table: Table) -> Array:
        """Returns the cycles of an Einsum on its own unit."""
        return np.asarray(self.all_cycles(name, loops, placed, table)[placed.unit])

    def least_cycles(self, name: str, loops: Loops, placed: Placement) -> Array:
        """Returns the fewest cycles of an Einsum on a unit, under any table."""
        library = self.group.library
        own = library.own(name, loops)
        key = "cycles", name, tuple(sorted(own)), placed.unit
        if key not in self._kept:
            problem = self.group.problem
            rows = [library.cycles(name, own, placed, t)[placed.unit]
                    for t in tables_of(problem, problem.machine.units[placed.unit], (name,), loops)]
            self._kept[key] = np.minimum.reduce(rows)
        return np.asarray(self._kept[key][self.index(name, loops)])

    def energy(self, name: str, loops: Loops, placed: Placement, table: Table) -> Array:
        """Returns the least energy of an Einsum that does not depend on where tensors are: of operations and registers, and of
        accesses to the cheapest memory, without those of tensors that might be forwarded."""
        return np.asarray(self._energy(self.work(name, loops, placed, table))[self.index(name, loops)])

    def least_energy(self, name: str, loops: Loops) -> Array:
        """Returns the least of :meth:`energy`, on any unit under any table."""
        own = self.group.library.own(name, loops)
        key = "energy", name, own
        if key not in self._kept:
            rows = [self._energy(w) for p in self.group.problem.placements[name] for w in self._all_works(name, loops, p)]
            self._kept[key] = np.minimum.reduce(rows)
        return np.asarray(self._kept[key][self.index(name, loops)])

    def shares(self, name: str, loops: Loops, placed: Placement, table: Table) -> list[Array]:
        """Returns all that a table decides of an Einsum's energy: what is nowhere larger costs nowhere more."""
        work, at = self.work(name, loops, placed, table), self.index(name, loops)
        rows = [self._registers(work), *work.delivered_pj.values(), *work.passed_pj.values(), *work.reads.values(), *work.writes.values()]
        owns = self.group.problem.ranks(name)
        several = np.full(len(at), float(any(p not in owns for p, _ in table)))
        return [*(np.asarray(r)[at] for r in rows), several]

    def _all_works(self, name: str, loops: Loops, placed: Placement) -> list[Work]:
        """The work of an Einsum under every table of the group: some sides may be others'."""
        problem, library = self.group.problem, self.group.library
        parts = inner_parts(problem, name, loops)
        tables = tables_of(problem, problem.machine.units[placed.unit], self.group.names, loops)
        return [library.work(name, library.own(name, loops), placed, t) for t in dict.fromkeys(restricted(t, parts) for t in tables)]

    def _registers(self, work: Work) -> Array:
        total = work.energy_pj
        for value in work.delivered_pj.values():
            total = total - value
        return total

    def _energy(self, work: Work) -> Array:
        total = self._registers(work)
        for tensor in work.reads:
            if not self.group.forwardable(tensor):
                read, write = self._cheapest(tensor)
                total = total + work.reads[tensor] * read + work.writes[tensor] * write + work.delivered_pj.get(tensor, 0.0)
        return np.where(work.invalid, np.inf, total)

    def _cheapest(self, tensor: str) -> tuple[float, float]:
        costs = [self._cost(m, tensor) for m in self._memories()]
        return min(r for r, _ in costs), min(w for _, w in costs)

    def _memories(self) -> tuple[str, ...]:
        """The memories in which tensors are kept: those on the chip, if there are any."""
        names = tuple(self.group.problem.machine.memories)
        return names[1:] or names

    def _cost(self, memory: str, tensor: str) -> tuple[float, float]:
        cost = self.group.problem.machine.memory_cost(memory, self.group.problem.value_bytes(tensor))
        return float(cost.read_pj), float(cost.write_pj)

    # --- the group ---

    def compulsory(self, tensor: str) -> tuple[float, float]:
        """Returns the values of a tensor that have to be read from the outermost memory, and written to it, whatever the mapping."""
        group = self.group
        if tensor in group.makers:
            return 0.0, float(group.library.tiles(group.makers[tensor], ()).made[tensor, 0][0])
        return max(float(group.library.tiles(n, ()).moved[tensor, 0][0]) for n in group.readers[tensor]), 0.0

    def fixed_energy(self, placed: Mapping[str, Placement], tables: Mapping[str, Table], loops: Loops) -> Array:
        """Returns the energy of operations and registers, without what registers take from memories."""
        total: Array = np.zeros(self.group.library.grid(loops).count)
        for name in self.group.names:
            work = self.work(name, loops, placed[name], tables[placed[name].unit])
            total = total + self._registers(work)[self.index(name, loops)]
        return total

    def busiest(self, placed: Mapping[str, Placement], tables: Mapping[str, Table], loops: Loops) -> Array:
        """Returns the cycles of the unit that works most."""
        loads: dict[str, Array] = {}
        for name in self.group.names:
            for unit, cycles in self.all_cycles(name, loops, placed[name], tables[placed[name].unit]).items():
                loads[unit] = loads[unit] + cycles if unit in loads else cycles
        return np.asarray(np.maximum.reduce(list(loads.values())))

    def least_busy(self, loops: Loops) -> Array:
        """Returns cycles that the busiest unit works at least, whatever the units and tables."""
        problem = self.group.problem
        return balanced(tuple(problem.machine.units), [{p.unit: self.least_cycles(n, loops, p) for p in problem.placements[n]}
                                                       for n in self.group.names])

    def bound(self, loops: Loops, places: Mapping[str, tuple[Place, ...]], weights: Weights) -> Array:
        """Returns a value below which no mapping under these loops comes, for each combination of sizes; infinite where nothing fits."""
        problem = self.group.problem
        busiest = self.least_busy(loops)
        chain = self.chain(loops, {n: np.minimum.reduce([self.least_cycles(n, loops, p) for p in problem.placements[n]])
                                 for n in self.group.names})
        traffic_s, traffic_pj = self.floor(loops, places, weights)
        energy = traffic_pj
        if weights.energy_pj:
            for name in self.group.names:
                energy = energy + self.least_energy(name, loops)
        clock = float(problem.machine.clock_hz)
        return np.asarray(weights.value(filled(np.maximum(busiest / clock, traffic_s), chain, clock), energy))

    def chain(self, loops: Loops, cycles: Mapping[str, Array], placed: Mapping[str, Placement] | None = None) -> tuple[Array, Array]:
        """Returns the cycles of one round along the longest chain of Einsums, at least, and the number of rounds. With units, results
        also leave the array."""
        problem = self.group.problem
        if not overlapping(problem, self.group.names):
            return np.zeros(1), np.ones(1)
        numbered = {n: tuple(i for i, r in enumerate(loops) if r in problem.ranks(n)) for n in self.group.names}

        def rounds(name: str, common: frozenset[str]) -> Array:
            key = name, loops, common
            if key not in self._rounds:
                own = tuple(place for place, n in enumerate(numbered[name]) if str(n) in common)
                self._rounds[key] = self.tiles(name, loops).rounds[own][self.index(name, loops)]
            return self._rounds[key]

        def span(name: str, common: frozenset[str]) -> Array:
            return np.asarray(cycles[name] / rounds(name, common))

        running = {n: frozenset(map(str, own)) for n, own in numbered.items()}
        ahead = {n: [(p, self._leaving(p, n, placed)) for p in self._ahead[n]] for n in self.group.names}
        longest = np.asarray(longest_chain(self.group.names, ahead, running, span))
        epochs = np.maximum.reduce([rounds(n, running[n]) for n in self.group.names])
        return longest, epochs

    def _leaving(self, producer: str, consumer: str, placed: Mapping[str, Placement] | None) -> float:
        """Results that go to another unit have to leave the array first."""
        if placed is None or placed[producer].unit == placed[consumer].unit:
            return 0.0
        return float(self.group.problem.machine.units[placed[producer].unit].drain_cycles)

    @cached_property
    def _ahead(self) -> dict[str, list[str]]:
        """The Einsums whose results each needs in the same round."""
        found: dict[str, list[str]] = {n: [] for n in self.group.names}
        for d in dependences(self.group.problem.cascade):
            if not d.lag and d.producer != d.consumer and d.producer in found and d.consumer in found:
                found[d.consumer].append(d.producer)
        return found

    def tight(self, loops: Loops, places: Mapping[str, tuple[Place, ...]], at: Array) -> bool:
        """Returns whether the on-chip memories might not hold everything in its largest tiles: then it matters what is forwarded."""
        problem = self.group.problem
        sizes = [float(m.bytes) if m.bytes is not None else np.inf for m in problem.machine.memories.values()][1:]
        total: Array = np.zeros(len(at))
        for tensor in self.group.tensors:
            own = self.options(tensor, loops, places[tensor], None, None, at)
            if all(not o.taken for o in own):
                return True
            total = total + np.maximum.reduce([sum(o.taken.values(), np.zeros(len(at))) for o in own])
        return bool((total > max(sizes, default=0.0)).any())

    def floor(self, loops: Loops, places: Mapping[str, tuple[Place, ...]], weights: Weights) -> tuple[Array, Array]:
        """Returns the least seconds of traffic and its least energy, each tensor at the best of the places where it can fit."""
        problem = self.group.problem
        count = self.group.library.grid(loops).count
        every = np.arange(count)
        options = {t: self.options(t, loops, places[t], None, None, every) for t in self.group.tensors}
        smallest = {t: np.minimum.reduce([np.where(o.ok, sum(o.taken.values(), np.zeros(count)), np.inf) for o in own])
                    for t, own in options.items()}
        needed = sum(smallest.values(), np.zeros(count))
        sizes = {m.name: float(m.bytes) if m.bytes is not None else np.inf for m in problem.machine.memories.values()}
        room = sum(n for m, n in sizes.items() if m != problem.machine.outermost.name)
        seconds: dict[str, Array] = {}
        energy: Array = np.where(needed > room, np.inf, 0.0) if problem.machine.memories and len(sizes) > 1 else np.zeros(count)
        for tensor, own in options.items():
            others = np.where(np.isinf(needed), np.inf, needed - np.where(np.isinf(needed), 0.0, smallest[tensor]))
            fits = [o.ok & (sum(o.taken.values(), np.zeros(count)) + others <= room) &
                    np.logical_and.reduce([np.ones(count, bool), *(v <= sizes[m] for m, v in o.taken.items())]) for o in own]
            for memory in own[0].moved:
                least = np.minimum.reduce([np.where(f, o.moved[memory], np.inf) for f, o in zip(fits, own, strict=True)])
                seconds[memory] = seconds.get(memory, 0.0) + least
            energy = energy + (np.minimum.reduce([np.where(f, o.energy_pj, np.inf) for f, o in zip(fits, own, strict=True)])
                               if weights.energy_pj else np.where(np.logical_or.reduce(fits), 0.0, np.inf))
        longest: Array = np.zeros(count)
        for memory, moved in seconds.items():
            longest = np.maximum(longest, moved / float(problem.machine.memories[memory].bytes_per_s or np.inf))
        longest = np.where(np.isinf(energy), np.inf, longest)
        return longest, energy if weights.energy_pj else np.zeros(count)

    def least(self, loops: Loops, places: Mapping[str, tuple[Place, ...]]) -> tuple[float, dict[str, tuple[str, float]]] | None:
        """Returns the fewest bytes that have to be kept on the chip under these loops, with the memory and bytes of each tensor."""
        count = self.group.library.grid(loops).count
        total: Array = np.zeros(count)
        chosen: dict[str, tuple[Array, list[Option]]] = {}
        for tensor in self.group.tensors:
            own = self.options(tensor, loops, places[tensor], None, None, np.arange(count))
            rows = np.stack([np.where(o.ok, sum(o.taken.values(), np.zeros(count)), np.inf) for o in own])
            pick = np.argmin(rows, axis=0)
            chosen[tensor] = pick, own
            total = total + rows[pick, np.arange(count)]
        at = int(np.argmin(total))
        found = {}
        if np.isinf(total[at]):
            return None
        for tensor, (pick, own) in chosen.items():
            for memory, taken in own[int(pick[at])].taken.items():
                found[tensor] = memory, float(taken[at])
        return float(total[at]), found

    def options(self, tensor: str, loops: Loops, places: tuple[Place, ...], placed: Mapping[str, Placement] | None,
                tables: Mapping[str, Table] | None, at: Array) -> list[Option]:
        """Returns what each place of a tensor costs at some combinations. Without units and tables, accesses by the units are left
        out, and forwarding is taken to be possible."""
        return [self._option(tensor, loops, place, placed, tables, at) for place in places]

    def _option(self, tensor: str, loops: Loops, place: Place, placed: Mapping[str, Placement] | None,
                tables: Mapping[str, Table] | None, at: Array) -> Option:
        group, problem = self.group, self.group.problem
        machine = problem.machine
        count, width = len(at), problem.value_bytes(tensor)
        zero: Array = np.zeros(count)
        reads: dict[str, Array] = {}
        writes: dict[str, Array] = {}
        through: dict[str, Array] = {}

        def access(memory: str, *, read: Array = zero, write: Array = zero, fill: Array = zero, drain: Array = zero) -> None:
            reads[memory] = reads.get(memory, zero) + read
            writes[memory] = writes.get(memory, zero) + write + fill
            through[memory] = through.get(memory, zero) + read + write + fill + drain

        outermost = machine.outermost.name
        crosses, made = tensor in group.crossing, group.makers.get(tensor)
        ok = np.ones(count, bool)
        energy = zero
        forwarded = place.forwarded and made is not None and bool(group.readers[tensor])
        if forwarded and placed is None:
            ok = group.might_forward(tensor, loops)[at]
        if placed is not None and tables is not None:
            if forwarded:
                ok = group.fits_registers(tensor, loops, placed, tables)[at]
                energy = energy + self._passed(tensor, loops, placed, tables, at)
            # What units read and write, at the memory further in, or at the outermost one.
            home = place.levels[-1][0] if place.levels else outermost if crosses else None
            for name in (*((made,) if made is not None else ()), *group.readers[tensor]):
                if home is None or forwarded and name != made:
                    continue
                work, index = self.work(name, loops, placed[name], tables[placed[name].unit]), self.index(name, loops)[at]
                access(home, read=work.reads[tensor][index], write=work.writes[tensor][index])
                if tensor in work.delivered_pj:
                    energy = energy + work.delivered_pj[tensor][index]
        levels = list(place.levels)
        for number, (memory, depth) in enumerate(levels):
            outer = levels[number - 1][0] if number else outermost if crosses else None
            if outer is None:
                continue
            if made is not None:
                tiles, index, own = self._at(made, loops, depth, at)
                values, back = tiles.made[tensor, own][index], tiles.back[tensor, own][index]
                access(memory, fill=back, drain=values)
                access(outer, read=back, write=values)
            else:
                values = zero
                for name in group.readers[tensor]:
                    tiles, index, own = self._at(name, loops, depth, at)
                    values = np.maximum(values, tiles.moved[tensor, own][index])
                access(memory, fill=values)
                access(outer, read=values)
        for memory in through:
            read_pj, write_pj = self._cost(memory, tensor)
            energy = energy + reads[memory] * read_pj + writes[memory] * write_pj
        taken = {memory: self._tile(tensor, loops, depth, at) * width for memory, depth in place.levels}
        moved = {m.name: through.get(m.name, zero) * width for m in machine.memories.values() if m.bytes_per_s is not None}
        return Option(place, ok, taken, moved, np.asarray(energy))

    def _at(self, name: str, loops: Loops, depth: int, at: Array) -> tuple[Tiles, Array, int]:
        """The tiles of an Einsum, the numbers of its own combinations, and how many of its own loops are outside."""
        own = len(self.group.library.own(name, loops[:depth]))
        return self.tiles(name, loops), self.index(name, loops)[at], own

    def _tile(self, tensor: str, loops: Loops, depth: int, at: Array) -> Array:
        most: Array = np.zeros(len(at))
        maker = self.group.makers.get(tensor)
        for name in (*((maker,) if maker is not None else ()), *self.group.readers[tensor]):
            tiles, index, own = self._at(name, loops, depth, at)
            most = np.maximum(most, tiles.values[tensor, own][index])
        return most

    def _passed(self, tensor: str, loops: Loops, placed: Mapping[str, Placement], tables: Mapping[str, Table], at: Array) -> Array:
        """The least energy of registers that take a forwarded tensor on another unit, once for each unit."""
        found: dict[str, Array] = {}
        for name in self.group.readers[tensor]:
            unit = placed[name].unit
            if unit != placed[self.group.makers[tensor]].unit:
                work = self.work(name, loops, placed[name], tables[unit])
                values = work.passed_pj[tensor][self.index(name, loops)[at]]
                found[unit] = np.minimum(found[unit], values) if unit in found else values
        return sum(found.values(), np.zeros(len(at)))


def filled(interval_s: Array, chain: tuple[Array, Array], clock_hz: float) -> Array:
    """Returns the seconds of a group whose units and traffic take so many, with those in which its pipeline fills: what the chain of
    one round takes beyond a round's share. It grows with the first."""
    longest, epochs = chain
    known = np.isfinite(interval_s)
    shares = np.where(known, interval_s, 0.0)
    beyond = np.maximum(np.where(np.isfinite(longest), longest, 0.0) / clock_hz - shares / epochs, 0.0)
    return np.where(known, shares + beyond, np.inf)


SHARES = (0.5, 0.75, 0.25, 0.9, 0.1, 0.97, 0.03, 0.99, 0.01, 1.0)
"""Weights of one unit against the others, for the bound of :func:`balanced`."""


def balanced(units: Sequence[str], cycles: Sequence[Mapping[str, Array]]) -> Array:
    """Returns cycles that the busiest unit works at least, wherever Einsums run; ``cycles`` are those of each on each unit it can run on.

    The busiest works no less than any weighted mean of all units, and in that mean each Einsum adds no less than where it adds least.
    """
    found = np.maximum.reduce([np.minimum.reduce(list(own.values())) for own in cycles])
    for unit in units if len(units) > 1 else ():
        for share in SHARES:
            weights = {u: share if u == unit else (1 - share) / (len(units) - 1) for u in units}
            total = sum((np.minimum.reduce([weights[u] * c for u, c in own.items()]) for own in cycles), np.zeros(1))
            found = np.maximum(found, np.nan_to_num(total, nan=0.0, posinf=np.inf))
    if len(units) == 1:
        found = sum((next(iter(own.values())) for own in cycles), np.zeros(1))
    return np.asarray(found)
