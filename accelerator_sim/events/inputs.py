"""What the event simulator is given: the same as the analytic path, with sizes and spilled shares as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.design import OVERFLOW, Design
from accelerator_sim.events.tiles import Cuts
from accelerator_sim.machine import Machine
from einsum_cascades.ir import Cascade

CHANNEL = "dram"
MOST_TASKS = 400_000
"""Tasks of one simulation: more take too long."""


@dataclass(frozen=True)
class Inputs:
    """What the simulator is given: the same as the analytic path, with the sizes of parts and ``spilled`` shares (by nest and
    tensor) as numbers."""

    cascade: Cascade
    design: Design
    machine: Machine
    cuts: Cuts
    spilled: Mapping[tuple[int, str], float]


def spilled_shares(design: Design, overflow: Mapping[tuple[int, str], float]) -> dict[tuple[int, str], float]:
    """Returns the spilled share of each kept tensor by nest; those that depend on what is left are given."""
    found: dict[tuple[int, str], float] = {}
    for number, binding in enumerate(design.bindings):
        for kepts in binding.kept.values():
            for kept in kepts:
                share = overflow.get((number, kept.tensor), 0.0) if kept.spill == OVERFLOW else float(kept.spill)
                if share:
                    found[number, kept.tensor] = share
    return found
