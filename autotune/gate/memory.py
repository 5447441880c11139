"""Tensors as a kernel is given them: in its types, with all instances, contiguous or with gaps, outputs poisoned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autotune.errors import LaunchError
from autotune.kernel import TensorSpec

if TYPE_CHECKING:
    import torch

    from workloads.variant import Array


_NO_COORDINATE = 2**30
"""What fills tensors of whole numbers that nothing has been written to."""

_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int32": "int32", "int64": "int64", "bool": "bool"}


def torch_type(dtype: str) -> torch.dtype:
    """Returns torch's type of a type of the plan.

    Raises: LaunchError for one that torch lacks.
    """
    import torch
    if dtype not in _TYPES:
        raise LaunchError(f"type: torch has none for it, got {dtype!r}; use one of {', '.join(_TYPES)}")
    found: torch.dtype = getattr(torch, _TYPES[dtype])
    return found


def placed(copies: Sequence[Array], spec: TensorSpec, device: str, *, gap: int = 0) -> torch.Tensor:
    """Returns an input of all instances: one array for each of the last instance's coordinates, the others are 1 long.

    ``gap`` elements lie between its rows in memory, where it is not 0, and tokens lie before heads.
    """
    import numpy as np
    import torch
    values = torch.from_numpy(np.ascontiguousarray(np.stack([np.asarray(c) for c in copies])))
    shape = (*(1 for _ in spec.instances[:-1]), *(values.shape if spec.instances else values.shape[1:]))
    tensor = _empty(shape, spec.dtype, len(spec.instances), device, gap=gap)
    tensor.copy_(values.reshape(shape).to(tensor.dtype))
    return tensor


def poisoned(spec: TensorSpec, sizes: Mapping[str, int], device: str, *, gap: int = 0) -> torch.Tensor:
    """Returns an output in which nothing has been written: all of it is NaN."""
    return _empty(spec.shape(sizes), spec.dtype, len(spec.instances), device, gap=gap)


def exact(tensor: torch.Tensor, instances: int) -> Array:
    """Returns a tensor's values with one leading dimension, that of the last instance (1 without any): floats in float64,
    whole numbers and truth values as they are."""
    kept = tensor.double() if tensor.dtype.is_floating_point else tensor
    values: Array = kept.detach().to("cpu", copy=True).contiguous().numpy()
    return values.reshape(-1, *values.shape[instances:])


def _empty(shape: Sequence[int], dtype: str, instances: int, device: str, *, gap: int) -> torch.Tensor:
    import torch
    kind = torch_type(dtype)
    filler = float("nan") if kind.is_floating_point else True if dtype == "bool" else _NO_COORDINATE
    if not gap or not 0 < instances < len(shape):
        return torch.full(tuple(shape), filler, dtype=kind, device=device)
    # In memory the last instance stands inside the first rank (tokens by heads), and rows are longer than they need be.
    order = list(range(len(shape)))
    order[instances - 1], order[instances] = instances, instances - 1
    sizes = [shape[d] for d in order]
    sizes[-1] += gap
    whole = torch.full(sizes, filler, dtype=kind, device=device)
    return whole.narrow(-1, 0, sizes[-1] - gap).permute([order.index(d) for d in range(len(shape))])
