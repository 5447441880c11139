"""Checks that what a nest keeps in a memory is there when it is needed, in tiles that its loops agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from accelerator_sim.design import Design, Kept, Stage
from accelerator_sim.parts import folded
from einsum_cascades.errors import DesignError
from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Cascade, Coord, Expr
from einsum_cascades.structure import structure

if TYPE_CHECKING:
    from accelerator_sim.frame import EinsumFrame, Operand


@dataclass(frozen=True, slots=True)
class _Use:
    """An Einsum that makes a kept tensor or reads it from the memory: ``walked`` are the parts that change its tile, of an
    iterative tensor without the rank that it iterates over; ``above`` its loops outside of the tile; ``indices`` say which
    element, whatever the generation of a tensor that is iterated here; ``windowed`` are parts that its windows mention."""

    einsum: str
    makes: bool
    walked: frozenset[str]
    above: tuple[str, ...]
    access: Access
    indices: tuple[Expr | None, ...]
    windowed: frozenset[str]

    @property
    def returns(self) -> str | None:
        """A loop for which the tile comes back: over another rank, with a loop further in that changes the tile; or one over
        a rank that is scattered, which may meet the same places again."""
        again = next((x for x in self.above if self.makes and x in self.windowed), None)
        if again is not None:
            return again
        last = max((i for i, x in enumerate(self.above) if x in self.walked), default=0)
        return next((x for x in self.above[:last] if x not in self.walked), None)


def check_residency(cascade: Cascade, design: Design, stage: Stage, frames: Sequence[Sequence[EinsumFrame]],
                    crossing: frozenset[str]) -> None:
    """Checks all that the nests of a stage keep.

    Raises: DesignError for a tile that is given up before its last use and has nowhere to come back from, and for one that the
        Einsums of a nest, or two nests, would cut differently.
    """
    made = {o.tensor: n for n in stage.nests for f in frames[n] for o in f.results}
    for number in stage.nests:
        for memory, kepts in design.bindings[number].kept.items():
            for kept in kepts:
                check_kept(cascade, design, frames[number], number, memory, kept, made.get(kept.tensor), kept.tensor in crossing)
    for tensor, maker in made.items():
        if tensor not in crossing:
            _check_nests(design, stage, frames, tensor, maker)


def depth_of(design: Design, number: int, at: str | None) -> int:
    """Returns how many shared loops of a nest are outside of a tile that lives inside the loop ``at``; one more than there are
    for a loop that is not shared."""
    shared = _shared(design, number)
    return 0 if at is None else shared.index(at) + 1 if at in shared else len(shared) + 1


def check_kept(cascade: Cascade, design: Design, frames: Sequence[EinsumFrame], number: int, memory: str, kept: Kept,
               maker: int | None, crosses: bool) -> None:
    """Checks one tensor that a nest keeps; ``maker`` is the nest of the stage that makes it, if any, and ``crosses`` whether it
    comes from or goes to the outermost memory.

    Raises: DesignError as :func:`check_residency`.
    """
    uses = tuple(_uses(cascade, design, frames, number, kept))
    place = f"design {design.id!r}: tensor {kept.tensor!r}: its tile in {memory}"
    names = tuple(dict.fromkeys(u.einsum for u in uses))
    if len(names) > 1 and kept.at is not None and kept.at not in _shared(design, number):
        raise DesignError(f"{place} lives in a loop of one Einsum alone, got loop {kept.at!r} for {', '.join(names)}; keep it at a "
                          f"loop that they share")
    around = {x for u in uses for x in u.above}
    cuts = {u.walked & around: u.einsum for u in uses}
    if len(cuts) > 1:
        (one, first), (other, second), *_ = cuts.items()
        raise DesignError(f"{place} would be cut along different ranks, got loop {kept.at!r} with {first} over "
                          f"{_listed(one)} and {second} over {_listed(other)} outside of it; keep it at a loop outside of these")
    again = {o.tensor for f in frames for o in f.results if f.einsum.name in design.nest(number).recompute}
    for use in uses if kept.tensor not in again else ():
        # A result that leaves comes back from the next memory; what is read here after it has been made here does not.
        if use.returns is not None and (maker == number and not use.makes
                                        or maker is not None and not crosses and _outermost(design, number, kept)):
            raise DesignError(f"{place} is given up before its last use, got it kept at loop {kept.at!r} inside of {use.returns!r}, in "
                              f"each round of which {use.einsum} needs it; keep it at a loop outside of {use.returns!r}")
    for first_use, use in pairwise(sorted(uses, key=lambda u: sorted(u.walked))):
        plain = _plain(first_use) and _plain(use)
        if first_use.indices != use.indices and (
                first_use.walked == use.walked and (use.walked & around or not plain)
                or not plain and maker != number and not use.makes and not first_use.makes):
            raise DesignError(f"{place} would hold places at a distance, got {_shown(first_use)} and {_shown(use)}; keep it in no memory "
                              f"of this nest, or read it in nests of their own")
    beyond = next((u for u in uses if maker == number and kept.tensor not in again and not u.makes and not _plain(u)
                   and u.windowed & around), None)
    if beyond is not None:
        raise DesignError(f"{place} is read beyond its borders, got {_shown(beyond)} inside of loop {kept.at!r}; recompute "
                          f"{kept.tensor} in this nest, or keep it at a loop outside of {', '.join(sorted(beyond.windowed & around))}")
    _check_rounds(design, frames, number, kept, uses, place)
    reads = sorted((u for u in uses if not u.makes), key=lambda u: len(u.above))
    for few, many in pairwise(reads):
        if maker != number and not set(few.above) <= set(many.above):
            raise DesignError(f"{place} has no order of tiles, got {few.einsum} in loops {', '.join(few.above)} and {many.einsum} in "
                              f"{', '.join(many.above)}; put them in nests of their own, or keep it further out")


def _check_rounds(design: Design, frames: Sequence[EinsumFrame], number: int, kept: Kept, uses: Sequence[_Use], place: str) -> None:
    """Einsums that lack a loop outside of a tile run in its first round, where one that has the loop needs what they make, or in
    the last; all that use one tile in the same."""
    named = {f.einsum.name: f for f in frames}
    for loop in _shared(design, number)[:depth_of(design, number, kept.at)]:
        lacking = {u.einsum: _precedes(frames, named[u.einsum], loop) for u in uses if loop not in named[u.einsum].loops}
        if len(set(lacking.values())) > 1:
            first, last = (next(e for e, precedes in lacking.items() if precedes is which) for which in (True, False))
            raise DesignError(f"{place} is needed in the first round of a loop and in the last, got loop {loop!r} with {first} before it "
                              f"and {last} after it; keep it at a loop outside of {loop!r}, or put them in nests of their own")


def _precedes(frames: Sequence[EinsumFrame], frame: EinsumFrame, loop: str) -> bool:
    """Whether an Einsum that has the loop needs what another one makes, directly or through others."""
    pending, seen = [frame], {frame.einsum.name}
    while pending:
        made = {o.tensor for o in pending.pop().results}
        for reader in frames:
            if reader.einsum.name not in seen and any(o.tensor in made for o in reader.operands):
                if loop in reader.loops:
                    return True
                seen.add(reader.einsum.name)
                pending.append(reader)
    return False


def _uses(cascade: Cascade, design: Design, frames: Sequence[EinsumFrame], number: int, kept: Kept) -> Iterator[_Use]:
    nest, forward = design.nest(number), design.bindings[number].forward.get(kept.tensor, ())
    iteration = structure(cascade).iterative.get(kept.tensor)
    here = {o.tensor for f in frames for o in f.results}
    slot = iteration.dimension if iteration is not None and kept.tensor in here else None
    for frame in frames:
        name = frame.einsum.name
        made = zip(frame.einsum.outputs, frame.results, strict=True)
        for makes, (access, operand) in (*((True, m) for m in made), *((False, r) for r in frame.reads())):
            if operand.tensor == kept.tensor and (makes or name not in forward):
                indices = tuple(None if n == slot else folded(index) for n, index in enumerate(access.indices))
                windowed = frozenset(p for w in operand.windows for p in w.parts)
                yield _Use(name, makes, _walked(operand), frame.above(nest, kept.at), access, indices, windowed)


def _plain(use: _Use) -> bool:
    """Whether it is about all coordinates of its ranks, none of them at a distance."""
    return all(index is None or isinstance(index, Coord) or composite(index) is not None for index in use.indices)


def _shown(use: _Use) -> str:
    from einsum_cascades.printing import expr_text
    return f"{expr_text(use.access)} in {use.einsum}"


def _walked(operand: Operand) -> frozenset[str]:
    return operand.walked - (operand.parts - operand.state)


def _listed(parts: frozenset[str]) -> str:
    return ", ".join(sorted(parts)) or "none"


def _shared(design: Design, number: int) -> tuple[str, ...]:
    loops = design.nest(number).loops
    return (*(x for x in design.mapping.instances if x not in loops), *loops)


def _outermost(design: Design, number: int, kept: Kept) -> bool:
    """Whether no memory keeps more of the tensor: tiles of memories further out live at loops further out."""
    depths = [depth_of(design, number, k.at) for kepts in design.bindings[number].kept.values() for k in kepts
              if k.tensor == kept.tensor]
    return depth_of(design, number, kept.at) <= min(depths)


def _check_nests(design: Design, stage: Stage, frames: Sequence[Sequence[EinsumFrame]], tensor: str, maker: int) -> None:
    """A tile that passes from nest to nest lives in the same loops of both."""
    rounds = {n: _rounds(design, n, tensor) for n in stage.nests
              if any(o.tensor == tensor for f in frames[n] for o in (*f.operands, *f.results))}
    for number, loops in rounds.items():
        if loops != rounds[maker]:
            raise DesignError(f"design {design.id!r}: tensor {tensor!r}: a tile that passes from nest to nest lives in the same loops of "
                              f"both, got {', '.join(rounds[maker]) or 'none'} where it is made and {', '.join(loops) or 'none'} in the "
                              f"nest of {frames[number][0].einsum.name!r}; keep it at the same loop, or send it off_chip")


def _rounds(design: Design, number: int, tensor: str) -> tuple[str, ...]:
    """The loops outside of the largest tile of a tensor that a nest keeps."""
    shared = _shared(design, number)
    depth = min((depth_of(design, number, k.at) for kepts in design.bindings[number].kept.values() for k in kepts
                 if k.tensor == tensor), default=len(shared))
    return shared[:depth]
