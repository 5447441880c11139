"""Why a rank takes as many passes as it does: the reads that force each pass after the first, named."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from einsum_cascades.analysis.passes import RankPasses, rank_passes, stages
from einsum_cascades.analysis.relations import BACKWARD, FOLDED, FORWARD, Order, Relation
from einsum_cascades.ir import Cascade
from einsum_cascades.printing import expr_text
from einsum_cascades.symbols import formula


@dataclass(frozen=True)
class Reason:
    """Why an Einsum runs in a sweep of a rank and not in the one before.

    In sweep ``sweep`` of ``rank``, ``einsum`` visits ``visited``, or makes what a visitor of that sweep needs. It
    reads ``read``, which ``producer`` makes through ``path`` (tensors, from the one that is read to the one that the
    producer makes). ``because`` says why that keeps it out of the sweep before.
    """

    rank: str
    sweep: int
    einsum: str
    visited: str
    read: str
    producer: str
    path: tuple[str, ...]
    because: str

    def __str__(self) -> str:
        return (f"{self.rank}: sweep {self.sweep}: {self.einsum} visits {self.visited} again: it reads {self.read}, "
                f"{self.because}")


def explain(cascade: Cascade) -> list[str]:
    """Returns one line for each rank and, under it, for each read that forces a pass."""
    lines = []
    for rank, found in rank_passes(cascade).items():
        own = reasons(found)
        count = "1 pass" if found.count == formula(1) else f"{found.count} passes"
        unrolled = f", shown for the first generations of {', '.join(found.unrolled)}" if own and found.unrolled else ""
        lines += [f"{rank}: {count}{unrolled}", *map(str, own)]
    return lines


def reasons(found: RankPasses) -> list[Reason]:
    """Returns the reads that force the passes of a rank, sweep by sweep, in a schedule with the fewest sweeps."""
    tensor, stage, orders = stages(found)
    nodes, group = found.plan.graph.nodes, found.plan.plan.group
    needs: dict[int, list[Relation]] = {}
    for relation in found.plan.relations:
        needs.setdefault(group[relation.consumer], []).append(relation)
    wanted = {group[n] for n in found.plan.visits[tensor]} if tensor else set()
    afterwards = _afterwards(found, wanted, orders)
    made: list[Reason] = []
    for sweep in range(len(orders), 1, -1):
        # The visitors of this sweep, and what they need in it.
        here = {g for n, g in group.items() if stage[n] == sweep and g in wanted}
        stack = list(here)
        while stack:
            for relation in needs.get(stack.pop(), ()):
                there = group[relation.producer]
                if stage[relation.producer] == sweep and there not in here:
                    here.add(there)
                    stack.append(there)
        order = orders[sweep - 2]
        for g in sorted(here):
            before = [r for r in _complete(g, needs, group, afterwards[sweep - 1])
                      if stage[r.producer] == sweep - 1 and not r.shares(order)]
            own = [r for r in needs.get(g, ()) if group[r.producer] == g]
            for relation in before[:1] or ([] if found.plan.plan.runs[order] >> g & 1 else own[:1]):
                made.append(Reason(found.rank, sweep, nodes[relation.consumer].name, tensor,
                                   expr_text(relation.read.access), nodes[relation.producer].name, relation.path,
                                   _because(relation, sweep - 1, order, found)))
                # Whoever runs it must have run by then.
                wanted.add(group[relation.producer])
    return made[::-1]


def _afterwards(found: RankPasses, wanted: set[int], orders: tuple[Order, ...]) -> dict[int, int]:
    """The groups, as bit masks, that run after each sweep and before the next one: they visit nothing."""
    plan = found.plan.plan
    visitors = sum(1 << g for g in wanted)
    done = plan.free(0, visitors)
    made = {}
    for sweep, order in enumerate(orders, start=1):
        ran = plan.run(done, order, plan.every)
        done = plan.free(ran, visitors)
        made[sweep] = done & ~ran
    return made


def _complete(g: int, needs: Mapping[int, Sequence[Relation]], group: Mapping[int, int],
              afterwards: int) -> Iterator[Relation]:
    """What a group needs of a sweep, directly or through groups that run after it."""
    seen = {g}
    waiting = deque(needs.get(g, ()))
    while waiting:
        relation = waiting.popleft()
        there = group[relation.producer]
        if not afterwards >> there & 1 or there == g:
            yield relation
        elif there not in seen:
            # One way to each group is enough, and there may be very many.
            seen.add(there)
            waiting.extend(replace(further, consumer=relation.consumer, read=relation.read,
                                   path=(*relation.path, *further.path)) for further in needs.get(there, ()))


def _because(relation: Relation, before: int, order: Order, found: RankPasses) -> str:
    if relation.shares(FORWARD) or relation.shares(BACKWARD):
        way = "backwards" if relation.shares(BACKWARD) else "forwards"
        return f"so that it has to go {way} over {found.rank}, and sweep {before} goes {_named(order)}"
    way = f" and feeds it by way of {', '.join(reversed(relation.path[:-1]))}" if len(relation.path) > 1 else ""
    producer = found.plan.graph.nodes[relation.producer].name
    return f"which is complete only after sweep {before}, where {producer} runs{way}"


def _named(order: Order) -> str:
    names = {FORWARD: "forwards", BACKWARD: "backwards", FOLDED: "from both ends"}
    return names.get(str(order), "from a fixed coordinate")
