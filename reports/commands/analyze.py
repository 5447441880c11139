"""Analyses a cascade: passes, footprint, operations and traffic, whatever the hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from reports.cascades import load_cascade
from reports.options import cascade_argument, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from einsum_cascades.ir import Cascade


@click.command(epilog="Example: fusebench analyze attention:1pass --extent p=1024 --extent m=1024 --extent m0=256")
@cascade_argument
@extent_option
@click.option("--explain", is_flag=True, help="Name the reads that force each pass.")
@json_option
def command(cascade: str, extents: Mapping[str, int], explain: bool, as_json: bool) -> None:
    """Analyse a CASCADE: what it needs of any hardware.

    Counts are formulas in the extents that are not given.
    """
    found = load_cascade(cascade).cascade
    from einsum_cascades.analysis import summary
    document = {"cascade": found.name, "extents": dict(extents), **summary.analyze(found, extents).to_dict()}
    if explain:
        document["explanation"] = summary.explain(found)

    def text() -> str:
        from reports.tables import sections
        parts = sections({key: value for key, value in document.items() if key != "explanation"})
        return f"{parts}\n\n{click.style('explanation', bold=True)}\n{_explanation(found)}" if explain else parts
    emit(document, as_json, text)


def _explanation(cascade: Cascade) -> str:
    """Why ranks take more than one pass: for each of them, and each sweep after the first, the reads that force it."""
    from einsum_cascades.analysis.explanation import reasons
    from einsum_cascades.analysis.passes import rank_passes
    from reports.tables import pairs
    single, parts = [], []
    for rank, found in rank_passes(cascade).items():
        if found.count.constant == 1:
            single.append(rank)
            continue
        unrolled = f", shown for the first generations of {', '.join(found.unrolled)}" if found.unrolled else ""
        # Indented here, so that long lines are folded to what is left of the terminal.
        rows = [(f"    sweep {r.sweep}", f"{r.einsum} visits {r.visited} again: it reads {r.read}, {r.because}")
                for r in reasons(found)]
        parts.append(f"  {rank}: {found.count} passes{unrolled}\n{pairs(rows)}")
    if single:
        parts.append(f"  {', '.join(single)}: 1 pass{' each' if len(single) > 1 else ''}")
    return "\n".join(parts)
