"""A comparison as a figure: speed-up and energy against the baseline over lengths, a column of panels for each machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.comparing import Comparison, Question
from reports.figures import INK, MARKERS, colours, image
from reports.fusemax.cells import tokens_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_PANELS = (("speedup", "speed-up over the baseline"), ("energy_ratio", "energy over the baseline's"))


def comparison_figure(found: Comparison, question: Question, equal_area: bool) -> bytes:
    """Returns the image (PNG): lines over lengths, or marks where there is one length. Vertical bars reach over the cost bands;
    hollow marks are baselines without fusion."""
    cascades = [c for c in question.cascades if any(r["cascade"] == c and r["speedup"] is not None for r in found.rows)]
    styles = dict(zip(cascades, colours(len(cascades)), strict=True))
    markers = {c: MARKERS[n % len(MARKERS)] for n, c in enumerate(cascades)}
    several = len(question.seq_lens) > 1

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(_PANELS), len(question.machines), squeeze=False, sharex=several, sharey="row")
        for number, machine in enumerate(question.machines):
            for (key, label), axes in zip(_PANELS, panels[:, number], strict=True):
                for cascade in cascades:
                    rows = [r for r in found.rows if r["cascade"] == cascade and r["machine"] == machine and r[key] is not None]
                    if rows:
                        _line(axes, rows, key, found, (styles[cascade], markers[cascade]), cascades.index(cascade) if not several else None)
                axes.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
                axes.set_yscale("log")
                axes.grid(visible=True)
                if number == 0:
                    axes.set_ylabel(label)
                _lengths(axes, question.seq_lens, cascades, several, key == _PANELS[-1][0])
            area = next(r["area_mm2"] for r in found.rows if r["machine"] == machine)
            panels[0, number].set_title(f"{machine}, {area:.4g} mm\u00b2")
        handles = [panels[0, 0].plot([], [], color=styles[c], marker=markers[c], markersize=5.5, linewidth=1.4)[0] for c in cascades]
        figure.legend(handles, cascades, loc="outside right center", frameon=False)
    width = 2.6 + 2.6 * len(question.machines) + 1.4
    note = "Simulated by fusebench {version}. Baseline: " + " on ".join(found.baseline) + \
        ". Hollow marks: Einsum by Einsum, without fusion." + (" Bars: over the cost bands." if question.costs == "both" else "")
    return image((width, 6.2), _title(question, equal_area), draw, note)


def _line(axes: Axes, rows: Sequence[Row], key: str, found: Comparison, style: tuple[Any, str], place: int | None) -> None:
    colour, marker = style
    at = [r["seq_len"] if place is None else place for r in rows]
    axes.plot(at, [r[key] for r in rows], color=colour, linewidth=1.4)
    for hollow in (False, True):
        own = [(x, r[key]) for x, r in zip(at, rows, strict=True) if (r["way"] == "einsum-by-einsum") is hollow]
        if own:
            axes.plot(*zip(*own, strict=True), linestyle="none", marker=marker, markersize=5.5, color=colour, markerfacecolor="white" if hollow else colour)
    if key == "energy_ratio" and all("energy_pj_low" in r for r in rows):
        bases = {r["seq_len"]: r for r in found.rows if (r["cascade"], r["machine"]) == found.baseline}
        for x, row in zip(at, rows, strict=True):
            base = bases[row["seq_len"]]
            ends = [row[f"energy_pj_{end}"] / base[f"energy_pj_{end}"] for end in ("low", "high")]
            axes.vlines(x, min(*ends, row[key]), max(*ends, row[key]), color=colour, linewidth=3, alpha=0.35)


def _lengths(axes: Axes, lengths: Sequence[int | None], cascades: Sequence[str], several: bool, bottom: bool) -> None:
    if several:
        known = [n for n in lengths if n is not None]
        axes.set_xscale("log", base=2)
        axes.set_xticks(known, [tokens_shown(n) for n in known])
        axes.minorticks_off()
        if bottom:
            axes.set_xlabel("tokens")
    else:
        axes.set_xticks(range(len(cascades)), cascades if bottom else [""] * len(cascades), rotation=90)


def _title(question: Question, equal_area: bool) -> str:
    what = question.workload or "given extents"
    equal = " of equal area" if equal_area else ""
    length = f" at {question.seq_lens[0]} tokens" if len(question.seq_lens) == 1 and question.seq_lens[0] is not None else ""
    return f"{what}{length}: algorithms on machines{equal}"
