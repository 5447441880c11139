"""Cascades written in a test and run."""

from __future__ import annotations

from typing import Any

import numpy as np

from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse


def outputs(text: str, /, *, extents: dict[str, int] | None = None, history: bool = False,
            **inputs: Any) -> dict[str, np.ndarray]:
    """Returns every output of a text by name."""
    return run(parse(text), inputs, extents, history=history)


def output(text: str, /, *, extents: dict[str, int] | None = None, **inputs: Any) -> np.ndarray:
    """Returns the one output of a text."""
    (value,) = outputs(text, extents=extents, **inputs).values()
    return value


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Returns the same normal numbers for the same shape and seed."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)
