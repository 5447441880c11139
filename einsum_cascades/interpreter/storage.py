"""Results of Einsums written into tensors: slots of iterations, and the parts that say what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from einsum_cascades.indices import affine
from einsum_cascades.interpreter.blocks import Array, Block, Space, Tensor, every
from einsum_cascades.ir import Access, kept_coords
from einsum_cascades.structure import Iteration

Position = int | slice


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the points of a space lie in a tensor.

    ``positions`` has one for each dimension, ``axes`` the axes of those that are slices, ``ranks`` those of each index.
    ``whole`` says that the absence of an element depends on all dimensions: so it is for an iterative tensor whose
    slots can become present later, where a seed is absent.
    """

    tensor: Tensor
    positions: tuple[Position, ...]
    axes: tuple[int, ...]
    ranks: tuple[frozenset[str], ...]
    whole: bool

    def arranged(self, array: Array, space: Space) -> Array:
        """Returns an array over the space as one over the slices, in the order of the dimensions."""
        array = space.full(array)
        rest = [axis for axis in range(array.ndim) if axis not in self.axes]
        moved = array.transpose([*self.axes, *rest])
        return moved.reshape(moved.shape[:len(self.axes)])

    @property
    def all_dimensions(self) -> frozenset[int]:
        """Every dimension of the tensor."""
        return frozenset(range(len(self.positions)))


def destination(tensor: Tensor, out: Access, space: Space, extents: Mapping[str, int],
                scattered: Mapping[int, str], *, whole: bool) -> Destination:
    """Returns where an output lies; ``scattered`` names the ranks that stand for its scattered dimensions."""
    positions: list[Position] = []
    axes: list[int] = []
    for d, index in enumerate(out.indices):
        if d in scattered:
            positions.append(slice(None))
            axes.append(space.axes[scattered[d]])
            continue
        form = affine(index)
        assert form is not None
        shift = form.constant + sum(c * extents[rank] for rank, c in form.extents)
        rank = form.coordinates[0][0] if form.coordinates else None
        if rank in space.axes:
            low, high = space.ranges[rank]
            positions.append(slice(low + shift, high + shift))
            axes.append(space.axes[rank])
        else:
            positions.append(shift + (0 if rank is None else space.bound[rank]))
    ranks = tuple(frozenset(kept_coords(i)) for i in out.indices)
    return Destination(tensor, tuple(positions), tuple(axes), ranks, whole)


def store(place: Destination, block: Block, space: Space, iteration: Iteration | None) -> None:
    """Writes a block; of an iterative tensor, a slot whose block is absent keeps the slot before it."""
    values = place.arranged(block.values, space)
    parts = {frozenset(d for d, ranks in enumerate(place.ranks) if ranks & label): place.arranged(held, space)
             for label, held in block.parts.items() if not held.all()}
    present = every(tuple(parts.values()))
    if iteration is not None:
        _store_slots(place, values, present, iteration)
        return
    place.tensor.values[place.positions] = values if present is None else np.where(present, values, 0.0)
    if present is not None and place.whole:
        parts = {place.all_dimensions: present}
    for dimensions, held in parts.items():
        _store_part(place, dimensions, held)


def _store_part(place: Destination, dimensions: frozenset[int], held: Array) -> None:
    shape = tuple(size if d in dimensions else 1 for d, size in enumerate(place.tensor.values.shape))
    part = place.tensor.parts.setdefault(dimensions, np.ones(shape, dtype=bool))
    part[tuple(p if d in dimensions else 0 if isinstance(p, int) else slice(None)
               for d, p in enumerate(place.positions))] = held


def _store_slots(place: Destination, values: Array, present: Array | None, iteration: Iteration) -> None:
    tensor, dimension = place.tensor, iteration.dimension
    # Seeds that are present everywhere make every slot present; those of a carried tensor decide for all slots.
    part = tensor.parts.get(place.all_dimensions) if place.whole else None
    if present is None:
        tensor.values[place.positions] = values
        if part is not None:
            part[place.positions] = True
        return
    slots = place.positions[dimension]
    if isinstance(slots, int):
        _keep(tensor.values, part, place.positions, dimension, iteration.step, values, present)
        return
    axis = sum(isinstance(p, slice) for p in place.positions[:dimension])
    for number in range(slots.stop - slots.start)[::iteration.step]:
        here = (*place.positions[:dimension], slots.start + number, *place.positions[dimension + 1:])
        _keep(tensor.values, part, here, dimension, iteration.step, _at(values, axis, number),
              _at(present, axis, number))


def _keep(values: Array, part: Array | None, here: tuple[Position, ...], dimension: int, step: int, new: Array,
          present: Array) -> None:
    slot = here[dimension]
    assert isinstance(slot, int)
    before = (*here[:dimension], slot - step, *here[dimension + 1:])
    values[here] = values[before]
    np.copyto(values[(*here, ...)], new, where=present)
    if part is not None:
        part[here] = present | part[before]


def _at(array: Array, axis: int, number: int) -> Array:
    """One element along an axis, the only one where the array does not depend on it."""
    return array[(slice(None),) * axis + (number if array.shape[axis] > 1 else 0,)]


def scattered_dimensions(out: Access) -> Mapping[int, str]:
    """Returns the rank that stands for each scattered dimension in the space of its Einsum; no rank of a cascade."""
    return {d: f"{out.tensor}.{d}" for d, index in enumerate(out.indices) if isinstance(index, Access)}

