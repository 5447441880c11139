"""Costs of SRAM: energy of a row's read and write, and area, interpolated in a table of CACTI 7 results.

Source: components/sram_cacti.csv (CACTI 7 through hwcomponents-cacti 1.0.40: one bank, one read-write port). Between
the table's sizes and row widths the costs are interpolated in log space; outside of them nothing is extrapolated,
except that rows wider than the widest of the table are banks of that width side by side.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from accelerator_sim.errors import ComponentError
from accelerator_sim.quantities import Quantity, everywhere, is_array

SOURCE = "CACTI 7 through hwcomponents-cacti 1.0.40, one bank, one read-write port (components/sram_cacti.csv)"

BAND_FACTOR = (1 / 4.8, 1.63)
"""How far other sources are from the table. Two peers differ by 4.8 for one buffer of 16 MiB, and Stream's figure for it (1 pJ
a bit) is below the table's; Horowitz (ISSCC 2014) has 10 pJ for 64 bits of 8 KiB at 45 nm where the table has 6.1."""

_TABLE = Path(__file__).with_name("components") / "sram_cacti.csv"


@dataclass(frozen=True, slots=True)
class SramCost:
    """What one SRAM costs: pJ for a row's read and write, mm2, and leakage in mW."""

    read_pj: Quantity
    write_pj: Quantity
    area_mm2: Quantity
    leakage_mw: Quantity


def sram_cost(size_bytes: Quantity, row_bits: Quantity, technology_nm: int, *, name: str = "sram") -> SramCost:
    """Returns the cost of an SRAM of a size and row width at a technology node.

    Raises: ComponentError for a node, a width or a size that the table does not cover.
    """
    nodes = _table()
    if technology_nm not in nodes:
        raise ComponentError(f"{name}: the SRAM table has no such technology node, got {technology_nm} nm; use one of "
                             f"{', '.join(str(n) for n in sorted(nodes))} nm")
    widths = nodes[technology_nm]
    widest, narrowest = max(widths), min(widths)
    if is_array(row_bits):
        raise ComponentError(f"{name}.row_bits: it must be one number for all design points, got an array; evaluate "
                             f"each width by itself")
    if row_bits < narrowest:
        raise ComponentError(f"{name}.row_bits: the SRAM table begins at {narrowest} bits, got {row_bits}; use wider rows")
    banks = 1 if row_bits <= widest else -(-row_bits // widest)
    bits = row_bits / banks
    lower = max(w for w in widths if w <= bits)
    upper = min(w for w in widths if w >= bits)
    low = widths[lower].at(size_bytes / banks, name, lower)
    if lower == upper:
        found = low
    else:
        import math
        share = math.log(bits / lower) / math.log(upper / lower)
        high = widths[upper].at(size_bytes / banks, name, upper)
        found = [a ** (1 - share) * b ** share for a, b in zip(low, high, strict=True)]
    return SramCost(*(value * banks for value in found))


def nodes_of_the_table() -> tuple[int, ...]:
    """Returns the technology nodes, in nm, that the table has."""
    return tuple(sorted(_table()))


@dataclass(frozen=True)
class _Curve:
    """Costs over sizes for one node and row width; logarithms of bytes and of each cost."""

    log_bytes: Any
    log_costs: tuple[Any, ...]

    def at(self, size_bytes: Quantity, name: str, width: int) -> list[Quantity]:
        import numpy as np
        log = np.log(size_bytes)
        margin = 1e-9
        if not everywhere((log >= self.log_bytes[0] - margin) & (log <= self.log_bytes[-1] + margin)):
            least, most = (round(float(np.exp(v))) for v in (self.log_bytes[0], self.log_bytes[-1]))
            bad = np.asarray(size_bytes)
            bad = bad[(bad < least) | (bad > most)].flat[0] if bad.ndim else bad
            raise ComponentError(f"{name}.bytes: the SRAM table holds {least} to {most} bytes a bank for rows of {width} bits "
                                 f"and nothing is extrapolated, got {bad:g}; use a size in the table or give the costs "
                                 f"in the machine file")
        found = [np.exp(np.interp(log, self.log_bytes, costs)) for costs in self.log_costs]
        return found if is_array(size_bytes) else [float(v) for v in found]


@lru_cache(maxsize=1)
def _table() -> dict[int, dict[int, _Curve]]:
    import numpy as np
    rows: dict[int, dict[int, list[tuple[float, ...]]]] = {}
    with _TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["read_pj"].replace(".", "", 1).replace("e-", "", 1).isdigit():
                values = tuple(float(row[key]) for key in ("size_kib", "read_pj", "write_pj", "area_mm2", "leak_mw"))
                rows.setdefault(int(row["tech_nm"]), {}).setdefault(int(row["width_bits"]), []).append(values)
    table: dict[int, dict[int, _Curve]] = {}
    for node, widths in rows.items():
        for width, found in widths.items():
            columns = np.log(np.array(sorted(found)).T)
            table.setdefault(node, {})[width] = _Curve(columns[0] + np.log(1024.0), tuple(columns[1:]))
    return table
