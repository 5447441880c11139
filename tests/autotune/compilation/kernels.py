"""Kernels written by hand, as sources: what the tests compile."""

from __future__ import annotations

from autotune.compilation.request import CompileRequest, LaunchArgument
from autotune.limits import DeviceLimits

ADD = """
import triton
import triton.language as tl


@triton.jit
def add(A, B, Z, N, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a = tl.load(A + at, mask=at < N)
    b = tl.load(B + at, mask=at < N)
    tl.store(Z + at, tl.exp2(a) + b, mask=at < N)
"""

ATTENTION = """
import triton
import triton.language as tl


@triton.jit
def attention(Q, K, V, O, N, stride, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rd = tl.arange(0, D)
    q = tl.load(Q + rm[:, None] * stride + rd[None, :], mask=rm[:, None] < N, other=0.0)
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    for n in range(0, N, BN):
        rn = n + tl.arange(0, BN)
        k = tl.load(K + rn[:, None] * stride + rd[None, :], mask=rn[:, None] < N, other=0.0)
        v = tl.load(V + rn[:, None] * stride + rd[None, :], mask=rn[:, None] < N, other=0.0)
        s = tl.where(rn[None, :] < N, tl.dot(q, tl.trans(k)), float("-inf"))
        new = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        scale = tl.exp2(top - new)
        total = total * scale + tl.sum(p, 1)
        acc = acc * scale[:, None] + tl.dot(p.to(v.dtype), v)
        top = new
    tl.store(O + rm[:, None] * stride + rd[None, :], (acc / total[:, None]).to(O.dtype.element_ty), mask=rm[:, None] < N)
"""

HOPPER = DeviceLimits("hopper", "sm_90", warp_size=32, threads_per_block=1024, blocks_per_sm=32, warps_per_sm=64,
                      registers_per_thread=255, registers_per_sm=65536, registers_granule=256, warps_granule=4,
                      shared_bytes_per_block=232448, shared_bytes_per_sm=233472, shared_bytes_reserved=1024,
                      shared_bytes_granule=128, tensor_memory_columns=0)


def add(target: str = "sm_90", *, n: int = 4096, block: int = 1024, num_warps: int = 4, source: str = ADD,
        function: str = "add") -> CompileRequest:
    """The request of a sum."""
    pointers = (LaunchArgument(name, "*fp32") for name in "ABZ")
    return CompileRequest(source, function, (*pointers, LaunchArgument("N", "i32", n)), (("BLOCK", block),), target, num_warps)


def attention(target: str = "sm_90", *, bm: int = 128, bn: int = 64, d: int = 128, num_warps: int = 8, num_stages: int = 3,
              n: int = 4096, stride: int = 128, aligned: bool = True) -> CompileRequest:
    """The request of attention in one pass."""
    pointers = (LaunchArgument(name, "*bf16", aligned=aligned) for name in "QKVO")
    return CompileRequest(ATTENTION, "attention", (*pointers, LaunchArgument("N", "i32", n), LaunchArgument("stride", "i32", stride)),
                          (("BM", bm), ("BN", bn), ("D", d)), target, num_warps, num_stages)
