"""Tables of the reproduction whose cells are text, for the terminal and for Markdown: columns and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.fusemax.comparison import GROUPS, MISS, Miss, misses
from reports.fusemax.reproduction import DESIGNS, Reproduction


@dataclass(frozen=True)
class Cells:
    """A table: the names of its columns, and rows of text; ``numbers`` are the columns that stand at the right."""

    columns: tuple[str, ...]
    rows: tuple[Sequence[str], ...]
    numbers: tuple[str, ...]


def averages_cells(reproduction: Reproduction) -> Cells:
    """Returns the headline averages: paper, artifact, ours, error, and ours under physical accounting."""
    numbers = ("paper", "artifact", "simulated", "error", "physical")
    return Cells(("mean of 4 models x 6 lengths", *numbers), tuple(
        (a["title"], _as_printed(a["paper"]), _as_printed(a["artifact"]), _average(a["ours"]), error_shown(a["error"]),
         _average(a["ours_physical"])) for a in reproduction.averages), numbers)


def largest_cells(reproduction: Reproduction) -> Cells:
    """Returns the largest error of each design in each group of figures."""
    numbers = tuple(g.title for g in GROUPS)
    return Cells(("design", *numbers), tuple(
        (design, *(error_shown(g.largest(r for r in reproduction.rows if r["design"] == design)) for g in GROUPS))
        for design in DESIGNS), numbers)


def misses_cells(reproduction: Reproduction) -> Cells:
    """Returns what we miss, where, by how much, and why."""
    return Cells(("miss", "error", "where", "why"), tuple(
        (m.figure, " to ".join(dict.fromkeys((error_shown(m.low), error_shown(m.high)))), _where(m), m.cause)
        for m in misses(reproduction)), ("error",))


def error_shown(error: float | None) -> str:
    """Returns a relative error as text: in percent, or as a power of ten where that would show zeros."""
    if error is None:
        return "-"
    if abs(error) < 1e-12:  # the rounding of float64
        return "0"
    return f"{error:+.0e}".replace("e-0", "e-") if abs(error) < MISS else f"{error:+.2%}"


def tokens_shown(seq_len: int) -> str:
    """Returns a length as the paper writes it: 1K, 256K, 1M."""
    for size, letter in ((2**20, "M"), (2**10, "K")):
        if seq_len % size == 0:
            return f"{seq_len // size}{letter}"
    return str(seq_len)


def _where(miss: Miss) -> str:
    designs = ("all designs",) if miss.designs == DESIGNS else miss.designs
    parts = (designs, miss.models, tuple(map(tokens_shown, miss.seq_lens)))
    return ", ".join(" ".join(part) for part in parts if part) or "mean"


def _as_printed(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _average(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
