"""Machine definitions: the YAML files of this folder, those of other packages, and a user's own.

A definition is read with every key checked, and every number in it must be covered by an entry of ``sources`` (the
path of the number, or of something around it). Other distributions add machines through the entry-point group
``fusebench.machines``, whose entries name a module or package with YAML files beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from accelerator_sim.definition_files import definition_files, read_definition
from accelerator_sim.machine import ComputeUnit, Machine, Memory, RegisterFile
from accelerator_sim.quantities import is_number
from einsum_cascades.definitions import Fields
from einsum_cascades.errors import DefinitionError, UnknownNameError, suggest

GROUP = "fusebench.machines"

_FOLDER = Path(__file__).parent
_DIMENSIONS = ("rows", "cols", "lanes", "depth")


def machine_ids() -> tuple[str, ...]:
    """Returns the ids of all machines that are known by name."""
    return tuple(definition_files(_FOLDER, GROUP))


def machine_definition(name: str, settings: Mapping[str, float] | None = None) -> tuple[Mapping[str, Any], str]:
    """Returns a machine's definition as it stands in its file, with settings applied, and the file's name.

    Raises: UnknownNameError, DefinitionError.
    """
    raw, source = read_definition(name, _FOLDER, GROUP, "machine")
    return (_with_settings(raw, settings, source) if settings else raw), source


def load_machine(name: str, settings: Mapping[str, float] | None = None) -> Machine:
    """Returns the machine of an id or a file's path, with numbers replaced by ``settings`` (path to number).

    Raises: UnknownNameError for an unknown id, DefinitionError for a wrong key or value.
    """
    raw, source = machine_definition(name, settings)
    return read_machine(raw, source)


def read_machine(raw: Mapping[str, Any], source: str) -> Machine:
    """Returns the machine that a definition describes.

    Raises: DefinitionError for a missing, wrong or unknown key, and for a number without a source.
    """
    top = Fields(raw, source=source)
    sources = {k: str(v) for k, v in top.fields("sources", default={}).mapping.items()}
    technology = top.integer("technology_nm", least=1)
    units: dict[str, ComputeUnit] = {}
    memories: dict[str, Memory] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping) and key != "sources":
            part = top.fields(key)
            kind = part.choice("kind", ("compute", "sram", "dram"))
            if kind == "compute":
                units[key] = _unit(key, part)
            else:
                memories[key] = _memory(key, kind, part, technology)
            part.finish()
    machine = Machine(top.text("id"), top.text("title"), top.text("source"), top.number("clock_hz", above=0),
                      top.number("value_bytes", above=0), technology, MappingProxyType(units),
                      MappingProxyType(memories), MappingProxyType(sources))
    top.finish()
    if not units:
        top.fail("", "it has no compute unit", None, "add a component with 'kind: compute'")
    if not memories or machine.outermost.kind != "dram":
        top.fail("", "its outermost memory should be a dram", next(iter(memories), None),
                 "put the component with 'kind: dram' before the other memories")
    _check_sources(machine, top)
    return machine


def _unit(name: str, part: Fields) -> ComputeUnit:
    dimensions = {d: part.integer(d, least=1) for d in _DIMENSIONS if part.given(d)}
    if not dimensions:
        part.fail("", "it has no side", None, f"give at least one of {', '.join(_DIMENSIONS)}")
    cycles = _numbers(part.fields("cycles"), above=0)
    energy = _energies(part.fields("energy_pj"), cycles)
    for operator in cycles:
        if operator not in energy:
            part.fail(f"energy_pj.{operator}", "an operator with cycles needs an energy", None, "give it in pJ")
    registers = part.fields("register_file")
    given: dict[str, Any] = _given(registers, "read_pj", "write_pj", "area_um2")
    unit = ComputeUnit(name, part.text("label", default=name), MappingProxyType(dimensions), MappingProxyType(cycles),
                       MappingProxyType(energy), MappingProxyType(_numbers(part.fields("area_um2", default={}), least=0)),
                       RegisterFile(registers.number("depth", least=1), **given),
                       part.choice("drain", dimensions) if part.given("drain") else None)
    registers.finish()
    return unit


def _numbers(part: Fields, *, least: float = -math.inf, above: float = -math.inf) -> dict[str, float]:
    found = {key: part.number(key, least=least, above=above) for key in part.keys()}
    return {k: int(v) if v == int(v) else v for k, v in found.items()}


def _energies(part: Fields, cycles: Mapping[str, float]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for key in part.keys():
        value = part.mapping[key]
        if isinstance(value, Mapping):
            inner = part.fields(key)
            repeated = inner.choice("each_cycle", tuple(k for k in part.mapping if is_number(part.mapping[k])))
            inner.finish()
            if key not in cycles:
                part.fail(key, "an operator that repeats another needs cycles", dict(value), f"give cycles.{key}")
            found[key] = repeated
        else:
            found[key] = part.number(key, least=0)
    return found


def _memory(name: str, kind: str, part: Fields, technology: int) -> Memory:
    costs: dict[str, Any] = _given(part, "read_pj", "write_pj", "area_mm2")
    size = part.integer("bytes", least=1) if kind == "sram" or part.given("bytes") else None
    bandwidth = part.number("bytes_per_s", above=0) if part.given("bytes_per_s") else None
    memory = Memory(name, kind, part.integer("row_bits", least=1), size, bandwidth, **costs, technology_nm=technology)
    if kind == "dram" and (memory.read_pj is None or memory.write_pj is None):
        part.fail("read_pj", "a dram needs its energies", None, "give read_pj and write_pj of a row")
    return memory


def _given(part: Fields, *keys: str) -> dict[str, float]:
    return {key: part.number(key, least=0) for key in keys if part.given(key)}


def _check_sources(machine: Machine, top: Fields) -> None:
    known = machine.parameters()
    for path in machine.sources:
        if not any(p == path or p.startswith(path + ".") for p in known):
            raise DefinitionError(f"the machine has no such number, got {path!r}; {suggest(path, known)}",
                                  source=top.source, path="sources")
    for path in known:
        if source_of(machine, path) is None:
            raise DefinitionError(f"it has no source, got none for {path!r}; add '{path}: ...' there",
                                  source=top.source, path="sources")


def source_of(machine: Machine, path: str) -> str | None:
    """Returns where a number is from: the entry of the longest path around it."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        found = machine.sources.get(".".join(parts[:length]))
        if found is not None:
            return found
    return None


def _with_settings(raw: Mapping[str, Any], settings: Mapping[str, float], source: str) -> Mapping[str, Any]:
    changed: dict[str, Any] = _copied(raw)
    plain = read_machine(raw, source)
    # An energy that repeats another operator's can be set to a number of its own too.
    known = (*plain.parameters(), *(f"{u.name}.energy_pj.{o}" for u in plain.units.values() for o in u.cycles))
    for path, value in settings.items():
        if path not in known:
            raise UnknownNameError("parameter", path, known, place=f"--set: machine {plain.id!r}")
        node = changed
        *around, last = path.split(".")
        for segment in around:
            node = node[segment]
        node[last] = value
    return changed


def _copied(node: Any) -> Any:
    return {k: _copied(v) for k, v in node.items()} if isinstance(node, Mapping) else node
