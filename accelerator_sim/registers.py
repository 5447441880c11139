"""Costs of a PE's register file by its depth, from a table.

Source: components/register_file_45nm.csv. Areas, and the energies of depths 4, 16 and 32, are those of the FuseMax
artifact (Accelergy, 45 nm, 16-bit values). The energies of depths 8, 64 and 128 are estimated: a bit of address
costs what it costs between the published depths (about 0.004 pJ). A depth between two of the table has the address
of the next power of two, and so its costs: depth 12 costs what depth 16 does, as in the artifact.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from accelerator_sim.errors import ComponentError
from accelerator_sim.quantities import Quantity, everywhere, is_array

SOURCE = "FuseMax artifact, Accelergy at 45 nm (components/register_file_45nm.csv)"

_TABLE = Path(__file__).with_name("components") / "register_file_45nm.csv"


@dataclass(frozen=True, slots=True)
class RegisterCost:
    """What one register file costs: pJ for a value's read and write, um2."""

    read_pj: Quantity
    write_pj: Quantity
    area_um2: Quantity


def register_cost(depth: Quantity, *, name: str = "register_file") -> RegisterCost:
    """Returns the cost of a register file of ``depth`` values.

    Raises: ComponentError for a depth beyond the table.
    """
    table = _table()
    deepest = table[-1][0]
    if not everywhere(depth <= deepest) or not everywhere(depth >= 1):
        shown = f"{depth:g}" if not is_array(depth) else "a depth out of range"
        raise ComponentError(f"{name}.depth: the table holds depths of 1 to {deepest:g} values and nothing is extrapolated, "
                             f"got {shown}; use a depth in the table or give the costs in the machine file")
    if is_array(depth):
        import numpy as np
        columns = np.array(table).T
        row = np.searchsorted(columns[0], depth)
        return RegisterCost(*(column[row] for column in columns[1:]))
    return RegisterCost(*next(row[1:] for row in table if row[0] >= depth))


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[float, float, float, float], ...]:
    with _TABLE.open(newline="") as file:
        return tuple((float(r["depth"]), float(r["read_pj"]), float(r["write_pj"]), float(r["area_um2"]))
                     for r in csv.DictReader(file))
