"""Softmax attention, in the algorithms of the FuseMax paper's taxonomy: 3 passes over the keys, 2, and 1.

As in the paper, the scores are not scaled (fold 1/sqrt(E) into Q) and there is no mask. Tensors have the paper's
names; those of ``2pass-local``, which the paper gives in prose only, follow the same pattern (``PLM`` corrects by
``LM``). ``1pass`` reads the tiles of K and V in place, where the paper copies them to BK and BV first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs, visible
from workloads.variant import Case, Published, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Nayak et al., FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design, MICRO 2024, " \
         "arXiv 2406.10491"

_ALGORITHMS = {
    "3pass": """
QK[p,m] = Q[p,e] * K[m,e]
GM[p]   = max[m] QK[p,m]
SN[p,m] = exp(QK[p,m] - GM[p])
SD[p]   = SN[p,m]
A[p,m]  = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
""",
    "2pass": """
QK[p,m]  = Q[p,e] * K[m,e]
GM[p]    = max[m] QK[p,m]
SN[p,m]  = exp(QK[p,m] - GM[p])
SD[p]    = SN[p,m]
SNV[p,f] = SN[p,m] * V[m,f]
AV[p,f]  = SNV[p,f] / SD[p]
""",
    "2pass-local": """
BQK[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e]
LM[m1,p]     = max[m0] BQK[m1,m0,p]
SLN[m1,m0,p] = exp(BQK[m1,m0,p] - LM[m1,p])
SLD[m1,p]    = SLN[m1,m0,p]
GM[p]        = max[m1] LM[m1,p]
PLM[m1,p]    = exp(LM[m1,p] - GM[p])
SN[m1,m0,p]  = SLN[m1,m0,p] * PLM[m1,p]
SD[p]        = SLD[m1,p] * PLM[m1,p]
SNV[p,f]     = SN[m1,m0,p] * V[m1*M0 + m0, f]
AV[p,f]      = SNV[p,f] / SD[p]
""",
    "1pass": """
init RM[0,p]    = -inf
init RD[0,p]    = 0
init RNV[f,0,p] = 0
BQK[m1,m0,p]  = Q[p,e] * K[m1*M0 + m0, e]
LM[m1,p]      = max[m0] BQK[m1,m0,p]
RM[m1+1,p]    = max(RM[m1,p], LM[m1,p])
SLN[m1,m0,p]  = exp(BQK[m1,m0,p] - RM[m1+1,p])
SLD[m1,p]     = SLN[m1,m0,p]
SLNV[f,m1,p]  = SLN[m1,m0,p] * V[m1*M0 + m0, f]
PRM[m1,p]     = exp(RM[m1,p] - RM[m1+1,p])
SPD[m1,p]     = RD[m1,p] * PRM[m1,p]
RD[m1+1,p]    = SLD[m1,p] + SPD[m1,p]
SPNV[f,m1,p]  = RNV[f,m1,p] * PRM[m1,p]
RNV[f,m1+1,p] = SLNV[f,m1,p] + SPNV[f,m1,p]
AV[p,f]       = RNV[f,M1,p] / RD[M1,p]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[p,f] = softmax over m of (Q[p,e] K[m,e]), times V[m,f]; a ``Mask[p,m]`` says which keys are seen.

    The softmax is exp(S - log sum exp S), with the logarithm of the sum taken as one function: neither a maximum nor a
    partition is written out. A query that sees no key gives 0.
    """
    import numpy as np
    scores = inputs["Q"] @ inputs["K"].T
    seen = np.broadcast_to(np.asarray(inputs.get("Mask", True), dtype=bool), scores.shape)
    total = np.logaddexp.reduce(np.where(seen, scores, -np.inf), axis=1, keepdims=True)
    weights = np.exp(scores - total, out=np.zeros(scores.shape), where=seen)
    return {"AV": weights @ inputs["V"]}


def uniform_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what attention is where all scores are equal: the mean of the values, for every query."""
    import numpy as np
    return {"AV": np.tile(inputs["V"].mean(axis=0), (extents["p"], 1))}


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention in which query p sees the keys up to m = p."""
    import numpy as np
    return reference({**inputs, "Mask": np.tri(extents["p"], extents["m"], dtype=bool)}, extents)


_MASKED = {"QK": "Mask[p,m]", "BQK": "Mask[p, m1*M0 + m0]"}
_CAUSAL = {"QK": "m <= p", "BQK": "m1*M0 + m0 <= p"}

_CASES = (
    Case("random", {"p": 16, "m": 32, "e": 8, "f": 8, "m0": 8}),
    Case("odd extents, ragged last tile", {"p": 5, "m": 23, "e": 3, "f": 7, "m0": 4}),
    Case("one tile longer than the keys", {"p": 3, "m": 5, "e": 2, "f": 2, "m0": 8}),
    Case("tiles of one key", {"p": 3, "m": 6, "e": 2, "f": 3, "m0": 1}),
    Case("one key", {"p": 4, "m": 1, "e": 4, "f": 3, "m0": 4}, reference=uniform_reference),
    # Products of signs: sums of E terms of 80/E, which reach 80 and -80 where all signs agree or differ.
    Case("logits of 80 and -80", {"p": 24, "m": 48, "e": 4, "f": 8, "m0": 16}, {"Q": signs(80 / 4), "K": signs()}),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    Case("logits beyond the range of exp", {"p": 8, "m": 24, "e": 4, "f": 4, "m0": 5}, {"Q": normal(1e3)},
         tolerance=1e-10),
    Case("masked, rows that see nothing", {"p": 9, "m": 21, "e": 4, "f": 5, "m0": 4},
         {"Mask": visible(0.3, empty_rows=2)}, _MASKED),
    Case("masked everywhere", {"p": 4, "m": 10, "e": 4, "f": 5, "m0": 4}, {"Mask": visible(0.0)}, _MASKED),
    Case("masked logits of 80 and -80", {"p": 16, "m": 32, "e": 2, "f": 4, "m0": 8},
         {"Q": signs(80 / 2), "K": signs(), "Mask": visible(0.2, empty_rows=1)}, _MASKED),
    # The tiles above the diagonal see nothing at all.
    Case("causal", {"p": 13, "m": 13, "e": 4, "f": 4, "m0": 3}, where=_CAUSAL, reference=causal_reference),
    Case("equal scores give the mean", {"p": 4, "m": 11, "e": 4, "f": 4, "m0": 4}, {"Q": constant(0.0)},
         reference=uniform_reference),
)


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the keys", float(algorithm[0]), "passes",
                     f"{_PAPER}, Table I", "read",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="attention",
    title="Softmax attention",
    system="FuseMax",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    published=tuple(_passes(algorithm) for algorithm in _ALGORITHMS),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
