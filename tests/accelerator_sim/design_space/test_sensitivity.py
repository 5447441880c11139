"""Sensitivity against single estimates, and against what must hold of any machine."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

import pytest

from accelerator_sim.design_space.sensitivity import LARGE, sensitivity
from accelerator_sim.designs import load_design
from accelerator_sim.errors import CapacityError
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import with_parameters
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from workloads.variants import load_variant

CASCADE = load_variant("attention").cascade("1pass")
DESIGN, MACHINE = load_design("binding"), load_machine("fusemax")
SHAPE = Shape({"p": 4096, "m": 4096, "e": 64, "f": 64}, {"b": 64, "h": 12})
ARRAY = ("array_2d.rows", "array_2d.cols", "array_1d.lanes")


def figures(found: Estimate) -> dict[str, float]:
    return {"latency": found.latency_s, "energy": found.energy_pj["total"], "area": found.area_mm2["total"]}


def test_wide_slopes_are_those_of_single_estimates() -> None:
    found = sensitivity(CASCADE, DESIGN, MACHINE, SHAPE, linked=[ARRAY])
    here = figures(estimate(CASCADE, DESIGN, MACHINE, SHAPE))
    assert ARRAY in [i.paths for i in found.parameters]
    for influence in found.parameters:
        for factor, side in ((1 / LARGE, "down"), (LARGE, "up")):
            values = {p: MACHINE.parameter(p) * factor for p in influence.paths}
            slopes = {name: getattr(influence.wide[name], side) for name in here}
            if any(v is None for v in slopes.values()):
                continue
            there = figures(estimate(CASCADE, DESIGN, with_parameters(MACHINE, {
                p: int(v) if v == int(v) else v for p, v in values.items()}), SHAPE))
            for name, slope in slopes.items():
                assert slope == pytest.approx(math.log(there[name] / here[name]) / math.log(factor), rel=1e-9, abs=1e-12), influence


def test_parameters_in_whole_numbers_step_to_whole_numbers() -> None:
    found = {i.paths: i for i in sensitivity(CASCADE, DESIGN, MACHINE, SHAPE).parameters}
    one_more = figures(estimate(CASCADE, DESIGN, with_parameters(MACHINE, {"array_1d.lanes": 259}), SHAPE))
    here = figures(estimate(CASCADE, DESIGN, MACHINE, SHAPE))
    assert found["array_1d.lanes",].near["area"].up == pytest.approx(math.log(one_more["area"] / here["area"]) / math.log(259 / 256))


def test_scaling_laws() -> None:
    """Time goes with the inverse of the clock where compute binds; energy is homogeneous in all energies; area in areas."""
    machine = with_parameters(MACHINE, {"dram.bytes_per_s": 1e15})
    found = {i.paths: i for i in sensitivity(CASCADE, DESIGN, machine, SHAPE).parameters}
    assert found["clock_hz",].wide["latency"].up == pytest.approx(-1)
    assert found["clock_hz",].wide["energy"].most == 0
    assert ("dram.bytes_per_s",) not in found
    slow = with_parameters(MACHINE, {"dram.bytes_per_s": 1e9})
    by_memory = sensitivity(CASCADE, DESIGN, slow, SHAPE)
    assert by_memory.binding == "dram"
    assert by_memory.loads["dram"] == pytest.approx(1)
    slopes = {i.paths: i.wide["latency"] for i in by_memory.parameters}
    assert slopes["dram.bytes_per_s",].up == pytest.approx(-1)
    assert slopes["dram.bytes_per_s",].down == pytest.approx(-1)
    assert ("clock_hz",) not in slopes
    areas = [p for p in MACHINE.parameters() if ".area_um2." in p]
    assert 0 < sum(found[p,].near["area"].up or 0 for p in areas) < 1


def test_a_kink_is_told() -> None:
    bound = {i.paths: i for i in sensitivity(CASCADE, DESIGN, MACHINE, SHAPE).parameters}
    lanes = bound["array_1d.lanes",].wide["latency"]
    assert lanes.down == pytest.approx(-1)
    assert lanes.up == 0
    assert lanes.kinked


def test_order_and_figure() -> None:
    for figure in ("latency", "energy", "area"):
        found = sensitivity(CASCADE, DESIGN, MACHINE, SHAPE, figure=figure)
        sizes = [abs(i.wide[figure].most) for i in found.parameters]
        assert sizes == sorted(sizes, reverse=True)
        spans = [abs(math.log(b.ratios[figure][1] / b.ratios[figure][0])) for b in found.bands]
        assert spans == sorted(spans, reverse=True)


def test_bands_are_single_estimates() -> None:
    found = {b.path: b for b in sensitivity(CASCADE, DESIGN, MACHINE, SHAPE, figure="energy").bands}
    here = figures(estimate(CASCADE, DESIGN, MACHINE, SHAPE))
    for place, value in enumerate((1.5, 17.1645)):
        there = figures(estimate(CASCADE, DESIGN, with_parameters(MACHINE, {"array_2d.energy_pj.mac": value}), SHAPE))
        assert found["array_2d.energy_pj.mac"].ratios["energy"][place] == pytest.approx(there["energy"] / here["energy"])
    buffer = MACHINE.memories["global_buffer"]
    cheap = replace(MACHINE, memories=MappingProxyType({**MACHINE.memories, "global_buffer": replace(buffer, table_factor=1 / 4.8)}))
    there = figures(estimate(CASCADE, DESIGN, cheap, SHAPE))
    assert found["global_buffer (SRAM table)"].ratios["energy"][0] == pytest.approx(there["energy"] / here["energy"])


def test_a_point_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CapacityError, match="do not fit global_buffer"):
        sensitivity(CASCADE, DESIGN, with_parameters(MACHINE, {"global_buffer.bytes": 40_000}), SHAPE)
