"""Compares two versions, and fails where the head is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from reports.options import json_option
from reports.output import emit

if TYPE_CHECKING:
    from autotune.regression import MetricVerdict


@click.command(epilog="Examples: fusebench regress origin/main HEAD; fusebench regress base.json head.json --markdown")
@click.argument("base")
@click.argument("head")
@click.option("--only", multiple=True, metavar="CASCADE", help="Only of this variant or ID:ALGORITHM; repeatable.")
@click.option("--allow", multiple=True, metavar="METRIC=SHARE", help="A metric may grow by this share: --allow registers=0.05; repeatable.")
@click.option("--markdown", is_flag=True, help="Print a table to post as a comment.")
@json_option
def command(base: str, head: str, only: tuple[str, ...], allow: tuple[str, ...], markdown: bool, as_json: bool) -> int:
    """Compare HEAD with BASE: each a file of 'fusebench metrics --out', the folder of a checkout, or a revision.

    Ends with status 1 if a metric is worse than it may be. Metrics are the same in every run, so that nothing here depends on the
    machine or its load.
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json: give one of them", click.get_current_context())
    from autotune.regression import Outcome, compare_metrics
    from reports.versions import metrics_of
    allowed = _allowed(allow)
    old, new = metrics_of("BASE", base, only), metrics_of("HEAD", head, only)
    verdicts = compare_metrics(old, new, allowed)
    document = {"verdicts": [v.to_dict() for v in verdicts], "base": dict(old.origin), "head": dict(new.origin),
                "counts": {str(o): sum(v.outcome == o for v in verdicts) for o in Outcome}}
    emit(document, as_json, lambda: _markdown(verdicts, document) if markdown else _text(verdicts, document))
    return 1 if any(v.outcome == Outcome.REGRESSION for v in verdicts) else 0


def _allowed(entries: Sequence[str]) -> dict[str, float]:
    found = {}
    for entry in entries:
        metric, equals, text = (part.strip() for part in entry.partition("="))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not equals or not metric or not 0 <= share < float("inf"):
            raise click.UsageError(f"--allow: it should be a metric, '=' and a share of at least 0, got {entry!r}; write --allow "
                                   f"registers=0.05", click.get_current_context())
        found[metric] = share
    return found


def _rows(verdicts: Sequence[MetricVerdict]) -> list[list[Any]]:
    """What is not the same, and what is the same for a reason, worst first."""
    order = ("regression", "inconclusive", "improvement", "same")
    shown = [v for v in verdicts if v.outcome != "same" or v.reason]
    shown.sort(key=lambda v: order.index(v.outcome))
    return [[str(v.outcome), v.benchmark, v.metric, v.base, v.head, "-" if v.change is None else f"{v.change:+.2%}", v.reason or "-"]
            for v in shown]


_COLUMNS = ("outcome", "benchmark", "metric", "base", "head", "change", "reason")


def _summary(document: dict[str, Any]) -> str:
    return ", ".join(f"{n} {name}" for name, n in document["counts"].items())


def _text(verdicts: Sequence[MetricVerdict], document: dict[str, Any]) -> str:
    from reports.tables import table
    rows = _rows(verdicts)
    return "\n".join([*([table(_COLUMNS, rows, right=("change",)), ""] if rows else []), _summary(document)])


def _markdown(verdicts: Sequence[MetricVerdict], document: dict[str, Any]) -> str:
    from reports.tables import shown
    rows = _rows(verdicts)
    head = f"**fusebench**: {_summary(document)}"
    if not rows:
        return head
    lines = ["| " + " | ".join(_COLUMNS) + " |", "| --- | --- | --- | --: | --: | --: | --- |"]
    lines += ["| " + " | ".join(str(shown(cell)).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "", *lines])
