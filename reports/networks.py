"""Simulates whole networks: each layer by the fastest design that fits, the layers one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerator_sim.area import machine_area
from accelerator_sim.designs import DesignFile, design_ids, load_design_file
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import unfused_design
from einsum_cascades.errors import DefinitionError, DesignError, ExtentError, UnknownNameError
from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Cascade
from workloads.networks import Layer, Network, load_network
from workloads.variants import load_variant


@dataclass(frozen=True)
class LayerEstimate:
    """A layer with the estimate of one of its ``count`` repetitions, and the algorithm that was chosen for it."""

    layer: Layer
    cascade: str
    estimate: Estimate


def simulate_network(name: str, machine: str, *, phase: str, seq_len: int, batch: int | None = None,
                     settings: Mapping[str, float] | None = None,
                     accounting: str = PHYSICAL, costs: str = "nominal") -> tuple[Network, Machine, list[LayerEstimate]]:
    """Returns a network's layers, simulated on a machine.

    Raises: FusebenchError of the part that is wrong; DesignError, with the layer's name, for an operator that no unit of the
        machine has.
    """
    found = load_machine(machine, settings, costs)
    network = load_network(name, phase=phase, seq_len=seq_len, batch=batch)
    files = [load_design_file(d) for d in design_ids()]
    known: dict[tuple[Any, ...], LayerEstimate] = {}
    layers = []
    for layer in network.layers:
        key = (layer.cascade_name, tuple(sorted(layer.extents.items())), layer.instances)
        if key not in known:
            known[key] = _layer(layer, found, files, name, seq_len, accounting)
        made = known[key]
        layers.append(LayerEstimate(layer, made.cascade, made.estimate))
    return network, found, layers


def _layer(layer: Layer, machine: Machine, files: list[DesignFile], workload: str, seq_len: int,
           accounting: str) -> LayerEstimate:
    """The fastest of a layer's algorithms under the designs that fit; else Einsum by Einsum."""
    variant = load_variant(layer.variant)
    shape = Shape(layer.extents, {"b": layer.instances}, workload, seq_len)
    best: LayerEstimate | None = None
    for algorithm in variant.algorithms:
        cascade = variant.cascade(algorithm)
        for file in files:
            if file.cascade != cascade.name and file.cascade != layer.variant:
                continue
            made = _fitting(cascade, file, machine, shape, accounting)
            if made is not None and (best is None or made.latency_s < best.estimate.latency_s):
                best = LayerEstimate(layer, cascade.name, made)
    if best is not None:
        return best
    cascade = layer.cascade
    try:
        resolved = Shape(resolve_extents(cascade, layer.extents), shape.instances)
        return LayerEstimate(layer, cascade.name,
                             estimate(cascade, unfused_design(cascade, machine, resolved), machine, resolved, accounting))
    except (DesignError, ExtentError) as error:
        raise DesignError(f"layer {layer.name!r} ({cascade.name}): {error}") from None


def _fitting(cascade: Cascade, file: DesignFile, machine: Machine, shape: Shape, accounting: str) -> Estimate | None:
    if file.machines and machine.id not in file.machines:
        return None
    try:
        return estimate(cascade, file.design(shape.workload, shape.seq_len), machine, shape, accounting)
    except (DesignError, DefinitionError, UnknownNameError):
        return None


def network_document(network: Network, machine: Machine, layers: list[LayerEstimate], accounting: str) -> dict[str, Any]:
    """Returns a simulated network as plain values: totals, and each layer with its repetitions."""
    rows = [_row(made) for made in layers]
    energy: dict[str, float] = {}
    for row in rows:
        for component, value in row["energy_pj"].items():
            energy[component] = energy.get(component, 0.0) + value
    latency = sum(row["latency_s"] for row in rows)
    utilization = {unit.label: sum(row["utilization"][unit.label] * row["latency_s"] for row in rows) / latency
                   for unit in machine.units.values()}
    bounds: dict[str, float] = {}
    for row in rows:
        bounds[row["bound"]] = bounds.get(row["bound"], 0.0) + row["latency_s"]
    return {
        "network": network.id, "title": network.title, "phase": network.phase, "seq_len": network.seq_len,
        "batch": network.batch, "machine": machine.id, "accounting": accounting, "latency_s": latency,
        "latency_cycles": latency * machine.clock_hz, "dram_bytes": sum(row["dram_bytes"] for row in rows),
        "utilization": utilization, "energy_pj": energy, "area_mm2": machine_area(machine),
        "bound": max(bounds, key=lambda name: bounds[name]), "parameters": network.parameters,
        "cache_values": network.cache_values, "state_values": network.state_values, "notes": list(network.notes),
        "ignored": list(network.ignored), "layers": rows}


def _row(made: LayerEstimate) -> dict[str, Any]:
    count = made.layer.count
    plain = made.estimate.to_dict()
    return {"name": made.layer.name, "group": made.layer.group, "cascade": made.cascade, "design": made.estimate.design,
            "count": count, "extents": dict(made.layer.extents), "instances": made.layer.instances,
            "latency_s": made.estimate.latency_s * count, "latency_cycles": made.estimate.latency_cycles * count,
            "dram_bytes": made.estimate.dram_bytes * count, "utilization": plain["utilization"],
            "energy_pj": {k: v * count for k, v in made.estimate.energy_pj.items()}, "area_mm2": plain["area_mm2"],
            "bound": made.estimate.bound, "accounting": made.estimate.accounting}
