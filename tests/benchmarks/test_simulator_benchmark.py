"""How fast the simulator is: design points a second in batches, one estimate, and files read.

The stated target is a million design points a second in one process, for batches of 20,000 and more in which array
size, exp cost, buffer and bandwidth vary at a fixed length. ``extra_info`` has the rate of the median round.
"""

from __future__ import annotations

from typing import Any

import pytest

from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import with_parameters
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from workloads.variants import load_variant

POINTS = 20_000
SHAPE = Shape({"p": 16384, "m": 16384, "e": 64, "f": 64}, {"b": 64, "h": 12}, "bert", 16384)


def _batch(design: str) -> dict[str, Any]:
    import numpy as np
    random = np.random.default_rng(0)
    size = random.choice([32, 64, 128, 256, 512], POINTS)
    values = {"array_2d.rows": size, "array_2d.cols": size, "array_1d.lanes": size,
              "array_1d.cycles.exp": random.integers(1, 20, POINTS),
              "global_buffer.bytes": random.integers(2 ** 21, 2 ** 25, POINTS),
              "dram.bytes_per_s": random.uniform(1e11, 1e12, POINTS)}
    if design in ("binding", "arch", "pipelined"):
        values["array_2d.cycles.exp"] = random.integers(1, 20, POINTS)
    return values


@pytest.mark.parametrize("design", ["binding", "cascade", "unfused"])
def test_design_points_in_a_batch(benchmark: Any, design: str) -> None:
    found = load_design(design)
    cascade = load_variant("attention").cascade(found.cascade.partition(":")[2])
    machine, values = load_machine(found.machines[0]), _batch(design)

    def evaluate() -> Estimate:
        return estimate(cascade, found, with_parameters(machine, values), SHAPE)
    made = benchmark(evaluate)
    assert made.latency_s.shape == made.energy_pj["total"].shape == (POINTS,)
    if benchmark.stats is not None:
        benchmark.extra_info["points_per_second"] = POINTS / benchmark.stats.stats.median


def test_one_estimate(benchmark: Any) -> None:
    cascade, design, machine = load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax")
    assert benchmark(lambda: estimate(cascade, design, machine, SHAPE)).latency_s > 0


def test_files_of_a_machine_and_a_design(benchmark: Any) -> None:
    assert benchmark(lambda: (load_machine("fusemax"), load_design("binding")))
