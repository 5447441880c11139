"""The targets that kernels are compiled for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from einsum_cascades.errors import UnknownNameError

TARGETS = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx90a", "gfx942", "gfx950")

_CUDA = re.compile(r"sm_(\d+)")
_CDNA_WARP, _CUDA_WARP = 64, 32


@dataclass(frozen=True)
class Target:
    """A target as Triton names it: its backend, its architecture and how many threads a warp has."""

    name: str
    backend: str
    arch: int | str
    warp_size: int

    @property
    def assembly(self) -> str:
        """The stage that gives the text of the assembly."""
        return "ptx" if self.backend == "cuda" else "amdgcn"


def target(name: str) -> Target:
    """Returns the target of a name such as ``sm_90`` or ``gfx942``.

    Raises: UnknownNameError with the nearest name.
    """
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    cuda = _CUDA.fullmatch(name)
    return Target(name, "cuda", int(cuda[1]), _CUDA_WARP) if cuda else Target(name, "hip", name, _CDNA_WARP)
