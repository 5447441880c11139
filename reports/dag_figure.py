"""The graph of a cascade as a picture: layers from top to bottom, Einsums coloured by pass, edges named by tensor."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.dag import EINSUM, INPUT, OUTPUT, SEED, counted
from reports.dag_boxes import LEADING, LOOP, NAME, PADDING, SMALL_SIZE, Box, Boxes, Line, Way, boxes_of
from reports.layered_layout import Point, layered

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light colours for dark text on them that stay apart for every common form of colour blindness. Source: Paul Tol,
# Colour schemes, SRON/EPS/TN/09-002, the scheme "light".
PASS_COLOURS = ("#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#99DDFF", "#44BB99", "#BBCC33", "#AAAA00")
NO_PASS_COLOUR, PAPER, INK = "#E6E6E6", "#FFFFFF", "#111111"
_EDGE, _BORDER = "#4D4D4D", "#666666"

_FONT = "DejaVu Sans Mono"
_TITLE_SIZE = 11.0
_MARGIN = 16.0
_DASHES = (0, (3.5, 2.0))
_DPI, _LONGEST, _MOST = 150, 30_000, 60_000_000
"""Dots per inch of an image, the most dots along a side of it, and the most dots in all."""


def picture(graph: nx.MultiDiGraph[str], suffix: str) -> bytes:
    """Returns the picture of a graph as an .svg or .png file."""
    import matplotlib
    kind = suffix.lower().removeprefix(".")
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        # The same graph gives the same file; letters are shapes, so that they are as wide everywhere.
        matplotlib.rcParams.update({"svg.hashsalt": "fusebench", "svg.fonttype": "path", "text.hinting": "none"})
        # A file's name may have signs that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = figure_of(graph)
        metadata: dict[str, Any] = {"Title": _title(graph).text}
        image = io.BytesIO()
        width, height = figure.get_size_inches()
        dpi = min(_DPI, _LONGEST / max(width, height), math.sqrt(_MOST / (width * height)))
        figure.savefig(image, format=kind, dpi=dpi, metadata=metadata | ({"Date": None} if kind == "svg" else {}))
    return image.getvalue()


def figure_of(graph: nx.MultiDiGraph[str]) -> Figure:
    """Returns the picture of a graph as a figure of matplotlib; its units are points, y downwards."""
    from matplotlib.figure import Figure
    boxes = boxes_of(graph)
    layout = layered({key: box.size for key, box in boxes.boxes.items()}, [way.edge for way in boxes.ways])
    title = _title(graph)
    entries = _legend(graph, boxes)
    width = max(layout.width, title.width, *(_entry_width(line) for _, line in entries), 240.0)
    rows = _legend_rows(entries, width)
    head = _TITLE_SIZE * 2 + len(rows) * SMALL_SIZE * 2.2 + _MARGIN / 2
    size = width + 2 * _MARGIN, head + layout.height + 2 * _MARGIN
    figure = Figure(figsize=(size[0] / 72, size[1] / 72), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    _text(axes, title, _MARGIN, _MARGIN + _TITLE_SIZE / 2)
    for number, row in enumerate(rows):
        x = _MARGIN
        for kind, line in row:
            _key(axes, kind, line, x, _MARGIN + _TITLE_SIZE * 2 + number * SMALL_SIZE * 2.2)
            x += _entry_width(line)
    left, top = _MARGIN + (width - layout.width) / 2, head + _MARGIN
    for way, points in zip(boxes.ways, layout.ways, strict=True):
        _draw_way(axes, way, [(x + left, y + top) for x, y in points])
    for key, box in boxes.boxes.items():
        x, y = layout.centres[key]
        _draw_box(axes, box, x + left, y + top)
    return figure


def _title(graph: nx.MultiDiGraph[str]) -> Line:
    return Line(f"{_shortened(graph.graph['name'])}: {counted(graph)}", _TITLE_SIZE, bold=True)


def _shortened(text: str, most: int = 90) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else f"…{text[1 - most:]}"


# --- boxes and edges ---

def _draw_box(axes: Axes, box: Box, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle
    size = box.size
    left, top = x - size.width / 2, y - size.height / 2
    if box.kind == NAME:
        # Paper behind a name, so that its edge does not cross it out.
        axes.add_patch(Rectangle((left, top), size.width, size.height, facecolor=PAPER, edgecolor="none", zorder=2))
        _text(axes, box.lines[0], x, y, align="center")
        return
    radius = 2.5 if box.kind == EINSUM else min(size.height / 2, 9.0)
    axes.add_patch(FancyBboxPatch((left, top), size.width, size.height, boxstyle=f"round,pad=0,rounding_size={radius}",
                                  facecolor=_colour(box), edgecolor=INK if box.kind == OUTPUT else _BORDER,
                                  linewidth=1.8 if box.kind == OUTPUT else 0.8, zorder=2))
    down = y - sum(line.size * LEADING for line in box.lines) / 2
    for number, line in enumerate(box.lines):
        middle = down + line.size * LEADING / 2
        _text(axes, line, left + PADDING, middle)
        if number == 0 and box.passes:
            _text(axes, box.mark, left + size.width - PADDING, middle, align="right")
        down += line.size * LEADING
    if box.carries:
        _draw_loop(axes, box, left + size.width, y)


def _colour(box: Box) -> str:
    if box.first_pass:
        return PASS_COLOURS[(box.first_pass - 1) % len(PASS_COLOURS)]
    return NO_PASS_COLOUR if box.kind in (EINSUM, SEED) else PAPER


def _draw_loop(axes: Axes, box: Box, x: float, y: float) -> None:
    """What a box carries over to itself: out of its right side and back into it."""
    reach, half = LOOP * 0.8, box.size.height / 4
    _curve(axes, [(x, y + half), (x + reach, y + half), (x + reach, y - half), (x, y - half)], "MCCC", dashed=True)
    _arrow(axes, (x, y - half), (-1, 0))
    _text(axes, Line(box.carries), x + LOOP * 0.8, y)


def _draw_way(axes: Axes, way: Way, points: Sequence[Point]) -> None:
    path: list[Point] = [points[0]]
    codes = "M"
    for number in range(len(points) - 1):
        (x0, y0), (x1, y1) = points[number], points[number + 1]
        if number % 2 == 0:
            path.append((x1, y1))
            codes += "L"
        else:
            # Vertical at both ends: it stays between the layers.
            middle = (y0 + y1) / 2
            path += [(x0, middle), (x1, middle), (x1, y1)]
            codes += "CCC"
    _curve(axes, path, codes, dashed=way.carried)
    if way.arrow:
        _arrow(axes, points[0] if way.upward else points[-1], (0, -1) if way.upward else (0, 1))


def _curve(axes: Axes, points: Sequence[Point], codes: str, *, dashed: bool) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    numbers = {"M": Path.MOVETO, "L": Path.LINETO, "C": Path.CURVE4}
    axes.add_patch(PathPatch(Path(points, [numbers[c] for c in codes]), facecolor="none", edgecolor=_EDGE, zorder=1,
                             linewidth=1.0, linestyle=_DASHES if dashed else "solid"))


def _arrow(axes: Axes, tip: Point, way: Point) -> None:
    from matplotlib.patches import Polygon
    (x, y), (dx, dy) = tip, way
    back = (x - 5 * dx, y - 5 * dy)
    axes.add_patch(Polygon([tip, (back[0] + 2.2 * dy, back[1] + 2.2 * dx), (back[0] - 2.2 * dy, back[1] - 2.2 * dx)],
                           facecolor=_EDGE, edgecolor="none", zorder=3))


def _text(axes: Axes, line: Line, x: float, y: float, align: str = "left") -> None:
    # A dollar is no formula here.
    axes.text(x, y, line.text, fontsize=line.size, fontfamily=_FONT, fontweight="bold" if line.bold else "normal",
              color=INK, ha=align, va="center_baseline", parse_math=False, zorder=4)


# --- legend ---

def _legend(graph: nx.MultiDiGraph[str], boxes: Boxes) -> list[tuple[str, Line]]:
    """What the colours and lines mean: a colour or a kind, and its text."""
    kinds = {box.kind for box in boxes.boxes.values()}
    numbers = sorted({box.first_pass for box in boxes.boxes.values()} - {0})
    entries = [(PASS_COLOURS[(n - 1) % len(PASS_COLOURS)], f"pass {n}") for n in numbers]
    if any(data["kind"] == EINSUM and not data["passes"] for _, data in graph.nodes(data=True)):
        entries.append((NO_PASS_COLOUR, f"does not iterate {graph.graph['rank']}"))
    entries += [(kind, kind) for kind in (INPUT, OUTPUT) if kind in kinds]
    if any(data["carried"] for _, _, data in graph.edges(data=True)):
        entries.append(("carried", "carried over from the iteration before"))
    return [(key, Line(text)) for key, text in entries]


def _entry_width(line: Line) -> float:
    return 22.0 + line.width + 14.0


def _legend_rows(entries: Sequence[tuple[str, Line]], width: float) -> list[list[tuple[str, Line]]]:
    rows: list[list[tuple[str, Line]]] = [[]]
    taken = 0.0
    for entry in entries:
        own = _entry_width(entry[1])
        if rows[-1] and taken + own > width:
            rows.append([])
            taken = 0.0
        rows[-1].append(entry)
        taken += own
    return rows


def _key(axes: Axes, key: str, line: Line, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch
    if key == "carried":
        _curve(axes, [(x, y), (x + 16, y)], "ML", dashed=True)
    else:
        pill = key in (INPUT, OUTPUT)
        axes.add_patch(FancyBboxPatch((x, y - 4.5), 16, 9, boxstyle=f"round,pad=0,rounding_size={4.5 if pill else 1.5}",
                                      facecolor=PAPER if pill else key, edgecolor=INK if key == OUTPUT else _BORDER,
                                      linewidth=1.8 if key == OUTPUT else 0.8))
    _text(axes, line, x + 22, y)
