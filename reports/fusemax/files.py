"""The reproduction as files: tables as CSV and figures as PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reports.files import write_file
from reports.fusemax.figures import FIGURES
from reports.fusemax.frames import averages_frame, pareto_frame, rows_frame
from reports.fusemax.reproduction import Reproduction

if TYPE_CHECKING:
    import pandas as pd

FILES: Mapping[str, Callable[[Reproduction], bytes]] = {
    "rows.csv": lambda reproduction: _csv(rows_frame(reproduction)),
    "averages.csv": lambda reproduction: _csv(averages_frame(reproduction)),
    "pareto.csv": lambda reproduction: _csv(pareto_frame(reproduction)),
    **{f"{name}.png": draw for name, draw in FIGURES.items()}}
"""What makes the content of each file, by its name."""


def write_files(reproduction: Reproduction, folder: Path) -> Iterator[Path]:
    """Writes every file into a folder, and yields its path once it is there.

    Raises: OutputError where one cannot be written.
    """
    for name, content in FILES.items():
        yield write_file(folder / name, content(reproduction))


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()
