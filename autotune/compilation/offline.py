"""A driver for Triton that has a target and no device: kernels can be compiled for it, and nothing can be run.

Triton asks its driver for the target and specializes a kernel on the arguments of a launch. With this driver a warm-up
compiles what a real launch would, divisibility included. Only the worker processes of the pool import this module.
"""

from __future__ import annotations

from typing import Any, NoReturn

from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver

from autotune.compilation.errors import CompileError
from autotune.compilation.targets import Target

_ALIGNMENT = 16
"""Bytes to whose multiples pointers are specialized."""


class OfflineDriver(DriverBase):  # type: ignore[misc]
    """The driver of a target. Its own ``__init__`` replaces those of GPU drivers, which look for a device."""

    def __init__(self, target: Target) -> None:
        self._target = GPUTarget(target.backend, target.arch, target.warp_size)

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        """There is one device and no other."""

    def clear_cache(self, cache: Any) -> None:
        """There is no cache."""

    def get_active_torch_device(self) -> NoReturn:
        raise _no_device("a device of torch")

    def get_benchmarker(self) -> NoReturn:
        raise _no_device("a time")

    def get_device_interface(self) -> NoReturn:
        raise _no_device("a device")

    def get_empty_cache_for_benchmark(self) -> NoReturn:
        raise _no_device("a buffer")


class Pointer:
    """Stands for a tensor: Triton looks at its type and its address alone."""

    def __init__(self, dtype: str, aligned: bool) -> None:
        self.dtype = dtype
        self._address = 0 if aligned else _ALIGNMENT + 1

    def data_ptr(self) -> int:
        return self._address

    @staticmethod
    def ptr_range() -> int:
        """Returns bytes from the address on; AMD's buffer instructions ask for it."""
        return 0


def activate(target: Target) -> None:
    """Makes the driver of a target that of this process."""
    driver.set_active(OfflineDriver(target))


def _no_device(what: str) -> CompileError:
    return CompileError(f"offline driver: it has no device, got a request for {what}; use the backend 'cuda' on a machine with a GPU")
