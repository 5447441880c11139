"""Every number of a machine with its unit, band and source, and the costs that follow from tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accelerator_sim.costs import SCALING, SMALLEST_NM
from accelerator_sim.errors import ComponentError
from accelerator_sim.machine import Machine
from accelerator_sim.networks import unicast_hops
from accelerator_sim.quantities import Quantity
from accelerator_sim.registers import SOURCE as REGISTERS
from accelerator_sim.sram import BAND_FACTOR, nodes_of_the_table
from accelerator_sim.sram import SOURCE as SRAM

_UNITS = {"clock_hz": "Hz", "bytes": "B", "value_bytes": "B", "bytes_per_s": "B/s", "row_bits": "bit", "read_pj": "pJ",
          "write_pj": "pJ", "area_mm2": "mm2", "area_um2": "um2", "energy_pj": "pJ", "cycles": "cycles", "depth": "values",
          "fill": "cycles", "drain": "cycles", "latency": "cycles", "bits_per_cycle": "bit/cycle", "values_per_cycle": "values/cycle",
          "pj_per_bit": "pJ/bit", "pj_per_value": "pJ/value", "pj_per_bit_hop": "pJ/bit/hop", "pj_per_value_hop": "pJ/value/hop",
          "hops": "hops"}


@dataclass(frozen=True, slots=True)
class MachineNumber:
    """A number by its path; ``follows`` says that a table gives it, and that it can be replaced but stands in no file."""

    path: str
    value: Quantity
    unit: str
    low: float | None
    high: float | None
    estimated: bool
    source: str
    follows: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {"path": self.path, "value": self.value, "unit": self.unit, "low": self.low, "high": self.high,
                "estimated": self.estimated, "follows": self.follows, "source": self.source}


def machine_numbers(machine: Machine) -> tuple[MachineNumber, ...]:
    """Returns every number of a machine, in the order of its definition, each component's costs by table after it."""
    found = []
    for path, value in machine.parameters().items():
        known = machine.provenance[path]
        low, high = known.band or (None, None)
        found.append(MachineNumber(path, value, _unit(path), low, high, known.estimated, known.text))
    return (*found, *_from_tables(machine))


def _unit(path: str) -> str:
    return next((_UNITS[part] for part in reversed(path.split(".")) if part in _UNITS), "")


def _from_tables(machine: Machine) -> Iterator[MachineNumber]:
    for memory in machine.memories.values():
        if not memory.tabulated:
            continue
        try:
            cost = memory.cost(memory.row_bits / 8)
        except ComponentError as reason:
            yield MachineNumber(f"{memory.name}.read_pj", None, "pJ", None, None, False, f"none: {reason}", True)
            continue
        scaled = memory.technology_nm not in nodes_of_the_table()
        source = f"{SRAM}, scaled to {max(memory.technology_nm, SMALLEST_NM)} nm by {SCALING}" if scaled else SRAM
        for key in ("read_pj", "write_pj", "area_mm2"):
            if getattr(memory, key) is None:
                value = getattr(cost, key)
                # The band is about the table's own figure, of which an end may have been taken already.
                low, high = (value / memory.table_factor * f for f in BAND_FACTOR) if key != "area_mm2" else (None, None)
                yield MachineNumber(f"{memory.name}.{key}", value, _UNITS[key], low, high, scaled, source, True)
    for unit in machine.units.values():
        registers = unit.register_file
        if registers.tabulated:
            cost_of_a_value = registers.cost(f"{unit.name}.register_file")
            for key in ("read_pj", "write_pj", "area_um2"):
                if getattr(registers, key) is None:
                    yield MachineNumber(f"{unit.name}.register_file.{key}", getattr(cost_of_a_value, key), _UNITS[key], None, None,
                                        False, REGISTERS, True)
    for network in machine.networks.values():
        if network.hops is None:
            yield MachineNumber(f"{network.name}.hops", unicast_hops(machine, network), _UNITS["hops"], None, None, False,
                                f"mean way to one place of a {network.topology}, by the sides of what it leads to (A31)", True)
