"""Analyses a cascade: passes, footprint, operations and traffic, whatever the hardware."""

from __future__ import annotations

from collections.abc import Mapping

import click

from reports.cascades import load_cascade
from reports.options import cascade_argument, extent_option, json_option
from reports.output import emit


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
        return sections(document)
    emit(document, as_json, text)
