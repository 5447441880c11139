"""The card's own readings through NVML, by ctypes: clocks, temperature, power, throttle reasons, energy.

Nothing is set, only read. Constants and signatures: NVIDIA's nvml.h.
"""

from __future__ import annotations

import ctypes
from typing import Any

from autotune.timing.device import Reading
from autotune.timing.errors import TimingError

_LIBRARY = "libnvidia-ml.so.1"
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_GPU_TEMPERATURE = 0
_TEXT = 96

REASONS = {0x1: "gpu_idle", 0x2: "applications_clocks_setting", 0x4: "sw_power_cap", 0x8: "hw_slowdown", 0x10: "sync_boost",
           0x20: "sw_thermal_slowdown", 0x40: "hw_thermal_slowdown", 0x80: "hw_power_brake_slowdown", 0x100: "display_clock_setting"}
"""The bits of NVML's throttle reasons."""


class Nvml:
    """The readings of one card, found by its UUID (``GPU-...``).

    ``library`` stands in for NVML in tests.

    Raises: TimingError where there is no NVML, or it does not know the card.
    """

    def __init__(self, uuid: str, library: Any = None) -> None:
        self._nvml = library if library is not None else _loaded()
        _check(self._nvml.nvmlInit_v2(), "start")
        self._handle = ctypes.c_void_p()
        _check(self._nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(self._handle)), f"find the card {uuid}")

    def driver(self) -> str:
        """Returns the driver's version; empty where it does not tell."""
        text = ctypes.create_string_buffer(_TEXT)
        failed = self._nvml.nvmlSystemGetDriverVersion(text, _TEXT)
        return "" if failed else text.value.decode()

    def read(self) -> Reading:
        """Returns a reading; what the card does not tell is None."""
        power = self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint())
        reasons = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong())
        return Reading(
            self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(), _SM_CLOCK),
            self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(), _MEMORY_CLOCK),
            self._number("nvmlDeviceGetTemperature", ctypes.c_uint(), _GPU_TEMPERATURE),
            None if power is None else power / 1000.0,
            tuple(name for bit, name in REASONS.items() if reasons is not None and int(reasons) & bit),
            self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong()))

    def _number(self, function: str, result: Any, *arguments: int) -> float | None:
        failed = getattr(self._nvml, function)(self._handle, *arguments, ctypes.byref(result))
        return None if failed else float(result.value)


def _loaded() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        raise TimingError(f"NVML: the driver's library is not there, got no {_LIBRARY}; install NVIDIA's driver") from None


def _check(failed: int, what: str) -> None:
    if failed:
        raise TimingError(f"NVML: it could not {what}, got error {failed}; see whether nvidia-smi works")
