"""torch's scaled_dot_product_attention, with one backend each: cudnn, flash, efficient or math."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune.peers.errors import PeerError
from autotune.peers.options import Options

if TYPE_CHECKING:
    import torch

    from autotune.peers import Run

_BACKENDS = {"cudnn": "CUDNN_ATTENTION", "flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH"}


def make(values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], dimensions: Mapping[str, tuple[str, ...]]) -> Run:
    """Returns the peer. Options: backend, q, k, v, out (names of tensors), causal, scale.

    Raises: PeerError for options that do not fit, or a backend that torch lacks.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
    options = Options("sdpa", values, tensors, dimensions)
    options.allow(("backend", "q", "k", "v", "out", "causal", "scale"))
    backend = options.get("backend", str)
    if backend not in _BACKENDS or not hasattr(SDPBackend, _BACKENDS[backend]):
        raise PeerError(f"peer sdpa: torch has no such backend, got {backend!r}; use one of {', '.join(_BACKENDS)}")
    chosen = getattr(SDPBackend, _BACKENDS[backend])
    q, k, v = (options.heads(options.get(name, str)) for name in ("q", "k", "v"))
    causal, scale = options.get("causal", bool, False), float(options.get("scale", (int, float), 1.0))
    grouped = q.shape[1] != k.shape[1]
    name = options.get("out", str)
    shape = (*tensors[options.get("q", str)].shape[:-1], v.shape[-1])
    if name not in dimensions:
        raise PeerError(f"peer sdpa: there is no such output, got {name!r}; name one of the kernel")

    def run() -> torch.Tensor:
        with sdpa_kernel(chosen):
            got = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=grouped)
        return got.reshape(shape)
    return run
