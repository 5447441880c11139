"""The graph in a terminal: golden text, and the edges read back from the drawn lanes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from einsum_cascades.ir import Cascade
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from reports.dag import cascade_graph
from reports.dag_text import to_terminal
from tests.einsum_cascades.strategies import random_cascade
from tests.reports.command import Command
from workloads.variants import load_variant, variant_ids

GOLDEN = sorted((Path(__file__).parents[1] / "einsum_cascades" / "golden").glob("*.cascade"))

THREE_PASSES = """\
pass
      ○    Q[p,e]  input
      │ ○  K[m,e]  input
   1  ●─╯  QK[p,m]
   1  ├─●  GM[p]
   2  ●─╯  SN[p,m]
   2  ├─●  SD[p]
   3  ●─╯  A[p,m]
      │ ○  V[m,f]  input
   3  ◆─╯  AV[p,f]  output
"""

ONE_PASS = """\
pass
      ○              init RM[0,p]
      ┊ ○            init RD[0,p]
      ┊ ┊ ○          init RNV[f,0,p]
      ┊ ┊ ┊ ○        Q[p,e]  input
      ┊ ┊ ┊ │ ○      K[m,e]  input
   1  ┊ ┊ ┊ ●─╯      BQK[m1,m0,p]
   1  ┊ ┊ ┊ ├─●      LM[m1,p]
      ├─┊─┊─│─●      RM[m1+1,p]
   2  ┊ ┊ ┊ ●─┤      SLN[m1,m0,p]
   2  ┊ ┊ ┊ ├─│─●    SLD[m1,p]
      ┊ ┊ ┊ │ │ │ ○  V[m,f]  input
   2  ┊ ┊ ┊ ●─│─│─╯  SLNV[f,m1,p]
      ●─┊─┊─│─╯ │    PRM[m1,p]
      ├─● ┊ │   │    SPD[m1,p]
      │ ●─┊─│───╯    RD[m1+1,p]
      ●─│─╯ │        SPNV[f,m1,p]
      ●─│───╯        RNV[f,m1+1,p]
      ◆─╯            AV[p,f]  output
"""


def plain(text: str) -> str:
    for code in range(1, 108):
        text = text.replace(f"\x1b[{code}m", "")
    return text.replace("\x1b[0m", "")


@pytest.fixture
def unicode_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


@pytest.mark.parametrize(("algorithm", "text"), [("3pass", THREE_PASSES), ("1pass", ONE_PASS)])
@pytest.mark.usefixtures("unicode_output")
def test_attention(algorithm: str, text: str) -> None:
    assert plain(to_terminal(cascade_graph(load_variant("attention").cascade(algorithm)))) == text.rstrip("\n")


def test_ascii_where_there_are_no_other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = plain(to_terminal(cascade_graph(parse("A[p] = X[p] * Y[p]\nB[p] = A[p] * A[p]\nZ[p] = A[p] + B[p]"))))
    assert text == ("pass\n      o    X[p]  input\n      | o  Y[p]  input\n   1  *-'  A[p]\n   1  +-*  B[p]\n"
                    "   1  #-'  Z[p]  output")


@pytest.mark.usefixtures("unicode_output")
def test_tuples_and_what_is_carried_over_without_a_seed() -> None:
    graph = cascade_graph(parse(
        "op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n"
        "(P[i], S[i]) = lin[k] (A[k], B[k]) where k <= i\nH[i] = P[i] * H0[] + S[i]"))
    assert plain(to_terminal(graph)).splitlines()[1:] == [
        "      ○      A[k]  input", "      │ ○    B[k]  input", "   1  ●─┴─╮  (P[i], S[i])",
        "      │ ○ │  H0[]  input", "   1  ◆─┴─╯  H[i]  output"]
    graph = cascade_graph(parse("init H[0] = 0\nT[i] = H[i] * D[i-1]\nH[i+1] = T[i]\nD[i] = H[i+1] * X[i]"))
    assert plain(to_terminal(graph)).splitlines()[1:] == [
        "      ○    init H[0]", "      ┊ ○  D  of the iteration before", "   1  ●─╯  T[i]", "   1  ●    H[i+1]  output",
        "      │ ○  X[i]  input", "   1  ◆─╯  D[i]"]


def edges_drawn(text: str) -> set[tuple[int, int]]:
    """Returns which row reads which, by following the lanes from row to row as an eye does."""
    made: set[tuple[int, int]] = set()
    owners: dict[int, set[int]] = {}
    rows = [line[6:] for line in text.splitlines()[1:]]
    width = max(next(i for i, c in enumerate(row) if c.isalpha() or c == "(") for row in rows)
    for number, row in enumerate(rows):
        signs = dict(enumerate(row[:width:2]))
        (node,) = (c for c, sign in signs.items() if sign in "●◆○")
        joined = {c for c, sign in signs.items() if sign in "├┼┤╰┴╯"}
        reads = {node, *joined} & owners.keys()
        made |= {(owner, number) for c in reads for owner in owners[c]}
        assert all(sign in "│┊●◆○├┼┤╰┴╯" for c, sign in signs.items() if c in owners)
        assert joined <= owners.keys()
        after = {c: owners[c] for c, sign in signs.items() if sign in "│┊├┼┤"}
        assert not {c for c, sign in signs.items() if sign in "╭┬╮"} & joined
        if signs[node] != "◆":
            after[node] = {number}
        owners = after | {c: {number} for c, sign in signs.items() if sign in "╭┬╮"}
    return made


def check(cascade: Cascade) -> None:
    graph = cascade_graph(cascade)
    kinds = {node: data["kind"] for node, data in graph.nodes(data=True)}
    number = {node: n for n, node in enumerate(node for node in graph if kinds[node] != "output")}
    seeds: dict[str, list[str]] = {}
    carried = {data["tensor"] for _, _, data in graph.edges(data=True) if data["carried"]}
    wanted: set[tuple[int, int]] = set()
    for a, _, data in graph.edges(data=True):
        if kinds[a] == "seed":
            seeds.setdefault(data["tensor"], []).append(a)
    for a, b, data in graph.edges(data=True):
        if data["carried"]:
            # The lane of what is carried over begins at the first seed.
            wanted |= {(number[s], number[b]) for s in seeds[data["tensor"]][:1]}
        elif kinds[b] != "output" and not (kinds[a] == "seed" and data["tensor"] in carried):
            wanted.add((number[a], number[b]))
    assert edges_drawn(plain(to_terminal(graph))) == wanted


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
@pytest.mark.usefixtures("unicode_output")
def test_lanes_of_golden_cascades_lead_to_what_is_read(path: Path) -> None:
    check(load(path))


@pytest.mark.parametrize("name", variant_ids())
@pytest.mark.usefixtures("unicode_output")
def test_lanes_of_variants_lead_to_what_is_read(name: str) -> None:
    for algorithm in load_variant(name).algorithms:
        check(load_variant(name).cascade(algorithm))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cascade=random_cascade(6))
@pytest.mark.usefixtures("unicode_output")
def test_lanes_of_random_cascades_lead_to_what_is_read(cascade: Cascade) -> None:
    check(cascade)


def test_show_prints_the_graph(fusebench: Command) -> None:
    text = fusebench("show", "attention:3pass").out
    assert f"graph: 3 passes along m\n\n{THREE_PASSES}" in text
    assert "graph: 1 pass along p\n" in fusebench("show", "attention:3pass", "--rank", "p").out
