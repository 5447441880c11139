"""The graph of a cascade for a terminal: a row for each node, and for each tensor a lane down to its last reader."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from reports.dag import EINSUM, INPUT, OUTPUT, SEED, passes_text

if TYPE_CHECKING:
    import networkx as nx

_NODE, _SOURCE, _LINE, _CARRIED, _ACROSS = "●○│┊─"
_CONTINUES, _ENDS, _BEGINS = "├┼┤", "╰┴╯", "╭┬╮"
_ASCII = str.maketrans("●○│┊─├┼┤╰┴╯╭┬╮", "*o|:-+++'''...")
_COLOURS = ("blue", "yellow", "magenta", "cyan", "green", "red")

Value = tuple[str, bool]
"""A tensor, and whether it is the one that the iteration before has left."""


@dataclass
class _Row:
    """A node with the values that it reads and makes."""

    node: str
    reads: list[Value] = field(default_factory=list)
    makes: list[Value] = field(default_factory=list)


def to_terminal(graph: nx.MultiDiGraph[str]) -> str:
    """Returns the graph as text in an order of evaluation, with the passes of each node at the left.

    A dot is an Einsum, a ring an input or a seed. A lane runs down from the node that makes a tensor to the last one
    that reads it; a dotted lane holds what an iteration carries over. What cannot show these signs gets ASCII.
    """
    outputs = {source for source, target in graph.edges() if graph.nodes[target]["kind"] == OUTPUT}
    drawn = list(_drawn(_rows(graph)))
    width = max((len(lanes) for _, lanes in drawn), default=0)
    left = max([len("pass"), *(len(passes_text(data["passes"])) for _, data in graph.nodes(data=True))])
    lines = [click.style("pass".rjust(left), bold=True)]
    for node, lanes in drawn:
        data = graph.nodes[node]
        colour = _COLOURS[(data["passes"][0] - 1) % len(_COLOURS)] if data["passes"] else None
        lanes = lanes.ljust(width)
        if data["kind"] == EINSUM:
            lanes = lanes.replace(_NODE, click.style(_NODE, fg=colour))
        else:
            lanes = lanes.replace(_NODE, _SOURCE)
        label = f"{'init ' if data['kind'] == SEED else ''}{data['label']}"
        note = "  input" if data["kind"] == INPUT else "  output" if node in outputs else ""
        lines.append(f"{click.style(passes_text(data['passes']).rjust(left), fg=colour)}  {lanes}  {label}{note}")
    text = "\n".join(lines)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


def _rows(graph: nx.MultiDiGraph[str]) -> list[_Row]:
    rows = {node: _Row(node) for node, data in graph.nodes(data=True) if data["kind"] != OUTPUT}
    carried = {data["tensor"] for _, _, data in graph.edges(data=True) if data["carried"]}
    for source, target, data in graph.edges(data=True):
        tensor, seeded = data["tensor"], graph.nodes[source]["kind"] == SEED
        # A seed is what the first iteration finds carried over.
        value = tensor, data["carried"] or seeded
        if not data["carried"] and value not in rows[source].makes:
            rows[source].makes.append(value)
        if target in rows and not (seeded and tensor in carried):
            rows[target].reads.append(value)
    return list(rows.values())


def _drawn(rows: Sequence[_Row]) -> Iterator[tuple[str, str]]:
    """Each node with its row of lanes."""
    last = {value: number for number, row in enumerate(rows) for value in row.reads}
    lanes: list[Value | None] = []
    for number, row in enumerate(rows):
        above = list(lanes)
        # The second of two seeds of a tensor joins the lane of the first.
        joined = {lanes.index(value) for value in (*row.reads, *row.makes) if value in lanes}
        ends = {lane for lane in joined if (value := lanes[lane]) is None or last[value] == number}
        for lane in ends:
            lanes[lane] = None
        made = [v for v in row.makes if v not in above and v in last]
        # Carried over without a seed: the lane begins at the first reader.
        unseeded = [v for v in row.reads if v not in above and last[v] > number]
        node = _put(lanes, made[0] if made else (row.node, False), min(ends, default=None))
        begins = {_put(lanes, value) for value in (*made[1:], *unseeded)}
        if not made:
            lanes[node] = None
        yield row.node, _line(above, node, joined, ends, begins)


def _put(lanes: list[Value | None], value: Value, lane: int | None = None) -> int:
    """Puts a value into a lane, or into the first that is free."""
    if lane is None:
        lane = lanes.index(None) if None in lanes else len(lanes)
    lanes.extend([None] * (lane + 1 - len(lanes)))
    lanes[lane] = value
    return lane


def _line(above: Sequence[Value | None], node: int, joined: Collection[int], ends: Collection[int],
          begins: Collection[int]) -> str:
    low, high = min((node, *joined, *begins)), max((node, *joined, *begins))
    text = ""
    for lane in range(max(len(above), high + 1)):
        place = 0 if lane == low else 2 if lane == high else 1
        value = above[lane] if lane < len(above) else None
        if lane == node:
            sign = _NODE
        elif lane in begins:
            sign = (_CONTINUES if lane in joined else _BEGINS)[place]
        elif lane in joined:
            sign = (_ENDS if lane in ends else _CONTINUES)[place]
        elif value is not None:
            sign = _CARRIED if value[1] else _LINE
        else:
            sign = _ACROSS if low < lane < high else " "
        text += sign + (_ACROSS if low <= lane < high else " ")
    return text.rstrip()
