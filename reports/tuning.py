"""Joins a cascade, a shape and a device's limits to what the tuner tunes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.printing import to_text
from reports.cascades import load_cascade
from reports.simulation import shape_for
from workloads.models import load_workload

if TYPE_CHECKING:
    from autotune.limits import DeviceLimits
    from autotune.space.kernels import KernelSpace
    from autotune.space.pruning import Pruner
    from autotune.tuner import Target
    from autotune.tuner.kernels import Work


def work_for(cascade: str, workload: str | None, seq_len: int | None, batch: int | None, extents: Mapping[str, int], dtype: str) -> Work:
    """Returns a cascade at the shape of a workload (by default at its shortest length), or at given extents.

    Raises: FusebenchError of the part that is wrong.
    """
    from autotune.tuner.kernels import Work
    named = load_cascade(cascade)
    if workload is not None and seq_len is None:
        seq_len = load_workload(workload).seq_lens[0]
    shape = shape_for(named, workload, seq_len, batch, extents)
    text = "" if named.variant is not None else to_text(named.cascade)
    return Work(named.cascade.name, dict(shape.extents), dtype, shape.instances.get("b", 1), text)


def target_for(cascade: str, workload: str | None, seq_len: int | None, batch: int | None, extents: Mapping[str, int], dtype: str,
               machine: str | None) -> tuple[Target, KernelSpace]:
    """Returns what is tuned, and the space of its kernels within the limits of a machine.

    Raises: FusebenchError of the part that is wrong.
    """
    from autotune.space.kernels import kernel_space
    from autotune.tuner.kernels import kernel_target
    work = work_for(cascade, workload, seq_len, batch, extents, dtype)
    space = kernel_space(work.cascade(), work.extents, dtype, limits=None if machine is None else _limits(machine))
    return kernel_target(work, space), space


def pruner_for(space: KernelSpace, machine: str, jobs: int) -> Pruner:
    """Returns a pruner that compiles for a machine's target and limits.

    Raises: UnknownNameError for a machine without limits.
    """
    from autotune.compilation.cache import Cache, cache_folder
    from autotune.space.compiled import compiled_pruner
    return compiled_pruner(space, _limits(machine), jobs=jobs, cache=Cache(cache_folder(), "compiled"))


def _limits(machine: str) -> DeviceLimits:
    from reports.devices import device_limits
    return device_limits(machine)
