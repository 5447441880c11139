"""How long the command takes to start; the figure to reach for ``fusebench --help`` is 0.3 s.

A bare start of the interpreter is timed beside it: the ratio says what is the command's own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

CALL = "import sys; from reports.cli import main; sys.exit(main())"


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize(("name", "arguments"), [
    ("bare interpreter", ("-c", "pass")),
    ("help", ("-c", CALL, "--help")),
    ("list variants", ("-c", CALL, "list", "variants")),
    ("show a cascade", ("-c", CALL, "show", "attention:1pass")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_start(benchmark: Any, name: str, arguments: tuple[str, ...]) -> None:
    benchmark.extra_info["what"] = name

    def start() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    assert benchmark.pedantic(start, rounds=5, warmup_rounds=1).stderr == b""
