"""Cuts a stage into tasks, slot by slot: one for each Einsum and epoch on its unit, and those that move its tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accelerator_sim.design import Kept, Stage
from accelerator_sim.events.channels import Channels
from accelerator_sim.events.engine import Engine, Task
from accelerator_sim.events.grid import Epoch
from accelerator_sim.events.inputs import Inputs
from accelerator_sim.events.phases import epoch_offsets
from accelerator_sim.events.pieces import (
    Piece,
    copies_of,
    lengths_of,
    passing,
    points,
    walked_parts,
)
from accelerator_sim.events.stage_tiles import StageTiles, Tile
from accelerator_sim.events.tiles import values_in
from einsum_cascades.ir import Access


@dataclass(frozen=True, slots=True)
class _Made:
    """Tasks that made a tile of a tensor: for Einsums on the same unit, and for those on others."""

    epoch: int
    near: tuple[int, ...]
    far: tuple[int, ...]
    unit: str


class StageBuilder(StageTiles):
    """Builds the tasks of one stage. A *slot* holds the Einsums of one epoch, or of several that typed phases run together."""

    def __init__(self, inputs: Inputs, stage: Stage, engine: Engine) -> None:
        super().__init__(inputs, stage)
        self.engine = engine
        self.channels = Channels(inputs, engine)
        self.phase_of = {e: k for k, p in enumerate(stage.schedule.phases) for e in p.einsums}
        self.offsets = epoch_offsets(inputs.cascade, stage.schedule, list(self.pieces)) if self.phase_of else dict.fromkeys(self.pieces, 0)
        self.made: dict[tuple[str, tuple[int, ...]], _Made] = {}
        self.last: dict[tuple[str, int], _Made] = {}
        self.barrier: list[int] = []

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self.grid.total + max(self.offsets.values())

    def build(self, slot: int) -> None:
        """Adds the tasks of a slot; slots are built in order."""
        entries: list[tuple[Piece, Epoch]] = []
        for offset in sorted(set(self.offsets.values()), reverse=True):
            epoch = self.grid.epoch(slot - offset)
            if epoch is not None:
                entries += [(p, epoch) for name, p in self.pieces.items() if self.offsets[name] == offset and self._active(p, epoch)]
        if not self.phase_of:
            for piece, epoch in entries:
                self._einsum(piece, epoch, slot, [])
        elif entries:
            self._phased(entries, slot)

    def finish(self) -> None:
        """Adds what is left to do after the last slot: tiles of results that are still there leave."""
        for tile in list(self.tiles.values()):
            if tile.flush is not None:
                tile.flush(tile, self.slots)

    def shift(self, slots: int, low: int, before: int) -> None:
        """Goes on as if it had built so many slots more: epochs from ``low`` on, and before another, are later ones now."""
        def moved(epoch: int) -> int:
            return epoch + slots if low <= epoch < before else epoch
        for tile in self.tiles.values():
            if tile.epoch is not None:
                tile.epoch = moved(tile.epoch)
            if tile.ahead is not None:
                tile.ahead = moved(tile.ahead[0]), tile.ahead[1]
        made, self.made = self.made, {}
        for (tensor, _), entry in made.items():
            if any(n in self.engine.live for n in (*entry.near, *entry.far)):
                entry = _Made(moved(entry.epoch), entry.near, entry.far, entry.unit)
                self.made[tensor, self._key(self._positions_made(tensor), entry.epoch)] = entry
        last, self.last = self.last, {}
        for (tensor, _), entry in last.items():
            entry = _Made(moved(entry.epoch), entry.near, entry.far, entry.unit)
            self.last[tensor, self.grid.digits(entry.epoch)[0]] = entry

    def state(self, place: Mapping[int, int]) -> tuple[object, ...]:
        """Returns what of the tiles and results decides the tasks to come: which live tasks they wait for, by their place in order."""
        def live(tasks: Sequence[int]) -> tuple[int, ...]:
            return tuple(place[n] for n in tasks if n in place)
        tiles = tuple((live(t.fetch), live(t.users), live(t.before), None if t.ahead is None else live(t.ahead[1]))
                      for t in self.tiles.values())
        # A tile that is done is as one that nobody made.
        self.made = {key: e for key, e in self.made.items() if any(n in place for n in (*e.near, *e.far))}
        made = tuple(sorted((tensor, live(e.near), live(e.far)) for (tensor, _), e in self.made.items()))
        return tiles, made, live(self.barrier)

    # --- Einsums ---

    def _phased(self, entries: Sequence[tuple[Piece, Epoch]], slot: int) -> None:
        barrier = list(self.barrier)
        first = entries[0][1].number
        for phase in self.stage.schedule.phases:
            made: list[int] = []
            if phase.drain is not None:
                unit = self.inputs.machine.units[phase.drain]
                made.append(self.engine.add(Task("drain", None, float(unit.drain_cycles), first), slot, barrier))
            else:
                for name in phase.einsums:
                    for piece, epoch in entries:
                        if piece.name == name:
                            made += self._einsum(piece, epoch, slot, barrier)
            if made:
                barrier = [self.engine.add(Task("phase", None, 0.0, first), slot, made)]
        self.barrier = barrier

    def _einsum(self, piece: Piece, epoch: Epoch, slot: int, after: Sequence[int]) -> list[int]:
        """Adds an Einsum of an epoch; returns the tasks that end with its results there."""
        cuts, name = self.inputs.cuts, piece.name
        needs = list(after)
        used: list[Tile] = []
        streams: list[int] = []
        for access in piece.reads:
            needs += self._read(piece, access, epoch, slot, used, streams)
        needs += self._returning(piece, epoch, slot, used)
        steps = cuts.steps(piece.parts, epoch.ranges, piece.spread, frozenset(self.loops))
        tasks = [self.engine.add(Task(name, piece.unit.name, steps * piece.cycles, epoch.number), slot, needs)]
        here = points(piece, epoch.ranges, cuts) if piece.elsewhere else 0
        for unit, cycles in piece.elsewhere.items():
            others = float(self.inputs.machine.units[unit].pes)
            tasks.append(self.engine.add(Task(name, unit, here * cycles / others, epoch.number), slot, needs))
            for way in ((piece.unit.name, unit), (unit, piece.unit.name)):
                if self.channels.rated(way):
                    tasks += self.channels.move("pass", way, name, here * piece.asked, epoch.number, slot, needs)
        tasks += streams
        self._write(piece, epoch, slot, needs, tasks)
        results = tasks
        if piece.tail:
            results = [self.engine.add(Task("result", None, piece.tail, epoch.number), slot, tasks)]
        far = results
        if not self.phase_of and piece.unit.drain_cycles and self._leaves(piece):
            far = [self.engine.add(Task("leave", None, float(piece.unit.drain_cycles), epoch.number), slot, results)]
        tensor = piece.einsum.output.tensor
        made = _Made(epoch.number, tuple(results), tuple(far), piece.unit.name)
        self.made[tensor, self._key(self._positions_made(tensor), epoch.number)] = made
        self.last[tensor, epoch.digits[0]] = made
        for tile in used:
            tile.users += tasks
        return results

    def _leaves(self, piece: Piece) -> bool:
        """Whether an Einsum on another unit of the stage needs its result."""
        return any(p.unit is not piece.unit and any(a.tensor == piece.einsum.output.tensor for a in p.reads) for p in self.pieces.values())

    # --- what is read ---

    def _needed(self, piece: Piece, access: Access, epoch: Epoch) -> list[int]:
        """The tasks that made what is read: in this epoch, or in an earlier round (the last that wrote this tile)."""
        if access.tensor not in self.found.producers:
            return []
        at = self._positions(access, self.loops, iterated=False)
        if at == self._positions_made(access.tensor):
            entry = self.made.get((access.tensor, self._key(at, epoch.number)))
        else:
            entry = self.last.get((access.tensor, epoch.digits[0]))
        if entry is None:
            return []
        return list(entry.near if entry.unit == piece.unit.name else entry.far)

    def _read(self, piece: Piece, access: Access, epoch: Epoch, slot: int, used: list[Tile], streams: list[int]) -> list[int]:
        """Brings what an Einsum reads; returns the tasks that it waits for, and adds those that go on while it works."""
        tensor, nest = access.tensor, piece.nest
        needed = self._needed(piece, access, epoch)
        places = self._places[nest, tensor]
        beyond = self.inputs.machine.outermost.name if tensor in self.crossing else None
        holder = None if piece.name in piece.binding.forward.get(tensor, ()) else places[0][0] if places else beyond
        if holder is None:
            return needed + self._passed(piece, access, epoch, slot, needed)
        made_here = any(p.nest == nest and p.einsum.output.tensor == tensor for p in self.pieces.values())
        ready = needed
        outer = beyond
        for memory, kept in reversed(places):
            if outer is not None and not made_here:
                ready = self._tile(piece, access, (outer, memory), kept, epoch, slot, ready, used)
            outer = memory
        tile = self._registers(piece, access, "read")
        found = passing(piece, access, epoch.ranges, piece.inner, self.inputs.cuts, lengths_of(access, self.found, self.inputs.cuts))
        same = tile.epoch is not None and self._key(tile.at, tile.epoch) == self._key(tile.at, epoch.number)
        tile.epoch = epoch.number
        if same and not found.advances:
            return [*needed, *ready, *tile.fetch]
        copies = found.values * copies_of(piece, access, epoch.ranges, self.inputs.cuts)
        self._spilled(nest, holder, tensor, found.values, epoch, slot, write=False)
        came = self.channels.move("read", (holder, piece.unit.name), tensor, found.values, epoch.number, slot, ready, copies=copies)
        if found.advances:
            # One small tile after another comes through the registers while the Einsum works.
            streams += came
            return [*needed, *ready]
        tile.fetch = came
        return [*needed, *ready, *came]

    def _passed(self, piece: Piece, access: Access, epoch: Epoch, slot: int, needed: Sequence[int]) -> list[int]:
        """What passes from the unit of one Einsum to another's, on a network with a rate, to the first Einsum there that takes it."""
        maker = self.pieces.get(self.found.producers[access.tensor].name) if access.tensor in self.found.producers else None
        if maker is None or maker.unit is piece.unit or not self.channels.rated((maker.unit.name, piece.unit.name)):
            return []
        takers = [p for p in self.pieces.values() if p.unit is piece.unit and any(a.tensor == access.tensor for a in p.reads)]
        tile = self._registers(piece, access, "pass")
        same = tile.epoch is not None and self._key(tile.at, tile.epoch) == self._key(tile.at, epoch.number)
        tile.epoch = epoch.number
        if takers[0] is not piece or same or self._came_before(piece, access, epoch):
            return []
        values = float(values_in(access, epoch.ranges, self.inputs.cuts, lengths_of(access, self.found, self.inputs.cuts)))
        multicast = bool(set(piece.spread) - walked_parts(access, self.inputs.cuts))
        own, what = (piece, access) if multicast else (maker, maker.einsum.output)
        return self.channels.move("pass", (maker.unit.name, piece.unit.name), access.tensor, values, epoch.number, slot, needed,
                                  copies=values * copies_of(own, what, epoch.ranges, self.inputs.cuts), adding=not multicast)

    def _tile(self, piece: Piece, access: Access, way: tuple[str, str], kept: Kept, epoch: Epoch, slot: int, ready: list[int],
              used: list[Tile]) -> list[int]:
        """Brings the tile that a memory keeps; returns the tasks to wait for."""
        tensor, memory = access.tensor, way[1]
        outside, inner = self._around(piece, kept.at)
        tile = self._kept(piece.nest, memory, access, outside)
        if inner:
            found = passing(piece, access, epoch.ranges, inner, self.inputs.cuts, lengths_of(access, self.found, self.inputs.cuts))
            values, advances = found.values, found.advances
            if advances and piece is not self._filler(piece, tensor, kept):
                return tile.fetch or ready
        else:
            values, advances = self._tile_values(access, outside, epoch), False
        used.append(tile)
        same = tile.epoch is not None and self._key(tile.at, tile.epoch) == self._key(tile.at, epoch.number)
        tile.epoch = epoch.number
        if same and not advances:
            return tile.fetch
        came = tile.ahead
        tile.ahead = None
        # Two tiles have room: the next comes while this one is used, once the one before is done with.
        before, tile.before, tile.users = tile.before, tile.users, []
        if came is not None and not advances and self._key(tile.at, came[0]) == self._key(tile.at, epoch.number):
            tile.fetch = came[1]
        else:
            tile.fetch = self._fetch(piece, way, tensor, values, epoch.number, slot, [*before, *ready])
        if not advances and tensor not in self.found.producers:
            self._ask_ahead(piece, access, way, tile, outside, inner, epoch)
        return tile.fetch

    def _fetch(self, piece: Piece, way: tuple[str, str], tensor: str, values: float, epoch: int, slot: int, needs: Sequence[int]) -> list[int]:
        share = 1 - self.inputs.spilled.get((piece.nest, way[1], tensor), 0.0)
        here = self.grid.epoch(epoch)
        if here is not None:
            self._spilled(piece.nest, way[0], tensor, values * share, here, slot, write=False)
        return self.channels.move("read", way, tensor, values * share, epoch, slot, needs)

    def _ask_ahead(self, piece: Piece, access: Access, way: tuple[str, str], tile: Tile, outside: Sequence[str], inner: Sequence[str],
                   epoch: Epoch) -> None:
        """Asks for the next tile as soon as there is room: it goes behind all that is needed before it."""
        later = self._next(piece, tile.at, epoch)
        if later is None or self._key(tile.at, later.number) == self._key(tile.at, epoch.number):
            return
        values = passing(piece, access, later.ranges, inner, self.inputs.cuts, lengths_of(access, self.found, self.inputs.cuts)).values \
            if inner else self._tile_values(access, outside, later)
        slot = later.number + self.offsets[piece.name]
        # The tile further out that it comes from may still be on its way.
        further = self.tiles.get(("kept", piece.nest, way[0], access.tensor))
        ready = [] if further is None else further.ahead[1] if further.ahead is not None and further.ahead[0] == later.number else further.fetch
        tile.ahead = later.number, self._fetch(piece, way, access.tensor, values, later.number, slot, [*tile.before, *ready])

    # --- what is written ---

    def _returning(self, piece: Piece, epoch: Epoch, slot: int, used: list[Tile]) -> list[int]:
        """Brings back partial results, and lets the tile before leave where a new one begins; returns what to wait for."""
        access, waits = piece.einsum.output, []
        for key, way, kept in self._levels(piece):
            outside, inner = (self.loops, piece.inner) if kept is None else self._around(piece, kept.at)
            tile = self.tiles.setdefault(key, Tile(self._positions(access, outside)))
            found = self._through(piece, access, epoch, outside, inner)
            used.append(tile)
            seen = self._seen(piece, access, outside, epoch)
            if found.advances:
                back = found.values - (0 if seen else found.distinct)
                tile.epoch = epoch.number
            else:
                same = tile.epoch is not None and self._key(tile.at, tile.epoch) == self._key(tile.at, epoch.number)
                if not same and tile.epoch is not None and tile.flush is not None:
                    tile.flush(tile, slot)
                tile.epoch = epoch.number
                if same:
                    continue
                tile.users = []
                tile.flush = self._leaving(piece, way, kept, outside)
                back = found.values if seen else 0.0
            share = 1.0 if kept is None else 1 - self.inputs.spilled.get((piece.nest, way[0], access.tensor), 0.0)
            if back:
                self._spilled(piece.nest, way[1], access.tensor, back * share, epoch, slot, write=False)
                waits += self.channels.move("read", way[::-1], access.tensor, back * share, epoch.number, slot, [])
        return waits

    def _write(self, piece: Piece, epoch: Epoch, slot: int, needs: Sequence[int], tasks: Sequence[int]) -> None:
        """Results that leave while they are made, or as they are done where a memory keeps them."""
        for _, way, kept in self._levels(piece):
            outside, inner = (self.loops, piece.inner) if kept is None else self._around(piece, kept.at)
            found = self._through(piece, piece.einsum.output, epoch, outside, inner)
            if found.advances:
                self._leave(piece, way, kept, found.values, epoch, slot, needs if kept is None else tasks)

    def _leaving(self, piece: Piece, way: tuple[str, str], kept: Kept | None, outside: Sequence[str]) -> Callable[[Tile, int], None]:
        def flush(tile: Tile, slot: int) -> None:
            assert tile.epoch is not None
            epoch = self.grid.epoch(tile.epoch)
            assert epoch is not None
            values = self._tile_values(piece.einsum.output, outside, epoch)
            self._leave(piece, way, kept, values, epoch, slot, tile.users)
            tile.flush = None
        return flush

    def _leave(self, piece: Piece, way: tuple[str, str], kept: Kept | None, values: float, epoch: Epoch, slot: int,
               needs: Sequence[int]) -> None:
        access = piece.einsum.output
        share = 1.0 if kept is None else 1 - self.inputs.spilled.get((piece.nest, way[0], access.tensor), 0.0)
        self._spilled(piece.nest, way[1], access.tensor, values * share, epoch, slot, write=True)
        self.channels.move("write", way, access.tensor, values * share, epoch.number, slot, needs, adding=kept is None,
                           copies=values * copies_of(piece, access, epoch.ranges, self.inputs.cuts) if kept is None else None)

    def _spilled(self, nest: int, memory: str, tensor: str, values: float, epoch: Epoch, slot: int, *, write: bool) -> None:
        """Of what is read from a memory or written to it, the share that did not fit goes on to the next one outwards."""
        share = self.inputs.spilled.get((nest, memory, tensor), 0.0)
        if share and values:
            places = [m for m, _ in self._places[nest, tensor]]
            further = places[places.index(memory) + 1] if memory != places[-1] else self.inputs.machine.outermost.name
            self.channels.move("spill", (further, memory), tensor, values * share, epoch.number, slot, [], only=True)
