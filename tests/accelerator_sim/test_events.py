"""The event simulator against the analytic path: they share only their inputs."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.events.engine import Task, run
from accelerator_sim.events.simulate import simulate_events
from accelerator_sim.events.trace import chrome_trace
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from workloads.variants import load_variant

STEADY = 0.02
"""The two agree within this share in steady state."""


def _attention(design: str, seq_len: int, model: str = "bert", **settings: float) -> Estimate:
    """One layer's attention at a length where the pipeline's first tiles no longer count."""
    width, heads = (128, 16) if model == "xlm" else (64, 12)
    bound = load_design(design, model, seq_len)
    machine = load_machine(bound.machines[0], {k.replace("__", "."): v for k, v in settings.items()})
    shape = Shape({"p": seq_len, "m": seq_len, "e": width, "f": width}, {"b": 64, "h": heads}, model, seq_len)
    return estimate(load_variant("attention").cascade(bound.cascade.partition(":")[2]), bound, machine, shape)


def _both(found: Estimate) -> tuple[float, float]:
    stages = simulate_events(found.plan)
    cycles = sum(s.cycles for s in stages)
    moved = sum(s.bytes_moved / s.simulated * s.instances for s in stages)
    return cycles / found.latency_cycles - 1, moved / found.dram_bytes - 1


@pytest.mark.parametrize("model", ["bert", "xlm"])
@pytest.mark.parametrize("design", ["binding", "arch", "pipelined", "cascade", "unfused", "flat"])
def test_latency_and_traffic_agree_on_every_design(design: str, model: str) -> None:
    cycles, moved = _both(_attention(design, 4096, model))
    assert abs(cycles) < STEADY
    assert moved == pytest.approx(0, abs=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["binding", "pipelined"]), st.sampled_from([32, 64, 128, 256]), st.sampled_from([32, 64, 128, 256]),
       st.sampled_from([64, 128, 256]), st.integers(1, 12), st.integers(1, 12), st.sampled_from([2 ** 21, 2 ** 24]))
def test_they_agree_on_other_machines(design: str, rows: int, cols: int, lanes: int, exp_2d: int, exp_1d: int, buffer: int) -> None:
    found = _attention(design, 2048, array_2d__rows=rows, array_2d__cols=cols, array_1d__lanes=lanes,
                       array_2d__cycles__exp=exp_2d, array_1d__cycles__exp=exp_1d, global_buffer__bytes=buffer)
    cycles, moved = _both(found)
    assert abs(cycles) < STEADY
    assert moved == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", [(300, 500, 70), (1024, 1024, 512), (65, 64, 1000)])
def test_they_agree_on_products_that_do_not_divide(size: tuple[int, int, int]) -> None:
    machine = load_machine("fusemax", {"array_2d.rows": 32, "array_2d.cols": 16, "dram.bytes_per_s": 1e13})
    found = estimate(load_variant("gemm").cascade(), load_design("linear"), machine, Shape(dict(zip("mnk", size, strict=True))))
    cycles, moved = _both(found)
    assert moved == pytest.approx(0, abs=1e-12)
    # The first fetch and the last write stand alone at the ends.
    assert -STEADY < cycles < 0.1


def test_a_derived_schedule_has_the_steady_state_of_the_typed_one() -> None:
    for model, seq_len in itertools.product(("bert", "xlm"), (1024, 16384, 262144)):
        typed, derived = _attention("binding", seq_len, model), _attention("pipelined", seq_len, model)
        assert derived.stages["attention"].compute_cycles == typed.stages["attention"].compute_cycles


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([64, 128, 256, 512]), st.sampled_from([32, 64, 96]),
       st.sampled_from([32, 64, 160]))
def test_a_derived_schedule_is_never_longer(exp_2d: int, exp_1d: int, lanes: int, e: int, f: int) -> None:
    machine = load_machine("fusemax", {"array_2d.cycles.exp": exp_2d, "array_1d.cycles.exp": exp_1d, "array_1d.lanes": lanes})
    shape = Shape({"p": 2048, "m": 2048, "e": e, "f": f}, {"b": 2})
    cascade = load_variant("attention").cascade("1pass")
    typed = estimate(cascade, load_design("binding"), machine, shape)
    derived = estimate(cascade, load_design("pipelined"), machine, shape)
    assert derived.stages["attention"].compute_cycles <= typed.stages["attention"].compute_cycles * (1 + 1e-12)


def test_a_trace_is_one_of_complete_events_that_do_not_overlap() -> None:
    found = _attention("binding", 1024)
    trace: dict[str, Any] = json.loads(json.dumps(chrome_trace(simulate_events(found.plan), found.plan.machine.clock_hz)))
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in trace["traceEvents"]:
        assert event["ph"] in "MX"
        if event["ph"] == "X":
            lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    assert len(lanes) == 3
    for spans in lanes.values():
        spans.sort()
        assert all(b[0] >= a[1] - 1e-6 for a, b in itertools.pairwise(spans))


def _longest_wait(tasks: list[Task]) -> float:
    """The end of everything if resources were unlimited: the longest path."""
    ends: list[float] = []
    for task in tasks:
        ends.append(max((ends[n] for n in task.needs), default=0.0) + task.duration)
    return max(ends)


@given(st.data())
def test_the_engine_keeps_needs_and_resources(data: st.DataObject) -> None:
    tasks = []
    for number in range(data.draw(st.integers(1, 30))):
        needs = data.draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        tasks.append(Task(str(number), data.draw(st.sampled_from(["a", "b", None])), data.draw(st.integers(0, 9)), 0, needs))
    times = run(tasks)
    for number, task in enumerate(tasks):
        assert times.end[number] == times.begin[number] + task.duration
        assert all(times.end[n] <= times.begin[number] for n in task.needs)
    for resource in ("a", "b"):
        spans = sorted((times.begin[n], times.end[n]) for n, t in enumerate(tasks) if t.resource == resource and t.duration)
        assert all(b[0] >= a[1] for a, b in itertools.pairwise(spans))
    work = {r: sum(t.duration for t in tasks if t.resource == r) for r in ("a", "b")}
    assert max(times.end) >= max(_longest_wait(tasks), *work.values())


def test_tasks_in_a_circle_are_refused() -> None:
    with pytest.raises(ValueError, match="waits in a circle"):
        run([Task("x", "a", 1, 0, [1]), Task("y", "a", 1, 0, [0])])
