"""Shipped machines against their published peaks, bandwidths and capacities."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import reports.fusemax
from accelerator_sim.machines import load_machine, machine_ids, source_of

# Machine, unit, published TFLOP/s of multiply-adds (two operations each), and how finely that figure is rounded.
PEAKS = [("a100", "tensor", 312, 0.5), ("a100", "fp32", 19.5, 0.05), ("h100", "tensor", 989.4, 0.1), ("h100", "fp32", 66.9, 0.05),
         ("h200", "tensor", 989.4, 0.1), ("h200", "fp32", 66.9, 0.05), ("b200", "tensor", 2250, 5), ("b200", "fp32", 75, 0.5),
         ("mi300x", "tensor", 1307.4, 0.05), ("mi300x", "fp32", 163.4, 0.05), ("tpu_v4i", "array_2d", 138, 0.5),
         ("eyeriss", "array_2d", 2 * 0.0336, 0.0001), ("nvdla", "array_2d", 2 * 1.024, 0.001)]
BYTES_PER_S = [("a100", 2.039e12), ("h100", 3.35e12), ("h200", 4.8e12), ("b200", 8e12), ("mi300x", 5.3e12), ("tpu_v4i", 614e9)]
MIB, KIB = 1 << 20, 1 << 10
BYTES = [("a100", "l2", 40 * MIB), ("h100", "l2", 50 * MIB), ("mi300x", "infinity_cache", 256 * MIB), ("mi300x", "l2_cache", 32 * MIB),
         ("a100", "shared_memory", 108 * 164 * KIB), ("h100", "shared_memory", 132 * 228 * KIB),
         ("h200", "shared_memory", 132 * 228 * KIB), ("b200", "shared_memory", 148 * 228 * KIB),
         ("b200", "tensor_memory", 148 * 256 * KIB), ("mi300x", "local_data_share", 304 * 64 * KIB),
         ("tpu_v4i", "global_buffer", 128 * MIB), ("eyeriss", "global_buffer", 108 * KIB), ("nvdla", "global_buffer", 512 * KIB),
         ("marca", "global_buffer", 24 * MIB), ("a100", "dram", 80e9), ("h100", "dram", 80e9), ("h200", "dram", 141e9),
         ("b200", "dram", 180e9), ("mi300x", "dram", 192e9), ("tpu_v4i", "dram", 8e9)]
GPUS = ("a100", "h100", "h200", "b200", "mi300x")
SPATIAL = [name for name in machine_ids() if name not in GPUS]


@pytest.mark.parametrize(("name", "unit", "tflops", "rounding"), PEAKS)
def test_multiply_adds_come_to_the_published_peak(name: str, unit: str, tflops: float, rounding: float) -> None:
    machine = load_machine(name)
    assert 2 * machine.units[unit].rate("mac") * machine.clock_hz / 1e12 == pytest.approx(tflops, abs=rounding)


@pytest.mark.parametrize(("name", "bytes_per_s"), BYTES_PER_S)
def test_memory_has_the_published_bandwidth(name: str, bytes_per_s: float) -> None:
    assert load_machine(name).outermost.bytes_per_s == bytes_per_s


@pytest.mark.parametrize(("name", "memory", "size"), BYTES)
def test_memory_has_the_published_size(name: str, memory: str, size: int) -> None:
    assert load_machine(name).memories[memory].bytes == size


@pytest.mark.parametrize(("name", "sms"), [("a100", 108), ("h100", 132), ("h200", 132), ("b200", 148), ("mi300x", 304)])
def test_gpus_have_a_unit_of_their_own_for_exponentials(name: str, sms: int) -> None:
    machine = load_machine(name)
    assert machine.units["special"].rate("exp") == 16 * sms
    assert "exp" not in machine.units["tensor"].cycles
    assert "exp" not in machine.units["fp32"].cycles


def test_the_h200s_rates_are_those_of_its_roofline() -> None:
    # 206 operations of BF16 and 0.87 exponentials for each byte of memory.
    machine = load_machine("h200")
    memory = machine.outermost.bytes_per_s
    assert 2 * machine.units["tensor"].rate("mac") * machine.clock_hz / memory == pytest.approx(206, abs=0.5)
    assert machine.units["special"].rate("exp") * machine.clock_hz / memory == pytest.approx(0.87, abs=0.005)
    assert 2 * machine.units["fp32"].rate("mac") * machine.clock_hz / memory == pytest.approx(14, abs=0.1)


@pytest.mark.parametrize("name", GPUS)
def test_local_memories_move_128_bytes_a_clock(name: str) -> None:
    machine = load_machine(name)
    local = next(m for m in machine.memories.values() if m.name in ("shared_memory", "local_data_share"))
    assert local.bytes_per_s == pytest.approx(local.instances * 128 * machine.clock_hz, rel=1e-3)
    assert local.row_bits == 128 * 8


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256, 512])
def test_sizes_of_fusemax_are_those_of_its_pareto_curve(size: int) -> None:
    path = Path(reports.fusemax.__file__).with_name("pareto_inputs.csv")
    with path.open(newline="") as file:
        row = next(r for r in csv.DictReader(file) if r["model"] == "bert" and int(r["pe_dim"]) == size)
    machine, cloud = load_machine(f"fusemax_{size}"), load_machine("fusemax")
    differing = {"array_2d.rows": size, "array_2d.cols": size, "array_1d.lanes": size,
                 "global_buffer.bytes": int(row["global_buffer_bytes"]), "global_buffer.row_bits": int(row["row_bits"]),
                 "array_2d.register_file.depth": int(row["depth_2d"]), "array_1d.register_file.depth": int(row["depth_1d"])}
    assert machine.parameters() == {**cloud.parameters(), **differing}


@pytest.mark.parametrize("name", SPATIAL)
def test_spatial_arrays_have_the_paths_that_settings_use(name: str) -> None:
    parameters = load_machine(name).parameters()
    wanted = {"clock_hz", "array_2d.rows", "array_2d.cols", "array_2d.cycles.mac", "array_1d.lanes", "array_1d.cycles.exp",
              "global_buffer.bytes", "dram.bytes_per_s", "value_bytes"}
    assert wanted <= set(parameters)


@pytest.mark.parametrize("name", machine_ids())
def test_every_number_has_a_source_or_a_rule_with_a_band(name: str) -> None:
    machine = load_machine(name)
    for path, value in machine.parameters().items():
        known = machine.provenance[path]
        assert source_of(machine, path) == known.text != ""
        assert known.band is not None or not known.estimated, path
        if known.band is not None:
            assert known.band[0] <= value <= known.band[1], path


@pytest.mark.parametrize("name", machine_ids())
def test_costs_at_the_ends_enclose_the_nominal_ones(name: str) -> None:
    low, nominal, high = (load_machine(name, costs=end) for end in ("low", "nominal", "high"))
    for path, value in nominal.parameters().items():
        if path.endswith("_pj") or any(key in path for key in ("energy_pj", "area_um2", ".pj_per_")):
            assert low.parameter(path) <= value <= high.parameter(path), path
        else:
            assert low.parameter(path) == value == high.parameter(path), path
    for key in nominal.memories:
        costs = [m.memories[key].cost(2) for m in (low, nominal, high)]
        assert costs[0].read_pj <= costs[1].read_pj <= costs[2].read_pj
        assert costs[0].write_pj <= costs[1].write_pj <= costs[2].write_pj
