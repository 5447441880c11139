"""The configuration space of a cascade's kernels: what its lowering can change, the shape allows and the device holds.

Axes are the blocks of ranks that programs or loops take together, the inner parts of partitioned ranks whose extent nobody
gave, warps and stages. Which values an axis has is not told by a table: each is tried on the lowering alone, and
those that it refuses are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.config import TileConfig
from autotune.errors import ConfigError
from autotune.kernel import KernelPlan
from autotune.limits import DeviceLimits
from autotune.lowering import default_config, lower
from autotune.lowering.defaults import default_extents
from autotune.lowering.reductions import SMALLEST_DOT
from autotune.space.errors import SpaceError
from autotune.space.space import Axis, Configuration, Space
from einsum_cascades.errors import FusebenchError
from einsum_cascades.extents import known_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure

LARGEST_BLOCK = 256
"""Coordinates of a rank that one program takes together at most."""

_WARPS = (1, 2, 4, 8, 16)
_STAGES = (1, 2, 3, 4, 5)
_COMPILER_OPTIONS = ("num_warps", "num_stages")
_PART = "part."
"""Begins the name of an axis that is the extent of a rank's inner part."""


@dataclass(frozen=True)
class KernelSpace:
    """The space of a cascade at given extents, and the configuration that it has without a search."""

    cascade: Cascade
    extents: Mapping[str, int]
    base: TileConfig
    space: Space
    default: Configuration

    def plan(self, configuration: Configuration, extents: Mapping[str, int] | None = None, cascade: Cascade | None = None) -> KernelPlan:
        """Returns the kernels of a configuration, at other extents where they are given, and of a cascade that differs in its
        predicates (those of a small case).

        Raises: LoweringError, ConfigError where there are none.
        """
        parts, settings = settings_of(configuration)
        known = {rank: size for rank, size in (extents or self.extents).items() if rank not in parts}
        outer = {p for ranks in structure(self.cascade).composites.values() for p in ranks[:1] if set(ranks) & parts.keys()}
        own = {**{r: s for r, s in known.items() if r not in outer or extents is None}, **parts}
        wanted = cascade or self.cascade
        return lower(wanted, default_extents(wanted, own), self.base.changed(settings))


def kernel_space(cascade: Cascade, extents: Mapping[str, int], dtype: str, *, instances: tuple[str, ...] = ("b", "h"),
                 limits: DeviceLimits | None = None) -> KernelSpace:
    """Returns the space of a cascade's kernels. ``extents`` are of its ranks; an inner part that has none becomes an axis.

    Raises: LoweringError where it has no kernel; ExtentError; SpaceError where nothing is left to choose.
    """
    base = default_config(cascade, extents, dtype, instances=instances)
    full = default_extents(cascade, extents)
    free = _free_parts(cascade, extents)
    made = KernelSpace(cascade, extents, base, Space((Axis("none", (0,)),)), {})
    default: dict[str, int] = {**{f"{_PART}{rank}": full[rank] for rank in free}, **base.blocks()}
    axes = []
    for name, value in default.items():
        # Warps and stages are options of the compiler: the lowering makes the same of all of them.
        options = [v for v in _options(name, value, full, limits)
                   if v == value or name.endswith(_COMPILER_OPTIONS) or _lowers(made, {**default, name: v})]
        axes.append(Axis(name, tuple(options), _why(name)))
    axes = [axis for axis in axes if len(axis.values) > 1]
    if not axes:
        raise SpaceError(f"{cascade.name}: there is nothing to tune, got kernels whose every setting is fixed; use it as it is")
    names = {axis.name for axis in axes}
    chosen = {name: value for name, value in default.items() if name in names}
    return KernelSpace(cascade, extents, base, Space(tuple(axes)), chosen)


def _free_parts(cascade: Cascade, extents: Mapping[str, int]) -> list[str]:
    """Inner parts of partitioned ranks whose extents neither the text nor the caller fixes."""
    found = []
    for parts in structure(cascade).composites.values():
        known = known_extents(cascade, extents)
        if not any(part in known for part in parts):
            found += list(parts[1:])
    return list(dict.fromkeys(found))


def _options(name: str, value: int, extents: Mapping[str, int], limits: DeviceLimits | None) -> Iterator[int]:
    kind = name.rpartition(".")[2]
    if kind == "num_warps":
        most = limits.threads_per_block // limits.warp_size if limits is not None else _WARPS[-1]
        yield from (w for w in _WARPS if w <= most)
    elif kind == "num_stages":
        yield from _STAGES
    else:
        rank = name.removeprefix(_PART) if name.startswith(_PART) else kind
        whole = extents.get(rank, LARGEST_BLOCK) if not name.startswith(_PART) else LARGEST_BLOCK
        # Below the default only what a dot still fills: a smaller block computes as much, and keeps less of it.
        block = min(value, SMALLEST_DOT)
        while block <= LARGEST_BLOCK and block < 2 * max(whole, value):
            yield block
            block *= 2


def _lowers(space: KernelSpace, configuration: Configuration) -> bool:
    try:
        space.plan(configuration)
    except FusebenchError:
        return False
    return True


def settings_of(configuration: Configuration) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the extents of inner parts, and the settings of the tile configuration, that a configuration names.

    Raises: ConfigError for a value that is no whole number.
    """
    parts, settings = {}, {}
    for name, value in configuration.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"configuration: {name}: it should be a whole number, got {value!r}; give one")
        if name.startswith(_PART):
            parts[name.removeprefix(_PART)] = value
        else:
            settings[name] = value
    return parts, settings


def _why(name: str) -> str:
    kind = name.rpartition(".")[2]
    if name.startswith(_PART):
        return "extent of the inner part of a partitioned rank"
    return {"num_warps": "warps of a program", "num_stages": "tiles that are loaded ahead"}.get(kind, "coordinates taken together")

