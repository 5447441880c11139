"""The CUDA device against a torch that only takes notes: what is queued in which order, and what is not counted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from autotune.timing import Candidate, Checked, Evidence, Mode, Reading, TimingError
from autotune.timing.cuda import CudaDevice
from autotune.timing.nvml import Nvml

RIGHT = Evidence("given", 0.0, 0.0)


class Cuda:
    """Notes what is queued. Time passes for launches (10 us), flushes (50 us) and spinning only."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now_us = 0.0
        self.capturing: list[str] | None = None
        self.launches = 0

    def launch(self, name: str = "launch", us: float = 10.0) -> None:
        if self.capturing is not None:
            self.capturing.append(name)
            return
        self.log.append(name)
        self.now_us += us

    # What follows is the part of torch and torch.cuda that is used.
    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def get_device_properties(self, index: int) -> Any:
        class Properties:
            name, major, minor, L2_cache_size, uuid = "Noted 1", 9, 0, 1000, "0-1"
        return Properties

    def synchronize(self) -> None:
        self.log.append("wait")

    def _sleep(self, cycles: int) -> None:
        self.launch("spin", 1000.0)

    def current_stream(self) -> Any:
        return self.Stream()

    def stream(self, stream: Any) -> Any:
        return _Nothing()

    def Event(self, enable_timing: bool) -> Any:
        cuda = self

        class Event:
            def record(self) -> None:
                cuda.log.append("event")
                self.at = cuda.now_us

            def elapsed_time(self, end: Any) -> float:
                assert cuda.log[-1] == "wait", "read before the device was done"
                return float(end.at - self.at) / 1000
        return Event()

    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    def CUDAGraph(self) -> Any:
        cuda = self

        class Graph:
            def __init__(self) -> None:
                self.body: list[str] = []

            def replay(self) -> None:
                for name in self.body:
                    cuda.launch(name)
        return Graph()

    def graph(self, graph: Any) -> Any:
        cuda = self

        class Capture:
            def __enter__(self) -> None:
                cuda.capturing = graph.body

            def __exit__(self, *error: Any) -> None:
                cuda.capturing = None
        return Capture()


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


class Torch:
    float32 = "float32"

    class version:
        cuda = "13.0"

    def __init__(self) -> None:
        self.cuda = Cuda()

    def zeros(self, size: int, **options: Any) -> Any:
        cuda = self.cuda
        assert size * 4 >= 3 * 1000 - 4

        class Buffer:
            def sum(self) -> None:
                cuda.launch("flush", 50.0)
        return Buffer()


class Card:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.read_at, self.mj = cuda, [""], 0.0

    def driver(self) -> str:
        return "580"

    def read(self) -> Reading:
        self.read_at.append(self.cuda.log[-1] if self.cuda.log else "")
        self.mj += 1
        return Reading(1980.0, energy_mj=self.mj)


@pytest.fixture
def torch() -> Torch:
    return Torch()


def made(torch: Torch, sets: int = 1, **more: Any) -> tuple[CudaDevice, Card, Checked]:
    card = Card(torch.cuda)
    launches = tuple(partial(torch.cuda.launch, f"launch {i}") for i in range(sets))
    return CudaDevice(torch, card), card, Checked(Candidate(launches, **more), RIGHT)


def test_a_cold_burst_flushes_outside_of_what_is_timed_and_is_queued_before_it_waits(torch: Torch) -> None:
    device, card, one = made(torch)
    torch.cuda.log.clear()
    burst = device.burst(one, Mode.COLD_FLUSHED, 4)
    log = torch.cuda.log
    assert burst.samples_us == pytest.approx((10.0,) * 4)
    queued = log[log.index("spin"):]
    assert queued == ["spin", *["flush", "event", "launch 0", "event"] * 7, "wait"], "three launches settle, and are not counted"
    assert log[:log.index("spin")] == ["launch 0", "wait", "wait"], "what is compiled at the first launch is not captured"
    assert card.read_at[1:] == ["event", "wait"], "the clock is read while the device works"
    assert burst.reading.sm_clock_mhz == 1980.0
    assert (device.environment().gpu, device.environment().architecture, device.environment().driver) == ("Noted 1", "sm_90", "580")


def test_a_warm_burst_is_a_graph_of_many_launches(torch: Torch) -> None:
    device, _, one = made(torch)
    burst = device.burst(one, Mode.WARM_GRAPH, 2)
    assert burst.samples_us == pytest.approx((10.0, 10.0))
    last = torch.cuda.log[len(torch.cuda.log) - torch.cuda.log[::-1].index("spin"):]
    assert last == [*["event", *["launch 0"] * 20, "event"] * 5, "wait"], "20 launches of 10 us: 200 us"
    assert "flush" not in torch.cuda.log


def test_rotated_buffers_go_round_and_need_two(torch: Torch) -> None:
    device, _, one = made(torch, sets=3)
    device.burst(one, Mode.COLD_ROTATED, 3)
    last = torch.cuda.log[len(torch.cuda.log) - torch.cuda.log[::-1].index("spin"):]
    assert [e for e in last if e.startswith("launch")] == [f"launch {i % 3}" for i in range(6)]
    with pytest.raises(TimingError, match="only be rotated among several sets of tensors, got 1"):
        device.burst(made(torch)[2], Mode.COLD_ROTATED, 1)


def test_what_cannot_be_captured_is_called(torch: Torch) -> None:
    device, _, one = made(torch, capturable=False)
    assert device.burst(one, Mode.COLD_FLUSHED, 2).samples_us == pytest.approx((10.0, 10.0))
    assert device.burst(one, Mode.WARM_CALLS, 2).samples_us == pytest.approx((10.0, 10.0))
    with pytest.raises(TimingError, match="cannot be captured in a graph"):
        device.burst(one, Mode.WARM_GRAPH, 2)


def test_energy_is_the_counters_difference_over_the_launches(torch: Torch) -> None:
    device, _, one = made(torch)
    energy = device.energy_j(one, 0.01)
    # 50 replays of 20 launches; the stub's counter moves by one at each reading, so both ends are two readings apart.
    assert energy == pytest.approx(2 / 1000 / (50 * 20))
    device._nvml = None  # a card without NVML
    assert device.energy_j(one, 0.01) is None
    assert device.burst(one, Mode.COLD_FLUSHED, 1).reading == Reading()


def test_graphs_are_dropped_with_their_candidate(torch: Torch) -> None:
    device, _, one = made(torch)
    device.burst(one, Mode.COLD_FLUSHED, 1)
    device.burst(one, Mode.WARM_GRAPH, 1)
    assert len(device._graphs) == 2
    device.forget(one)
    assert not device._graphs
    assert not device._kept


def test_no_gpu_is_one_clear_line() -> None:
    class Without:
        class cuda:
            @staticmethod
            def is_available() -> bool:
                return False
    with pytest.raises(TimingError, match="torch sees no CUDA device, got none; run it where there is a GPU, or with --device fake"):
        CudaDevice(Without())


class Library:
    """NVML's functions, of a card that does not tell its energy."""

    def __init__(self, find: int = 0) -> None:
        self.find = find

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:
        assert uuid == b"GPU-0-1"
        return self.find

    def nvmlSystemGetDriverVersion(self, text: Any, size: int) -> int:
        text.value = b"580.1"
        return 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, result: Any) -> int:
        return _put(result, {1: 1980, 2: 3201}[kind])

    def nvmlDeviceGetTemperature(self, handle: Any, kind: int, result: Any) -> int:
        return _put(result, 61)

    def nvmlDeviceGetPowerUsage(self, handle: Any, result: Any) -> int:
        return _put(result, 512_500)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, result: Any) -> int:
        return _put(result, 0x4 | 0x40)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, result: Any) -> int:
        return 3


def _put(result: Any, value: int) -> int:
    result._obj.value = value
    return 0


def test_nvml_is_read_in_its_own_units() -> None:
    card = Nvml("GPU-0-1", Library())
    assert card.driver() == "580.1"
    assert card.read() == Reading(1980.0, 3201.0, 61.0, 512.5, ("sw_power_cap", "hw_thermal_slowdown"), None)
    with pytest.raises(TimingError, match="could not find the card GPU-0-1, got error 6"):
        Nvml("GPU-0-1", Library(find=6))
