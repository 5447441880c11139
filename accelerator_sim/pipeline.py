"""The pipeline that a binding allows: the overlap of an epoch's Einsums, derived from their units and dependencies.

Epochs follow each other at an *initiation interval*. It is at least what the busiest unit works in an epoch, and at
least what every circle of dependencies needs: the time around the circle over the number of epochs that it spans (a
running maximum needs its value of one round of the keys before); a pipelined unit's results come its latency after they
began, though it starts one at each interval. The larger of both is reached by modulo scheduling
with enough registers. The first epoch also has to *fill* the pipeline: the longest path through one epoch.

Source: Rau, Iterative Modulo Scheduling, MICRO 1994 (resource- and recurrence-constrained initiation intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from accelerator_sim.counts import StageCounts
from accelerator_sim.design import Stage
from accelerator_sim.plan import Plan, Work
from accelerator_sim.quantities import Quantity, is_array, larger
from einsum_cascades.indices import offset
from einsum_cascades.ir import Access, Cascade
from einsum_cascades.structure import structure


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A stage as a pipeline over ``epochs``.

    ``resource_cycles`` are those that the busiest unit works in all, ``recurrence_cycles`` those that the slowest circle
    of dependencies needs in all; ``steady_cycles`` is the larger, ``fill_cycles`` what the first epoch takes beyond its
    interval. ``circle`` names the Einsums of the slowest circle (None for a batch, or without circles).
    """

    epochs: Quantity
    resource_cycles: Quantity
    recurrence_cycles: Quantity
    steady_cycles: Quantity
    fill_cycles: Quantity
    circle: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Dependence:
    """``consumer`` needs what ``producer`` made ``lag`` rounds of ``loop`` before (0: in the same epoch)."""

    producer: str
    consumer: str
    lag: int
    loop: str | None


def pipeline(plan: Plan, stage: Stage, counts: StageCounts, moving_cycles: Quantity = 0) -> Pipeline:
    """Returns the pipeline of a stage whose traffic takes so many cycles: epochs do not follow each other any faster."""
    works = {w.name: w for w in plan.stage_works(stage)}
    loops = epoch_loops(plan, stage)
    epochs: Quantity = 1
    for work in works.values():
        epochs = larger(epochs, work.walk.rounds(loops))
    busy: dict[str, Quantity] = {}
    duration: dict[str, Quantity] = {}
    total: dict[str, Quantity] = {}
    for name, work in works.items():
        longest: Quantity = 0
        for unit, cycles in counts.cycles[name].items():
            busy[unit] = busy.get(unit, 0) + cycles
            longest = larger(longest, cycles)
        total[name] = longest
        duration[name] = longest / work.walk.rounds(loops)
    resource: Quantity = 0
    for cycles in busy.values():
        resource = larger(resource, cycles)
    edges = [d for d in dependences(plan.cascade) if d.producer in works and d.consumer in works]
    tails = {name: tail_cycles(work) for name, work in works.items()}
    latency = {d: duration[d.producer] + tails[d.producer] + _leaving(works[d.producer], works[d.consumer]) for d in edges}
    recurrence: Quantity = 0
    slowest: tuple[str, ...] | None = None
    for circle in _circles(tuple(edges)):
        time: Quantity = 0
        distance: Quantity = 0
        for edge in circle:
            time = time + latency[edge]
            distance = distance + _distance(plan, works[edge.consumer], edge, loops)
        ratio = time * epochs / distance
        if not is_array(ratio) and ratio > recurrence:
            slowest = tuple(edge.producer for edge in circle)
        recurrence = larger(recurrence, ratio)
    steady = larger(resource, recurrence)

    def span(name: str, common: frozenset[str]) -> Quantity:
        return total[name] / works[name].walk.rounds([x for x in loops if x in common]) + tails[name]

    ahead = {name: [(e.producer, _leaving(works[e.producer], works[name])) for e in edges
                    if e.consumer == name and not e.lag and e.producer != name] for name in works}
    running = {name: frozenset(x for x in loops if x in work.loops) for name, work in works.items()}
    fill = larger(longest_chain(works, ahead, running, span) - larger(steady, moving_cycles) / epochs, 0)
    return Pipeline(epochs, resource, recurrence, steady, fill, None if is_array(recurrence) else slowest)


def tail_cycles(work: Work) -> Quantity:
    """Returns the cycles from when an Einsum's last point has begun its last interval until its result is there: what its
    operators' latencies are longer than their intervals."""
    total: Quantity = 0
    for operator, n in work.operators.items():
        unit = work.elsewhere.get(operator, work.unit)
        if operator in unit.latency and operator not in work.absorbed:
            total = total + n * (unit.latency_of(operator) - unit.cycles[operator])
    return total


def epoch_loops(plan: Plan, stage: Stage) -> tuple[str, ...]:
    """Returns the loops of an epoch: those, from the outermost, that all nests of a stage share."""
    instances = plan.design.mapping.instances
    nests = [(*(x for x in instances if x not in plan.design.nest(n).loops), *plan.design.nest(n).loops) for n in stage.nests]
    shared: list[str] = []
    for loops in zip(*nests, strict=False):
        if len(set(loops)) > 1:
            break
        shared.append(loops[0])
    return tuple(shared)


@lru_cache(maxsize=128)
def dependences(cascade: Cascade) -> tuple[Dependence, ...]:
    """Returns which Einsum needs which, within a round of an iterative rank or from an earlier one."""
    found = structure(cascade)
    result: dict[Dependence, None] = {}
    for einsum in cascade.einsums:
        for access in einsum.reads:
            producer = found.producers.get(access.tensor)
            if producer is None:
                continue
            iteration = found.iterative.get(access.tensor)
            lag, loop = 0, None
            if iteration is not None:
                back = _lag(access, iteration.dimension, iteration.rank, iteration.step)
                lag, loop = (back, iteration.rank) if back else (0, None)
            result.setdefault(Dependence(producer.name, einsum.name, lag, loop))
    return tuple(result)


def _lag(access: Access, dimension: int, rank: str, step: int) -> int:
    """Rounds between the slot that is read and the one that its round makes; 0 for the last slot, after all rounds."""
    place = offset(access.indices[dimension])
    if place is None or place.rank != rank or place.extents:
        return 0
    # Forward, round r makes slot r + 1; in reverse, round r makes slot r.
    return 1 - place.constant if step > 0 else place.constant


def _distance(plan: Plan, consumer: Work, edge: Dependence, loops: Sequence[str]) -> Quantity:
    """The epochs that a dependence spans: rounds of its loop times the epochs of a round."""
    if not edge.lag or edge.loop is None:
        return 0
    space = consumer.walk.space
    parts = space.parts.get(space.whole(edge.loop), (edge.loop,))
    at = max((i for i, x in enumerate(loops) if x in parts), default=None)
    if at is None:
        return edge.lag
    inside = [x for x in loops[at + 1:] if x in consumer.loops or x in plan.frame.design.mapping.instances]
    return edge.lag * space.steps(inside, {})


def _leaving(producer: Work, consumer: Work) -> Quantity:
    """Results that go to another unit have to leave the array first."""
    return producer.unit.drain_cycles if producer.unit.name != consumer.unit.name else 0


@lru_cache(maxsize=128)
def _circles(edges: tuple[Dependence, ...]) -> tuple[tuple[Dependence, ...], ...]:
    import networkx as nx
    between: dict[tuple[str, str], list[Dependence]] = {}
    for edge in edges:
        between.setdefault((edge.producer, edge.consumer), []).append(edge)
    found: list[tuple[Dependence, ...]] = []
    for nodes in nx.simple_cycles(nx.DiGraph(list(between))):
        steps = [between[pair] for pair in zip(nodes, [*nodes[1:], nodes[0]], strict=True)]
        found += [c for c in _products(steps) if any(e.lag for e in c)]
    return tuple(found)


def _products(steps: Sequence[Sequence[Dependence]]) -> Iterator[tuple[Dependence, ...]]:
    from itertools import product
    yield from product(*steps)


def longest_chain(names: Iterable[str], ahead: Mapping[str, Sequence[tuple[str, Quantity]]], loops: Mapping[str, frozenset[str]],
                  span: Callable[[str, frozenset[str]], Quantity]) -> Quantity:
    """Returns the time of one epoch by itself: its longest chain of Einsums.

    ``ahead`` has the Einsums whose results each needs in the same epoch, with the wait after each, and ``loops`` those that each
    runs in. Along a chain, rounds of loops that all Einsums before had too have been done in the epochs before; where an Einsum
    runs in a loop that one before it lacks, all its rounds come after that one's result. ``span`` is the time of an Einsum's
    rounds within one round of some loops.
    """
    ready: dict[str, dict[frozenset[str], Quantity]] = {}

    def done(name: str) -> dict[frozenset[str], Quantity]:
        if name not in ready:
            starts: dict[frozenset[str], Quantity] = {loops[name]: 0}
            for producer, wait in ahead[name]:
                for common, time in done(producer).items():
                    shared = common & loops[name]
                    starts[shared] = larger(starts.get(shared, 0), time + wait)
            ready[name] = {common: start + span(name, common) for common, start in starts.items()}
        return ready[name]

    longest: Quantity = 0
    for name in names:
        for time in done(name).values():
            longest = larger(longest, time)
    return longest
