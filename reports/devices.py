"""The limits of devices, from the files of machines, for those who compile kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from einsum_cascades.errors import UnknownNameError

if TYPE_CHECKING:
    from accelerator_sim.machine import Machine
    from autotune.limits import DeviceLimits


def device_limits(machine: str) -> DeviceLimits:
    """Returns the limits of a machine, by its id or its file.

    Raises: UnknownNameError for a machine that runs no kernels, with those that do.
    """
    from accelerator_sim.machines import load_machine, machine_ids
    found = load_machine(machine)
    if not found.limits:
        able = [name for name in machine_ids() if load_machine(name).limits]
        raise UnknownNameError("machine with limits for kernels", machine, able)
    return _limits(found)


def limits_of_target(target: str) -> DeviceLimits | None:
    """Returns the limits of the first machine of a target; None where no shipped machine has it."""
    from accelerator_sim.machines import load_machine, machine_ids
    found = (load_machine(name) for name in machine_ids())
    return next((_limits(machine) for machine in found if machine.target == target and machine.limits), None)


def _limits(machine: Machine) -> DeviceLimits:
    from autotune.limits import DeviceLimits
    numbers: dict[str, Any] = {name: int(value) for name, value in machine.limits.items()}
    return DeviceLimits(machine.id, machine.target, **numbers)
