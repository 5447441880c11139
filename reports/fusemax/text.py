"""The reproduction as text for a terminal: averages, every point, the Pareto points, and notes that explain them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping

import click

from reports.fusemax.cells import Cells, averages_cells, error_shown, largest_cells, misses_cells, tokens_shown
from reports.fusemax.comparison import COUNTED, ELSEWHERE, Row, energy_over_flat_with_excess, misses
from reports.fusemax.published import EXCESSES, SOURCE
from reports.fusemax.reproduction import DESIGNS, MODELS, Reproduction
from reports.tables import table

WIDTH = 120
"""Columns of the text."""

_MARK = "*"


def text(reproduction: Reproduction) -> str:
    """Returns the whole report as text."""
    return "\n\n".join([
        _section("FuseMax, recomputed",
                 f"Published figures are those of {SOURCE}; all others are simulated by fusebench. An error is the "
                 "simulated figure over the published one, less 1.",
                 _table(averages_cells(reproduction)),
                 "Energies are counted as the artifact counts them; 'physical': with the physical accounting. Errors "
                 "are against the artifact's averages; what their last digit explains is no miss."),
        _section("Largest error of each design, where figures are published (BERT and XLM at 1K, 16K and 256K tokens)",
                 _table(largest_cells(reproduction))),
        _section("What is missed: by more than 0.01%, or an average in the digits that are published",
                 _table(misses_cells(reproduction))),
        _section("Every design, model and length",
                 "Attention of one layer, batch 64, all heads; end to end adds the layer's linear layers. 'pJ' is "
                 "counted as the artifact does, 'phys. pJ' physically. Errors: '-' where no figure is published; "
                 f"'counts' is the largest of bytes, seconds and utilization. '{_MARK}': the artifact's energy holds "
                 "an excess at this length.",
                 _points(reproduction)),
        _section("Area against latency: +Binding at 256K tokens over sizes of the PE array", _pareto(reproduction)),
        _section("Notes", "\n".join(textwrap.fill(note, WIDTH, initial_indent="- ", subsequent_indent="  ")
                                    for note in notes(reproduction)))])


def notes(reproduction: Reproduction) -> Iterator[str]:
    """Yields what a reader must know to compare the figures."""
    averages = {a["id"]: a for a in reproduction.averages}
    flat, unfused = averages["attention_energy_vs_flat"], averages["attention_energy_vs_unfused"]
    low, high = energy_over_flat_with_excess(reproduction)
    yield "Accounting: 'fusemax-artifact' counts the registers of one PE and one lane, and leaves out the energy of " \
          "exp in +Cascade. 'physical' counts the registers of every PE, what passes between a column of PEs and " \
          "its lane once, and every exp (A7)."
    yield "Excess in the artifact: at long sequences its energies hold reads of the global buffer that its loops do " \
          f"not make (probably an integer that wraps). Ours do not model them. They are in {_excesses()}; in flat " \
          f"not for bert and t5 at 256K. Over flat our mean energy is {flat['ours']:.3f}, the artifact's " \
          f"{flat['artifact']:.3f}; with the excess added to our energies it is {low:.3f} to {high:.3f}. Over " \
          f"unfused ({unfused['ours']:.3f} and {unfused['artifact']:.3f}) this check cannot be made."
    yield "XLM's linear layers: their mapping is our own choice. The artifact's is a mapper's that is not stored; " \
          "ours keeps the weights in the buffer as far as they fit. It changes XLM's end-to-end energy, and no " \
          "latency (A19)."
    if any(miss.cause == ELSEWHERE for miss in misses(reproduction)):
        yield "Points not at hand: an average differs from the artifact's by more than its digits explain, while " \
              "every point of it whose published figure is at hand agrees."
    yield "A7 and A19 are numbered assumptions: see docs/assumptions.md."


def _points(reproduction: Reproduction) -> str:
    columns = ("design", "model", "tokens", "bytes", "seconds", "2D", "1D", "pJ", "phys. pJ", "seconds", "pJ",
               "counts", "pJ", "e2e pJ")
    head, rule, *lines = table(columns, [_point(row) for row in reproduction.rows], right=columns[2:]).split("\n")
    above = _above(rule, {3: "attention: DRAM, latency, utilization, energy", 9: "end to end",
                          11: "error to published"})
    each = len(lines) // len(DESIGNS)
    return "\n".join([above, head, rule, "\n\n".join("\n".join(lines[i:i + each]) for i in range(0, len(lines), each))])


def _point(row: Row) -> list[str]:
    error = row["error"] or {}
    return [row["design"], row["model"], tokens_shown(row["seq_len"]) + (_MARK if row["published_excess"] else " "),
            _scientific(row["dram_bytes"]), _seconds(row["latency_s"]),
            f"{row['util_2d']:.3f}", f"{row['util_1d']:.3f}",
            _scientific(row["energy_pj"]), _scientific(row["energy_pj_physical"]),
            _seconds(row["end_to_end_latency_s"]), _scientific(row["end_to_end_energy_pj"]),
            error_shown(COUNTED.largest([row])), error_shown(error.get("energy_pj")),
            error_shown(error.get("end_to_end_energy_pj"))]


def _pareto(reproduction: Reproduction) -> str:
    columns = ("model", "PE array", "seconds", "mm2", "bound", "error of seconds", "of mm2")
    return table(columns, [(p["model"], f"{p['pe_dim']} x {p['pe_dim']}", p["latency_s"], p["area_mm2"], p["bound"],
                            *(error_shown((p["error"] or {}).get(key)) for key in ("latency_s", "area_mm2")))
                           for p in reproduction.pareto], right=("PE array", *columns[-2:]))


def _excesses() -> str:
    """The excess by design, as the reference names it."""
    found = []
    for excess in EXCESSES:
        if excess.low is None or excess.high is None:
            size = "by an unknown share"
        else:
            size = f"{100 * excess.low:.2g} to {100 * excess.high:.2g}%"
        models = "" if excess.models == MODELS else f" for {', '.join(excess.models)}"
        found.append(f"{excess.design} from {tokens_shown(excess.from_seq_len)}{models} {size}")
    return ", ".join(found)


def _above(rule: str, titles: Mapping[int, str]) -> str:
    """Titles above groups of columns: each from the column with its number to the next group's, underlined."""
    starts = [match.start() for match in re.finditer("-+", rule)]
    ends = [*(starts[i] - 2 for i in titles), len(rule)][1:]
    line = ""
    for (first, title), end in zip(titles.items(), ends, strict=True):
        line = line.ljust(starts[first]) + f" {title} ".center(end - starts[first], "-")
    return line


def _table(cells: Cells) -> str:
    return table(cells.columns, cells.rows, right=cells.numbers)


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([click.style(title, bold=True), *(p if "\n" in p else textwrap.fill(p, WIDTH) for p in parts)])


def _seconds(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _scientific(value: float) -> str:
    return f"{value:.3e}".replace("e+", "e")
