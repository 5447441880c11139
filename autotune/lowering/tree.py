"""The loops of a kernel: nodes in order, those that go through a looped rank inside a loop over it.

Along each looped rank this is the pass check. A node that needs a whole-rank result (a reduction over the rank, the last
slot of a state) and goes through the rank itself runs in a later loop over it, in which what it reads at its own coordinate
is computed again. So three-pass attention becomes three loops, never one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.errors import LoweringError
from autotune.lowering.nodes import LAST, PREVIOUS, Node, NodeGraph


@dataclass(frozen=True)
class LoopItem:
    """A loop over a rank: ``results`` are the nodes whose results over the whole rank are needed after it."""

    rank: str
    step: int
    body: tuple[Item, ...]
    results: frozenset[str]


Item = Node | LoopItem


def loop_tree(graph: NodeGraph, looped: tuple[str, ...], name: str) -> tuple[Item, ...]:
    """Returns the nodes as nested loops; ``looped`` are the looped ranks, outer first.

    Raises: LoweringError where a state keeps a looped rank inside its own loop, or is needed in two directions.
    """
    return _Tree(graph, name).block(graph.nodes, looped)


class _Tree:
    def __init__(self, graph: NodeGraph, name: str) -> None:
        self.graph, self.name = graph, name
        self.owner: Mapping[str, Node] = graph.by_value

    def block(self, nodes: tuple[Node, ...], looped: tuple[str, ...], opened: frozenset[str] = frozenset()) -> tuple[Item, ...]:
        if not looped:
            return nodes
        rank, rest = looped[0], looped[1:]
        if not any(rank in n.space for n in nodes):
            return self.block(nodes, rest, opened)
        for node in nodes:
            inner = [r for r in rest if r in node.ranks]
            if node.carried == rank and inner:
                raise LoweringError(f"{self.name}: tensor {node.tensor!r}: a state over {rank} keeps rank {inner[0]!r}, which is "
                                    f"looped inside, got a tile of {inner[0]!r} at a time; give {inner[0]!r} the role tile or grid")
        levels = self.levels(nodes, rank, opened)
        items: list[Item] = []
        for level in range(max(levels.values()) + 1):
            items += self.block(tuple(n for n in nodes if rank not in n.space and levels[n.name] == level), rest, opened)
            own = [n for n in nodes if rank in n.space and levels[n.name] == level]
            if own:
                inside = self.closure(own, nodes, rank)
                steps = {n.step for n in inside if n.carried == rank}
                if len(steps) > 1:
                    raise LoweringError(f"{self.name}: rank {rank!r}: states go through it in both directions in one loop, got "
                                        f"{', '.join(n.tensor for n in inside if n.carried == rank)}; store one between two kernels")
                items.append(LoopItem(rank, steps.pop() if steps else 1, self.block(inside, rest, opened | {rank}),
                                      frozenset(n.name for n in own if rank in n.lost or n.carried == rank)))
        return tuple(items)

    def levels(self, nodes: tuple[Node, ...], rank: str, opened: frozenset[str]) -> dict[str, int]:
        """The loop over the rank in which each node runs, or before which: the longest path of whole-rank results."""
        inside = {n.name for n in nodes}
        level = {n.name: 0 for n in nodes}
        for _ in range(2 * len(nodes) + 2):
            changed = False
            for node in nodes:
                needed = level[node.name]
                for value, how in node.reads:
                    source = self.owner[value]
                    if source.name not in inside:
                        continue
                    if how == PREVIOUS and source.carried in opened:
                        continue  # the value of the step before: it is there
                    whole = rank in source.space and (rank in source.lost or rank not in node.space or
                                                      how == LAST and source.carried == rank)
                    needed = max(needed, level[source.name] + (1 if whole else 0))
                if node.seed is not None and self.owner[node.seed].name in inside:
                    seed = self.owner[node.seed]
                    needed = max(needed, level[seed.name] + (1 if rank in seed.lost else 0))
                if needed > level[node.name]:
                    level[node.name], changed = needed, True
            if not changed:
                return level
        raise LoweringError(f"{self.name}: rank {rank!r}: a state over it needs a result over all of it, got a circle of "
                            f"{', '.join(dict.fromkeys(n.tensor for n in nodes if rank in n.space))}; loop over another rank outside")

    def closure(self, own: list[Node], nodes: tuple[Node, ...], rank: str) -> tuple[Node, ...]:
        """A loop's nodes, and those of earlier loops whose values at the same coordinate they read."""
        inside = {n.name for n in nodes}
        wanted: dict[str, Node] = {}
        stack = list(own)
        while stack:
            node = stack.pop()
            if node.name in wanted:
                continue
            wanted[node.name] = node
            seeds = ((node.seed, ""),) if node.seed is not None else ()
            for value, how in (*node.reads, *seeds):
                source = self.owner[value]
                if source.name in inside and rank in source.space and rank not in source.lost and not (how == LAST and source.carried == rank):
                    stack.append(source)
        return tuple(n for n in nodes if n.name in wanted)
