"""The graph of a cascade: what reads what, what is carried over, and in which passes."""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings

from einsum_cascades.analysis.passes import passes
from einsum_cascades.errors import UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.printing import einsum_text
from einsum_cascades.structure import structure
from reports.dag import cascade_graph, passes_text, to_dict
from tests.einsum_cascades.strategies import random_cascade
from workloads.variants import load_variant, variant_ids

GOLDEN = sorted((Path(__file__).parents[1] / "einsum_cascades" / "golden").glob("*.cascade"))
ATTENTION = load_variant("attention")
TENSOR = re.compile(r"\b([A-Z]\w*)\[")


def read(line: str) -> set[str]:
    """Returns the tensors that a line of text reads, its left side's index tensors included."""
    left, _, right = line.partition(" = ")
    inner = [name for access in re.split(r"(?<=\]), (?=[A-Z])", left.strip("()")) for name in TENSOR.findall(access)[1:]]
    return {*TENSOR.findall(right), *inner}


def check(cascade: Cascade) -> None:
    graph, found = cascade_graph(cascade), structure(cascade)
    kinds = nx.get_node_attributes(graph, "kind")
    assert {n for n, kind in kinds.items() if kind == "input"} == set(found.inputs)
    assert {n for n, kind in kinds.items() if kind == "einsum"} == {e.name for e in cascade.einsums}
    assert {n for n, kind in kinds.items() if kind == "output"} == {f"output {t}" for t in found.outputs}
    assert sum(kind == "seed" for kind in kinds.values()) == len(cascade.inits)
    makers = {out.tensor: e.name for e in cascade.einsums for out in e.outputs}
    wanted = set()
    for node, text in nx.get_node_attributes(graph, "text").items():
        if kinds[node] in ("seed", "einsum"):
            wanted |= {(makers.get(tensor, tensor), node, tensor) for tensor in read(text)}
        if kinds[node] == "seed":
            wanted |= {(node, makers[tensor], tensor) for tensor in TENSOR.findall(text.partition(" = ")[0])}
        if kinds[node] == "output":
            wanted.add((makers[node.removeprefix("output ")], node, node.removeprefix("output ")))
    assert {(a, b, data["tensor"]) for a, b, data in graph.edges(data=True)} == wanted
    order = {node: number for number, node in enumerate(graph)}
    assert all(order[a] < order[b] for a, b, data in graph.edges(data=True) if not data["carried"])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_cascades(path: Path) -> None:
    check(load(path))


@pytest.mark.parametrize("name", variant_ids())
def test_variants(name: str) -> None:
    variant = load_variant(name)
    for algorithm in variant.algorithms:
        check(variant.cascade(algorithm))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_cascade(6))
def test_random_cascades(cascade: Cascade) -> None:
    check(cascade)


def carried(text: str) -> set[tuple[str, str]]:
    return {(a, b) for a, b, data in cascade_graph(parse(text)).edges(data=True) if data["carried"]}


def test_what_one_pass_attention_carries_over() -> None:
    graph = cascade_graph(ATTENTION.cascade("1pass"))
    assert {(a, b) for a, b, data in graph.edges(data=True) if data["carried"]} == {
        ("RM", "RM"), ("RM", "PRM"), ("RD", "SPD"), ("RNV", "SPNV")}
    # PRM reads the maximum of this tile as well as that of the one before.
    assert [data["carried"] for _, _, data in sorted(graph.edges("RM", data=True), key=str) if _ == "PRM"] == [False, True]


@pytest.mark.parametrize(("text", "edges"), [
    ("init R[I] = 0\nR[i] = R[i+1] + X[i]\nY[i] = R[i+1] * R[i]", {("R", "R"), ("R", "Y")}),
    ("init H[0] = 0\nT[i] = H[i] * X[i]\nH[i+1] = T[i] + T[i-1]\nZ[] = H[I]", {("H", "T"), ("T", "H")}),
    ("init H[0] = 0\nH[i+1] = X[i] + S[i]\nS[i] = sum[k] H[k] where k <= i\nZ[i] = H[i+1]", {("H", "S")}),
    ("D[t] = X[t+1] - X[t]\nY[t] = D[t-1] + D[t]", set()),
    ("init A[0] = 1\ninit B[0] = 1\nA[i+1] = B[i]\nB[i+1] = A[i]\nZ[] = A[I] + B[I]", {("A", "B"), ("B", "A")}),
])
def test_carried_edges(text: str, edges: set[tuple[str, str]]) -> None:
    """A scan backwards; a tensor without a seed inside a loop; a history; a shift that no iteration has; two states."""
    assert carried(text) == edges


def test_passes_of_three_pass_attention() -> None:
    graph = cascade_graph(ATTENTION.cascade("3pass"))
    assert (graph.graph["rank"], graph.graph["count"]) == ("m", 3)
    assert {n: data["passes"] for n, data in graph.nodes(data=True) if data["kind"] == "einsum"} == {
        "QK": (1,), "GM": (1,), "SN": (2,), "SD": (2,), "A": (3,), "AV": (3,)}
    along_p = cascade_graph(ATTENTION.cascade("3pass"), "p")
    assert {data["passes"] for _, data in along_p.nodes(data=True) if data["kind"] == "einsum"} == {(1,)}
    along_f = cascade_graph(ATTENTION.cascade("3pass"), "f")
    assert {n for n, data in along_f.nodes(data=True) if data["passes"]} == {"AV"}


@pytest.mark.parametrize("algorithm", ATTENTION.algorithms)
def test_passes_are_those_of_the_analysis(algorithm: str) -> None:
    cascade = ATTENTION.cascade(algorithm)
    for rank, count in passes(cascade).items():
        graph = cascade_graph(cascade, rank)
        assert graph.graph["count"] == count
        assert max(n for _, data in graph.nodes(data=True) for n in data["passes"]) == count
        for node, data in graph.nodes(data=True):
            einsum = structure(cascade).producers.get(node)
            parts = structure(cascade).composites.get(rank, (rank,))
            if einsum is not None and set(parts) <= set(einsum.ranks):
                assert data["passes"], node


def test_an_enclosing_iteration_runs_an_einsum_in_several_passes() -> None:
    graph = cascade_graph(load(next(p for p in GOLDEN if p.stem == "sinkhorn")))
    assert (graph.graph["count"], graph.graph["unrolled"]) == ("T + 1", ("t",))
    assert max(len(data["passes"]) for _, data in graph.nodes(data=True)) == 3
    assert [passes_text(p) for p in ((), (2,), (1, 2, 3))] == ["", "2", "1-3"]


def test_a_cascade_without_ranks_has_no_passes() -> None:
    graph = cascade_graph(parse("Z[] = A[] * B[]"))
    assert to_dict(graph) == {
        "rank": None, "passes": 0,
        "nodes": [{"id": "A", "kind": "input", "text": "A[]", "passes": []},
                  {"id": "B", "kind": "input", "text": "B[]", "passes": []},
                  {"id": "Z", "kind": "einsum", "text": "Z[] = A[] * B[]", "passes": []},
                  {"id": "output Z", "kind": "output", "text": "Z[]", "passes": []}],
        "edges": [{"source": "A", "target": "Z", "tensor": "A", "carried": False},
                  {"source": "B", "target": "Z", "tensor": "B", "carried": False},
                  {"source": "Z", "target": "output Z", "tensor": "Z", "carried": False}]}


def test_nodes_hold_the_lines() -> None:
    cascade = ATTENTION.cascade("1pass")
    texts = nx.get_node_attributes(cascade_graph(cascade), "text")
    assert [texts[e.name] for e in cascade.einsums] == [einsum_text(e) for e in cascade.einsums]
    assert texts["init RM[0,p]"] == "RM[0,p] = -inf"


def test_an_unknown_rank() -> None:
    with pytest.raises(UnknownNameError, match="attention:3pass: unknown rank, got 'q'; valid: e, f, m, p"):
        cascade_graph(ATTENTION.cascade("3pass"), "q")
