"""Figures of an exploration: its points with the Pareto front, and what the result is sensitive to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from accelerator_sim.design_space.sensitivity import MEASURED, Sensitivity
from reports.exploring import Exploration
from reports.figures import INK, MARKERS, colours, image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {"latency": "latency (s)", "energy": "energy (pJ)", "area": "chip area (mm\u00b2)", "edp": "energy x delay (pJ s)",
           "dram": "DRAM traffic (bytes)"}
_MOST_DRAWN = 50_000
_MOST_BARS = 14


def front_figure(found: Exploration) -> bytes:
    """Returns the image (PNG) of all valid points over pairs of figures, coloured by what bounds them, with the front on top."""
    import numpy as np
    explored = found.explored
    names = found.figures if len(found.figures) > 1 else (found.figures[0], "latency" if found.figures[0] != "latency" else "energy")
    couples = [(names[0], other) for other in names[1:]]
    valid = np.flatnonzero(explored.valid)
    # A sample, evenly over the points: more cannot be told apart.
    drawn = valid[:: max(1, -(-len(valid) // _MOST_DRAWN))]
    bounds = [n for n in range(len(explored.resources)) if (explored.bound[drawn] == n).any()]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(couples), squeeze=False)[0]
        for axes, (x, y) in zip(panels, couples, strict=True):
            for number, colour in zip(bounds, colours(len(bounds)), strict=True):
                own = drawn[explored.bound[drawn] == number]
                axes.plot(explored.figure(x)[own], explored.figure(y)[own], linestyle="none", marker=MARKERS[number % len(MARKERS)],
                          markersize=2.5, alpha=0.35, color=colour, rasterized=True, label=f"bound by {explored.resources[number]}")
            front = np.array(found.front, int)
            axes.plot(explored.figure(x)[front], explored.figure(y)[front], color=INK, marker="o", markersize=3.5, markerfacecolor="white",
                      linewidth=1.1 if len(names) == 2 else 0, label="Pareto front")
            axes.set(xscale="log", yscale="log", xlabel=_LABELS[x], ylabel=_LABELS[y])
            axes.grid(visible=True)
        panels[0].legend(framealpha=1, edgecolor="white", markerscale=1.5)
    note = f"Simulated by fusebench {{version}}: {explored.count:,} points, {len(valid):,} of them valid."
    return image((5.2 * len(couples) + 1, 4.6), f"{explored.cascade} on {explored.machine}, design {explored.design}", draw, note)


def sensitivity_figure(found: Exploration, known: Sensitivity) -> bytes:
    """Returns the image (PNG) of the elasticities, from half to twice of each parameter, of latency, energy and area."""
    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(MEASURED))
        for axes, name in zip(panels, MEASURED, strict=True):
            ranked = sorted(known.parameters, key=lambda p, n=name: -abs(p.wide[n].most))  # type: ignore[misc]
            shown = [p for p in ranked if p.wide[name].most][:_MOST_BARS]
            for offset, colour, label, values in (
                    (-0.18, colours(2)[0], "from half to the value", [p.wide[name].down for p in shown]),
                    (0.18, colours(2)[1], "from the value to twice", [p.wide[name].up for p in shown])):
                axes.barh([k + offset for k in range(len(shown))], [v or 0.0 for v in values], height=0.34, color=colour, label=label)
            axes.set_yticks(range(len(shown)), [_name(p.paths) for p in shown])
            axes.invert_yaxis()
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_xlabel(f"elasticity of {name}")
            axes.grid(visible=True, axis="x")
        panels[0].legend(framealpha=1, edgecolor="white")
    note = f"Simulated by fusebench {{version}}. {known.binding} binds the latency."
    return image((14, 4.8), f"{found.explored.cascade} on {found.explored.machine}: what moves the result", draw, note)


def _name(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{len(paths)} together: " + ", ".join(path.rsplit('.', 1)[-1] for path in paths)
