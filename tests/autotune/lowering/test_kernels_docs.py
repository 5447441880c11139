"""docs/kernels.md: its example is what the lowering prints, and its Python runs."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from autotune.lowering import lower
from einsum_cascades.notation import parse
from tests.autotune.lowering.configs import config

PAGE = (Path(__file__).parents[3] / "docs" / "kernels.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind ("" for none)."""
    return [part.split("\n```")[0] for part in PAGE.split(f"```{kind}\n")[1:]]


def test_the_example_is_what_is_printed() -> None:
    text = next(b for b in blocks("") if b.startswith("QK["))
    plan = lower(parse(text, source="gated"), {"p": 4096, "m": 4096, "e": 64, "f": 64}, config("O: p=grid:64 m=loop:64 e=tile f=tile", "bf16"))
    assert plan.kernels[0].source.rstrip() in PAGE


def test_the_python_runs() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(blocks("python")[0], "page", "exec"), {})
    assert "def attention_1pass_av(" in printed.getvalue()
