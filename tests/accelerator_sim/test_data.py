"""What depends on data: expected and worst cases against all data that there can be, segments, densities of masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest

from accelerator_sim.counts import count_stage
from accelerator_sim.data import EXPECTED, WORST, Case, Data
from accelerator_sim.estimate import estimate
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape, make_plan
from accelerator_sim.segments import segment_offsets
from accelerator_sim.unfused import unfused_design
from einsum_cascades import parse
from einsum_cascades.errors import DesignError, ExtentError
from tests.accelerator_sim import random_designs
from tests.accelerator_sim.random_designs import case_of
from tests.accelerator_sim.trace import Trace, trace

GATHERS = ("Y[i,k] = A[X[i], k] * B[i]\nZ[l] = A[l, 0]", "Y[i,j] = A[i, X[i,j]] * B[j]\nZ[l] = A[0, l]",
           "Y[i] = A[X[i,j]] * B[j]\nZ[l] = A[l]")
SCATTERS = ("Y[X[i],k] = A[i,k] * B[i]\nZ[l,k] = Y[l,k] * C[k]", "Y[k,X[i]] = max[i,j] A[i,k,j]\nZ[l,k] = Y[k,l] * C[k]")
MASKS = ("S[i,j] = A[i,k] * B[j,k] where Mask[i // 2, j // 2] > 0", ("S[i,j] = A[i] * B[j] where Mask[i // 2, j // 2] > 0 and j <= i\n"
         "Y[i] = max[j] S[i,j]"))
Figures = dict[tuple[str, ...], float]


def figures(found: Any) -> Figures:
    """All numbers of the counts of a stage, or of its trace."""
    made: Figures = defaultdict(float)
    for memory, tensors in found.memories.items():
        for tensor, access in tensors.items():
            for kind in ("reads", "writes", "fills", "drains"):
                made[memory, tensor, kind] += getattr(access, kind)
    for name, access in found.registers.items():
        reads, writes = access if isinstance(found, Trace) else (access.reads, access.writes)
        made[name, "registers", "reads"] += reads
        made[name, "registers", "writes"] += writes
    for name, steps in found.steps.items():
        made[name, "steps"] += steps
        for operator, count in found.operations[name].items():
            made[name, operator] += count
    return made


def cases(texts: tuple[str, ...], random: Random, number: int) -> Iterator[random_designs.Case]:
    """Random designs that the simulator counts."""
    while number:
        case = case_of(random, random.choice(texts))
        case = replace(case, extents={r: min(n, 4 if r in "ij" and "Mask" in case.text else 3) for r, n in case.extents.items()},
                       instances={"b": 1})
        try:
            modelled(case, WORST, Data())
        except DesignError:
            continue
        number -= 1
        yield case


def modelled(case: random_designs.Case, what: Case, data: Data) -> Figures:
    plan = make_plan(case.cascade, case.design, case.machine, Shape(case.extents, case.instances, data=data, case=what))
    made: Figures = defaultdict(float)
    for stage in case.design.stages:
        for key, value in figures(count_stage(plan, stage)).items():
            made[stage.name, *key] += value
    return made


def traced(case: random_designs.Case, data: Mapping[str, Any]) -> Figures:
    seen = trace(case.cascade, case.design, case.machine, case.extents, case.instances, case.sizes,
                 {name: dict(np.ndenumerate(values)) for name, values in data.items()})
    made: Figures = defaultdict(float)
    for name, own in seen.items():
        for key, value in figures(own).items():
            made[name, *key] += value
    return made


def draws(case: random_designs.Case) -> Iterator[Any]:
    shape = (case.extents["i"], case.extents["j"]) if "X[i,j]" in case.text else (case.extents["i"],)
    for values in product(range(case.extents["l"]), repeat=int(np.prod(shape))):
        yield np.array(values).reshape(shape)


@pytest.mark.parametrize(("texts", "seed"), [(GATHERS, 1), (GATHERS, 2), (SCATTERS, 3), (SCATTERS, 4)])
def test_expected_counts_are_the_mean_over_all_draws_and_none_is_worse_than_the_worst(texts: tuple[str, ...], seed: int) -> None:
    for case in cases(texts, Random(seed), 4):
        if "X[i,j]" in case.text:
            case = replace(case, extents={**case.extents, "i": min(case.extents["i"], 2), "j": min(case.extents["j"], 2)})
        every = [traced(case, {"X": values}) for values in draws(case)]
        mean: Figures = defaultdict(float)
        for one in every:
            for key, value in one.items():
                mean[key] += value / len(every)
        expected, worst = modelled(case, EXPECTED, Data()), modelled(case, WORST, Data())
        for key in {*mean, *expected}:
            assert expected[key] == pytest.approx(mean[key], rel=1e-9, abs=1e-9), (case.text, key)
            most = max(one[key] for one in every)
            assert most <= worst[key], (case.text, key)
            if key[-1] in ("reads", "fills") and texts is GATHERS:
                assert most == worst[key], (case.text, key)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mask_of_some_density_counts_the_mean_over_all_masks(seed: int) -> None:
    density = 0.3
    for case in cases(MASKS, Random(seed), 3):
        shape = (-(-case.extents["i"] // 2), -(-case.extents["j"] // 2))
        mean: Figures = defaultdict(float)
        for values in product((0, 1), repeat=int(np.prod(shape))):
            likely = np.prod([density if v else 1 - density for v in values])
            for key, value in traced(case, {"Mask": np.array(values).reshape(shape)}).items():
                mean[key] += float(likely) * value
        try:
            found = modelled(case, WORST, Data(density={"Mask": density}))
        except DesignError as error:
            assert "of which predicates leave some idle" in str(error)
            continue
        for key in {*mean, *found}:
            assert found[key] == pytest.approx(mean[key], rel=1e-9, abs=1e-9), (case.text, case.extents, key)


def test_results_carry_both_cases_where_they_differ() -> None:
    machine = load_machine("fusemax")
    cascade, shape = parse(GATHERS[0]), Shape({"i": 100, "k": 8, "l": 50})
    found = estimate(cascade, unfused_design(cascade, machine, shape), machine, shape)
    assert found.expected is not None
    assert found.expected.dram_bytes < found.dram_bytes
    assert found.to_dict()["expected"] == {k: v for k, v in found.expected.to_dict().items() if k in (
        "latency_s", "latency_cycles", "dram_bytes", "utilization", "energy_pj", "bound")}
    known = replace(shape, data=Data({"X": np.zeros(100, int)}))
    assert estimate(cascade, unfused_design(cascade, machine, known), machine, known).expected is None


SEGMENTS = parse("Y[s,k] = A[t,k] * B[s] where Off[s] <= t and t < Off[s + 1]")


def test_segments_count_the_work_that_is_there() -> None:
    machine, extents = load_machine("fusemax"), {"s": 4, "t": 10, "k": 3}

    def operations(data: Data) -> float:
        shape = Shape(extents, data=data)
        found = estimate(SEGMENTS, unfused_design(SEGMENTS, machine, shape), machine, shape)
        assert any("A43" in note for note in found.notes) is not bool(data.values)
        return float(found.counts["Y"].operations["Y"]["mac"])
    assert operations(Data({"Off": segment_offsets(SEGMENTS, "Off", [1, 0, 5, 2], extents)})) == 8 * 3
    assert operations(Data()) == 10 * 3


@pytest.mark.parametrize(("lengths", "expected"), [("even", [3, 3, 2, 2]), ("uniform:1:7", [1, 2, 3, 4]), ("exponential", [0, 1, 3, 6])])
def test_lengths_by_a_distribution_fill_the_rank(lengths: str, expected: list[int]) -> None:
    assert np.diff(segment_offsets(SEGMENTS, "Off", lengths, {"s": 4, "t": 10, "k": 3})).tolist() == expected


@pytest.mark.parametrize(("tensor", "lengths", "message"), [
    ("Off", [1, 2], "segments of 'Off': there are 4 of them (extent of s), got 2 lengths; give as many"),
    ("Off", [9, 9, 9, 9], ("segments of 'Off': they lie in the 10 coordinates of t, got lengths of 36 together; shorten them, or give "
     "--extent t=36")),
    ("A", [1], "segments of 'A': no predicate bounds segments by it, got such a tensor; use one of Off"),
    ("Off", "normal", ("segments of 'Off': there is no such distribution of lengths, got 'normal'; use one of even, uniform:LOW:HIGH, "
                       "exponential, or lengths such as 3,5,2")),
])
def test_wrong_lengths_are_refused(tensor: str, lengths: Any, message: str) -> None:
    with pytest.raises(ExtentError) as caught:
        segment_offsets(SEGMENTS, tensor, lengths, {"s": 4, "t": 10, "k": 3})
    assert str(caught.value) == message
