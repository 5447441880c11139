"""Kernels from cascades: lowered to Triton, compiled, checked, timed and tuned; ``autotune.load`` gives one as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.library import LoadedKernel


def load(cascade: str, *, store: str | os.PathLike[str] | None = None, extents: Mapping[str, int] | None = None) -> LoadedKernel:
    """Returns a cascade as a function of torch tensors (see :func:`autotune.library.load`).

    Raises: UnknownNameError, NotationError for what is no cascade.
    """
    from autotune.library import load as load_kernel
    return load_kernel(cascade, store=store, extents=extents)
