"""The search for the best mapping of one group: bounds first, then the designs that they leave, until nothing can be better.

For each order of loops a lower bound is known for every combination of tile sizes: the least work of the units, the least traffic,
each tensor at its best place for itself. Orders are opened in the order of their bounds, into *classes*: the unit of each Einsum
and the table of each unit. A class is evaluated, for all sizes whose bound is below the best found, by the simulator itself
(make_plan, counts, latency, energy). What a bound rules out is not evaluated; nothing else is left out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, product

import numpy as np

from accelerator_sim.errors import CapacityError
from accelerator_sim.estimate import estimate
from accelerator_sim.mapper.costs import Costs, Option, filled
from accelerator_sim.mapper.group import Group, Place
from accelerator_sim.mapper.problem import Placement
from accelerator_sim.mapper.progress import Watch
from accelerator_sim.mapper.retention import retain
from accelerator_sim.mapper.structures import Loops, Structure, Table, group_design, tables_of
from accelerator_sim.mapper.tiles import Array
from accelerator_sim.quantities import Quantity

MOST_CLASSES = 20_000
"""Classes of one order that are kept; the bound of the others stays open."""


@dataclass(frozen=True)
class Weights:
    """What is minimized: seconds and picojoules, each so many times."""

    latency_s: float
    energy_pj: float

    def value(self, latency_s: Quantity, energy_pj: Quantity) -> Quantity:
        """Returns the weighted sum."""
        if not self.energy_pj:
            return self.latency_s * latency_s
        if not self.latency_s:
            return self.energy_pj * energy_pj
        return self.latency_s * latency_s + self.energy_pj * energy_pj


@dataclass(frozen=True, eq=False)
class Found:
    """A mapping of a group, with what it costs by the simulator."""

    value: float
    latency_s: float
    energy_pj: float
    structure: Structure
    sizes: Mapping[str, int]


@dataclass(eq=False)
class Outcome:
    """What the search of a group has found so far: the best, and a value below which there is nothing. ``pruned`` counts the
    combinations that were bounded away, ``least_bytes`` by memory what the smallest tiles need."""

    best: Found | None = None
    bound: float = 0.0
    evaluated: int = 0
    pruned: int = 0
    complete: bool = False
    least: tuple[float, dict[str, tuple[str, float]]] | None = None


@dataclass(frozen=True, eq=False)
class Order:
    """An order of loops with its bounds for each combination of sizes."""

    loops: Loops
    places: Mapping[str, tuple[Place, ...]]
    bound: Array


@dataclass(frozen=True, eq=False)
class Class:
    """Units and tables under an order of loops, with its bounds for each combination of sizes; ``value`` is the least."""

    order: Order
    placed: Mapping[str, Placement]
    tables: Mapping[str, Table]
    value: float
    bound: Array


@dataclass(eq=False)
class GroupSearch:
    """The search of one group, which can be taken up again with another cutoff; ``floor`` is a value that it is not below."""

    group: Group
    weights: Weights
    watch: Watch
    floor: float = 0.0
    outcome: Outcome = field(default_factory=Outcome)
    heap: list[tuple[float, int, Order | Class]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)
    left: float = np.inf
    started: bool = False

    @cached_property
    def costs(self) -> Costs:
        """The costs that bounds are made of."""
        return Costs(self.group)

    def run(self, cutoff: float = np.inf) -> Outcome:
        """Searches until nothing below the best found, or below the cutoff, is left, or the watch says stop."""
        if not self.started:
            self._begin(cutoff)
        while self.heap:
            limit = self._limit(cutoff)
            value, _, entry = self.heap[0]
            if value >= limit:
                break
            if self.watch.over():
                self._close(value, complete=False)
                return self.outcome
            heapq.heappop(self.heap)
            if isinstance(entry, Order):
                self._open(entry, limit)
            else:
                self._evaluate(entry, limit)
        rest = self.heap[0][0] if self.heap else np.inf
        self._close(rest, complete=True)
        return self.outcome

    # --- private parts ---

    def _limit(self, cutoff: float) -> float:
        best = self.outcome.best
        return min(cutoff, best.value if best is not None else np.inf) * (1 - 1e-12)

    def _close(self, rest: float, *, complete: bool) -> None:
        best = self.outcome.best.value if self.outcome.best is not None else np.inf
        self.outcome.bound = float(min(best, rest, self.left))
        self.outcome.complete = complete and self.outcome.bound >= min(best, rest) * (1 - 1e-12)

    def _push(self, value: float, entry: Order | Class) -> None:
        heapq.heappush(self.heap, (value, next(self.numbers), entry))

    def _begin(self, cutoff: float) -> None:
        self.started = True
        clock = float(self.group.problem.machine.clock_hz)
        for loops in self.group.loops():
            if self._limit(cutoff) <= self.floor or self.watch.over():
                # Orders that are left have no bound but that of the group, which may be reached already.
                self.left = min(self.left, self.floor)
                break
            busy = float(self.weights.value(self.costs.least_busy(loops).min() / clock, 0.0))
            if busy >= self._limit(cutoff):
                self.left = min(self.left, busy)
                self.outcome.pruned += self.group.library.grid(loops).count
                continue
            places = self.group.places(loops)
            if places is None:
                continue
            bound = self.costs.bound(loops, places, self.weights)
            self._need(loops, places)
            least = float(bound.min())
            self.outcome.pruned += int(np.isinf(bound).sum())
            if np.isfinite(least):
                order = Order(loops, places, bound)
                self._push(least, order)
                if self.outcome.best is None and len(self.heap) & (len(self.heap) - 1) == 0 and least < self._limit(cutoff):
                    self._dive(order, cutoff)
        # A good mapping early makes the bounds count.
        for number, (_, _, entry) in enumerate(sorted(self.heap, key=lambda e: e[:2])):
            if isinstance(entry, Order) and (number < 2 or self.outcome.best is None) and entry.bound.min() < self._limit(cutoff):
                if self.watch.over():
                    break
                self._dive(entry, cutoff)

    def _dive(self, order: Order, cutoff: float) -> None:
        """Evaluates what looks best under an order: at the sizes of the least bounds, or at all where nothing fits there."""
        likely = self._likely(order)
        self._evaluate(likely, self._limit(cutoff), most=64)
        if self.outcome.best is None:
            self._evaluate(likely, self._limit(cutoff))

    def _need(self, loops: Loops, places: Mapping[str, tuple[Place, ...]]) -> None:
        """Notes the least that the on-chip memories have to hold, for when nothing fits."""
        need = self.costs.least(loops, places)
        if need is not None and (self.outcome.least is None or need[0] < self.outcome.least[0]):
            self.outcome.least = need

    def _likely(self, order: Order) -> Class:
        """Units and tables that balance the work of the units at the sizes with the least bound."""
        at = np.array([int(np.argmin(order.bound))])
        problem = self.group.problem
        clock = float(problem.machine.clock_hz)
        loads = dict.fromkeys(problem.machine.units, 0.0)
        placed: dict[str, Placement] = {}
        energy = 0.0
        least = {n: {p.unit: float(self.costs.least_cycles(n, order.loops, p)[at][0]) for p in problem.placements[n]} for n in self.group.names}
        spent = {n: {p.unit: self._least_energy(n, order.loops, p, at) for p in problem.placements[n]} for n in self.group.names}
        for name in sorted(least, key=lambda n: -min(least[n].values())):
            def after(where: Placement, name: str = name, energy: float = energy) -> float:
                load = max(loads[where.unit] + least[name][where.unit], *loads.values()) / clock
                return float(self.weights.value(load, energy + spent[name][where.unit]))
            where = min(problem.placements[name], key=after)
            placed[name] = where
            loads[where.unit] += least[name][where.unit]
            energy += spent[name][where.unit]
        classes = self._with_tables(order, placed, at, np.inf)
        return min(classes, key=lambda c: c.value)

    def _least_energy(self, name: str, loops: Loops, placed: Placement, at: Array) -> float:
        if not self.weights.energy_pj:
            return 0.0
        tables = tables_of(self.group.problem, self.group.problem.machine.units[placed.unit], (name,), loops)
        return min(float(self.costs.energy(name, loops, placed, t)[at][0]) for t in tables)

    def _useful(self, unit: str, placed: Mapping[str, Placement], order: Order, at: Array) -> list[Table]:
        """The tables of a unit, without those that another is as good as for every Einsum that runs there, at all sizes: in cycles,
        in energy where that counts, and in what can be forwarded where that matters."""
        problem, loops = self.group.problem, order.loops
        names = [n for n in self.group.names if placed[n].unit == unit]
        forwarding = bool(self.weights.energy_pj) or self._tight(order, at)
        rows: list[tuple[Table, Array]] = []
        for table in tables_of(problem, problem.machine.units[unit], names, loops):
            values = [c[at] for n in names for c in self.costs.all_cycles(n, loops, placed[n], table).values()]
            if self.weights.energy_pj:
                for n in names:
                    values += [v[at] for v in self.costs.shares(n, loops, placed[n], table)]
            for tensor, maker in self.group.makers.items():
                if forwarding and maker in names and self.group.forwardable(tensor):
                    values.append(~self.group.fits_registers(tensor, loops, placed, {unit: table})[at])
            rows.append((table, np.stack([np.asarray(v, float) for v in values])))
        kept: list[tuple[Table, Array]] = []
        for table, row in sorted(rows, key=lambda item: float(item[1][:len(names)].sum())):
            # Which parts are not spread decides in which order values are made and taken.
            if not any((other <= row).all() for known, other in kept if not forwarding or _parts(known) == _parts(table)):
                kept.append((table, row))
        return [table for table, _ in kept]

    def _tight(self, order: Order, at: Array) -> bool:
        return self.costs.tight(order.loops, order.places, at)

    def _open(self, order: Order, limit: float) -> None:
        """Opens an order of loops into its classes."""
        alive = np.flatnonzero(order.bound < limit)
        self.outcome.pruned += len(order.bound) - len(alive)
        known: dict[tuple[str, frozenset[str]], list[Table]] = {}
        found: list[Class] = []
        for placed in self._placements(order, alive, limit):
            found += self._with_tables(order, placed, alive, limit, known)
            if self.watch.over():
                self.left = min(self.left, float(order.bound.min()))
                break
        found.sort(key=lambda c: c.value)
        if len(found) > MOST_CLASSES:
            self.left = min(self.left, found[MOST_CLASSES].value)
        for made in found[:MOST_CLASSES]:
            self._push(made.value, made)

    def _with_tables(self, order: Order, placed: Mapping[str, Placement], at: Array, limit: float,
                     known: dict[tuple[str, frozenset[str]], list[Table]] | None = None) -> Iterator[Class]:
        """The classes of Einsums on units, under every useful table of each."""
        problem, loops = self.group.problem, order.loops
        units = dict.fromkeys(p.unit for p in placed.values())
        every = {}
        for unit in units:
            key = unit, frozenset(n for n, p in placed.items() if p.unit == unit)
            if known is None or key not in known:
                found = self._useful(unit, placed, order, at)
                if known is not None:
                    known[key] = found
            else:
                found = known[key]
            every[unit] = found
        floor = self._floor(order)
        clock = float(problem.machine.clock_hz)
        for chosen in product(*every.values()):
            tables = dict(zip(every, chosen, strict=True))
            cycles = {n: self.costs.all_cycles(n, loops, placed[n], tables[placed[n].unit]) for n in self.group.names}
            loads: dict[str, Array] = {}
            for own in cycles.values():
                for unit, took in own.items():
                    loads[unit] = loads.get(unit, 0.0) + took
            busiest = np.maximum.reduce(list(loads.values()))
            if float(self.weights.value(np.maximum(busiest / clock, floor[0]), floor[1])[at].min()) >= limit:
                continue
            longest = {n: np.maximum.reduce(list(own.values())) for n, own in cycles.items()}
            chain = self.costs.chain(loops, longest, placed)
            energy = floor[1]
            if self.weights.energy_pj:
                for n in self.group.names:
                    energy = energy + self.costs.energy(n, loops, placed[n], tables[placed[n].unit])
            value = self.weights.value(filled(np.maximum(busiest / clock, floor[0]), chain, clock), energy)
            least = float(value[at].min())
            if least < limit:
                yield Class(order, dict(placed), tables, least, value)

    def _floor(self, order: Order) -> tuple[Array, Array]:
        key = order.loops
        if key not in self._floors:
            self._floors[key] = self.costs.floor(order.loops, order.places, self.weights)
        return self._floors[key]

    @cached_property
    def _floors(self) -> dict[Loops, tuple[Array, Array]]:
        return {}

    def _placements(self, order: Order, alive: Array, limit: float) -> Iterator[dict[str, Placement]]:
        """Every unit of every Einsum, but for those whose bound is above the limit at all sizes."""
        problem, loops = self.group.problem, order.loops
        clock = float(problem.machine.clock_hz)
        traffic_s, traffic_pj = self._floor(order)
        least = {n: [self.costs.least_cycles(n, loops, p) for p in problem.placements[n]] for n in self.group.names}
        names = sorted(self.group.names, key=lambda n: -float(np.minimum.reduce(least[n])[alive].min()))
        energy = traffic_pj
        if self.weights.energy_pj:
            for n in names:
                energy = energy + self.costs.least_energy(n, loops)

        def place(number: int, at: Array, loads: dict[str, Array], placed: dict[str, Placement]) -> Iterator[dict[str, Placement]]:
            if number == len(names):
                yield dict(placed)
                return
            name = names[number]
            for where, took in zip(problem.placements[name], least[name], strict=True):
                more = {**loads, where.unit: loads[where.unit] + took[at]}
                busiest = np.maximum.reduce(list(more.values())) / clock
                good = self.weights.value(np.maximum(busiest, traffic_s[at]), energy[at]) < limit
                if good.any():
                    placed[name] = where
                    yield from place(number + 1, at[good], {u: v[good] for u, v in more.items()}, placed)
            placed.pop(name, None)

        yield from place(0, alive, {u: np.zeros(len(alive)) for u in problem.machine.units}, {})

    def _evaluate(self, made: Class, limit: float, most: int | None = None) -> None:
        """Evaluates a class at all sizes whose bound is below the limit: the best places first, then by the simulator. With
        ``most``, only so many sizes of the least bounds."""
        order, group = made.order, self.group
        alive = np.flatnonzero(made.bound < limit)
        if most is not None and len(alive) > most:
            alive = alive[np.argsort(made.bound[alive], kind="stable")[:most]]
        if not len(alive):
            return
        clock = float(group.problem.machine.clock_hz)
        busiest = self.costs.busiest(made.placed, made.tables, order.loops)
        longest = {n: np.maximum.reduce(list(self.costs.all_cycles(n, order.loops, made.placed[n], made.tables[made.placed[n].unit]).values()))
                   for n in group.names}
        chain = tuple(np.broadcast_to(c, busiest.shape)[alive] for c in self.costs.chain(order.loops, longest, made.placed))
        options = {t: self.costs.options(t, order.loops, order.places[t], made.placed, made.tables, alive) for t in group.tensors}
        fixed = self.costs.fixed_energy(made.placed, made.tables, order.loops)[alive] if self.weights.energy_pj else np.zeros(len(alive))
        kept = retain(group.problem.machine, options, busiest[alive] / clock, (chain[0], chain[1]), fixed, self.weights)
        if kept.open_bound < np.inf and most is None:
            self.left = min(self.left, float(kept.open_bound))
        if most is None and (group.problem.machine.networks or self.weights.latency_s and self.weights.energy_pj and group.iterated):
            # What networks take, and circles of dependences, is not part of the bounds: other places might do better then.
            self.left = min(self.left, made.value)
        # The most promising first: what they reach rules out others.
        for choice in sorted(kept.groups, key=lambda c: float(kept.bound[kept.groups[c]].min())):
            places = kept.groups[choice]
            good = places[kept.bound[places] < self._limit(limit)]
            self.outcome.pruned += len(places) - len(good)
            if len(good):
                self._simulate(made, {t: options[t][n] for t, n in zip(options, choice, strict=True)}, alive[good])

    def _simulate(self, made: Class, options: Mapping[str, Option], at: Array) -> None:
        group, loops = self.group, made.order.loops
        forward = {t: group.readers[t] for t, o in options.items() if o.place.forwarded and t in group.makers and group.readers[t]}
        structure = Structure(group.names, loops, made.placed, made.tables,
                              {t: o.place.levels for t, o in options.items() if o.place.levels}, forward)
        design = group_design(group.problem, structure)
        grid = group.library.grid(loops)

        def cost(sizes: Mapping[str, Quantity], block: tuple[int, ...]) -> Mapping[str, Quantity]:
            try:
                found = estimate(group.problem.cascade, design, group.problem.machine, group.library.shape(sizes), whole=False)
            except CapacityError:
                return {"latency": np.inf, "energy": np.inf}
            return {"latency": np.where(found.valid, found.latency_s, np.inf),
                    "energy": np.where(found.valid, found.energy_pj["total"], np.inf)}

        found, invalid = group.library.counted(grid, cost, group.names, at)
        self.outcome.evaluated += len(at)
        self.watch.count(len(at))
        if not found:
            return
        value = np.where(invalid, np.inf, self.weights.value(found["latency"], found["energy"]))
        best = int(np.argmin(value))
        known = self.outcome.best
        if np.isfinite(value[best]) and (known is None or value[best] < known.value):
            sizes = {p: int(v[at[best]]) for p, v in grid.sizes.items()}
            self.outcome.best = Found(float(value[best]), float(found["latency"][best]), float(found["energy"][best]), structure, sizes)


def _parts(table: Table) -> frozenset[str]:
    return frozenset(p for p, _ in table)
