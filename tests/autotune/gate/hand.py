"""Attention written by hand as a plan of one kernel, and the same with one mistake: what the gate must tell apart.

Nothing of the lowering is used, so that the gate is tested by itself. A worker with Triton's interpreter imports this.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.config import Role, StageConfig, TileConfig
from autotune.gate.check import check_plan
from autotune.kernel import Argument, GridAxis, Kernel, KernelPlan, TensorSpec
from workloads.variant import Case
from workloads.variants import load_variant

if TYPE_CHECKING:
    import torch

SOURCE = '''
import triton
import triton.language as tl


@triton.jit
def attention(Q, K, V, AV, P, M, H, sqb, sqh, sqp, sqe, skb, skh, skm, ske, svb, svh, svm, svf, sob, soh, sop, sof,
              E: tl.constexpr, F: tl.constexpr, BP: tl.constexpr, BM: tl.constexpr, BE: tl.constexpr, BF: tl.constexpr):
    programs = tl.cdiv(P, BP)
    at = tl.program_id(0)
    b, h, tile = at // programs // H, at // programs % H, at % programs
    p = tile * BP + tl.arange(0, BP)
    e, f = tl.arange(0, BE), tl.arange(0, BF)
    q = tl.load(Q + b * sqb + h * sqh + p[:, None] * sqp + e[None, :] * sqe, mask=(p[:, None] < P) & (e[None, :] < E), other=0.0)
    top = tl.full((BP,), float("-inf"), tl.float32)
    total = tl.zeros((BP,), tl.float32)
    acc = tl.zeros((BP, BF), tl.float32)
    for start in range(0, M, BM):
        m = start + tl.arange(0, BM)
        k = tl.load(K + b * skb + h * skh + m[:, None] * skm + e[None, :] * ske, mask=(m[:, None] < M) & (e[None, :] < E), other=0.0)
        v = tl.load(V + b * svb + h * svh + m[:, None] * svm + f[None, :] * svf, mask=(m[:, None] < M) & (f[None, :] < F), other=0.0)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") * 1.4426950408889634
        s = tl.where(m[None, :] < M, s, float("-inf"))
        new = tl.maximum(top, tl.max(s, 1))
        w = tl.exp2(s - new[:, None])
        scale = tl.exp2(top - new)
        total = total * scale + tl.sum(w, 1)
        acc = acc * scale[:, None] + tl.dot(w.to(v.dtype), v, input_precision="ieee")
        top = new
    out = acc / total[:, None]
    tl.store(AV + b * sob + h * soh + p[:, None] * sop + f[None, :] * sof, out.to(AV.dtype.element_ty),
             mask=(p[:, None] < P) & (f[None, :] < F))
'''

MISTAKES = {
    "a mask that is dropped": ("s = tl.where(m[None, :] < M, s, float(\"-inf\"))", "s = s"),
    "an operand that is swapped": ("v = tl.load(V + b * svb + h * svh + m[:, None] * svm + f[None, :] * svf, mask=(m[:, None] < M)",
                                   "v = tl.load(K + b * svb + h * svh + m[:, None] * svm + f[None, :] * svf, mask=(m[:, None] < M)"),
    "a bound one too small": ("for start in range(0, M, BM)", "for start in range(0, M - 1, BM)"),
    "a bound one too large": ("tl.where(m[None, :] < M,", "tl.where(m[None, :] <= M,"),
    "a last row that is not written": ("mask=(p[:, None] < P) & (f[None, :] < F))\n", "mask=(p[:, None] < P - 1) & (f[None, :] < F))\n"),
    "a state that is not rescaled": ("acc = acc * scale[:, None] + ", "acc = acc + "),
    "a sum that is not rescaled": ("total = total * scale + ", "total = total + "),
    "a wrong base": ("* 1.4426950408889634", "* 1.4432"),
    "the wrong head": ("b, h, tile = at // programs // H, at // programs % H,", "b, h, tile = at // programs // H, 0,"),
    "a stride that is taken for another": ("m[:, None] * skm + e[None, :] * ske", "m[:, None] * sqp + e[None, :] * ske"),
    "a state in half precision": ("        top = new\n", "        top = new\n        acc = acc.to(tl.float16).to(tl.float32)\n"),
    "no maximum": ("new = tl.maximum(top, tl.max(s, 1))", "new = tl.maximum(top, 0.0)"),
}
"""Text that stands in the source, and what it becomes."""


def plan(extents: Mapping[str, int], dtype: str, source: str = SOURCE, block: int = 16) -> KernelPlan:
    """Returns the plan for the extents of attention's p, m, e and f."""
    def spec(name: str, ranks: tuple[str, ...], role: Any) -> TensorSpec:
        return TensorSpec(name, ranks, (0,) * len(ranks), dtype, role, ("b", "h"))
    tensors = (spec("Q", ("p", "e"), "input"), spec("K", ("m", "e"), "input"), spec("V", ("m", "f"), "input"),
               spec("AV", ("p", "f"), "output"))
    strides = [Argument(f"s{t.name[-1].lower()}{axis}", "stride", t.name, axis) for t in tensors for axis in range(4)]
    known = {"BP": block, "BM": block, "BE": max(16, 1 << (extents["e"] - 1).bit_length()),
             "BF": max(16, 1 << (extents["f"] - 1).bit_length())}
    arguments = (*(Argument(t.name, "pointer", t.name, dtype=dtype) for t in tensors),
                 *(Argument(rank.upper(), "extent", rank=rank) for rank in "pmh"), *strides,
                 *(Argument(rank.upper(), "constexpr", rank=rank, value=extents[rank]) for rank in "ef"),
                 *(Argument(name, "constexpr", value=value) for name, value in known.items()))
    kernel = Kernel("attention", source, arguments, (GridAxis("b", 1), GridAxis("h", 1), GridAxis("p", block)), 1, 2,
                    ("Q", "K", "V"), ("AV",))
    roles = (("e", Role("tile")), ("f", Role("tile")), ("m", Role("loop", block)), ("p", Role("grid", block)))
    config = TileConfig((StageConfig(("AV",), roles),), dtype)
    return KernelPlan(load_variant("attention").cascade("2pass"), (kernel,), tensors, config, dict(extents))


def launch(given: KernelPlan, tensors: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Runs the one kernel of a plan."""
    kernel = given.kernels[0]
    everything = {**tensors, **outputs}
    sizes = {rank: everything[t.name].shape[d] for t in given.tensors for d, rank in enumerate((*t.instances, *t.ranks))
             if rank is not None}

    def value(argument: Argument) -> Any:
        match argument.kind:
            case "pointer":
                return everything[argument.tensor or ""]
            case "stride":
                return everything[argument.tensor or ""].stride(argument.axis)
            case "extent":
                return sizes[argument.rank or ""]
        return argument.value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fusebench_hand.py"
        path.write_text(kernel.source)
        found = importlib.util.spec_from_file_location("fusebench_hand", path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules["fusebench_hand"] = module
        found.loader.exec_module(module)
        getattr(module, kernel.name)[kernel.programs(sizes)](*(value(argument) for argument in kernel.arguments))
    return outputs


def check(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how attention by hand does on a case, with a mistake or without: what a worker is called with."""
    variant = load_variant("attention")
    case = next((c for c in variant.cases if c.name == payload["case"]), None)
    if case is None:
        case = Case("given", payload["extents"], algorithms=("2pass",))
    source = SOURCE
    if payload.get("mistake"):
        right, wrong = MISTAKES[payload["mistake"]]
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    made = plan({**case.extents}, payload["dtype"], source)
    return asdict(check_plan(made, variant, "2pass", case, launch, seed=payload.get("seed", 0), spread=payload.get("spread", False)))
