"""Fixtures of the command's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.command import Command, runner

DOT = "Z[m] = A[k,m] * B[k]\n"


@pytest.fixture
def fusebench(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process."""
    return runner(capsys)


@pytest.fixture
def dot(tmp_path: Path) -> Path:
    """The file of a small cascade."""
    path = tmp_path / "dot.cascade"
    path.write_text(DOT)
    return path
