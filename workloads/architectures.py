"""Language models as data: what a model is made of, whatever the phase, the length and the batch that it runs at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "gelu-tanh", "relu", "silu"]
Norm = Literal["layer_norm:centred", "rms_norm:scaled", "rms_norm:unit-offset"]
"""A variant and its algorithm."""


@dataclass(frozen=True)
class Attention:
    """Attention of ``heads`` query heads with ``features`` each; heads/key_heads of them share a head of keys and values.

    Without ``causal`` a token sees all others. ``window`` is how many tokens up to its own it sees (None: all).
    ``rotary`` features of each head of queries and keys are rotated. ``buckets`` of distances have a learned bias (0:
    none), ``head_norm`` is a root mean square norm of each head of queries and keys. ``joint`` is one projection for
    queries, keys and values; biases are those of the projections.
    """

    heads: int
    key_heads: int
    features: int
    causal: bool = True
    window: int | None = None
    soft_capped: bool = False
    rotary: int = 0
    buckets: int = 0
    head_norm: bool = False
    joint: bool = False
    input_bias: bool = False
    output_bias: bool = False


@dataclass(frozen=True)
class Mlp:
    """Two linear layers with ``features`` between them; a ``gated`` one has a third, whose activation is a factor."""

    features: int
    activation: Activation
    gated: bool = False
    bias: bool = False


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: each token goes to ``chosen`` of ``experts`` MLPs."""

    mlp: Mlp
    experts: int
    chosen: int


@dataclass(frozen=True)
class SelectiveScan:
    """The mixer of Mamba: ``channels`` with ``states`` each, a convolution of ``taps``, steps of rank ``step_rank``.
    ``inner_norms`` are root mean square norms of steps, B and C."""

    channels: int
    states: int
    taps: int
    step_rank: int
    bias: bool = False
    convolution_bias: bool = True
    inner_norms: bool = False


@dataclass(frozen=True)
class StateSpaceDuality:
    """The mixer of Mamba-2: ``heads`` of ``features`` channels in ``groups`` that share B and C, scanned in chunks of
    ``chunk`` tokens."""

    heads: int
    features: int
    groups: int
    states: int
    taps: int
    chunk: int
    bias: bool = False
    convolution_bias: bool = True

    @property
    def channels(self) -> int:
        """The channels of all heads."""
        return self.heads * self.features


@dataclass(frozen=True)
class Block:
    """``count`` equal layers of a model: a mixer of tokens, cross attention where an encoder is seen, and an MLP.

    Each has a residual addition around it, and a norm ``before`` it, ``after`` the addition, or ``around`` (before it
    and after it, inside of the addition).
    """

    name: str
    count: int
    mixer: Attention | SelectiveScan | StateSpaceDuality
    mlp: Mlp | Experts | None = None
    cross: Attention | None = None
    norms: Literal["before", "after", "around"] = "before"


@dataclass(frozen=True)
class Architecture:
    """A model of ``width`` features a token.

    ``blocks`` are those of its stack, which is the decoder where there is an ``encoder``. ``generates`` says whether it
    makes token after token. ``embedding_scaled`` multiplies embeddings by a number; ``positions`` and ``segments``
    are the rows of learned tables that are added to them before a norm (0: none). The stack ends with a norm where
    ``last_norm`` says so, then the ``head`` (``tied`` to the embedding, its ``own``, ``none``), whose logits may be
    capped, or a ``pooler`` of each sequence's first token. ``value_bytes`` is the size of a value in the published
    weights (None: it is not said). ``notes`` say what is left out, ``ignored`` are the keys of its configuration that
    nothing was read from.
    """

    id: str
    title: str
    source: str
    width: int
    vocabulary: int
    norm: Norm
    blocks: tuple[Block, ...]
    encoder: tuple[Block, ...] = ()
    generates: bool = True
    embedding_scaled: bool = False
    positions: int = 0
    segments: int = 0
    last_norm: bool = True
    head: Literal["tied", "own", "none"] = "own"
    head_capped: bool = False
    pooler: bool = False
    value_bytes: int | None = None
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
