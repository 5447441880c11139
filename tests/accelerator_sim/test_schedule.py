"""Latency of phases against epochs that are stepped through one by one, and of the paper's designs against its cycles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.counts import count_stage
from accelerator_sim.design import Binding, Design, Phase, Schedule, Stage
from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.machines import load_machine, read_machine
from accelerator_sim.plan import Shape, make_plan
from accelerator_sim.schedule import stage_time
from einsum_cascades.errors import DefinitionError, DesignError
from einsum_cascades.mapping import CascadeMapping, Nest
from einsum_cascades.notation import parse
from tests.accelerator_sim.small import definition, small_machine
from workloads.variants import load_variant

LOOPS = {"X": ("i", "j"), "Y": ("i", "j"), "U": ("i",), "V": ("i",), "W": ()}
"""Einsums, and the loops of an epoch that they have; each has a rank of its own inside."""

TEXT = """
X[i,j,a] = A[i,j] * B[a]
Y[i,j,c] = exp(C[i,j] - D[c])
U[i,d] = E[i] + F[d]
V[i,e] = max(G[i], H[e])
W[g] = K[g] * L[g]
"""


@dataclass(frozen=True)
class Epochs:
    """Random work: which unit runs each Einsum, in which phase, how long, and where the arrays drain."""

    unit: dict[str, str]
    phases: tuple[Phase, ...]
    extents: dict[str, int]
    machine: Machine
    instances: int
    ahead: bool


def random_epochs(seed: int) -> Epochs:
    random = Random(seed)
    names = list(LOOPS)
    random.shuffle(names)
    raw = definition(rows=random.randint(1, 5), cols=2, lanes=2)
    raw["dram"]["bytes_per_s"] = 1e30
    for unit in ("array_2d", "array_1d"):
        raw[unit]["cycles"] = {name: random.randint(1, 6) for name in raw[unit]["cycles"]}
    phases: list[Phase] = []
    while names:
        take = random.randint(1, len(names))
        phases.append(Phase(tuple(names[:take])))
        names = names[take:]
        if random.random() < 0.4:
            phases.append(Phase(drain=random.choice(("array_2d", "array_1d"))))
    return Epochs({name: random.choice(("array_2d", "array_1d")) for name in LOOPS}, tuple(phases),
                  {r: random.randint(1, 5) for r in "ijacdeg"}, read_machine(raw, "m"), random.randint(1, 3), random.random() < 0.5)


def design_of(epochs: Epochs, **changes: Any) -> Design:
    nest = Nest(tuple(LOOPS), ("i", "j") if epochs.ahead else ("b", "i", "j"), {}, dict.fromkeys(LOOPS, ()))
    binding = Binding(epochs.unit, {name: {} for name in LOOPS}, {})
    made = Design("epochs", "Epochs", "these tests", "any", (), CascadeMapping((nest,), {}, ("b",)), {}, (binding,),
                  (Stage("all", (0,), Schedule(epochs.phases)),))
    return replace(made, **changes)


def stepped(epochs: Epochs, units: tuple[str, ...] = ("array_2d", "array_1d")) -> int:
    """The cycles of all epochs, one after another: a phase lasts as long as the longest of the units, and an Einsum that lacks a
    loop runs in its last round."""
    per_point = {"X": ("mul",), "Y": ("exp", "sub"), "U": ("add",), "V": ("max",), "W": ("mul",)}
    inside = {"X": "a", "Y": "c", "U": "d", "V": "e", "W": "g"}
    sides = {"i": epochs.extents["i"], "j": epochs.extents["j"]}
    total = 0
    for _, i, j in product(range(epochs.instances), range(sides["i"]), range(sides["j"])):
        at = {"i": i, "j": j}
        for phase in epochs.phases:
            if phase.drain is not None:
                total += epochs.machine.parameter("array_2d.rows") if phase.drain == "array_2d" else 0
                continue
            busy = {"array_2d": 0, "array_1d": 0}
            for name in phase.einsums:
                if all(at[x] == sides[x] - 1 for x in sides if x not in LOOPS[name]):
                    unit = epochs.machine.units[epochs.unit[name]]
                    busy[epochs.unit[name]] += epochs.extents[inside[name]] * sum(unit.cycles[o] for o in per_point[name])
            total += max(busy[unit] for unit in units)
    return total


@given(seed=st.integers(0, 10**9))
@settings(max_examples=200, deadline=None)
def test_phases_last_as_long_as_epochs_that_are_stepped_through(seed: int) -> None:
    epochs = random_epochs(seed)
    design = design_of(epochs)
    plan = make_plan(parse(TEXT), design, epochs.machine, Shape(epochs.extents, {"b": epochs.instances}))
    (stage,) = design.stages
    found = stage_time(plan, stage, count_stage(plan, stage))
    assert found.compute_cycles == pytest.approx(stepped(epochs), rel=1e-12)
    assert found.latency_cycles == pytest.approx(stepped(epochs), rel=1e-12)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_without_phases_the_busiest_unit_decides(seed: int) -> None:
    epochs = random_epochs(seed)
    design = design_of(epochs, stages=(Stage("all", (0,), Schedule()),))
    whole = replace(epochs, phases=(Phase(tuple(LOOPS)),))
    alone = [stepped(whole, (unit,)) for unit in ("array_2d", "array_1d")]
    found = estimate(parse(TEXT), design, epochs.machine, Shape(epochs.extents, {"b": epochs.instances}))
    assert found.latency_cycles == pytest.approx(max(alone), rel=1e-12)
    assert found.schedule == "overlapped"


def test_a_stage_waits_for_its_memory() -> None:
    epochs = random_epochs(0)
    design, shape = design_of(epochs), Shape(epochs.extents, {"b": epochs.instances})
    slow = with_parameters(epochs.machine, {"dram.bytes_per_s": 1e3})
    found = estimate(parse(TEXT), design, slow, shape)
    assert found.latency_s == pytest.approx(found.dram_bytes / 1e3, rel=1e-12)
    assert found.bound == "dram"


def _phases(*phases: Phase) -> tuple[Stage, ...]:
    return (Stage("all", (0,), Schedule(phases)),)


@pytest.mark.parametrize(("stages", "message"), [
    (_phases(Phase(("X", "Y", "U", "V", "W", "Z"))),
     "design 'epochs': stage 'all': phases: Einsum 'Z' is not in the stage, got it in a phase; use X, Y, U, V, W"),
    (_phases(Phase(("X", "Y", "U", "V", "W")), Phase(("Y",))),
     "design 'epochs': stage 'all': phases: Einsum 'Y' runs in two phases, got a second one; remove one"),
    (_phases(Phase(("X", "Y", "U")), Phase(("W",))),
     "design 'epochs': stage 'all': phases: Einsum 'V' runs in no phase, got phases of X, Y, U, W; add it to one"),
])
def test_phases_that_do_not_fit_the_stage_are_refused(stages: tuple[Stage, ...], message: str) -> None:
    epochs = random_epochs(0)
    with pytest.raises(DesignError) as caught:
        estimate(parse(TEXT), design_of(epochs, stages=stages), epochs.machine, Shape(epochs.extents))
    assert str(caught.value) == message


def test_an_epoch_is_of_one_nest() -> None:
    text = "X[i] = A[i] * B[i]\nY[j] = C[j] + D[j]"
    nests = (Nest(("X",), ("i",)), Nest(("Y",), ("j",)))
    bindings = (Binding({"X": "array_1d"}, {"X": {}}, {}), Binding({"Y": "array_1d"}, {"Y": {}}, {}))
    design = Design("epochs", "", "", "any", (), CascadeMapping(nests), {}, bindings,
                    (Stage("all", (0, 1), Schedule((Phase(("X", "Y")),))),))
    with pytest.raises(DesignError, match="an epoch is a round of the loops of one nest, got 2 nests"):
        estimate(parse(text), design, small_machine(), Shape({"i": 2, "j": 2}))


def test_einsums_of_one_phase_that_share_no_loops_are_refused() -> None:
    text = "X[i] = A[i] * B[i]\nY[j] = C[j] + D[j]"
    design = Design("epochs", "", "", "any", (), CascadeMapping((Nest(("X", "Y"), ("i", "j")),)), {},
                    (Binding({"X": "array_1d", "Y": "array_1d"}, {"X": {}, "Y": {}}, {}),), _phases(Phase(("X", "Y"))))
    with pytest.raises(DesignError, match="must share their loops or have fewer of them, got loops i and j"):
        estimate(parse(text), design, small_machine(), Shape({"i": 2, "j": 2}))


# --- the paper's designs, by the cycles of a tile that it gives ---


def fusemax(design: str, exp: int, seq_len: int, features: int) -> Estimate:
    machine = load_machine("fusemax", {"array_2d.cycles.exp": exp, "array_1d.cycles.exp": exp, "dram.bytes_per_s": 1e30})
    return estimate(load_variant("attention").cascade("1pass"), load_design(design), machine,
                    Shape({"p": seq_len, "m": seq_len, "e": features, "f": features}, {"b": 2, "h": 3}))


@pytest.mark.parametrize("features", [64, 128])
@pytest.mark.parametrize("exp", [6, 20])
def test_fusemax_takes_the_cycles_of_its_phases(features: int, exp: int) -> None:
    seq_len, heads = 1024, 6
    tiles = seq_len // 256
    # {2D: BQK, LM | 1D: RD, RNV, AV}, {1D: RM}, {2D: SLN, SLD | 1D: PRM, SPD}, {2D: SLNV | 1D: SPNV}; AV in the last round.
    epoch = (features + 1) + 1 + (exp + 1 + 1) + features
    assert fusemax("binding", exp, seq_len, features).latency_cycles == pytest.approx(heads * tiles * (tiles * epoch + features), rel=1e-12)
    # {2D: BQK, LM | 1D: RD, AV}, drain, {1D: RM}, {2D: SLN, SLD | 1D: PRM, SPD}, {2D: SLNV | 1D: SPNV, RNV}.
    epoch = (features + 1) + 256 + 1 + (exp + 1 + 1) + 2 * features
    assert fusemax("arch", exp, seq_len, features).latency_cycles == pytest.approx(heads * tiles * tiles * epoch, rel=1e-12)


def test_the_1d_array_bounds_the_cascade_on_flats_hardware() -> None:
    found = estimate(load_variant("attention").cascade("1pass"), load_design("cascade"), load_machine("flat"),
                     Shape({"p": 1024, "m": 1024, "e": 64, "f": 64}, {"b": 2, "h": 3}))
    # For each tile of 256 keys: LM, SLN (a subtraction and an exp) and SLD over every key; RM, PRM (2), SPD, RD; SPNV, RNV.
    tiles = 6 * 4 * 4
    assert found.latency_cycles == pytest.approx(tiles * (256 * 4 + 5 + 2 * 64) + 6 * 4 * 64, rel=1e-12)
    assert found.bound == "array_1d"


# --- latency apart from the interval ---


def with_latency(**latency: float) -> Machine:
    raw = definition(rows=1, cols=1, lanes=1)
    raw["dram"]["bytes_per_s"] = 1e30
    raw["array_1d"]["latency"] = latency
    return read_machine(raw, "m")


def recurrence(machine: Machine) -> Estimate:
    """A running maximum over i of values that the other unit makes: the maximum's latency is in a circle, the product's in the fill."""
    cascade = parse("init R[0] = 0\nS[i] = A[i] * B[i]\nR[i+1] = max(R[i], S[i])\nT[i] = exp(R[i+1] - S[i])")
    units = {"S": "array_2d", "R": "array_1d", "T": "array_2d"}
    design = Design("d", "", "", "any", (), CascadeMapping((Nest(("S", "R", "T"), ("i",)),), {}, ()), {},
                    (Binding(units, {key: {} for key in units}, {}, {"S": ("R", "T"), "R": ("R", "T")}),),
                    (Stage("all", (0,), Schedule((), True)),))
    return estimate(cascade, design, machine, Shape({"i": 100}))


def test_a_latency_is_in_circles_and_in_the_fill_but_not_in_the_interval() -> None:
    plain, slow = recurrence(with_latency()), recurrence(with_latency(max=50))
    interval = plain.plan.machine.units["array_1d"].cycles["max"]
    before, after = plain.stages["all"].pipeline, slow.stages["all"].pipeline
    assert before is not None
    assert after is not None
    assert after.resource_cycles == before.resource_cycles
    assert (before.recurrence_cycles, after.recurrence_cycles) == (100 * interval, 100 * 50)
    assert after.circle == ("R",)
    # One epoch by itself takes the latency more; its share of the steady state is 50 instead of the busiest unit's.
    alone = [p.fill_cycles + p.steady_cycles / 100 for p in (before, after)]
    assert alone[1] - alone[0] == 50 - interval
    assert slow.utilization["1d"] * slow.latency_cycles == pytest.approx(plain.utilization["1d"] * plain.latency_cycles)


def test_a_latency_as_long_as_the_interval_changes_nothing() -> None:
    plain = recurrence(with_latency())
    assert recurrence(with_latency(**plain.plan.machine.units["array_1d"].cycles)).latency_cycles == plain.latency_cycles


def test_a_phase_lasts_until_its_results_are_there() -> None:
    epochs = random_epochs(3)
    raw = definition(rows=1, cols=2, lanes=2)
    raw["dram"]["bytes_per_s"] = 1e30
    raw["array_2d"]["cycles"] = raw["array_1d"]["cycles"]
    shape = Shape(epochs.extents, {"b": 1})
    stages = _phases(Phase(("X", "Y", "U", "V", "W")))
    units = replace(epochs, unit=dict.fromkeys(LOOPS, "array_1d"))
    plain = estimate(parse(TEXT), design_of(units, stages=stages), read_machine(raw, "m"), shape)
    raw["array_1d"]["latency"] = {"exp": raw["array_1d"]["cycles"]["exp"] + 7}
    slow = estimate(parse(TEXT), design_of(units, stages=stages), read_machine(raw, "m"), shape)
    assert slow.latency_cycles - plain.latency_cycles == 7 * epochs.extents["i"] * epochs.extents["j"]


@pytest.mark.parametrize(("latency", "expected"), [
    ({"exp": 0.5}, "m: array_1d.latency.exp: a latency is at least the interval, which is 1 cycles, got 0.5; correct one of them"),
    ({"exq": 5}, "m: array_1d.latency.exq: the unit has no such operator, got 5; did you mean 'exp'?"),
    ({"exp": -5}, "m: array_1d.latency.exp: it should be a number of more than 0, got -5"),
])
def test_wrong_latencies_are_refused(latency: dict[str, float], expected: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        with_latency(**latency)
    assert str(caught.value).startswith(expected), caught.value
