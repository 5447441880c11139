"""Exploration: every point is the estimate of its machine alone, invalid points have the reason of their machine alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accelerator_sim.design_space import explore as module
from accelerator_sim.design_space.axes import grid, parse_axis
from accelerator_sim.design_space.explore import Explored, explore
from accelerator_sim.designs import load_design
from accelerator_sim.errors import ComponentError
from accelerator_sim.estimate import estimate
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, DesignError, FusebenchError, UnknownNameError
from workloads.variants import load_variant

SHAPE = Shape({"p": 1024, "m": 1024, "e": 64, "f": 64}, {"b": 2, "h": 3})
DESIGNS = {"binding": ("1pass", "fusemax"), "pipelined": ("1pass", "fusemax"), "cascade": ("1pass", "flat"), "unfused": ("3pass", "flat")}


def alone(machine: Machine, cascade: Any, design: Any, explored: Explored, point: int) -> tuple[Any, str | None]:
    """A point's estimate, or the reason why there is none."""
    own = with_parameters(machine, {p: int(v[point]) if v[point] == int(v[point]) else float(v[point])
                                    for p, v in explored.parameters.items()})
    try:
        return estimate(cascade, design, own, SHAPE), None
    except FusebenchError as error:
        return None, str(error)


def cost_of(machine: Machine, explored: Explored, point: int, component: str) -> object:
    """What a component of a point's machine costs."""
    own = with_parameters(machine, {p: v[point].item() for p, v in explored.parameters.items()})
    return own.units[component].pe_area_um2 if component in own.units else own.memory_cost(component, own.value_bytes)


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_points_are_their_machines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 37)
    algorithm, machine_name = DESIGNS[name]
    cascade, design, machine = load_variant("attention").cascade(algorithm), load_design(name), load_machine(machine_name)
    axes = [parse_axis(text, machine) for text in (
        "array_2d.rows=array_2d.cols=array_1d.lanes=16,50,256", "global_buffer.bytes=16K,40K,300K,64M,128M",
        "global_buffer.row_bits=512,4096", "dram.bytes_per_s=1e9..1e13*:3", "array_1d.register_file.depth=16,200")]
    found = explore(cascade, design, machine, SHAPE, grid(axes))
    reasons = set()
    for point in range(found.count):
        single, reason = alone(machine, cascade, design, found, point)
        if single is None:
            told = found.reason(point)
            assert told is not None
            assert not found.valid[point]
            assert np.isnan(found.latency_s[point])
            if "nothing is extrapolated" in told:
                with pytest.raises(ComponentError) as error:
                    cost_of(machine, found, point, told.split(".")[0])
                assert str(error.value) == told
            else:
                # Both name the memory, what it would have to hold and what there is; one machine's adds the tensors.
                assert told.split(", got")[0] == (reason or "").split(", got")[0]
            if "do not fit" in told:
                needed = told.split(", got ")[1].split()[0]
                assert f"got {needed} bytes" in (reason or "")
                assert told.endswith(f"bytes={needed}")
            reasons.add(told.split(", got")[0])
            continue
        assert found.valid[point]
        assert found.reason(point) is None
        assert found.bound_of(point) == single.bound
        for mine, other in ((found.latency_s, single.latency_s), (found.energy_pj, single.energy_pj["total"]),
                            (found.area_mm2, single.area_mm2["total"]), (found.dram_bytes, single.dram_bytes)):
            assert mine[point] == pytest.approx(other, rel=1e-12)
        for label, values in found.utilization.items():
            assert values[point] == pytest.approx(single.utilization[label], rel=1e-12)
    assert found.valid.sum() > 10
    assert len(reasons) >= 3


def test_one_machine_at_a_time_where_it_must_be() -> None:
    """Predicates are counted for one machine at a time: blocks are cut until they are."""
    cascade = load_variant("attention").cascade("1pass", where={"BQK": "m1*M0 + m0 <= p"})
    design, machine = load_design("binding"), load_machine("fusemax")
    axes = [parse_axis(t, machine) for t in ("array_2d.rows=array_2d.cols=array_1d.lanes=64,128", "dram.bytes_per_s=1e9..1e12*:5")]
    found = explore(cascade, design, machine, SHAPE, grid(axes))
    assert found.valid.all()
    for point in range(found.count):
        single, _ = alone(machine, cascade, design, found, point)
        assert found.latency_s[point] == pytest.approx(single.latency_s, rel=1e-12)
        assert found.bound_of(point) == single.bound


def test_what_fits_nowhere_is_said_before() -> None:
    machine = load_machine("fusemax")
    values = grid([parse_axis("array_2d.rows=1..400", machine)])
    told: list[int] = []
    with pytest.raises(DesignError, match="has no such Einsum, got 'BQK'"):
        explore(load_variant("attention").cascade("3pass"), load_design("binding"), machine, SHAPE, values, progress=told.append)
    with pytest.raises(DesignError, match="rank 'p' has no extent"):
        explore(load_variant("attention").cascade("1pass"), load_design("binding"), machine, Shape({"m": 8}), values, progress=told.append)
    assert told == []


def test_wrong_parameters() -> None:
    cascade, design, machine = load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax")
    with pytest.raises(UnknownNameError, match=r"did you mean 'array_2d.rows'"):
        explore(cascade, design, machine, SHAPE, {"array_2d.row": np.array([1])})
    with pytest.raises(DefinitionError, match=r"a whole number of at least 1, got 1.5"):
        explore(cascade, design, machine, SHAPE, {"array_2d.rows": np.array([1, 1.5])})


def test_progress_reaches_the_end() -> None:
    cascade, design, machine = load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax")
    told: list[int] = []
    found = explore(cascade, design, machine, SHAPE, grid([parse_axis("global_buffer.bytes=16K..256M*1.01", machine)]), progress=told.append)
    assert sum(told) == found.count
    frame = found.to_frame()
    assert len(frame) == found.count
    assert frame["reason"].isna().tolist() == frame["valid"].tolist()
