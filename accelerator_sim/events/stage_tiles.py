"""The tiles of a stage: which epochs share one, what they hold, and where they come from and go to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from accelerator_sim.design import Kept, Stage
from accelerator_sim.events.grid import Epoch, Grid
from accelerator_sim.events.inputs import Inputs
from accelerator_sim.events.pieces import Passing, Piece, lengths_of, make_piece, passing, places_of, walked_parts
from accelerator_sim.events.tiles import Range, ranks_of, values_in
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access
from einsum_cascades.structure import structure


@dataclass(eq=False)
class Tile:
    """A tile in a memory or in registers: the last ``epoch`` that used it, the tasks that brought it, those that use it and used
    the one before; what was asked for ahead, with its epoch. ``at`` are the digits that tell tiles apart."""

    at: tuple[int, ...]
    epoch: int | None = None
    fetch: list[int] = field(default_factory=list)
    users: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    ahead: tuple[int, list[int]] | None = None
    flush: Callable[[Tile, int], None] | None = None


class StageTiles:
    """Einsums, loops and tiles of one stage."""

    def __init__(self, inputs: Inputs, stage: Stage) -> None:
        self.inputs, self.stage = inputs, stage
        self.found = structure(inputs.cascade)
        mapping = inputs.design.mapping
        self.loops = _shared(inputs, stage)
        einsums = {e.name: e for e in inputs.cascade.einsums}
        self.pieces = {name: make_piece(inputs, einsums[name], n, self.loops) for n in stage.nests for name in mapping.nests[n].einsums}
        strides = {loop: pes for piece in self.pieces.values() for loop, pes in piece.spread.items() if loop in self.loops}
        self.grid = Grid(inputs.cuts, self.loops, strides, inputs.instances)
        self.crossing = frozenset(t for p in self.pieces.values() for t in (p.einsum.output.tensor, *(a.tensor for a in p.reads))
                                  if self._crosses(t))
        self.waits = {(name, loop): self._after(name, loop) for name in self.pieces for loop in self.loops}
        self.tiles: dict[tuple[object, ...], Tile] = {}
        self._known: dict[tuple[int, int, bool], tuple[int, ...]] = {}
        self._places = {(p.nest, a.tensor): places_of(inputs, p.nest, a.tensor) for p in self.pieces.values()
                        for a in (p.einsum.output, *p.reads)}

    def _active(self, piece: Piece, epoch: Epoch) -> bool:
        """Whether an Einsum runs in this epoch: at the first or the last round of each loop that it lacks."""
        for loop in self.loops:
            if loop not in piece.parts:
                here, around = epoch.own[loop]
                if (here[1] != around[1]) if self.waits[piece.name, loop] else (here[0] != around[0]):
                    return False
        return True

    def _next(self, piece: Piece, at: tuple[int, ...], epoch: Epoch) -> Epoch | None:
        """The next epoch in which an Einsum has another tile."""
        counts = self.grid.counts
        last = max((n for n in at if counts[n] > 1), default=0)
        digits = list(epoch.digits)
        while True:
            for n in range(last, -1, -1):
                if n == 0 or self.loops[n - 1] in piece.parts:
                    if digits[n] + 1 < counts[n]:
                        digits[n] += 1
                        break
                    digits[n] = 0
            else:
                return None
            for n, loop in enumerate(self.loops, start=1):
                if loop not in piece.parts:
                    digits[n] = counts[n] - 1 if self.waits[piece.name, loop] else 0
                elif n > last:
                    digits[n] = 0
            found = self.grid.epoch(self.grid.number(digits))
            if found is not None and self._active(piece, found):
                return found

    def _levels(self, piece: Piece) -> list[tuple[tuple[object, ...], tuple[str, str], Kept | None]]:
        """The places that a result leaves, with where it goes: the registers, then the memories that keep it."""
        tensor = piece.einsum.output.tensor
        places = self._places[piece.nest, tensor]
        beyond = self.inputs.machine.outermost.name if tensor in self.crossing else None
        home = places[0][0] if places else beyond
        if home is None:
            return []
        found: list[tuple[tuple[object, ...], tuple[str, str], Kept | None]] = [(("write", piece.name), (piece.unit.name, home), None)]
        for (memory, kept), outer in zip(places, (*(m for m, _ in places[1:]), beyond), strict=False):
            if outer is not None:
                found.append((("out", piece.nest, memory, tensor), (memory, outer), kept))
        return found

    # --- tiles ---

    def _through(self, piece: Piece, access: Access, epoch: Epoch, outside: Sequence[str], inner: Sequence[str]) -> Passing:
        found = passing(piece, access, epoch.ranges, inner, self.inputs.cuts, lengths_of(access, self.found, self.inputs.cuts))
        if found.advances or inner:
            return found
        values = self._tile_values(access, outside, epoch)
        return Passing(values, values, False)

    def _around(self, piece: Piece, at: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The shared loops outside of a kept tile, and the Einsum's own loops outside of it."""
        if at is None or at in self.inputs.design.mapping.instances:
            return (), ()
        if at in self.loops:
            return self.loops[:self.loops.index(at) + 1], ()
        if at in piece.inner:
            return self.loops, piece.inner[:piece.inner.index(at) + 1]
        nest = self.inputs.design.mapping.nests[piece.nest]
        outer = nest.loops[:nest.loops.index(at) + 1] if at in nest.loops else ()
        return self.loops, tuple(x for x in piece.inner if x in outer)

    def _filler(self, piece: Piece, tensor: str, kept: Kept) -> Piece:
        """Of the Einsums of a nest that read a tile, the one in most loops outside of it: it brings it for all."""
        readers = [p for p in self.pieces.values() if p.nest == piece.nest and any(a.tensor == tensor for a in p.reads)
                   and p.name not in p.binding.forward.get(tensor, ())]
        return max(readers, key=lambda p: len([x for x in p.order if x in (*self._around(p, kept.at)[0], *self._around(p, kept.at)[1])]))

    def _registers(self, piece: Piece, access: Access, what: str) -> Tile:
        return self.tiles.setdefault((what, piece.name, access), Tile(self._positions(access, self.loops)))

    def _kept(self, nest: int, memory: str, access: Access, outside: Sequence[str]) -> Tile:
        return self.tiles.setdefault(("kept", nest, memory, access.tensor), Tile(self._positions(access, outside)))

    def _positions(self, access: Access, outside: Sequence[str], *, iterated: bool = True) -> tuple[int, ...]:
        """The digits that tell tiles of a tensor apart, inside of some shared loops: the instance, and loops that it walks."""
        key = id(access), len(outside), iterated
        if key not in self._known:
            walked = walked_parts(access, self.inputs.cuts)
            iteration = self.found.iterative.get(access.tensor)
            if iteration is not None and not iterated:
                walked -= frozenset(self.inputs.cuts.parts.get(iteration.rank, (iteration.rank,)))
            self._known[key] = (0, *(n for n, loop in enumerate(self.loops, start=1) if loop in walked and loop in outside))
        return self._known[key]

    def _positions_made(self, tensor: str) -> tuple[int, ...]:
        return self._positions(self.found.producers[tensor].output, self.loops, iterated=False)

    def _key(self, at: tuple[int, ...], epoch: int) -> tuple[int, ...]:
        digits = self.grid.digits(epoch)
        return tuple(digits[n] for n in at)

    def _seen(self, piece: Piece, access: Access, outside: Sequence[str], epoch: Epoch) -> bool:
        """Whether a tile of a result was there before: a loop over another rank has advanced."""
        walked = walked_parts(access, self.inputs.cuts)
        return any(digit for loop, digit in zip(self.loops, epoch.digits[1:], strict=True)
                   if digit and loop in outside and loop in piece.parts and loop not in walked)

    def _came_before(self, piece: Piece, access: Access, epoch: Epoch) -> bool:
        return self._seen(piece, access, self.loops, epoch)

    def _tile_values(self, access: Access, outside: Sequence[str], epoch: Epoch) -> float:
        """The values of a tensor in a tile inside of some shared loops."""
        cuts = self.inputs.cuts
        walked = walked_parts(access, cuts)
        ranges: dict[str, Range] = {r: (0, n) for r, n in cuts.extents.items()}
        for loop in outside:
            if loop in walked or cuts.rank_of[loop] in {cuts.rank_of.get(r, r) for i in access.indices for r in ranks_of(i)}:
                ranges[cuts.rank_of[loop]] = epoch.own[loop][0]
        return float(values_in(access, ranges, cuts, lengths_of(access, self.found, cuts)))

    # --- what stays the same ---

    def _after(self, name: str, loop: str) -> bool:
        """Whether an Einsum that lacks a loop comes after Einsums that have it: it waits for the last round."""
        pending, seen = [name], set()
        while pending:
            for access in self.pieces[pending.pop()].einsum.reads:
                producer = self.found.producers.get(access.tensor)
                if producer is None or producer.name in seen or producer.name not in self.pieces:
                    continue
                seen.add(producer.name)
                if loop in self.pieces[producer.name].parts:
                    return True
                pending.append(producer.name)
        return False

    def _crosses(self, tensor: str) -> bool:
        if tensor in (*self.found.inputs, *self.found.outputs) or tensor in self.stage.off_chip:
            return True
        producer = self.found.producers[tensor].name
        readers = {e.name for e in self.inputs.cascade.einsums if any(a.tensor == tensor for a in e.reads)}
        return producer not in self.pieces or not readers <= set(self.pieces)


def _shared(inputs: Inputs, stage: Stage) -> tuple[str, ...]:
    """The loops, from the outermost, that all nests of a stage share, without those over instances."""
    instances = inputs.design.mapping.instances
    nests = [inputs.design.mapping.nests[n].loops for n in stage.nests]
    for loops in nests:
        inside = [x for n, x in enumerate(loops) if x in instances and any(y not in instances for y in loops[:n])]
        if inside:
            raise DesignError(f"design {inputs.design.id!r}: stage {stage.name!r}: events go through instances one after another, got loop "
                              f"{inside[0]!r} inside of others; use --timing analytic")
    first, *others = [tuple(x for x in loops if x not in instances) for loops in nests]
    length = next((i for i, x in enumerate(first) if any(len(o) <= i or o[i] != x for o in others)), len(first))
    return first[:length]
