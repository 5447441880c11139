"""Evaluates many machines: a cascade under a design at every point of a set of parameters, in blocks, and why points are invalid.

A point is invalid where its tiles do not fit (told for a whole block at once), where a table has no cost for a component (told
from the component's own parameters), or where the design has no mapping there. What can only be told for one machine at a
time makes blocks smaller, down to single points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerator_sim.area import machine_area
from accelerator_sim.capacity import footprints, total
from accelerator_sim.design import Design
from accelerator_sim.design_space.domains import check_values
from accelerator_sim.energy import PHYSICAL
from accelerator_sim.errors import CapacityError, ComponentError
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.frame import make_frame
from accelerator_sim.machine import Machine, with_parameters
from accelerator_sim.networks import network_traffic
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Cascade

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

BLOCK = 16_384
"""Points that are evaluated together: their arrays stay in a core's caches."""

Progress = Callable[[int], None]
"""Is told of so many further points."""


@dataclass(frozen=True, eq=False)
class Explored:
    """What points of a design space cost, one element for each point; NaN where a point is invalid.

    ``parameters`` by path; ``latency_s`` in seconds, ``energy_pj`` in pJ, ``area_mm2`` (also of points whose tiles do not fit),
    ``dram_bytes``, ``utilization`` by unit. ``bound`` is the place in ``resources`` of what decides the latency, -1 where
    invalid.
    """

    cascade: str
    design: str
    machine: str
    accounting: str
    parameters: Mapping[str, Array]
    latency_s: Array
    energy_pj: Array
    area_mm2: Array
    dram_bytes: Array
    utilization: Mapping[str, Array]
    resources: tuple[str, ...]
    bound: Array
    valid: Array
    _reason: Array
    _reasons: Sequence[Callable[[int], str]]

    @property
    def count(self) -> int:
        """The number of points."""
        return len(self.valid)

    def figure(self, name: str) -> Array:
        """Returns a figure by its name: latency, energy, area, edp (pJ s) or dram (bytes)."""
        figures: Mapping[str, Callable[[], Array]] = {
            "latency": lambda: self.latency_s, "energy": lambda: self.energy_pj, "area": lambda: self.area_mm2,
            "edp": lambda: self.latency_s * self.energy_pj, "dram": lambda: self.dram_bytes}
        return figures[name]()

    def reason(self, point: int) -> str | None:
        """Returns why a point is invalid, in one line; None for a valid one."""
        return None if self.valid[point] else self._reasons[self._reason[point]](point)

    def bound_of(self, point: int) -> str | None:
        """Returns what decides a point's latency; None for an invalid one."""
        return self.resources[self.bound[point]] if self.valid[point] else None

    def to_frame(self) -> pd.DataFrame:
        """Returns one row for each point: parameters, figures, what bounds it, whether it is valid, and why it is not."""
        import pandas as pd
        count = range(self.count)
        return pd.DataFrame({**self.parameters, "latency_s": self.latency_s, "energy_pj": self.energy_pj,
                             "area_mm2": self.area_mm2, "dram_bytes": self.dram_bytes,
                             **{f"utilization.{name}": values for name, values in self.utilization.items()},
                             "bound": [self.bound_of(i) for i in count], "valid": self.valid,
                             "reason": [self.reason(i) for i in count]})


FIGURES = ("latency", "energy", "area", "edp", "dram")
"""Figures that a point has, the less of each the better."""


def explore(cascade: Cascade, design: Design, machine: Machine, shape: Shape, parameters: Mapping[str, Array],
            accounting: str = PHYSICAL, progress: Progress | None = None) -> Explored:
    """Returns what a cascade under a design costs on a machine at every point of ``parameters`` (arrays of one length by path).

    Raises: UnknownNameError for an unknown path or a name that the machine lacks, DefinitionError for a value that a parameter
        cannot have, DesignError for a design that fits the cascade at no point.
    """
    import numpy as np
    values = {path: np.asarray(array, float) for path, array in parameters.items()}
    for path, array in values.items():
        check_values(machine, path, array, f"machine {machine.id!r}")
    run = _Run(cascade, design, machine, shape, values, accounting)
    left = run.without_cost()
    run.check_design(left)
    done = run.count - len(left)
    if progress is not None and done:
        progress(done)
    for start in range(0, len(left), BLOCK):
        block = left[start:start + BLOCK]
        run.block(block)
        if progress is not None:
            progress(len(block))
    return run.explored()


class _Run:
    """The arrays that blocks of points fill."""

    def __init__(self, cascade: Cascade, design: Design, machine: Machine, shape: Shape, values: Mapping[str, Array],
                 accounting: str) -> None:
        import numpy as np
        self.cascade, self.design, self.machine, self.shape = cascade, design, machine, shape
        self.values, self.accounting = values, accounting
        self.count = len(next(iter(values.values()))) if values else 1
        self.figures = np.full((4, self.count), np.nan)
        self.utilization = {unit.label: np.full(self.count, np.nan) for unit in machine.units.values()}
        self.resources = (*machine.units, *machine.memories, *machine.networks)
        self.bound = np.full(self.count, -1, np.int16)
        self.valid = np.zeros(self.count, bool)
        self.reason = np.zeros(self.count, np.int32)
        self.reasons: list[Callable[[int], str]] = []
        self.needed = np.zeros(self.count)
        self.there = np.zeros(self.count)

    def explored(self) -> Explored:
        latency, energy, area, dram = self.figures
        return Explored(self.cascade.name, self.design.id, self.machine.id, self.accounting, self.values, latency, energy, area, dram,
                        self.utilization, self.resources, self.bound, self.valid, self.reason, self.reasons)

    def without_cost(self) -> Array:
        """Marks the points at which a component has no cost, and returns the others."""
        import numpy as np
        left, every = np.ones(self.count, bool), np.arange(self.count)
        for name in (*self.machine.units, *self.machine.memories):
            own = {path: array for path, array in self.values.items() if path.startswith(f"{name}.")}
            if not own or self._cost_error(name, own, every) is None:
                continue
            place = _places(own.values())
            rows = np.unique(place, return_index=True)[1]
            for row, text in self._wrong(name, own, rows):
                here = left & (place == place[row])
                self._invalid(np.flatnonzero(here), text)
                left &= ~here
        return np.flatnonzero(left)

    def _wrong(self, name: str, values: Mapping[str, Array], rows: Array) -> list[tuple[int, str]]:
        """The points of ``rows`` at which a component has no cost, with the reason: halves are tried where all together fail."""
        error = self._cost_error(name, values, rows)
        if error is None:
            return []
        if len(rows) == 1:
            return [(int(rows[0]), error)]
        order = sorted(values, key=_cut_first)
        return [found for half in _halves(values, rows, order) for found in self._wrong(name, values, half)]

    def _cost_error(self, name: str, values: Mapping[str, Array], points: Array) -> str | None:
        made = with_parameters(self.machine, _given(values, points))
        try:
            if name in made.units:
                _ = made.units[name].pe_area_um2
            else:
                made.memory_cost(name, made.value_bytes)
        except ComponentError as error:
            return str(error)
        return None

    def check_design(self, left: Array) -> None:
        """Refuses a design that fits nowhere before every point is tried."""
        make_frame(self.cascade, self.design)
        told = []
        for point in {0: None, len(left) // 2: None, len(left) - 1: None} if len(left) else ():
            try:
                self._estimate(left[point:point + 1])
            except CapacityError:
                return
            except DesignError as error:
                told.append(error)
            else:
                return
        if told and len({str(error) for error in told}) == 1 and len(left) > 1:
            raise told[0]

    def block(self, points: Array) -> None:
        """Evaluates some points."""
        try:
            found = self._estimate(points)
        except (DesignError, ComponentError) as error:
            if len(points) == 1:
                self._invalid(points, str(error))
                self._area(points)
                return
            for half in _halves(self.values, points, self._order()):
                self.block(half)
            return
        self._take(points, found)

    def _estimate(self, points: Array) -> Estimate:
        made = with_parameters(self.machine, _given(self.values, points))
        return estimate(self.cascade, self.design, made, self.shape, self.accounting)

    def _order(self) -> list[str]:
        """The paths by which blocks are cut: first what sizes of tiles follow from, then what else changes them."""
        sized = [s.value for s in self.design.sizes.values() if isinstance(s.value, str)]
        return sorted(self.values, key=lambda p: (p not in sized, _cut_first(p)))

    def _area(self, points: Array) -> None:
        self.figures[2, points] = machine_area(with_parameters(self.machine, _given(self.values, points)))["total"]

    def _invalid(self, points: Array, text: str) -> None:
        self.reason[points] = len(self.reasons)
        self.reasons.append(lambda point: text)

    def _take(self, points: Array, found: Estimate) -> None:
        import numpy as np
        valid = np.broadcast_to(found.valid, points.shape)
        self.valid[points] = valid
        self.figures[2, points] = found.area_mm2["total"]
        for row, value in ((0, found.latency_s), (1, found.energy_pj["total"]), (3, found.dram_bytes)):
            self.figures[row, points] = np.where(valid, value, np.nan)
        for label, value in found.utilization.items():
            self.utilization[label][points] = np.where(valid, value, np.nan)
        self.bound[points] = np.where(valid, _bounds(found, self.resources, len(points)), -1)
        if not valid.all():
            self._overfull(points[~valid], np.flatnonzero(~valid), found)

    def _overfull(self, points: Array, places: Array, found: Estimate) -> None:
        """Notes, of points whose tiles do not fit, the first memory where it shows, what they need and what is there."""
        import numpy as np
        left = np.ones(len(points), bool)
        for stage in found.plan.design.stages:
            for memory, taken in footprints(found.plan, stage):
                capacity = found.plan.machine.memories[memory].bytes
                if capacity is None:
                    continue
                needed, there = (np.broadcast_to(q, len(found.valid))[places]
                                 for q in (total(taken), capacity))
                here = left & (needed > there)
                self.needed[points[here]], self.there[points[here]] = np.ceil(needed[here]), there[here]
                self.reason[points[here]] = len(self.reasons)
                self.reasons.append(self._does_not_fit(stage.name, memory))
                left &= ~here

    def _does_not_fit(self, stage: str, memory: str) -> Callable[[int], str]:
        def text(point: int) -> str:
            needed, there = int(self.needed[point]), int(self.there[point])
            return (f"design {self.design.id!r}: stage {stage!r}: its tiles do not fit {memory} of machine {self.machine.id!r}, got "
                    f"{needed} bytes where {there} are there; give it at least {memory}.bytes={needed}")
        return text


def _given(values: Mapping[str, Array], points: Array) -> dict[str, Any]:
    """The parameters at some points; what all of them share is a plain number: more can be told of it, and faster."""
    found: dict[str, Any] = {}
    for path, array in values.items():
        own = array[points]
        first = own[0].item()
        found[path] = own if (own != first).any() else int(first) if first == int(first) else first
    return found


def _cut_first(path: str) -> int:
    """By what points are cut first: tables take one width of rows at a time, and what fits depends on sizes."""
    last = path.rsplit(".", 1)[-1]
    return 0 if last == "row_bits" else 1 if last == "bytes" else 2


def _places(columns: Iterable[Array]) -> Array:
    """A number for each point, the same where all columns are."""
    import numpy as np
    found: Array | None = None
    for column in columns:
        distinct, place = np.unique(column, return_inverse=True)
        both = place.reshape(-1) if found is None else found * len(distinct) + place.reshape(-1)
        found = both if found is None else np.unique(both, return_inverse=True)[1].reshape(-1)
    assert found is not None
    return found


def _halves(values: Mapping[str, Array], points: Array, order: Sequence[str]) -> tuple[Array, Array]:
    """Points that differ cut in two: below and from the middle of the first parameter in which they differ."""
    import numpy as np
    for path in order:
        own = values[path][points]
        distinct = np.unique(own)
        if len(distinct) > 1:
            low = own < distinct[len(distinct) // 2]
            return points[low], points[~low]
    half = len(points) // 2
    return points[:half], points[half:]


def _bounds(found: Estimate, resources: Sequence[str], count: int) -> Array:
    """The resource that decides each point's latency, as :func:`accelerator_sim.schedule.bound_of` has it for one machine."""
    import numpy as np
    machine = found.plan.machine
    by_stage = []
    for name, time in found.stages.items():
        memories = memory_times(found, name)
        slowest = _largest(memories, resources, count) if memories else np.full(count, resources.index(machine.outermost.name))
        busiest = _largest(time.unit_cycles, resources, count)
        compute_s = time.compute_cycles / machine.clock_hz
        names = np.where(np.broadcast_to(time.memory_s >= compute_s, count), slowest, busiest)
        networks = network_times(found, name)
        if networks:
            longer = np.broadcast_to((time.network_s > time.memory_s) & (time.network_s > compute_s), count)
            names = np.where(longer, _largest(networks, resources, count), names)
        by_stage.append((names, time.latency_cycles))
    if len(by_stage) == 1:
        return by_stage[0][0]
    spent = np.zeros((len(resources), count))
    every = np.arange(count)
    for names, cycles in by_stage:
        # One name for each point: no element stands twice.
        spent[names, every] += cycles
    best: Array = spent.argmax(axis=0)
    return best


def memory_times(found: Estimate, stage: str) -> dict[str, Any]:
    """Returns the seconds that each memory with a bandwidth needs for a stage's traffic."""
    plan, counts = found.plan, found.counts[stage]
    times: dict[str, Any] = {}
    for memory in plan.machine.memories.values():
        if memory.bytes_per_s is None:
            continue
        through: Any = 0
        for tensor, access in counts.memories.get(memory.name, {}).items():
            through = through + (access.reads + access.writes + access.fills + access.drains) * plan.value_bytes(tensor)
        times[memory.name] = through / memory.bytes_per_s
    return times


def network_times(found: Estimate, stage: str) -> dict[str, Any]:
    """Returns the seconds that each network with a rate needs for a stage's traffic."""
    plan, times = found.plan, {}
    for name, traffic in network_traffic(plan.machine, found.counts[stage].flows).items():
        spent: Any = 0.0
        for flow in traffic:
            took = plan.machine.networks[name].seconds(flow.sent, plan.value_bytes(flow.tensor), plan.machine.clock_hz)
            spent = None if took is None or spent is None else spent + took
        if spent is not None:
            times[name] = spent
    return times


def _largest(times: Mapping[str, Any], resources: Sequence[str], count: int) -> Array:
    import numpy as np
    names = list(times)
    best = np.full(count, resources.index(names[0]))
    most = np.broadcast_to(times[names[0]], count)
    for name in names[1:]:
        more = np.broadcast_to(times[name], count) > most
        best = np.where(more, resources.index(name), best)
        most = np.maximum(most, times[name])
    return best
