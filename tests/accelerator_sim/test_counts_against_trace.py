"""Action counts of the shipped designs against a brute-force trace of their loop nests, on small machines and odd shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelerator_sim.capacity import tile_values
from accelerator_sim.counts import Access, StageCounts, count_stage, cycles_per_point
from accelerator_sim.design import Design
from accelerator_sim.designs import load_design, load_design_file
from accelerator_sim.errors import CapacityError
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Plan, Shape, make_plan
from einsum_cascades.ir import Cascade
from tests.accelerator_sim.small import given_sizes, small_machine
from tests.accelerator_sim.trace import Moves, Trace, trace
from workloads.variants import load_variant

CASCADES = {"unfused": ("attention", "3pass"), "flat": ("attention", "3pass"), "cascade": ("attention", "1pass"),
            "arch": ("attention", "1pass"), "binding": ("attention", "1pass"), "pipelined": ("attention", "1pass"),
            "linear": ("gemm", "product")}

EXAMPLES = 25
"""Random cases of each test; more find rarer mistakes."""

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))


def cascade_of(design: str) -> Cascade:
    variant, algorithm = CASCADES[design]
    return load_variant(variant).cascade(algorithm)


def check(plan: Plan, *, tolerance: float = 0.0) -> None:
    """Asserts that a plan's counts are those of the trace: equal, unless shares of tiles are spilled."""
    design, machine, shape = plan.design, plan.machine, plan.shape
    sizes = {p: int(plan.space.sizes[p]) for p in design.sizes}
    assert sizes.items() >= given_sizes(design, machine, shape.extents).items()
    traced = trace(plan.cascade, design, machine, shape.extents, shape.instances, sizes,
                   {name: dict(np.ndenumerate(values)) for name, values in shape.data.values.items()})
    for stage in design.stages:
        counts, seen = count_stage(plan, stage), traced[stage.name]
        for memory, tensor in {(m, t) for source in (counts.memories, seen.memories) for m in source for t in source[m]}:
            access = counts.memories.get(memory, {}).get(tensor, Access())
            moves = seen.memories.get(memory, {}).get(tensor, Moves())
            for kind in ("reads", "writes", "fills", "drains"):
                found, expected = getattr(access, kind), getattr(moves, kind)
                assert found == (pytest.approx(expected, rel=tolerance) if tolerance else expected), (stage.name, memory, tensor, kind)
        for (nest, memory, tensor), values in seen.tiles.items():
            kept = next(k for k in design.bindings[nest].kept[memory] if k.tensor == tensor)
            # Room is there for a tile of which predicates leave nothing.
            skips = any(w.walk.ties is not None for w in plan.works[nest])
            assert tile_values(plan, nest, kept) >= values if skips else tile_values(plan, nest, kept) == values, (memory, tensor, values)
        check_compute(plan, counts, seen)


def check_compute(plan: Plan, counts: StageCounts, seen: Trace) -> None:
    works = {w.name: w for nest in plan.works for w in nest}
    for name, registers in seen.registers.items():
        found = counts.registers[name]
        assert (name, found.reads, found.writes) == (name, *registers)
        assert (name, counts.steps[name]) == (name, seen.steps[name])
        assert {op: n for op, n in counts.operations[name].items() if n} == dict(seen.operations[name]), name
        cycles = cycles_per_point(works[name])
        assert list(counts.cycles[name].values()) == [seen.steps[name] * cycles]
        assert list(counts.busy[name].values()) == [seen.points[name] * cycles]
    crossed = {(t.tensor, t.receiver): (t.values, t.consumer.walk.held(t.consumer.operand(t.tensor))) for t in counts.transfers}
    assert crossed == seen.crossed
    for transfer in counts.transfers:
        values, delivered = seen.crossed[transfer.tensor, transfer.receiver]
        assert transfer.multicast or delivered == values


def plan_or_skip(cascade: Cascade, design: Design, machine: Machine, extents: Mapping[str, int],
                 instances: Mapping[str, int] | None = None) -> Plan:
    try:
        return make_plan(cascade, design, machine, Shape(extents, instances or {}))
    except CapacityError:
        assume(False)
        raise


@pytest.mark.parametrize("design", ["unfused", "cascade", "arch", "binding", "pipelined"])
@given(sides=SIDES, extents=st.fixed_dictionaries({"p": st.integers(1, 10), "m": st.integers(1, 10), "e": st.integers(1, 3),
                                                   "f": st.integers(1, 3)}),
       heads=st.integers(1, 2), buffer_bytes=st.integers(100, 1000))
@settings(max_examples=EXAMPLES, deadline=None)
def test_attention(design: str, sides: tuple[int, int, int], extents: dict[str, int], heads: int, buffer_bytes: int) -> None:
    machine = small_machine(*sides, buffer_bytes=buffer_bytes)
    check(plan_or_skip(cascade_of(design), load_design(design), machine, extents, {"b": 1, "h": heads}))


@given(sides=SIDES, extents=st.fixed_dictionaries({"m": st.integers(1, 20), "n": st.integers(1, 20), "k": st.integers(1, 5)}),
       buffer_bytes=st.integers(50, 500))
@settings(max_examples=EXAMPLES, deadline=None)
def test_linear_layer(sides: tuple[int, int, int], extents: dict[str, int], buffer_bytes: int) -> None:
    check(plan_or_skip(cascade_of("linear"), load_design("linear"), small_machine(*sides, buffer_bytes=buffer_bytes), extents))


STATIONARY = st.sampled_from(["output", "weight", "input"])
PLACES = st.sampled_from(["onchip", "offchip"])


@given(sides=SIDES, extents=st.fixed_dictionaries({"p": st.integers(1, 9), "m": st.integers(1, 9), "e": st.integers(1, 3),
                                                   "f": st.integers(1, 3)}),
       row=st.fixed_dictionaries({**{f"{t}_loc": PLACES for t in ("Q", "K", "QK", "A", "V", "AV")},
                                  "QK_stationarity": STATIONARY, "AV_stationarity": STATIONARY,
                                  "fusion_granularity": st.sampled_from(["row", "head"]), "P1": st.integers(1, 4),
                                  "proportion_spilled": st.sampled_from([0.0, 0.25, 0.1])}),
       buffer_bytes=st.integers(40, 1000))
@settings(max_examples=2 * EXAMPLES, deadline=None)
def test_flat_in_any_of_its_mappings(sides: tuple[int, int, int], extents: dict[str, int], row: dict[str, Any],
                                     buffer_bytes: int) -> None:
    chosen = {"workload": "small", "seq_len": "0", **{k: str(v) for k, v in row.items()}}
    design = replace(load_design_file("flat"), table=(chosen,)).design("small", 0)
    # Where QK goes through DRAM, a share of it overflows whatever the mapping says.
    spilled = row["proportion_spilled"] > 0 or row["QK_loc"] == "offchip"
    plan = plan_or_skip(cascade_of("flat"), design, small_machine(*sides, buffer_bytes=buffer_bytes), extents, {"b": 1, "h": 2})
    check(plan, tolerance=1e-12 if spilled else 0.0)
