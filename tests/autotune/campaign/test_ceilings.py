"""The subjects of a campaign on the CPU: ceilings are checked against torch, and peers against the kernel."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.store import Status
from autotune.timing import Mode, RoundPlan
from autotune.tuner.evaluation import Evaluator, Timeouts

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
ONCE = RoundPlan(rounds=1, samples=1, extra=0)
PATIENT = Timeouts(120.0, 60.0)


def test_ceilings_are_right_and_tell_how_much_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with Evaluator("tests.autotune.campaign.interpreted:ceilings", {}, timeouts=PATIENT) as evaluator:
        found = evaluator.evaluate([{"ceiling": name} for name in ("copy", "matrix", "exp")], [Mode.WARM_CALLS], ONCE, stage="final")
    assert [(e.status, e.reason) for e in found] == [(Status.OK, "")] * 3
    assert [e.facts["amount"] for e in found] == [8 * ((4 << 30) // 4 // 8192), 2, 8192 * 512]


def test_a_peer_that_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    peer: dict[str, Any] = {"peer": "sdpa", "backend": "math", "q": "Q", "k": "K", "v": "V", "out": "AV"}
    work = {"name": "attention:1pass", "extents": {"p": 20, "m": 24, "e": 16, "f": 16}, "dtype": "fp32", "instances": 2, "text": ""}
    peers = {"right": peer, "scaled": {**peer, "scale": 0.5}, "another": {**peer, "scale": 0.5, "another": True},
             "absent": {"peer": "call", "function": "mamba_ssm.ops:scan", "arguments": {}, "out": {"tensor": "AV"}}}
    with Evaluator("tests.autotune.campaign.interpreted:comparison", {"work": work, "peers": peers}, timeouts=PATIENT) as evaluator:
        found = evaluator.evaluate([{"implementation": name} for name in ("kernel", *peers)], [Mode.WARM_CALLS], ONCE, stage="final")
    assert [e.status for e in found] == [Status.OK, Status.OK, Status.WRONG_RESULT, Status.OK, Status.COMPILE_ERROR]
    assert "its package is not installed, got no 'mamba_ssm'" in found[4].reason
    assert not found[2].rounds
    assert "another operator" in str(found[3].facts["check"])
