"""Intermediates that a nest makes again in each of their tiles: their makers as they run there, on what readers touch.

A maker that is recomputed runs in every round of the loops outside of its result's tile. Its ranks are then those of the
readers: where these read ``T[p,m]`` it goes through p and m in their tiles, and where they read a window (``T[p + j]``) it goes
through what the window touches in a tile, halo included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from accelerator_sim.design import Design
from accelerator_sim.parts import folded
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, accesses, coords, kept_coords, transform
from einsum_cascades.mapping import Nest
from einsum_cascades.structure import structure

if TYPE_CHECKING:
    from accelerator_sim.frame import EinsumFrame


@dataclass(frozen=True, slots=True)
class Halo:
    """A rank of a maker, as long in each tile as what its readers' ``index`` touches there.

    ``index`` is over whole ranks of the readers, of which ``loops`` are outside of the tile; ``of`` is the rank of the cascade
    whose extent bounds it. The maker goes through what is touched from its least coordinate on. ``behind`` are the windows of
    readers that are made again themselves.
    """

    rank: str
    index: Expr
    of: str
    loops: frozenset[str]
    behind: tuple[tuple[Expr, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """A maker as it runs again: the Einsum in ranks of its readers, and the ``loops`` outside of its tiles.

    ``halos`` are its ranks that follow a window, ``renamed`` maps the cascade's ranks to the names that they have here, and
    ``aliases`` the new names to the ranks that they are as long as.
    """

    einsum: Einsum
    loops: tuple[str, ...]
    halos: tuple[Halo, ...]
    renamed: Mapping[str, str]
    aliases: Mapping[str, str]


def order_of_recomputing(cascade: Cascade, design: Design, number: int) -> tuple[str, ...]:
    """Returns the Einsums of a nest that are made again, each after those that read it.

    Raises: DesignError for a tensor that cannot be made again.
    """
    nest = design.nest(number)
    einsums = {e.name: e for e in cascade.einsums}
    order: list[str] = []
    waiting = list(nest.recompute)
    while waiting:
        ready = [t for t in waiting if not any(_reads(einsums[other], einsums[t]) for other in waiting if other != t)]
        if not ready:
            raise DesignError(f"{_place(design, nest)}: tensors need each other, got {', '.join(waiting)}; recompute one of them less")
        order += ready
        waiting = [t for t in waiting if t not in ready]
    for name in order:
        _check(cascade, design, number, einsums[name])
    return tuple(order)


def made_again(cascade: Cascade, design: Design, number: int, einsum: Einsum, readers: Sequence[EinsumFrame],
               parts: Mapping[str, tuple[str, ...]]) -> Again:
    """Returns how a maker runs again in a nest, for the frames of its readers there.

    Raises: DesignError where readers need different tiles of it, or two different coordinates at once.
    """
    nest = design.nest(number)
    place = f"{_place(design, nest)}: tensor {einsum.name!r}"
    made = {o.tensor for o in einsum.outputs}
    reads = dict.fromkeys(tuple(folded(i) for i in a.indices) for f in readers for body in f.einsum.bodies for a in accesses(body)
                          if a.tensor in made)
    if len(reads) > 1:
        raise DesignError(f"{place}: its readers need it at {len(reads)} different places, got {', '.join(_shown(r) for r in reads)}; keep "
                          f"it, or let one Einsum recompute it")
    indices = next(iter(reads))
    loops = _outside(design, number, made, readers)
    whole = {p: r for r, own in parts.items() for p in own}
    taken = {r for i in indices for r in coords(i)} | {whole[x] for x in loops if x in whole}
    renamed: dict[str, str] = {}
    halos: list[Halo] = []
    aliases: dict[str, str] = {}
    for own, index in zip((i.rank for i in einsum.output.indices if isinstance(i, Coord)), indices, strict=True):
        if isinstance(index, Coord):
            renamed[own] = index.rank
            continue
        if accesses(index):
            raise DesignError(f"{place}: it is read through an index that depends on data, got {_shown(indices)}; keep it")
        name = f"{einsum.name}.{own}"
        renamed[own], aliases[name] = name, own
        halos.append(Halo(name, _unhaloed(index, readers), own, frozenset(loops), _behind(index, readers)))
    if len(set(renamed.values())) < len(renamed):
        raise DesignError(f"{place}: it is read along a diagonal, got {_shown(indices)}; keep it")
    for rank in einsum.reduced_ranks:
        if rank in taken:
            renamed[rank] = f"{einsum.name}.{rank}"
            aliases[renamed[rank]] = rank
    return Again(_renamed(einsum, renamed), loops, tuple(halos), renamed, aliases)


def _outside(design: Design, number: int, made: Iterable[str], readers: Sequence[EinsumFrame]) -> tuple[str, ...]:
    """The loops outside of a tensor's largest tile in a nest: in each of their rounds it is made again."""
    from accelerator_sim.residency import depth_of
    nest, tensors = design.nest(number), set(made)
    shared = (*(i for i in design.mapping.instances if i not in nest.loops), *nest.loops)
    depth = min((depth_of(design, number, k.at) for kepts in design.bindings[number].kept.values() for k in kepts
                 if k.tensor in tensors), default=len(shared))
    return tuple(x for x in shared[:depth] if any(x in f.loops for f in readers))


def _unhaloed(index: Expr, readers: Sequence[EinsumFrame]) -> Expr:
    """An index over ranks of which some are halos themselves, over the ranks that these follow: within the tensor between."""
    from einsum_cascades.ir import Call, Extent, Num
    inner = {h.rank: h for f in readers for h in f.halos}

    def placed(node: Expr) -> Expr:
        if isinstance(node, Coord) and node.rank in inner:
            halo = inner[node.rank]
            return Call("clamp", (halo.index, Num(0.0), Call("sub", (Extent(halo.of.upper()), Num(1.0)))))
        return node
    return transform(index, placed)


def _behind(index: Expr, readers: Sequence[EinsumFrame]) -> tuple[tuple[Expr, str], ...]:
    inner = {h.rank: h for f in readers for h in f.halos}
    return tuple(dict.fromkeys(found for r in coords(index) if r in inner for found in (*inner[r].behind, (inner[r].index, inner[r].of))))


def _renamed(einsum: Einsum, renamed: Mapping[str, str]) -> Einsum:
    def new(node: Expr) -> Expr:
        return Coord(renamed.get(node.rank, node.rank)) if isinstance(node, Coord) else node

    def access(node: Access) -> Access:
        found = transform(node, new)
        assert isinstance(found, Access)
        return found

    head = einsum.reduction
    if head is not None:
        head = replace(head, ranks=tuple(renamed.get(r, r) for r in head.ranks), into=tuple(renamed.get(r, r) for r in head.into))
    return replace(einsum, outputs=tuple(access(o) for o in einsum.outputs), bodies=tuple(transform(b, new) for b in einsum.bodies),
                   reduction=head, where=None if einsum.where is None else transform(einsum.where, new))


def _check(cascade: Cascade, design: Design, number: int, einsum: Einsum) -> None:
    found, nest = structure(cascade), design.nest(number)
    place = f"{_place(design, nest)}: tensor {einsum.name!r}"
    for tensor in (o.tensor for o in einsum.outputs):
        if tensor in found.iterative:
            raise DesignError(f"{place}: an iterative tensor cannot be made again in a tile, got {tensor!r}; keep it")
    plain = all(isinstance(i, Coord) for o in einsum.outputs for i in o.indices)
    if not plain or any(o.indices != einsum.output.indices for o in einsum.outputs) \
            or len(einsum.output.indices) != len({r for i in einsum.output.indices for r in kept_coords(i)}):
        raise DesignError(f"{place}: only what is written at plain coordinates can be made again, got "
                          f"{_shown(einsum.output.indices)}; keep it")
    if einsum.reduction is not None and einsum.reduction.into:
        raise DesignError(f"{place}: coordinates that a populate makes are not made again by tiles, got {einsum.reduction.op!r}; keep it")
    stage = next(s for s in design.stages if number in s.nests)
    elsewhere = einsum.name not in nest.einsums
    if elsewhere and any(einsum.name in design.nest(n).einsums for n in stage.nests):
        raise DesignError(f"{place}: another nest of stage {stage.name!r} makes it, got it recomputed here; give the nests stages of "
                          f"their own")
    if elsewhere:
        return
    others = [name for n, other in enumerate(design.mapping.nests) if n != number and einsum.name not in other.recompute
              for name in other.einsums]
    named = {e.name: e for e in cascade.einsums}
    readers = [name for name in others if _reads(named[name], einsum)]
    made = {o.tensor for o in einsum.outputs}
    if readers or made & {*found.outputs, *stage.off_chip}:
        raise DesignError(f"{place}: it is needed outside of this nest, got {', '.join(readers) or 'an output'}; place its Einsum in a nest "
                          f"of its own (it is made again here all the same)")


def _reads(reader: Einsum, maker: Einsum) -> bool:
    made = {o.tensor for o in maker.outputs}
    return any(a.tensor in made for a in reader.reads)


def _place(design: Design, nest: Nest) -> str:
    return f"design {design.id!r}: recompute of nest {nest.einsums[0]!r}"


def _shown(indices: tuple[Expr, ...]) -> str:
    from einsum_cascades.printing import expr_text
    return f"[{','.join(expr_text(i) for i in indices)}]"
