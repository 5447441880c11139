"""Joins a cascade, a machine, a design and a workload's shape to an estimate of the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accelerator_sim.designs import DesignFile, load_design_file
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.errors import SearchEndedError
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.frame import make_frame
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, DesignError, ExtentError, suggest
from einsum_cascades.extents import mentioned
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from reports.cascades import NamedCascade, load_cascade
from workloads.models import Workload, load_workload, shape_of

CONVENTION: Mapping[str, str] = {"p": "seq_len", "m": "seq_len", "e": "e", "f": "f", "b": "batch", "h": "heads"}
"""What the ranks of a cascade from a file mean in a workload; a variant says for itself."""


def simulate(cascade: NamedCascade, machine: str, design: str | None, *, workload: str | None = None,
             seq_len: int | None = None, batch: int | None = None, extents: Mapping[str, int] | None = None,
             settings: Mapping[str, float] | None = None, accounting: str = PHYSICAL, costs: str = "nominal",
             values: str | None = None, segments: Sequence[str] = (), densities: Sequence[str] = ()) -> Estimate:
    """Returns the estimate of a cascade on a machine (an id or a file) under a design (an id or a file).

    The shape is the workload's at ``seq_len`` tokens, with ``extents`` over it; ``settings`` replaces numbers of the
    machine by path; ``costs`` are nominal, or those at the low or high end of their bands. ``values``, ``segments`` and ``densities``
    say what is known of data (see data_options).

    Without a design it is that of the mapper, for the least latency.

    Raises: FusebenchError of the part that is wrong.
    """
    found = load_machine(machine, settings, costs)
    shape = shape_for(cascade, workload, seq_len, batch, extents or {})
    if values is not None or segments or densities:
        from reports.data_options import known_data
        shape = replace(shape, data=known_data(cascade.cascade, shape.extents, values=values, segments=segments, densities=densities))
    if design is None:
        return mapped(cascade, found, shape, accounting)
    file = load_design_file(design)
    return estimate(cascade.cascade, file.design(shape.workload, shape.seq_len), found, shape, accounting)


def for_design(name: str, design: str | None) -> NamedCascade:
    """Returns the cascade of a name; a variant without an algorithm is taken in the one that the design is for.

    Raises: FusebenchError of the part that is wrong.
    """
    if design is not None and ":" not in name:
        wanted = load_design_file(design).cascade
        if wanted.startswith(f"{name}:"):
            return load_cascade(wanted)
    return load_cascade(name)


def shape_for(cascade: NamedCascade, workload: str | None, seq_len: int | None, batch: int | None,
              extents: Mapping[str, int]) -> Shape:
    """Returns the shape of a cascade in a workload, or of extents alone.

    Raises: UnknownNameError, DefinitionError, ExtentError.
    """
    valid = ranks_of(cascade.cascade)
    for rank in extents:
        if rank not in valid:
            raise ExtentError(f"--extent {rank!r}: the cascade {cascade.cascade.name!r} has no such rank, got "
                              f"{extents[rank]}; {suggest(rank, valid)}")
    if workload is None:
        if seq_len is not None:
            raise ExtentError(f"--seq-len: it is the length of a workload, got {seq_len} and none; add --workload, or give "
                              f"extents")
        return Shape(whole_extents(cascade.cascade, extents), {"b": batch or 1})
    model = load_workload(workload)
    if seq_len is None:
        lengths = ", ".join(map(str, model.seq_lens))
        raise ExtentError(f"--seq-len: the workload {model.id!r} needs a length, got none; give one, such as {lengths}")
    if cascade.variant is not None:
        made = shape_of(cascade.variant, model, seq_len=seq_len, batch=batch)
        given = whole_extents(cascade.cascade, {**made.extents, **extents})
        return Shape(given, {"b": made.instances}, model.id, seq_len)
    return _by_convention(cascade.cascade, model, seq_len, batch, extents)


def ranks_of(cascade: Cascade) -> tuple[str, ...]:
    """Returns every rank that may have an extent: those that Einsums walk, composites and their parts, and those that only an
    extent in a predicate or an index names (``W`` of a window)."""
    known = structure(cascade)
    return tuple(dict.fromkeys((*known.ranks, *known.composites, *(p for parts in known.composites.values() for p in parts),
                                *mentioned(cascade))))


def _by_convention(cascade: Cascade, model: Workload, seq_len: int, batch: int | None, extents: Mapping[str, int]) -> Shape:
    figures = {**model.to_dict(), "seq_len": seq_len, "batch": batch or model.batch}
    known = structure(cascade)
    parts = {leaf for leaves in known.composites.values() for leaf in leaves}
    wanted = [r for r in (*known.ranks, *known.composites) if r not in parts and r not in extents]
    for rank in wanted:
        if rank not in CONVENTION:
            raise DefinitionError(f"rank {rank!r} has no meaning in workload {model.id!r}, got ranks {', '.join(wanted)}; give "
                                  f"its extent (--extent {rank}=...)", source=f"cascade {cascade.name!r}")
    own = {rank: int(figures[CONVENTION[rank]]) for rank in wanted}
    instances = 1
    for rank in ("b", "h"):
        instances *= 1 if rank in known.ranks else int(figures[CONVENTION[rank]])
    return Shape(whole_extents(cascade, {**own, **extents}), {"b": instances}, model.id, seq_len)


def whole_extents(cascade: Cascade, extents: Mapping[str, int]) -> dict[str, int]:
    """The extents with those of composite ranks that their parts give, and without the parts that these give in turn."""
    found = dict(extents)
    for name, (outer, *inner) in structure(cascade).composites.items():
        tile = 1
        for part in inner:
            tile *= found.get(part, 0)
        if outer not in found:
            continue
        if not tile:
            raise ExtentError(f"--extent {outer!r}: it is the number of tiles of {', '.join(inner)}, got {found[outer]} without "
                              f"their extents; give --extent {name}=... alone, or all parts")
        if found.setdefault(name, found[outer] * tile) not in range((found[outer] - 1) * tile + 1, found[outer] * tile + 1):
            raise ExtentError(f"--extent {name!r}: it has two extents, got {found[name]} and {found[outer]} tiles of {tile}; give "
                              f"one of them")
        del found[outer]
    return found


MAPPER_BUDGET_S = 60.0
"""Seconds that the mapper may take where a simulation has no design."""


def mapped(cascade: NamedCascade, machine: Machine, shape: Shape, accounting: str = PHYSICAL) -> Estimate:
    """Returns the estimate under the fastest mapping that the mapper finds; a note says how far it may be from the best.

    Where its time ends before it has found one that is better than no search, the Einsums run one by one, and the note says so.

    Raises: DesignError, CapacityError, ExtentError.
    """
    from accelerator_sim.mapper import map_cascade
    from reports.choosing import choose
    try:
        found = map_cascade(cascade.cascade, machine, shape, budget_s=MAPPER_BUDGET_S)
    except SearchEndedError:
        plain = choose(cascade, machine, shape, way="unfused", accounting=accounting).estimate
        why = (f"no design was given, and no mapping was found in {MAPPER_BUDGET_S:g} s: Einsum by Einsum, a baseline; "
               f"'fusebench map --budget-seconds' searches longer")
        return replace(plain, notes=(*plain.notes, why))
    made = found.estimate
    if accounting != PHYSICAL:
        made = estimate(cascade.cascade, found.design, machine, made.plan.shape, accounting)
    how = "nothing in its space is faster" if found.proven_optimal else f"the best in its space may be {found.gap:.2%} faster"
    return replace(made, notes=(*made.notes, f"the mapping was searched, since no design was given: {how}"))


def is_for(cascade: Cascade, file: DesignFile, machine: Machine) -> bool:
    """Whether a design places the cascade's Einsums, for this machine or one that it is derived from."""
    if file.machines and machine.id not in file.machines:
        return False
    try:
        design = file.design(*_first_row(file))
        make_frame(cascade, design)
    except DesignError:
        return False
    return True


def _first_row(file: DesignFile) -> tuple[str | None, int | None]:
    return (file.table[0]["workload"], int(file.table[0]["seq_len"])) if file.table else (None, None)


def parse_settings(entries: Sequence[str]) -> dict[str, float]:
    """Returns the settings of entries such as ``array_2d.cycles.exp=10``.

    Raises: DefinitionError for another form or a value that is no number.
    """
    found: dict[str, float] = {}
    for entry in entries:
        path, equals, text = (part.strip() for part in entry.partition("="))
        value = _number(text) if equals and path else None
        if value is None:
            raise DefinitionError(f"it should be a path, '=' and a number, got {entry!r}; write --set array_2d.cycles.exp=10",
                                  source="--set")
        if found.setdefault(path, value) != value:
            raise DefinitionError(f"it stands twice, got {found[path]:g} and {value:g}; give one of them", source="--set",
                                  path=path)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if value != value or value in (float("inf"), float("-inf")) or "_" in text:
        return None
    return int(value) if value == int(value) else value


def energy_lines(found: Estimate) -> list[dict[str, Any]]:
    """Returns how the energy splits down to action x count x cost, the largest first."""
    lines = [{"component": c.component, "action": c.action, "by": c.by, "count": c.count, "pj_each": c.pj,
              "energy_pj": c.energy_pj} for c in found.charges() if c.energy_pj]
    return sorted(lines, key=lambda line: -float(line["energy_pj"]))
