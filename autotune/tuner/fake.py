"""A subject without a device: configurations have the times of the landscape "cliffs", under the fake device's noise.

For dry runs and tests: builds nothing, and what it "measures" is kept under the fake device's name. ``faults`` gives
configurations by number a way to fail: by hanging, dying, answering what cannot be read, being wrong, running out of
memory, not compiling, or by an illegal access.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from autotune.search.landscape import landscape
from autotune.space import Configuration
from autotune.store.record import Status, canonical, digest_of
from autotune.timing import Candidate, Device, Evidence
from autotune.timing.fake import FakeDevice, Noise, fake_candidate
from autotune.tuner.errors import TrialFailure

FACTORY = "autotune.tuner.fake:subject"


class FakeSubject:
    """See the module. ``arguments``: configurations, seed, process, faults (by number), noise (fields of Noise), and facts."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        pool = arguments["configurations"]
        self.landscape = landscape(pool, arguments.get("seed", 0))
        self.device: Device = FakeDevice(arguments.get("seed", 0), arguments.get("process", 0), Noise(**arguments.get("noise", {})))
        self.facts = {"made_up": True, **arguments.get("facts", {})}
        self.faults = {canonical(pool[int(number)]): fault for number, fault in arguments.get("faults", {}).items()}

    def prepare(self, configuration: Configuration) -> Candidate:
        """Returns a candidate with the landscape's time."""
        fault = self.faults.get(canonical(dict(configuration)))
        if fault is not None and fault in _FAULTS:
            _FAULTS[fault]()
        name = canonical(dict(configuration))
        made = fake_candidate(name, self.landscape.time_us(configuration), self.facts)
        return Candidate(made.launches, made.facts, digest_of(name))

    def check(self, configuration: Configuration, candidate: Candidate, *, thorough: bool, seed: int) -> Evidence:
        """Returns that it is right, unless it is to be wrong."""
        wrong = self.faults.get(canonical(dict(configuration))) == "wrong"
        return Evidence("no check: nothing is computed on the fake device", 1.0 if wrong else 0.0, 0.0)


def subject(arguments: Mapping[str, Any]) -> FakeSubject:
    """Returns the subject."""
    return FakeSubject(arguments)


def _hang() -> None:
    while True:
        time.sleep(60)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _garble() -> None:
    # As a kernel that writes where it should not: to every pipe that there is.
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\x00garbled\n" * 3)
        except OSError:
            continue


def _memory() -> None:
    raise TrialFailure(Status.OUT_OF_MEMORY, "the device has no more memory")


def _access() -> None:
    raise TrialFailure(Status.LAUNCH_ERROR, "an illegal memory access was encountered", fatal=True)


def _syntax() -> None:
    raise TrialFailure(Status.COMPILE_ERROR, "it does not compile")


def _unforeseen() -> None:
    raise RuntimeError("something that nothing foresaw")


_FAULTS: Mapping[str, Callable[[], None]] = {"hang": _hang, "die": _die, "garble": _garble, "memory": _memory, "access": _access,
                                             "syntax": _syntax, "unforeseen": _unforeseen}
