"""The kernel whose rate is the ceiling of exponentials: each thread takes them of registers, memory is idle."""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = 4096
CHAIN = 512


@triton.jit  # type: ignore[untyped-decorator]
def exponentials(x_pointer, y_pointer, chain: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Takes ``chain`` exponentials of each of ``block`` values, one after the other."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_pointer + at)
    for _ in range(chain):
        x = tl.exp2(-x)
    tl.store(y_pointer + at, x)
