"""A machine: compute units, memories, networks and a clock, as typed values read from a definition.

Numbers may be arrays (one element for each design point): :func:`with_parameters` replaces them by path after a
definition has been read and checked, so that a batch of machines is one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from accelerator_sim.costs import sram_cost_at
from accelerator_sim.errors import ComponentError
from accelerator_sim.numbers import Provenance
from accelerator_sim.quantities import Quantity, everywhere, is_array, larger
from accelerator_sim.registers import RegisterCost, register_cost
from einsum_cascades.errors import UnknownNameError

BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class RegisterFile:
    """The registers of one PE. Costs that are not given follow from ``depth`` (in values) by the table."""

    depth: Quantity
    read_pj: Quantity | None = None
    write_pj: Quantity | None = None
    area_um2: Quantity | None = None

    @property
    def tabulated(self) -> bool:
        """Whether a cost of it follows from the table."""
        return self.read_pj is None or self.write_pj is None or self.area_um2 is None

    def cost(self, name: str) -> RegisterCost:
        """Returns pJ a value for reads and writes, and um2."""
        given = (self.read_pj, self.write_pj, self.area_um2)
        if all(value is not None for value in given):
            return RegisterCost(*given)
        known = register_cost(self.depth, name=name)
        return RegisterCost(*(g if g is not None else k for g, k in
                              zip(given, (known.read_pj, known.write_pj, known.area_um2), strict=True)))


@dataclass(frozen=True)
class ComputeUnit:
    """An array of equal PEs.

    ``dimensions`` are its sides (``rows``, ``cols``; ``lanes``; any others). ``cycles`` of each operator that a PE has: the
    interval at which it starts one, so that 0.5 is two in a cycle, and ``latency`` until the result is there, where that is
    longer (a pipelined unit). ``energy_pj`` of one operation; an operator that
    repeats another (an exp of n multiply-adds) has the name of that one in place of a number and costs its energy in
    each cycle. ``area_um2`` of the parts of a PE. ``fill`` and ``drain`` are the cycles that operands take to reach the
    array's last PE and results to leave it, or name the dimension whose length that is.
    """

    name: str
    label: str
    dimensions: Mapping[str, Quantity]
    cycles: Mapping[str, Quantity]
    energy_pj: Mapping[str, Quantity | str]
    area_um2: Mapping[str, Quantity]
    register_file: RegisterFile
    drain: Quantity | str | None = None
    fill: Quantity | str | None = None
    latency: Mapping[str, Quantity] = field(default_factory=dict)

    @property
    def pes(self) -> Quantity:
        """The number of PEs."""
        total: Quantity = 1
        for size in self.dimensions.values():
            total = total * size
        return total

    def energy_of(self, operator: str) -> Quantity:
        """Returns pJ of one operation."""
        value = self.energy_pj[operator]
        return self.cycles[operator] * self.energy_pj[value] if isinstance(value, str) else value

    def latency_of(self, operator: str) -> Quantity:
        """Returns the cycles from the start of an operation to its result: its interval where nothing else is given."""
        interval = self.cycles[operator]
        return larger(self.latency[operator], interval) if operator in self.latency else interval

    @property
    def drain_cycles(self) -> Quantity:
        """Cycles in which results leave the array; 0 where it does not say."""
        return self._cycles(self.drain)

    @property
    def fill_cycles(self) -> Quantity:
        """Cycles until operands have reached the last PE; 0 where it does not say."""
        return self._cycles(self.fill)

    def rate(self, operator: str) -> Quantity:
        """Returns how many operations of a kind all PEs together start in a cycle."""
        return self.pes / self.cycles[operator]

    @property
    def pe_area_um2(self) -> Quantity:
        """The area of one PE with its register file."""
        total = self.register_file.cost(f"{self.name}.register_file").area_um2
        for part in self.area_um2.values():
            total = total + part
        return total

    def _cycles(self, given: Quantity | str | None) -> Quantity:
        return 0 if given is None else self.dimensions[given] if isinstance(given, str) else given


@dataclass(frozen=True, slots=True)
class MemoryCost:
    """pJ for one value read and written, and area in mm2."""

    read_pj: Quantity
    write_pj: Quantity
    area_mm2: Quantity


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory that several units share.

    ``kind`` is ``dram`` or ``sram``; ``bytes`` None is as large as needed, ``bytes_per_s`` None as fast. ``bytes`` is all
    of it: ``instances`` equal parts (one to a core), each of ``banks`` banks with ``ports`` read-write ports. An access
    moves ``row_bits`` of one bank at ``read_pj`` and ``write_pj``; a SRAM without these has them, and its area, from the
    SRAM table at ``technology_nm``, times ``table_factor`` (the end of the table's band that is asked for).
    """

    name: str
    kind: str
    row_bits: Quantity
    bytes: Quantity | None = None
    bytes_per_s: Quantity | None = None
    read_pj: Quantity | None = None
    write_pj: Quantity | None = None
    area_mm2: Quantity | None = None
    technology_nm: int = 45
    banks: Quantity = 1
    ports: Quantity = 1
    instances: Quantity = 1
    table_factor: float = 1.0

    @property
    def tabulated(self) -> bool:
        """Whether a cost of it follows from the table."""
        return self.kind == "sram" and (self.read_pj is None or self.write_pj is None or self.area_mm2 is None)

    def cost(self, value_bytes: Quantity) -> MemoryCost:
        """Returns the cost of a value of so many bytes: its share of a row.

        Raises: ComponentError for a SRAM that the table does not cover.
        """
        read, write, area = self.read_pj, self.write_pj, self.area_mm2
        if self.tabulated:
            if not everywhere(self.ports == 1):
                raise ComponentError(f"{self.name}.ports: the SRAM table has one read-write port, got {self.ports}; give "
                                     f"read_pj, write_pj and area_mm2 in the machine file")
            parts = self.banks * self.instances
            found = sram_cost_at(self.bytes / parts, self.row_bits, self.technology_nm, name=self.name)
            read = found.read_pj * self.table_factor if read is None else read
            write = found.write_pj * self.table_factor if write is None else write
            area = found.area_mm2 * parts if area is None else area
        share = value_bytes * BITS_PER_BYTE / self.row_bits
        return MemoryCost(read * share, write * share, 0.0 if area is None else area)


@dataclass(frozen=True, slots=True)
class Network:
    """Wires between two ends, each a memory or a compute unit.

    ``topology`` says which links a value crosses on its way and how copies of it branch off (see networks.py), ``hops``
    replaces the links of one copy. ``direction`` is what it carries: ``forward`` from the first end to the second, ``backward``,
    or ``both``. With ``multicast`` a value is sent once for all that receive it, with ``reduction`` partial results are added
    on the way. The rate is that at which values are sent, in one of three units (None in all: as fast as needed). One of
    the energies is given: of a bit or a value, and of each link (``_hop``) or of the whole way.
    """

    name: str
    ends: tuple[str, str]
    topology: str
    direction: str = "both"
    multicast: bool = True
    reduction: bool = True
    bytes_per_s: Quantity | None = None
    bits_per_cycle: Quantity | None = None
    values_per_cycle: Quantity | None = None
    pj_per_bit: Quantity | None = None
    pj_per_value: Quantity | None = None
    pj_per_bit_hop: Quantity | None = None
    pj_per_value_hop: Quantity | None = None
    hops: Quantity | None = None
    area_mm2: Quantity | None = None

    def seconds(self, values: Quantity, value_bytes: Quantity, clock_hz: Quantity) -> Quantity | None:
        """Returns the time to send so many values of so many bytes; None where it is as fast as needed."""
        if self.bytes_per_s is not None:
            return values * value_bytes / self.bytes_per_s
        if self.bits_per_cycle is not None:
            return values * value_bytes * BITS_PER_BYTE / self.bits_per_cycle / clock_hz
        if self.values_per_cycle is not None:
            return values / self.values_per_cycle / clock_hz
        return None


@dataclass(frozen=True)
class Machine:
    """A machine. ``memories`` are in order from the outermost; ``provenance`` says where each number is from, by path.

    ``target`` and ``limits`` are of machines that run kernels: what a kernel may use at most. They are carried for those who
    compile, and no estimate depends on them.
    """

    id: str
    title: str
    source: str
    clock_hz: Quantity
    value_bytes: Quantity
    technology_nm: int
    units: Mapping[str, ComputeUnit]
    memories: Mapping[str, Memory]
    provenance: Mapping[str, Provenance]
    target: str = ""
    limits: Mapping[str, Quantity] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)

    @property
    def outermost(self) -> Memory:
        """The memory that holds inputs and outputs."""
        return next(iter(self.memories.values()))

    @cached_property
    def _memory_costs(self) -> dict[tuple[str, float | int], MemoryCost]:
        return {}

    def memory_cost(self, name: str, value_bytes: Quantity) -> MemoryCost:
        """Returns the cost of a value of so many bytes in a memory; it is computed once for each width.

        Raises: ComponentError for a SRAM that the table does not cover.
        """
        key = name, id(value_bytes) if is_array(value_bytes) else value_bytes
        if key not in self._memory_costs:
            self._memory_costs[key] = self.memories[name].cost(value_bytes)
        return self._memory_costs[key]

    def unit(self, name: str, place: str) -> ComputeUnit:
        """Returns a compute unit by name.

        Raises: UnknownNameError where there is none.
        """
        if name not in self.units:
            raise UnknownNameError("compute unit", name, self.units, place=f"{place}: machine {self.id!r}")
        return self.units[name]

    def parameter(self, path: str) -> Quantity:
        """Returns the number at a path of the definition such as ``array_2d.rows``.

        Raises: UnknownNameError where there is none.
        """
        node: Any = self
        for segment in path.split("."):
            node = _children(node).get(segment)
        if node is None or isinstance(node, str) or is_dataclass(node) or isinstance(node, Mapping):
            raise UnknownNameError("parameter", path, self.parameters(), place=f"machine {self.id!r}")
        return node

    def parameters(self) -> dict[str, Quantity]:
        """Returns every number that can be set, by path."""
        found: dict[str, Quantity] = {}

        def visit(node: Any, path: str) -> None:
            for key, child in _children(node).items():
                inner = f"{path}.{key}" if path else key
                if is_dataclass(child) or isinstance(child, Mapping):
                    visit(child, inner)
                elif child is not None and not isinstance(child, str):
                    found[inner] = child
        visit(self, "")
        return found


_HIDDEN = frozenset(("id", "title", "source", "provenance", "target", "name", "label", "kind", "technology_nm",
                     "table_factor", "ends", "topology", "direction", "multicast", "reduction"))
_INLINE = frozenset(("dimensions", "units", "memories", "networks"))
"""Mappings whose entries stand one level up in the definition: ``array_2d.rows``, ``array_2d`` itself."""


def _children(node: Any) -> dict[str, Any]:
    if isinstance(node, Mapping):
        return dict(node)
    if not is_dataclass(node):
        return {}
    found: dict[str, Any] = {}
    for own in fields(node):
        if own.name in _INLINE:
            found.update(getattr(node, own.name))
        elif own.name not in _HIDDEN:
            found[own.name] = getattr(node, own.name)
    return found


def with_parameters(machine: Machine, values: Mapping[str, Quantity]) -> Machine:
    """Returns the machine with numbers replaced by path; values may be arrays, one element for each design point.

    Raises: UnknownNameError for a path that the machine has not.
    """
    for path, value in values.items():
        machine.parameter(path)
        if is_array(value):
            # Floats hold whole numbers exactly up to 2**53, and divide several times faster than integers.
            value = value.astype(float)
        machine = _replaced(machine, path.split("."), value)
    return machine


def _replaced(node: Any, segments: list[str], value: Quantity) -> Any:
    key, *rest = segments
    if isinstance(node, Mapping):
        return MappingProxyType({**node, key: _replaced(node[key], rest, value) if rest else value})
    for own in fields(node):
        if own.name in _INLINE and key in getattr(node, own.name):
            return replace(node, **{own.name: _replaced(getattr(node, own.name), segments, value)})
    return replace(node, **{key: _replaced(getattr(node, key), rest, value) if rest else value})
