"""What is to be compiled: a kernel's source with the arguments of one launch, its options and the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from autotune.compilation.facts import CompiledFacts

Constant = int | float | bool | str | None


@dataclass(frozen=True)
class LaunchArgument:
    """An argument as a launch gives it.

    ``type`` is Triton's: ``*bf16`` for a pointer, ``i32``, ``fp32`` ... for a number, whose ``value`` decides what Triton
    specializes on (1, divisible by 16, more than 32 bits). A pointer is aligned to 16 bytes, as allocators give it, unless
    ``aligned`` is False.
    """

    name: str
    type: str
    value: int | float | None = None
    aligned: bool = True


@dataclass(frozen=True)
class CompileRequest:
    """One kernel to compile: ``source`` is a Python module that defines ``function``; ``constants`` are its constexprs.

    ``accumulator_bytes`` is an estimate of what a block keeps in registers at once, from before it is compiled.
    """

    source: str
    function: str
    arguments: tuple[LaunchArgument, ...]
    constants: tuple[tuple[str, Constant], ...]
    target: str
    num_warps: int = 4
    num_stages: int = 3
    num_ctas: int = 1
    accumulator_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the request in JSON's types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Returns the request of such a mapping."""
        return cls(**{**raw, "arguments": tuple(LaunchArgument(**a) for a in raw["arguments"]),
                      "constants": tuple((name, value) for name, value in raw["constants"])})

    def digest(self, *more: str) -> str:
        """Returns a name for all that decides what is compiled, and for some more text."""
        text = json.dumps([self.to_dict(), *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def first_facts(request: CompileRequest, triton_version: str) -> CompiledFacts:
    """Returns what is known of a kernel before it is compiled."""
    return CompiledFacts(request.function, request.target, triton_version, request.num_warps, request.num_stages,
                         request.accumulator_bytes)
