"""The fewest sweeps that visit a tensor: an exact search over directions.

Nodes that need each other in a circle share a sweep, in a direction in which every circle goes back in time. For a
given sequence of directions it is never worse to run in each sweep all that can run, since any schedule of what is
left stays legal when more is done already. So only the directions are searched: a breadth-first search over the
sets of nodes that are done. Sweeps that visit nothing of the tensor are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from einsum_cascades.analysis.linear import FAR, UNBOUNDED
from einsum_cascades.analysis.relations import Relation

DIRECTIONS = (1, -1)


class CircleError(Exception):
    """Nodes need each other in a circle that no single sweep runs: an iteration has to be unrolled."""

    def __init__(self, nodes: frozenset[int]) -> None:
        super().__init__()
        self.nodes = nodes


@dataclass(frozen=True)
class Plan:
    """The groups of nodes that share a sweep, with what each needs.

    ``group`` numbers the group of each node; for each group, ``runs`` holds the directions it may go, ``needs`` the
    groups it needs, ``shares[direction]`` those of them that may share its sweep. Sets of groups are bit masks.
    """

    group: dict[int, int]
    runs: tuple[frozenset[int], ...]
    needs: tuple[int, ...]
    shares: dict[int, tuple[int, ...]]

    @property
    def every(self) -> int:
        """All groups."""
        return (1 << len(self.runs)) - 1

    def mask(self, nodes: Iterable[int]) -> int:
        """Returns the groups of some nodes."""
        result = 0
        for node in nodes:
            result |= 1 << self.group[node]
        return result

    def run(self, done: int, direction: int, allowed: int) -> int:
        """Returns what is done after one sweep in a direction that runs all it can of the allowed groups."""
        shares = self.shares[direction]
        ran = 0
        changed = True
        while changed:
            changed = False
            for g, directions in enumerate(self.runs):
                bit = 1 << g
                if (done | ran) & bit or not allowed & bit or direction not in directions:
                    continue
                missing = self.needs[g] & ~done
                if missing & ~ran == 0 and missing & ~shares[g] == 0:
                    ran |= bit
                    changed = True
        return done | ran

    def free(self, done: int, visitors: int) -> int:
        """Returns what is done after as many sweeps as one likes that visit nothing."""
        while True:
            after = done
            for direction in DIRECTIONS:
                after = self.run(after, direction, self.every & ~visitors)
            if after == done:
                return done
            done = after

    def fewest(self, visitors: int) -> tuple[int, tuple[int, ...]]:
        """Returns the fewest sweeps in which all visitors run, and the directions of such sweeps."""
        start = self.free(0, visitors)
        frontier: dict[int, tuple[int, ...]] = {start: ()}
        seen = {start}
        while True:
            finished = [way for done, way in frontier.items() if visitors & ~done == 0]
            if finished:
                return len(finished[0]), finished[0]
            following: dict[int, tuple[int, ...]] = {}
            for done, way in frontier.items():
                for direction in DIRECTIONS:
                    after = self.free(self.run(done, direction, self.every), visitors)
                    if after not in seen:
                        seen.add(after)
                        following[after] = (*way, direction)
            frontier = {done: way for done, way in following.items()
                        if not any(done != other and done | other == other for other in following)}
            assert frontier, "a plan without circles always goes on"

    def stages(self, directions: Sequence[int], visitors: int) -> dict[int, int]:
        """Returns the sweep, from 1, of each group in a schedule; sweeps in between that visit nothing count to the
        sweep before."""
        stage: dict[int, int] = {}

        def note(before: int, after: int, number: int) -> None:
            for g in range(len(self.runs)):
                if (after & ~before) >> g & 1:
                    stage[g] = number

        done = self.free(0, visitors)
        note(0, done, 1)
        for number, direction in enumerate(directions, start=1):
            after = self.free(self.run(done, direction, self.every), visitors)
            note(done, after, number)
            done = after
        # What no visitor waits for runs at the end.
        note(done, self.every, max(len(directions), 1))
        return stage


def plan(members: Sequence[int], relations: Sequence[Relation]) -> Plan:
    """Returns the plan of the nodes that iterate a rank.

    Raises: CircleError where nodes need each other in a circle that no sweep can run.
    """
    component = _components(members, relations)
    names = {c: i for i, c in enumerate(dict.fromkeys(component[m] for m in members))}
    group = {m: names[component[m]] for m in members}
    inner: dict[int, list[Relation]] = {}
    needs = [0] * len(names)
    forbidden = {d: [0] * len(names) for d in DIRECTIONS}
    for relation in relations:
        here, there = group[relation.consumer], group[relation.producer]
        if here == there:
            inner.setdefault(here, []).append(relation)
            continue
        needs[here] |= 1 << there
        if not relation.forward:
            forbidden[1][here] |= 1 << there
        if not relation.backward:
            forbidden[-1][here] |= 1 << there
    runs = []
    for g in range(len(names)):
        directions = frozenset(d for d in DIRECTIONS if _goes(inner.get(g, []), d))
        if not directions:
            raise CircleError(frozenset(m for m in members if group[m] == g))
        runs.append(directions)
    return Plan(group, tuple(runs), tuple(needs),
                {d: tuple(needs[g] & ~forbidden[d][g] for g in range(len(names))) for d in DIRECTIONS})


def _goes(relations: Sequence[Relation], direction: int) -> bool:
    """Whether nodes of one group can share a sweep: every circle of theirs goes back, or stays where it is."""
    weights: dict[tuple[int, int], int] = {}
    for relation in relations:
        weight = relation.ahead if direction > 0 else relation.behind
        if weight >= UNBOUNDED:
            return False
        pair = (relation.consumer, relation.producer)
        weights[pair] = max(weights.get(pair, -UNBOUNDED), min(max(weight, -FAR), FAR))
    best: dict[int, int] = {n: 0 for pair in weights for n in pair}
    for _ in range(len(best) + 1):
        changed = False
        for (consumer, producer), weight in weights.items():
            # A lag that starts at the consumer: what it needs must come no later.
            if best[consumer] + weight > best[producer]:
                best[producer] = best[consumer] + weight
                changed = True
        if not changed:
            return True
    return False


def _components(members: Sequence[int], relations: Sequence[Relation]) -> dict[int, int]:
    """The smallest member of each node's strongly connected component, by reachability of bit masks."""
    place = {m: i for i, m in enumerate(members)}
    reach = [1 << i for i in range(len(members))]
    edges: dict[int, int] = {}
    for r in relations:
        edges[place[r.consumer]] = edges.get(place[r.consumer], 0) | 1 << place[r.producer]
    # Warshall's closure on rows.
    for i, row in edges.items():
        reach[i] |= row
    for k in range(len(members)):
        bit = 1 << k
        for i in range(len(members)):
            if reach[i] & bit:
                reach[i] |= reach[k]
    component: dict[int, int] = {}
    for i, m in enumerate(members):
        component[m] = next(n for j, n in enumerate(members) if reach[i] >> j & 1 and reach[j] >> i & 1)
    return component
