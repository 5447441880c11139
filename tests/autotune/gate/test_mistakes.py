"""The gate accepts a kernel that is right and finds each mistake that is put into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from autotune.gate.backends import BACKENDS
from autotune.workers import run_tasks
from tests.autotune.gate.hand import MISTAKES

pytest.importorskip("triton")
pytest.importorskip("torch")

_CASES: tuple[dict[str, Any], ...] = (
    {"case": "random"},
    {"case": "odd extents, ragged last tile", "spread": True},
    {"case": "one key"},
    {"case": "logits of 80 and -80"},
    {"case": "logits beyond the range of exp", "spread": True},
    {"case": "equal scores give the mean"},
    {"case": None, "extents": {"p": 45, "m": 77, "e": 24, "f": 40}, "spread": True},
    {"case": None, "extents": {"p": 20, "m": 33, "e": 4, "f": 20}},
)


def outcomes(tasks: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Checks attention by hand in Triton's interpreter."""
    found = dict(run_tasks("tests.autotune.gate.hand:check", tasks, jobs=2, environment=dict(BACKENDS["triton"].environment)))
    assert not [outcome.error for outcome in found.values() if outcome.error]
    return [found[number].result for number in range(len(tasks))]


def test_a_kernel_that_is_right_passes_with_a_margin() -> None:
    """Its error is not near the tolerance, which is then not wide either: less than ten times the error at the worst case."""
    tasks = [{**case, "dtype": dtype, "seed": seed} for case in _CASES for dtype in ("fp32", "fp16") for seed in (1, 2)]
    found = outcomes(tasks)
    assert [result["reason"] for result in found if result["reason"]] == []
    for dtype in ("fp32", "fp16"):
        shares = [r["max_relative_error"] / r["tolerance"] for r in found if r["dtype"] == dtype]
        assert 0.1 < max(shares) < 0.5


def test_every_mistake_is_found() -> None:
    """In fp32 and in fp16, by at least one case each."""
    tasks = [{**case, "dtype": dtype, "mistake": mistake} for mistake in MISTAKES for dtype in ("fp32", "fp16") for case in _CASES]
    found = outcomes(tasks)
    caught = {(task["mistake"], task["dtype"]) for task, result in zip(tasks, found, strict=True) if result["reason"]}
    # In half precision these are no larger than its own rounding.
    small = {("a state in half precision", "fp16"), ("a wrong base", "fp16")}
    assert {(mistake, dtype) for mistake in MISTAKES for dtype in ("fp32", "fp16")} - caught <= small


def test_a_failure_says_where() -> None:
    (found,) = outcomes([{"case": "one key", "dtype": "fp16", "mistake": "the wrong head", "seed": 7}])
    assert found["reason"] == ("case 'one key', attention:2pass in fp16: AV differs from the reference, got a relative error of inf; the "
                               "tolerance is 0.000977 (seed 7)")
