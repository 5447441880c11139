"""Finds that a simulation repeats, and goes on from where it would be after many repetitions.

What happens next follows from what is live, relative to now, and from the tasks to come. When a round of a loop ends in
the state in which an earlier one did, and the rounds to come are built alike, everything repeats: the rounds are added
at once, exactly. Rounds are alike from a loop's second to its last but one, where neither a first nor a last tile
is near, and where no index depends on the round otherwise than by its place (a window, a predicate).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from accelerator_sim.events.engine import Engine
from accelerator_sim.events.tasks import StageBuilder
from einsum_cascades.indices import affine, composite
from einsum_cascades.ir import coords

HELD = 64
"""States of one loop that are remembered: the longest period that is found, in rounds."""

RECORDED = 2000
"""Tasks that end before the first repetition is taken, so that there is something to look at."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """``rounds`` of a loop that were added at once, as repetitions of ``period`` of them that take so many ``cycles``."""

    loop: str
    rounds: int
    period: int
    cycles: float


@dataclass(frozen=True, eq=False, slots=True)
class _Seen:
    now: int
    slot: int
    built: int
    busy: dict[str, int]
    moved: dict[str, float]


@dataclass(eq=False)
class Repeats:
    """Watches the rounds of each loop of a stage."""

    builder: StageBuilder
    engine: Engine
    found: list[Repetition] = field(default_factory=list)
    _states: list[OrderedDict[object, _Seen]] = field(init=False)
    _round: list[int] = field(init=False)
    _loops: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        grid = self.builder.grid
        self._states = [OrderedDict() for _ in grid.counts]
        self._round = [-1] * len(grid.counts)
        tied = self._tied()
        self._loops = tuple(n for n, count in enumerate(grid.counts)
                            if count > 4 and (n == 0 or grid.cuts.rank_of[grid.loops[n - 1]] not in tied))

    def after(self, done: int, built: int) -> int:
        """Takes repetitions when all slots before ``done`` have ended and those before ``built`` are built; returns by how many slots
        both are further."""
        grid = self.builder.grid
        if len(self.engine.ended) < RECORDED:
            return 0
        state: tuple[object, ...] | None = None
        for level in self._loops:
            size = grid.sizes[level]
            here = done // size
            if here == self._round[level]:
                continue
            count = grid.counts[level]
            first = grid.epoch(here * size)
            if first is None:
                continue
            if here // count != self._round[level] // count:
                self._states[level].clear()
            self._round[level] = here
            # Alike are the rounds whose tiles, and the next ones after what is built, are neither the first nor the last.
            start = here // count * count
            there = count if level == 0 else grid.rounds(first, grid.loops[level - 1])
            left = there - 2 - (-(-built // size) - start)
            if (built - max(self.builder.offsets.values())) // size - start < 1 or left < 1:
                continue
            if state is None:
                order = self.engine.order()
                state = self.engine.state(order, done, built), self.builder.state(order), built - done
            skipped = self._repeat(level, (state, done % size), done, built, left)
            if skipped:
                return skipped
        return 0

    def _repeat(self, level: int, state: object, done: int, built: int, left: int) -> int:
        grid, states = self.builder.grid, self._states[level]
        known = states.get(state)
        now = _Seen(self.engine.now, done, built, dict(self.engine.busy), dict(self.builder.channels.moved))
        states[state] = now
        if len(states) > HELD:
            states.popitem(last=False)
        if known is None:
            return 0
        slots = done - known.slot
        period = slots // grid.sizes[level]
        times = left // period
        if not times:
            return 0
        parent = grid.sizes[level] * grid.counts[level]
        before = (done // parent + 1) * parent
        low = built - max(self.builder.offsets.values()) - slots
        self.engine.recording = False
        self.engine.shift(times * (now.now - known.now), times * slots, before)
        self.builder.shift(times * slots, low, before)
        for resource in self.engine.busy:
            self.engine.busy[resource] += times * (now.busy[resource] - known.busy.get(resource, 0))
        moved = self.builder.channels.moved
        for memory in moved:
            moved[memory] += times * (now.moved[memory] - known.moved[memory])
        self.found.append(Repetition(grid.loops[level - 1] if level else "instances", times * period, period, self.engine.cycles(now.now - known.now)))
        for inner in range(level, len(grid.counts)):
            self._states[inner].clear()
            self._round[inner] = (done + times * slots) // grid.sizes[inner]
        return times * slots

    def _tied(self) -> frozenset[str]:
        """Ranks whose rounds are not alike: those in predicates, in windows and in computed indices."""
        cuts = self.builder.grid.cuts
        found: set[str] = set()
        for piece in self.builder.pieces.values():
            for access in (piece.einsum.output, *piece.reads):
                for index in access.indices:
                    form = affine(index)
                    plain = composite(index) is not None or form is not None and len(form.coordinates) <= 1 \
                        and all(c == 1 for _, c in form.coordinates)
                    if not plain:
                        found.update(cuts.rank_of.get(r, r) for r in coords(index))
            if piece.einsum.where is not None:
                found.update(cuts.rank_of.get(r, r) for r in coords(piece.einsum.where))
        return frozenset(found)
