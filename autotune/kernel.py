"""Kernels as values: source, arguments, grid, and plans of several kernels that run one after another.

Nothing here needs torch, triton or a GPU: a plan can be built, printed and compiled anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autotune.config import TileConfig
from autotune.errors import LaunchError
from einsum_cascades.ir import Cascade

ArgumentKind = Literal["pointer", "stride", "size", "extent", "constexpr"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a kernel, in order.

    * ``pointer``: tensor ``tensor``, whose elements are of ``dtype``,
    * ``stride``: of dimension ``axis`` of ``tensor`` in elements (instances come first in the dimensions),
    * ``size``: the length of dimension ``axis`` of ``tensor`` (for dimensions that no rank names),
    * ``extent``: of ``rank``, at run time,
    * ``constexpr``: a number fixed when the kernel was generated, ``value``; ``rank`` says whose extent it is where it is
      one (the launcher checks it), None for a block.
    """

    name: str
    kind: ArgumentKind
    tensor: str | None = None
    axis: int | None = None
    rank: str | None = None
    dtype: str | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a plan. ``ranks`` name its dimensions after the instances (None: nothing names it); ``longer`` says by how
    many elements a dimension is longer than its rank (slots of an iterative tensor: 1). ``instances`` are its leading
    dimensions. ``role`` is input, output, or scratch (written by one kernel and read by a later one).
    """

    name: str
    ranks: tuple[str | None, ...]
    longer: tuple[int, ...]
    dtype: str
    role: Literal["input", "output", "scratch"]
    instances: tuple[str, ...] = ()

    def shape(self, extents: Mapping[str, int]) -> tuple[int, ...]:
        """Returns its shape, instances first, from the extents of ranks and instances.

        Raises: LaunchError for a dimension that no rank names.
        """
        sizes = [extents[rank] for rank in self.instances]
        for d, (rank, more) in enumerate(zip(self.ranks, self.longer, strict=True)):
            if rank is None or rank not in extents:
                raise LaunchError(f"tensor {self.name!r}: the length of dimension {d + 1} is not known, got no extent of "
                                  f"{rank or 'a rank that names it'}; give the tensor")
            sizes.append(extents[rank] + more)
        return tuple(sizes)


@dataclass(frozen=True, slots=True)
class GridAxis:
    """Programs along one rank or instance: ceil(extent / block)."""

    rank: str
    block: int


@dataclass(frozen=True)
class Kernel:
    """One Triton kernel: ``source`` is a whole module that defines a ``@triton.jit`` function ``name``.

    ``arguments`` are in the order of the function's parameters. The grid has one dimension: the product of the programs
    along ``grid``, the last axis fastest.
    ``reads`` and ``writes`` name tensors of the plan. ``accumulator_elements`` are the fp32 elements of the largest set of
    loop-carried tiles and results of dots that live at once: a first estimate of what a program keeps in registers.
    """

    name: str
    source: str
    arguments: tuple[Argument, ...]
    grid: tuple[GridAxis, ...]
    num_warps: int
    num_stages: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    accumulator_elements: int = 0

    def programs(self, extents: Mapping[str, int]) -> tuple[int, int, int]:
        """Returns the launch grid for the extents of ranks and instances."""
        total = 1
        for axis in self.grid:
            total *= -(-extents[axis.rank] // axis.block)
        return total, 1, 1

    @property
    def constants(self) -> dict[str, int]:
        """The constexpr arguments by name."""
        return {a.name: a.value for a in self.arguments if a.kind == "constexpr" and a.value is not None}


@dataclass(frozen=True)
class KernelPlan:
    """Kernels that run in order and compute a cascade's outputs.

    ``tensors`` are all tensors in memory: inputs, scratch, outputs. ``extents`` are those that the plan was made with;
    only extents that are constants of a kernel are fixed by it.
    """

    cascade: Cascade
    kernels: tuple[Kernel, ...]
    tensors: tuple[TensorSpec, ...]
    config: TileConfig
    extents: Mapping[str, int]

    def tensor(self, name: str) -> TensorSpec:
        """Returns a tensor by name."""
        return next(t for t in self.tensors if t.name == name)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a caller gives."""
        return tuple(t for t in self.tensors if t.role == "input")

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a caller gets."""
        return tuple(t for t in self.tensors if t.role == "output")
