"""A linear layer with a bias: a matrix product, and one value added to each feature. Without one it is ``gemm``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = {
    "biased": """
AB[m,n] = A[m,k] * B[k,n]
Z[m,n]  = AB[m,n] + Bias[n]
""",
}
WEIGHTS = ("B", "Bias")
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Z[m,n]: the product of A[m,k] and B[k,n], and the bias."""
    return {"Z": inputs["A"] @ inputs["B"] + inputs["Bias"]}


def bias_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what weights of 0 leave: the bias."""
    import numpy as np
    return {"Z": np.tile(inputs["Bias"], (extents["m"], 1))}


VARIANT = Variant(
    id="linear",
    title="Linear layer with bias",
    system="Transformer",
    source="Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, equation 2",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"m": 12, "n": 8, "k": 16}),
        Case("odd extents", {"m": 5, "n": 7, "k": 3}),
        Case("one row", {"m": 1, "n": 9, "k": 4}),
        Case("weights of 0", {"m": 4, "n": 5, "k": 3}, {"B": constant(0.0)}, reference=bias_reference),
    ),
)
