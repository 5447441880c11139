"""Running a plan on torch tensors: on a GPU, or on the CPU in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autotune.errors import LaunchError
from autotune.kernel import KernelPlan

if TYPE_CHECKING:
    import torch


def launch(plan: KernelPlan, tensors: Mapping[str, torch.Tensor],
           out: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Runs the kernels of a plan and returns its outputs by name.

    A tensor has the plan's instances as leading dimensions; one without them is the same for all instances. ``out`` gives
    tensors to write to (poisoned ones, in a check).

    Raises: LaunchError for tensors that are missing, of another type or shape, or on the CPU outside of the interpreter.
    """
    raise LaunchError(f"{plan.cascade.name}: nothing is launched yet, got {len(tensors)} tensors; wait")
