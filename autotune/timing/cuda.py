"""A CUDA device through torch: events, graphs, a cold or warm L2, readings through NVML.

A burst is queued as a whole before the host waits, behind a kernel that keeps the device busy meanwhile: an event that
the device reaches before the host has queued the launch would count the host's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from autotune.store.record import Environment
from autotune.timing import environment
from autotune.timing.device import Burst, Checked, Mode, Reading
from autotune.timing.errors import TimingError
from autotune.timing.nvml import Nvml

_FLUSH_OVER_L2 = 3
"""The buffer that is read to empty the L2, in sizes of the L2: its sets fill unevenly."""
_SPIN_CYCLES = 200_000
"""For each launch of a burst: about 0.1 ms, in which the host queues it."""
_WARM_SAMPLE_US = 200.0
"""A warm sample lasts at least about this long, so that the step of the events' clock is small."""
_MOST_LAUNCHES = 100
_SETTLING = 3
"""Launches before a burst is counted."""


class CudaDevice:
    """The current CUDA device.

    ``torch`` and ``nvml`` stand in for the real ones in tests.

    Raises: TimingError where torch sees no CUDA device.
    """

    def __init__(self, torch: Any = None, nvml: Any = None) -> None:
        self._torch = torch if torch is not None else _torch()
        if not self._torch.cuda.is_available():
            raise TimingError("device: torch sees no CUDA device, got none; run it where there is a GPU, or with --device fake to try "
                              "the procedure")
        properties = self._torch.cuda.get_device_properties(self._torch.cuda.current_device())
        self._name = str(properties.name)
        self._architecture = f"sm_{properties.major}{properties.minor}"
        self._l2_bytes = int(properties.L2_cache_size)
        self._nvml = nvml if nvml is not None else _nvml(f"GPU-{properties.uuid}")
        self._flushed = self._torch.zeros(max(1, _FLUSH_OVER_L2 * self._l2_bytes // 4), dtype=self._torch.float32, device="cuda")
        self._graphs: dict[tuple[int, int], Any] = {}
        self._kept: dict[int, Checked] = {}

    @property
    def l2_bytes(self) -> int:
        """The size of the L2."""
        return self._l2_bytes

    def environment(self) -> Environment:
        """Returns the card, its driver and the versions of what is installed."""
        return environment.environment(self._name, self._architecture, driver=self._nvml.driver() if self._nvml else "",
                                       cuda=str(self._torch.version.cuda or ""))

    def modes(self) -> tuple[Mode, ...]:
        """Returns all modes; rotated buffers and calls are there on request."""
        return (Mode.COLD_FLUSHED, Mode.WARM_GRAPH, Mode.COLD_ROTATED, Mode.WARM_CALLS)

    def burst(self, checked: Checked, mode: Mode, samples: int) -> Burst:
        """Returns samples in a mode (see :class:`autotune.timing.device.Device`)."""
        launches = checked.candidate.launches
        if mode == Mode.COLD_ROTATED and len(launches) < 2:
            raise TimingError(f"{mode}: buffers can only be rotated among several sets of tensors, got {len(launches)}; prepare more "
                              f"sets, or use {Mode.COLD_FLUSHED}")
        if mode == Mode.WARM_GRAPH and not checked.candidate.capturable:
            raise TimingError(f"{mode}: this candidate cannot be captured in a graph, got one that can only be called; use "
                              f"{Mode.WARM_CALLS}")
        match mode:
            case Mode.COLD_FLUSHED:
                return self._samples([self._replay(checked, 0, 1)], samples, 1, before=self._flush)
            case Mode.COLD_ROTATED:
                return self._samples([self._replay(checked, i, 1) for i in range(len(launches))], samples, 1)
            case Mode.WARM_GRAPH:
                repeats = self._repeats(checked)
                return self._samples([self._replay(checked, 0, repeats)], samples, repeats)
            case Mode.WARM_CALLS:
                return self._samples([launches[0]], samples, 1)

    def energy_j(self, checked: Checked, seconds: float) -> float | None:
        """Returns the energy of one warm launch from NVML's counter."""
        if self._energy_mj() is None:
            return None
        repeats = self._repeats(checked) if checked.candidate.capturable else 1
        replay = self._replay(checked, 0, repeats)
        once_us = sum(self._samples([replay], 3, 1).samples_us) / 3
        replays = max(1, math.ceil(seconds * 1e6 / once_us))
        before = self._settled_energy()
        for _ in range(replays):
            replay()
        self._torch.cuda.synchronize()
        after = self._settled_energy()
        return (after - before) / 1000.0 / (replays * repeats)

    def forget(self, checked: Checked) -> None:
        """Drops what is kept of a candidate: its graphs hold memory."""
        for key in [key for key in self._graphs if key[0] == id(checked)]:
            del self._graphs[key]
        self._kept.pop(id(checked), None)

    def _samples(self, launches: list[Callable[[], object]], samples: int, repeats: int,
                 before: Callable[[], object] = lambda: None) -> Burst:
        cuda = self._torch.cuda
        total = samples + _SETTLING
        starts, ends = ([cuda.Event(enable_timing=True) for _ in range(total)] for _ in range(2))
        cuda.synchronize()
        cuda._sleep(_SPIN_CYCLES * total)
        for i in range(total):
            before()
            starts[i].record()
            launches[i % len(launches)]()
            ends[i].record()
        # Between queueing and waiting the device is at work: the clock of an idle card would say nothing.
        busy = self._nvml.read() if self._nvml is not None else Reading()
        cuda.synchronize()
        times = tuple(starts[i].elapsed_time(ends[i]) * 1000.0 / repeats for i in range(_SETTLING, total))
        return Burst(times, _worst(busy, self._nvml.read() if self._nvml is not None else Reading()))

    def _replay(self, checked: Checked, which: int, repeats: int) -> Callable[[], object]:
        """A graph of some launches, or the launch itself where it cannot be captured."""
        if not checked.candidate.capturable:
            return checked.candidate.launches[which]
        key = (id(checked), which * (_MOST_LAUNCHES + 1) + repeats)
        if key not in self._graphs:
            self._kept[id(checked)] = checked
            self._graphs[key] = self._captured(checked.candidate.launches[which], repeats)
        found: Callable[[], object] = self._graphs[key]
        return found

    def _captured(self, launch: Callable[[], object], repeats: int) -> Callable[[], object]:
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            launch()  # what is compiled or allocated at the first launch must not be captured
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(repeats):
                launch()
        replay: Callable[[], object] = graph.replay
        return replay

    def _repeats(self, checked: Checked) -> int:
        once_us = min(self._samples([self._replay(checked, 0, 1)], 3, 1).samples_us)
        return max(1, min(_MOST_LAUNCHES, math.ceil(_WARM_SAMPLE_US / max(once_us, 0.1))))

    def _flush(self) -> None:
        # Reading leaves clean lines: lines that were written would be written back during what is timed.
        self._flushed.sum()

    def _settled_energy(self) -> float:
        """The counter just after it has moved: it is brought up to date some ten times a second."""
        first = now = self._energy_mj()
        while now == first:
            now = self._energy_mj()
        assert now is not None
        return now

    def _energy_mj(self) -> float | None:
        return self._nvml.read().energy_mj if self._nvml is not None else None


def _worst(one: Reading, other: Reading) -> Reading:
    """The reading while the device was busy, with the reasons that either shows."""
    reasons = tuple(dict.fromkeys((*one.throttle_reasons, *(r for r in other.throttle_reasons if r != "gpu_idle"))))
    return Reading(one.sm_clock_mhz, one.memory_clock_mhz, one.temperature_c, one.power_w, reasons, other.energy_mj)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise TimingError("device: torch is not installed, got no such package; install fusebench[gpu]") from None
    return torch


def _nvml(uuid: str) -> Nvml | None:
    # Without readings, times are taken all the same: no round can be found tainted, and the store says None.
    try:
        return Nvml(uuid)
    except TimingError:
        return None
