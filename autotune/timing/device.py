"""What timing needs of a device: samples of a launch in a named state of the L2, with readings of the card.

A sample is the device's own time of one launch in microseconds. What a time means depends on what the L2 holds when the
launch begins and on how it is started, so each combination has a name of its own, and numbers of two names are never
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from autotune.store.record import Environment, Scalar
from autotune.timing.errors import TimingError


class Mode(StrEnum):
    """The state of the L2, and how launches are started."""

    COLD_FLUSHED = "cold_l2_flushed"
    """Before each launch, a buffer of several times the L2 is read: nothing of the inputs is in it."""
    COLD_ROTATED = "cold_l2_rotated"
    """Launches go round sets of tensors that are together several times the L2: inputs are cold, the rest of the L2 is
    what the launch before left."""
    WARM_GRAPH = "warm_l2_graph"
    """Launches of one set of tensors one after another, replayed as a graph: what fits in the L2 is in it."""
    WARM_CALLS = "warm_l2_calls"
    """As before, but each launch is a call from the host, which may be slower than the kernel."""


@dataclass(frozen=True)
class Reading:
    """What the card told while it worked. None: it does not tell. ``energy_mj`` is its counter's, since the driver began."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    energy_mj: float | None = None


@dataclass(frozen=True)
class Burst:
    """Samples of one launch, one after another, and a reading from among them."""

    samples_us: tuple[float, ...]
    reading: Reading


@dataclass(frozen=True)
class Evidence:
    """The outcome of a correctness check: what was compared, and the largest error with its tolerance."""

    method: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance

    def to_dict(self) -> dict[str, Scalar]:
        """Returns it as facts of a trial."""
        return {"check": self.method, "check_error": self.error, "check_tolerance": self.tolerance}


@dataclass(frozen=True)
class Candidate:
    """Something that can be launched: ``launches`` do the same work, each on tensors of its own (one is enough unless
    buffers are rotated). ``facts`` are what is known of it, such as its registers. ``capturable`` says whether a launch can
    become part of a graph: one that waits for the device cannot."""

    launches: tuple[Callable[[], object], ...]
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    source_digest: str = ""
    capturable: bool = True


@dataclass(frozen=True)
class Checked:
    """A candidate that was found correct: the only thing that a device times.

    Raises: TimingError where the evidence does not say so.
    """

    candidate: Candidate
    evidence: Evidence

    def __post_init__(self) -> None:
        if not self.evidence.ok:
            raise TimingError(f"timing: only what is correct is timed, got an error of {self.evidence.error:.3g} over the tolerance "
                              f"of {self.evidence.tolerance:.3g}; check it first")


class Device(Protocol):
    """A device that times what is correct."""

    def environment(self) -> Environment:
        """Returns what there is: card, driver and versions."""

    def modes(self) -> tuple[Mode, ...]:
        """Returns the modes that it can time in, the one that tuning uses first."""

    def burst(self, checked: Checked, mode: Mode, samples: int) -> Burst:
        """Returns ``samples`` samples, after as many launches as the mode needs to reach its state.

        Raises: TimingError for a mode that it, or the candidate, does not have.
        """

    def energy_j(self, checked: Checked, seconds: float) -> float | None:
        """Returns the energy of one launch, from the card's counter over about ``seconds`` of launches; None without one.

        The card's idle power is in it.
        """

    def forget(self, checked: Checked) -> None:
        """Drops what is kept of a candidate."""
