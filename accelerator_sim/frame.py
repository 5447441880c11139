"""What a design makes of a cascade, whatever the machine and the shape: ranks and parts, loops, operands, operators."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from accelerator_sim.design import Design, Stage
from accelerator_sim.names import check_names, check_wide
from accelerator_sim.operators import counted
from accelerator_sim.parts import folded, leaves, parts_by_nest
from accelerator_sim.recompute import Again, Halo, made_again, order_of_recomputing
from accelerator_sim.residency import check_residency
from accelerator_sim.windows import Window
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords, transform
from einsum_cascades.mapping import Nest, parts_of_index, walked
from einsum_cascades.structure import structure


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor that an Einsum reads or writes.

    ``parts`` are the parts of ranks that its plain indices walk, instances included, ``windows`` its other dimensions;
    ``state`` are the parts without the rank that it iterates over, if any. ``through`` are loops that move what one of these
    parts stands for (see :class:`~accelerator_sim.recompute.Halo`).
    """

    tensor: str
    parts: frozenset[str]
    state: frozenset[str]
    windows: tuple[Window, ...] = ()
    through: frozenset[str] = frozenset()

    @property
    def walked(self) -> frozenset[str]:
        """The parts that any of its indices mentions: a loop over one of them changes its tile."""
        return self.parts.union(self.through, *(w.parts for w in self.windows))


@dataclass(frozen=True, eq=False, slots=True)
class EinsumFrame:
    """One Einsum in its nest.

    ``parts`` are those of its iteration space, ``instances`` included, ``loops`` all its loops, outer to inner.
    ``operands`` are its distinct reads, ``results`` what it writes (several of an Einsum over tuples), ``operators`` how many
    of each it performs at a point, before a unit fuses any; ``sums_product`` says that a sum of products may be fused.
    ``conditions`` leave out points, over whole ranks, and ``inside`` those where a window leaves its tensor; where some
    depend on data they are ``unknown`` too. Of an Einsum that is made again in tiles, ``einsum`` is in its readers' ranks,
    ``anew`` are the loops in each round of which it begins anew, ``halos`` its ranks that follow windows, and ``names`` its
    own names for parts that the design calls otherwise. ``leaves`` are the parts of each leaf of a composite.
    """

    einsum: Einsum
    instances: tuple[str, ...]
    parts: tuple[str, ...]
    loops: tuple[str, ...]
    operands: tuple[Operand, ...]
    results: tuple[Operand, ...]
    operators: Mapping[str, int]
    sums_product: bool
    conditions: tuple[Expr, ...]
    inside: tuple[Expr, ...]
    unknown: bool
    leaves: Mapping[str, tuple[str, ...]]
    anew: frozenset[str] = frozenset()
    halos: tuple[Halo, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def result(self) -> Operand:
        """What it writes first; all that it writes, unless it is over tuples."""
        return self.results[0]

    @property
    def written(self) -> tuple[Operand, ...]:
        """What it writes, where each round of the loops in which it begins anew makes others."""
        return tuple(replace(o, parts=o.parts | self.anew) for o in self.results) if self.anew else self.results

    def reads(self) -> tuple[tuple[Access, Operand], ...]:
        """Returns its distinct reads with what they walk."""
        return tuple(zip(value_reads(self.einsum), self.operands, strict=True))

    def above(self, nest: Nest, at: str | None) -> tuple[str, ...]:
        """Returns its loops outside of a tile that lives inside the loop ``at`` of its nest (None: outside of all)."""
        if at is None:
            return ()
        if at in self.loops:
            return self.loops[:self.loops.index(at) + 1]
        # A loop that it lacks: those of the shared loops outside of it that it has, behind the instances that no loop is given for.
        outer = nest.loops[:nest.loops.index(at) + 1] if at in nest.loops else ()
        return tuple(x for x in self.loops if x in outer or x in self.instances and x not in nest.loops)


@dataclass(frozen=True, eq=False)
class Frame:
    """A cascade under a design.

    ``parts`` are the parts of each rank in each nest, outer to inner, and ``aliases`` map the names of ranks and parts of Einsums
    that run again in tiles to those that they are as long as. ``einsums`` by nest. ``crossing`` holds, by stage, the
    tensors that come from or go to the outermost memory. ``partial`` are Einsums that have a part of a rank inside of a
    loop over another part that they lack: the Einsum, the part that it lacks, the one that it has.
    """

    cascade: Cascade
    design: Design
    parts: tuple[Mapping[str, tuple[str, ...]], ...]
    aliases: tuple[Mapping[str, str], ...]
    einsums: tuple[tuple[EinsumFrame, ...], ...]
    crossing: Mapping[str, frozenset[str]]
    partial: tuple[tuple[str, str, str], ...]


_KEPT: OrderedDict[tuple[int, int, bool], Frame] = OrderedDict()
_MOST_KEPT = 64


def make_frame(cascade: Cascade, design: Design, whole: bool = True) -> Frame:
    """Returns the frame of a cascade under a design, which is kept for the next time. A design that is not of the ``whole``
    cascade places some of its Einsums; the others run in other stages.

    Raises: DesignError where the design does not fit the cascade, or an Einsum is of a kind that has no counts.
    """
    # Both are held by the frame, so that their identities stay theirs; comparing them anew would cost far more.
    key = (id(cascade), id(design), whole)
    if key not in _KEPT:
        _KEPT[key] = _made(cascade, design, whole)
        if len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    return _KEPT[key]


def value_reads(einsum: Einsum) -> tuple[Access, ...]:
    """Returns the distinct reads of an Einsum that points make: of its bodies, and of the left side's index tensors."""
    return tuple(dict.fromkeys((*(a for body in einsum.bodies for a in accesses(body)),
                                *(a for out in einsum.outputs for i in out.indices for a in accesses(i)))))


def _made(cascade: Cascade, design: Design, whole: bool) -> Frame:
    design.mapping.verify(cascade, source=f"design {design.id!r}", whole=whole)
    parts = parts_by_nest(cascade, design)
    made = tuple(_nest_frames(cascade, design, number, parts[number]) for number in range(len(design.mapping.nests)))
    frames = tuple(own for own, _, _ in made)
    crossing = {stage.name: _crossing(cascade, design, stage, frames) for stage in design.stages}
    for stage in design.stages:
        check_names(design, stage, frames)
        check_residency(cascade, design, stage, frames, crossing[stage.name])
    check_wide(design, frames)
    own_parts = tuple(own for _, own, _ in made)
    return Frame(cascade, design, own_parts, tuple(own for _, _, own in made), frames, crossing,
                 tuple(_partial(design, own_parts, frames)))


def _nest_frames(cascade: Cascade, design: Design, number: int, parts: Mapping[str, tuple[str, ...]]
                 ) -> tuple[tuple[EinsumFrame, ...], Mapping[str, tuple[str, ...]], Mapping[str, str]]:
    """The Einsums of a nest, with the parts of all ranks there and the names of those that are made again in tiles."""
    nest, einsums = design.nest(number), {e.name: e for e in cascade.einsums}
    found = {name: _einsum_frame(cascade, design, einsums[name], number, parts) for name in nest.einsums if name not in nest.recompute}
    aliases: dict[str, str] = {}
    for name in order_of_recomputing(cascade, design, number):
        made = {o.tensor for o in einsums[name].outputs}
        readers = [f for f in found.values() if any(o.tensor in made for o in f.operands)]
        again = made_again(cascade, design, number, einsums[name], readers, parts)
        for alias, rank in again.aliases.items():
            own = (alias,) if alias in {h.rank for h in again.halos} else tuple(f"{name}.{p}" for p in parts[rank])
            aliases |= dict(zip(own, parts[rank] if len(own) == len(parts[rank]) else (rank,), strict=True)) | {alias: rank}
            parts = {**parts, alias: own}
        found[name] = _einsum_frame(cascade, design, einsums[name], number, parts, again)
    return tuple(found[name] for name in nest.runs), parts, aliases


def _partial(design: Design, parts: tuple[Mapping[str, tuple[str, ...]], ...],
             frames: tuple[tuple[EinsumFrame, ...], ...]) -> Iterator[tuple[str, str, str]]:
    for nest, ranks, own in zip(design.mapping.nests, parts, frames, strict=True):
        for frame in own:
            for order in ranks.values():
                lacking = [p for p in order if p in nest.loops and p not in frame.parts]
                yield from ((frame.einsum.name, a, b) for a in lacking for b in order if b in frame.parts
                            and (order.index(a) < order.index(b) or b not in nest.loops
                                 or nest.loops.index(a) < nest.loops.index(b)))


def _einsum_frame(cascade: Cascade, design: Design, einsum: Einsum, nest: int, parts: Mapping[str, tuple[str, ...]],
                  again: Again | None = None) -> EinsumFrame:
    place = f"design {design.id!r}: Einsum {einsum.name!r}"
    instances = design.mapping.instances
    clash = [r for r in instances if r in einsum.ranks]
    if clash:
        raise DesignError(f"{place}: a rank that repeats the cascade is one of its own, got {clash[0]!r}; give the design "
                          f"'instances' without it")
    here = einsum if again is None else again.einsum
    partitions = design.mapping.partitions_in(design.nest(nest))
    if again is not None:
        partitions = {**partitions, **{alias: parts[alias] for alias in again.aliases}}
    own = (*instances, *dict.fromkeys(p for r in walked(here) for p in partitions.get(r, (r,))))
    known = {p for several in parts.values() for p in several}
    for part in own:
        if part not in known:
            raise DesignError(f"{place}: it walks a rank whole that other Einsums have in tiles, got {part!r}; cut it in the same tiles for "
                              f"all (partition: {{{part}: [{', '.join(parts.get(part, ()))}]}})")
    table = _Ranks(cascade, instances, partitions, parts, again.halos if again is not None else (), frozenset(own))
    names = _names(einsum, again, parts)
    loops = _loops(design, nest, einsum, own, again, names, place)
    anew = frozenset(again.loops) - frozenset(own) if again is not None else frozenset()
    operators, sums_product = counted(cascade, einsum)
    conditions, inside, unknown = _conditions(cascade, einsum, table, again.renamed if again is not None else {})
    return EinsumFrame(here, instances, (*own, *(x for x in loops if x in anew)), loops,
                       tuple(_operand(table, a) for a in value_reads(here)), tuple(_operand(table, o) for o in here.outputs),
                       operators, sums_product, conditions, inside, unknown, table.leaf_parts(), anew, table.halos, names)


def _names(einsum: Einsum, again: Again | None, parts: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The names that parts have in an Einsum that is made again, by those that the design gives them."""
    if again is None:
        return {}
    renamed = {old: new for old, new in again.renamed.items() if len(parts.get(new, ())) == 1}
    return renamed | {p: f"{einsum.name}.{p}" for alias, old in again.aliases.items() for p in parts[old]
                      if f"{einsum.name}.{p}" in parts[alias]}


def _loops(design: Design, number: int, einsum: Einsum, own: tuple[str, ...], again: Again | None,
           names: Mapping[str, str], place: str) -> tuple[str, ...]:
    nest = design.nest(number)
    if again is None:
        return design.mapping.loops_of(nest, einsum)
    shared = (*(i for i in design.mapping.instances if i not in nest.loops), *nest.loops)
    outer = tuple(x for x in shared if x in again.loops or x in own)
    parallel, inner = (tuple(names.get(x, x) for x in t.get(einsum.name, ())) for t in (nest.parallel, nest.inner))
    for x in inner:
        if x not in own:
            raise DesignError(f"{place}: as it is made again in tiles it has no such rank, got {x!r}; use {', '.join(own)}")
    order = (*(x for x in parallel if x in own and x not in inner), *inner)
    return tuple(dict.fromkeys((*outer, *order, *own)))


@dataclass(frozen=True)
class _Ranks:
    """What the names of coordinates mean in one Einsum: whole ranks, leaves of composites that it walks in part, halos."""

    cascade: Cascade
    instances: tuple[str, ...]
    partitions: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]]
    halos: tuple[Halo, ...]
    own: frozenset[str]

    def parts_of(self, rank: str) -> tuple[str, ...]:
        """The parts of a rank, whole or a leaf."""
        return self.parts[rank] if rank in self.parts else self.partitions.get(rank, (rank,))

    def through(self, mentioned: tuple[str, ...]) -> frozenset[str]:
        """The loops that move the halos among some ranks."""
        return frozenset(x for h in self.halos if h.rank in mentioned for x in h.loops
                         if any(x in self.parts_of(r) for r in coords(h.index)))

    def over_whole(self, expr: Expr) -> Expr:
        """An expression with each composite, and each leaf of a composite of which the Einsum walks all, as the whole rank."""
        return transform(folded(expr), lambda node: self._leaf(node) if isinstance(node, Coord) else node)

    def _leaf(self, node: Coord) -> Expr:
        if node.rank in self.parts:
            return node
        composites = structure(self.cascade).composites
        for name in composites:
            order, mine = leaves(name, composites), leaves(node.rank, composites)
            if name in self.parts and set(mine) <= set(order) and self.own.issuperset(self.parts[name]):
                found: Expr = Coord(name)
                place = order.index(mine[0])
                for inner in order[:place + len(mine) - 1:-1]:
                    found = Call("floordiv", (found, Extent(inner.upper())))
                size: Expr = Extent(mine[0].upper())
                for inner in mine[1:]:
                    size = Call("mul", (size, Extent(inner.upper())))
                return Call("mod", (found, size)) if place else found
        return node

    def leaf_parts(self) -> dict[str, tuple[str, ...]]:
        """The parts of all leaves of composites, and of composites inside of others."""
        composites = structure(self.cascade).composites
        inside = {r: leaves(r, composites) for name in composites for r in (*composites[name], *leaves(name, composites))}
        return {r: tuple(p for leaf in own for p in self.parts_of(leaf)) for r, own in inside.items() if r not in self.parts}


def _operand(table: _Ranks, access: Access) -> Operand:
    found = structure(table.cascade)
    walked: list[str] = list(table.instances)
    windows: list[Window] = []
    for dimension, index in enumerate(access.indices):
        parts = parts_of_index(index, table.partitions)
        if parts is not None:
            walked += parts
            continue
        whole = table.over_whole(index)
        over = frozenset(p for r in coords(folded(index)) for p in table.parts_of(r))
        windows.append(Window(access.tensor, whole, found.dimensions[access.tensor][dimension], over))
    iterative = found.iterative.get(access.tensor)
    slots = table.partitions.get(iterative.rank, (iterative.rank,)) if iterative is not None else ()
    return Operand(access.tensor, frozenset(walked), frozenset(walked) - frozenset(slots), tuple(windows),
                   table.through(tuple(r for i in access.indices for r in coords(i))))


def _conditions(cascade: Cascade, einsum: Einsum, table: _Ranks, names: Mapping[str, str]
                ) -> tuple[tuple[Expr, ...], tuple[Expr, ...], bool]:
    """The predicates that leave out points, with those that keep a window inside its tensor, and whether there are some
    that depend on data."""
    from einsum_cascades.analysis.presence import presence

    def renamed(node: Expr) -> Expr:
        return Coord(names[node.rank]) if isinstance(node, Coord) and node.rank in names else node
    found = [(table.over_whole(transform(c.expr, renamed)), c.bounds) for c in presence(cascade)[einsum]]
    found += [(table.over_whole(transform(c, renamed)), True) for c in _gathered(cascade, einsum)]
    known = [(c, bounds) for c, bounds in found if bounds or not accesses(c)]
    # That a whole rank stays inside its own extent says nothing.
    inside = tuple(c for c, bounds in known if bounds and not (isinstance(c, Call) and any(isinstance(x, Coord) for x in c.args)))
    return (tuple(c for c, bounds in found if not bounds), inside, any(not bounds and accesses(c) for c, bounds in found))


def _gathered(cascade: Cascade, einsum: Einsum) -> Iterator[Expr]:
    """That gathers stay inside their tensor, where data say so."""
    for access in dict.fromkeys(a for body in einsum.bodies for a in accesses(body) if a.fill is None):
        for index, rank in zip(access.indices, structure(cascade).dimensions[access.tensor], strict=True):
            if rank is not None and accesses(index):
                yield Call("le", (Num(0.0), index))
                yield Call("lt", (index, Extent(rank.upper())))


def _crossing(cascade: Cascade, design: Design, stage: Stage, frames: tuple[tuple[EinsumFrame, ...], ...]) -> frozenset[str]:
    """Inputs and outputs of the cascade, what the stage sends off the chip, and what other stages make or need. What is made again
    in tiles stays there."""
    found = structure(cascade)
    here = [f for n in stage.nests for f in frames[n]]
    names = {f.einsum.name for f in here}
    made = {o.tensor for f in here for o in f.results}
    used = {o.tensor for f in here for o in f.operands}
    again = {o.tensor for n in stage.nests for f in frames[n] for o in f.results if f.einsum.name in design.nest(n).recompute}
    # An Einsum that makes a tensor again for itself does not need it from here.
    own = {name: nest.recompute for nest in design.mapping.nests for name in nest.runs}
    elsewhere = {a.tensor for e in cascade.einsums if e.name not in names for a in value_reads(e)
                 if a.tensor not in found.producers or found.producers[a.tensor].name not in own.get(e.name, ())}
    return frozenset((*found.inputs, *found.outputs, *stage.off_chip, *(used - made), *(made & elsewhere))) - again
