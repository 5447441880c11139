"""What a design makes of a cascade, whatever the machine and the shape: ranks and parts, loops, operands, operators."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from accelerator_sim.design import Design, Size, Stage
from accelerator_sim.operators import COMPOSED, FUSED, counted
from accelerator_sim.residency import check_residency
from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, accesses, coords, transform
from einsum_cascades.mapping import Nest
from einsum_cascades.structure import structure


@dataclass(frozen=True, slots=True)
class Window:
    """A dimension of a tensor whose index is no rank: a window (``p + j``), a stride, a clamp, or a gather (``I[p,j]``).

    ``index`` is over whole ranks (a composite by its name), ``rank`` the rank that the dimension is as long as, if any,
    ``parts`` the parts of the ranks that it mentions.
    """

    tensor: str
    index: Expr
    rank: str | None
    parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor that an Einsum reads or writes.

    ``parts`` are the parts of ranks that its plain indices walk, instances included, ``windows`` its other dimensions;
    ``state`` are the parts without the rank that it iterates over, if any.
    """

    tensor: str
    parts: frozenset[str]
    state: frozenset[str]
    windows: tuple[Window, ...] = ()

    @property
    def walked(self) -> frozenset[str]:
        """The parts that any of its indices mentions: a loop over one of them changes its tile."""
        return self.parts.union(*(w.parts for w in self.windows))


@dataclass(frozen=True, eq=False, slots=True)
class EinsumFrame:
    """One Einsum in its nest.

    ``parts`` are those of its iteration space, ``instances`` included, ``loops`` all its loops, outer to inner.
    ``operands`` are the distinct reads of its bodies, ``result`` what it writes, ``operators`` how many of each it
    performs at a point, before a unit fuses any; ``sums_product`` says that a sum of products may be fused.
    ``conditions`` leave out points, over whole ranks, and ``inside`` those where a window leaves its tensor; where some
    depend on data they are ``unknown``.
    """

    einsum: Einsum
    instances: tuple[str, ...]
    parts: tuple[str, ...]
    loops: tuple[str, ...]
    operands: tuple[Operand, ...]
    result: Operand
    operators: Mapping[str, int]
    sums_product: bool
    conditions: tuple[Expr, ...]
    inside: tuple[Expr, ...]
    unknown: bool

    def reads(self) -> tuple[tuple[Access, Operand], ...]:
        """Returns its distinct reads with what they walk."""
        return tuple(zip(_reads(self.einsum), self.operands, strict=True))

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

    ``parts`` are the parts of each rank in each nest, outer to inner. ``einsums`` by nest. ``crossing`` holds, by stage, the
    tensors that come from or go to the outermost memory. ``partial`` are Einsums that have a part of a rank inside of a
    loop over another part that they lack: the Einsum, the part that it lacks, the one that it has.
    """

    cascade: Cascade
    design: Design
    parts: tuple[Mapping[str, tuple[str, ...]], ...]
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


def _made(cascade: Cascade, design: Design, whole: bool) -> Frame:
    design.mapping.verify(cascade, source=f"design {design.id!r}", whole=whole)
    parts = _parts(cascade, design)
    einsums = {e.name: e for e in cascade.einsums}
    frames = tuple(tuple(_einsum_frame(cascade, design, einsums[name], number, parts[number]) for name in nest.einsums)
                   for number, nest in enumerate(design.mapping.nests))
    crossing = {stage.name: _crossing(cascade, design, stage, frames) for stage in design.stages}
    for stage in design.stages:
        _check_names(design, stage, frames)
        check_residency(cascade, design, stage, frames, crossing[stage.name])
    _check_wide(design, frames)
    return Frame(cascade, design, parts, frames, crossing, tuple(_partial(design, parts, frames)))


def _partial(design: Design, parts: tuple[Mapping[str, tuple[str, ...]], ...],
             frames: tuple[tuple[EinsumFrame, ...], ...]) -> Iterator[tuple[str, str, str]]:
    for nest, ranks, own in zip(design.mapping.nests, parts, frames, strict=True):
        for frame in own:
            for order in ranks.values():
                lacking = [p for p in order if p in nest.loops and p not in frame.parts]
                yield from ((frame.einsum.name, a, b) for a in lacking for b in order if b in frame.parts
                            and (order.index(a) < order.index(b) or b not in nest.loops
                                 or nest.loops.index(a) < nest.loops.index(b)))


def _parts(cascade: Cascade, design: Design) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """The parts of all ranks in each nest. Sizes must be of parts that there are."""
    nests = design.mapping.nests
    # Nests that cut alike have one mapping.
    made: dict[tuple[tuple[str, tuple[str, ...]], ...], Mapping[str, tuple[str, ...]]] = {}
    found = []
    for nest in nests:
        partitions = design.mapping.partitions_in(nest)
        key = tuple(partitions.items())
        if key not in made:
            made[key] = _parts_of(cascade, design, partitions)
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


def _parts_of(cascade: Cascade, design: Design, partitions: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
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


def _einsum_frame(cascade: Cascade, design: Design, einsum: Einsum, nest: int,
                  parts: Mapping[str, tuple[str, ...]]) -> EinsumFrame:
    place = f"design {design.id!r}: Einsum {einsum.name!r}"
    if len(einsum.outputs) > 1:
        raise _unsupported(place, f"{len(einsum.outputs)} outputs", "an Einsum over tuples")
    instances = design.mapping.instances
    clash = [r for r in instances if r in einsum.ranks]
    if clash:
        raise DesignError(f"{place}: a rank that repeats the cascade is one of its own, got {clash[0]!r}; give the design "
                          f"'instances' without it")
    own = design.mapping.nests[nest]
    reads = tuple(_operand(cascade, design, own, a) for a in _reads(einsum))
    operators, sums_product = counted(cascade, einsum)
    conditions, inside, unknown = _conditions(cascade, einsum, parts)
    return EinsumFrame(einsum, instances, (*instances, *design.mapping.parts(einsum, own)),
                       design.mapping.loops_of(own, einsum), reads, _operand(cascade, design, own, einsum.output), operators, sums_product, conditions, inside, unknown)


def _reads(einsum: Einsum) -> tuple[Access, ...]:
    return tuple(dict.fromkeys(a for body in einsum.bodies for a in accesses(body)))


def _operand(cascade: Cascade, design: Design, nest: Nest, access: Access) -> Operand:
    found, partitions = structure(cascade), design.mapping.partitions_in(nest)
    walked: list[str] = list(design.mapping.instances)
    windows: list[Window] = []
    for dimension, index in enumerate(access.indices):
        parts = design.mapping.parts_of_index(index, nest)
        if parts is not None:
            walked += parts
            continue
        over = frozenset(p for r in coords(index) for p in partitions.get(r, (r,)))
        windows.append(Window(access.tensor, folded(index), found.dimensions[access.tensor][dimension], over))
    iterative = found.iterative.get(access.tensor)
    slots = partitions.get(iterative.rank, (iterative.rank,)) if iterative is not None else ()
    return Operand(access.tensor, frozenset(walked), frozenset(walked) - frozenset(slots), tuple(windows))


def folded(expr: Expr) -> Expr:
    """Returns an expression with each composite such as ``m1*M0 + m0`` as the coordinate of its own name."""
    def fold(node: Expr) -> Expr:
        made = composite(node)
        return Coord(made.name) if made is not None and made.name is not None else node
    return transform(expr, fold)


def _conditions(cascade: Cascade, einsum: Einsum,
                parts: Mapping[str, tuple[str, ...]]) -> tuple[tuple[Expr, ...], tuple[Expr, ...], bool]:
    """The predicates that leave out points, with those that keep a window inside its tensor, and whether there are some
    that depend on data or on a part of a rank by itself."""
    from einsum_cascades.analysis.presence import presence
    found = [(folded(c.expr), c.bounds) for c in presence(cascade)[einsum]]
    known = [(c, bounds) for c, bounds in found if not accesses(c) and all(r in parts for r in coords(c))]
    # That a whole rank stays inside its own extent says nothing.
    inside = tuple(c for c, bounds in known if bounds and not (isinstance(c, Call) and any(isinstance(x, Coord) for x in c.args)))
    return (tuple(c for c, bounds in known if not bounds), inside,
            any(not bounds and (c, bounds) not in known for c, bounds in found))


def _unsupported(place: str, got: str, what: str) -> DesignError:
    return DesignError(f"{place}: {what} has no action counts yet, got {got}; simulate a cascade without it")


def _crossing(cascade: Cascade, design: Design, stage: Stage, frames: tuple[tuple[EinsumFrame, ...], ...]) -> frozenset[str]:
    """Inputs and outputs of the cascade, what the stage sends off the chip, and what other stages make or need."""
    found = structure(cascade)
    here = [f for n in stage.nests for f in frames[n]]
    names = {f.einsum.name for f in here}
    made = {f.result.tensor for f in here}
    used = {o.tensor for f in here for o in f.operands}
    elsewhere = {a.tensor for e in cascade.einsums if e.name not in names for a in _reads(e)}
    return frozenset((*found.inputs, *found.outputs, *stage.off_chip, *(used - made), *(made & elsewhere)))


def _check_names(design: Design, stage: Stage, frames: tuple[tuple[EinsumFrame, ...], ...]) -> None:
    """Every tensor, Einsum and loop that a binding names must be there."""
    for number in stage.nests:
        binding, nest = design.bindings[number], frames[number]
        place = f"design {design.id!r}: nest of {nest[0].einsum.name!r}"
        tensors = {o.tensor for f in nest for o in (*f.operands, f.result)}
        loops = {x for f in nest for x in f.loops}
        for memory, kepts in binding.kept.items():
            for kept in kepts:
                if kept.tensor not in tensors:
                    raise DesignError(f"{place}: keep.{memory}: no Einsum here has such a tensor, got {kept.tensor!r}; "
                                      f"{suggest(kept.tensor, tensors)}")
                if kept.at is not None and kept.at not in loops:
                    raise DesignError(f"{place}: keep.{memory}.{kept.tensor}: there is no such loop, got {kept.at!r}; "
                                      f"{suggest(kept.at, loops)}")
        readers = {f.einsum.name: {o.tensor for o in f.operands} for f in nest}
        made = {f.result.tensor for f in nest}
        for tensor, einsums in binding.forward.items():
            if tensor not in made:
                raise DesignError(f"{place}: forward: no Einsum here makes such a tensor, got {tensor!r}; "
                                  f"{suggest(tensor, made)}")
            for name in einsums:
                if tensor not in readers.get(name, ()):
                    takes = [n for n, read in readers.items() if tensor in read]
                    raise DesignError(f"{place}: forward.{tensor}: this Einsum does not read it, got {name!r}; "
                                      f"{suggest(name, takes)}")
        for key, table in (("absorbed", binding.absorbed), ("elsewhere", binding.elsewhere)):
            for name, operators in table.items():
                if name not in readers:
                    raise DesignError(f"{place}: {key}: the Einsum is not in this nest, got {name!r}; {suggest(name, readers)}")
                own = _operators(next(f for f in nest if f.einsum.name == name))
                for operator in operators:
                    if operator not in own:
                        raise DesignError(f"{place}: {key}.{name}: the Einsum has no such operator, got {operator!r}; "
                                          f"{suggest(operator, own)}")
    for tensor in stage.off_chip:
        if tensor not in {f.result.tensor for own in frames for f in own}:
            raise DesignError(f"design {design.id!r}: stage {stage.name!r}: off_chip: no Einsum makes such a tensor, got "
                              f"{tensor!r}; remove it")
    _check_rooms(design, stage)
    _check_homes(design, stage, frames)


def _operators(frame: EinsumFrame) -> tuple[str, ...]:
    """The operators that an Einsum may take on some unit: its own, those that these are composed of, a multiply-add."""
    found = [*frame.operators, *((FUSED,) if frame.sums_product else ())]
    for operator in found:
        found += [o for o in COMPOSED.get(operator, ()) if o not in found]
    return tuple(found)


def _check_rooms(design: Design, stage: Stage) -> None:
    """What is kept in place takes the room of another tensor of the same memory."""
    for number in stage.nests:
        for memory, kepts in design.bindings[number].kept.items():
            rooms = {k.tensor for n in stage.nests for k in design.bindings[n].kept.get(memory, ()) if k.in_place is None}
            for kept in kepts:
                if kept.in_place is not None and kept.in_place not in rooms:
                    raise DesignError(f"design {design.id!r}: keep.{memory}.{kept.tensor}.in_place: nothing in stage {stage.name!r} has "
                                      f"such a room, got {kept.in_place!r}; {suggest(kept.in_place, rooms)}")


def _check_wide(design: Design, frames: tuple[tuple[EinsumFrame, ...], ...]) -> None:
    """Names that a design gives for all nests: of the tensors of a size, and of an accounting."""
    einsums = {f.einsum.name: f for own in frames for f in own}
    tensors = {o.tensor for f in einsums.values() for o in (*f.operands, f.result)}
    parts = {p for f in einsums.values() for p in f.parts}
    named: list[tuple[str, str, str, Iterable[str]]] = [
        (f"mapping.sizes.{part}.of", "tensor", t, tensors) for part, size in design.sizes.items() for t in size.of]
    if design.artifact is not None:
        place = "accounting.fusemax-artifact"
        named += [(f"{place}.per_pe", "tensor", t, tensors) for t in sorted(design.artifact.per_pe)]
        for tensor, loop in design.artifact.read_back.items():
            named += [(f"{place}.read_back", "Einsum", tensor, einsums), (f"{place}.read_back.{tensor}", "loop", loop, parts)]
        for operator, names in design.artifact.omitted_energy.items():
            named += [(f"{place}.omitted_energy.{operator}", "Einsum", name, einsums) for name in names]
    for path, kind, name, valid in named:
        if name not in valid:
            raise DesignError(f"design {design.id!r}: {path}: there is no such {kind}, got {name!r}; {suggest(name, valid)}")


def _check_homes(design: Design, stage: Stage, frames: tuple[tuple[EinsumFrame, ...], ...]) -> None:
    """A tensor that is made and read in one stage must be kept in a memory on both sides, or be forwarded."""
    here = [(n, f) for n in stage.nests for f in frames[n]]
    maker = {f.result.tensor: n for n, f in here}
    for number, frame in here:
        binding = design.bindings[number]
        for operand in frame.operands:
            tensor = operand.tensor
            if tensor not in maker or tensor in stage.off_chip or frame.einsum.name in binding.forward.get(tensor, ()):
                continue
            for n in {number, maker[tensor]}:
                if not any(k.tensor == tensor for kepts in design.bindings[n].kept.values() for k in kepts):
                    raise DesignError(
                        f"design {design.id!r}: tensor {tensor!r}: Einsum {frame.einsum.name!r} cannot find it, got it kept in "
                        f"no memory of the nest of {frames[n][0].einsum.name!r}; keep it, forward it, or send it off_chip")
