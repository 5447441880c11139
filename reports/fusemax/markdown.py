"""The reproduction as Markdown: the tables of paper against ours, the misses, and the notes, as in the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.fusemax.cells import Cells, averages_cells, largest_cells, misses_cells
from reports.fusemax.published import SOURCE
from reports.fusemax.reproduction import Reproduction
from reports.fusemax.text import notes


def markdown(reproduction: Reproduction) -> str:
    """Returns the averages, the largest errors, the misses and the notes as Markdown."""
    return "\n\n".join([
        (f"*Paper* and *artifact* are published ({SOURCE}); all else is simulated by fusebench. An error is "
         "simulated over published, less 1; what the last digit of the artifact's average explains is no miss. "
         "Energies are counted as the artifact counts them; *physical* is ours with the physical accounting."),
        _table(averages_cells(reproduction)),
        "The largest error of each design where figures are published (BERT and XLM at 1K, 16K and 256K tokens):",
        _table(largest_cells(reproduction)),
        "What is missed, by more than 0.01% or in the digits of an average:",
        _table(misses_cells(reproduction)),
        "\n".join(f"- {note}" for note in notes(reproduction))])


def _table(cells: Cells) -> str:
    rules = ["--:" if column in cells.numbers else "---" for column in cells.columns]
    return "\n".join(_lines([cells.columns, rules, *cells.rows]))


def _lines(rows: Iterable[Sequence[str]]) -> Iterable[str]:
    return (f"| {' | '.join(row)} |" for row in rows)
