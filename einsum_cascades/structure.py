"""What the lines of a cascade say together: inputs, outputs, iterations, composites and an order of evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from einsum_cascades.dependencies import Loop, schedule
from einsum_cascades.indices import Composite, affine, bounding_rank, composite, index_reads, offset
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Extent, accesses, unique, walk
from einsum_cascades.segments import segment_offsets, whole_rank


@dataclass(frozen=True, slots=True)
class Iteration:
    """How a tensor is iterative: over ``rank``, which is its dimension number ``dimension``.

    ``step`` is +1 where slot r + 1 follows from slot r (seed in slot 0), -1 where slot r follows from slot r + 1
    (seed in the last slot). The dimension has one slot more than the rank has coordinates.
    """

    rank: str
    dimension: int
    step: int


@dataclass(frozen=True)
class Structure:
    """A cascade's structure; tuples are in order of appearance.

    ``dimensions`` names the rank of each dimension of each tensor (None where no bare access names it), from its
    definition or else from the first bare access; for a composite access, the composite's name. ``offsets`` names the
    rank of dimensions that hold the offsets of its segments, and are one longer than it (see ``segments``).
    ``schedule`` holds Einsums and seeds in an order in which they can be evaluated, those of a recurrence inside a
    :class:`Loop`; ``order`` is its Einsums, flat, without the seeds.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    producers: Mapping[str, Einsum]
    seeds: Mapping[str, tuple[Einsum, ...]]
    iterative: Mapping[str, Iteration]
    ranks: tuple[str, ...]
    composites: Mapping[str, tuple[str, ...]]
    order: tuple[Einsum, ...]
    dimensions: Mapping[str, tuple[str | None, ...]]
    offsets: Mapping[tuple[str, int], str]
    index_tensors: frozenset[str]
    schedule: tuple[Einsum | Loop, ...]

    def shape(self, tensor: str, extents: Mapping[str, int]) -> tuple[int | None, ...]:
        """Returns the length of each dimension of a tensor; None where nothing names it or its extent is not given."""
        sizes: list[int | None] = []
        for d, rank in enumerate(self.dimensions[tensor]):
            own = self.iterative.get(tensor)
            longer = (tensor, d) in self.offsets or own is not None and own.dimension == d
            size = extents.get(self.offsets.get((tensor, d), rank or ""))
            sizes.append(size + 1 if longer and size is not None else size)
        return tuple(sizes)

    def names(self, tensor: str) -> tuple[str, ...]:
        """Returns what names each dimension of a tensor: its rank, ``S+1`` for offsets of s, ``?`` for nothing."""
        return tuple(f"{self.offsets[tensor, d].upper()}+1" if (tensor, d) in self.offsets else rank or "?"
                     for d, rank in enumerate(self.dimensions[tensor]))

    def label(self, tensor: str) -> str:
        """Returns a tensor with the names of its dimensions, as in ``K[m,e]``."""
        return f"{tensor}[{','.join(self.names(tensor))}]"


@lru_cache(maxsize=512)
def structure(cascade: Cascade) -> Structure:
    """Returns the structure of a (verified) cascade.

    Raises: NotationError where its definitions are cyclic within a generation.
    """
    produced = producers(cascade)
    iterative = iterations(cascade)
    started = {id(seed) for seed in cascade.inits}
    steps = schedule(cascade, {t: (i.rank, i.step) for t, i in iterative.items()})
    given = inputs(cascade)
    offsets = segment_offsets(cascade, given)
    return Structure(
        inputs=given, outputs=outputs(cascade), producers=MappingProxyType(produced),
        seeds=MappingProxyType(seeds(cascade)), iterative=MappingProxyType(iterative), ranks=ranks(cascade),
        composites=MappingProxyType(composites(cascade)),
        order=tuple(e for e in _flat(steps) if id(e) not in started),
        dimensions=MappingProxyType(dimensions(cascade, iterative, offsets)), offsets=MappingProxyType(offsets),
        index_tensors=index_tensors(cascade), schedule=steps)


def _flat(steps: tuple[Einsum | Loop, ...]) -> Iterator[Einsum]:
    for step in steps:
        if isinstance(step, Loop):
            yield from _flat(step.body)
        else:
            yield step


def producers(cascade: Cascade) -> dict[str, Einsum]:
    """Returns the Einsum that defines each tensor; seeds are not definitions."""
    return {out.tensor: einsum for einsum in cascade.einsums for out in einsum.outputs}


def seeds(cascade: Cascade) -> dict[str, tuple[Einsum, ...]]:
    """Returns the seeds (``init`` lines) of each tensor that has any."""
    found: dict[str, tuple[Einsum, ...]] = {}
    for seed in cascade.inits:
        for out in seed.outputs:
            found[out.tensor] = (*found.get(out.tensor, ()), seed)
    return found


def inputs(cascade: Cascade) -> tuple[str, ...]:
    """Returns the tensors that are read and that nothing defines."""
    defined = {out.tensor for einsum in cascade.einsums for out in einsum.outputs}
    return tuple(dict.fromkeys(a.tensor for e in (*cascade.einsums, *cascade.inits) for a in e.reads
                               if a.tensor not in defined))


def outputs(cascade: Cascade) -> tuple[str, ...]:
    """Returns the tensors that nothing else reads, and those that ``output`` names.

    A recurrence's reads of its own earlier value do not count: a state that nobody else reads is a result. Where
    that leaves none (a recurrence of several Einsums and nothing after it), the iterative tensors are the outputs.
    """
    read = {a.tensor for e in (*cascade.einsums, *cascade.inits) for a in e.reads
            if a.tensor not in {out.tensor for out in e.outputs}}
    found = tuple(dict.fromkeys(out.tensor for e in cascade.einsums for out in e.outputs
                                if out.tensor not in read or out.tensor in cascade.declared_outputs))
    return found or tuple(iterations(cascade))


def iterations(cascade: Cascade) -> dict[str, Iteration]:
    """Returns how each iterative tensor iterates: by an offset on its left side, or by a seed in its last slot."""
    found: dict[str, Iteration] = {}
    started = seeds(cascade)
    for einsum in cascade.einsums:
        for out in einsum.outputs:
            for dimension, index in enumerate(out.indices):
                place = offset(index)
                if place is None or place.extents or not place.rank:
                    continue
                if place.constant == 1:
                    found.setdefault(out.tensor, Iteration(place.rank, dimension, 1))
                elif place.constant == 0 and any(_is_last_slot(seed, out.tensor, dimension)
                                                 for seed in started.get(out.tensor, ())):
                    found.setdefault(out.tensor, Iteration(place.rank, dimension, -1))
    return found


def _is_last_slot(seed: Einsum, tensor: str, dimension: int) -> bool:
    for out in seed.outputs:
        if out.tensor == tensor and dimension < len(out.indices):
            form = affine(out.indices[dimension])
            return form is not None and not form.coordinates and bool(form.extents)
    return False


def ranks(cascade: Cascade) -> tuple[str, ...]:
    """Returns every rank whose coordinate the cascade mentions."""
    return unique(tuple(r for e in (*cascade.einsums, *cascade.inits)
                        for r in (*e.ranks, *(e.reduction.into if e.reduction else ()))))


def composites(cascade: Cascade) -> dict[str, tuple[str, ...]]:
    """Returns the parts, outer first, of each rank that accesses such as ``m1*M0 + m0`` compose."""
    found: dict[str, tuple[str, ...]] = {}

    def add(made: Composite) -> None:
        if made.name is not None:
            found.setdefault(made.name, made.parts)
        for inside in made.inner:
            add(inside)

    for access in all_accesses(cascade):
        for index in access.indices:
            made = composite(index)
            if made is not None:
                add(made)
    return found


def all_accesses(cascade: Cascade) -> Iterator[Access]:
    """Yields every access of the cascade, left sides and their index tensors included."""
    for einsum in (*cascade.einsums, *cascade.inits):
        for out in einsum.outputs:
            yield from accesses(out)
        for body in einsum.bodies:
            yield from accesses(body)
        if einsum.where is not None:
            yield from accesses(einsum.where)


def dimensions(cascade: Cascade, iterative: Mapping[str, Iteration], offsets: Mapping[tuple[str, int], str]
               ) -> dict[str, tuple[str | None, ...]]:
    """Returns the rank that names each dimension of each tensor, or None."""
    names: dict[str, list[str | None]] = {}
    weak: dict[str, list[str | None]] = {}
    for einsum in cascade.einsums:
        for out in einsum.outputs:
            own = iterative.get(out.tensor)
            names.setdefault(out.tensor, [
                own.rank if own is not None and own.dimension == d else _bare(index)
                for d, index in enumerate(out.indices)])
    for access in all_accesses(cascade):
        known = names.setdefault(access.tensor, [None] * len(access.indices))
        spare = weak.setdefault(access.tensor, [None] * len(access.indices))
        for d, index in enumerate(access.indices[:len(known)]):
            # A read with a fill may leave the tensor: it does not say how long the dimension is.
            if (rank := whole_rank(index)) is not None and rank == offsets.get((access.tensor, d)):
                continue
            if known[d] is None and access.fill is None:
                known[d] = _bare(index)
            if known[d] is None and spare[d] is None:
                made = composite(index)
                spare[d] = made.name if made is not None else bounding_rank(index)
    return {tensor: tuple(n if n is not None else weak[tensor][d] if tensor in weak else None
                          for d, n in enumerate(known)) for tensor, known in names.items()}


def _bare(index: object) -> str | None:
    return index.rank if isinstance(index, Coord) else None


def index_tensors(cascade: Cascade) -> frozenset[str]:
    """Returns the tensors that are read inside an index: they hold integers."""
    return frozenset(a.tensor for e in (*cascade.einsums, *cascade.inits)
                     for expr in (*e.outputs, *e.bodies, *((e.where,) if e.where is not None else ()))
                     for a in index_reads(expr))


def extent_names(cascade: Cascade) -> tuple[str, ...]:
    """Returns the ranks whose extents the cascade names (``M0`` is that of ``m0``), in order."""
    return unique(tuple(node.rank for e in (*cascade.inits, *cascade.einsums)
                        for expr in (*e.outputs, *e.bodies, *((e.where,) if e.where is not None else ()))
                        for node in walk(expr) if isinstance(node, Extent)))
