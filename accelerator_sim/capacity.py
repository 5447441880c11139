"""What a plan keeps in each memory, in bytes, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from accelerator_sim.design import OVERFLOW, Kept, Stage
from accelerator_sim.errors import CapacityError
from accelerator_sim.quantities import Quantity, is_array, larger, smaller

if TYPE_CHECKING:
    from accelerator_sim.plan import Plan


def tile_values(plan: Plan, nest: int, kept: Kept) -> Quantity:
    """Returns how many values of a tensor one tile holds; an iterative tensor holds one generation."""
    found: Quantity = 0
    for work in plan.works[nest]:
        for operand in (*work.operands, *work.frame.results):
            if operand.tensor == kept.tensor:
                found = larger(found, work.walk.tile(operand, work.above(kept.at)))
    return found


def footprints(plan: Plan, stage: Stage) -> Iterator[tuple[str, dict[str, Quantity]]]:
    """Yields, for each memory, the bytes that tensors take in a stage. Tensors in place count once, in the name of the
    tensor whose room they take; shares that are spilled do not count."""
    for memory in dict.fromkeys(m for n in stage.nests for m in plan.design.bindings[n].kept):
        taken: dict[str, Quantity] = {}
        overflow: list[tuple[str, Quantity]] = []
        for n in stage.nests:
            for kept in plan.design.bindings[n].kept.get(memory, ()):
                size = tile_values(plan, n, kept) * plan.value_bytes(kept.tensor)
                room = kept.in_place or kept.tensor
                if isinstance(kept.spill, str):
                    overflow.append((room, size))
                else:
                    taken[room] = larger(taken.get(room, 0), size * (1 - kept.spill) if kept.spill else size)
        capacity = plan.machine.memories[memory].bytes
        for room, size in overflow:
            own = taken.get(room, 0)
            # It may grow into what the other rooms leave.
            fits = size if capacity is None else larger(smaller(size, capacity - total(taken) + own), 0)
            taken[room] = larger(own, fits)
        yield memory, taken


def total(taken: Mapping[str, Quantity]) -> Quantity:
    """Returns the bytes of all tensors together."""
    found: Quantity = 0
    for size in taken.values():
        found = found + size
    return found


def kept_bytes(plan: Plan, memory: str, of: tuple[str, ...] = ()) -> Quantity:
    """Returns the bytes that are kept in a memory in the stage that keeps most: of some tensors, or of all."""
    most: Quantity = 0
    for stage in plan.design.stages:
        for name, taken in footprints(plan, stage):
            if name == memory:
                most = larger(most, total({t: size for t, size in taken.items() if not of or t in of}))
    return most


def spill_share(plan: Plan, stage: Stage, nest: int, memory: str, kept: Kept) -> Quantity:
    """Returns the share of a kept tensor's tile that does not fit."""
    if kept.spill != OVERFLOW:
        return kept.spill
    whole = tile_values(plan, nest, kept) * plan.value_bytes(kept.tensor)
    inside = dict(footprints(plan, stage))[memory][kept.in_place or kept.tensor]
    return larger(1 - inside / whole, 0.0)


def check_capacity(plan: Plan) -> Quantity:
    """Returns where, of a batch, everything fits; True for a single machine.

    Raises: CapacityError where it does not fit a single machine.
    """
    valid: Quantity = True
    for stage in plan.design.stages:
        for memory, taken in footprints(plan, stage):
            capacity = plan.machine.memories[memory].bytes
            if capacity is None:
                continue
            fits = total(taken) <= capacity
            if is_array(fits):
                valid = fits if valid is True else valid & fits
            elif not fits:
                raise CapacityError(_does_not_fit(plan, stage, memory, taken, capacity))
    return valid


def _does_not_fit(plan: Plan, stage: Stage, memory: str, taken: Mapping[str, Quantity], capacity: Quantity) -> str:
    largest_first = sorted(taken.items(), key=lambda item: -item[1])
    needed = int(-(-total(taken) // 1))
    each = ", ".join(f"{tensor} {int(-(-size // 1))}" for tensor, size in largest_first)
    return (f"design {plan.design.id!r}: stage {stage.name!r}: its tiles do not fit {memory} of machine "
            f"{plan.machine.id!r}, got {needed} bytes ({each}) where {int(capacity)} are there; use smaller tiles, or at "
            f"least --set {memory}.bytes={needed}")
