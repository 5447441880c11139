"""What a launch refuses: each message whole, and before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import LaunchError
from autotune.kernel import KernelPlan
from autotune.launch import launch
from autotune.lowering import lower
from einsum_cascades.errors import ExtentError
from einsum_cascades.notation import parse
from tests.autotune.lowering.configs import config

torch = pytest.importorskip("torch")


def plan() -> KernelPlan:
    """Y[p] = sum over e of X[p,e] W[e], e whole in a tile of 64."""
    return lower(parse("Y[p] = X[p,e] * W[e]"), {"p": 100, "e": 64}, config("Y: p=grid:16 e=tile"))


def tensors(e: int = 64) -> dict[str, Any]:
    return {"X": torch.zeros(2, 3, 100, e), "W": torch.zeros(e)}


CASES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"W": None}, "cascade: an input is missing, got X; give 'W'"),
    ({"X": torch.zeros(2, 3, 100, 64, dtype=torch.float16)},
     "tensor 'X': the kernel is for fp32, got torch.float16; convert it, or lower for that type"),
    ({"X": torch.zeros(3, 100, 64)},
     ("tensor 'X': its dimensions are b, h, p, e, got shape (3, 100, 64); the instances (b, h) may be left out where it is the same "
     "for all")),
    ({"Z": torch.zeros(3)}, "cascade: the plan reads no such tensor, got 'Z'; valid: W, X"),
    ({"W": torch.zeros(2, 5, 64)}, "tensor 'W': instance 'h' has two extents, got 3 and 5; make them equal"),
    ({}, ("cascade: a kernel runs on a GPU, got tensors on the CPU; move them to a GPU, or set TRITON_INTERPRET=1 before triton is "
         "imported")),
)


@pytest.mark.parametrize(("change", "message"), CASES)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    given = {name: tensor for name, tensor in {**tensors(), **change}.items() if tensor is not None}
    with pytest.raises(LaunchError) as error:
        launch(plan(), given)
    assert str(error.value) == message


@pytest.mark.parametrize("e", [32, 128])
def test_tensors_that_are_not_as_long_as_the_tile_are_refused(e: int) -> None:
    """The kernel of a tile of 64 would leave out half of 128, without a word."""
    with pytest.raises((LaunchError, ExtentError), match=f"'e'.*{e}"):
        launch(plan(), tensors(e))
