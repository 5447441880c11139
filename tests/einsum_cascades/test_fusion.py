"""Fusion classes of producer and consumer, and the ranks that a pass keeps apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from einsum_cascades.analysis.fusion import Pair, fusion_pairs
from einsum_cascades.analysis.passes import passes
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from tests.einsum_cascades.strategies import random_cascade
from tests.einsum_cascades.test_passes import ONE_PASS, SINKHORN, THREE_PASS


def by_names(text: str) -> dict[tuple[str, str], Pair]:
    """Returns the pairs by producer and consumer."""
    return {(pair.producer, pair.consumer): pair for pair in fusion_pairs(parse(text))}


@pytest.mark.parametrize(("text", "kind"), [
    ("T[p,m] = X[p,m] * 2; Y[p,m] = exp(T[p,m])", "isomorphic"),
    ("T[p,m] = X[p,m] * 2; Y[m,p] = T[p,m] * A[m]", "isomorphic"),
    ("T[p,m] = X[p,m] * 2; Y[p] = T[p,m]", "isomorphic"),
    ("T[p] = X[p,m]; Y[p] = T[p] * 2", "subset"),
    ("T[p] = X[p] * 2; Y[p,m] = T[p] * A[m]", "superset"),
    ("T[p] = X[p,e]; Y[p,m] = T[p] * A[m]", "disjoint"),
    ("T[] = X[k]; Y[j] = T[] * A[j]", "disjoint"),
    ("T[] = X[] * 2; Y[j] = T[] * A[j]", "superset"),
])
def test_classes(text: str, kind: str) -> None:
    assert [pair.kind for pair in fusion_pairs(parse(text))] == [kind]


def test_three_pass_attention() -> None:
    pairs = by_names(THREE_PASS)
    assert pairs["QK", "GM"] == Pair("QK", "QK", "GM", "subset", ("p", "m"), ())
    assert pairs["QK", "SN"] == Pair("QK", "QK", "SN", "subset", ("p",), ("m",))
    assert pairs["GM", "SN"] == Pair("GM", "GM", "SN", "isomorphic", ("p",), ("m",))
    assert pairs["A", "AV"] == Pair("A", "A", "AV", "superset", ("p", "m"), ())
    assert pairs["A", "AV"].to_dict() == {"tensor": "A", "producer": "A", "consumer": "AV", "class": "superset",
                                          "fusable": ["p", "m"], "barriers": []}


def test_one_pass_attention_fuses_on_tiles() -> None:
    """Only inside of a tile is there a barrier: FuseMax fuses all of it on m1."""
    barriers = {key: pair.barriers for key, pair in by_names(ONE_PASS).items() if pair.barriers}
    assert barriers == {("BQK", "SLN"): ("m0",)}
    assert all("m1" in pair.fusable for pair in by_names(ONE_PASS).values() if pair.consumer != "AV")


def test_sinkhorn_compares_the_generations_that_meet() -> None:
    pairs = by_names(SINKHORN)
    assert pairs["P", "Rows"].barriers == ()
    assert pairs["P", "N"].barriers == ("j",)
    assert pairs["N", "P"].barriers == pairs["Columns", "P"].barriers == ("i",)
    assert pairs["P", "Z"].fusable == ("i", "j")


def test_a_tensor_that_two_read_and_one_that_reads_two() -> None:
    found = fusion_pairs(parse("T[k] = X[k] * 2; Y[k] = T[k] * T[k]; Z[k] = T[k] + Y[k]"))
    assert [(p.producer, p.consumer) for p in found] == [("T", "Y"), ("T", "Z"), ("Y", "Z")]


@settings(max_examples=80, deadline=None)
@given(random_cascade())
def test_no_barrier_without_a_second_pass(cascade: Cascade) -> None:
    """What one sweep visits has no barriers, and pairs name ranks of both Einsums."""
    counts = passes(cascade)
    for pair in fusion_pairs(cascade):
        assert set(pair.fusable) | set(pair.barriers) <= set(counts)
        assert not set(pair.fusable) & set(pair.barriers)
        einsums = {e.name: set(e.ranks) for e in cascade.einsums}
        if pair.kind == "isomorphic":
            assert einsums[pair.producer] == einsums[pair.consumer]
