"""Kernels as subjects in Triton's interpreter, timed by the host's clock: all of the path but the GPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from autotune.store import Environment
from autotune.timing import Burst, Candidate, Checked, Mode, Reading
from autotune.tuner.kernels import KernelSubject, Work


class HostClock:
    """A device whose clock is the host's."""

    def environment(self) -> Environment:
        return Environment("host clock", "interpreter")

    def modes(self) -> tuple[Mode, ...]:
        return (Mode.WARM_CALLS,)

    def burst(self, checked: Checked, mode: Mode, samples: int) -> Burst:
        times = []
        for _ in range(samples):
            begun = time.perf_counter()
            checked.candidate.launches[0]()
            times.append((time.perf_counter() - begun) * 1e6)
        return Burst(tuple(times), Reading())

    def energy_j(self, checked: Checked, seconds: float) -> float | None:
        return None

    def forget(self, checked: Checked) -> None:
        pass


class Wrong(KernelSubject):
    """Spoils the kernels of small programs, as a bug in the lowering would."""

    def prepare(self, configuration: Mapping[str, Any]) -> Candidate:
        made = super().prepare(configuration)
        if configuration["p"] == 16:
            # Half of the full shape's rows are left as they were: poisoned.
            plan = self._plan(configuration)
            object.__setattr__(self, "_outputs", lambda p, own=self._outputs: _spoiled(own(p)) if p.config == plan.config else own(p))
        return made


def _spoiled(outputs: dict[str, Any]) -> dict[str, Any]:
    for tensor in outputs.values():
        tensor[..., ::2, :] = float("nan")
    return outputs


def subject(arguments: Mapping[str, Any]) -> KernelSubject:
    kind = Wrong if arguments["text"] == "spoil" else KernelSubject
    text = "" if arguments["text"] == "spoil" else arguments["text"]
    made = kind(Work(arguments["name"], arguments["extents"], arguments["dtype"], arguments["instances"], text), HostClock(), "cpu")
    made.cases = made.cases[-3:]  # the small ones: the interpreter is slow
    return made

