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

_NODE, _LAST, _SOURCE, _LINE, _CARRIED, _ACROSS = "●◆○│┊─"
_CONTINUES, _ENDS, _BEGINS = "├┼┤", "╰┴╯", "╭┬╮"
_ASCII = str.maketrans("●◆○│┊─├┼┤╰┴╯╭┬╮", "*#o|:-+++'''...")
_COLOURS = ("blue", "yellow", "magenta", "cyan", "green", "red")

Value = tuple[str, bool]
"""A tensor, and whether it is the one that the iteration before has left."""


@dataclass
class _Row:
    """A node: its text, and the values that it reads and makes."""

    kind: str
    label: str
    note: str = ""
    passes: tuple[int, ...] = ()
    reads: list[Value] = field(default_factory=list)
    makes: list[Value] = field(default_factory=list)


def to_terminal(graph: nx.MultiDiGraph[str], heading: str = "pass") -> str:
    """Returns the graph as text in an order of evaluation, with the passes of each node at the left (or what
    else its ``passes`` are, under another heading).

    A dot is an Einsum (a diamond where no other reads it), a ring an input or a seed. A lane runs down from the node
    that makes a tensor to the last one that reads it; a dotted lane holds what an iteration carries over. What cannot
    show these signs gets ASCII.
    """
    drawn = list(_drawn(_rows(graph)))
    width = max((len(lanes) for _, _, lanes in drawn), default=0)
    left = max([len(heading), *(len(passes_text(row.passes)) for row, _, _ in drawn)])
    lines = [click.style(heading.rjust(left), bold=True)]
    for row, sign, lanes in drawn:
        shown, lanes = passes_text(row.passes).rjust(left), lanes.ljust(width)
        if row.passes:
            colour = _COLOURS[(row.passes[0] - 1) % len(_COLOURS)]
            shown, lanes = click.style(shown, fg=colour), lanes.replace(sign, click.style(sign, fg=colour))
        lines.append(f"{shown}  {lanes}  {row.label}{f'  {row.note}' if row.note else ''}")
    text = "\n".join(lines)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


def _rows(graph: nx.MultiDiGraph[str]) -> list[_Row]:
    outputs = {source for source, target in graph.edges() if graph.nodes[target]["kind"] == OUTPUT}
    rows = {node: _Row(data["kind"], f"{'init ' if data['kind'] == SEED else ''}{data['label']}",
                       "input" if data["kind"] == INPUT else "output" if node in outputs else "", data["passes"])
            for node, data in graph.nodes(data=True) if data["kind"] != OUTPUT}
    carried = {data["tensor"] for _, _, data in graph.edges(data=True) if data["carried"]}
    for source, target, data in graph.edges(data=True):
        tensor, seeded = data["tensor"], graph.nodes[source]["kind"] == SEED
        # A seed is what the first iteration finds carried over.
        value = tensor, data["carried"] or seeded
        if not data["carried"] and value not in rows[source].makes:
            rows[source].makes.append(value)
        if target in rows and not (seeded and tensor in carried):
            rows[target].reads.append(value)
    return list(_with_unseeded(rows.values()))


def _with_unseeded(rows: Collection[_Row]) -> Iterator[_Row]:
    """The rows, with one more before the first reader of what is carried over but has no seed."""
    made = {value for row in rows for value in row.makes}
    for row in rows:
        for value in row.reads:
            if value not in made:
                made.add(value)
                yield _Row(SEED, value[0], "of the iteration before", makes=[value])
        yield row


def _drawn(rows: Sequence[_Row]) -> Iterator[tuple[_Row, str, str]]:
    """Each row with its sign and its lanes."""
    last = {value: number for number, row in enumerate(rows) for value in row.reads}
    lanes: list[Value | None] = []
    for number, row in enumerate(rows):
        above = list(lanes)
        # The second of two seeds of a tensor joins the lane of the first.
        joined = {lanes.index(value) for value in (*row.reads, *row.makes) if value in lanes}
        ends = {lane for lane in joined if (value := lanes[lane]) is None or last[value] == number}
        made = [value for value in row.makes if value not in above and value in last]
        node = _put(lanes, made[0] if made else (row.label, False), min(ends, default=None))
        begins = {_put(lanes, value) for value in made[1:]}
        for lane in ends - {node} if made else {*ends, node}:
            lanes[lane] = None
        sign = _SOURCE if row.kind != EINSUM else _NODE if made else _LAST
        yield row, sign, _line(above, node, sign, joined, ends, begins)


def _put(lanes: list[Value | None], value: Value, lane: int | None = None) -> int:
    """Puts a value into a lane, or into the first that is free."""
    if lane is None:
        lane = lanes.index(None) if None in lanes else len(lanes)
    lanes.extend([None] * (lane + 1 - len(lanes)))
    lanes[lane] = value
    return lane


def _line(above: Sequence[Value | None], node: int, own: str, joined: Collection[int], ends: Collection[int],
          begins: Collection[int]) -> str:
    low, high = min((node, *joined, *begins)), max((node, *joined, *begins))
    text = ""
    for lane in range(max(len(above), high + 1)):
        place = 0 if lane == low else 2 if lane == high else 1
        value = above[lane] if lane < len(above) else None
        if lane == node:
            sign = own
        elif lane in begins:
            sign = _BEGINS[place]
        elif lane in joined:
            sign = (_ENDS if lane in ends else _CONTINUES)[place]
        elif value is not None:
            sign = _CARRIED if value[1] else _LINE
        else:
            sign = _ACROSS if low < lane < high else " "
        text += sign + (_ACROSS if low <= lane < high else " ")
    return text.rstrip()
