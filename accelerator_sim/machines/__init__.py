"""Machine definitions: the YAML files of this folder, those of other packages, and a user's own.

A definition is read with every key checked, and every number in it must have a source, or be ``estimated`` with the rule
and a band (accelerator_sim.numbers). A definition that ``inherits`` another writes only what differs, with sources of its
own; ``null`` takes a key of the other away. Other distributions add machines through the entry-point group
``fusebench.machines``, whose entries name a module or package with YAML files beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from accelerator_sim.costs import ENDS, arithmetic_area, arithmetic_energy, circuit_of
from accelerator_sim.definition_files import SUFFIXES, definition_files, read_definition
from accelerator_sim.machine import ComputeUnit, Machine, Memory, RegisterFile
from accelerator_sim.network_definitions import ENERGIES, read_networks
from accelerator_sim.numbers import Numbers, Provenance, number_at, paths_of, read_numbers, replaced
from accelerator_sim.quantities import is_number
from accelerator_sim.sram import BAND_FACTOR
from einsum_cascades.definitions import Fields
from einsum_cascades.errors import DefinitionError, UnknownNameError, suggest

GROUP = "fusebench.machines"

_FOLDER = Path(__file__).parent
_DIMENSIONS = ("rows", "cols", "lanes", "depth")
LIMITS = {"warp_size": 1, "threads_per_block": 1, "blocks_per_sm": 1, "warps_per_sm": 1, "registers_per_thread": 1,
           "registers_per_sm": 1, "registers_granule": 1, "warps_granule": 1, "shared_bytes_per_block": 1,
           "shared_bytes_per_sm": 1, "shared_bytes_reserved": 0, "shared_bytes_granule": 1, "tensor_memory_columns": 0}
"""What a kernel may use at most, in CUDA's words, with the least that each can be; autotune.limits says what they mean."""

_COSTS = frozenset(("energy_pj", "read_pj", "write_pj", "area_um2", "area_mm2", *ENERGIES))


def machine_ids() -> tuple[str, ...]:
    """Returns the ids of all machines that are known by name."""
    return tuple(definition_files(_FOLDER, GROUP))


def machine_definition(name: str, settings: Mapping[str, float] | None = None) -> tuple[Mapping[str, Any], str]:
    """Returns a machine's whole definition, with what it inherits and with settings applied, and the file's name.

    Raises: UnknownNameError, DefinitionError.
    """
    raw, source = read_definition(name, _FOLDER, GROUP, "machine")
    if not settings and "inherits" not in raw:
        return raw, source
    numbers = _with_settings(_inherited(raw, source), settings or {}, source)
    known = {path: numbers.of(path) for path in paths_of(numbers.tree)}
    return {**numbers.tree, "sources": {path: found.to_dict() for path, found in known.items() if found is not None}}, source


def load_machine(name: str, settings: Mapping[str, float] | None = None, costs: str = "nominal") -> Machine:
    """Returns the machine of an id or a file's path, with numbers replaced by ``settings`` (path to number).

    ``costs`` is the end of each energy's and area's band that is taken: ``nominal``, ``low`` or ``high``; what a setting
    gives stays as it is.

    Raises: UnknownNameError for an unknown id or end, DefinitionError for a wrong key or value.
    """
    if costs not in ENDS:
        raise UnknownNameError("end of the costs' bands", costs, ENDS)
    raw, source = read_definition(name, _FOLDER, GROUP, "machine")
    return _machine(_with_settings(_inherited(raw, source), settings or {}, source), source, costs)


def read_machine(raw: Mapping[str, Any], source: str, costs: str = "nominal") -> Machine:
    """Returns the machine that a definition describes.

    Raises: DefinitionError for a missing, wrong or unknown key, and for a number without a source.
    """
    return _machine(_inherited(raw, source), source, costs)


def source_of(machine: Machine, path: str) -> str | None:
    """Returns where a number is from, or the rule that estimates it."""
    found = machine.provenance.get(path)
    return found.text if found is not None else None


# --- inheritance and settings ---


def _inherited(raw: Mapping[str, Any], source: str, below: tuple[str, ...] = ()) -> Numbers:
    """The numbers of a definition and of what it inherits, each with its own source."""
    numbers = read_numbers(raw, source)
    if "inherits" not in raw:
        return numbers
    parent = Fields(raw, source=source).text("inherits")
    if parent in below:
        raise DefinitionError(f"it inherits itself, got {' from '.join((*below, parent))}; break the circle", source=source,
                              path="inherits")
    beside = Path(source).parent / parent
    where = str(beside) if Path(parent).suffix.lower() in SUFFIXES and beside.exists() else parent
    base = _inherited(*read_definition(where, _FOLDER, GROUP, "machine"), (*below, parent))
    tree = _merged(base.tree, {key: value for key, value in numbers.tree.items() if key != "inherits"})
    tree["derived_from"] = str(base.tree.get("id", parent))
    own: dict[str, Provenance] = {}
    for path in paths_of(tree):
        # What a definition writes itself needs a source of its own: the other's would speak of another number.
        found = numbers.of(path) if number_at(numbers.tree, path) is not None else numbers.covering.get(path)
        if found is None and number_at(numbers.tree, path) is None:
            theirs = base.of(path)
            found = theirs and replace(theirs, text=f"{base.tree.get('id', parent)}: {theirs.text}")
        if found is not None:
            own[path] = found
    return Numbers(tree, own, {path: entry for path, entry in numbers.covering.items() if path not in own})


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in over.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _merged(found[key], value)
        else:
            found[key] = value
    return found


def _with_settings(numbers: Numbers, settings: Mapping[str, float], source: str) -> Numbers:
    if not settings:
        return numbers
    plain = _machine(numbers, source, "nominal")
    # An energy that repeats another operator's can be set to a number of its own too, and so can what follows from a rule.
    known = (*plain.parameters(), *(f"{u.name}.energy_pj.{o}" for u in plain.units.values() for o in u.cycles),
             *(f"{u.name}.latency.{o}" for u in plain.units.values() for o in u.cycles), *(f"{n}.hops" for n in plain.networks))
    tree = dict(numbers.tree)
    for path, value in settings.items():
        if path not in known:
            raise UnknownNameError("parameter", path, known, place=f"--set: machine {plain.id!r}")
        tree = replaced(tree, path, value)
    return Numbers(tree, {**numbers.own, **dict.fromkeys(settings, Provenance("--set"))}, numbers.covering)


# --- reading ---


def _machine(numbers: Numbers, source: str, costs: str) -> Machine:
    top = Fields(_at_end(numbers, costs), source=source)
    technology = top.integer("technology_nm", least=1)
    units: dict[str, ComputeUnit] = {}
    memories: dict[str, Memory] = {}
    networks: dict[str, Fields] = {}
    found: dict[str, Provenance] = {}
    goal, limits = _limits(top.fields("limits")) if top.given("limits") else ("", {})
    for key, value in numbers.tree.items():
        if isinstance(value, Mapping) and key != "limits":
            part = top.fields(key)
            kind = part.choice("kind", ("compute", "sram", "dram", "network"))
            if kind == "network":
                networks[key] = part
                continue
            if kind == "compute":
                units[key] = _unit(key, part, technology, costs, found)
            else:
                memories[key] = _memory(key, kind, part, technology, costs)
            part.finish()
    top.text("derived_from", default="-")
    machine = Machine(top.text("id"), top.text("title"), top.text("source"), top.number("clock_hz", above=0),
                      top.number("value_bytes", above=0), technology, MappingProxyType(units),
                      MappingProxyType(memories), MappingProxyType(found), goal, MappingProxyType(limits),
                      MappingProxyType(read_networks(networks, units, memories)))
    top.finish()
    if not units:
        top.fail("", "it has no compute unit", None, "add a component with 'kind: compute'")
    if not memories or machine.outermost.kind != "dram":
        top.fail("", "its outermost memory should be a dram", next(iter(memories), None),
                 "put the component with 'kind: dram' before the other memories")
    _add_provenance(machine, numbers, found, source)
    return machine


def _limits(part: Fields) -> tuple[str, dict[str, int]]:
    goal = part.text("target")
    found = {key: part.integer(key, least=least) for key, least in LIMITS.items()}
    part.finish()
    return goal, found


def _at_end(numbers: Numbers, costs: str) -> Mapping[str, Any]:
    """The definition with every energy and area at an end of its band."""
    tree = dict(numbers.tree)
    for path in paths_of(numbers.tree) if costs != "nominal" else ():
        known = numbers.of(path)
        if known is not None and known.band is not None and _COSTS & set(path.split(".")):
            tree = replaced(tree, path, known.band[costs == "high"])
    return tree


def _unit(name: str, part: Fields, technology: int, costs: str, found: dict[str, Provenance]) -> ComputeUnit:
    named = part.texts("sides", default=_DIMENSIONS)
    dimensions = {d: part.integer(d, least=1) for d in named if part.given(d) or part.given("sides")}
    if not dimensions:
        part.fail("", "it has no side", None, f"give at least one of {', '.join(_DIMENSIONS)}, or name its sides in 'sides'")
    cycles = _numbers(part.fields("cycles"), above=0)
    latency = _latency(part, cycles)
    energy = _energies(part.fields("energy_pj", default={}), cycles)
    area = _numbers(part.fields("area_um2", default={}), least=0)
    if part.given("format"):
        _from_format(name, part, technology, costs, (cycles, energy, area), found)
    for operator in cycles:
        if operator not in energy:
            part.fail(f"energy_pj.{operator}", "an operator with cycles needs an energy", None,
                      "give it in pJ, or the unit's number 'format' from which it follows")
    registers = part.fields("register_file")
    given: dict[str, Any] = _given(registers, "read_pj", "write_pj", "area_um2")
    unit = ComputeUnit(name, part.text("label", default=name), MappingProxyType(dimensions), MappingProxyType(cycles),
                       MappingProxyType(energy), MappingProxyType(area),
                       RegisterFile(registers.number("depth", least=1), **given),
                       _side_or_cycles(part, "drain", dimensions), _side_or_cycles(part, "fill", dimensions),
                       MappingProxyType(latency))
    registers.finish()
    return unit


def _latency(part: Fields, cycles: Mapping[str, float]) -> dict[str, float]:
    """The latencies that are given; an operator's is at least its interval."""
    own = part.fields("latency", default={})
    found = _numbers(own, above=0)
    for operator, value in found.items():
        if operator not in cycles:
            own.fail(operator, "the unit has no such operator", value, suggest(operator, cycles))
        if value < cycles[operator]:
            own.fail(operator, f"a latency is at least the interval, which is {cycles[operator]:g} cycles", value, "correct one of them")
    return found


def _from_format(name: str, part: Fields, technology: int, costs: str,
                 parts: tuple[dict[str, float], dict[str, float | str], dict[str, float]], found: dict[str, Provenance]) -> None:
    """Adds the energies that are not given, and the areas where none is, from the figures of the unit's number format."""
    cycles, energy, area = parts
    formats = part.text("format"), part.text("accumulate") if part.given("accumulate") else None
    for operator in cycles:
        if operator not in energy:
            cost = arithmetic_energy(operator, formats[0], technology, formats[1])
            energy[operator] = cost.at(costs)
            found[f"{name}.energy_pj.{operator}"] = cost.provenance(costs)
    if area or part.given("area_um2"):
        return
    fused = "mac" in cycles
    circuits = {circuit_of(operator): operator for operator in cycles if not (fused and operator in ("mul", "add", "sub"))}
    for circuit, operator in circuits.items():
        size = arithmetic_area(operator, formats[0], technology, formats[1])
        area[circuit] = size.at(costs)
        found[f"{name}.area_um2.{circuit}"] = size.provenance(costs)


def _side_or_cycles(part: Fields, key: str, dimensions: Mapping[str, int]) -> float | str | None:
    if not part.given(key):
        return None
    return part.number(key, least=0) if is_number(part.mapping[key]) else part.choice(key, dimensions)


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


def _memory(name: str, kind: str, part: Fields, technology: int, costs: str) -> Memory:
    given: dict[str, Any] = _given(part, "read_pj", "write_pj", "area_mm2")
    size = part.integer("bytes", least=1) if kind == "sram" or part.given("bytes") else None
    bandwidth = part.number("bytes_per_s", above=0) if part.given("bytes_per_s") else None
    factor = {"nominal": 1.0, "low": BAND_FACTOR[0], "high": BAND_FACTOR[1]}[costs]
    memory = Memory(name, kind, part.integer("row_bits", least=1), size, bandwidth, **given, technology_nm=technology,
                    **{key: part.integer(key, least=1) for key in ("banks", "ports", "instances") if part.given(key)},
                    table_factor=factor)
    if kind == "dram" and (memory.read_pj is None or memory.write_pj is None):
        part.fail("read_pj", "a dram needs its energies", None, "give read_pj and write_pj of a row")
    return memory


def _given(part: Fields, *keys: str) -> dict[str, float]:
    return {key: part.number(key, least=0) for key in keys if part.given(key)}


def _add_provenance(machine: Machine, numbers: Numbers, found: dict[str, Provenance], source: str) -> None:
    known = machine.parameters()
    valid = (*known, *machine.units, *machine.memories, *machine.networks)
    for path in numbers.covering:
        if not any(p == path or p.startswith(path + ".") for p in known):
            raise DefinitionError(f"the machine has no such number, got {path!r}; {suggest(path, valid)}",
                                  source=source, path="sources")
    for path in known:
        if path in found:
            continue
        if _is_default(numbers.tree, path):
            found[path] = Provenance("as where none is named: one")
            continue
        entry = numbers.of(path)
        if entry is None or not entry.text:
            raise DefinitionError(f"it has no source, got none for {path!r}; add '{path}: ...' there",
                                  source=source, path="sources")
        found[path] = entry


def _is_default(tree: Mapping[str, Any], path: str) -> bool:
    """Whether a number is one that a memory has without saying so."""
    return path.rsplit(".", 1)[-1] in ("banks", "ports", "instances") and number_at(tree, path) is None
