"""Collects the metrics that do not vary, for 'fusebench regress'."""

from __future__ import annotations

import json
import sys

import click

from reports.options import json_option
from reports.output import emit


@click.command(epilog="Examples: fusebench metrics --out base.json; fusebench metrics attention mamba_s6:sequential --json")
@click.argument("cascades", nargs=-1)
@click.option("--out", metavar="FILE.json", help="Write the file that 'fusebench regress' reads.")
@json_option
def command(cascades: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Collect what is the same in every run, of CASCADES (a variant or ID:ALGORITHM) or of all: passes by rank, and simulated cycles and
    energy on FuseMax, Einsum by Einsum at the size of the first case of a variant, and under the shipped designs for BERT at 4096
    tokens."""
    from reports.files import output_file, write_file
    from reports.metrics import chosen, model_metrics
    file = None if out is None else output_file(out, (".json",))
    names = chosen(cascades)
    with click.progressbar(length=len(names), label="metrics", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        found, missing = model_metrics(names, lambda: bar.update(1))
    document = {**found.to_dict(), "missing": missing}
    if file is not None:
        write_file(file, (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    emit(document, as_json, lambda: _text(len(names), sum(map(len, found.metrics.values())), missing, out))


def _text(cascades: int, metrics: int, missing: dict[str, str], out: str | None) -> str:
    where = f", written to {out}" if out is not None else " (--out FILE writes them, --json prints them)"
    lines = [f"{metrics} metrics of {cascades} cascades{where}"]
    return "\n".join([*lines, *(f"without: {name}: {reason}" for name, reason in missing.items())])
