"""An exploration as text: how many points, the front, the best, refusals, and what moves the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from accelerator_sim.design_space.sensitivity import MEASURED, Sensitivity, Slope
from reports.choosing import Choice
from reports.exploring import UNITS, Exploration
from reports.tables import pairs, shown, table

MOST_SHOWN = 40
"""Points of a front, and parameters, that the text shows."""


def exploration_text(found: Exploration, choice: Choice, written: Sequence[Path]) -> str:
    """Returns the tables of an exploration."""
    explored = found.explored
    parts = [pairs([("cascade", explored.cascade), ("machine", explored.machine), ("design", f"{explored.design} ({choice.way})"),
                    ("points", explored.count), ("valid", int(explored.valid.sum()))])]
    if explored.parameters:
        parts.append(_front(found))
        if found.best is not None:
            parts.append(_titled(f"best by {found.objective}", table(*_points(found, (found.best,)))))
        refusals = [[r["points"], r["reason"]] for r in found.refusals()]
        if refusals:
            parts.append(_titled("invalid points", table(("points", "reason of the first"), refusals)))
    if found.sensitivity is not None:
        parts.append(_sensitivity(found, found.sensitivity))
    parts.append("\n".join(f"written to {path}" for path in written))
    return "\n\n".join(filter(None, parts))


def _front(found: Exploration) -> str:
    different: dict[tuple[float, ...], int] = {}
    for number in found.front:
        different.setdefault(tuple(float(found.explored.figure(name)[number]) for name in found.figures), number)
    shown_ones = list(different.values())
    title = f"Pareto front over {', '.join(found.figures)}: {len(found.front)} points"
    if len(shown_ones) < len(found.front):
        title += f", {len(shown_ones)} of them different in these"
    if len(shown_ones) > MOST_SHOWN:
        title += f", {MOST_SHOWN} shown"
        step = (len(shown_ones) - 1) / (MOST_SHOWN - 1)
        shown_ones = [shown_ones[round(k * step)] for k in range(MOST_SHOWN)]
    return _titled(title, table(*_points(found, shown_ones)))


def _points(found: Exploration, numbers: Sequence[int]) -> tuple[Sequence[str], list[list[Any]]]:
    paths = list(found.explored.parameters)
    figures = [UNITS[name] for name in dict.fromkeys((*found.figures, found.objective))]
    points = [found.point(n) for n in numbers]
    return (*paths, *figures, "bound"), [[p[key] for key in (*paths, *figures, "bound")] for p in points]


def _sensitivity(found: Exploration, known: Sensitivity) -> str:
    around = ", ".join(f"{path}={shown(value)}" for path, value in found.around.items()) or "the machine"
    loads = ", ".join(f"{name} {share:.1%}" for name, share in known.loads.items())
    rows = [["=".join(p.paths), p.value, *(_wide(p.wide[name]) for name in MEASURED), _near(p.near[known.figure])]
            for p in known.parameters[:MOST_SHOWN]]
    parts = [_titled(f"sensitivity around {around}", f"{known.binding} binds the latency; busy: {loads}"),
             _titled(f"elasticity (d ln figure / d ln parameter) from half to the value, and on to twice; ranked by {known.figure}",
                     table(("parameter", "value", *MEASURED, f"{known.figure}, by 1%"), rows))]
    if known.bands:
        bands = [[b.path, b.low, b.high, *(_ratio(b.ratios[name]) for name in MEASURED)] for b in known.bands[:MOST_SHOWN]]
        parts.append(_titled("figures over the cost bands, low and high end over nominal", table(("number", "low", "high", *MEASURED), bands)))
    return "\n\n".join(parts)


def _wide(slope: Slope) -> str:
    if not slope.most:
        return "-" if slope.down is not None or slope.up is not None else "invalid"
    return f"{_one(slope.down)}, {_one(slope.up)}"


def _near(slope: Slope) -> str:
    if not slope.kinked:
        return _one(slope.most if slope.most else 0.0)
    return f"{_one(slope.down)}, {_one(slope.up)} (kink)"


def _one(value: float | None) -> str:
    return "invalid" if value is None else f"{value:+.3f}"


def _ratio(ends: tuple[float, float]) -> str:
    return "-" if all(abs(end - 1) < 1e-12 for end in ends) else f"{ends[0]:.4g}, {ends[1]:.4g}"


def _titled(title: str, body: str) -> str:
    return f"{click.style(title, bold=True)}\n{body}"
