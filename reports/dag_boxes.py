"""What a picture of a cascade's graph has to place: boxes with text, names of tensors, edges from top to bottom."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.dag import INPUT, OUTPUT, SEED, passes_text
from reports.layered_layout import Edge, Size

if TYPE_CHECKING:
    import networkx as nx

NAME = "name"
"""The kind of a box that holds the name of a tensor on its edges."""

CHARACTER = 0.602
"""Width of a character of the pictures' font (DejaVu Sans Mono) over its size."""

LEADING = 1.35
"""Height of a line over its size."""

TEXT_SIZE, SMALL_SIZE = 8.0, 7.0
PADDING, LOOP = 6.0, 20.0
"""Space around the text of a box, and at its right for the loop of what it carries over to itself; in points."""

_WRAPPED, _LINES = 34, 5
_AT_WHERE = re.compile(r" (?=where )")
_OPERATOR = re.compile(r" (==|!=|<=|>=|//|[-+*/%<>]|and|or) ")


@dataclass(frozen=True)
class Line:
    """A line of text."""

    text: str
    size: float = SMALL_SIZE
    bold: bool = False

    @property
    def width(self) -> float:
        """Its width in points."""
        return len(self.text) * CHARACTER * self.size


@dataclass(frozen=True)
class Box:
    """A node or a tensor's name: its lines, its ``passes`` as text, and the tensor that it carries over to itself."""

    kind: str
    lines: tuple[Line, ...]
    passes: str = ""
    first_pass: int = 0
    carries: str = ""

    @property
    def mark(self) -> Line:
        """What stands at the right of its first line."""
        return Line(f"pass {self.passes}" if self.passes else "")

    @property
    def size(self) -> Size:
        """Its size in points."""
        first = self.lines[0].width + (self.mark.width + 2 * PADDING if self.passes else 0.0)
        width = max(first, *(line.width for line in self.lines))
        height = sum(line.size * LEADING for line in self.lines)
        if self.kind == NAME:
            return Size(width + 4.0, height)
        return Size(width + 2 * PADDING, height + 1.5 * PADDING,
                    LOOP + Line(self.carries).width + 2.0 if self.carries else 0.0)


@dataclass(frozen=True)
class Way:
    """An edge from top to bottom. It may be ``carried`` over by an iteration (then it can lead ``upward``, from its
    lower box to its upper one), and has an arrow where it ends at a reader."""

    edge: Edge
    carried: bool = False
    arrow: bool = False
    upward: bool = False


@dataclass
class Boxes:
    """The boxes by their keys (those of the graph's nodes, and tuples for names), and the edges between them."""

    boxes: dict[Hashable, Box] = field(default_factory=dict)
    ways: dict[Way, None] = field(default_factory=dict)


def boxes_of(graph: nx.MultiDiGraph[str]) -> Boxes:
    """Returns the boxes and edges of a graph. All edges of a tensor share its name, which stands below its producer;
    inputs and outputs are their own names."""
    made = Boxes()
    place = {node: number for number, node in enumerate(graph)}
    loops = {source: data["tensor"] for source, target, data in graph.edges(data=True) if source == target}
    for node, data in graph.nodes(data=True):
        made.boxes[node] = _box(data, loops.get(node, ""))
    for source, target, data in graph.edges(data=True):
        tensor, carried = data["tensor"], data["carried"]
        if source == target:
            continue
        if graph.nodes[source]["kind"] == INPUT or graph.nodes[target]["kind"] == OUTPUT:
            made.ways[Way(Edge(source, target, 2), arrow=True)] = None
            continue
        upward = place[source] > place[target]
        name = (NAME, source, tensor, carried, upward)
        made.boxes[name] = Box(NAME, (Line(tensor),))
        if upward:
            made.ways[Way(Edge(name, source), carried, upward=True)] = None
            made.ways[Way(Edge(target, name), carried, arrow=True, upward=True)] = None
        else:
            made.ways[Way(Edge(source, name), carried)] = None
            made.ways[Way(Edge(name, target), carried, arrow=True)] = None
    return made


def _box(data: dict[str, Any], carries: str) -> Box:
    kind, label, text = data["kind"], data["label"], data["text"]
    passes = data["passes"]
    if kind == SEED:
        label, text = f"init {label}", f"init {text}"
    lines = [line for part in _AT_WHERE.split(text[len(label):].strip()) for line in _wrapped(part)]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES - 1], lines[_LINES - 1][:_WRAPPED - 2] + " …"]
    return Box(kind, (Line(label, TEXT_SIZE, bold=True), *map(Line, lines)), passes_text(passes),
               passes[0] if passes else 0, carries)


def _wrapped(text: str) -> list[str]:
    # A line begins with its operator: no break between an operator and what follows it.
    lines = textwrap.wrap(_OPERATOR.sub(" \\1\N{NO-BREAK SPACE}", text), _WRAPPED, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
