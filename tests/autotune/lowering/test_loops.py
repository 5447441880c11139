"""The pass check: loops over a rank are as many as its passes, and none is skipped that would change a result."""

from __future__ import annotations

import pytest

from autotune.lowering.lower import lower, tile_programs
from autotune.lowering.nodes import nodes_of
from autotune.lowering.tile import Loop
from autotune.lowering.tree import LoopItem, loop_tree
from einsum_cascades.analysis.passes import passes
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.autotune.lowering.configs import config
from workloads.variants import load_variant


def loops(cascade: Cascade, rank: str) -> int:
    known = structure(cascade)
    graph = nodes_of(cascade, known.outputs, known.inputs)
    return sum(isinstance(item, LoopItem) for item in loop_tree(graph, (rank,), "kernel"))


@pytest.mark.parametrize("algorithm", ["3pass", "2pass"])
def test_attention_has_a_loop_for_each_pass(algorithm: str) -> None:
    cascade = load_variant("attention").cascade(algorithm)
    assert loops(cascade, "m") == int(algorithm[0]) == passes(cascade)["m"]


@pytest.mark.parametrize(("text", "rank"), [
    ("G[] = A[k]\nZ[k] = B[k] * G[]", "k"),
    ("G[] = A[k]\nT[k] = G[] + B[k]\nD[] = T[k]\nZ[k] = T[k] * D[]", "k"),
    ("GM[] = max[k] X[k]\nSN[k] = exp(X[k] - GM[])\nSD[] = SN[k]\nA[k] = SN[k] / SD[]", "k"),
    ("M[] = mean[k] X[k]\nV[] = var[k] X[k]\nY[k] = (X[k] - M[]) * rsqrt(V[])", "k"),
])
def test_loops_are_at_least_the_passes(text: str, rank: str) -> None:
    """Fewer loops than passes would read a whole-rank result before it is there."""
    cascade = parse(text)
    wanted = passes(cascade)[rank]
    assert isinstance(wanted, int)
    assert loops(cascade, rank) >= wanted


def steps(algorithm: str, where: str) -> list[Loop]:
    variant = load_variant("attention")
    name = "BQK" if algorithm == "1pass" else "QK"
    cascade = variant.cascade(algorithm, {name: where})
    inner = " m1=loop m0=tile" if algorithm == "1pass" else " m=loop:16"
    extents = {"p": 64, "m": 64, "e": 16, "f": 16} | ({"m0": 16} if algorithm == "1pass" else {})
    (program,) = tile_programs(cascade, extents, config("AV: p=grid:16 e=tile f=tile" + inner))
    return [s for s in program.body.steps if isinstance(s, Loop)]


def test_causal_loops_are_split_and_end_early() -> None:
    for algorithm, count in (("1pass", 1), ("2pass", 2)):
        where = "m1*M0 + m0 <= p" if algorithm == "1pass" else "m <= p"
        found = steps(algorithm, where)
        assert len(found) == 2 * count
        # The end depends on the block of queries, so it is no extent.
        assert not any(loop.stop.text.endswith("_extent") for loop in found)


def test_windows_begin_late() -> None:
    found = steps("2pass", "m <= p and p - m < 20")
    assert len(found) == 6
    assert found[0].start.text != "0"


def test_a_state_that_decays_in_every_step_is_not_skipped() -> None:
    """With a term absent, H is still multiplied: the steps that the predicate excludes must run."""
    cascade = parse("init H[0,e] = 0\nH[i+1,e] = A[i] * H[i,e] + B[i,e]\nB[i,e] = sum[k] X[i,k,e] where i + k < 5\nY[e] = H[I,e]")
    (program,) = tile_programs(cascade, {"i": 16, "e": 16, "k": 4}, config("Y: e=grid:16 i=loop k=tile"))
    found = [s for s in program.body.steps if isinstance(s, Loop)]
    assert found[-1].stop.text == "I_extent"


def test_a_source_is_the_same_each_time() -> None:
    cascade = load_variant("landmark").cascade("grouped")
    extents = {"p": 32, "m": 64, "m0": 16, "e": 16, "f": 16}
    given = config("O: p=grid:16 m1=loop m0=tile e=tile f=tile")
    assert lower(cascade, extents, given).kernels == lower(cascade, extents, given).kernels
