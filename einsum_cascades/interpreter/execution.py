"""Runs a cascade on arrays: inputs are checked, Einsums are evaluated in order, outputs are exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from einsum_cascades.dependencies import Loop
from einsum_cascades.errors import ExecutionError, ExtentError, suggest
from einsum_cascades.extents import resolve_extents
from einsum_cascades.interpreter.blocks import Array, Space, Tensor
from einsum_cascades.interpreter.einsums import EinsumEvaluator
from einsum_cascades.interpreter.evaluation import Evaluator
from einsum_cascades.interpreter.recipes import Recipe, recipe
from einsum_cascades.interpreter.reductions import LARGEST
from einsum_cascades.interpreter.storage import destination, scattered_dimensions, store
from einsum_cascades.ir import Access, Cascade, Einsum
from einsum_cascades.operators import POPULATES, REDUCTIONS
from einsum_cascades.structure import Structure, structure


def run(cascade: Cascade, inputs: Mapping[str, Array], extents: Mapping[str, int] | None = None, *,
        history: bool = False, stored: Callable[[str, Array], Array] | None = None) -> dict[str, Array]:
    """Returns every output of a cascade by name, evaluated in float64 whatever the declared precisions.

    Dimensions are those of the left side in order; an iterative tensor has all of its slots (extent + 1). Elements
    that are absent are 0. Coordinates that a populate, argmax or argmin makes are int64. With ``history`` the result
    holds every tensor that the cascade defines. Ranks that no array gives take their extents from ``extents``. ``stored``
    makes of a tensor's name and the values that an Einsum gives it those that are kept, rounded as in a type of fewer
    bits, say; of an iterative tensor it is given a slot at a time.

    Raises: ExecutionError for inputs that are missing, unknown, no numbers, or no coordinates where they index;
    ExtentError for shapes and extents that do not agree.
    """
    found = structure(cascade)
    arrays = _checked(cascade, found, inputs)
    sizes = resolve_extents(cascade, extents or {}, {name: a.shape for name, a in arrays.items()})
    names = tuple(dict.fromkeys((*found.outputs, *found.producers))) if history else found.outputs
    execution = _Execution(cascade, found, sizes, arrays, stored)
    with np.errstate(all="ignore"):
        for step, used in zip(found.schedule, _last_uses(found.schedule), strict=True):
            execution.steps((step,))
            for name in used - frozenset(names):
                # What nothing reads any more makes room.
                del execution.evaluator.tensors[name]
    return {name: _exported(execution.evaluator.tensors[name], found.producers[name]) for name in names}


def _last_uses(schedule: Sequence[Einsum | Loop]) -> list[frozenset[str]]:
    """The tensors that each step is the last to read or write."""
    found: list[frozenset[str]] = []
    later: frozenset[str] = frozenset()
    for step in reversed(schedule):
        used = frozenset(a.tensor for e in _einsums(step) for a in (*e.reads, *e.outputs))
        found.append(used - later)
        later |= used
    return found[::-1]


def _einsums(step: Einsum | Loop) -> Iterator[Einsum]:
    if isinstance(step, Einsum):
        yield step
    else:
        for part in step.body:
            yield from _einsums(part)


def _checked(cascade: Cascade, found: Structure, inputs: Mapping[str, Array]) -> dict[str, Array]:
    for name in inputs:
        if name not in found.inputs:
            what = "the cascade defines it" if name in found.producers else "the cascade has no such input"
            raise ExecutionError(f"{cascade.name}: tensor {name!r}: {what}, got an array for it; "
                                 f"{suggest(name, found.inputs)}")
    arrays = {}
    for name in found.inputs:
        if name not in inputs:
            given = ", ".join(inputs) or "none"
            raise ExecutionError(f"{cascade.name}: tensor {name!r}: it is an input without an array, got {given}; "
                                 f"give an array of {_wanted(found, name)}")
        try:
            array = np.asarray(inputs[name])
        except ValueError:
            raise ExecutionError(f"{cascade.name}: tensor {name!r}: it is no array, got rows of different lengths; "
                                 f"give an array of {_wanted(found, name)}") from None
        if array.dtype.kind not in "biuf":
            raise ExecutionError(f"{cascade.name}: tensor {name!r}: it holds no real numbers, got dtype {array.dtype}; "
                                 f"give floats, integers or booleans")
        array = array.astype(np.float64)
        if name in found.index_tensors and not (array == np.rint(array)).all():
            place = tuple(int(i) for i in np.argwhere(array != np.rint(array))[0])
            raise ExecutionError(f"{cascade.name}: tensor {name!r}: it is an index, so that its elements are whole "
                                 f"numbers, got {array[place]:g} at {list(place)}; give coordinates")
        arrays[name] = array
    return arrays


def _wanted(found: Structure, name: str) -> str:
    ranks = found.names(name)
    return f"the ranks [{', '.join(ranks)}]" if ranks else "no dimension (a scalar)"


def _exported(tensor: Tensor, einsum: Einsum) -> Array:
    head = einsum.reduction
    coordinates = head is not None and (head.op in POPULATES or head.op in REDUCTIONS and REDUCTIONS[head.op].index)
    return tensor.values.astype(np.int64) if coordinates else tensor.values


class _Execution:
    """One run: tensors in the making, and the coordinate of each iteration that is under way."""

    def __init__(self, cascade: Cascade, found: Structure, extents: Mapping[str, int],
                 arrays: Mapping[str, Array], stored: Callable[[str, Array], Array] | None) -> None:
        self.cascade, self.found, self.extents, self.stored = cascade, found, extents, stored
        self.bound: dict[str, int] = {}
        self.evaluator = Evaluator(cascade, extents, frozenset(found.inputs))
        self.einsums = EinsumEvaluator(self.evaluator)
        # Structures are shared between equal cascades: the Einsums of this one are those of the structure.
        einsums = {id(e): e for e in found.producers.values()}
        self.recipes = {key: recipe(e, found.iterative) for key, e in einsums.items()}
        self.carried = {out.tensor: carried for r in self.recipes.values()
                        for out, carried in zip(r.einsum.outputs, r.carried, strict=True)}
        # A seed writes one slot: it is no iteration itself.
        self.recipes |= {id(seed): recipe(seed, {}) for seeds in found.seeds.values() for seed in seeds}
        self.spaces: dict[int, Space] = {}
        self.most: dict[tuple[int, tuple[int, ...], bool], int] = {}
        for name, array in arrays.items():
            self.evaluator.tensors[name] = Tensor(array)
        for einsum in einsums.values():
            for out in einsum.outputs:
                shape = tuple(self._size(out, d) for d in range(len(out.indices)))
                try:
                    self.evaluator.tensors[out.tensor] = Tensor(np.zeros(shape))
                except (MemoryError, ValueError):
                    raise self._too_large(out.tensor, f"the shape {shape}") from None

    def _size(self, out: Access, dimension: int) -> int:
        own = self.found.iterative.get(out.tensor)
        if own is not None and own.dimension == dimension:
            return self.extents[own.rank] + 1
        rank = self.found.dimensions[out.tensor][dimension]
        if rank is None or rank not in self.extents:
            raise ExtentError(f"{self.cascade.name}: tensor {out.tensor!r}: nothing says how long its scattered "
                              f"dimension {dimension + 1} is, got no read of it with a bare rank; read it in another "
                              f"line, as in 'Z[s] = {out.tensor}[s]', and give that rank's extent")
        return self.extents[rank]

    def _too_large(self, tensor: str, what: str) -> ExecutionError:
        return ExecutionError(f"{self.cascade.name}: tensor {tensor!r}: the interpreter has not the memory for it, "
                              f"got {what}; give smaller extents")

    def steps(self, steps: Sequence[Einsum | Loop]) -> None:
        """Evaluates Einsums in order, loops generation by generation."""
        for step in steps:
            if isinstance(step, Einsum):
                try:
                    self.evaluate(self.recipes[id(step)], self._space(step), careful=False)
                except MemoryError:
                    sizes = ", ".join(f"{r}={self.extents[r]}" for r in step.ranks)
                    raise self._too_large(step.name, sizes) from None
                continue
            for coordinate in range(self.extents[step.rank])[::step.step]:
                self.bound[step.rank] = coordinate
                self.steps(step.body)
            self.bound.pop(step.rank, None)

    def _space(self, einsum: Einsum) -> Space:
        """The space of an Einsum; every Einsum stands in the same loops each time."""
        if id(einsum) not in self.spaces:
            ranks = [r for r in einsum.ranks if r not in self.bound]
            ranges = {rank: (0, self.extents[rank]) for rank in ranks}
            for out in einsum.outputs:
                shape = self.evaluator.tensors[out.tensor].values.shape
                ranges |= {rank: (0, shape[d]) for d, rank in scattered_dimensions(out).items()}
            self.spaces[id(einsum)] = Space(ranges, self.bound)
        return self.spaces[id(einsum)]

    def evaluate(self, recipe: Recipe, space: Space, *, careful: bool) -> None:
        """Evaluates an Einsum over a space and stores it, in pieces where an array would be too large."""
        key = (id(recipe), space.sizes, careful)
        if key not in self.most:
            self.most[key] = recipe.most(space, careful)
        if self.most[key] > LARGEST:
            rank = max(recipe.splittable(space), key=lambda r: space.points([r]), default=None)
            if rank is not None and space.points([rank]) > 1:
                low, high = space.ranges[rank]
                middle = (low + high) // 2
                self.evaluate(recipe, space.narrowed(rank, low, middle), careful=careful)
                self.evaluate(recipe, space.narrowed(rank, middle, high), careful=careful)
                return
        blocks = self.einsums.blocks(recipe, space, careful=careful)
        if blocks is None:
            self.evaluate(recipe, space, careful=True)
            return
        for out, block, own in zip(recipe.einsum.outputs, blocks, recipe.iterations, strict=True):
            if self.stored is not None:
                block = replace(block, values=self.stored(out.tensor, block.values))
            whole = out.tensor in self.found.iterative and not self.carried[out.tensor]
            place = destination(self.evaluator.tensors[out.tensor], out, space, self.extents, scattered_dimensions(out),
                                whole=whole)
            store(place, block, space, own)
