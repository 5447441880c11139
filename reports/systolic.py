"""Simulation without overlap: a matrix product's cycles on a systolic array, and what a design says of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerator_sim.area import machine_area
from accelerator_sim.errors import CapacityError
from accelerator_sim.machines import load_machine
from accelerator_sim.systolic import no_overlap, product_of
from einsum_cascades.errors import DesignError
from einsum_cascades.extents import resolve_extents
from reports.cascades import NamedCascade
from reports.simulation import shape_for, simulate

DESIGNS: Mapping[str, str] = {"os": "linear", "ws": "linear_ws"}
"""The design whose loops are those of a dataflow: it gives traffic and energy where none is named."""


def simulate_without_overlap(cascade: NamedCascade, machine: str, design: str | None, dataflow: str, *,
                             workload: str | None, seq_len: int | None, batch: int | None, extents: Mapping[str, int],
                             settings: Mapping[str, float], accounting: str, costs: str) -> dict[str, Any]:
    """Returns, as plain values, a product on the machine's array in which nothing overlaps and no memory stalls.

    Raises: DesignError for a cascade that is no single matrix product; FusebenchError of the part that is wrong.
    """
    found = load_machine(machine, settings, costs)
    shape = shape_for(cascade, workload, seq_len, batch, extents)
    if len(cascade.cascade.einsums) != 1:
        raise DesignError(f"cascade {cascade.cascade.name!r}: without overlap, one matrix product is timed, got "
                          f"{len(cascade.cascade.einsums)} Einsums; use --timing analytic")
    einsum = cascade.cascade.einsums[0]
    unit = next((u for u in found.units.values() if {"rows", "cols"} <= set(u.dimensions)), None)
    if unit is None:
        raise DesignError(f"machine {found.id!r}: it has no systolic array, got units {', '.join(found.units)}; use another "
                          f"machine")
    product = product_of(cascade.cascade, einsum, resolve_extents(cascade.cascade, shape.extents), shape.instances.get("b", 1))
    time = no_overlap(product, unit, dataflow)
    document: dict[str, Any] = {
        "machine": found.id, "design": design or DESIGNS[dataflow], "timing": "no-overlap", "dataflow": dataflow,
        "latency_s": time.cycles / found.clock_hz, "latency_cycles": time.cycles, "folds": time.folds,
        "utilization": {u.label: time.utilization if u is unit else 0.0 for u in found.units.values()},
        "bound": unit.name, "accounting": accounting, "area_mm2": machine_area(found), "dram_bytes": None,
        "energy_pj": None, "notes": ["no memory stalls: DRAM's time is not part of the latency"]}
    try:
        moved = simulate(cascade, machine, design or DESIGNS[dataflow], workload=workload, seq_len=seq_len, batch=batch,
                         extents=extents, settings=settings, accounting=accounting, costs=costs)
    except CapacityError as error:
        document["notes"].append(f"no traffic and energy: {error}")
        return document
    document["dram_bytes"], document["energy_pj"] = moved.dram_bytes, dict(moved.energy_pj)
    return document
