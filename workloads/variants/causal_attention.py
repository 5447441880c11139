"""Causal attention with grouped queries: what a decoder's layer computes for a prompt, or for its next token.

R query heads share the keys and values of one head; a copy of the cascade is one key head of one sequence. The P
queries are the last of M tokens: P = M is a whole prompt, P = 1 a step with a cache of M keys. Scores are not scaled
(fold 1/sqrt(E) into Q).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, signs
from workloads.variant import Case, Published, Variant
from workloads.variants.softmax_passes import PASSES, POSITION, algorithms, attended, distances, products

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = algorithms(lambda at, m: f"S[r,p,{at}] = Q[r,p,e] * K[{m},e] where {m} <= {POSITION}")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[r,p,f]: softmax over the keys that are not later than the query."""
    return attended(products(inputs), distances(extents) >= 0, inputs["V"])


def mean_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal scores give: the mean of the values so far."""
    import numpy as np
    means = inputs["V"].cumsum(axis=0) / np.arange(1, extents["m"] + 1)[:, None]
    return {"AV": np.tile(means[extents["m"] - extents["p"]:], (extents["r"], 1, 1))}


def all_seen_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention that sees every key, as the last token does."""
    import numpy as np
    weights = np.exp(products(inputs))
    return {"AV": weights / weights.sum(axis=-1, keepdims=True) @ inputs["V"]}


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the keys", float(algorithm[0]), "passes", "as without a mask",
                     "calculated", lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="causal_attention",
    title="Causal attention with grouped queries",
    system="Transformer",
    source="Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, section 3.2.3; grouped "
           "queries: Ainslie et al., GQA, EMNLP 2023, arXiv 2305.13245, section 2.2",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"r": 2, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 4}),
        Case("odd extents, ragged last tile", {"r": 3, "p": 7, "m": 7, "e": 3, "f": 5, "m0": 3}),
        Case("the last queries of a longer context", {"r": 2, "p": 4, "m": 11, "e": 3, "f": 2, "m0": 4}),
        Case("one query sees all", {"r": 4, "p": 1, "m": 9, "e": 3, "f": 2, "m0": 2}, reference=all_seen_reference),
        Case("equal scores", {"r": 2, "p": 6, "m": 6, "e": 3, "f": 2, "m0": 4}, {"Q": constant(0.0)},
             reference=mean_reference),
        Case("logits of 80 and -80", {"r": 1, "p": 16, "m": 16, "e": 4, "f": 3, "m0": 5},
             {"Q": signs(80 / 4), "K": signs()}),
    ),
    published=tuple(_passes(algorithm) for algorithm in PASSES),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
