"""Limits and occupancy, against figures that NVIDIA publishes and a count by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.compilation.facts import CompiledFacts
from autotune.limits import DeviceLimits, accumulator_room, occupancy, rejection
from reports.devices import device_limits
from tests.autotune.compilation.kernels import HOPPER

FACTS = CompiledFacts("k", "sm_90", "3.7.1", num_warps=8, num_stages=3)


def test_the_machine_file_has_the_limits() -> None:
    assert replace(device_limits("h100"), device="hopper") == HOPPER
    assert device_limits("h200").shared_bytes_per_block == 232448


@pytest.mark.parametrize(("device", "threads", "registers", "shared", "blocks"), [
    # CUDA C++ programming guide, "Multiprocessor Level": of 65,536 registers, 2,048 threads can have 32 each.
    ("a100", 1024, 32, 0, 2), ("a100", 1024, 33, 0, 1), ("a100", 1024, 64, 0, 1),
    # CUDA best practices guide, "Occupancy": at 65,536 registers, 63 registers and blocks of 128 give 75% or more (8
    # warps of 4): 2048 registers a warp make 32 warps.
    ("a100", 128, 63, 0, 8), ("a100", 128, 37, 0, 12), ("a100", 320, 37, 0, 4),
    # NVIDIA tuning guides: 164 KB an SM on capability 8.0, 228 KB on 9.0, of which each block loses 1 KB.
    ("a100", 128, 16, 163 * 1024, 1), ("a100", 128, 16, 81 * 1024, 2), ("a100", 128, 16, 81 * 1024 + 1, 1),
    ("h100", 128, 16, 227 * 1024, 1), ("h100", 128, 16, 113 * 1024, 2), ("h100", 128, 16, 56 * 1024, 4),
    # Tuning guides: at most 32 blocks and 64 warps.
    ("h100", 32, 16, 0, 32), ("h100", 64, 16, 0, 32), ("h100", 128, 16, 0, 16),
    # AMD: 512 registers a lane in blocks of 8 and 8 waves a SIMD; LDS of 64 KB. 128 registers let 4 waves onto a SIMD.
    ("mi300x", 256, 128, 0, 4), ("mi300x", 256, 129, 0, 3), ("mi300x", 256, 64, 0, 8), ("mi300x", 256, 32, 0, 8),
    ("mi300x", 256, 512, 0, 1), ("mi300x", 256, 32, 32 * 1024, 2), ("mi300x", 64, 32, 0, 16),
])
def test_occupancy_is_what_is_published(device: str, threads: int, registers: int, shared: int, blocks: int) -> None:
    limits = device_limits(device)
    found = occupancy(threads // limits.warp_size, registers, shared, limits)
    assert found.blocks == blocks
    assert found.fraction == pytest.approx(blocks * threads / (limits.warps_per_sm * limits.warp_size))


@pytest.mark.parametrize("num_warps", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("registers", [16, 40, 64, 72, 96, 128, 168, 255])
def test_registers_are_given_out_by_scheduler(num_warps: int, registers: int) -> None:
    """Warps are dealt to four schedulers in turn, each with a quarter of the registers, until a block does not fit."""
    quarters, blocks = [16384] * 4, 0
    need = -(-registers * 32 // 256) * 256
    # Blocks start at any scheduler: what counts is how many warps fit in all.
    room = sum(q // need for q in quarters)
    while (blocks + 1) * num_warps <= min(room, 64) and blocks < 32:
        blocks += 1
    assert occupancy(num_warps, registers, 0, HOPPER).blocks == blocks


def test_the_limit_that_binds_is_named() -> None:
    assert occupancy(8, 128, 0, HOPPER).limited_by == "registers_per_sm"
    assert occupancy(4, 32, 100_000, HOPPER).limited_by == "shared_bytes_per_sm"
    assert occupancy(1, 16, 0, HOPPER).limited_by == "blocks_per_sm"
    assert occupancy(16, 16, 0, HOPPER).limited_by == "warps_per_sm"
    blackwell = device_limits("b200")
    assert occupancy(4, 64, 0, blackwell, tensor_memory_columns=256).limited_by == "tensor_memory_columns"
    assert occupancy(4, 64, 0, blackwell, tensor_memory_columns=256).blocks == 2
    assert occupancy(4, 64, 232449, HOPPER).blocks == 0


@pytest.mark.parametrize(("facts", "text"), [
    ({"num_warps": 64}, "threads_per_block: the kernel needs 2,048, and there are 1,024 (seen at configuration)"),
    ({"carried_bytes": 300_000}, "accumulator_bytes: the kernel needs 300,000, and there are 261,120 (seen at ttir)"),
    ({"carried_bytes": 1000, "shared_bytes": 589_824},
     "shared_bytes_per_block: the kernel needs 589,824, and there are 232,448 (seen at llir)"),
    ({"shared_bytes": 232_448, "tensor_memory_columns": 512},
     "tensor_memory_columns: the kernel needs 512, and there are 0 (seen at llir)"),
    ({"registers": 256}, "registers_per_thread: the kernel needs 256, and there are 255 (seen at assembler)"),
    ({"num_warps": 16, "registers": 136}, "registers_per_sm: the kernel needs 69,632, and there are 65,536 (seen at assembler)"),
])
def test_a_rejection_names_limit_and_value(facts: dict[str, int], text: str) -> None:
    found = rejection(replace(FACTS, **facts), HOPPER)  # type: ignore[arg-type]
    assert found is not None
    assert found.text == text
    # One less than what is too much is not.
    assert rejection(FACTS, HOPPER) is None


def test_limits_themselves_are_allowed() -> None:
    most = replace(FACTS, num_warps=8, carried_bytes=8 * 32 * 255 * 4, shared_bytes=232448, registers=255, tensor_memory_columns=0)
    assert rejection(most, HOPPER) is None


def test_tensor_memory_is_room_for_accumulators() -> None:
    blackwell: DeviceLimits = device_limits("b200")
    assert accumulator_room(128, HOPPER) == 128 * 255 * 4
    assert accumulator_room(512, HOPPER) == 65536 * 4
    assert accumulator_room(128, blackwell) == 128 * 255 * 4 + 256 * 1024
