"""What a device can hold: its limits, which of them compiled code exceeds, and how many blocks fit at once.

The numbers come from outside (a machine file); nothing here knows a device.
"""

from __future__ import annotations

from dataclasses import dataclass

from autotune.compilation.facts import CompiledFacts

REGISTER_BYTES = 4

TENSOR_MEMORY_COLUMN_BYTES = 512
"""A column of tensor memory: 128 lanes of 32 bits. Source: PTX ISA, "Tensor Memory"."""


@dataclass(frozen=True)
class DeviceLimits:
    """Limits of one device, in the words of CUDA: a block is a workgroup of AMD's, a warp a wavefront.

    ``registers_granule`` are the registers that a warp is given at once, ``warps_granule`` how many warps the register
    file is divided among evenly (one to each scheduler), ``shared_bytes_reserved`` what the system takes of each
    block. ``tensor_memory_columns`` is 0 where there is none.
    """

    device: str
    target: str
    warp_size: int
    threads_per_block: int
    blocks_per_sm: int
    warps_per_sm: int
    registers_per_thread: int
    registers_per_sm: int
    registers_granule: int
    warps_granule: int
    shared_bytes_per_block: int
    shared_bytes_per_sm: int
    shared_bytes_reserved: int
    shared_bytes_granule: int
    tensor_memory_columns: int


@dataclass(frozen=True)
class Rejection:
    """A limit that a kernel exceeds: what it needs, what there is, and the stage of compilation that showed it."""

    limit: str
    value: int
    allowed: int
    stage: str

    @property
    def text(self) -> str:
        """One line: the limit and the value."""
        return f"{self.limit}: the kernel needs {self.value:,}, and there are {self.allowed:,} (seen at {self.stage})"


@dataclass(frozen=True)
class Occupancy:
    """How many blocks and warps of a kernel are on one SM at once, and what keeps out more."""

    blocks: int
    warps: int
    fraction: float
    limited_by: str


def rejection(facts: CompiledFacts, limits: DeviceLimits) -> Rejection | None:
    """Returns the first limit that is exceeded, in the order in which compilation learns of them; None if all hold.

    Facts that are not known yet are passed over, so that it can be asked after every stage.
    """
    threads = facts.num_warps * limits.warp_size
    found = (
        ("threads_per_block", threads, limits.threads_per_block, "configuration"),
        ("accumulator_bytes", facts.accumulator_bytes, accumulator_room(threads, limits), "configuration"),
        ("accumulator_bytes", facts.carried_bytes, accumulator_room(threads, limits), "ttir"),
        ("shared_bytes_per_block", facts.shared_bytes, limits.shared_bytes_per_block, "llir"),
        ("tensor_memory_columns", facts.tensor_memory_columns, limits.tensor_memory_columns, "llir"),
        ("registers_per_thread", facts.registers, limits.registers_per_thread, "assembler"),
        ("registers_per_sm", None if facts.registers is None else
         facts.num_warps * _up(facts.registers * limits.warp_size, limits.registers_granule), limits.registers_per_sm, "assembler"),
    )
    return next((Rejection(name, value, allowed, stage) for name, value, allowed, stage in found
                 if value is not None and value > allowed), None)


def accumulator_room(threads: int, limits: DeviceLimits) -> int:
    """Returns the bytes in which a block can keep what its loops carry: registers, and tensor memory where there is some."""
    registers = min(threads * limits.registers_per_thread, limits.registers_per_sm)
    return registers * REGISTER_BYTES + limits.tensor_memory_columns * TENSOR_MEMORY_COLUMN_BYTES


def occupancy(num_warps: int, registers: int, shared_bytes: int, limits: DeviceLimits,
              tensor_memory_columns: int = 0) -> Occupancy:
    """Returns how many blocks of ``num_warps`` warps fit on one SM; 0 where one alone does not.

    Source: NVIDIA's occupancy calculation (cuda_occupancy.h): registers are given to warps in granules, the file is
    divided among the schedulers, shared memory is rounded up with what the system reserves for each block.
    """
    per_warp = _up(registers * limits.warp_size, limits.registers_granule)
    warps = limits.registers_per_sm // per_warp // limits.warps_granule * limits.warps_granule if per_warp else limits.warps_per_sm
    shared = _up(shared_bytes + limits.shared_bytes_reserved, limits.shared_bytes_granule)
    bounds = {
        "blocks_per_sm": limits.blocks_per_sm,
        "warps_per_sm": limits.warps_per_sm // num_warps,
        "registers_per_sm": warps // num_warps if registers <= limits.registers_per_thread else 0,
    }
    if shared:
        bounds["shared_bytes_per_sm"] = limits.shared_bytes_per_sm // shared if shared_bytes <= limits.shared_bytes_per_block else 0
    if tensor_memory_columns:
        bounds["tensor_memory_columns"] = limits.tensor_memory_columns // tensor_memory_columns
    limited_by = min(bounds, key=lambda name: bounds[name])
    blocks = bounds[limited_by]
    return Occupancy(blocks, blocks * num_warps, blocks * num_warps / limits.warps_per_sm, limited_by)


def _up(value: int, granule: int) -> int:
    return -(-value // granule) * granule
