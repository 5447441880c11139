"""fusebench verify of kernels: rows, statuses, and what is refused."""

from __future__ import annotations

import pytest

from autotune.gate import backends
from tests.reports.command import Command

pytest.importorskip("torch")
pytest.importorskip("triton")


def test_kernels_are_checked_in_all_types_that_the_backend_has(fusebench: Command) -> None:
    ran = fusebench("verify", "residual", "--backend", "triton", "--jobs", "2", "--json")
    assert ran.status == 0
    (row,) = ran.json
    assert (row["id"], row["status"], row["reason"], row["backend"]) == ("residual", "ok", "", "triton")
    assert {r["dtype"] for r in row["results"]} == {"fp32", "fp16"}
    assert row["cases"] == len(row["results"]) >= 10
    assert 0 < row["max_relative_error"] <= row["tolerance"] < 2e-3
    assert any("3 times as large" in r["case"] for r in row["results"])


def test_inputs_are_new_ones_unless_a_seed_is_given(fusebench: Command) -> None:
    def row(*more: str) -> tuple[int, float]:
        (found,) = fusebench("verify", "residual", "--backend", "triton", "--dtype", "fp16", *more, "--json").json
        return found["seed"], found["max_relative_error"]
    assert row("--seed", "5") == row("--seed", "5")
    assert row()[0] != 5


def test_a_variant_without_a_kernel_says_why_and_does_not_fail(fusebench: Command) -> None:
    ran = fusebench("verify", "expert_router:route", "--backend", "triton", "--dtype", "fp32", "--json")
    (row,) = ran.json
    assert (ran.status, row["status"], row["cases"], row["max_relative_error"]) == (0, "no_kernel", 0, None)
    assert "topk makes coordinates by sorting" in row["reason"]
    assert "expert_router: no kernel: " in fusebench("verify", "expert_router:route", "--backend", "triton", "--dtype", "fp32").out


@pytest.mark.parametrize(("arguments", "message"), [
    (("attention", "--backend", "triton", "--dtype", "bf16"), (
        "backend 'triton': Triton's interpreter multiplies the raw bits of bf16, so that it cannot be checked there, got 'bf16'; use fp32 or "
        "fp16, or the backend 'cuda' on a machine with a GPU")),
    (("attention", "--backend", "triton", "--dtype", "fp8"), "unknown type of kernels, got 'fp8'; did you mean 'fp32'"),
    (("attention", "--dtype", "fp16"), "verify: --dtype is for kernels, got 'fp16' and the interpreter"),
    (("attention:4pass", "--backend", "triton"), "unknown algorithm of 'attention', got '4pass'"),
    (("atention", "--backend", "triton"), "unknown variant, got 'atention'; did you mean 'attention'"),
])
def test_bad_input_is_one_line(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert fusebench("verify", *arguments).error.startswith(message)


def test_without_a_gpu_cuda_is_refused(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fusebench("verify", "attention", "--backend", "cuda").error == (
        f"backend 'cuda': it needs a GPU, got none that torch {torch.__version__} sees; use the backend 'triton', which interprets kernels on "
        f"the CPU")


@pytest.mark.parametrize("package", ["torch", "triton"])
def test_a_package_that_is_missing_is_named(fusebench: Command, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == package else object())
    assert fusebench("verify", "attention", "--backend", "triton").error == (
        f"{package}: the backend 'triton' needs it, got no installation; run pip install 'fusebench[gpu]'")
