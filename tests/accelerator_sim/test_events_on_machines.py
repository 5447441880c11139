"""Events against counts on every shipped machine, on small random ones, and on memories and networks that bound the time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.events.simulate import StageEvents, simulate_events
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine, machine_ids, read_machine
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import unfused_design
from einsum_cascades.errors import DesignError
from tests.accelerator_sim.random_designs import random_case
from tests.accelerator_sim.small import definition
from workloads.variants import load_variant

STEADY = 0.02
"""Latencies agree within this share in steady state: over so many instances that the first fetch and the last write do not count."""

INSTANCES = 256

CASCADES = {
    "gemm:product": {"m": 256, "n": 256, "k": 256},
    "attention:3pass": {"p": 256, "m": 256, "e": 64, "f": 64},
    "mamba_s6:sequential": {"e": 256, "n": 16, "i": 128},
}


def on(machine: Machine, cascade: str, instances: int = INSTANCES) -> Estimate:
    variant, _, algorithm = cascade.partition(":")
    loaded = load_variant(variant).cascade(algorithm)
    shape = Shape(CASCADES[cascade], {"b": instances})
    return estimate(loaded, unfused_design(loaded, machine, shape), machine, shape)


def agree(found: Estimate, within: float = STEADY) -> tuple[StageEvents, ...]:
    """Asserts that events and counts agree in time, and are equal in what each memory moves."""
    stages = simulate_events(found.plan)
    assert abs(sum(s.cycles for s in stages) / found.latency_cycles - 1) < within
    moved: dict[str, float] = {}
    for stage in stages:
        for memory, size in stage.moved.items():
            moved[memory] = moved.get(memory, 0.0) + size
    for memory, expected in traffic(found).items():
        assert moved[memory] == pytest.approx(expected, rel=1e-12), memory
    return stages


def traffic(found: Estimate) -> dict[str, float]:
    """The bytes that each memory moves, by counts."""
    total = dict.fromkeys(found.plan.machine.memories, 0.0)
    for counts in found.counts.values():
        for memory, tensors in counts.memories.items():
            for tensor, access in tensors.items():
                total[memory] += float((access.reads + access.writes + access.fills + access.drains) * found.plan.value_bytes(tensor))
    return total


@pytest.mark.parametrize("name", machine_ids())
@pytest.mark.parametrize("cascade", list(CASCADES))
def test_they_agree_on_every_machine(name: str, cascade: str) -> None:
    agree(on(load_machine(name), cascade))


ARRAYS = [name for name in machine_ids() if "array_2d" in load_machine(name).units]


@pytest.mark.parametrize("name", ARRAYS)
def test_products_agree_on_every_array(name: str) -> None:
    machine = load_machine(name)
    agree(estimate(load_variant("gemm").cascade(), load_design("linear"), machine, Shape({"m": 65536, "n": 256, "k": 64})))


@pytest.mark.parametrize("name", ARRAYS)
def test_weights_at_rest_move_the_same_and_take_no_less(name: str) -> None:
    """Its tiles fill the buffer: there are few of them, and the first and the last stand alone."""
    machine = load_machine(name)
    found = estimate(load_variant("gemm").cascade(), load_design("linear_ws"), machine, Shape({"m": 4096, "n": 1024, "k": 1024}))
    stages = agree(found, 0.6)
    assert sum(s.cycles for s in stages) > found.latency_cycles * (1 - STEADY)


FUSEMAX = [name for name in ARRAYS if name.startswith("fusemax")]
FUSED = [pytest.param(name, design, marks=[pytest.mark.slow] if name not in ("fusemax_32", "fusemax_256") or design == "pipelined" and name != "fusemax_32" else [])
         for name in FUSEMAX for design in ("binding", "arch", "pipelined")]


@pytest.mark.parametrize(("name", "design"), FUSED)
def test_fused_attention_agrees_on_every_fusemax(name: str, design: str) -> None:
    machine = load_machine(name)
    length = 16 * int(machine.parameter("array_2d.cols"))
    shape = Shape({"p": length, "m": length, "e": 64, "f": 64}, {"b": 64})
    agree(estimate(load_variant("attention").cascade("1pass"), load_design(design), machine, shape))


# --- small machines ---


def small(random: Random) -> Machine:
    raw: dict[str, Any] = definition(random.randint(1, 8), random.randint(1, 8), random.randint(1, 8), inner_buffer={"bytes": 1 << 20})
    raw["dram"]["bytes_per_s"] = random.choice((1e8, 1e9, 1e10, 1e11))
    for memory in ("global_buffer", "inner_buffer"):
        if random.random() < 0.5:
            raw[memory]["bytes_per_s"] = random.choice((1e9, 1e10, 1e11))
    for unit in ("array_2d", "array_1d"):
        raw[unit]["cycles"] = {name: random.randint(1, 9) for name in raw[unit]["cycles"]}
    if random.random() < 0.5:
        raw["noc"] = {"kind": "network", "connects": ["global_buffer", random.choice(("array_2d", "array_1d"))],
                      "topology": "mesh", "pj_per_value": 1, "values_per_cycle": random.choice((0.5, 2, 8)),
                      "multicast": random.random() < 0.7}
        raw["sources"]["noc"] = "these tests"
    return read_machine(raw, "small")


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(list(CASCADES)))
def test_they_agree_on_random_machines(seed: int, cascade: str) -> None:
    random = Random(seed)
    variant, _, algorithm = cascade.partition(":")
    loaded = load_variant(variant).cascade(algorithm)
    machine = small(random)
    shape = Shape({r: random.randint(1, 12) for r in CASCADES[cascade]}, {"b": 400})
    agree(estimate(loaded, unfused_design(loaded, machine, shape), machine, shape))


def _full(found: Estimate) -> bool:
    """Whether every tile of every rank is full, and every step of a unit."""
    for works in found.plan.works:
        for work in works:
            space = work.walk.space
            if any(space.extents[rank] % space.inside(parts[0]) for rank, parts in space.parts.items()):
                return False
            if any(space.extent(part) % min(pes, space.extent(part)) for part, pes in work.spread.items()):
                return False
    return True


def test_random_designs_move_the_same_where_their_tiles_are_full() -> None:
    """Where tiles are not full, events take what comes through registers within an epoch by whole rounds: a few designs differ."""
    same = differ = 0
    for seed in range(1000, 1160):
        case = random_case(Random(seed))
        try:
            found = estimate(case.cascade, case.design, case.machine, Shape(case.extents, case.instances))
            stages = simulate_events(found.plan)
        except DesignError:
            continue
        if _full(found):
            moved = {memory: sum(s.moved[memory] for s in stages) for memory in found.plan.machine.memories}
            ours = moved == pytest.approx(traffic(found), rel=1e-12)
            same, differ = same + ours, differ + (not ours)
    assert same > 40
    assert differ <= 1
