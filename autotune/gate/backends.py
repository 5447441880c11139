"""What runs kernels for the gate: Triton's interpreter on the CPU, or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from autotune.compilation.errors import MissingPackageError
from autotune.errors import LaunchError
from einsum_cascades.errors import UnknownNameError


@dataclass(frozen=True)
class Backend:
    """A way to run kernels: torch's device, the types that it can be trusted with, and the environment of its workers."""

    name: str
    device: str
    dtypes: tuple[str, ...]
    environment: tuple[tuple[str, str | None], ...]


BACKENDS = {
    "triton": Backend("triton", "cpu", ("fp32", "fp16"), (("TRITON_INTERPRET", "1"),)),
    "cuda": Backend("cuda", "cuda", ("fp32", "fp16", "bf16"), (("TRITON_INTERPRET", None),)),
}


def backend_for(name: str, dtypes: Sequence[str]) -> Backend:
    """Returns a backend that is to run kernels in some types, having checked that it can.

    Raises: UnknownNameError; LaunchError for a type that it gets wrong, or without a GPU; MissingPackageError.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    found = BACKENDS[name]
    for dtype in dtypes:
        if dtype == "bf16" and dtype not in found.dtypes:
            raise LaunchError(f"backend {name!r}: Triton's interpreter multiplies the raw bits of bf16, so that it cannot be checked "
                              f"there, got 'bf16'; use fp32 or fp16, or the backend 'cuda' on a machine with a GPU")
        if dtype not in found.dtypes:
            raise UnknownNameError("type of kernels", dtype, found.dtypes)
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            raise MissingPackageError(f"{package}: the backend {name!r} needs it, got no installation; run pip install "
                                      f"'fusebench[gpu]'")
    if found.device == "cuda":
        import torch
        if not torch.cuda.is_available():
            raise LaunchError(f"backend {name!r}: it needs a GPU, got none that torch {torch.__version__} sees; use the backend "
                              f"'triton', which interprets kernels on the CPU")
    return found
