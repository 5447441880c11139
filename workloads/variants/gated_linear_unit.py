"""What gated MLPs do between their linear layers: an activation of one projection times the other.

The variants of the paper by the activation of the gate: SwiGLU has silu, GEGLU gelu (Gemma and T5 v1.1 in its
approximation by tanh), ReGLU relu. The three linear layers are ``gemm``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant
from workloads.variants.activation import gelu, gelu_tanh, relu, silu

if TYPE_CHECKING:
    from workloads.variant import Array, Reference

_ALGORITHMS = {
    "swiglu": "Y[t,d] = silu(G[t,d]) * U[t,d]",
    "geglu": "Y[t,d] = gelu(G[t,d]) * U[t,d]",
    "geglu-tanh": "Y[t,d] = gelu_tanh(G[t,d]) * U[t,d]",
    "reglu": "Y[t,d] = relu(G[t,d]) * U[t,d]",
}


def gated(activation: Callable[[Array], Array]) -> Reference:
    """Returns the reference of the unit whose gate has an activation."""
    def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
        return {"Y": activation(inputs["G"]) * inputs["U"]}
    return reference


def closed_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a gate of 0 leaves, in all of them: nothing."""
    import numpy as np
    return {"Y": np.zeros_like(inputs["U"])}


def _cases(algorithm: str, activation: Callable[[Array], Array]) -> tuple[Case, ...]:
    return (Case(f"random, {algorithm}", {"t": 6, "d": 8}, algorithms=(algorithm,), reference=gated(activation)),
            Case(f"odd extents, {algorithm}", {"t": 1, "d": 17}, algorithms=(algorithm,), reference=gated(activation)))


VARIANT = Variant(
    id="gated_linear_unit",
    title="Gated linear unit",
    system="Transformer",
    source="Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202, equations 5 and 6",
    algorithms=_ALGORITHMS,
    reference=gated(silu),
    cases=(
        *_cases("swiglu", silu), *_cases("geglu", gelu), *_cases("geglu-tanh", gelu_tanh), *_cases("reglu", relu),
        Case("a gate of 0", {"t": 4, "d": 5}, {"G": constant(0.0)}, reference=closed_reference),
    ),
)
