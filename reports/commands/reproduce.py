"""Recomputes a paper's evaluation, beside its published figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reports.options import Name, json_option
from reports.output import emit

if TYPE_CHECKING:
    from reports.fusemax.reproduction import Reproduction


@click.command(epilog="Examples: fusebench reproduce fusemax; fusebench reproduce fusemax --out fusemax-figures")
@click.argument("paper", type=Name("paper", ("fusemax",)))
@click.option("--out", metavar="DIR", help="Also write tables (CSV) and figures (PNG) into this folder.")
@click.option("--markdown", is_flag=True, help="Print the averages, the misses and the notes as Markdown.")
@json_option
def command(paper: str, out: str | None, markdown: bool, as_json: bool) -> None:
    """Recompute the evaluation of a PAPER: simulated figures, the published ones, and the error between them."""
    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other, got both", click.get_current_context())
    from reports.files import output_folder
    folder = output_folder(out) if out is not None else None
    from reports.fusemax.reproduction import reproduce
    reproduction = reproduce()
    # Before anything is printed: whoever reads may stop early.
    written = _write(reproduction, folder) if folder else []

    def shown() -> str:
        if markdown:
            from reports.fusemax.markdown import markdown as tables
            return tables(reproduction)
        from reports.fusemax.text import text
        return "\n\n".join(filter(None, [text(reproduction), "\n".join(f"written to {path}" for path in written)]))
    emit({**reproduction.to_dict(), "files": written}, as_json, shown)


def _write(reproduction: Reproduction, folder: Path) -> list[Path]:
    from reports.fusemax.files import FILES, write_files
    with click.progressbar(write_files(reproduction, folder), length=len(FILES), label="write", file=sys.stderr,
                           hidden=not sys.stderr.isatty()) as paths:
        return list(paths)
