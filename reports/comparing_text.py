"""A comparison as text: machines as they were sized, rows, means, winners, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from accelerator_sim.design_space.sizing import Sized
from reports.comparing import RATIOS, Comparison, Question
from reports.tables import shown, table


def comparison_text(found: Comparison, question: Question, sized: Mapping[str, Sized], written: Sequence[Path]) -> str:
    """Returns the tables of a comparison."""
    parts = [_titled("machines", _machines(sized)), _titled(f"rows (ratios to {' on '.join(found.baseline)})", _rows(found))]
    refused = [[r["cascade"], r["machine"], r["seq_len"], r["reason"]] for r in found.rows if r["reason"]]
    if refused:
        parts.append(_titled("without a mapping", table(("cascade", "machine", "length", "reason"), refused)))
    if len(question.seq_lens) > 1:
        rows = [[m["cascade"], m["machine"], m["lengths"], *(m[name] for name in RATIOS)] for m in found.means]
        parts.append(_titled("geometric means over lengths", table(("cascade", "machine", "lengths", *_titles()), rows)))
    parts.append(_titled(f"winners by {question.objective}", _winners(found)))
    parts.append("\n".join([*(f"note: {note}" for note in found.notes), *(f"written to {path}" for path in written)]))
    return "\n\n".join(filter(None, parts))


def _machines(sized: Mapping[str, Sized]) -> str:
    rows = [[name, s.machine.technology_nm, s.area_mm2, f"{s.error:+.4%}" if s.changed else "as it is",
             ", ".join(f"{path}={shown(value)}" for path, value in s.changed.items()) or "-"] for name, s in sized.items()]
    return table(("machine", "nm", "area mm2", "off target", "sized"), rows)


def _rows(found: Comparison) -> str:
    columns = ("length", "cascade", "machine", "design", "latency s", "energy pJ", *_titles(), "bound")
    ordered = sorted((r for r in found.rows if r["reason"] is None), key=lambda r: r["seq_len"] or 0)
    return table(columns, [[r["seq_len"], r["cascade"], r["machine"], r["design"], r["latency_s"], r["energy_pj"],
                            *(r[name] for name in RATIOS), r["bound"]] for r in ordered])


def _titles() -> list[str]:
    return [name.replace("_", " ") for name in RATIOS]


def _winners(found: Comparison) -> str:
    rows = [[w["seq_len"], w["among"], w["winner"], w["next"], "as good" if w["as_good"] else w["by"] and f"{w['by']:.4g}", _sure(w)]
            for w in found.winners]
    return table(("length", "among", "winner", "next", "behind by", "within the cost bands"), rows, right=("behind by",))


def _sure(winner: Mapping[str, Any]) -> str:
    if winner["changes"] is None:
        return "not asked (--costs both)"
    if winner["objective"] == "latency":
        return "the same: costs change no latency"
    if winner["changes"]:
        return f"changes: low {winner['winner_low']}, high {winner['winner_high']}"
    return "the same, and bands do not touch" if winner["certain"] else "the same at both ends; bands overlap"


def _titled(title: str, body: str) -> str:
    return f"{click.style(title, bold=True)}\n{body}"
