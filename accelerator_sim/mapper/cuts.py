"""Where to cut a cascade into groups: the best path over the evaluation order, with groups searched only when they matter.

Groups are costed independently, since what passes between them goes through the outermost memory, and their latencies and
energies add. So the best cut is a shortest path. At first each group has a lower bound (work at the peak of the units, compulsory
traffic); the best path's groups are searched, which raises their bounds to their values, until the best path has none left
that is not searched: then nothing is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from accelerator_sim.mapper.costs import Costs, balanced
from accelerator_sim.mapper.group import Group
from accelerator_sim.mapper.library import Library
from accelerator_sim.mapper.problem import Problem
from accelerator_sim.mapper.progress import Watch
from accelerator_sim.mapper.search import Found, GroupSearch, Outcome, Weights
from accelerator_sim.pipeline import dependences
from einsum_cascades.structure import structure


@dataclass(frozen=True, eq=False)
class CutsFound:
    """The best cut that was found (``groups`` empty: none), its value, and a value that no cut is below. ``failed`` are groups
    of one Einsum of which no mapping fits, with what their smallest tiles need."""

    groups: tuple[Found, ...]
    value: float
    bound: float
    evaluated: int
    pruned: int
    failed: tuple[tuple[tuple[str, ...], Outcome], ...]


@dataclass(eq=False)
class Cuts:
    """The cuts of one problem."""

    problem: Problem
    library: Library
    weights: Weights
    watch: Watch
    searches: dict[tuple[int, int], GroupSearch] = field(default_factory=dict)
    lower: dict[tuple[int, int], float] = field(default_factory=dict)

    def floor(self) -> float:
        """Returns a value that no cut is below, without a search."""
        self._begin()
        return self._path(self.lower)[0]

    def run(self, cutoff: float = np.inf) -> CutsFound:
        """Returns the best cut whose value is below the cutoff."""
        self._begin()
        # The smallest groups first: what they reach together is a limit for all others.
        for group in self._smallest():
            self._search(group, cutoff)
        while True:
            found, _ = self._path(self._upper())
            limit = min(cutoff, found)
            least, path = self._path(self.lower)
            self.watch.bound = least
            if least >= limit * (1 - 1e-12) or not path:
                break
            left = [g for g in path if not self._done(g)]
            if not left or self.watch.over():
                break
            # Small groups are soon searched, and may already say that another path is better.
            group = min(left, key=lambda g: (g[1] - g[0], -self.lower[g]))
            self._search(group, limit - (least - self.lower[group]))
        value, best = self._path(self._upper())
        groups = [self.searches[g].outcome.best for g in best]
        failed = tuple((self.searches[i, i + 1].group.names, self.searches[i, i + 1].outcome) for i in range(len(self.problem.order))
                       if (i, i + 1) in self.searches and self.searches[i, i + 1].outcome.best is None)
        return CutsFound(tuple(g for g in groups if g is not None), value, self._path(self.lower)[0],
                         sum(s.outcome.evaluated for s in self.searches.values()),
                         sum(s.outcome.pruned for s in self.searches.values()), failed)

    # --- private parts ---

    def _begin(self) -> None:
        if self.lower:
            return
        floors = {n: self.library.floor(n) for n in self.problem.order}
        for start, end in self._intervals():
            names = self.problem.order[start:end]
            self.lower[start, end] = self._bound(Group(self.problem, self.library, names), floors)

    def _smallest(self) -> list[tuple[int, int]]:
        """Groups that cannot be cut any further."""
        return [g for g in self.lower if not any(h != g and g[0] <= h[0] and h[1] <= g[1] for h in self.lower)]

    def _intervals(self) -> list[tuple[int, int]]:
        """The groups: Einsums next to each other, which share tensors, and of circles of dependences all or none."""
        order = self.problem.order
        circles = _circles(self.problem)
        most = self.problem.space.most_einsums if self.problem.space.fuse else 1
        found = []
        for start in range(len(order)):
            for end in range(start + 1, len(order) + 1):
                names = order[start:end]
                whole = all(c <= set(names) or not c & set(names) for c in circles)
                fused = any(len(c) > 1 and c <= set(names) for c in circles)
                if whole and (len(names) <= most or fused and self._least(circles, names)) and self._connected(names):
                    found.append((start, end))
        return found

    @staticmethod
    def _least(circles: Sequence[frozenset[str]], names: Sequence[str]) -> bool:
        """Whether a group is no larger than a circle of dependences makes it."""
        first, last = names[0], names[-1]
        return any(first in c and last in c for c in circles)

    def _connected(self, names: Sequence[str]) -> bool:
        groups: list[set[str]] = []
        for name in names:
            own = {*self.problem.results(name), *self.problem.operands(name)}
            joined = [g for g in groups if g & own]
            groups = [g for g in groups if not g & own] + [own.union(*joined)]
        return len(groups) == 1

    def _bound(self, group: Group, floors: dict[str, tuple[dict[str, float], float]]) -> float:
        machine = self.problem.machine
        busiest = float(balanced(tuple(machine.units), [{u: np.array([c]) for u, c in floors[n][0].items()} for n in group.names])[0])
        moved, energy = 0.0, sum(floors[n][1] for n in group.names)
        costs = Costs(group)
        for tensor in group.crossing:
            values, writes = costs.compulsory(tensor)
            width = self.problem.value_bytes(tensor)
            cost = machine.memory_cost(machine.outermost.name, width)
            moved += (values + writes) * width
            energy += values * float(cost.read_pj) + writes * float(cost.write_pj)
        rate = machine.outermost.bytes_per_s
        seconds = max(busiest / float(machine.clock_hz), 0.0 if rate is None else moved / float(rate))
        return float(self.weights.value(seconds, energy))

    def _upper(self) -> dict[tuple[int, int], float]:
        return {g: s.outcome.best.value for g, s in self.searches.items() if s.outcome.best is not None}

    def _done(self, group: tuple[int, int]) -> bool:
        """Whether a group's bound is its value."""
        search = self.searches.get(group)
        if search is None:
            return False
        best = search.outcome.best
        return search.outcome.complete and (best is None or self.lower[group] >= best.value * (1 - 1e-12))

    def _search(self, group: tuple[int, int], cutoff: float) -> None:
        search = self.searches.get(group)
        if search is None:
            names = self.problem.order[group[0]:group[1]]
            search = self.searches[group] = GroupSearch(
                Group(self.problem, self.library, names), self.weights, self.watch, self.lower[group])
        outcome = search.run(cutoff)
        self.lower[group] = max(self.lower[group], outcome.bound)
        best, _ = self._path(self._upper())
        if np.isfinite(best):
            self.watch.best = best if self.watch.best is None else min(best, self.watch.best)

    def _path(self, values: dict[tuple[int, int], float]) -> tuple[float, list[tuple[int, int]]]:
        """The path with the least sum."""
        count = len(self.problem.order)
        best: list[tuple[float, list[tuple[int, int]]]] = [(0.0, []), *((np.inf, []) for _ in range(count))]
        for end in range(1, count + 1):
            for start in range(end):
                value = best[start][0] + values.get((start, end), np.inf)
                if value < best[end][0]:
                    best[end] = value, [*best[start][1], (start, end)]
        return best[count]


def _circles(problem: Problem) -> list[frozenset[str]]:
    """Einsums that need each other, over rounds of an iteration."""
    import networkx as nx
    graph = nx.DiGraph((d.producer, d.consumer) for d in dependences(problem.cascade))
    return [frozenset(c) for c in nx.strongly_connected_components(graph)] if graph else []


def barriers(problem: Problem, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Returns why two groups next to each other share no loop over some ranks: what needs a whole rank of what."""
    from einsum_cascades.analysis.fusion import fusion_pairs
    found = []
    for pair in fusion_pairs(problem.cascade):
        if pair.producer in first and pair.consumer in second:
            found += [f"{pair.consumer} needs {pair.tensor} of all {rank}" for rank in pair.barriers
                      if rank in (*structure(problem.cascade).ranks, *structure(problem.cascade).composites)]
    return found
