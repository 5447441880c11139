"""Figures like the paper's, of simulated values with the published ones as marks: utilization, speed-up, energy, area.

Source of the layouts: FuseMax (arXiv 2406.10491), Figures 6 to 12.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerator_sim.energy import ARTIFACT, PHYSICAL
from einsum_cascades import __version__
from reports.fusemax.cells import tokens_shown
from reports.fusemax.reproduction import DESIGNS, MODELS, Reproduction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

DPI = 150
"""Dots per inch of the images."""

BASELINE = "unfused"

_LABELS = {"unfused": "unfused", "flat": "FLAT", "cascade": "+Cascade", "arch": "+Architecture",
           "binding": "+Binding\n(FuseMax)"}
_MODEL_LABELS = {"bert": "BERT", "trxl": "TrXL", "t5": "T5", "xlm": "XLM"}
# Colours that differ for every common form of colour blindness, and in lightness. After Okabe and Ito, 2008.
_COLOURS = {"unfused": "#9a9a9a", "flat": "#e69f00", "cascade": "#56b4e9", "arch": "#009e73", "binding": "#1f3f77"}
_MODEL_STYLES = {"bert": ("#1f3f77", "o", "-"), "trxl": ("#e69f00", "s", "--"), "t5": ("#009e73", "^", "-."),
                 "xlm": ("#cc3311", "D", ":")}
_INK = "#222222"
_PUBLISHED = "published (artifact)"
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.edgecolor": "#666666", "grid.color": "#dddddd",
    "grid.linewidth": 0.7}


@dataclass(frozen=True)
class _Measure:
    """A row of panels. A bar shows ``of`` (a point's figures, those of the unfused design at the same point).

    ``one`` draws a line at 1, where the unfused design would be. ``published``: the published figures have it too.
    """

    label: str
    of: Callable[[Row, Row], float]
    one: bool = True
    published: bool = True
    energy: bool = False

    @property
    def designs(self) -> tuple[str, ...]:
        """The designs that have bars."""
        return tuple(d for d in DESIGNS if not self.one or d != BASELINE)


def utilization(reproduction: Reproduction) -> bytes:
    """Returns the image of both arrays' utilization (Figure 6)."""
    return _bars(reproduction, "Utilization of the arrays in attention", [
        _Measure("2D array: busy share", lambda own, _: own["util_2d"], one=False),
        _Measure("1D array: busy share", lambda own, _: own["util_1d"], one=False)])


def speedup(reproduction: Reproduction) -> bytes:
    """Returns the image of attention's speed-up over the unfused design (Figure 7)."""
    return _bars(reproduction, "Attention: speed-up over unfused", [_speedup("latency_s")])


def energy(reproduction: Reproduction) -> bytes:
    """Returns the image of attention's energy relative to the unfused design (Figure 8), by both accountings."""
    return _bars(reproduction, "Attention: energy over unfused", [
        _energy(ARTIFACT, "energy_pj"), _energy(PHYSICAL, "energy_pj_physical")])


def end_to_end(reproduction: Reproduction) -> bytes:
    """Returns the image of speed-up and energy of attention and linear layers together (Figures 10 and 11)."""
    return _bars(reproduction, "End to end (attention and linear layers): speed-up and energy over unfused", [
        _speedup("end_to_end_latency_s"), _energy(ARTIFACT, "end_to_end_energy_pj"),
        _energy(PHYSICAL, "end_to_end_energy_pj_physical")])


def area_latency(reproduction: Reproduction) -> bytes:
    """Returns the image of area against latency over sizes of the PE array (Figure 12)."""
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for model, (colour, marker, line) in _MODEL_STYLES.items():
            points = [p for p in reproduction.pareto if p["model"] == model]
            axes.plot([p["latency_s"] for p in points], [p["area_mm2"] for p in points], color=colour,
                      marker=marker, linestyle=line, markersize=6, label=f"{_MODEL_LABELS[model]}, simulated")
        published = [p["published"] for p in reproduction.pareto if p["published"]]
        axes.plot([p["latency_s"] for p in published], [p["area_mm2"] for p in published], linestyle="none", marker="o",
                  markersize=13, markerfacecolor="none", markeredgecolor=_INK, markeredgewidth=1.3, label=_PUBLISHED)
        for size in sorted({p["pe_dim"] for p in reproduction.pareto}):
            last = max((p for p in reproduction.pareto if p["pe_dim"] == size), key=lambda p: p["latency_s"])
            axes.annotate(f"{size} x {size} PEs", (last["latency_s"], last["area_mm2"]), xytext=(12, 0),
                          textcoords="offset points", va="center", color=_INK)
        axes.set(xscale="log", yscale="log", xlabel="latency of one layer's attention (s)",
                 ylabel="chip area (mm\u00b2)")
        axes.set_xlim(right=axes.get_xlim()[1] * 4)
        axes.grid(visible=True)
        axes.legend(loc="upper right", framealpha=1, edgecolor="white")
    return _image((7.5, 5.0), "Area against latency: +Binding (FuseMax) at 256K tokens", draw)


FIGURES: Mapping[str, Callable[[Reproduction], bytes]] = {
    "utilization": utilization, "speedup": speedup, "energy": energy, "end_to_end": end_to_end,
    "area_latency": area_latency}
"""What draws each figure as a PNG image, by the name of its file."""


def _speedup(key: str) -> _Measure:
    return _Measure("speed-up over unfused", lambda own, base: base[key] / own[key])


def _energy(accounting: str, key: str) -> _Measure:
    return _Measure(f"{accounting} accounting:\nenergy / unfused", lambda own, base: own[key] / base[key],
                    published=accounting == ARTIFACT, energy=True)


def _bars(reproduction: Reproduction, title: str, measures: Sequence[_Measure]) -> bytes:
    """One panel for each measure and model; in it groups of bars by length, one bar for each design."""
    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(measures), len(MODELS), sharex=True, sharey="row", squeeze=False)
        for measure, row in zip(measures, panels, strict=True):
            for model, axes in zip(MODELS, row, strict=True):
                _panel(axes, measure, [r for r in reproduction.rows if r["model"] == model])
            row[0].set_ylabel(measure.label)
        for model, axes in zip(MODELS, panels[0], strict=True):
            axes.set_title(_MODEL_LABELS[model])
        for axes in panels[-1]:
            axes.set_xlabel("sequence length (tokens)")
        figure.align_ylabels(panels[:, 0])
        pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels.flat)
        found = {label: handle for pair in pairs for handle, label in pair}
        labels = sorted(found, key=lambda label: label not in _LABELS.values())  # bars first
        figure.legend([found[label] for label in labels], labels, loc="outside right upper", frameon=False)
    return _image((13.0, 1.6 + 2.3 * len(measures)), title, draw)


def _panel(axes: Axes, measure: _Measure, rows: Sequence[Row]) -> None:
    lengths = sorted({row["seq_len"] for row in rows})
    by = {(row["design"], row["seq_len"]): row for row in rows}
    width = 0.84 / len(measure.designs)
    for number, design in enumerate(measure.designs):
        places = [i + (number - (len(measure.designs) - 1) / 2) * width for i in range(len(lengths))]
        axes.bar(places, [measure.of(by[design, n], by[BASELINE, n]) for n in lengths], width, color=_COLOURS[design],
                 label=_LABELS[design])
        for place, n in zip(places, lengths, strict=True):
            _mark(axes, measure, place, by[design, n], by[BASELINE, n])
    if measure.one:
        axes.axhline(1, color=_INK, linewidth=0.9, linestyle=(0, (4, 2)), label="unfused = 1")
    axes.set_xticks(range(len(lengths)), [tokens_shown(n) for n in lengths])
    axes.tick_params(bottom=False, left=False)
    axes.grid(visible=True, axis="y")


def _mark(axes: Axes, measure: _Measure, place: float, own: Row, base: Row) -> None:
    """The published value over a bar, in another shape where an energy holds an excess."""
    if not (measure.published and own["published"] and base["published"]):
        return
    excess = measure.energy and bool(own["published_excess"] or base["published_excess"])
    axes.plot([place], [measure.of(own["published"], base["published"])], linestyle="none",
              marker="^" if excess else "o", markersize=4.5, markerfacecolor="white", markeredgecolor=_INK,
              markeredgewidth=0.9, clip_on=False, zorder=3,
              label=f"{_PUBLISHED},\nholding its excess" if excess else _PUBLISHED)


def _image(size: tuple[float, float], title: str, draw: Callable[[Figure], None]) -> bytes:
    """A figure as PNG: what ``draw`` draws, under a title and over a line that tells simulated and published apart."""
    import matplotlib
    from matplotlib.figure import Figure
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=11, fontweight="bold")
        figure.supxlabel(f"Bars and lines: simulated by fusebench {__version__}; marks: published, FuseMax artifact "
                         "(BERT and XLM).", fontsize=8, color="#555555")
        draw(figure)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=DPI)
    return image.getvalue()
