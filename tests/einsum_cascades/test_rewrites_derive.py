"""What the search derives: equal values in the interpreter, the passes that the analysis counts, names that stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from einsum_cascades.analysis.passes import passes
from einsum_cascades.errors import FusebenchError, UnknownNameError
from einsum_cascades.extents import mentioned
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.rewrites import NoRewriteError, Rewriting, rewrite
from einsum_cascades.structure import structure
from tests.einsum_cascades.rewrite_cases import ATTENTION, CASES, FORCED, KEYS, Case, arrays, tiled

TILES = (1, 2, 3, 10)
"""Tiles that divide 7 keys, that do not, and one that is longer than all of them."""


@cache
def derived(case: Case) -> Rewriting:
    return rewrite(case.cascade, 1, case.over)


def targets(cascade: Cascade, over: str | None) -> list[str]:
    """The ranks that are to reach the target: not the parts of a composite."""
    found = structure(cascade)
    parts = {p for names in found.composites.values() for p in names}
    return [over] if over else [r for r in (*found.ranks, *found.composites) if r not in parts]


def differs(case: Case, cascade: Cascade, extreme: bool) -> float:
    """The largest relative difference of a cascade's outputs from its source's, over tiles."""
    worst = 0.0
    for seed in range(2):
        inputs = arrays(case, seed, extreme=extreme)
        wanted = run(case.cascade, inputs, {r: n for r, n in case.extents.items() if r in mentioned(case.cascade)})
        for tile in TILES:
            found = run(cascade, inputs, tiled(cascade, case, tile))
            assert set(found) == set(wanted)
            for name, value in wanted.items():
                assert found[name].shape == value.shape
                scale = np.max(np.abs(value), initial=1e-300, where=np.isfinite(value))
                with np.errstate(invalid="ignore"):
                    apart = np.where(found[name] == value, 0.0, np.abs(found[name] - value) / scale)
                assert not np.isnan(apart).any(), name
                worst = max(worst, float(np.max(apart, initial=0.0)))
    return worst


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_target_is_reached_and_counted_by_the_analysis(case: Case) -> None:
    source, made = case.cascade, derived(case)
    assert max(int(n) for n in passes(source).values()) == case.before
    counted = passes(made.cascade)
    assert dict(made.passes) == counted
    assert {counted[r] for r in targets(source, case.over)} == {1}
    assert made.applied


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_do_not_change(case: Case) -> None:
    assert differs(case, derived(case).cascade, extreme=False) < 1e-13


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_do_not_change_at_logits_of_80(case: Case) -> None:
    # Moments of numbers around 1000 lose what the source loses: it is no more exact.
    assert differs(case, derived(case).cascade, extreme=True) < 2e-11


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_outputs_and_other_names_stay(case: Case) -> None:
    source, made = case.cascade, derived(case).cascade
    assert set(structure(made).outputs) == set(structure(source).outputs)
    assert set(structure(made).inputs) <= set(structure(source).inputs)
    new = set(structure(made).ranks) - set(structure(source).ranks)
    # What is new are the two parts of ranks that were there.
    assert all(r[-1] in "10" and r[:-1] in structure(source).ranks for r in new)
    assert parse(to_text(made)) == made


def test_the_tiles_are_named_m1_and_m0_and_the_outer_one_iterates() -> None:
    made = derived(CASES[0]).cascade
    assert structure(made).composites == {"m": ("m1", "m0")}
    assert {i.rank for i in structure(made).iterative.values()} == {"m1"}
    assert passes(made) == {"p": 1, "m1": 1, "m0": 2, "e": 1, "f": 1, "m": 1}


def test_it_is_the_cascade_of_the_paper() -> None:
    """Source: FuseMax (arXiv 2406.10491), cascade 5, without the copies BK and BV: same lines, same counts."""
    from workloads.variants import load_variant
    extents = {"p": 64, "m": 1024, "e": 64, "f": 64, "m0": 256}
    made = rewrite(load_variant("attention").cascade("3pass"), extents=extents)
    paper = rewrite(load_variant("attention").cascade("1pass"), extents=extents)
    assert paper.applied == ()
    assert paper.cascade == paper.source
    assert made.after.operations == paper.after.operations
    assert made.after.live_footprint_values["QK"] == paper.after.live_footprint_values["BQK"] == 256


def test_two_passes_only_defer_the_division() -> None:
    made = rewrite(parse(ATTENTION), 2, extents=KEYS | {"m": 1024})
    assert made.applied == ("defer",)
    assert made.passes["m"] == 2
    assert made.after.operations["div"] == KEYS["p"] * KEYS["f"]


def test_a_target_that_is_met_changes_nothing() -> None:
    cascade = parse(ATTENTION)
    for target, over in ((3, None), (5, None), (1, "p"), (1, "e")):
        made = rewrite(cascade, target, over)
        assert (made.applied, made.cascade) == ((), cascade)
        assert made.explanation == "the target is met already"


def test_a_double_softmax_takes_two_passes_of_five() -> None:
    case = next(c for c, _, _ in FORCED if c.name == "double_softmax")
    assert passes(case.cascade)["m"] == 5
    made = rewrite(case.cascade, 2)
    assert made.passes["m"] == 2
    assert differs(case, made.cascade, extreme=False) < 1e-13
    # Three are reached without a running value.
    assert set(rewrite(case.cascade, 3).applied) == {"defer"}


def test_what_keeps_the_probabilities_takes_a_second_pass() -> None:
    case = next(c for c, _, _ in FORCED if c.name == "probabilities")
    made = rewrite(case.cascade, 2)
    assert made.passes["m"] == 2
    assert set(structure(made.cascade).outputs) == {"A", "AV"}
    assert differs(case, made.cascade, extreme=True) < 1e-13


@pytest.mark.parametrize(("case", "einsum", "named"), FORCED,
                         ids=lambda value: value.name if isinstance(value, Case) else "")
def test_what_forces_a_pass_is_named(case: Case, einsum: str | None, named: tuple[str, ...]) -> None:
    with pytest.raises(NoRewriteError) as caught:
        rewrite(case.cascade, 1, case.over)
    message = str(caught.value)
    assert "\n" not in message
    assert "no legal rewrite reaches 1 pass, got 2" in message
    assert all(name in message for name in named), message
    assert einsum is None or caught.value.einsum == einsum
    assert caught.value.read is not None
    assert caught.value.read in message


def test_extents_decide_between_derivations() -> None:
    case = next(c for c in CASES if c.name == "linear_attention")
    long = rewrite(case.cascade, extents={"p": 4096, "m": 4096, "e": 64, "f": 64})
    short = rewrite(case.cascade, extents={"p": 16, "m": 16, "e": 512, "f": 512})
    assert "regroup" in long.applied
    assert "regroup" not in short.applied
    assert int(long.after.operations["mul"]) < int(long.before.operations["mul"])


def test_a_prefix_of_linear_attention_is_a_recurrence() -> None:
    case = next(c for c in CASES if c.name == "causal_linear_attention")
    made = rewrite(case.cascade, extents={"p": 4096, "m": 4096, "e": 64, "f": 64})
    assert {i.rank for i in structure(made.cascade).iterative.values()} == {"m"}
    assert differs(case, made.cascade, extreme=False) < 1e-13


@pytest.mark.parametrize(("target", "over", "message"), [
    (0, None, "passes: a target is a whole number of at least 1, got 0; give one"),
    (True, None, "passes: a target is a whole number of at least 1, got True; give one"),
    (1, "q", "cascade: unknown rank, got 'q'; valid: e, f, m, p"),
])
def test_bad_targets_are_errors(target: int, over: str | None, message: str) -> None:
    with pytest.raises(FusebenchError) as caught:
        rewrite(parse(ATTENTION), target, over)
    assert str(caught.value) == message
    assert over is None or isinstance(caught.value, UnknownNameError)
