"""How long the paper's evaluation takes; the figure to reach for ``fusebench reproduce fusemax`` is 3 s.

The command is timed as a person starts it, in an interpreter of its own; and the evaluation and the text in this one.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from reports.fusemax.reproduction import reproduce
from reports.fusemax.text import text
from tests.benchmarks.test_startup_benchmark import CALL


@pytest.mark.benchmark(group="reproduce fusemax")
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_command(benchmark: Any, options: tuple[str, ...]) -> None:
    def call() -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", CALL, "reproduce", "fusemax", *options]
        return subprocess.run(command, capture_output=True, check=True)
    assert benchmark.pedantic(call, rounds=3, warmup_rounds=1).stderr == b""


@pytest.mark.benchmark(group="reproduce fusemax")
def test_evaluation(benchmark: Any) -> None:
    assert len(benchmark.pedantic(reproduce, rounds=5, warmup_rounds=1).rows) == 120


@pytest.mark.benchmark(group="reproduce fusemax")
def test_text(benchmark: Any) -> None:
    assert "FuseMax, recomputed" in benchmark(text, reproduce())
