"""What figures share: a style, colours that tell apart, marks, and an image under a title and over a note."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from einsum_cascades import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
"""Dots per inch of the images."""

INK = "#222222"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")

# Colours that differ for every common form of colour blindness, and in lightness. After Okabe and Ito, 2008.
_COLOURS = ("#1f3f77", "#e69f00", "#009e73", "#cc3311", "#56b4e9", "#9a5fa8", "#7a6a00", "#555555")
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.edgecolor": "#666666", "grid.color": "#dddddd",
    "grid.linewidth": 0.7}


def colours(count: int) -> tuple[str, ...]:
    """Returns so many colours; they come again where there are more than can be told apart, beside another mark."""
    return tuple(_COLOURS[n % len(_COLOURS)] for n in range(count))


def image(size: tuple[float, float], title: str, draw: Callable[[Figure], None], note: str) -> bytes:
    """Returns a figure as PNG: what ``draw`` draws, under a title and over a note, in which ``{version}`` is ours."""
    import matplotlib
    from matplotlib.figure import Figure
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=11, fontweight="bold")
        figure.supxlabel(note.replace("{version}", __version__), fontsize=8, color="#555555")
        draw(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
