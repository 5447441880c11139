"""How fast design spaces are explored: points a second with everything that is told of each, and Pareto fronts.

The stated target is a million points a second in one process, invalid points and what binds each included.
"""

from __future__ import annotations

from typing import Any

import pytest

from accelerator_sim.design_space.axes import grid, parse_axis
from accelerator_sim.design_space.explore import Explored, explore
from accelerator_sim.design_space.pareto import pareto_front
from accelerator_sim.design_space.sensitivity import sensitivity
from accelerator_sim.design_space.sizing import size_to_area
from accelerator_sim.designs import load_design
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from workloads.variants import load_variant

SHAPE = Shape({"p": 16384, "m": 16384, "e": 64, "f": 64}, {"b": 64, "h": 12}, "bert", 16384)
AXES = ("array_2d.rows=array_2d.cols=array_1d.lanes=16..512*2", "global_buffer.bytes=16K..64M*1.05", "dram.bytes_per_s=1e10..1e12*:120")


@pytest.mark.benchmark(group="design space")
def test_points_of_a_sweep(benchmark: Any) -> None:
    cascade, design, machine = load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax")
    values = grid([parse_axis(text, machine) for text in AXES])

    def run() -> Explored:
        return explore(cascade, design, machine, SHAPE, values)
    made = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert 0 < made.valid.sum() < made.count
    if benchmark.stats is not None:
        benchmark.extra_info["points"] = made.count
        benchmark.extra_info["points_per_second"] = made.count / benchmark.stats.stats.median


@pytest.mark.benchmark(group="design space")
@pytest.mark.parametrize("figures", [2, 3, 4])
def test_front_of_random_points(benchmark: Any, figures: int) -> None:
    import numpy as np
    rows = np.random.default_rng(0).normal(size=(100_000, figures))
    assert benchmark.pedantic(pareto_front, (rows,), rounds=3).sum() >= figures


@pytest.mark.benchmark(group="design space")
def test_sensitivity_of_a_machine(benchmark: Any) -> None:
    cascade, design, machine = load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax")
    assert benchmark(lambda: sensitivity(cascade, design, machine, SHAPE)).binding == "array_1d"


@pytest.mark.benchmark(group="design space")
def test_sizing_to_an_area(benchmark: Any) -> None:
    machine = load_machine("fusemax")
    assert abs(benchmark(lambda: size_to_area(machine, 1000.0)).error) < 1e-3
