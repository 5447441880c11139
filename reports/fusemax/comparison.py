"""How far our figures are from the published ones: the largest errors of each design, and each miss with its cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from reports.fusemax.reproduction import DESIGNS, MODELS, Reproduction

Row = Mapping[str, Any]

MISS = 1e-4
"""A relative error that is more than this is a miss, and is named."""

EXCESS = "excess in the artifact"
LINEAR = "XLM's linear layers (A19)"
ELSEWHERE = "points not at hand"
UNEXPLAINED = "not explained"
CAUSES = (EXCESS, LINEAR, ELSEWHERE, UNEXPLAINED)
"""Why a figure is missed. ``ELSEWHERE``: an average differs, but no point of it whose published figure is at hand."""

_ENERGIES = ("energy_pj", "end_to_end_energy_pj")
_FIGURES = {"dram_bytes": "DRAM bytes", "latency_s": "latency", "util_2d": "2D utilization",
            "util_1d": "1D utilization", "energy_pj": "attention energy", "end_to_end_latency_s": "end-to-end latency",
            "end_to_end_energy_pj": "end-to-end energy"}


@dataclass(frozen=True)
class Group:
    """Figures whose errors belong together: some keys of the rows that ``belongs`` takes."""

    title: str
    keys: tuple[str, ...]
    belongs: Callable[[Row], bool] = lambda row: True

    def largest(self, rows: Iterable[Row]) -> float | None:
        """Returns the error of the largest size, or None where nothing is published."""
        errors = (row["error"][key] for row in rows if row["error"] and self.belongs(row) for key in self.keys)
        return max(errors, key=abs, default=None)


COUNTED = Group("DRAM, latency, utilization", ("dram_bytes", "latency_s", "util_2d", "util_1d", "end_to_end_latency_s"))
GROUPS = (
    COUNTED,
    Group("attention energy", ("energy_pj",), lambda row: row["published_excess"] is None),
    Group("with excess", ("energy_pj",), lambda row: row["published_excess"] is not None),
    Group("end-to-end energy", ("end_to_end_energy_pj",),
          lambda row: row["published_excess"] is None and row["model"] != "xlm"),
    Group("of XLM", ("end_to_end_energy_pj",), lambda row: row["published_excess"] is None and row["model"] == "xlm"),
    Group("with excess", ("end_to_end_energy_pj",), lambda row: row["published_excess"] is not None),
)


@dataclass(frozen=True)
class Miss:
    """Published figures that we miss for one cause; ``low`` and ``high`` are ours over published, less 1.

    ``designs``, ``models`` and ``seq_lens`` are where, for figures of single points; an average has none.
    """

    figure: str
    designs: tuple[str, ...]
    models: tuple[str, ...]
    seq_lens: tuple[int, ...]
    low: float
    high: float
    cause: str


def misses(reproduction: Reproduction) -> Iterator[Miss]:
    """Yields the published figures that are off by more than ``MISS``, by figure and cause; then the averages that are
    another number than the artifact's once they are rounded to its digits."""
    found: dict[tuple[str, str], list[Row]] = {(key, cause): [] for key in _FIGURES for cause in CAUSES}
    for row in reproduction.rows:
        for key, error in (row["error"] or {}).items():
            if abs(error) > MISS:
                found[key, _cause(key, row)].append(row)
    yield from (_miss(key, cause, rows) for (key, cause), rows in found.items() if rows)
    for average in reproduction.averages:
        artifact, error = average["artifact"], average["error"]
        if artifact is not None and round(average["ours"], _decimals(artifact)) != artifact:
            yield Miss(average["title"], (), (), (), error, error, _cause_of_average(average, reproduction.rows))


def energy_over_flat_with_excess(reproduction: Reproduction) -> tuple[float, float]:
    """Returns the mean of FuseMax's attention energy over FLAT's with the named excess added to both: least and most.

    It says whether the excess explains the difference between our mean and the artifact's. (Over unfused there is no
    such span: the reference does not name the size of that excess.)
    """
    flat = {(r["model"], r["seq_len"]): r for r in reproduction.rows if r["design"] == "flat"}
    pairs = [(r, flat[r["model"], r["seq_len"]]) for r in reproduction.rows if r["design"] == "binding"]

    def mean(own: int, other: int) -> float:
        return fmean(_with_excess(a, own) / _with_excess(b, other) for a, b in pairs)
    return mean(0, 1), mean(1, 0)


def _with_excess(row: Row, end: int) -> float:
    # The reference names the excess as a share of the published energy.
    return float(row["energy_pj"] / (1 - (row["published_excess"] or (0.0, 0.0))[end]))


def _cause(key: str, row: Row) -> str:
    attention = row["error"]["energy_pj"]
    if key in _ENERGIES and row["published_excess"] and attention < 0:
        low, high = row["published_excess"]
        # The reference names a share to two digits, or no share.
        return EXCESS if low is None or low <= float(f"{-attention:.2g}") <= high else UNEXPLAINED
    return LINEAR if key == "end_to_end_energy_pj" and row["model"] == "xlm" and abs(attention) <= MISS else UNEXPLAINED


def _cause_of_average(average: Row, rows: Sequence[Row]) -> str:
    if average["ours_physical"] is not None:  # it is a mean of energies
        return EXCESS
    return UNEXPLAINED if abs(COUNTED.largest(rows) or 0.0) > MISS else ELSEWHERE


def _miss(key: str, cause: str, rows: Sequence[Row]) -> Miss:
    errors = [row["error"][key] for row in rows]
    designs, models, lengths = ({row[field] for row in rows} for field in ("design", "model", "seq_len"))
    return Miss(_FIGURES[key], tuple(d for d in DESIGNS if d in designs), tuple(m for m in MODELS if m in models),
                tuple(sorted(lengths)), min(errors), max(errors), cause)


def _decimals(value: float) -> int:
    return len(str(value).partition(".")[2])
