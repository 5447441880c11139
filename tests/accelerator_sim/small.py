"""Small machines with given costs, and sizes of parts as a design asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerator_sim.design import Design
from accelerator_sim.machine import Machine
from accelerator_sim.machines import read_machine

OPERATORS = ("mac", "mul", "add", "sub", "max", "div", "exp")


def definition(rows: int = 2, cols: int = 3, lanes: int = 4, buffer_bytes: int = 1 << 20, **memories: Mapping[str, Any]
               ) -> dict[str, Any]:
    """Returns the definition of a machine with a 2D array, a 1D array and a buffer; ``memories`` stand inside of it."""
    memory = {"row_bits": 64, "read_pj": 8, "write_pj": 16}
    return {
        "id": "small", "title": "A small machine", "source": "these tests", "technology_nm": 45, "clock_hz": 1e9, "value_bytes": 2,
        "dram": {"kind": "dram", **memory, "bytes_per_s": 1e9},
        "global_buffer": {"kind": "sram", **memory, "bytes": buffer_bytes, "area_mm2": 1},
        **{name: {"kind": "sram", **memory, "bytes": 1 << 20, "area_mm2": 1, **given} for name, given in memories.items()},
        "array_2d": {**_unit(), "label": "2d", "rows": rows, "cols": cols, "drain": "rows"},
        "array_1d": {**_unit(), "label": "1d", "lanes": lanes},
        "sources": dict.fromkeys(("clock_hz", "value_bytes", "dram", "global_buffer", *memories, "array_2d", "array_1d"), "these tests"),
    }


def _unit() -> dict[str, Any]:
    return {"kind": "compute", "cycles": {name: 1 + i % 3 for i, name in enumerate(OPERATORS)},
            "energy_pj": {name: 1.5 + i for i, name in enumerate(OPERATORS)}, "area_um2": {"mac": 100},
            "register_file": {"depth": 4, "read_pj": 0.25, "write_pj": 0.5, "area_um2": 10}}


def small_machine(rows: int = 2, cols: int = 3, lanes: int = 4, buffer_bytes: int = 1 << 20,
                  **memories: Mapping[str, Any]) -> Machine:
    """Returns such a machine."""
    return read_machine(definition(rows, cols, lanes, buffer_bytes, **memories), "small")


def given_sizes(design: Design, machine: Machine, extents: Mapping[str, int]) -> dict[str, int]:
    """Returns the sizes that a design gives as a number, a path of the machine or a rank."""
    found: dict[str, int] = {}
    for part, size in design.sizes.items():
        if isinstance(size.value, str):
            found[part] = extents[size.value] if size.value in extents else machine.parameter(size.value)
        elif size.value is not None:
            found[part] = size.value
    return found
