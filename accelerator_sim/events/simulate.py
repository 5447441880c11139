"""The time of a design by events: some instances are simulated tile by tile, the rest follow in steady state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.capacity import spill_share
from accelerator_sim.design import OVERFLOW, Stage
from accelerator_sim.events.engine import Run, Task, run
from accelerator_sim.events.inputs import Inputs, spilled_shares
from accelerator_sim.events.tasks import StageBuilder
from accelerator_sim.events.tiles import Cuts
from accelerator_sim.plan import Plan

SIMULATED_INSTANCES = 3


@dataclass(frozen=True)
class StageEvents:
    """A stage by events. ``cycles`` of all instances; ``simulated`` of them were run tile by tile, the last of which took
    ``interval`` cycles more than the one before. ``busy`` cycles of each resource and ``bytes_moved`` are of the simulated."""

    stage: str
    cycles: float
    instances: int
    simulated: int
    interval: float
    busy: Mapping[str, float]
    bytes_moved: float
    tasks: tuple[Task, ...]
    times: Run


def simulate_events(plan: Plan) -> tuple[StageEvents, ...]:
    """Returns the time of each stage of a plan, by events.

    Raises: DesignError where a stage has too many tiles.
    """
    return tuple(_stage(plan, stage) for stage in plan.design.stages)


def _stage(plan: Plan, stage: Stage) -> StageEvents:
    instances = 1
    for rank in plan.design.mapping.instances:
        instances *= int(plan.space.extents[rank])
    builder = StageBuilder(_inputs(plan, stage), stage)
    simulated = min(instances, SIMULATED_INSTANCES)
    built = builder.build(simulated)
    times = run(built.tasks)
    reached = [0.0] * simulated
    for task, end in zip(built.tasks, times.end, strict=True):
        instance = task.epoch // built.epochs
        reached[instance] = max(reached[instance], end)
    interval = reached[-1] - reached[-2] if len(reached) > 1 else 0.0
    busy: dict[str, float] = {}
    for task in built.tasks:
        if task.resource is not None:
            busy[task.resource] = busy.get(task.resource, 0.0) + task.duration
    return StageEvents(stage.name, reached[-1] + (instances - simulated) * interval, instances, simulated, interval, busy,
                       built.bytes_moved, tuple(built.tasks), times)


def _inputs(plan: Plan, stage: Stage) -> Inputs:
    space = plan.spaces[stage.nests[0]]
    sizes = {p: int(space.extent(p)) for parts in space.parts.values() for p in parts[1:]}
    cuts = Cuts({r: p for r, p in space.parts.items() if r not in plan.design.mapping.instances}, sizes,
                {r: int(n) for r, n in space.extents.items() if r not in plan.design.mapping.instances})
    overflow = {(n, kept.tensor): float(spill_share(plan, other, n, memory, kept)) for other in plan.design.stages
                for n in other.nests for memory, kepts in plan.design.bindings[n].kept.items() for kept in kepts
                if kept.spill == OVERFLOW}
    return Inputs(plan.cascade, plan.design, plan.machine, cuts, spilled_shares(plan.design, overflow))

