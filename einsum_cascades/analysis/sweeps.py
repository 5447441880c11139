"""The fewest sweeps that visit a tensor: an exact search over the orders of sweeps.

Nodes that need each other in a circle share a sweep, in an order in which every circle goes back in time. For a
given sequence of orders it is never worse to run in each sweep all that can run, since any schedule of what is left
stays legal when more is done already. So only the orders are searched: breadth-first over the sets of nodes that
are done. Sweeps that visit nothing of the tensor are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from einsum_cascades.analysis.linear import FAR, UNBOUNDED
from einsum_cascades.analysis.relations import BACKWARD, FOLDED, FORWARD, Order, Relation


class CircleError(Exception):
    """Nodes need each other in a circle that no single sweep runs: an iteration has to be unrolled."""

    def __init__(self, nodes: frozenset[int]) -> None:
        super().__init__()
        self.nodes = nodes


@dataclass(frozen=True)
class Plan:
    """The groups of nodes that share a sweep, with what each needs.

    ``group`` numbers the group of each node. For each order, ``runs`` holds the groups that it suits, and
    ``shares[order][g]`` the groups that g needs and that may share its sweep; ``needs`` are all that each needs.
    Sets of groups are bit masks.
    """

    group: Mapping[int, int]
    needs: tuple[int, ...]
    runs: Mapping[Order, int]
    shares: Mapping[Order, tuple[int, ...]]

    @property
    def every(self) -> int:
        """All groups."""
        return (1 << len(self.needs)) - 1

    def mask(self, nodes: Iterable[int]) -> int:
        """Returns the groups of some nodes."""
        result = 0
        for node in nodes:
            result |= 1 << self.group[node]
        return result

    def run(self, done: int, order: Order, allowed: int) -> int:
        """Returns what is done after one sweep in an order that runs all it can of the allowed groups."""
        shares, able = self.shares[order], self.runs[order] & allowed
        changed = True
        ran = 0
        while changed:
            changed = False
            waiting = able & ~(done | ran)
            while waiting:
                bit = waiting & -waiting
                waiting ^= bit
                g = bit.bit_length() - 1
                missing = self.needs[g] & ~done
                if missing & ~ran == 0 and missing & ~shares[g] == 0:
                    ran |= bit
                    changed = True
        return done | ran

    def free(self, done: int, visitors: int) -> int:
        """Returns what is done after as many sweeps as one likes that visit nothing."""
        while True:
            after = done
            for order in self.shares:
                after = self.run(after, order, self.every & ~visitors)
            if after == done:
                return done
            done = after

    def fewest(self, visitors: int) -> tuple[int, tuple[Order, ...]]:
        """Returns the fewest sweeps in which all visitors run, and the orders of such sweeps."""
        start = self.free(0, visitors)
        frontier: dict[int, tuple[Order, ...]] = {start: ()}
        seen = {start}
        while True:
            finished = [way for done, way in frontier.items() if visitors & ~done == 0]
            if finished:
                return len(finished[0]), finished[0]
            following: dict[int, tuple[Order, ...]] = {}
            for done, way in frontier.items():
                for order in self.shares:
                    after = self.free(self.run(done, order, self.every), visitors)
                    if after not in seen:
                        seen.add(after)
                        following[after] = (*way, order)
            # What has less done than another never catches up.
            frontier = {done: way for done, way in following.items()
                        if not any(done != other and done | other == other for other in following)}
            assert frontier, "a plan without circles always goes on"

    def stages(self, orders: Sequence[Order], visitors: int) -> dict[int, int]:
        """Returns the sweep, from 1, of each group in a schedule; sweeps in between that visit nothing count to the
        sweep before."""
        stage: dict[int, int] = {}

        def note(before: int, after: int, number: int) -> None:
            for g in range(len(self.needs)):
                if (after & ~before) >> g & 1:
                    stage[g] = number

        done = self.free(0, visitors)
        note(0, done, 1)
        for number, order in enumerate(orders, start=1):
            after = self.free(self.run(done, order, self.every), visitors)
            note(done, after, number)
            done = after
        # What no visitor waits for runs at the end.
        note(done, self.every, max(len(orders), 1))
        return stage


def plan(members: Sequence[int], relations: Sequence[Relation]) -> Plan:
    """Returns the plan of the nodes that iterate a rank.

    Raises: CircleError where nodes need each other in a circle that no sweep can run.
    """
    component = _components(members, relations)
    names = {c: i for i, c in enumerate(dict.fromkeys(component[m] for m in members))}
    group = {m: names[component[m]] for m in members}
    inner: dict[int, list[Relation]] = {}
    orders: dict[Order, None] = {FORWARD: None, BACKWARD: None}
    for relation in relations:
        if group[relation.consumer] == group[relation.producer]:
            inner.setdefault(group[relation.consumer], []).append(relation)
        if not (relation.shares(FORWARD) and relation.shares(BACKWARD)):
            orders |= dict.fromkeys((*((FOLDED,) if relation.folds else ()), *sorted(relation.firsts or (), key=repr)))
    needs = [0] * len(names)
    forbidden = {order: [0] * len(names) for order in orders}
    for relation in relations:
        here, there = group[relation.consumer], group[relation.producer]
        if here == there:
            continue
        needs[here] |= 1 << there
        for order in orders:
            if not relation.shares(order):
                forbidden[order][here] |= 1 << there
    runs = dict.fromkeys(orders, 0)
    for g in range(len(names)):
        for order in orders:
            if _goes(inner.get(g, []), order):
                runs[order] |= 1 << g
        if not any(able >> g & 1 for able in runs.values()):
            raise CircleError(frozenset(m for m in members if group[m] == g))
    return Plan(group, tuple(needs), runs,
                {o: tuple(needs[g] & ~forbidden[o][g] for g in range(len(names))) for o in orders})


def _goes(relations: Sequence[Relation], order: Order) -> bool:
    """Whether nodes of one group can share a sweep: every circle of theirs goes back, or stays where it is."""
    if order not in (FORWARD, BACKWARD):
        return all((r.ahead, r.behind) == (0, 0) for r in relations)
    weights: dict[tuple[int, int], int] = {}
    for relation in relations:
        weight = relation.ahead if order == FORWARD else relation.behind
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
