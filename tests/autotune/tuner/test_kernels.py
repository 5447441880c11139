"""Spaces of real kernels, pruned by real compilation, and tuned in Triton's interpreter from end to end."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.lowering import default_config, lower
from autotune.space.compiled import compiled_pruner
from autotune.space.kernels import kernel_space
from autotune.store import Status, Store
from autotune.timing import RoundPlan
from autotune.tuner import Settings, tune
from autotune.tuner.kernels import Work, kernel_digest, kernel_target
from einsum_cascades.notation import parse
from workloads.variants import load_variant

ATTENTION = load_variant("attention").cascade("1pass")
LONG = {"p": 4096, "m": 4096, "e": 64, "f": 64}
triton = pytest.mark.skipif(find_spec("triton") is None or find_spec("torch") is None, reason="needs torch and triton")


def test_axes_follow_from_the_cascade_and_the_shape() -> None:
    space = kernel_space(ATTENTION, LONG, "bf16")
    axes = {axis.name: axis.values for axis in space.space.axes}
    assert axes == {"part.m0": (16, 32, 64, 128, 256), "p": (16, 32, 64, 128, 256), "num_warps": (1, 2, 4, 8, 16),
                    "num_stages": (1, 2, 3, 4, 5)}
    assert space.space.violated(space.default) is None
    given = kernel_space(ATTENTION, {**LONG, "m0": 128}, "bf16")
    assert "part.m0" not in {axis.name for axis in given.space.axes}, "who gives the inner part fixes it"
    short = kernel_space(ATTENTION, {**LONG, "p": 20}, "bf16")
    assert {a.name: a.values for a in short.space.axes}["p"] == (16, 32), "no block is twice the extent"
    scan = kernel_space(load_variant("mamba_s6").cascade("sequential"), {"i": 64, "e": 512, "n": 16}, "bf16")
    assert "i" not in {axis.name for axis in scan.space.axes}, "a recurrence goes step by step"


def test_a_plan_has_the_configurations_tiles() -> None:
    space = kernel_space(ATTENTION, LONG, "bf16")
    plan = space.plan({"part.m0": 128, "p": 32, "num_warps": 2, "num_stages": 4})
    (kernel,) = plan.kernels
    assert (plan.extents["m0"], kernel.num_warps, kernel.num_stages) == (128, 2, 4)
    assert kernel.programs({**plan.extents, "b": 1, "h": 1, "p": 4096})[0] == 128
    by_hand = lower(ATTENTION, {**LONG, "m0": 128}, default_config(ATTENTION, LONG, "bf16").changed({"p": 32, "num_warps": 2,
                                                                                                    "num_stages": 4}))
    assert kernel.source == by_hand.kernels[0].source


def test_the_digest_changes_with_the_cascade_and_not_with_the_configuration() -> None:
    one = kernel_space(ATTENTION, LONG, "bf16")
    assert kernel_digest(one) == kernel_digest(kernel_space(ATTENTION, LONG, "bf16"))
    assert kernel_digest(one) != kernel_digest(kernel_space(load_variant("attention").cascade("3pass"), LONG, "bf16"))
    assert kernel_digest(one) != kernel_digest(kernel_space(ATTENTION, LONG, "fp16"))


@triton
def test_what_exceeds_hoppers_limits_is_found_by_compiling() -> None:
    from reports.devices import device_limits
    space = kernel_space(ATTENTION, {**LONG, "e": 128, "f": 128}, "bf16")
    base = {"part.m0": 64, "p": 64, "num_warps": 4, "num_stages": 2}
    verdicts = compiled_pruner(space, device_limits("h200"))([base, {**base, "part.m0": 256, "p": 256},
                                                             {**base, "part.m0": 128, "p": 128, "num_warps": 8, "num_stages": 5}])
    assert [v.status for v in verdicts if v] == [Status.OK, Status.OVER_LIMIT, Status.OVER_LIMIT]
    assert 0 < verdicts[0].facts["registers"] <= 255  # type: ignore[union-attr,operator]
    assert 0 < verdicts[0].facts["shared_bytes"] <= 232_448  # type: ignore[union-attr,operator]
    assert "accumulator_bytes" in verdicts[1].reason  # type: ignore[union-attr]
    assert "shared_bytes_per_block: the kernel needs 360,448, and there are 232,448" in verdicts[2].reason  # type: ignore[union-attr]


QUICK = Settings("random", 3, finalists=2, processes=1, sweep=RoundPlan(1, 1, 0), final=RoundPlan(1, 1, 0))


@triton
def test_real_kernels_are_tuned_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    work = Work("attention:1pass", {"p": 20, "m": 24, "e": 16, "f": 16}, "fp32", 3)
    space = kernel_space(work.cascade(), work.extents, "fp32")
    target = replace(kernel_target(work, space), factory="tests.autotune.tuner.interpreted:subject")
    with Store(tmp_path) as store:
        done = tune(target, store, QUICK)
        trials = store.trials()
    assert done.winner is not None
    assert [t.status for t in trials] == [Status.OK] * 5
    assert all(0 < float(t.facts["check_error"]) <= 1 for t in trials)
    assert "cases of the gate" in str(trials[0].facts["check"])
    assert len({t.source_digest for t in trials}) == 3
    assert trials[0].bucket == "b=1 e=16 f=16 h=4 m=24 p=20 | type=fp32"


@triton
def test_a_kernel_that_leaves_elements_unwritten_at_the_full_shape_is_never_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    work = Work("attention:1pass", {"p": 20, "m": 24, "e": 16, "f": 16}, "fp32", 1)
    made = kernel_target(work, kernel_space(work.cascade(), work.extents, "fp32"))
    some = tuple(c for c in made.configurations if c["part.m0"] == 16 and c["num_warps"] == 4 and c["num_stages"] == 2)
    target = replace(made, factory="tests.autotune.tuner.interpreted:subject", arguments={**made.arguments, "text": "spoil"},
                     configurations=some)
    with Store(tmp_path) as store:
        tune(target, store, QUICK)
        wrong = [t for t in store.trials() if t.status == Status.WRONG_RESULT]
    assert [t.configuration["p"] for t in wrong] == [16]
    assert "the relative error is inf" in wrong[0].reason
    assert not wrong[0].rounds


@pytest.mark.slow
@triton
def test_a_cascade_from_a_file_is_checked_against_its_own_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    text = "S[p,m] = Q[p,e] * K[m,e]\nA[p,m] = sigmoid(S[p,m])\nO[p,f] = A[p,m] * V[m,f]\n"
    work = Work("mine", {"p": 36, "m": 32, "e": 16, "f": 16}, "fp32", 2, text)
    target = replace(kernel_target(work, kernel_space(parse(text), work.extents, "fp32")), factory="tests.autotune.tuner.interpreted:subject")
    with Store(tmp_path) as store:
        assert tune(target, store, replace(QUICK, budget=1, finalists=1)).winner is not None
