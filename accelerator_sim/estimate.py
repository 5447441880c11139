"""An estimate: what a cascade costs on a machine under a design. The one evaluation path for every design.

cascade + design + machine + shape -> plan -> action counts -> latency, utilization, energy, area. Numbers of the
machine may be arrays: then so are the results, one element for each design point, from the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from accelerator_sim.area import machine_area
from accelerator_sim.counts import StageCounts, count_stage
from accelerator_sim.data import EXPECTED
from accelerator_sim.design import Design
from accelerator_sim.energy import PHYSICAL, Charge, stage_energy
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Plan, Shape, Work, make_plan
from accelerator_sim.quantities import Quantity
from accelerator_sim.schedule import StageTime, bound_of, stage_time
from einsum_cascades.ir import Cascade, accesses

TYPED = "typed"
OVERLAPPED = "overlapped"
DERIVED = "derived"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A modelled result (never a measured one).

    ``latency_s`` in seconds, ``latency_cycles`` at the machine's clock, ``dram_bytes`` read and written;
    ``utilization`` of each compute unit (busy PE-cycles over its PEs' cycles); ``energy_pj`` and ``area_mm2`` by
    component and in ``total``. ``bound`` names what decides the latency, ``schedule`` whether phases were typed in
    the design, the overlap was derived from units and dependencies, or units overlap freely. ``stages`` holds the time of each stage, ``notes`` what was assumed for this
    cascade; where gathers or scatters depend on data, it is the worst case, and ``expected`` the mean. ``valid`` is True, or for a batch where everything fits; elsewhere the numbers mean nothing.
    """

    design: str
    machine: str
    accounting: str
    latency_s: Quantity
    latency_cycles: Quantity
    dram_bytes: Quantity
    utilization: Mapping[str, Quantity]
    energy_pj: Mapping[str, Quantity]
    area_mm2: Mapping[str, Quantity]
    bound: str | None
    schedule: str
    stages: Mapping[str, StageTime]
    valid: Quantity
    notes: tuple[str, ...]
    plan: Plan
    counts: Mapping[str, StageCounts]
    expected: Estimate | None = None

    def charges(self, accounting: str | None = None) -> tuple[Charge, ...]:
        """Returns every line of the energy: component, action, count and cost, under an accounting."""
        return tuple(c for stage in self.plan.design.stages
                     for c in stage_energy(self.plan, stage, self.counts[stage.name], accounting or self.accounting))

    def energy_under(self, accounting: str) -> Mapping[str, Quantity]:
        """Returns the energy by component, and in total, under another accounting."""
        return _energy(self.plan.machine, self.charges(accounting))

    def to_dict(self) -> dict[str, object]:
        """Returns the results as plain values for JSON."""
        return {"design": self.design, "machine": self.machine, "latency_s": self.latency_s,
                "latency_cycles": self.latency_cycles, "dram_bytes": self.dram_bytes,
                "utilization": dict(self.utilization), "energy_pj": dict(self.energy_pj), "area_mm2": dict(self.area_mm2),
                "bound": self.bound, "schedule": self.schedule, "accounting": self.accounting, "notes": list(self.notes),
                "stages": {name: _stage(time) for name, time in self.stages.items()},
                **({"expected": {k: v for k, v in self.expected.to_dict().items() if k in _EXPECTED}} if self.expected else {})}


_EXPECTED = ("latency_s", "latency_cycles", "dram_bytes", "utilization", "energy_pj", "bound")
"""What is shown of the expected case."""


def _stage(time: StageTime) -> dict[str, object]:
    found: dict[str, object] = {"compute_cycles": time.compute_cycles, "memory_s": time.memory_s,
                                "latency_cycles": time.latency_cycles, "dram_bytes": time.bytes_moved}
    if time.network is not None:
        found["network_s"] = time.network_s
    if time.pipeline is not None:
        found.update(fill_cycles=time.pipeline.fill_cycles, resource_cycles=time.pipeline.resource_cycles,
                     recurrence_cycles=time.pipeline.recurrence_cycles, epochs=time.pipeline.epochs,
                     circle=" -> ".join(time.pipeline.circle) if time.pipeline.circle else None)
    return found


def estimate(cascade: Cascade, design: Design, machine: Machine, shape: Shape, accounting: str = PHYSICAL, *,
             whole: bool = True) -> Estimate:
    """Returns what a cascade costs on a machine under a design at a shape; of a design that is not of the ``whole`` cascade,
    what the Einsums cost that it places.

    Raises: DesignError where the design does not fit the cascade or the machine, CapacityError where tiles do not fit
        a memory, UnknownNameError for an unknown accounting or a name that the machine lacks, ComponentError where a
        cost is not known.
    """
    plan = make_plan(cascade, design, machine, shape, whole=whole)
    counts: dict[str, StageCounts] = {}
    times: dict[str, StageTime] = {}
    charges: list[Charge] = []
    cycles: Quantity = 0
    moved: Quantity = 0
    busy: dict[str, Quantity] = dict.fromkeys(machine.units, 0)
    for stage in design.stages:
        counted = counts[stage.name] = count_stage(plan, stage)
        time = times[stage.name] = stage_time(plan, stage, counted)
        cycles = cycles + time.latency_cycles
        moved = moved + time.bytes_moved
        for work in plan.stage_works(stage):
            for unit, value in counted.busy[work.name].items():
                busy[unit] = busy[unit] + value
        charges += stage_energy(plan, stage, counted, accounting)
    utilization = {machine.units[name].label: value / (machine.units[name].pes * cycles) for name, value in busy.items()}
    schedule = TYPED if any(s.schedule.phases for s in design.stages) else \
        DERIVED if any(s.schedule.pipelined for s in design.stages) else OVERLAPPED
    return Estimate(design.id, machine.id, accounting, cycles / machine.clock_hz, cycles, moved, utilization, _energy(machine, charges),
                    machine_area(machine), bound_of(plan, times), schedule, times, plan.valid,
                    _notes(plan), plan, counts, _expected(plan, accounting, whole))


def _expected(plan: Plan, accounting: str, whole: bool) -> Estimate | None:
    """The estimate for the mean of uniform draws, where gathers and scatters depend on data that are not known."""
    if plan.shape.case == EXPECTED or not any(_draws(w) for works in plan.works for w in works):
        return None
    shape = replace(plan.shape, case=EXPECTED)
    return estimate(plan.cascade, plan.design, plan.machine, shape, accounting, whole=whole)


def _draws(work: Work) -> list[str]:
    """The tensors that an Einsum reads or writes at coordinates that nothing is known of."""
    return [w.tensor for o in (*work.operands, *work.results) for w in o.windows if not work.walk.data.knows(w.index)]


def _energy(machine: Machine, charges: list[Charge] | tuple[Charge, ...]) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {"total": 0.0}
    for unit in machine.units:
        found[unit] = 0.0
        found[f"{unit}_registers"] = 0.0
    for memory in (*machine.memories, *machine.networks):
        found[memory] = 0.0
    # Actions of one cost are added before they are multiplied: a batch has half the arrays to go through.
    counts: dict[tuple[str, int], tuple[Quantity, Quantity]] = {}
    for charge in charges:
        key = charge.component, id(charge.pj)
        counts[key] = (counts[key][0] + charge.count if key in counts else charge.count, charge.pj)
    for (component, _), (count, pj) in counts.items():
        found[component] = found[component] + count * pj
    for component, value in found.items():
        if component != "total":
            found["total"] = found["total"] + value
    return found


def _notes(plan: Plan) -> tuple[str, ...]:
    works = [w for works in plan.works for w in works]
    notes = []
    skipping = [w.name for w in works if w.frame.conditions]
    if skipping:
        notes.append(f"A9: predicates of {', '.join(skipping)} save the operations that they leave out, and time and traffic "
                     f"where they leave out whole iterations")
    data = plan.shape.data
    reads = {w.name: [c for c in w.frame.conditions if accesses(c)] for w in works}
    unknown = [n for n, own in reads.items() if any(not data.knows(c) and data.density_of(c) is None for c in own)]
    if unknown:
        notes.append(f"A9: predicates of {', '.join(unknown)} depend on data that are not known, and count as if they held")
    sparse = [n for n, own in reads.items() if any(data.density_of(c) is not None for c in own)]
    if sparse:
        notes.append(f"A44: predicates of {', '.join(sparse)} count by the density of their mask")
    if data.assumed:
        notes.append(f"A43: segments of {', '.join(sorted(data.assumed))} are taken as equally long")
    draws = [f"{tensor} in {w.name}" for w in works for tensor in dict.fromkeys(_draws(w))]
    if draws:
        notes.append(f"A20: {', '.join(draws)} at coordinates that are not known: at worst as many values as there are points, at most all "
                     f"of a tile; 'expected' is the mean of uniform draws")
    return tuple(notes)
