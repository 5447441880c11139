"""The hardware-free mapping of a cascade: partitioning, loop order, parallel ranks and fusion.

A mapping says in which order the iteration spaces of Einsums are walked, whatever the machine. Einsums of one
:class:`Nest` are fused: they share its outer loops, and run one after another inside. What runs where, and what is
kept in which memory, is the binding, which the simulator adds; a kernel adds its tile configuration instead.

Source: FuseMax (arXiv 2406.10491), section II-C: "mapping" is loop order, partitioning, and parallel or sequential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.indices import Composite, affine, composite
from einsum_cascades.ir import Cascade, Einsum, Expr, unique
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Nest:
    """Einsums that share loops.

    ``loops`` are the shared temporal loops, outer to inner; an Einsum runs in those of its own ranks. ``inner`` orders
    an Einsum's further loops (ranks that it leaves out follow, in the order of the Einsum, parallel ones first).
    ``parallel`` are the ranks, or parts of ranks, that an Einsum spreads over units. ``partitions`` stand in place of the
    mapping's where they are given: one rank may be cut otherwise in each nest. ``recompute`` names intermediates
    that are made again in every tile of this nest: their makers run in each round of the loops outside of the tile, on what
    the tile's readers touch. A maker that is not among ``einsums`` is placed in another nest as well, and runs there too.
    """

    einsums: tuple[str, ...]
    loops: tuple[str, ...]
    inner: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parallel: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partitions: Mapping[str, tuple[str, ...]] | None = None
    recompute: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[str, ...]:
        """The Einsums that run in it: those that are made again here although they have a place elsewhere, then its own."""
        return (*(t for t in self.recompute if t not in self.einsums), *self.einsums)


@dataclass(frozen=True)
class CascadeMapping:
    """The mapping of a whole cascade.

    ``partitions`` names the parts, outer to inner, of each rank that is partitioned beyond what the cascade itself
    partitions: ``{"p": ("p2", "p1", "p0")}``. ``nests`` run one after another. ``instances`` are ranks that the
    cascade lacks and that repeat it independently (batch and heads); nests may loop over them.

    Raises: DesignError, from :meth:`verify`, where it does not fit a cascade.
    """

    nests: tuple[Nest, ...]
    partitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instances: tuple[str, ...] = ()

    def verify(self, cascade: Cascade, *, source: str = "mapping", whole: bool = True) -> None:
        """Checks that every Einsum is placed once, and that every rank that is named exists where it is named. A mapping that is
        not ``whole`` places some Einsums only.

        Raises: DesignError otherwise.
        """
        einsums = {e.name: e for e in cascade.einsums}
        placed = [name for nest in self.nests for name in nest.einsums]
        for name in placed:
            if name not in einsums:
                raise DesignError(f"{source}: the cascade {cascade.name!r} has no such Einsum, got {name!r}; "
                                  f"{suggest(name, einsums)}")
            if placed.count(name) > 1:
                raise DesignError(f"{source}: Einsum {name!r} is placed in two nests, got a second place; remove one")
        missing = [name for name in einsums if name not in placed]
        if missing and whole:
            raise DesignError(f"{source}: Einsum {missing[0]!r} of the cascade {cascade.name!r} is placed in no nest, got "
                              f"places for {', '.join(placed)}; place it, or use a design for this cascade")
        for rank, parts in (*self.partitions.items(), *(item for nest in self.nests for item in (nest.partitions or {}).items())):
            if rank not in structure(cascade).ranks:
                raise DesignError(f"{source}: partition: the cascade {cascade.name!r} has no such rank, got {rank!r}; "
                                  f"{suggest(rank, structure(cascade).ranks)}")
            if len(set(parts)) != len(parts) or not parts:
                raise DesignError(f"{source}: partition of rank {rank!r}: its parts must differ, got {', '.join(parts)}; "
                                  f"name each once")
        for nest in self.nests:
            self._verify_nest(nest, einsums, source)

    def _verify_nest(self, nest: Nest, einsums: Mapping[str, Einsum], source: str) -> None:
        self._verify_recomputed(nest, einsums, source)
        known = unique((*self.instances, *(p for name in nest.einsums for p in self.parts(einsums[name], nest))))
        for loop in nest.loops:
            if loop not in known:
                raise DesignError(f"{source}: loops of nest {nest.einsums[0]!r}: no Einsum of it has such a rank, got "
                                  f"{loop!r}; {suggest(loop, known)}")
        if len(set(nest.loops)) != len(nest.loops):
            raise DesignError(f"{source}: loops of nest {nest.einsums[0]!r}: a rank stands twice, got "
                              f"{', '.join(nest.loops)}; partition the rank and name its parts")
        for what, table in (("inner loops", nest.inner), ("parallel ranks", nest.parallel)):
            for name, ranks in table.items():
                if name not in nest.runs:
                    raise DesignError(f"{source}: {what}: Einsum {name!r} is not in this nest, got "
                                      f"{', '.join(nest.runs)}; name one of them")
                if name in nest.recompute:
                    continue  # its ranks there follow from its readers
                # What is parallel is given for several Einsums at once: each has those of the ranks that it walks.
                own = self.parts(einsums[name], nest)
                for rank in ranks:
                    if rank not in (known if table is nest.parallel else own):
                        raise DesignError(f"{source}: {what} of Einsum {name!r}: it has no such rank, got {rank!r}; "
                                          f"{suggest(rank, own)}")

    def _verify_recomputed(self, nest: Nest, einsums: Mapping[str, Einsum], source: str) -> None:
        place = f"{source}: recompute of nest {nest.einsums[0]!r}"
        for tensor in nest.recompute:
            if nest.recompute.count(tensor) > 1:
                raise DesignError(f"{place}: a tensor stands twice, got {tensor!r}; name it once")
            if tensor not in einsums:
                raise DesignError(f"{place}: no Einsum makes such a tensor, got {tensor!r}; {suggest(tensor, einsums)}")
            if not any(r.tensor == tensor for name in nest.runs if name != tensor for r in einsums[name].reads):
                raise DesignError(f"{place}: no Einsum here reads it, got {tensor!r}; remove it")

    def partitions_in(self, nest: Nest | None) -> Mapping[str, tuple[str, ...]]:
        """Returns the parts of the ranks that are partitioned in a nest (None: where nests do not say otherwise)."""
        return self.partitions if nest is None or nest.partitions is None else nest.partitions

    def parts(self, einsum: Einsum, nest: Nest | None = None) -> tuple[str, ...]:
        """Returns the ranks of an Einsum's iteration space, those that are partitioned as their parts."""
        partitions = self.partitions_in(nest)
        return unique(tuple(p for r in walked(einsum) for p in partitions.get(r, (r,))))

    def parts_of_index(self, index: Expr, nest: Nest | None = None) -> tuple[str, ...] | None:
        """Returns the parts that an index walks in a nest, as :func:`parts_of_index`."""
        return parts_of_index(index, self.partitions_in(nest))

    def loops_of(self, nest: Nest, einsum: Einsum) -> tuple[str, ...]:
        """Returns all loops of an Einsum, outer to inner: the shared ones of its ranks, then its own."""
        parts = self.parts(einsum, nest)
        shared = tuple(x for x in nest.loops if x in parts or x in self.instances)
        ahead = tuple(x for x in self.instances if x not in nest.loops)
        parallel = tuple(x for x in nest.parallel.get(einsum.name, ()) if x in parts)
        order = (*(x for x in parallel if x not in nest.inner.get(einsum.name, ())), *nest.inner.get(einsum.name, ()))
        rest = tuple(x for x in parts if x not in shared and x not in order)
        return (*ahead, *shared, *(x for x in order if x not in shared), *rest)


def parts_of_index(index: Expr, partitions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """Returns the parts that an index walks where ranks are cut into ``partitions``, each coordinate once: of a rank, of a composite
    such as ``m1*M0 + m0``, or of an iterative slot ``m1 + 1``; None where it is none of these."""
    made = composite(index)
    if made is not None:
        return tuple(p for r in _leaves(made) for p in partitions.get(r, (r,)))
    form = affine(index)
    if form is None or len(form.coordinates) > 1 or any(c != 1 for _, c in form.coordinates):
        return None
    if form.coordinates and form.extents:
        return None
    return tuple(p for r, _ in form.coordinates for p in partitions.get(r, (r,)))


def walked(einsum: Einsum) -> tuple[str, ...]:
    """Returns the ranks that an Einsum walks: not those that a populate makes."""
    made = einsum.reduction.into if einsum.reduction is not None else ()
    return tuple(r for r in einsum.ranks if r not in made)


def _leaves(made: Composite) -> tuple[str, ...]:
    inner = {c.name: c for c in made.inner if c.name is not None}
    return tuple(leaf for part in made.parts for leaf in (_leaves(inner[part]) if part in inner else (part,)))
