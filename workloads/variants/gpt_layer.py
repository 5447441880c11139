"""A decoder layer as one cascade: projections, attention with softmax, its output projection, and the two layers of the MLP.

The products that mappers are compared on (X to Q, K, V; QK; softmax; AV; Z; FFA; FFB), with the softmax written out. Biases, norms,
residuals and the activation are left out, as there; ``m`` is the rank of keys, of the same tokens as ``p``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = {
    "softmax": """
Q[h,p,e]  = X[p,d] * WQ[h,d,e]
K[h,m,e]  = X[m,d] * WK[h,d,e]
V[h,m,f]  = X[m,d] * WV[h,d,f]
QK[h,p,m] = Q[h,p,e] * K[h,m,e]
GM[h,p]   = max[m] QK[h,p,m]
SN[h,p,m] = exp(QK[h,p,m] - GM[h,p])
SD[h,p]   = SN[h,p,m]
A[h,p,m]  = SN[h,p,m] / SD[h,p]
AV[h,p,f] = A[h,p,m] * V[h,m,f]
Z[p,g]    = AV[h,p,f] * WZ[h,f,g]
FFA[p,s]  = Z[p,g] * WFA[g,s]
FFB[p,c]  = FFA[p,s] * WFB[s,c]
""",
}
WEIGHTS = ("WQ", "WK", "WV", "WZ", "WFA", "WFB")
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns FFB[p,c], head by head and with the softmax as one function of scores."""
    import numpy as np
    x = inputs["X"]
    total = 0.0
    for head in range(extents["h"]):
        scores = (x @ inputs["WQ"][head]) @ (x @ inputs["WK"][head]).T
        weights = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
        total = total + weights @ (x @ inputs["WV"][head]) @ inputs["WZ"][head]
    return {"FFB": total @ inputs["WFA"] @ inputs["WFB"]}


def uniform_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what queries of 0 leave: every head passes on the mean of its values."""
    import numpy as np
    x = inputs["X"]
    mean = sum((x @ inputs["WV"][h]).mean(axis=0) @ inputs["WZ"][h] for h in range(extents["h"]))
    return {"FFB": np.tile(mean @ inputs["WFA"] @ inputs["WFB"], (extents["p"], 1))}


VARIANT = Variant(
    id="gpt_layer",
    title="Decoder layer: attention with its projections, and the MLP",
    system="Transformer",
    source="Brown et al., Language Models are Few-Shot Learners, arXiv 2005.14165, section 2.1 and table 2.1",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"p": 5, "m": 5, "d": 6, "h": 2, "e": 3, "f": 3, "g": 6, "s": 8, "c": 6}),
        Case("one token", {"p": 1, "m": 1, "d": 4, "h": 2, "e": 2, "f": 3, "g": 5, "s": 7, "c": 3}),
        Case("queries of 0", {"p": 4, "m": 4, "d": 5, "h": 3, "e": 2, "f": 2, "g": 4, "s": 6, "c": 5}, {"WQ": constant(0.0)},
             reference=uniform_reference),
    ),
    shapes=(Shape("gpt3-6.7b", {"p": 1024, "m": 1024, "d": 4096, "h": 32, "e": 128, "f": 128, "g": 4096, "s": 16384, "c": 4096},
                  "Brown et al., arXiv 2005.14165, table 2.1: 6.7B (d_model 4096, 32 heads of 128), a feed-forward layer of 4 d_model"),),
)
