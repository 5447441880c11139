"""Sizes a machine to an area: parameters that grow together by one factor, then a finer one that closes the gap.

Without a choice, what grows is the array: both sides of the compute unit that takes the most area; where it has three sides
or more (units of rows and columns, cores), the first of them, which repeats the others. Other units keep their share: their
first side grows by the same factor, and so do memories that have one part for each of what is repeated (one for each core). The
gap is closed by the bytes of the on-chip memory that takes the most area, in whole rows. In proportion, all other on-chip
memories grow with the array as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite

from accelerator_sim.area import machine_area
from accelerator_sim.design_space.domains import domain_of
from accelerator_sim.errors import AreaError, ComponentError
from accelerator_sim.machine import BITS_PER_BYTE, Machine, with_parameters

TOLERANCE = 1e-3
"""How far an area may be from its target, in proportion."""

_FARTHEST = 2.0 ** 24
"""The factor at which growing ends."""

Number = float | int

@dataclass(frozen=True)
class Sizing:
    """What is sized: the paths of ``coarse`` grow together, each by one factor to its power, whole ones to the nearest multiple of
    ``step``; then ``fine`` (none: None) closes the gap."""

    coarse: Mapping[str, int]
    fine: str | None = None
    step: int = 1

    @property
    def paths(self) -> tuple[str, ...]:
        """All parameters that it may change."""
        return (*self.coarse, *((self.fine,) if self.fine is not None else ()))


@dataclass(frozen=True, eq=False)
class Sized:
    """A machine at an area, and what was ``changed`` for it: the new values by path."""

    machine: Machine
    area_mm2: float
    target_mm2: float
    sizing: Sizing
    changed: Mapping[str, Number]

    @property
    def error(self) -> float:
        """The area over its target, less 1."""
        return self.area_mm2 / self.target_mm2 - 1


def default_sizing(machine: Machine, in_proportion: bool = False) -> Sizing:
    """Returns what of a machine is sized where nobody says: the array, and the largest on-chip memory to close the gap; with
    ``in_proportion`` all on-chip memories keep their share of it."""
    area = machine_area(machine)
    array, *others = sorted(machine.units.values(), key=lambda u: -float(area[u.name]))
    sides = tuple(array.dimensions)
    grown = sides if len(sides) <= 2 else sides[:1]
    coarse = {f"{array.name}.{side}": 1 for side in grown}
    coarse |= {f"{unit.name}.{next(iter(unit.dimensions))}": 1 for unit in others}
    parts = {int(machine.parameter(path)) for path in coarse} - {1}
    for memory in machine.memories.values():
        if memory is machine.outermost or memory.bytes is None or memory.area_mm2 is not None:
            continue
        if memory.instances in parts:
            coarse |= {f"{memory.name}.instances": 1, f"{memory.name}.bytes": 1}
        elif in_proportion:
            coarse[f"{memory.name}.bytes"] = len(grown)
    return Sizing(coarse, largest_memory(machine, () if in_proportion else tuple(coarse)))


def largest_memory(machine: Machine, without: tuple[str, ...] = ()) -> str | None:
    """Returns the path of the bytes of the on-chip memory that takes the most area, of those whose bytes are not among others;
    None where there is none."""
    area = machine_area(machine)
    found = [m for m in machine.memories.values() if m is not machine.outermost and m.bytes is not None and m.area_mm2 is None
             and f"{m.name}.bytes" not in without]
    return f"{max(found, key=lambda m: float(area[m.name])).name}.bytes" if found else None


def size_to_area(machine: Machine, target_mm2: float, sizing: Sizing | None = None, tolerance: float = TOLERANCE) -> Sized:
    """Returns the machine sized to an area in mm2, within a relative tolerance.

    Raises: UnknownNameError for a path of the sizing, AreaError where no size reaches the area, with what can be reached.
    """
    sizing = sizing or default_sizing(machine)
    for path in sizing.paths:
        machine.parameter(path)
    if not isfinite(target_mm2) or target_mm2 <= 0:
        raise AreaError(f"machine {machine.id!r}: its area should be a number above 0, got {target_mm2:g} mm2; give another")
    tried = [made for made in (_grower(machine, sizing)(1.0),) if made is not None]
    if tried and abs(tried[0].area_mm2 / target_mm2 - 1) <= tolerance:
        return Sized(machine, tried[0].area_mm2, target_mm2, sizing, {})
    for made in _near(_around(_grower(machine, sizing), target_mm2), target_mm2):
        tried.append(made)
        if abs(made.area_mm2 / target_mm2 - 1) > tolerance and sizing.fine is not None:
            tried += _near(_around(_closing(machine, made, sizing.fine), target_mm2), target_mm2)
        best = min(tried, key=lambda m: abs(m.area_mm2 - target_mm2))
        if abs(best.area_mm2 / target_mm2 - 1) <= tolerance:
            return Sized(with_parameters(machine, best.values), best.area_mm2, target_mm2, sizing, best.values)
    raise AreaError(_unreachable(machine, target_mm2, sizing, sorted(made.area_mm2 for made in tried)))


def reachable_areas(machine: Machine, sizing: Sizing) -> tuple[float, float]:
    """Returns the least and the largest area in mm2 that a sizing gives a machine, infinite where nothing ends it; between them
    there may be gaps."""
    ends = []
    for target in (0.0, inf):
        def end(pair: tuple[_Made | None, _Made | None], target: float = target) -> _Made:
            found = pair[1] if target == 0.0 else pair[0]
            assert found is not None  # the machine as it is, at least
            return found
        made = end(_around(_grower(machine, sizing), target))
        if made.factor >= _FARTHEST and made.area_mm2 > _FARTHEST:
            ends.append(inf)
        else:
            ends.append((end(_around(_closing(machine, made, sizing.fine), target)) if sizing.fine else made).area_mm2)
    return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class _Made:
    """New values by path, the factor that made them, and the area with them."""

    factor: float
    values: Mapping[str, Number]
    area_mm2: float


_Maker = Callable[[float], _Made | None]
"""What a factor makes; None where a component has no cost."""


def _made(machine: Machine, values: Mapping[str, Number], factor: float = 1.0) -> _Made | None:
    try:
        return _Made(factor, values, float(machine_area(with_parameters(machine, values))["total"]))
    except ComponentError:
        return None


def _around(maker: _Maker, target: float) -> tuple[_Made | None, _Made | None]:
    """The largest area up to the target and the smallest from it on, over all factors: areas never fall as a factor grows, and
    those that have a cost lie together around 1."""
    start = maker(1.0)
    if start is None:
        return None, None
    grows = start.area_mm2 <= target
    inside, factor = start, 1.0
    outside: _Made | None = None
    while _FARTHEST ** -1 < factor < _FARTHEST:
        factor = factor * 2 if grows else factor / 2
        outside = maker(factor)
        if outside is None or (outside.area_mm2 <= target) is not grows:
            break
        inside = outside
    else:
        return (inside, None) if grows else (None, inside)
    low, high = inside.factor, factor
    while abs(high / low - 1) > 1e-12:
        middle = (low * high) ** 0.5
        made = maker(middle)
        if made is not None and (made.area_mm2 <= target) is grows:
            low, inside = middle, made
        else:
            high, outside = middle, made
    return (inside, outside) if grows else (outside, inside)


def _near(pair: tuple[_Made | None, _Made | None], target: float) -> list[_Made]:
    return sorted((made for made in pair if made is not None), key=lambda made: abs(made.area_mm2 - target))


def _grower(machine: Machine, sizing: Sizing) -> _Maker:
    def make(factor: float) -> _Made | None:
        return _made(machine, {path: _scaled(machine, path, factor ** power, sizing.step)
                               for path, power in sizing.coarse.items()}, factor)
    return make


def _closing(machine: Machine, made: _Made, fine: str) -> _Maker:
    base = with_parameters(machine, made.values)

    def make(factor: float) -> _Made | None:
        return _made(base, {**made.values, fine: _scaled(base, fine, factor)}, factor)
    return make


def _scaled(machine: Machine, path: str, factor: float, step: int = 1) -> Number:
    """A parameter times a factor: bytes in whole rows of every bank, other whole numbers in multiples of the step."""
    value = machine.parameter(path) * factor
    if not domain_of(machine, path).whole:
        return float(value)
    name, _, key = path.rpartition(".")
    if key == "bytes" and name in machine.memories:
        memory = machine.memories[name]
        step = max(int(memory.row_bits * memory.banks * memory.instances) // BITS_PER_BYTE, 1)
    return int(max(round(value / step), 1)) * step


def _unreachable(machine: Machine, target: float, sizing: Sizing, tried: list[float]) -> str:
    least, most = reachable_areas(machine, sizing)
    below, above = (max((a for a in tried if a < target), default=None), min((a for a in tried if a > target), default=None))
    what = ", ".join(sizing.coarse) + (f" and {sizing.fine}" if sizing.fine else "")
    place = f"machine {machine.id!r}: sized by {what}, it reaches {_shown(least)} to {_shown(most)} mm2"
    if not least <= target <= most:
        return f"{place}, got {_shown(target)}; give an area in that range, or size something else"
    nearest = " and ".join(_shown(a) for a in (below, above) if a is not None)
    return (f"{place} in steps, of which none is near enough, got {_shown(target)} between {nearest}; size something finer too, such "
            f"as a memory's bytes")


def _shown(area: float) -> str:
    return "any" if area == inf else f"{area:.6g}"
