"""Fusion classes: how the ranks of two Einsums that pass a tensor on compare, and on which ranks they can be fused.

The class names are those that Mambalaya (Odemuyiwa et al., arXiv 2604.03829) gives to pairs of Einsums in a cascade:
rank-isomorphic, -subsetted, -supersetted and -disjoint. What they mean here is defined here, by the ranks that the
two Einsums iterate (a sum over a rank iterates it):

* ``isomorphic``: the same ranks; point after point of both may alternate.
* ``subset``: the consumer iterates some of the producer's ranks, and no others (the producer's result is reduced or a
  slice of it is read).
* ``superset``: the consumer iterates all of the producer's ranks, and others (the result is broadcast).
* ``disjoint``: each iterates a rank that the other lacks.

Whether they may share a loop over a rank that both iterate is the question of passes: it is a *barrier* if no legal
schedule has them in one sweep of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.analysis.graph import Node
from einsum_cascades.analysis.linear import Linear
from einsum_cascades.analysis.passes import RankPlan, rank_passes
from einsum_cascades.ir import Cascade, Einsum
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Pair:
    """A producer and a consumer: ``kind`` is isomorphic, subset, superset or disjoint; of the ranks that both iterate,
    they can be fused on ``fusable`` and not on ``barriers``."""

    tensor: str
    producer: str
    consumer: str
    kind: str
    fusable: tuple[str, ...]
    barriers: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Returns the pair with plain lists, for JSON."""
        return {"tensor": self.tensor, "producer": self.producer, "consumer": self.consumer, "class": self.kind,
                "fusable": list(self.fusable), "barriers": list(self.barriers)}


def fusion_pairs(cascade: Cascade) -> tuple[Pair, ...]:
    """Returns every pair of Einsums of which one reads what another makes, in order of appearance.

    Composite ranks take part in ``fusable`` and ``barriers`` where both iterate all their parts.
    """
    found = structure(cascade)
    nodes = {rank: _by_name(passes.plan) for rank, passes in rank_passes(cascade).items()}
    pairs: dict[tuple[str, str, str], Pair] = {}
    for consumer in cascade.einsums:
        for access in consumer.reads:
            producer = found.producers.get(access.tensor)
            if producer is None or producer is consumer:
                continue
            key = access.tensor, producer.name, consumer.name
            if key not in pairs:
                shared, barriers = _shared(*key, cascade, nodes)
                fusable = tuple(r for r in shared if r not in barriers)
                pairs[key] = Pair(*key, _kind(producer, consumer), fusable, barriers)
    return tuple(pairs.values())


def _kind(producer: Einsum, consumer: Einsum) -> str:
    ours, theirs = set(producer.ranks), set(consumer.ranks)
    if ours == theirs:
        return "isomorphic"
    return "subset" if theirs < ours else "superset" if theirs > ours else "disjoint"


def _by_name(plan: RankPlan) -> dict[str, list[Node]]:
    """The nodes that iterate a rank, by the name of their Einsum; seeds are left out."""
    made: dict[str, list[Node]] = {}
    for number in plan.graph.members(plan.rank):
        node = plan.graph.nodes[number]
        if not node.seed:
            made.setdefault(node.einsum.name, []).append(node)
    return made


def _shared(tensor: str, producer: str, consumer: str, cascade: Cascade,
            nodes: Mapping[str, Mapping[str, list[Node]]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ranks that both iterate, and those of them on which they cannot share a sweep."""
    shared, barriers = [], []
    for rank, found in rank_passes(cascade).items():
        makers, readers = nodes[rank].get(producer, ()), nodes[rank].get(consumer, ())
        both = [frozenset((p.number, c.number)) for p in makers for c in readers if _meets(tensor, p, c)]
        if both:
            shared.append(rank)
            if any(found.plan.sweeps(pair)[0] > 1 for pair in both):
                barriers.append(rank)
    return tuple(shared), tuple(barriers)


def _meets(tensor: str, producer: Node, consumer: Node) -> bool:
    """Whether a node reads the slots that another writes: of an unrolled iteration, only some generations do."""
    def fits(left: Linear | None, index: Linear | None) -> bool:
        if left is None or index is None or left.coordinates or left.symbols or index.coordinates or index.symbols:
            return True
        return left.constant == index.constant

    return any(out == tensor and read.tensor == tensor and all(map(fits, forms, read.forms))
               for out, forms in producer.outputs for read in consumer.reads)
