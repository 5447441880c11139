"""What is tuned, as a worker process sees it: makes candidates of configurations, checks them, and has a device.

A subject is named by ``module:function``; the function takes one mapping of JSON's types and returns the subject.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from autotune.space import Configuration
from autotune.timing import Candidate, Device, Evidence


class Subject(Protocol):
    """Something with configurations."""

    device: Device

    def prepare(self, configuration: Configuration) -> Candidate:
        """Returns a candidate that can be launched.

        Raises: TrialFailure where there is none: it does not compile, exceeds a limit, or does not fit the memory.
        """

    def check(self, configuration: Configuration, candidate: Candidate, *, thorough: bool, seed: int) -> Evidence:
        """Returns how the candidate compares with its reference, on inputs drawn with ``seed``.

        Raises: TrialFailure where it cannot be launched.
        """


def made(factory: str, arguments: Any) -> Subject:
    """Returns the subject of a factory ``module:function``."""
    module, _, name = factory.partition(":")
    subject: Subject = getattr(import_module(module), name)(arguments)
    return subject
