"""What is to be compiled: a kernel's source with the arguments of one launch, its options and the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

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
    """One kernel to compile: ``source`` is a Python module that defines ``function``; ``constants`` are its constexprs."""

    source: str
    function: str
    arguments: tuple[LaunchArgument, ...]
    constants: tuple[tuple[str, Constant], ...]
    target: str
    num_warps: int = 4
    num_stages: int = 3
    num_ctas: int = 1

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
