"""The time of a design by events: tile by tile until what happens repeats exactly, and from there by whole repetitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accelerator_sim.design import Stage
from accelerator_sim.events.engine import TICKS, Engine, Task
from accelerator_sim.events.inputs import stage_inputs
from accelerator_sim.events.repeats import Repeats, Repetition
from accelerator_sim.events.tasks import StageBuilder
from accelerator_sim.plan import Plan
from einsum_cascades.errors import DesignError

MOST_TASKS = 400_000
"""Tasks of one stage that are simulated one by one: more take too long."""

_LEAST_WINDOW, _MOST_WINDOW = 4, 64
"""Slots that are under way at a time, at least and at most."""


@dataclass(frozen=True)
class Timed:
    """A task, and the cycles at which it began and ended."""

    task: Task
    begin: float
    end: float


@dataclass(frozen=True)
class StageEvents:
    """A stage by events. ``cycles`` of all its ``epochs`` (of all ``instances``), of which ``simulated`` were run tile by tile and
    the others repeated these, as ``repetitions`` say. ``busy`` cycles of each resource, ``moved`` bytes by memory and
    ``bytes_moved`` at the outermost are of all; ``timeline`` are the tasks that ended before the first repetition."""

    stage: str
    cycles: float
    instances: int
    epochs: int
    simulated: int
    busy: Mapping[str, float]
    bytes_moved: float
    moved: Mapping[str, float]
    timeline: tuple[Timed, ...]
    repetitions: tuple[Repetition, ...]

    @property
    def note(self) -> str:
        """How much of it was simulated, and what repeats."""
        if not self.repetitions:
            return f"stage {self.stage}: all {self.epochs:,} epochs simulated"
        rounds: dict[str, int] = {}
        for repetition in self.repetitions:
            rounds[repetition.loop] = rounds.get(repetition.loop, 0) + repetition.rounds
        what = ", ".join(f"{n:,} of {loop}" for loop, n in rounds.items())
        return (f"A24: stage {self.stage}: {self.simulated:,} of {self.epochs:,} epochs simulated tile by tile; rounds that began in a state seen "
                f"before repeat exactly and were added ({what})")


def simulate_events(plan: Plan) -> tuple[StageEvents, ...]:
    """Returns the time of each stage of a plan, by events.

    Raises: DesignError where a stage has too many tiles, or is of a kind that events do not reach.
    """
    return tuple(_stage(plan, stage) for stage in plan.design.stages)


def _stage(plan: Plan, stage: Stage) -> StageEvents:
    several = [w.name for w in plan.stage_works(stage) if len(w.results) > 1]
    if several or any(plan.design.nest(n).recompute for n in stage.nests):
        raise DesignError(f"design {plan.design.id!r}: stage {stage.name!r}: events know neither Einsums over tuples nor tiles that are made again, "
                          f"got {', '.join(several) or 'some that are'}; use --timing analytic")
    tied = [w.name for w in plan.stage_works(stage) if w.walk.ties is not None]
    if tied:
        raise DesignError(f"design {plan.design.id!r}: stage {stage.name!r}: events leave out nothing where a predicate fails, got one in "
                          f"{', '.join(tied)}; use --timing analytic")
    engine = Engine()
    inputs = stage_inputs(plan, stage)
    builder = StageBuilder(inputs, stage, engine)
    repeats = Repeats(builder, engine)
    window = _window(builder)
    done = built = skipped = 0
    while done < builder.slots:
        while built < builder.slots and built < done + window:
            builder.build(built)
            built += 1
            if built == builder.slots:
                builder.finish()
        if engine.added > MOST_TASKS:
            raise DesignError(f"design {plan.design.id!r}: stage {stage.name!r}: more than {MOST_TASKS:,} tiles do not repeat, got {done:,} of "
                              f"{builder.slots:,} epochs until there; shorten the sequence, or use --timing analytic")
        if engine.live:
            engine.step()
        before = done
        while done < built and done not in engine.open:
            done += 1
        if done > before:
            further = repeats.after(done, built)
            done, built, skipped = done + further, built + further, skipped + further
    while engine.step():
        pass
    busy = {resource: ticks / TICKS for resource, ticks in engine.busy.items()}
    timeline = tuple(Timed(task, begin / TICKS, end / TICKS) for task, begin, end in engine.ended)
    return StageEvents(stage.name, engine.now / TICKS, inputs.instances, builder.grid.total, builder.grid.total - skipped, busy,
                       builder.channels.moved[plan.machine.outermost.name], dict(builder.channels.moved), timeline, tuple(repeats.found))


def _window(builder: StageBuilder) -> int:
    """How many slots are under way at a time, so that nobody waits for it: a few where phases keep slots in order, else as many as
    the longest way through one takes of the time of the busiest unit, so many times."""
    if builder.phase_of:
        return max(builder.offsets.values()) + _LEAST_WINDOW
    epoch = builder.grid.epoch(0)
    assert epoch is not None
    cuts = builder.inputs.cuts
    busy: dict[str, float] = {}
    way = 0.0
    for piece in builder.pieces.values():
        took = cuts.steps(piece.parts, epoch.ranges, piece.spread, frozenset(builder.loops)) * piece.cycles
        busy[piece.unit.name] = busy.get(piece.unit.name, 0.0) + took
        way += took + piece.tail + float(piece.unit.drain_cycles)
    longest = max(busy.values())
    # Einsums of a derived pipeline wait for each other in turns, which makes the way longer than it is by itself.
    times = 4 if builder.stage.schedule.pipelined else 2
    needed = times * (int(way / longest) + 2) if longest else _LEAST_WINDOW
    return min(max(needed, _LEAST_WINDOW), _MOST_WINDOW)
