"""A fake device: times that are known, under seeded noise; for tests and dry runs, never a measurement.

Its clock is its own: nothing waits. What it does to a time, in this order: the bias of a process (of all its candidates,
and of each), slow drift, spells of throttling (some of which show as a reason, the others in the clock alone), noise of
each sample, and outliers.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.store.record import Environment, Scalar
from autotune.timing.device import Burst, Candidate, Checked, Mode, Reading
from autotune.timing.errors import TimingError

NAME = "fake device"
"""The name under which all that it times is kept."""

_OVERHEAD_S = 0.005
"""Seconds of its own clock between bursts."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations and shares of the noise. The defaults of samples, processes and outliers are those of the
    simulation that regression gates are calibrated with; drift and throttling are as strong as clocks allow.
    """

    sample: float = 0.015
    process: float = 0.015
    candidate_in_process: float = 0.004
    outlier_share: float = 0.02
    outlier_size: float = 0.2
    drift: float = 0.03
    drift_period_s: float = 20.0
    throttle_every_s: float = 3.0
    throttle_lasts_s: float = 0.15
    throttle_slows: float = 1.35
    throttle_silent: float = 0.3


@dataclass(frozen=True)
class FakeLaunch:
    """A launch that takes a known time; ``warm_share`` of it where the L2 is warm. ``name`` seeds its bias."""

    name: str
    true_us: float
    warm_share: float = 0.8
    watts: float = 500.0

    def __call__(self) -> None:
        """Does nothing: the device knows the time."""


@dataclass
class FakeDevice:
    """A device whose launches are :class:`FakeLaunch`. ``process`` chooses the bias; ``clock_s`` is where its clock begins."""

    seed: int = 0
    process: int = 0
    noise: Noise = field(default_factory=Noise)
    clock_s: float = 0.0

    def __post_init__(self) -> None:
        self._rng = random.Random(f"device {self.seed} {self.process}")
        self._bias = self._rng.gauss(0.0, self.noise.process)
        self._until, self._next, self._silent = 0.0, self._spell(), False

    def environment(self) -> Environment:
        """Returns an environment that says that nothing was measured."""
        return Environment(NAME, "none", libraries={"seed": str(self.seed)})

    def modes(self) -> tuple[Mode, ...]:
        """Returns the modes of a card."""
        return (Mode.COLD_FLUSHED, Mode.WARM_GRAPH)

    def burst(self, checked: Checked, mode: Mode, samples: int) -> Burst:
        """Returns the known time under noise."""
        launch = _launch_of(checked.candidate)
        if mode not in self.modes():
            raise TimingError(f"{mode}: the fake device has no such mode, got a choice of {', '.join(self.modes())}; use one of these")
        base = launch.true_us * (launch.warm_share if mode == Mode.WARM_GRAPH else 1.0)
        own = random.Random(zlib.crc32(f"{self.seed} {self.process} {launch.name}".encode())).gauss(0.0, self.noise.candidate_in_process)
        times, slowed, silent = [], False, False
        for _ in range(samples):
            self._advance()
            now_slowed = self.clock_s < self._until
            slowed, silent = slowed or now_slowed, silent or (now_slowed and self._silent)
            drift = self.noise.drift * math.sin(2 * math.pi * self.clock_s / self.noise.drift_period_s)
            factor = math.exp(self._bias + own + drift + self._rng.gauss(0.0, self.noise.sample))
            if now_slowed:
                factor *= self.noise.throttle_slows
            if self._rng.random() < self.noise.outlier_share:
                factor *= 1 + self._rng.expovariate(1 / self.noise.outlier_size)
            times.append(base * factor)
            self.clock_s += times[-1] * 1e-6
        self.clock_s += _OVERHEAD_S
        clock = 1980.0 / (self.noise.throttle_slows if slowed else 1.0)
        reasons = ("sw_thermal_slowdown",) if slowed and not silent else ()
        return Burst(tuple(times), Reading(clock, 3201.0, 88.0 if slowed else 61.0, launch.watts, reasons, None))

    def energy_j(self, checked: Checked, seconds: float) -> float | None:
        """Returns power times time."""
        launch = _launch_of(checked.candidate)
        self.clock_s += seconds
        return launch.watts * launch.true_us * launch.warm_share * 1e-6

    def forget(self, checked: Checked) -> None:
        """Nothing is kept."""

    def _advance(self) -> None:
        while self.clock_s >= self._next:
            self._until = self._next + self.noise.throttle_lasts_s
            self._silent = self._rng.random() < self.noise.throttle_silent
            self._next = self._until + self._spell()

    def _spell(self) -> float:
        return self._rng.expovariate(1 / self.noise.throttle_every_s) if self.noise.throttle_every_s > 0 else math.inf


def fake_candidate(name: str, true_us: float, facts: Mapping[str, Scalar] | None = None, **more: float) -> Candidate:
    """Returns a candidate whose time is known."""
    return Candidate((FakeLaunch(name, true_us, **more),), dict(facts or {}))


def _launch_of(candidate: Candidate) -> FakeLaunch:
    launch = candidate.launches[0]
    if not isinstance(launch, FakeLaunch):
        raise TimingError(f"fake device: it knows the times of fake launches alone, got {type(launch).__name__}; use a real device")
    return launch
