"""What the store holds: a trial of one configuration, its rounds of samples, where it ran, and the winner of a tuning run.

Times are in microseconds (``_us``), points in time in seconds since 1970 (``_s``).
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Scalar = bool | int | float | str
"""A value of a configuration's axis."""

QUANTILES = (("p05_us", 0.05), ("p20_us", 0.2), ("median_us", 0.5), ("p80_us", 0.8), ("p95_us", 0.95))
"""The quantiles that are stored beside the raw samples."""


class Status(StrEnum):
    """How a trial ended. All but ``OK`` come with a reason."""

    OK = "ok"
    COMPILE_ERROR = "compile_error"
    OVER_LIMIT = "over_limit"
    WRONG_RESULT = "wrong_result"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CRASH = "crash"
    """The worker died, or what it answered could not be read."""
    LAUNCH_ERROR = "launch_error"
    """The device refused the launch, or failed in it (an illegal access)."""
    UNSTABLE = "unstable"
    """It ran correctly, but every round was tainted (throttled, or at other clocks)."""
    SKIPPED_BY_MODEL = "skipped_by_model"


@dataclass(frozen=True)
class Environment:
    """Where a trial ran. ``host_digest`` tells machines apart without naming them; ``libraries`` are versions by name;
    empty text stands for what is not there."""

    gpu: str
    architecture: str
    driver: str = ""
    cuda: str = ""
    torch: str = ""
    triton: str = ""
    python: str = ""
    fusebench: str = ""
    commit: str = ""
    host_digest: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that all of it determines."""
        return digest_of({**vars(self), "libraries": dict(self.libraries)})[:16]


@dataclass(frozen=True)
class Round:
    """Samples of one candidate, taken one after another in one process.

    ``cache`` names the state of the L2 (see autotune/timing/device.py). ``stage`` is "sweep" or "final". Clocks,
    temperature and power are the worst that were seen around it (None: not known). ``energy_j`` is of one run of the
    kernel. A round with a ``taint`` counts in no quantile.
    """

    cache: str
    stage: str
    process: int
    index: int
    samples_us: tuple[float, ...]
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    energy_j: float | None = None
    taint: str = ""


@dataclass(frozen=True)
class Trial:
    """One configuration of one kernel on one shape, tried once.

    ``kernel`` is a name, such as ``attention:1pass``, or a peer's. ``kernel_digest`` is of all that makes its source but
    the configuration; ``source_digest`` of the source. ``spec`` has what else the result depends on (types, options);
    ``bucket`` is that of the extents and the spec (see autotune/store/buckets.py). ``facts`` are what the compiler said.
    """

    kernel: str
    kernel_digest: str
    spec: Mapping[str, Scalar]
    extents: Mapping[str, int]
    bucket: str
    configuration: Mapping[str, Scalar]
    status: Status
    environment: Environment
    reason: str = ""
    source_digest: str = ""
    rounds: tuple[Round, ...] = ()
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    predicted_us: float | None = None
    session: str = ""
    strategy: str = ""
    created_s: float = 0.0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def samples_us(self, cache: str) -> list[float]:
        """Returns the samples of rounds that are not tainted: those of finals where there are such, else of sweeps."""
        clean = [r for r in self.rounds if r.cache == cache and not r.taint]
        finals = [r for r in clean if r.stage == "final"]
        return [sample for r in finals or clean for sample in r.samples_us]

    @property
    def caches(self) -> tuple[str, ...]:
        """The names of the states of the L2 that it was timed in, in order of appearance."""
        return tuple(dict.fromkeys(r.cache for r in self.rounds))


@dataclass(frozen=True)
class Winner:
    """What a tuning run chose: ``trial`` (an id) of those in the tie ``band`` (ids), by ``rule``."""

    session: str
    kernel: str
    kernel_digest: str
    bucket: str
    device: str
    triton: str
    trial: str
    band: tuple[str, ...]
    rule: str
    created_s: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def quantile(samples: Sequence[float], share: float) -> float:
    """Returns the value below which ``share`` of some samples lie, interpolated; NaN of none."""
    if not samples:
        return math.nan
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def canonical(value: object) -> str:
    """Returns a value as JSON text that depends on its contents alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: object) -> str:
    """Returns the SHA-256 of a value of JSON's types, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
