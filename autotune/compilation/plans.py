"""The kernels of a plan as requests: each argument with the value that a launch on contiguous tensors would give it."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.compilation.request import CompileRequest, LaunchArgument
from autotune.kernel import Argument, KernelPlan
from autotune.lowering.defaults import default_extents

INSTANCES = 16
"""The extent of an instance that nothing gives: divisible by 16, as batches and heads mostly are."""

_FLOAT_BYTES = 4


def requests_of(plan: KernelPlan, target: str, extents: Mapping[str, int] | None = None,
                given: Mapping[str, tuple[int, ...]] | None = None) -> tuple[CompileRequest, ...]:
    """Returns a request for each kernel of a plan, in order.

    ``extents`` may give those of the instances, ``given`` the shapes (without instances) of tensors whose ranks do not say
    them. Tensors are contiguous and their memory is aligned, as a framework allocates
    them; their strides, and whether these are multiples of 16, follow from the extents of the plan.

    Raises: LaunchError for a tensor whose shape the extents do not give.
    """
    sizes = {**dict.fromkeys(plan.config.instances, INSTANCES), **default_extents(plan.cascade, plan.extents), **(extents or {})}
    shapes = {spec.name: (*(sizes[i] for i in spec.instances), *given[spec.name]) if given and spec.name in given else spec.shape(sizes)
              for spec in plan.tensors}
    return tuple(CompileRequest(
        kernel.source, kernel.name, tuple(_argument(a, shapes, sizes) for a in kernel.arguments if a.kind != "constexpr"),
        tuple(kernel.constants.items()), target, kernel.num_warps, kernel.num_stages,
        accumulator_bytes=_FLOAT_BYTES * kernel.accumulator_elements) for kernel in plan.kernels)


def _argument(argument: Argument, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> LaunchArgument:
    if argument.kind == "pointer":
        return LaunchArgument(argument.name, f"*{argument.dtype}")
    if argument.kind == "extent":
        assert argument.rank is not None
        return LaunchArgument(argument.name, "i32", sizes[argument.rank])
    assert argument.tensor is not None
    assert argument.axis is not None
    shape = shapes[argument.tensor]
    if argument.kind == "size":
        return LaunchArgument(argument.name, "i32", shape[argument.axis])
    stride = 1
    for size in shape[argument.axis + 1:]:
        stride *= size
    return LaunchArgument(argument.name, "i32", stride)
