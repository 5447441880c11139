"""Area of a machine by component: PEs with their register files, on-chip memories and networks."""

from __future__ import annotations

from accelerator_sim.machine import Machine
from accelerator_sim.quantities import Quantity

UM2_PER_MM2 = 1e6


def machine_area(machine: Machine) -> dict[str, Quantity]:
    """Returns mm2 by component and in ``total``; memories off the chip take none, nor does a network that does not say."""
    found: dict[str, Quantity] = {"total": 0.0}
    for unit in machine.units.values():
        found[unit.name] = unit.pes * unit.pe_area_um2 / UM2_PER_MM2
    for name in machine.memories:
        found[name] = machine.memory_cost(name, machine.value_bytes).area_mm2
    for network in machine.networks.values():
        found[network.name] = 0.0 if network.area_mm2 is None else network.area_mm2
    for component, value in found.items():
        if component != "total":
            found["total"] = found["total"] + value
    return found
