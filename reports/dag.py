"""The graph of a cascade: Einsums as nodes, tensors as edges, and the passes in which each Einsum runs along a rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from einsum_cascades.dependencies import Loop, lag
from einsum_cascades.errors import UnknownNameError
from einsum_cascades.ir import Access, Cascade, Einsum, unique
from einsum_cascades.printing import einsum_text
from einsum_cascades.structure import Structure, structure

if TYPE_CHECKING:
    import networkx as nx

    from einsum_cascades.analysis.passes import RankPasses

INPUT, SEED, EINSUM, OUTPUT = "input", "seed", "einsum", "output"
"""The kinds of nodes."""


def cascade_graph(cascade: Cascade, rank: str | None = None) -> nx.MultiDiGraph[str]:
    """Returns the graph of a cascade, with nodes in an order of evaluation: each input before its first reader.

    Nodes have a ``kind`` (input, seed, einsum, output), a ``label`` (the left side), a ``text`` (the line) and
    ``passes``, the sweeps over ``rank`` in which they run: none where they do not iterate it, several where an
    enclosing iteration runs them again. Edges have the ``tensor`` and whether it is ``carried``, that is, read as it
    was in an earlier iteration; without those the graph has no circle. The graph itself has a ``name``, the ``rank``
    (the one with most passes where none is given; None where there are no ranks), and its ``count`` of passes (a
    number, or a formula as text; then the passes shown are those of a few generations of the ranks ``unrolled``).

    Raises: UnknownNameError for a rank that the cascade does not have.
    """
    import networkx as nx
    found = structure(cascade)
    shown = _rank_passes(cascade, rank)
    passes = _sweeps(shown) if shown else {}
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(
        name=cascade.name, rank=shown.rank if shown else None, count=shown.count.plain() if shown else 0,
        unrolled=shown.unrolled if shown else ())
    for einsum, loops in _with_loops(found.schedule, ()):
        kind = _kind(einsum, found)
        for tensor in unique(a.tensor for a in einsum.reads):
            if tensor in found.inputs and tensor not in graph:
                graph.add_node(tensor, kind=INPUT, label=found.label(tensor), text=found.label(tensor), passes=())
        text = einsum_text(einsum)
        graph.add_node(_id(einsum, kind), kind=kind, label=text.partition(" = ")[0], text=text,
                       passes=passes.get((einsum, kind), ()), loops=loops)
    for reader in (*cascade.inits, *cascade.einsums):
        to = _id(reader, _kind(reader, found))
        for access in reader.reads:
            carried = _is_carried(access, to, graph, reader, found)
            _add(graph, _producer(access.tensor, found), to, access.tensor, carried)
        if reader in cascade.inits:
            for out in reader.outputs:
                _add(graph, to, _producer(out.tensor, found), out.tensor, carried=False)
    for tensor in found.outputs:
        label = found.label(tensor)
        graph.add_node(f"output {tensor}", kind=OUTPUT, label=label, text=label, passes=())
        _add(graph, _producer(tensor, found), f"output {tensor}", tensor, carried=False)
    return graph


def to_dict(graph: nx.MultiDiGraph[str]) -> dict[str, Any]:
    """Returns the graph in JSON's types."""
    return {
        "rank": graph.graph["rank"], "passes": graph.graph["count"],
        "nodes": [{"id": node, "kind": data["kind"], "text": data["text"], "passes": list(data["passes"])}
                  for node, data in graph.nodes(data=True)],
        "edges": [{"source": source, "target": target, "tensor": data["tensor"], "carried": data["carried"]}
                  for source, target, data in graph.edges(data=True)],
    }


def counted(graph: nx.MultiDiGraph[str]) -> str:
    """Returns the number of passes that a graph shows, in words."""
    rank, count = graph.graph["rank"], graph.graph["count"]
    unrolled = f", shown for the first generations of {', '.join(u)}" if (u := graph.graph["unrolled"]) else ""
    return "no ranks" if rank is None else f"{count} {'pass' if count == 1 else 'passes'} along {rank}{unrolled}"


def passes_text(passes: tuple[int, ...]) -> str:
    """Returns the passes of a node as text: "2", "1-3" of several, nothing of none."""
    return "" if not passes else str(passes[0]) if len(passes) == 1 else f"{passes[0]}-{passes[-1]}"


def _add(graph: nx.MultiDiGraph[str], source: str, target: str, tensor: str, carried: bool) -> None:
    graph.add_edge(source, target, key=(tensor, carried), tensor=tensor, carried=carried)


def _id(einsum: Einsum, kind: str) -> str:
    # A tensor has one Einsum, but may have a seed for each of several slots.
    return f"init {einsum_text(einsum).partition(' = ')[0]}" if kind == SEED else einsum.name


def _kind(einsum: Einsum, found: Structure) -> str:
    return EINSUM if found.producers.get(einsum.name) == einsum else SEED


def _producer(tensor: str, found: Structure) -> str:
    return found.producers[tensor].name if tensor in found.producers else tensor


def _with_loops(steps: tuple[Einsum | Loop, ...], loops: tuple[tuple[str, int], ...]
                ) -> Iterator[tuple[Einsum, tuple[tuple[str, int], ...]]]:
    for step in steps:
        if isinstance(step, Loop):
            yield from _with_loops(step.body, (*loops, (step.rank, step.step)))
        else:
            yield step, loops


def _is_carried(access: Access, to: str, graph: nx.MultiDiGraph[str], reader: Einsum, found: Structure) -> bool:
    """Whether a read goes back along the tensor's own iteration, or along a loop that reader and producer share."""
    producer = found.producers.get(access.tensor)
    if producer is None or graph.nodes[to]["kind"] == SEED:
        return False
    theirs = graph.nodes[producer.name]["loops"]
    ways = [way for way in graph.nodes[to]["loops"] if way in theirs]
    own = found.iterative.get(access.tensor)
    if own is not None:
        ways.append((own.rank, own.step))
    out = next(o for o in producer.outputs if o.tensor == access.tensor)
    return any((lag(out, reader, access, rank, step) or 0) > 0 for rank, step in ways)


def _rank_passes(cascade: Cascade, rank: str | None) -> RankPasses | None:
    """All about the passes of a rank; of the one with most where none is given."""
    from einsum_cascades.analysis.passes import rank_passes
    every = rank_passes(cascade)
    if rank is None:
        return max(every.values(), key=_most, default=None)
    if rank not in every:
        raise UnknownNameError("rank", rank, list(every), place=cascade.name)
    return every[rank]


def _sweeps(found: RankPasses) -> Mapping[tuple[Einsum, str], tuple[int, ...]]:
    """The sweeps of each Einsum and seed that iterates the rank."""
    from einsum_cascades.analysis.passes import stages
    made: dict[tuple[Einsum, str], set[int]] = {}
    for number, sweep in stages(found)[1].items():
        node = found.plan.graph.nodes[number]
        made.setdefault((node.einsum, SEED if node.seed else EINSUM), set()).add(sweep)
    return {key: tuple(sorted(sweeps)) for key, sweeps in made.items()}


def _most(found: RankPasses) -> int:
    """The sweeps of a rank; of one whose count is a formula, those of the few generations that are planned."""
    plan = found.plan
    return max((plan.sweeps(visitors)[0] for visitors in plan.visits.values()), default=1)
