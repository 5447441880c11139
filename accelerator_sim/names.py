"""Checks that what a design's bindings name is there: tensors, Einsums, loops, operators, and where each tensor is found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from accelerator_sim.design import Design, Stage
from accelerator_sim.operators import COMPOSED, FUSED
from einsum_cascades.errors import DesignError, suggest

if TYPE_CHECKING:
    from accelerator_sim.frame import EinsumFrame

Frames = Sequence[Sequence["EinsumFrame"]]
"""The Einsums of each nest."""


def check_names(design: Design, stage: Stage, frames: Frames) -> None:
    """Checks the tensors, Einsums and loops that the bindings of a stage name, and that every tensor that is read is to be found.

    Raises: DesignError for the first that is not there.
    """
    for number in stage.nests:
        binding, nest = design.bindings[number], frames[number]
        place = f"design {design.id!r}: nest of {nest[0].einsum.name!r}"
        for name in design.nest(number).runs:
            if name not in binding.unit:
                raise DesignError(f"{place}: units: Einsum {name!r} is bound to no unit, got units of {', '.join(binding.unit)}; bind it")
        tensors = {o.tensor for f in nest for o in (*f.operands, *f.results)}
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
        made = {o.tensor for f in nest for o in f.results}
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
        if tensor not in {o.tensor for own in frames for f in own for o in f.results}:
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


def check_wide(design: Design, frames: Frames) -> None:
    """Checks the names that a design gives for all nests: of the tensors of a size, and of an accounting.

    Raises: DesignError for one that is not there.
    """
    einsums = {f.einsum.name: f for own in frames for f in own}
    tensors = {o.tensor for f in einsums.values() for o in (*f.operands, *f.results)}
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


def _check_homes(design: Design, stage: Stage, frames: Frames) -> None:
    """A tensor that is made and read in one stage must be kept in a memory on both sides, or be forwarded."""
    here = [(n, f) for n in stage.nests for f in frames[n]]
    maker = {o.tensor: n for n, f in here for o in f.results}
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
