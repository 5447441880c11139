"""The reproduction as pandas DataFrames: simulated, published and error in columns of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.fusemax.reproduction import COMPARED, Reproduction

if TYPE_CHECKING:
    import pandas as pd

PARETO_COMPARED = ("latency_s", "area_mm2")
"""Figures of a Pareto point that are published for some."""


def rows_frame(reproduction: Reproduction) -> pd.DataFrame:
    """Returns one row for each design, model and length.

    Simulated figures have their own names; ``published_<figure>`` and ``error_<figure>`` (simulated over published,
    less 1) are NaN where the published tables hold none. ``published_excess`` says whether the published energy holds
    an excess, and ``published_excess_low`` and ``published_excess_high`` what share of it, where that is known.
    """
    return _frame([_row(row) for row in reproduction.rows])


def averages_frame(reproduction: Reproduction) -> pd.DataFrame:
    """Returns one row for each headline average: paper, artifact, ours (artifact and physical accounting), error."""
    return _frame([dict(a) for a in reproduction.averages])


def pareto_frame(reproduction: Reproduction) -> pd.DataFrame:
    """Returns one row for each model and array size of the Pareto figure, with what is published of it."""
    return _frame([_flat(point, PARETO_COMPARED) for point in reproduction.pareto])


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["published_excess"] or (None, None)
    return {**_flat(row, COMPARED), "published_excess": row["published_excess"] is not None,
            "published_excess_low": low, "published_excess_high": high}


def _flat(entry: Mapping[str, Any], compared: Sequence[str]) -> dict[str, Any]:
    """An entry with its published figures and errors as columns."""
    own = {key: value for key, value in entry.items() if key not in ("published", "error", "published_excess")}
    return own | {f"{kind}_{key}": (entry[kind] or {}).get(key) for kind in ("published", "error") for key in compared}


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd
    return pd.DataFrame(rows)
