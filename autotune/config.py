"""Tile configurations: the role of each rank in each kernel of a plan, with types, warps and stages.

A rank of a kernel has one of four roles:

* ``grid``: its coordinates are spread over programs, ``block`` of them a program (1: the coordinate is a number),
* ``tile``: all of its coordinates lie in one tile, padded to a power of two of at least ``block``,
* ``loop``: a program goes through its coordinates in order, ``block`` at a time,
* an iterative rank is always a loop of one coordinate at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from autotune.errors import ConfigError
from einsum_cascades.errors import suggest

RoleKind = Literal["grid", "tile", "loop"]
DotPrecision = Literal["ieee", "tf32", "tf32x3"]
STORAGE = ("fp32", "bf16", "fp16")
"""Types in which floating-point tensors are stored."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a kernel does with a rank; ``block`` is the number of coordinates taken together (for ``tile``: at least)."""

    kind: RoleKind
    block: int = 1

    def __str__(self) -> str:
        return self.kind if self.block == 1 else f"{self.kind}:{self.block}"


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One kernel of a plan: the tensors that it writes, the roles of its ranks (sorted by name), warps and stages.

    ``packed`` are groups of grid or tile ranks that share one axis of the tiles, the last one fastest: (y, x) of a window in
    two dimensions, or (r, p) of grouped queries.
    """

    writes: tuple[str, ...]
    roles: tuple[tuple[str, Role], ...]
    num_warps: int = 4
    num_stages: int = 2
    packed: tuple[tuple[str, ...], ...] = ()

    def role(self, rank: str) -> Role:
        """Returns the role of a rank.

        Raises: ConfigError where it has none.
        """
        for name, role in self.roles:
            if name == rank:
                return role
        raise ConfigError(f"configuration of the kernel of {', '.join(self.writes)}: rank {rank!r} has no role, got roles for "
                          f"{', '.join(name for name, _ in self.roles)}; give it one")

    def with_roles(self, roles: Mapping[str, Role]) -> StageConfig:
        """Returns the stage with other roles for some ranks."""
        return replace(self, roles=tuple(sorted({**dict(self.roles), **roles}.items())))


@dataclass(frozen=True, slots=True)
class TileConfig:
    """The configuration of a whole plan: one stage a kernel, in order.

    ``dtype`` is the storage type of floating-point tensors that ``dtypes`` does not name (pairs of tensor and type);
    states and results of dots are fp32. ``dot_precision`` is how a dot of fp32 operands is computed. ``instances`` are
    leading dimensions of every tensor that the cascade lacks, such as batch and heads.
    """

    stages: tuple[StageConfig, ...]
    dtype: str = "fp16"
    dtypes: tuple[tuple[str, str], ...] = ()
    dot_precision: DotPrecision = "ieee"
    instances: tuple[str, ...] = ("b", "h")

    def storage(self, tensor: str) -> str:
        """Returns the storage type of a floating-point tensor."""
        return dict(self.dtypes).get(tensor, self.dtype)

    @property
    def stored(self) -> tuple[str, ...]:
        """Tensors that are stored, in the order of the kernels that write them."""
        return tuple(tensor for stage in self.stages for tensor in stage.writes)

    def blocks(self) -> dict[str, int]:
        """Returns every setting that a search may change, by name: ``p`` (the block of a rank), ``num_warps``, ``num_stages``.

        Where a plan has several kernels, names begin with the number of the kernel, as in ``1.p``.
        """
        found: dict[str, int] = {}
        for number, stage in enumerate(self.stages):
            prefix = f"{number}." if len(self.stages) > 1 else ""
            found |= {f"{prefix}{rank}": role.block for rank, role in stage.roles if role.kind != "tile"}
            found |= {f"{prefix}num_warps": stage.num_warps, f"{prefix}num_stages": stage.num_stages}
        return found

    def changed(self, settings: Mapping[str, int]) -> TileConfig:
        """Returns the configuration with other blocks, warps or stages (names as in :meth:`blocks`).

        A name without the number of a kernel changes all kernels that have it.

        Raises: ConfigError for a name that is no setting, or a value that is no power of two where one is needed.
        """
        known = self.blocks()
        stages = list(self.stages)
        for name, value in settings.items():
            targets = [k for k in known if k == name or k.partition(".")[2] == name]
            if not targets:
                raise ConfigError(f"configuration: there is no such setting, got {name!r}; {suggest(name, known)}")
            if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (
                    value & (value - 1) and not name.endswith("num_stages")):
                raise ConfigError(f"configuration: {name}: it is a power of two of at least 1, got {value!r}; give 1, 2, 4, ...")
            for target in targets:
                number, _, what = target.rpartition(".")
                stages[int(number or 0)] = _with(stages[int(number or 0)], what, value)
        return replace(self, stages=tuple(stages))

    def __str__(self) -> str:
        lines = [f"{self.dtype}, dots of fp32 in {self.dot_precision}, instances {', '.join(self.instances) or 'none'}"]
        for stage in self.stages:
            roles = ", ".join(f"{rank} {role}" for rank, role in stage.roles)
            packed = "".join(f", packed {'*'.join(group)}" for group in stage.packed)
            lines.append(f"{' '.join(stage.writes)}: {roles}{packed}, {stage.num_warps} warps, {stage.num_stages} stages")
        return "\n".join(lines)


def _with(stage: StageConfig, what: str, value: int) -> StageConfig:
    if what == "num_warps":
        return replace(stage, num_warps=value)
    if what == "num_stages":
        return replace(stage, num_stages=value)
    return stage.with_roles({what: Role(stage.role(what).kind, value)})
