"""What the event simulator is given: the same as the analytic path, with sizes and spilled shares as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.capacity import spill_share
from accelerator_sim.design import Design, Stage
from accelerator_sim.events.tiles import Cuts
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Plan
from einsum_cascades.ir import Cascade


@dataclass(frozen=True)
class Inputs:
    """What the simulator is given for a stage: the same as the analytic path, with the sizes of parts, ``spilled`` shares (by
    nest, memory and tensor), the bytes of a value of each tensor and the number of instances as numbers."""

    cascade: Cascade
    design: Design
    machine: Machine
    cuts: Cuts
    spilled: Mapping[tuple[int, str, str], float]
    value_bytes: Mapping[str, float]
    instances: int


def stage_inputs(plan: Plan, stage: Stage) -> Inputs:
    """Returns the inputs of a stage of a plan for one machine."""
    space, ranks = plan.spaces[stage.nests[0]], plan.design.mapping.instances
    sizes = {p: int(space.extent(p)) for parts in space.parts.values() for p in parts[1:]}
    cuts = Cuts({r: p for r, p in space.parts.items() if r not in ranks}, sizes, {r: int(n) for r, n in space.extents.items() if r not in ranks})
    shares = {(n, memory, kept.tensor): float(spill_share(plan, stage, n, memory, kept)) for n in stage.nests
              for memory, kepts in plan.design.bindings[n].kept.items() for kept in kepts}
    instances = 1
    for rank in ranks:
        instances *= int(space.extents[rank])
    tensors = {o.tensor for works in plan.works for w in works for o in (*w.operands, *w.results)}
    return Inputs(plan.cascade, plan.design, plan.machine, cuts, {k: share for k, share in shares.items() if share},
                  {t: float(plan.value_bytes(t)) for t in tensors}, instances)
