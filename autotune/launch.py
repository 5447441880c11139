"""Running a plan on torch tensors: on a GPU, or on the CPU in Triton's interpreter."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autotune.errors import LaunchError
from autotune.kernel import Argument, Kernel, KernelPlan, TensorSpec
from einsum_cascades.errors import suggest
from einsum_cascades.extents import known_extents

if TYPE_CHECKING:
    import torch

_LARGEST_GRID = 2**31 - 1


def launch(plan: KernelPlan, tensors: Mapping[str, torch.Tensor],
           out: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Runs the kernels of a plan and returns its outputs by name.

    A tensor has the plan's instances as leading dimensions; one without them is the same for all instances. ``out`` gives
    tensors to write to (poisoned ones, in a check); others are made, and not set to anything first.

    Raises: LaunchError for tensors that are missing, of another type or shape, or on the CPU outside of the interpreter.
    """
    import torch
    given = {spec.name: _given(plan, spec, tensors) for spec in plan.inputs}
    for name in tensors:
        if name not in given:
            raise LaunchError(f"{plan.cascade.name}: the plan reads no such tensor, got {name!r}; {suggest(name, given)}")
    extents = _extents(plan, given)
    device = _device(plan, given)
    memory: dict[str, torch.Tensor] = {}
    for spec in plan.tensors:
        lead = tuple(extents[i] for i in spec.instances)
        if spec.role == "input":
            tensor = given[spec.name]
            memory[spec.name] = tensor.expand(*lead, *tensor.shape) if tensor.dim() == len(spec.ranks) else tensor
            continue
        shape = spec.shape(extents)
        dtype = _dtypes()[spec.dtype]
        ready = (out or {}).get(spec.name)
        if ready is not None and (tuple(ready.shape) != shape or ready.dtype != dtype):
            raise LaunchError(f"tensor {spec.name!r}: the output to write to is {spec.dtype} of shape {shape}, got {ready.dtype} of shape "
                              f"{tuple(ready.shape)}; give one like that")
        memory[spec.name] = ready if ready is not None else torch.empty(shape, dtype=dtype, device=device)
    with _quiet(device):
        for kernel in plan.kernels:
            run_kernel(kernel, memory, extents)
    return {spec.name: memory[spec.name] for spec in plan.outputs}


def run_kernel(kernel: Kernel, memory: Mapping[str, torch.Tensor], extents: Mapping[str, int]) -> Any:
    """Launches one kernel on tensors that have all their dimensions, and returns what Triton returns.

    Raises: LaunchError where the grid is larger than a device's.
    """
    grid = kernel.programs(extents)
    if grid[0] > _LARGEST_GRID:
        raise LaunchError(f"kernel {kernel.name}: more programs than a grid can have, got {grid[0]}; give larger blocks")
    if grid[0] == 0:
        return None
    function = getattr(module_of(kernel.source), kernel.name)
    values = [argument_value(a, memory, extents) for a in kernel.arguments]
    return function[grid](*values, num_warps=kernel.num_warps, num_stages=kernel.num_stages)


def argument_value(argument: Argument, memory: Mapping[str, torch.Tensor], extents: Mapping[str, int]) -> Any:
    """Returns what a kernel is given for an argument."""
    if argument.kind == "constexpr":
        return argument.value
    if argument.kind == "extent":
        assert argument.rank is not None
        return extents[argument.rank]
    assert argument.tensor is not None
    tensor = memory[argument.tensor]
    if argument.kind == "pointer":
        return tensor
    assert argument.axis is not None
    return tensor.stride(argument.axis) if argument.kind == "stride" else tensor.shape[argument.axis]


@lru_cache(maxsize=256)
def module_of(text: str) -> ModuleType:
    """Returns the module of a kernel's source. Triton reads the source of its functions, so the module is a file."""
    name = f"fusebench_kernel_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = Path(_folder().name) / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fusebench-kernels-")


def _quiet(device: torch.device) -> AbstractContextManager[Any]:
    """The interpreter computes lanes that do not count as well, and NumPy would warn of what it meets there."""
    if device.type != "cpu":
        return nullcontext()
    import numpy as np
    return np.errstate(all="ignore")


def _dtypes() -> dict[str, torch.dtype]:
    import torch
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int32": torch.int32, "int64": torch.int64,
            "bool": torch.bool}


def _given(plan: KernelPlan, spec: TensorSpec, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if spec.name not in tensors:
        raise LaunchError(f"{plan.cascade.name}: an input is missing, got {', '.join(tensors) or 'none'}; give {spec.name!r}")
    tensor = tensors[spec.name]
    if tensor.dtype != _dtypes()[spec.dtype]:
        raise LaunchError(f"tensor {spec.name!r}: the kernel is for {spec.dtype}, got {tensor.dtype}; convert it, or lower for that type")
    if tensor.dim() not in (len(spec.ranks), len(spec.ranks) + len(spec.instances)):
        names = ", ".join((*spec.instances, *(r or "?" for r in spec.ranks)))
        raise LaunchError(f"tensor {spec.name!r}: its dimensions are {names}, got shape {tuple(tensor.shape)}; the instances "
                          f"({', '.join(spec.instances) or 'none'}) may be left out where it is the same for all")
    return tensor


def _extents(plan: KernelPlan, given: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The extents of ranks and instances from the tensors; those that are constants of a kernel must be as lowered."""
    lead: dict[str, int] = dict.fromkeys(plan.config.instances, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for spec in plan.inputs:
        shape = tuple(given[spec.name].shape)
        shapes[spec.name] = shape[len(shape) - len(spec.ranks):]
        if len(shape) == len(spec.ranks):
            continue
        for name, size in zip(spec.instances, shape, strict=False):
            if size != 1 and lead[name] not in (1, size):
                raise LaunchError(f"tensor {spec.name!r}: instance {name!r} has two extents, got {lead[name]} and {size}; make them equal")
            lead[name] = max(lead[name], size)
    for spec in plan.inputs:
        tensor = given[spec.name]
        if tensor.dim() > len(spec.ranks):
            for name, size in zip(spec.instances, tensor.shape, strict=False):
                if size != lead[name]:
                    raise LaunchError(f"tensor {spec.name!r}: instance {name!r} is {lead[name]} long, got {size}; expand the tensor")
    fixed = {a.rank: a.value for k in plan.kernels for a in k.arguments if a.kind == "constexpr" and a.rank is not None}
    composed = {r: n for r, n in fixed.items() if r is not None and n is not None}
    extents = known_extents(plan.cascade, composed, shapes)
    for rank, size in plan.extents.items():
        extents.setdefault(rank, size)
    for rank, size in composed.items():
        if extents[rank] != size:
            raise LaunchError(f"{plan.cascade.name}: rank {rank!r} is {size} in the kernel, got tensors in which it is {extents[rank]}; "
                              f"lower the cascade for these extents")
    return extents | lead


def _device(plan: KernelPlan, given: Mapping[str, torch.Tensor]) -> torch.device:
    import torch
    devices = {str(t.device): t.device for t in given.values()}
    if len(devices) > 1:
        raise LaunchError(f"{plan.cascade.name}: tensors are on several devices, got {', '.join(sorted(devices))}; move them to one")
    device = next(iter(devices.values()), torch.device("cpu"))
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise LaunchError(f"{plan.cascade.name}: a kernel runs on a GPU, got tensors on the CPU; move them to a GPU, or set "
                          f"TRITON_INTERPRET=1 before triton is imported")
    return device
