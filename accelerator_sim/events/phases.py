"""How far Einsums of typed phases run behind the first of their epoch: software pipelining."""

from __future__ import annotations

from collections.abc import Sequence

from accelerator_sim.design import Schedule
from einsum_cascades.indices import affine
from einsum_cascades.ir import Access, Cascade
from einsum_cascades.structure import Structure, structure


def epoch_offsets(cascade: Cascade, schedule: Schedule, einsums: Sequence[str]) -> dict[str, int]:
    """Returns the epochs by which each Einsum runs behind, so that what it needs was made in an earlier phase, or before it in
    the same one."""
    found = structure(cascade)
    order = {name: (number, phase.einsums.index(name)) for number, phase in enumerate(schedule.phases) for name in phase.einsums}
    defined = {e.name: e for e in cascade.einsums}
    offsets = dict.fromkeys(einsums, 0)
    for _ in einsums:
        for name in einsums:
            for access in defined[name].reads:
                producer = found.producers.get(access.tensor)
                if producer is None or producer.name not in order or producer.name == name or _earlier(access, found):
                    continue
                behind = offsets[producer.name] + (order[name] < order[producer.name])
                offsets[name] = max(offsets[name], behind)
    return offsets


def _earlier(access: Access, found: Structure) -> bool:
    """Whether a read is of an earlier round."""
    iteration = found.iterative.get(access.tensor)
    if iteration is None:
        return False
    form = affine(access.indices[iteration.dimension])
    if form is None or not form.coordinates:
        return False
    return form.constant == 0 if iteration.step > 0 else form.constant > 0
