"""Arrays of machine parameters: a batch gives what its points give one by one, and marks those that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accelerator_sim.designs import load_design, load_design_file
from accelerator_sim.energy import ACCOUNTINGS
from accelerator_sim.errors import CapacityError, ComponentError
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DesignError, UnknownNameError
from tests.accelerator_sim.small import small_machine
from tests.accelerator_sim.test_counts_against_trace import cascade_of
from workloads.variants import load_variant

MACHINES = {"unfused": "flat", "flat": "flat", "cascade": "flat", "arch": "fusemax", "binding": "fusemax", "pipelined": "fusemax"}
SEQ_LEN = 4096
SHAPE = Shape({"p": SEQ_LEN, "m": SEQ_LEN, "e": 64, "f": 64}, {"b": 64, "h": 12}, "bert", SEQ_LEN)

TOLERANCE = 1e-12
"""Of a batch against its points: floats of the same sums and products, in another order here and there."""


def figures(found: Estimate) -> dict[str, Any]:
    """All numbers of an estimate by name."""
    result = {"latency_s": found.latency_s, "latency_cycles": found.latency_cycles, "dram_bytes": found.dram_bytes}
    for kind, values in (("utilization", found.utilization), ("area_mm2", found.area_mm2),
                         *((accounting, found.energy_under(accounting)) for accounting in ACCOUNTINGS)):
        result |= {f"{kind}.{name}": value for name, value in values.items()}
    for stage, counts in found.counts.items():
        for memory, tensors in counts.memories.items():
            for tensor, access in tensors.items():
                result |= {f"{stage}.{memory}.{tensor}.{kind}": getattr(access, kind) for kind in
                           ("reads", "writes", "fills", "drains")}
        for einsum, registers in counts.registers.items():
            result |= {f"{stage}.{einsum}.reads": registers.reads, f"{stage}.{einsum}.writes": registers.writes,
                       f"{stage}.{einsum}.steps": counts.steps[einsum]}
    return result


def at(value: Any, number: int, count: int) -> float:
    """The value of one point; a number is that of all."""
    found = np.broadcast_to(value, (count,))[number]
    return float(found)


def compare(batch: Estimate, points: list[Estimate | None]) -> None:
    """Asserts that a batch is its points; None is a point that does not fit."""
    count = len(points)
    valid = np.broadcast_to(batch.valid, (count,))
    assert valid.tolist() == [p is not None for p in points]
    together = figures(batch)
    for number, point in enumerate(points):
        if point is not None:
            # What spills nothing has no line by itself, and one of zeros in a batch.
            alone = {**dict.fromkeys(together, 0), **figures(point)}
            assert together.keys() == alone.keys()
            for name, value in alone.items():
                assert at(together[name], number, count) == pytest.approx(value, rel=TOLERANCE, abs=0), (name, number)


def one_by_one(name: str, machine: Machine, values: Mapping[str, Any], shape: Shape, design: Any = None) -> list[Estimate | None]:
    points: list[Estimate | None] = []
    for number in range(len(next(iter(values.values())))):
        own = with_parameters(machine, {path: array[number].item() for path, array in values.items()})
        try:
            points.append(estimate(cascade_of(name), design or load_design(name), own, shape))
        except CapacityError:
            points.append(None)
    return points


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_batch_of_large_machines_is_its_points(name: str) -> None:
    rng, count = np.random.default_rng(7), 24
    values = {
        "array_2d.rows": rng.integers(16, 600, count), "array_2d.cols": rng.integers(16, 600, count),
        "array_1d.lanes": rng.integers(16, 600, count), "array_1d.cycles.exp": rng.integers(1, 30, count),
        "array_1d.energy_pj.mac": rng.uniform(1, 30, count), "global_buffer.bytes": rng.integers(2**20, 2**25, count),
        "dram.bytes_per_s": rng.uniform(1e10, 1e13, count), "dram.read_pj": rng.uniform(10, 300, count),
        "clock_hz": rng.uniform(1e8, 2e9, count), "value_bytes": rng.choice([1, 2, 4], count),
        "array_1d.register_file.depth": rng.integers(1, 128, count), "array_2d.area_um2.mac": rng.uniform(100, 2000, count),
    }
    design = load_design(name, "bert", SEQ_LEN)
    machine = load_machine(MACHINES[name])
    batch = estimate(cascade_of(name), design, with_parameters(machine, values), SHAPE)
    points = one_by_one(name, machine, values, SHAPE, design)
    assert sum(p is not None for p in points) > 5
    compare(batch, points)


@pytest.mark.parametrize("name", sorted(MACHINES))
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_small_machines_is_its_points(name: str, seed: int) -> None:
    """Sides that divide nothing, parts that are longer than their rank, buffers that are too small for a tile."""
    rng, count = np.random.default_rng(seed), 30
    shape = Shape({r: int(rng.integers(1, 13)) for r in ("p", "m")} | {r: int(rng.integers(1, 4)) for r in ("e", "f")}, {"h": 2},
                  "small", 0)
    values = {"array_2d.rows": rng.integers(1, 6, count), "array_2d.cols": rng.integers(1, 6, count),
              "array_1d.lanes": rng.integers(1, 6, count), "global_buffer.bytes": rng.integers(10, 400, count),
              "array_2d.cycles.mac": rng.integers(1, 4, count)}
    row = {"workload": "small", "seq_len": "0", **{f"{t}_loc": "onchip" if t != "QK" else "offchip" for t in
                                                   ("Q", "K", "QK", "A", "V", "AV")},
           "QK_stationarity": "weight", "AV_stationarity": "input", "fusion_granularity": "row", "P1": "3", "proportion_spilled": "0"}
    design = replace(load_design_file("flat"), table=(row,)).design("small", 0) if name == "flat" else load_design(name)
    batch = estimate(cascade_of(name), design, with_parameters(small_machine(), values), shape)
    compare(batch, one_by_one(name, small_machine(), values, shape, design))


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_linear_layers_is_its_points(seed: int) -> None:
    rng, count = np.random.default_rng(seed), 30
    shape = Shape({"m": int(rng.integers(1, 30)), "n": int(rng.integers(1, 30)), "k": int(rng.integers(1, 6))})
    values = {"array_2d.rows": rng.integers(1, 9, count), "array_2d.cols": rng.integers(1, 9, count),
              "global_buffer.bytes": rng.integers(10, 400, count)}
    batch = estimate(cascade_of("linear"), load_design("linear"), with_parameters(small_machine(), values), shape)
    compare(batch, one_by_one("linear", small_machine(), values, shape))


def test_points_that_do_not_fit_are_marked() -> None:
    values = {"global_buffer.bytes": np.array([39, 40])}
    machine, shape = small_machine(2, 2, 2), Shape({"p": 4, "m": 4, "e": 2, "f": 2})
    batch = estimate(cascade_of("binding"), load_design("binding"), with_parameters(machine, values), shape)
    assert batch.valid.tolist() == [False, True]
    alone = estimate(cascade_of("binding"), load_design("binding"), with_parameters(machine, {"global_buffer.bytes": 40}), shape)
    assert batch.latency_s[1] == alone.latency_s
    assert alone.valid is True


def test_a_batch_names_no_bound() -> None:
    values = {"dram.bytes_per_s": np.array([1e3, 1e15])}
    machine, shape = small_machine(2, 2, 2), Shape({"p": 4, "m": 4, "e": 2, "f": 2})
    batch = estimate(cascade_of("binding"), load_design("binding"), with_parameters(machine, values), shape)
    assert batch.bound is None
    alone = [estimate(cascade_of("binding"), load_design("binding"), with_parameters(machine, {"dram.bytes_per_s": b}), shape)
             for b in (1e3, 1e15)]
    assert [found.bound for found in alone] == ["dram", "array_1d"]


def test_what_a_batch_cannot_hold_is_refused() -> None:
    shape = Shape({"p": 512, "m": 512, "e": 64, "f": 64})
    for path, values, error, message in (
            ("array_2d.row", [1], UnknownNameError, "unknown parameter, got 'array_2d.row'; did you mean 'array_2d.rows'"),
            ("global_buffer.bytes", [2**24, 2**60], ComponentError, "nothing is extrapolated"),
            ("array_1d.register_file.depth", [4, 4000], ComponentError, "nothing is extrapolated, got a depth out of range"),
            ("global_buffer.row_bits", [4096, 2048], ComponentError, "it must be one number for all design points, got an array")):
        with pytest.raises(error, match=message):
            estimate(cascade_of("binding"), load_design("binding"),
                     with_parameters(load_machine("fusemax"), {path: np.array(values)}), shape)
    masked = load_variant("attention").cascade("1pass", where={"BQK": "m1*M0 + m0 <= p"})
    with pytest.raises(DesignError, match="predicates and windows are counted for one machine at a time, got arrays of sizes"):
        estimate(masked, load_design("binding"), with_parameters(load_machine("fusemax"), {"array_2d.rows": np.array([128, 256])}), shape)


def test_setting_a_parameter_leaves_the_machine_as_it_was() -> None:
    machine = load_machine("fusemax")
    before = dict(machine.parameters())
    with_parameters(machine, {"array_2d.rows": np.array([1, 2]), "array_1d.cycles.exp": 3})
    assert machine.parameters() == before
