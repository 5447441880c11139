"""A design as a design file: what ``--design FILE`` reads back as the same design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerator_sim.design import Binding, Design, Kept, Schedule, Size
from accelerator_sim.machine import Machine
from einsum_cascades.errors import DesignError
from einsum_cascades.mapping import Nest


def to_definition(design: Design) -> dict[str, Any]:
    """Returns a design as the plain values of its file.

    Raises: DesignError for a design that no file says: Einsums of one nest and unit that are spread differently.
    """
    found: dict[str, Any] = {"id": design.id, "title": design.title, "source": design.source, "cascade": design.cascade}
    if design.machines:
        found["machines"] = list(design.machines)
    mapping = {**_cuts(design.mapping.partitions, design.sizes), "instances": list(design.mapping.instances)}
    found["mapping"] = mapping
    found["stages"] = []
    for stage in design.stages:
        entry: dict[str, Any] = {"name": stage.name}
        own = design.mapping.nests[stage.nests[0]].partitions
        cuts = _cuts(own or {}, stage.sizes)
        if own is not None:
            cuts.setdefault("partition", {})
        if cuts:
            entry["mapping"] = cuts
        entry["nests"] = [_nest(design, design.mapping.nests[n], design.bindings[n]) for n in stage.nests]
        if stage.off_chip:
            entry["off_chip"] = sorted(stage.off_chip)
        found["stages"].append({**entry, **_schedule(stage.schedule)})
    if design.artifact is not None:
        artifact = design.artifact
        given = {"per_pe": sorted(artifact.per_pe), "read_back": dict(artifact.read_back),
                 "omitted_energy": {op: list(names) for op, names in artifact.omitted_energy.items()}}
        found["accounting"] = {"fusemax-artifact": {key: value for key, value in given.items() if value}}
    return found


def to_yaml(design: Design) -> str:
    """Returns the text of a design's file.

    Raises: DesignError as :func:`to_definition`.
    """
    import yaml
    return str(yaml.safe_dump(to_definition(design), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True))


def with_machine(design: Design, machine: Machine) -> dict[str, Any]:
    """Returns a design's definition for a machine of another name."""
    return {**to_definition(design), "machines": [machine.id]}


def _cuts(partitions: Mapping[str, tuple[str, ...]], sizes: Mapping[str, Size]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if partitions:
        found["partition"] = {rank: list(parts) for rank, parts in partitions.items()}
    if sizes:
        found["sizes"] = {part: _size(size) for part, size in sizes.items()}
    return found


def _size(size: Size) -> Any:
    if size.fits is None:
        return size.value if isinstance(size.value, str) else int(size.value or 0)
    rule: dict[str, Any] = {"largest_divisor_that_fits" if size.divides else "largest_that_fits": size.fits}
    if size.at_most_bytes is not None:
        rule["at_most_bytes"] = size.at_most_bytes
    if size.of:
        rule["of"] = list(size.of)
    return rule


def _nest(design: Design, nest: Nest, binding: Binding) -> dict[str, Any]:
    found: dict[str, Any] = {"einsums": list(nest.einsums), "loops": list(nest.loops)}
    if nest.inner:
        found["inner"] = {name: list(parts) for name, parts in nest.inner.items() if parts}
    units: dict[str, Any] = {}
    for name in nest.einsums:
        entry = units.setdefault(binding.unit[name], {"einsums": [], "parallel": {}})
        entry["einsums"].append(name)
        for part, sides in binding.spread[name].items():
            if entry["parallel"].setdefault(part, sides) != sides:
                raise DesignError(f"design {design.id!r}: unit {binding.unit[name]}: a file has one spread for the Einsums of a nest on it, "
                                  f"got {part!r} over {sides} and over {entry['parallel'][part]}; put them in nests of their own")
    found["units"] = {unit: {key: value for key, value in entry.items() if value} for unit, entry in units.items()}
    keep = {memory: {k.tensor: _kept(k) for k in kepts} for memory, kepts in binding.kept.items() if kepts}
    tables: list[tuple[str, Any]] = [
        ("keep", keep), ("forward", _lists(binding.forward)), ("absorbed", _lists(binding.absorbed)),
        ("elsewhere", {name: dict(own) for name, own in binding.elsewhere.items()}), ("skip_empty", binding.skip_empty)]
    return {**found, **{key: value for key, value in tables if value}}


def _lists(table: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: list(values) for name, values in table.items()}


def _kept(kept: Kept) -> Any:
    at = "whole" if kept.at is None else kept.at
    if not kept.spill and kept.in_place is None:
        return at
    rule: dict[str, Any] = {"at": at}
    if kept.spill:
        rule["spill"] = kept.spill
    if kept.in_place is not None:
        rule["in_place"] = kept.in_place
    return rule


def _schedule(schedule: Schedule) -> dict[str, Any]:
    if schedule.phases:
        return {"phases": [{"drain": p.drain} if p.drain is not None else {"run": list(p.einsums)} for p in schedule.phases]}
    return {"schedule": "pipelined"} if schedule.pipelined else {}
