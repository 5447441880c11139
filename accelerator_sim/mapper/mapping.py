"""The entry of the mapper: from a cascade, a machine and a shape to the best mapping in the declared space."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accelerator_sim.design import Design, Size, Stage
from accelerator_sim.errors import CapacityError, SearchEndedError
from accelerator_sim.estimate import estimate
from accelerator_sim.machine import Machine
from accelerator_sim.mapper.cuts import Cuts, CutsFound, barriers
from accelerator_sim.mapper.library import Library
from accelerator_sim.mapper.options import OBJECTIVES, MapperSpace, Objective
from accelerator_sim.mapper.problem import Problem, problems
from accelerator_sim.mapper.progress import Progress, Watch
from accelerator_sim.mapper.result import GroupFound, MapperResult
from accelerator_sim.mapper.search import Found, Weights
from accelerator_sim.mapper.structures import ID, cascade_tiles, group_design, loop_names
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DesignError, UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.mapping import CascadeMapping

EDP_ROUNDS = 4
"""How often the weights of latency and energy are set anew in the search for the least product."""


def map_cascade(cascade: Cascade, machine: Machine, shape: Shape, objective: Objective = "latency", *,
                space: MapperSpace | None = None, budget_s: float | None = None, constraints: Mapping[str, float] | None = None,
                progress: Callable[[Progress], None] | None = None) -> MapperResult:
    """Returns the mapping of a cascade on a machine at a shape with the least latency, energy, or product of both (edp).

    ``space`` limits what is searched, ``budget_s`` the time: the best so far is returned then, with the bound. ``constraints``
    are upper limits by name (``latency_s``, ``energy_pj``, ``dram_bytes``). ``progress`` is called now and then. An interrupt from
    the keyboard ends the search with the best so far, if there is any.

    Raises: DesignError where an Einsum has no unit, or a constraint cannot be met; CapacityError where nothing fits, with the
        tensors, bytes and the smallest memory that would do; ExtentError for a rank without an extent.
    """
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    watch = Watch(budget_s, progress)
    search = _Search(tuple(problems(cascade, machine, shape, space or MapperSpace())), watch)
    limits = dict(constraints or {})
    search.check(limits)
    try:
        best, bound = search.product() if objective == "edp" else search.least(_WEIGHTS[objective])
    except KeyboardInterrupt:
        watch.stopped = True
        if search.last is None:
            raise
        best, bound = search.last, search.bound
    if best is None:
        raise search.failure()
    return search.result(objective, best, bound, limits)


_WEIGHTS: Mapping[Objective, Weights] = {"latency": Weights(1.0, 0.0), "energy": Weights(0.0, 1.0)}


@dataclass(frozen=True, eq=False)
class _Best:
    """A problem with the cut that was found for it."""

    problem: Problem
    library: Library
    found: CutsFound

    @property
    def latency_s(self) -> float:
        return sum(g.latency_s for g in self.found.groups)

    @property
    def energy_pj(self) -> float:
        return sum(g.energy_pj for g in self.found.groups)


class _Search:
    """The search over all choices of the cascade's own tiles."""

    def __init__(self, every: Sequence[Problem], watch: Watch) -> None:
        self.every = [(p, Library(p)) for p in every]
        self.watch = watch
        self.evaluated = self.pruned = 0
        self.last: _Best | None = None
        self.bound = 0.0
        self.failed: list[tuple[Problem, CutsFound]] = []

    def check(self, limits: Mapping[str, float]) -> None:
        """Refuses constraints that nothing can meet, before the search."""
        for name, limit in limits.items():
            if name not in ("latency_s", "energy_pj", "dram_bytes"):
                raise UnknownNameError("constraint", name, ("latency_s", "energy_pj", "dram_bytes"))
            if name == "dram_bytes":
                continue
            weights = Weights(1.0, 0.0) if name == "latency_s" else Weights(0.0, 1.0)
            least = min(Cuts(p, lib, weights, self.watch).floor() for p, lib in self.every)
            if least > limit:
                raise DesignError(f"constraint {name}: no mapping meets it, got at most {limit:g} where work and compulsory traffic alone take "
                                  f"{least:g}; relax it, or take a larger machine")

    def least(self, weights: Weights) -> tuple[_Best | None, float]:
        """Returns the mapping with the least weighted sum, and a value that none is below."""
        cuts = [(Cuts(p, lib, weights, self.watch), p, lib) for p, lib in self.every]
        order = sorted(range(len(cuts)), key=lambda n: cuts[n][0].floor())
        best: _Best | None = None
        bounds = [cuts[n][0].floor() for n in range(len(cuts))]
        for n in order:
            made, problem, library = cuts[n]
            limit = best.found.value if best is not None else np.inf
            if bounds[n] >= limit * (1 - 1e-12):
                continue
            if self.watch.over() and best is not None:
                break
            found = made.run(limit)
            self.evaluated += found.evaluated
            self.pruned += found.pruned
            bounds[n] = max(bounds[n], min(found.bound, found.value))
            if found.groups and found.value < limit:
                best = _Best(problem, library, found)
                self.last = best
                self.watch.best = found.value
            elif not found.groups:
                self.failed.append((problem, found))
            self.bound = min(*bounds, np.inf)
        value = best.found.value if best is not None else np.inf
        return best, min(value, min(bounds))

    def product(self) -> tuple[_Best | None, float]:
        """Returns the mapping with the least product of latency and energy that weighted sums find, and a bound of the product.

        With L and E the least latency and energy, and V the least of latency + w energy, every mapping has latency >= L, energy >=
        E and latency + w energy >= V; on that line the product is concave, so that it is least at an end.
        """
        fastest, least_s = self.least(_WEIGHTS["latency"])
        thriftiest, least_pj = self.least(_WEIGHTS["energy"])
        found = [b for b in (fastest, thriftiest) if b is not None]
        if not found:
            return None, 0.0
        best = min(found, key=lambda b: b.latency_s * b.energy_pj)
        bound = least_s * least_pj
        tried: set[float] = set()
        for _ in range(EDP_ROUNDS):
            weight = best.latency_s / best.energy_pj
            if weight in tried or self.watch.over():
                break
            tried.add(weight)
            both, least = self.least(Weights(1.0, weight))
            ends = (least_s * max((least - least_s) / weight, least_pj), max(least - weight * least_pj, least_s) * least_pj)
            bound = max(bound, min(ends))
            if both is not None and both.latency_s * both.energy_pj < best.latency_s * best.energy_pj:
                best = both
        self.last = best
        return best, min(bound, best.latency_s * best.energy_pj)

    def result(self, objective: Objective, best: _Best, bound: float, limits: Mapping[str, float]) -> MapperResult:
        """Returns the result: the whole design, evaluated once more as one."""
        problem = best.problem
        design = whole_design(problem, best.found.groups)
        shape = Shape(best.library.extents, problem.shape.instances, problem.shape.workload, problem.shape.seq_len)
        made = estimate(problem.cascade, design, problem.machine, shape)
        energy = made.energy_pj["total"]
        value = {"latency": made.latency_s, "energy": energy, "edp": made.latency_s * energy}[objective]
        for name, limit in limits.items():
            reached = {"latency_s": made.latency_s, "energy_pj": energy, "dram_bytes": made.dram_bytes}[name]
            if reached > limit:
                raise DesignError(f"constraint {name}: the best mapping for {objective} does not meet it, got {reached:g} where at most {limit:g} is "
                                  f"wanted; relax it, or choose it as the objective")
        groups = []
        for number, group in enumerate(best.found.groups):
            after = best.found.groups[number + 1:number + 2]
            separate = barriers(problem, group.structure.names, after[0].structure.names) if after else []
            groups.append(GroupFound(group.structure.names, loop_names(problem, group.structure.loops), dict(group.sizes), group.latency_s,
                                     group.energy_pj, tuple(separate)))
        proven = bound >= value * (1 - 1e-9)
        return MapperResult(objective, design, made, float(value), problem.space, self.evaluated, self.pruned, bool(proven), float(min(bound, value)),
                            tuple(groups), time.monotonic() - self.watch.began, self.watch.stopped)

    def failure(self) -> Exception:
        """Returns the error for when no mapping was found: the Einsum whose smallest tiles do not fit, and what would do."""
        least: tuple[float, str] | None = None
        for problem, found in self.failed:
            for names, outcome in found.failed:
                if outcome.least is None:
                    continue
                total, tensors = outcome.least
                memory = max(list(problem.machine.memories)[1:], key=lambda m: float(problem.machine.memories[m].bytes or np.inf))
                room = problem.machine.memories[memory].bytes
                each = ", ".join(f"{t} {int(-(-size // 1))} in {m}" for t, (m, size) in sorted(tensors.items(), key=lambda i: -i[1][1]))
                text = (f"cascade {problem.cascade.name!r} on machine {problem.machine.id!r}: no mapping fits: the smallest tiles of Einsum "
                        f"{names[0]!r} need {int(-(-total // 1))} bytes, got {each} where {memory} has {int(room or 0)}; use at least --set "
                        f"{memory}.bytes={int(-(-total // 1))}, or allow more loops")
                if least is None or total < least[0]:
                    least = total, text
        if least is not None:
            return CapacityError(least[1])
        if self.watch.stopped:
            return SearchEndedError("the search: it found no mapping in its time, got none; give it more (--budget-seconds)")
        return DesignError("the search: no mapping in the declared space has counts, got none; use a shape whose ranks have divisors")


def whole_design(problem: Problem, groups: Sequence[Found]) -> Design:
    """Returns the design of a whole cascade from the mappings of its groups, one stage for each."""
    made = [group_design(problem, g.structure, g.sizes) for g in groups]
    if len(made) == 1:
        return made[0]
    common = {leaf: Size(problem.extents[leaf]) for leaf in cascade_tiles(problem)}
    nests, bindings, stages = [], [], []
    for number, (group, design) in enumerate(zip(groups, made, strict=True)):
        own = {p: s for p, s in design.sizes.items() if p not in common}
        nests.append(replace(design.mapping.nests[0], partitions=design.mapping.partitions) if own else design.mapping.nests[0])
        bindings.append(design.bindings[0])
        stages.append(Stage(group.structure.names[0], (number,), design.stages[0].schedule, sizes=own))
    return Design(ID, made[0].title, made[0].source, problem.cascade.name, (problem.machine.id,),
                  CascadeMapping(tuple(nests), problem.partitions, problem.instances), common, tuple(bindings), tuple(stages))

