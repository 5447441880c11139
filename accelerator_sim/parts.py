"""The parts that ranks are cut into in each nest of a design: by the cascade itself, and by the design."""

from __future__ import annotations

from collections.abc import Mapping

from accelerator_sim.design import Design, Size
from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.indices import composite
from einsum_cascades.ir import Cascade, Coord, Expr, transform
from einsum_cascades.structure import structure


def parts_by_nest(cascade: Cascade, design: Design) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """Returns the parts of all ranks in each nest.

    Raises: DesignError for a part of two ranks, and for sizes of parts that there are not, or without a size.
    """
    nests = design.mapping.nests
    # Nests that cut alike have one mapping.
    made: dict[tuple[tuple[str, tuple[str, ...]], ...], Mapping[str, tuple[str, ...]]] = {}
    found = []
    for nest in nests:
        partitions = design.mapping.partitions_in(nest)
        key = tuple(partitions.items())
        if key not in made:
            made[key] = _cut(cascade, design, partitions)
        found.append(made[key])
    _check_sizes(cascade, design, found)
    return tuple(found)


def _check_sizes(cascade: Cascade, design: Design, parts: list[Mapping[str, tuple[str, ...]]]) -> None:
    leaves = {leaf for own in structure(cascade).composites.values() for leaf in own}
    tables: list[tuple[str, Mapping[str, Size], list[Mapping[str, tuple[str, ...]]]]] = [("mapping.sizes", design.sizes, parts)]
    for stage in design.stages:
        here = [parts[n] for n in stage.nests]
        if any(own != here[0] for own in here[1:]):
            raise DesignError(f"design {design.id!r}: stage {stage.name!r}: its nests share tiles, got ranks that they cut differently; "
                              f"give them one partition")
        tables.append((f"stage {stage.name!r}: sizes", stage.sizes, here))
        for part, size in stage.sizes.items():
            if part in leaves:
                raise DesignError(f"design {design.id!r}: stage {stage.name!r}: sizes.{part}: the cascade itself cuts its rank, for all "
                                  f"stages alike, got a size of one stage; give it in mapping.sizes")
            if size.fits is not None:
                raise DesignError(f"design {design.id!r}: stage {stage.name!r}: sizes.{part}: a stage's size is a number, a path or a "
                                  f"rank, got a rule; give it in mapping.sizes")
    for place, sizes, several in tables:
        known = [p for ranks in several for own in ranks.values() for p in own]
        for part in sizes:
            if part not in known:
                raise DesignError(f"design {design.id!r}: {place}: no rank has such a part, got {part!r}; "
                                  f"{suggest(part, known)}")
            for rank, own in ((r, own) for ranks in several for r, own in ranks.items() if part in own):
                if len(own) > 1 and part == own[0]:
                    raise DesignError(f"design {design.id!r}: {place}.{part}: the outermost part is as long as the rank {rank!r} needs, "
                                      f"got a size; remove it")
    for stage in design.stages:
        for part in (p for n in stage.nests for own in parts[n].values() for p in own[1:]):
            if part not in design.sizes and part not in stage.sizes:
                raise DesignError(f"design {design.id!r}: mapping.sizes: part {part!r} has no size, got none; give the "
                                  f"extent of every part but the outermost")


def _cut(cascade: Cascade, design: Design, partitions: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found, mapping = structure(cascade), design.mapping
    parts: dict[str, tuple[str, ...]] = {r: (r,) for r in mapping.instances}
    inside = {leaf for leaves in found.composites.values() for leaf in leaves}
    for rank in (*found.ranks, *found.composites):
        if rank in inside or rank in mapping.instances:
            continue
        own = leaves(rank, found.composites)
        parts[rank] = tuple(p for leaf in own for p in partitions.get(leaf, (leaf,)))
    known = [p for own in parts.values() for p in own]
    for part in known:
        if known.count(part) > 1:
            ranks = ", ".join(r for r, own in parts.items() if part in own)
            raise DesignError(f"design {design.id!r}: mapping.partition: a part has a name of its own, got {part!r} in {ranks}; rename "
                              f"one")
    return parts


def leaves(name: str, composites: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Returns the parts of a rank that are cut no further, outer to inner; a plain rank is its own."""
    if name not in composites:
        return (name,)
    return tuple(leaf for part in composites[name] for leaf in leaves(part, composites))


def folded(expr: Expr) -> Expr:
    """Returns an expression with each composite such as ``m1*M0 + m0`` as the coordinate of its own name."""
    def fold(node: Expr) -> Expr:
        made = composite(node)
        return Coord(made.name) if made is not None and made.name is not None else node
    return transform(expr, fold)
