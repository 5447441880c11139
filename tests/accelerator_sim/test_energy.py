"""Energy: charges that add up, counts of the trace times costs, the two accountings, and the paper's costs in the machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

from accelerator_sim.area import machine_area
from accelerator_sim.designs import load_design
from accelerator_sim.energy import ARTIFACT, PHYSICAL
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from accelerator_sim.registers import register_cost
from einsum_cascades.errors import UnknownNameError
from tests.accelerator_sim.small import small_machine
from tests.accelerator_sim.test_counts_against_trace import cascade_of
from tests.accelerator_sim.trace import trace

SHAPE = Shape({"p": 1024, "m": 1024, "e": 64, "f": 64}, {"b": 2, "h": 3}, "bert", 1024)
HEADS, TILES = 6, 4
"""Instances of the shape, and tiles of 256 along its queries and its keys."""

MACHINES = {"unfused": "flat", "flat": "flat", "cascade": "flat", "arch": "fusemax", "binding": "fusemax"}


def estimated(name: str, accounting: str = PHYSICAL) -> Estimate:
    return estimate(cascade_of(name), load_design(name, "bert", 1024), load_machine(MACHINES[name]), SHAPE, accounting)


# --- totals ---


@pytest.mark.parametrize("accounting", [PHYSICAL, ARTIFACT])
@pytest.mark.parametrize("name", sorted(MACHINES))
def test_charges_add_up_to_components_and_these_to_the_total(name: str, accounting: str) -> None:
    found = estimated(name, accounting)
    components: dict[str, float] = defaultdict(float)
    for charge in found.charges():
        assert charge.count >= 0
        components[charge.component] += charge.count * charge.pj
    assert dict(components) == pytest.approx({c: pj for c, pj in found.energy_pj.items() if c in components}, rel=1e-12)
    assert not any(pj for c, pj in found.energy_pj.items() if c not in components and c != "total")
    assert found.energy_pj["total"] == pytest.approx(sum(components.values()), rel=1e-12)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_another_accounting_of_an_estimate_is_that_of_its_own(name: str) -> None:
    for own, other in ((PHYSICAL, ARTIFACT), (ARTIFACT, PHYSICAL)):
        assert estimated(name, own).energy_under(other) == estimated(name, other).energy_pj


def test_an_unknown_accounting_is_refused() -> None:
    with pytest.raises(UnknownNameError) as caught:
        estimated("binding", "exact")
    assert str(caught.value) == "unknown accounting, got 'exact'; valid: fusemax-artifact, physical"


@pytest.mark.parametrize("name", ["unfused", "cascade", "arch", "binding"])
def test_energy_is_what_the_trace_counts_at_the_costs_of_the_machine(name: str) -> None:
    machine, extents, instances = small_machine(2, 3, 2, buffer_bytes=200), {"p": 7, "m": 5, "e": 2, "f": 2}, {"b": 1, "h": 2}
    found = estimate(cascade_of(name), load_design(name), machine, Shape(extents, instances))
    design = found.plan.design
    sizes = {p: found.plan.space.sizes[p] for p in design.sizes}
    expected: dict[str, float] = defaultdict(float)
    for stage, seen in zip(design.stages, trace(cascade_of(name), design, machine, extents, instances, sizes).values(), strict=True):
        unit = {e: u for n in stage.nests for e, u in design.bindings[n].unit.items()}
        for einsum, operations in seen.operations.items():
            for operator, count in operations.items():
                expected[unit[einsum]] += count * machine.parameter(f"{unit[einsum]}.energy_pj.{operator}")
            reads, writes = seen.registers[einsum]
            # 0.25 pJ for a read of a register, 0.5 for a write.
            expected[f"{unit[einsum]}_registers"] += reads / 4 + writes / 2
        for (tensor, receiver), (values, delivered) in seen.crossed.items():
            multicast = any(t.tensor == tensor and t.multicast for t in found.counts[stage.name].transfers)
            expected[f"{unit[tensor]}_registers"] += values / 4 if multicast else 0
            expected[f"{receiver}_registers"] += delivered / 2
        for memory, tensors in seen.memories.items():
            for moves in tensors.values():
                # A row of 64 bits is 4 values; it takes 8 pJ to read and 16 to write.
                expected[memory] += moves.reads * 8 / 4 + (moves.writes + moves.fills) * 16 / 4
    assert {c: pj for c, pj in found.energy_pj.items() if c != "total" and pj} == pytest.approx(dict(expected), rel=1e-12)


# --- what the artifact counts otherwise ---


def differing(name: str) -> dict[str, float]:
    """What the physical accounting adds, by component, in pJ."""
    found = estimated(name)
    other = found.energy_under(ARTIFACT)
    return {c: pj - other[c] for c, pj in found.energy_pj.items() if abs(pj - other[c]) > 1e-9 * pj and c != "total"}


@pytest.mark.parametrize("name", ["unfused", "flat", "arch", "binding"])
def test_the_accountings_differ_in_registers_alone(name: str) -> None:
    assert set(differing(name)) == {"array_1d_registers", "array_2d_registers"}


def test_the_artifact_leaves_the_exp_of_the_cascade_out() -> None:
    left_out = differing("cascade")
    # SLN has one for every query and key, PRM for every query and tile of keys.
    exps = HEADS * 1024 * (1024 + TILES)
    assert left_out.pop("array_1d") == pytest.approx(exps * 94.6475, rel=1e-12)
    assert set(left_out) == {"array_1d_registers", "array_2d_registers"}


def registers(found: Estimate, accounting: str) -> Mapping[tuple[str, str, str], float]:
    """Register actions by component, kind and Einsum or tensor."""
    result: dict[tuple[str, str, str], float] = defaultdict(float)
    for charge in found.charges(accounting):
        if charge.component.endswith("_registers"):
            result[charge.component.removesuffix("_registers"), charge.action, charge.by] += charge.count
    return result


def test_the_artifact_counts_one_pe_and_what_crosses_for_each_pe_of_a_column() -> None:
    found = estimated("binding")
    physical, artifact = registers(found, PHYSICAL), registers(found, ARTIFACT)
    tiles = HEADS * TILES * TILES
    crossing = {"LM": 1, "SLD": 1, "SLNV": 64}
    for einsum in ("BQK", "SLN"):
        for action in ("read", "write"):
            assert artifact["array_2d", action, einsum] == physical["array_2d", action, einsum] / 65536
    # From a column to its lane: each value once, or once for each of 256 PEs. SLNV also comes back, in all rounds but the first.
    for tensor, values in crossing.items():
        own = physical["array_2d", "write", tensor] / 65536
        back = 64 * tiles * (1 - 1 / TILES) if tensor == "SLNV" else 0
        assert artifact["array_2d", "write", tensor] == pytest.approx(own + back, rel=1e-12)
        assert physical["array_1d", "write", tensor] == 256 * values * tiles
        assert artifact["array_1d", "write", tensor] == pytest.approx(256 * values * tiles, rel=1e-12)
    assert physical["array_1d", "read", "SLNV"] == 0
    assert artifact["array_1d", "read", "SLNV"] == pytest.approx(256 * 64 * tiles * (1 - 1 / TILES), rel=1e-12)
    # From a lane to its column: read once and written by 256 PEs, or read 256 times by one lane and written by one PE.
    assert physical["array_2d", "write", "RM"] == 65536 * tiles
    assert artifact["array_1d", "read", "RM"] == pytest.approx((physical["array_1d", "read", "RM"] - 256 * tiles) / 256 + 256 * tiles,
                                                               rel=1e-12)
    assert artifact["array_2d", "write", "RM"] == pytest.approx(tiles, rel=1e-12)


# --- costs as published (FuseMax artifact: ERT and ART of Accelergy at 45 nm, and fits of its energies) ---


@pytest.mark.parametrize(("machine", "unit", "operator", "pj"), [
    *((machine, unit, operator, pj) for machine in ("fusemax", "flat") for unit in ("array_1d", "array_2d")
      for operator, pj in (("mac", 17.1645), ("add", 8.3395), ("sub", 8.3395))),
    ("fusemax", "array_2d", "max", 0.028036), ("fusemax", "array_1d", "max", 0.028036), ("flat", "array_1d", "max", 0.028036),
    ("fusemax", "array_1d", "div", 36.251153), ("flat", "array_1d", "div", 36.251153), ("flat", "array_1d", "exp", 94.6475),
    ("fusemax", "array_2d", "exp", 6 * 17.1645), ("fusemax", "array_1d", "exp", 6 * 17.1645),
])
def test_an_operation_costs_what_is_published(machine: str, unit: str, operator: str, pj: float) -> None:
    assert load_machine(machine).units[unit].energy_of(operator) == pytest.approx(pj, rel=1e-12)


def test_exp_on_fusemax_costs_a_multiply_add_in_each_of_its_cycles() -> None:
    machine = load_machine("fusemax", {"array_2d.cycles.exp": 10})
    assert machine.units["array_2d"].energy_of("exp") == pytest.approx(171.645)
    assert load_machine("flat", {"array_1d.cycles.exp": 10}).units["array_1d"].energy_of("exp") == 94.6475


@pytest.mark.parametrize(("machine", "unit", "read_pj", "write_pj", "um2"), [
    ("fusemax", "array_1d", 2.194455, 1.906455, 16849.2142), ("fusemax", "array_2d", 2.190405, 1.902405, 16837.58),
    ("flat", "array_1d", 2.190405, 1.902405, 16837.58), ("flat", "array_2d", 2.182395, 1.894395, 16814.3253),
])
def test_a_register_file_costs_what_is_published(machine: str, unit: str, read_pj: float, write_pj: float, um2: float) -> None:
    found = load_machine(machine).units[unit].register_file.cost("r")
    assert (found.read_pj, found.write_pj) == (read_pj, write_pj)
    assert found.area_um2 == pytest.approx(um2, rel=1e-6)


@pytest.mark.parametrize(("depth", "um2"), [(4, 16814.3253), (8, 16825.9485), (16, 16837.5833), (32, 16849.2142), (64, 16860.845),
                                            (128, 16872.476)])
def test_a_register_file_takes_the_area_that_is_published(depth: int, um2: float) -> None:
    assert register_cost(depth).area_um2 == um2
    assert register_cost(depth - 1).area_um2 == um2


@pytest.mark.parametrize(("machine", "read_pj", "write_pj", "mm2", "tolerance"), [
    ("fusemax", 12513.579, 15750.410, 84.2, 7.1e-5), ("flat", 23855.429, 27096.782, 175.7, 4e-5),
])
def test_a_row_of_the_buffer_costs_what_the_artifacts_energies_show(machine: str, read_pj: float, write_pj: float, mm2: float,
                                                                    tolerance: float) -> None:
    found = load_machine(machine).memories["global_buffer"].cost(2)
    assert found.read_pj * 256 == pytest.approx(read_pj, rel=tolerance)
    assert found.write_pj * 256 == pytest.approx(write_pj, rel=tolerance)
    assert found.area_mm2 == pytest.approx(mm2, abs=0.05)


@pytest.mark.parametrize("machine", ["fusemax", "flat"])
def test_64_bits_of_dram_cost_what_is_published(machine: str) -> None:
    found = load_machine(machine).memories["dram"].cost(2)
    assert (found.read_pj, found.write_pj, found.area_mm2) == (249.6 / 4, 249.6 / 4, 0)


def test_areas_of_pes_are_the_sums_of_published_parts() -> None:
    mac, maximum, division, exp = 1545, 49.28944, 23740.9375, 8240
    for machine, pe_2d, pe_1d in (("fusemax", mac + maximum + 16837.5833, mac + maximum + division + 16849.2142),
                                  ("flat", mac + 16814.3253, mac + maximum + division + exp + 16837.5833)):
        area = machine_area(load_machine(machine))
        assert area["array_2d"] == pytest.approx(65536 * pe_2d / 1e6, rel=1e-9)
        assert area["array_1d"] == pytest.approx(256 * pe_1d / 1e6, rel=1e-9)
        assert area["total"] == pytest.approx(sum(v for k, v in area.items() if k != "total"), rel=1e-12)
    assert machine_area(load_machine("fusemax"))["total"] / machine_area(load_machine("flat"))["total"] == pytest.approx(0.936, abs=2e-3)
