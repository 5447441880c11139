"""Text tables and figures for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import click

_GAP = "  "
_NARROWEST = 24


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Collection[str] = ()) -> str:
    """Returns rows as aligned text under their columns' names; numbers and the columns of ``right`` stand at the right.

    On a terminal that is too narrow the last column is folded.
    """
    values = [list(row) for row in rows]
    numeric = [name in right or any(_is_number(row[i]) for row in values)
               and all(_is_number(row[i]) or row[i] is None for row in values)
               for i, name in enumerate(columns)]
    cells = [[shown(value) for value in row] for row in values]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    if not numeric[-1]:
        widths[-1] = _fitting(widths)

    def line(row: Sequence[str]) -> str:
        return _GAP.join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()
    return "\n".join([click.style(line(columns), bold=True), _GAP.join("-" * width for width in widths),
                      *(line(part) for row in cells for part in _folded(row, widths[-1]))])


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """Returns names and values as two aligned columns."""
    found = [(name, shown(value)) for name, value in rows]
    width = max((len(name) for name, _ in found), default=0)
    room = _fitting([width, max((len(value) for _, value in found), default=0)])
    lines = []
    for name, value in found:
        for number, (part,) in enumerate(_folded([value], room)):
            lines.append(click.style(name.ljust(width) if number == 0 else " " * width, bold=True) + _GAP + part)
    return "\n".join(lines)


def sections(document: Mapping[str, Any]) -> str:
    """Returns a result as text: plain values as pairs, then each mapping and each list of mappings under its name."""
    plain = [(_title(key), value) for key, value in document.items() if not _has_parts(value)]
    parts = [pairs(plain)] if plain else []
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            body = pairs(value.items())
        elif _has_parts(value) and value:
            body = table(list(value[0]), [list(row.values()) for row in value]) if isinstance(value[0], Mapping) \
                else "\n".join(map(str, value))
        else:
            continue
        parts.append(f"{click.style(_title(key), bold=True)}\n{textwrap.indent(body, _GAP)}")
    return "\n\n".join(parts)


def shown(value: Any) -> str:
    """Returns a value as text: whole numbers in groups of three digits, others with five that count."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.5g}"
        case list() | tuple():
            return ", ".join(shown(entry) for entry in value) or "-"
    return str(value)


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) or isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, str)) for v in value)


def _title(key: str) -> str:
    return key.replace("_", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fitting(widths: Sequence[int]) -> int:
    if not sys.stdout.isatty():
        return widths[-1]
    taken = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    return min(widths[-1], max(_NARROWEST, shutil.get_terminal_size().columns - taken))


def _folded(row: Sequence[str], width: int) -> list[list[str]]:
    parts = textwrap.wrap(row[-1], max(width, 1)) or [""]
    return [[*row[:-1], parts[0]], *([*([""] * (len(row) - 1)), part] for part in parts[1:])]

