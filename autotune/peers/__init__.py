"""Peers: other people's kernels for the same operator, one way of calling them a module."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.peers.errors import PeerError

if TYPE_CHECKING:
    import torch

Run = Callable[[], "torch.Tensor"]
"""Runs a peer on its tensors and returns its result in the dimensions of the kernel's output."""


def peer_ids() -> tuple[str, ...]:
    """Returns the names of the modules that make peers."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in ("errors", "options")))


def make_peer(name: str, options: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], dimensions: Mapping[str, tuple[str, ...]]) -> Run:
    """Returns a peer on tensors. ``dimensions`` names those of each tensor and output, instances first.

    Raises: PeerError where it is not installed, or its options do not fit.
    """
    made: Run = import_module(f"autotune.peers.{name}").make(options, tensors, dimensions)
    return made


__all__ = ["PeerError", "Run", "make_peer", "peer_ids"]
