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
from accelerator_sim.events.engine import TICKS, Engine, Task
from accelerator_sim.events.repeats import Repeats
from accelerator_sim.events.simulate import simulate_events
from accelerator_sim.events.trace import chrome_trace
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DesignError
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
    moved = sum(s.bytes_moved for s in stages)
    return cycles / found.latency_cycles - 1, moved / found.dram_bytes - 1


@pytest.mark.parametrize("model", ["bert", "xlm"])
@pytest.mark.parametrize("design", ["binding", "arch", "pipelined", "cascade", "unfused", "flat"])
def test_latency_and_traffic_agree_on_every_design(design: str, model: str) -> None:
    cycles, moved = _both(_attention(design, 4096, model))
    assert abs(cycles) < STEADY
    assert moved == pytest.approx(0, abs=1e-12)


@settings(max_examples=4, deadline=None)
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


@given(st.data())
def test_the_engine_keeps_needs_and_resources(data: st.DataObject) -> None:
    engine = Engine()
    needs: list[list[int]] = []
    ended: list[float] = []
    for number in range(data.draw(st.integers(1, 30))):
        needs.append(data.draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else [])
        task = Task(str(number), data.draw(st.sampled_from(["a", "b", None])), data.draw(st.integers(0, 9)), 0)
        assert engine.add(task, number, needs[-1]) == number
        # If resources were unlimited: the longest path.
        ended.append(max((ended[n] for n in needs[-1]), default=0.0) + task.duration)
    while engine.step():
        pass
    assert not engine.live
    assert not engine.open
    times = {int(task.name): (begin / TICKS, end / TICKS, task) for task, begin, end in engine.ended}
    for number, (begin, end, task) in times.items():
        assert end == begin + task.duration
        assert all(times[n][1] <= begin for n in needs[number])
    work = {r: sum(t.duration for _, _, t in times.values() if t.resource == r) for r in ("a", "b")}
    for resource, total in work.items():
        spans = sorted((begin, end) for begin, end, t in times.values() if t.resource == resource and t.duration)
        assert all(b[0] >= a[1] for a, b in itertools.pairwise(spans))
        assert engine.busy.get(resource, 0) == total * TICKS
    assert engine.now / TICKS >= max(*ended, *work.values())


def test_tasks_of_earlier_slots_go_first() -> None:
    engine = Engine()
    for slot in (2, 1, 0):
        engine.add(Task(str(slot), "a", 1, slot), slot)
    while engine.step():
        pass
    assert [task.name for task, _, _ in engine.ended] == ["0", "1", "2"]


# --- what repeats ---


@pytest.mark.parametrize(("design", "seq_len", "heads"), [
    ("binding", 1024, 30), ("binding", 2000, 20), ("pipelined", 2000, 16), ("arch", 1500, 40), ("cascade", 2000, 8), ("unfused", 700, 7),
    ("flat", 4096, 250)])
def test_what_is_added_at_once_is_what_would_have_been_simulated(design: str, seq_len: int, heads: int, monkeypatch: pytest.MonkeyPatch
                                                                ) -> None:
    found = _attention(design, seq_len)
    plan = estimate(found.plan.cascade, found.plan.design, found.plan.machine, Shape(found.plan.shape.extents, {"h": heads})).plan
    at_once = simulate_events(plan)
    assert any(s.repetitions for s in at_once)
    assert sum(s.simulated for s in at_once) < sum(s.epochs for s in at_once)
    monkeypatch.setattr(Repeats, "after", lambda *_: 0)
    one_by_one = simulate_events(plan)
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        assert not theirs.repetitions
        assert (ours.cycles, ours.busy) == (theirs.cycles, theirs.busy)
        assert ours.moved == pytest.approx(theirs.moved, rel=1e-12)


@pytest.mark.parametrize("seq_len", [262144, 1048576])
def test_a_million_tokens_are_simulated_by_events(seq_len: int) -> None:
    found = _attention("binding", seq_len)
    (stage,) = simulate_events(found.plan)
    assert stage.epochs == 768 * (seq_len // 256) ** 2
    assert stage.simulated < 5000
    assert abs(stage.cycles / found.latency_cycles - 1) < 0.001
    assert stage.bytes_moved == found.dram_bytes
    assert "A24: stage attention: " in stage.note


def test_tiles_that_never_repeat_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerator_sim.events.simulate.MOST_TASKS", 3000)
    monkeypatch.setattr(Repeats, "after", lambda *_: 0)
    with pytest.raises(DesignError, match=r"stage 'attention': more than 3,000 tiles do not repeat, got \d+ of 3,073 epochs until there; "
                                          r"shorten the sequence, or use --timing analytic"):
        simulate_events(_attention("binding", 512).plan)
