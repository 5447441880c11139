"""Causal attention in a sliding window: a query sees its own key and the W - 1 before it.

Grouped queries and positions are as in ``causal_attention``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.variant import Case, Variant
from workloads.variants.causal_attention import reference as causal_reference
from workloads.variants.softmax_passes import POSITION, algorithms, attended, distances, products

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = algorithms(
    lambda at, m: f"S[r,p,{at}] = Q[r,p,e] * K[{m},e] where {m} <= {POSITION} and {POSITION} - ({m}) < W")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[r,p,f]: softmax over the W keys up to the query's own."""
    before = distances(extents)
    return attended(products(inputs), (before >= 0) & (before < extents["w"]), inputs["V"])


def own_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a window of one key gives: the value of the query's own."""
    import numpy as np
    return {"AV": np.tile(inputs["V"][extents["m"] - extents["p"]:], (extents["r"], 1, 1))}


VARIANT = Variant(
    id="sliding_window_attention",
    title="Sliding window attention",
    system="Transformer",
    source="Jiang et al., Mistral 7B, arXiv 2310.06825, section 2; Beltagy et al., Longformer, arXiv 2004.05150, "
           "section 3.1",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"r": 2, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 4, "w": 5}),
        Case("odd extents, ragged last tile", {"r": 3, "p": 11, "m": 11, "e": 3, "f": 5, "m0": 3, "w": 4}),
        Case("the last queries of a longer context", {"r": 2, "p": 4, "m": 11, "e": 3, "f": 2, "m0": 4, "w": 6}),
        Case("a window of one key", {"r": 2, "p": 5, "m": 8, "e": 3, "f": 2, "m0": 3, "w": 1}, reference=own_reference),
        Case("a window of all keys is causal attention", {"r": 2, "p": 6, "m": 6, "e": 3, "f": 2, "m0": 4, "w": 6},
             reference=causal_reference),
    ),
)
