"""Design definitions: the YAML files of this folder, those of other packages, and a user's own.

A design may come with a table (CSV) of mappings that another search chose, keyed by workload and sequence length.
``{column: NAME}`` in the definition stands for a value of the row, ``{choose: NAME, value: ..., value: ...}`` for
what belongs to it; where the row's value is not listed, the entry is left out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from accelerator_sim.definition_files import definition_files, read_definition
from accelerator_sim.design import OVERFLOW, ArtifactAccounting, Binding, Design, Kept, Phase, Schedule, Size, Stage
from accelerator_sim.quantities import is_number
from einsum_cascades.definitions import Fields, read_text
from einsum_cascades.errors import DefinitionError, DesignError
from einsum_cascades.mapping import CascadeMapping, Nest

GROUP = "fusebench.designs"

_FOLDER = Path(__file__).parent
_DROPPED = object()


def design_ids() -> tuple[str, ...]:
    """Returns the ids of all designs that are known by name."""
    return tuple(definition_files(_FOLDER, GROUP))


@dataclass(frozen=True)
class DesignFile:
    """A design as it stands in its file, before the row of its table is chosen."""

    raw: Mapping[str, Any]
    source: str
    table: tuple[Mapping[str, str], ...]

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.raw.get("id"))

    @property
    def cascade(self) -> str:
        """The cascade that it is for."""
        return str(self.raw.get("cascade"))

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that it was made for."""
        return tuple(str(m) for m in self.raw.get("machines") or ())

    def design(self, workload: str | None = None, seq_len: int | None = None) -> Design:
        """Returns the design for a workload and length; they matter only where the design has a table.

        Raises: DefinitionError for a wrong key or value, DesignError where the table has no such row.
        """
        raw: Any = self.raw
        if self.table:
            raw = _selected(raw, self._row(workload, seq_len))
        return _read(raw, self.source)

    def _row(self, workload: str | None, seq_len: int | None) -> Mapping[str, str]:
        for row in self.table:
            if row["workload"] == workload and int(row["seq_len"]) == seq_len:
                return row
        names = sorted({row["workload"] for row in self.table})
        lengths = sorted({int(row["seq_len"]) for row in self.table})
        raise DesignError(f"design {self.id!r}: it has no mapping for this workload and length, got workload {workload!r} at "
                          f"{seq_len} tokens; it has workloads {', '.join(names)} at "
                          f"{', '.join(str(n) for n in lengths)} tokens")


def load_design_file(name: str) -> DesignFile:
    """Returns the design file of an id or a path.

    Raises: UnknownNameError for an unknown id, DefinitionError for a file that cannot be read.
    """
    raw, source = read_definition(name, _FOLDER, GROUP, "design")
    folder = definition_files(_FOLDER, GROUP).get(name, Path(name)).parent
    table: tuple[Mapping[str, str], ...] = ()
    if raw.get("table") is not None:
        table = _table(folder / Fields(raw, source=source).text("table"))
    found = DesignFile(raw, source, table)
    if not table:
        found.design()
    return found


def load_design(name: str, workload: str | None = None, seq_len: int | None = None) -> Design:
    """Returns the design of an id or a path, for a workload and length where it has a table of mappings.

    Raises: UnknownNameError, DefinitionError, DesignError.
    """
    return load_design_file(name).design(workload, seq_len)


def _table(file: Path) -> tuple[Mapping[str, str], ...]:
    reader = csv.DictReader(read_text(file, wanted="a table").splitlines())
    names = list(reader.fieldnames or ())
    rows = tuple(reader)
    if not rows or not {"workload", "seq_len"} <= set(names):
        raise DefinitionError(f"table: it should have columns workload and seq_len and at least one row, got "
                              f"{', '.join(names) if rows else 'nothing'}; add them", source=str(file))
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DefinitionError(f"row: it should have a value for each of {', '.join(names)}, got "
                                  f"{sum(v is not None for v in row.values())}; complete it", source=f"{file}:{number}")
        if not row["seq_len"].strip().isdecimal():
            raise DefinitionError(f"seq_len: it should be a whole number of at least 0, got {row['seq_len']!r}; correct it",
                                  source=f"{file}:{number}")
    return rows


def _selected(node: Any, row: Mapping[str, str]) -> Any:
    if isinstance(node, Mapping):
        if set(node) == {"column"}:
            return _value(row, str(node["column"]))
        if "choose" in node:
            found = node.get(_value(row, str(node["choose"])), _DROPPED)
            return found if found is _DROPPED else _selected(found, row)
        made = {k: _selected(v, row) for k, v in node.items()}
        return {k: v for k, v in made.items() if v is not _DROPPED}
    if isinstance(node, list):
        return [v for v in (_selected(entry, row) for entry in node) if v is not _DROPPED]
    return node


def _value(row: Mapping[str, str], column: str) -> Any:
    if column not in row:
        raise DesignError(f"table: it has no such column, got {column!r}; use one of {', '.join(row)}")
    text = row[column]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _read(raw: Mapping[str, Any], source: str) -> Design:
    top = Fields(raw, source=source)
    if top.given("table"):
        top.text("table")
    mapping = top.fields("mapping", default={})
    partitions, sizes = _cuts(mapping)
    instances = mapping.texts("instances", default=("b", "h"))
    if len(set(instances)) < len(instances):
        mapping.fail("instances", "a rank stands twice", list(instances), "name each once")
    mapping.finish()
    nests: list[Nest] = []
    bindings: list[Binding] = []
    stages: list[Stage] = []
    for stage in top.list_of_fields("stages"):
        numbers = []
        own = stage.fields("mapping", default={})
        cut, own_sizes = _cuts(own)
        own.finish()
        for entry in stage.list_of_fields("nests"):
            numbers.append(len(nests))
            nest, binding = _nest(entry, MappingProxyType(cut) if own.given("partition") else None)
            nests.append(nest)
            bindings.append(binding)
        name = stage.text("name", default=nests[numbers[0]].einsums[0] if numbers else "stage")
        if name in (s.name for s in stages):
            stage.fail("name", "another stage has this name", name, "give it one of its own")
        stages.append(Stage(name, tuple(numbers), _schedule(stage), frozenset(stage.texts("off_chip", default=())),
                            MappingProxyType(own_sizes)))
        stage.finish()
    if not nests:
        top.fail("stages", "it has no nest", [], "give at least one stage with a nest")
    design = Design(top.text("id"), top.text("title"), top.text("source"), top.text("cascade"), top.texts("machines", default=()),
                    CascadeMapping(tuple(nests), MappingProxyType(partitions), instances), MappingProxyType(sizes),
                    tuple(bindings), tuple(stages), _artifact(top))
    top.finish()
    return design


def _cuts(mapping: Fields) -> tuple[dict[str, tuple[str, ...]], dict[str, Size]]:
    """How ranks are cut: the parts of each, and their sizes."""
    given, rules = mapping.fields("partition", default={}), mapping.fields("sizes", default={})
    return {rank: given.texts(rank) for rank in given.keys()}, {part: _size(rules, part) for part in rules.keys()}


def _size(rules: Fields, part: str) -> Size:
    value = rules.mapping[part]
    if isinstance(value, str) or is_number(value):
        if is_number(value):
            return Size(rules.integer(part, least=1))
        return Size(rules.text(part))
    rule = rules.fields(part)
    most = rule.integer("at_most_bytes", least=1) if rule.given("at_most_bytes") else None
    key = "largest_that_fits" if rule.given("largest_that_fits") else "largest_divisor_that_fits"
    found = Size(None, rule.text(key), most, rule.texts("of", default=()), key == "largest_divisor_that_fits")
    rule.finish()
    return found


def _nest(entry: Fields, partitions: Mapping[str, tuple[str, ...]] | None) -> tuple[Nest, Binding]:
    einsums = entry.texts("einsums")
    recompute = entry.texts("recompute", default=())
    runs = (*(t for t in recompute if t not in einsums), *einsums)
    unit: dict[str, str] = {}
    spread: dict[str, Mapping[str, str]] = {}
    units = entry.fields("units")
    for name in units.keys():
        part = units.fields(name)
        own = part.texts("einsums")
        if not own:
            part.fail("einsums", "no Einsum runs on it", [], "name some, or remove the unit")
        sides = part.fields("parallel", default={})
        table = {rank: sides.text(rank) for rank in sides.keys()}
        part.finish()
        for einsum in own:
            if einsum not in runs:
                units.fail(f"{name}.einsums", "it is not in the nest", einsum, f"use {', '.join(runs)}")
            if einsum in unit:
                units.fail(f"{name}.einsums", "it is bound to two units", einsum, "remove one")
            unit[einsum] = name
            spread[einsum] = MappingProxyType(table)
    for einsum in einsums:
        if einsum not in unit:
            entry.fail("units", f"Einsum {einsum!r} is bound to no unit", list(unit), "bind it")
    kept: dict[str, tuple[Kept, ...]] = {}
    memories = entry.fields("keep", default={})
    for memory in memories.keys():
        place = memories.fields(memory)
        kept[memory] = tuple(_kept(place, tensor) for tensor in place.keys())
    inner = entry.fields("inner", default={})
    nest = Nest(einsums, entry.texts("loops", default=()), {name: inner.texts(name) for name in inner.keys()},
                {e: tuple(spread[e]) for e in runs if e in spread}, partitions, recompute)
    binding = Binding(MappingProxyType(unit), MappingProxyType(spread), MappingProxyType(kept),
                      _lists(entry, "forward"), _lists(entry, "absorbed"), entry.flag("skip_empty", default=False), _elsewhere(entry))
    entry.finish()
    return nest, binding


def _elsewhere(entry: Fields) -> Mapping[str, Mapping[str, str]]:
    found = entry.fields("elsewhere", default={})
    made = {}
    for einsum in found.keys():
        own = found.fields(einsum)
        made[einsum] = MappingProxyType({operator: own.text(operator) for operator in own.keys()})
    return MappingProxyType(made)


def _lists(entry: Fields, key: str) -> Mapping[str, tuple[str, ...]]:
    found = entry.fields(key, default={})
    return MappingProxyType({name: found.texts(name) for name in found.keys()})


def _kept(place: Fields, tensor: str) -> Kept:
    value = place.mapping[tensor]
    if not isinstance(value, Mapping):
        at = place.text(tensor)
        return Kept(tensor, None if at == "whole" else at)
    rule = place.fields(tensor)
    at = rule.text("at")
    spill: Any = 0.0
    if rule.given("spill"):
        spill = OVERFLOW if rule.mapping["spill"] == OVERFLOW else rule.number("spill", least=0, most=1)
    found = Kept(tensor, None if at == "whole" else at, spill, rule.text("in_place") if rule.given("in_place") else None)
    rule.finish()
    return found


def _schedule(stage: Fields) -> Schedule:
    phases = []
    for phase in stage.list_of_fields("phases", default=()):
        drain = phase.text("drain") if phase.given("drain") else None
        einsums = phase.texts("run", default=())
        phase.finish()
        if (drain is None) == (not einsums):
            phase.fail("", "a phase either runs Einsums or drains a unit", list(einsums), "give 'run' or 'drain'")
        phases.append(Phase(einsums, drain))
    kind = stage.choice("schedule", ("free", "pipelined"), default="free")
    if phases and kind != "free":
        stage.fail("schedule", "a stage has phases or is pipelined", kind, "remove one of both")
    return Schedule(tuple(phases), kind == "pipelined")


def _artifact(top: Fields) -> ArtifactAccounting | None:
    accounting = top.fields("accounting", default={})
    if not accounting.given("fusemax-artifact"):
        accounting.finish()
        return None
    entry = accounting.fields("fusemax-artifact")
    back = entry.fields("read_back", default={})
    found = ArtifactAccounting(frozenset(entry.texts("per_pe", default=())),
                               MappingProxyType({t: back.text(t) for t in back.keys()}),
                               _lists(entry, "omitted_energy"))
    entry.finish()
    accounting.finish()
    return found
