"""Softmax over the keys and the weighted sum of the values, for any scores, in 3, 2 and 1 passes over the keys.

No variant: those of attention with masks, windows, caps and biases share it. Scores are S of r query heads that share
one key head (grouped queries: head h of a model is query head r of key head h // R), of query p for key m, in tiles of
m0 keys where there is 1 pass. Tensors have the names of ``attention``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.variant import Array

PASSES = ("3pass", "2pass", "1pass")
"""The algorithms, by the passes over the keys."""

POSITION = "p + M - P"
"""The position of query p: the queries are the last of the M tokens, whose keys all are there."""


def algorithms(scores: Callable[[str, str], str]) -> dict[str, str]:
    """Returns the texts of the algorithms. ``scores`` gives the lines that define S from the ranks of the keys (``m`` or
    ``m1,m0``) and the key's coordinate in them."""
    whole = scores("m", "m")
    return {
        "3pass": f"""
{whole}
GM[r,p]   = max[m] S[r,p,m]
SN[r,p,m] = exp(S[r,p,m] - GM[r,p])
SD[r,p]   = SN[r,p,m]
A[r,p,m]  = SN[r,p,m] / SD[r,p]
AV[r,p,f] = A[r,p,m] * V[m,f]
""",
        "2pass": f"""
{whole}
GM[r,p]    = max[m] S[r,p,m]
SN[r,p,m]  = exp(S[r,p,m] - GM[r,p])
SD[r,p]    = SN[r,p,m]
SNV[r,p,f] = SN[r,p,m] * V[m,f]
AV[r,p,f]  = SNV[r,p,f] / SD[r,p]
""",
        "1pass": f"""
init RM[0,r,p]    = -inf
init RD[0,r,p]    = 0
init RNV[f,0,r,p] = 0
{scores("m1,m0", "m1*M0 + m0")}
LM[m1,r,p]      = max[m0] S[r,p,m1,m0]
RM[m1+1,r,p]    = max(RM[m1,r,p], LM[m1,r,p])
SLN[r,p,m1,m0]  = exp(S[r,p,m1,m0] - RM[m1+1,r,p])
SLD[m1,r,p]     = SLN[r,p,m1,m0]
SLNV[f,m1,r,p]  = SLN[r,p,m1,m0] * V[m1*M0 + m0,f]
PRM[m1,r,p]     = exp(RM[m1,r,p] - RM[m1+1,r,p])
SPD[m1,r,p]     = RD[m1,r,p] * PRM[m1,r,p]
RD[m1+1,r,p]    = SLD[m1,r,p] + SPD[m1,r,p]
SPNV[f,m1,r,p]  = RNV[f,m1,r,p] * PRM[m1,r,p]
RNV[f,m1+1,r,p] = SLNV[f,m1,r,p] + SPNV[f,m1,r,p]
AV[r,p,f]       = RNV[f,M1,r,p] / RD[M1,r,p]
""",
    }


def attended(scores: Array, seen: Array, values: Array) -> dict[str, Array]:
    """Returns AV[r,p,f] from scores[r,p,m], what is seen (bool, [p,m]) and values[m,f]: exp(s - log sum exp s), in which
    neither a maximum nor a tile is written out. A query that sees nothing gives 0."""
    import numpy as np
    seen = np.broadcast_to(seen, scores.shape)
    total = np.logaddexp.reduce(np.where(seen, scores, -np.inf), axis=-1, keepdims=True)
    weights = np.exp(scores - total, out=np.zeros(scores.shape), where=seen)
    return {"AV": weights @ values}


def products(inputs: Mapping[str, Array]) -> Array:
    """Returns the scores of queries Q[r,p,e] for keys K[m,e]."""
    return inputs["Q"] @ inputs["K"].T


def distances(extents: Mapping[str, int]) -> Array:
    """Returns how far before each query each key is, [p,m]: negative where it comes later."""
    import numpy as np
    queries = np.arange(extents["m"] - extents["p"], extents["m"])
    return np.subtract.outer(queries, np.arange(extents["m"]))
