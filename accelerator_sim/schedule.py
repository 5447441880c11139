"""Latency of a stage: what its schedule overlaps, and the slowest memory's and network's time beside it.

A stage with phases is a loop of epochs. Einsums that lack one of the epoch's loops run in some epochs only (the final
division of attention in the last round over the keys), so epochs are counted by which Einsums are active. A phase
lasts until the results of its longest unit are there, an epoch the sum of its phases. Without phases the busiest unit decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from accelerator_sim.counts import StageCounts
from accelerator_sim.design import Phase, Stage
from accelerator_sim.networks import network_traffic
from accelerator_sim.pipeline import Pipeline, pipeline, tail_cycles
from accelerator_sim.plan import Plan, Work
from accelerator_sim.quantities import Quantity, is_array, larger
from einsum_cascades.errors import DesignError


@dataclass(frozen=True, eq=False)
class StageTime:
    """``compute_cycles`` of the units, ``memory_s`` of the slowest ``memory``, ``network_s`` of the slowest ``network`` (None
    where the machine has none with a rate), and the longest of them as ``latency_cycles``.
    ``unit_cycles`` are those that each unit works. Of a pipelined stage, ``pipeline`` says how it was derived; the time to
    fill it is part of the latency, not of the compute cycles."""

    compute_cycles: Quantity
    memory_s: Quantity
    latency_cycles: Quantity
    unit_cycles: Mapping[str, Quantity]
    bytes_moved: Quantity
    memory: str
    pipeline: Pipeline | None = None
    network_s: Quantity = 0.0
    network: str | None = None


def stage_time(plan: Plan, stage: Stage, counts: StageCounts) -> StageTime:
    """Returns the time of a stage."""
    works = plan.stage_works(stage)
    unit_cycles: dict[str, Quantity] = {}
    for work in works:
        for unit, cycles in counts.cycles[work.name].items():
            unit_cycles[unit] = unit_cycles.get(unit, 0) + cycles
    moved: Quantity = 0
    memory_s: Quantity = 0.0
    slowest: str | None = None
    for memory in plan.machine.memories.values():
        through: Quantity = 0
        for tensor, access in counts.memories.get(memory.name, {}).items():
            through = through + (access.reads + access.writes + access.fills + access.drains) * plan.value_bytes(tensor)
        if memory is plan.machine.outermost:
            moved = through
        if memory.bytes_per_s is not None:
            took = through / memory.bytes_per_s
            if slowest is None or not is_array(took) and not is_array(memory_s) and took > memory_s:
                slowest = memory.name
            memory_s = larger(memory_s, took)
    network_s, network = _network_time(plan, counts)
    # In cycles, so that whole numbers stay whole.
    moving = larger(memory_s, network_s) * plan.machine.clock_hz
    derived: Pipeline | None = None
    fill: Quantity = 0
    if stage.schedule.phases:
        compute = _phased(plan, stage, counts)
    elif stage.schedule.pipelined:
        derived = pipeline(plan, stage, counts, moving)
        compute, fill = derived.steady_cycles, derived.fill_cycles
    else:
        compute = 0
        for cycles in unit_cycles.values():
            compute = larger(compute, cycles)
    cycles = larger(compute, moving) + fill
    return StageTime(compute, memory_s, cycles, unit_cycles, moved, slowest or plan.machine.outermost.name, derived, network_s, network)


def _network_time(plan: Plan, counts: StageCounts) -> tuple[Quantity, str | None]:
    """The time of the slowest network, and its name."""
    longest: Quantity = 0.0
    slowest: str | None = None
    for name, traffic in network_traffic(plan.machine, counts.flows).items():
        spent: Quantity | None = 0.0
        for flow in traffic:
            took = plan.machine.networks[name].seconds(flow.sent, plan.value_bytes(flow.tensor), plan.machine.clock_hz)
            spent = None if took is None or spent is None else spent + took
        if spent is not None:
            if slowest is None or not is_array(spent) and not is_array(longest) and spent > longest:
                slowest = name
            longest = larger(longest, spent)
    return longest, slowest


def _phased(plan: Plan, stage: Stage, counts: StageCounts) -> Quantity:
    works = {w.name: w for w in plan.stage_works(stage)}
    loops = _epoch_loops(plan, stage, works)
    # All Einsums go through the same epochs; where those with predicates skip iterations, the others may still need them.
    epochs: Quantity = 0 if any(w.walk.ties is not None for w in works.values()) else \
        plan.spaces[stage.nests[0]].size(loops)
    for work in works.values():
        epochs = larger(epochs, work.walk.rounds(loops))
    total: Quantity = 0
    for phase in stage.schedule.phases:
        if phase.drain is not None:
            total = total + epochs * plan.machine.units[phase.drain].drain_cycles
        else:
            total = total + _phase_cycles(plan, stage, phase, works, loops, counts)
    return total


def _epoch_loops(plan: Plan, stage: Stage, works: Mapping[str, Work]) -> tuple[str, ...]:
    place = f"design {plan.design.id!r}: stage {stage.name!r}: phases"
    if len(stage.nests) != 1:
        raise DesignError(f"{place}: an epoch is a round of the loops of one nest, got {len(stage.nests)} nests; give each a "
                          f"stage of its own")
    named = [name for phase in stage.schedule.phases for name in phase.einsums]
    for name in named:
        if name not in works:
            raise DesignError(f"{place}: Einsum {name!r} is not in the stage, got it in a phase; use {', '.join(works)}")
        if named.count(name) > 1:
            raise DesignError(f"{place}: Einsum {name!r} runs in two phases, got a second one; remove one")
    missing = [name for name in works if name not in named]
    if missing:
        raise DesignError(f"{place}: Einsum {missing[0]!r} runs in no phase, got phases of {', '.join(named)}; add it to one")
    loops, instances = plan.design.nest(stage.nests[0]).loops, plan.design.mapping.instances
    return (*(x for x in instances if x not in loops), *loops)


def _phase_cycles(plan: Plan, stage: Stage, phase: Phase, works: Mapping[str, Work], loops: tuple[str, ...],
                  counts: StageCounts) -> Quantity:
    """The cycles of one phase over all epochs: epochs in which more Einsums are active are longer."""
    active: dict[frozenset[str], list[Work]] = {}
    for name in phase.einsums:
        own = frozenset(x for x in loops if x in works[name].loops)
        active.setdefault(own, []).append(works[name])
    classes = sorted(active, key=len, reverse=True)
    for wider, narrower in pairwise(classes):
        if not narrower < wider:
            raise DesignError(f"design {plan.design.id!r}: stage {stage.name!r}: phases: Einsums of one phase must share their "
                              f"loops or have fewer of them, got loops {', '.join(sorted(wider))} and "
                              f"{', '.join(sorted(narrower))}; put them in different phases")
    rounds: list[Quantity] = []
    for own in classes:
        most: Quantity = 0
        for work in active[own]:
            most = larger(most, work.walk.rounds(own))
        rounds.append(most)
    total: Quantity = 0
    length: Quantity = 0
    running: dict[str, Quantity] = {}
    tails: dict[str, Quantity] = {}
    for number, own in enumerate(classes):
        for work in active[own]:
            for unit, cycles in counts.cycles[work.name].items():
                running[unit] = running.get(unit, 0) + cycles / rounds[number]
                tails[unit] = larger(tails.get(unit, 0), tail_cycles(work))
        before, length = length, 0
        for unit, cycles in running.items():
            length = larger(length, cycles + tails[unit])
        # The rounds of this class are some of those of the class before: they last so much longer.
        total = total + rounds[number] * (length - before)
    return total


def bound_of(plan: Plan, times: Mapping[str, StageTime]) -> str | None:
    """Returns what decides the latency: a memory, a network, or the unit that works longest; None for a batch."""
    spent: dict[str, float] = {}
    for time in times.values():
        if any(is_array(t) for t in (time.latency_cycles, time.compute_cycles, time.memory_s, time.network_s)):
            return None
        compute_s = time.compute_cycles / plan.machine.clock_hz
        if time.network is not None and time.network_s > max(time.memory_s, compute_s):
            name = time.network
        elif time.memory_s >= compute_s:
            name = time.memory
        else:
            name = max(time.unit_cycles, key=lambda u: time.unit_cycles[u])
        spent[name] = spent.get(name, 0.0) + time.latency_cycles
    return max(spent, key=lambda name: spent[name])
