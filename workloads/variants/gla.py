"""Gated linear attention: a recurrence that decays every feature of the keys by a gate of the token.

Of one head, S[i+1] = diag(exp(G[i])) S[i] + K[i] V[i]' and O[i] = Q[i] S[i+1] / sqrt(N), with the logarithm of the gate
G[i,n] = logsigmoid(T[i,n]) / 16. ``recurrent`` is that. In chunks of ``i0`` tokens the weight of a pair is the sum over
n of Q K exp(A[i] - A[k]), A the sum of G so far in the chunk: ``chunked`` writes the exponential of every pair and
feature, which no matrix unit can do. ``subchunked`` takes a chunk apart into parts of ``i00`` tokens: between two parts
the difference is split at where the query's part begins, exp(A[i] - AR) and exp(AR - A[k]), both of 0 or less, so that
the pairs are a product of matrices; only pairs inside a part are written out. exp(A[i]) / exp(A[k]) would overflow.
``layer`` norms each head (by its root mean square), gates it by silu(R) and projects, with gates of a low rank ``r``.

All start from a state S0 and give the last one, SL. A chunk that is not full decays by the tokens that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, ICML 2024, arXiv 2312.06635"
_LIBRARY = "github.com/fla-org/flash-linear-attention, fla/layers/gla.py and fla/ops/gla/naive.py"

_CHUNK = """
BK[i1,i0,n]  = K[i1*I0 + i0, n]
G[i1,i0,n]   = -softplus(-T[i1*I0 + i0, n]) / 16
A[i1,i0,n]   = sum[k0] G[i1,k0,n] where k0 <= i0
"""
# What a chunk adds to the state, and what the state gives to a chunk. Gates after a token are summed by themselves: as a
# difference of two long sums, those after the last would not be 0 in low precision.
_ACROSS = """
TA[i1,n]     = G[i1,i0,n]
SE[i1,i0,n]  = sum[k0] G[i1,k0,n] where k0 > i0
EK[i1,i0,n]  = exp(SE[i1,i0,n])
DK[i1,i0,n]  = BK[i1,i0,n] * EK[i1,i0,n]
SC[i1,n,v]   = DK[i1,i0,n] * V[i1*I0 + i0, v]
EC[i1,n]     = exp(TA[i1,n])
S[i1+1,n,v]  = EC[i1,n] * S[i1,n,v] + SC[i1,n,v]
EQ[i1,i0,n]  = exp(A[i1,i0,n])
DQ[i1,i0,n]  = Q[i1*I0 + i0, n] * EQ[i1,i0,n]
OC[i1,i0,v]  = DQ[i1,i0,n] * S[i1,n,v]
SL[n,v]      = S[I1,n,v]
"""

_ALGORITHMS = {
    "recurrent": """
init S[0,n,v] = S0[n,v]
G[i,n]     = -softplus(-T[i,n]) / 16
EG[i,n]    = exp(G[i,n])
KV[i,n,v]  = K[i,n] * V[i,v]
S[i+1,n,v] = EG[i,n] * S[i,n,v] + KV[i,n,v]
QS[i,v]    = Q[i,n] * S[i+1,n,v]
O[i,v]     = QS[i,v] * rsqrt(N)
SL[n,v]    = S[I,n,v]
""",
    "chunked": f"""
init S[0,n,v] = S0[n,v]
{_CHUNK}
DA[i1,i0,k0,n] = exp(A[i1,i0,n] - A[i1,k0,n]) where k0 <= i0
W[i1,i0,k0]    = Q[i1*I0 + i0, n] * DA[i1,i0,k0,n] * BK[i1,k0,n]
OI[i1,i0,v]    = W[i1,i0,k0] * V[i1*K0 + k0, v]
{_ACROSS}
OT[i1,i0,v]  = OI[i1,i0,v] + OC[i1,i0,v]
O[i,v]       = OT[i // I0, i % I0, v] * rsqrt(N)
""",
    # Parts i01 of a chunk: AR is the sum of gates before the part. Pairs of the part itself (k00), and of those before
    # it (j0, a token of the chunk).
    "subchunked": f"""
init S[0,n,v] = S0[n,v]
{_CHUNK}
BQ[i1,i0,n]  = Q[i1*I0 + i0, n]
BV[i1,i0,v]  = V[i1*I0 + i0, v]
QT[i1,i01,i00,n] = BQ[i1, i01*I00 + i00, n]
KT[i1,i01,i00,n] = BK[i1, i01*I00 + i00, n]
VT[i1,i01,i00,v] = BV[i1, i01*I00 + i00, v]
AT[i1,i01,i00,n] = A[i1, i01*I00 + i00, n]
AR[i1,i01,n]     = sum[j0] G[i1,j0,n] where j0 < i01*I00
XQ[i1,i01,i00,n] = exp(AT[i1,i01,i00,n] - AR[i1,i01,n])
QR[i1,i01,i00,n] = QT[i1,i01,i00,n] * XQ[i1,i01,i00,n]
XK[i1,i01,j0,n]  = exp(AR[i1,i01,n] - A[i1,j0,n]) where j0 < i01*I00
KR[i1,i01,j0,n]  = BK[i1,j0,n] * XK[i1,i01,j0,n]
WP[i1,i01,i00,j0] = QR[i1,i01,i00,n] * KR[i1,i01,j0,n]
OP[i1,i01,i00,v] = WP[i1,i01,i00,j0] * BV[i1,j0,v]
XD[i1,i01,i00,k00,n] = exp(AT[i1,i01,i00,n] - AT[i1,i01,k00,n]) where k00 <= i00
WD[i1,i01,i00,k00]   = QT[i1,i01,i00,n] * XD[i1,i01,i00,k00,n] * KT[i1,i01,k00,n]
OD[i1,i01,i00,v] = WD[i1,i01,i00,k00] * VT[i1,i01,k00,v]
OI[i1,i01,i00,v] = OP[i1,i01,i00,v] + OD[i1,i01,i00,v]
{_ACROSS}
OT[i1,i0,v]  = OI[i1, i0 // I00, i0 % I00, v] + OC[i1,i0,v]
O[i,v]       = OT[i // I0, i % I0, v] * rsqrt(N)
""",
    "layer": """
init S[0,h,n,v] = 0
Q[i,h,n]   = X[i,m] * Wq[h,n,m]
K[i,h,n]   = X[i,m] * Wk[h,n,m]
V[i,h,v]   = X[i,m] * Wv[h,v,m]
R[i,h,v]   = X[i,m] * Wr[h,v,m]
L[i,r]     = X[i,m] * W1[r,m]
T[i,h,n]   = L[i,r] * W2[h,n,r]
G[i,h,n]   = -softplus(-(T[i,h,n] + B2[h,n])) / 16
EG[i,h,n]  = exp(G[i,h,n])
KV[i,h,n,v]  = K[i,h,n] * V[i,h,v]
S[i+1,h,n,v] = EG[i,h,n] * S[i,h,n,v] + KV[i,h,n,v]
QS[i,h,v]  = Q[i,h,n] * S[i+1,h,n,v]
OS[i,h,v]  = QS[i,h,v] * rsqrt(N)
MS[i,h]    = mean[v] OS[i,h,v] * OS[i,h,v]
ON[i,h,v]  = OS[i,h,v] * rsqrt(MS[i,h] + 1e-5) * Wn[v]
OG[i,h,v]  = ON[i,h,v] * silu(R[i,h,v])
Y[i,o]     = OG[i,h,v] * Wo[o,h,v]
""",
}
_SCANS = ("recurrent", "chunked", "subchunked")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,v] and the last state SL[n,v]: every pair of tokens, with the product of the gates between them."""
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    gate = _gate(inputs["T"])
    weights = np.zeros((len(q), len(k)))
    carried = np.empty_like(q)
    for i in range(len(q)):
        decay = np.ones(q.shape[1])
        for j in range(i, -1, -1):
            weights[i, j] = np.sum(q[i] * decay * k[j])
            decay = decay * gate[j]
        carried[i] = q[i] * decay
    last = gate.prod(axis=0)[:, None] * inputs["S0"]
    for j in range(len(k)):
        last += np.outer(gate[j + 1:].prod(axis=0) * k[j], v[j])
    return {"O": (weights @ v + carried @ inputs["S0"]) / np.sqrt(q.shape[1]), "SL": last}


def linear_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what gates of 1 leave: causal linear attention."""
    import numpy as np
    q, k, v, before = inputs["Q"], inputs["K"], inputs["V"], inputs["S0"]
    return {"O": (np.tril(q @ k.T) @ v + q @ before) / np.sqrt(q.shape[1]), "SL": before + k.T @ v}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,o] of the layer, head by head."""
    import numpy as np
    x = inputs["X"]
    out = np.zeros((len(x), len(inputs["Wo"])))
    for h in range(len(inputs["Wq"])):
        q, k, v, r = (x @ inputs[w][h].T for w in ("Wq", "Wk", "Wv", "Wr"))
        gates = x @ inputs["W1"].T @ inputs["W2"][h].T + inputs["B2"][h]
        own = reference({"Q": q, "K": k, "V": v, "T": gates, "S0": np.zeros((q.shape[1], v.shape[1]))}, extents)["O"]
        normed = own / np.sqrt(np.mean(own**2, axis=1, keepdims=True) + 1e-5) * inputs["Wn"]
        out += normed * r / (1 + np.exp(-r)) @ inputs["Wo"][:, h].T
    return {"Y": out}


def _gate(logits: Array) -> Array:
    """The 16th root of the sigmoid."""
    import numpy as np
    out: Array = np.exp(-np.logaddexp(0.0, -logits) / 16)
    return out


def _passes(algorithm: str, rank: str, count: int, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", note, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="gla",
    title="Gated linear attention",
    system="Dynamical Systems Framework (DSF)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("after a state", {"i": 24, "n": 4, "v": 5, "i0": 8, "i00": 4}, algorithms=_SCANS),
        Case("odd extents, ragged last chunk and part", {"i": 23, "n": 3, "v": 2, "i0": 7, "i00": 3}, algorithms=_SCANS),
        Case("chunks of one token", {"i": 6, "n": 3, "v": 2, "i0": 1, "i00": 1}, algorithms=_SCANS),
        Case("one chunk longer than the tokens", {"i": 7, "n": 3, "v": 2, "i0": 9, "i00": 4}, algorithms=_SCANS),
        Case("one part is a chunk", {"i": 11, "n": 3, "v": 2, "i0": 4, "i00": 4}, algorithms=_SCANS),
        Case("no state before", {"i": 11, "n": 3, "v": 2, "i0": 4, "i00": 2}, {"S0": constant(0.0)}, algorithms=_SCANS),
        # A token's decay of exp(-40): exp(-A) would overflow after 18 tokens.
        Case("strong gates", {"i": 24, "n": 3, "v": 2, "i0": 24, "i00": 4}, {"T": normal(60.0, -640.0)},
             algorithms=_SCANS),
        Case("gates of 1 are linear attention", {"i": 13, "n": 3, "v": 4, "i0": 5, "i00": 2}, {"T": constant(60.0)},
             algorithms=_SCANS, reference=linear_reference),
        Case("layer", {"i": 7, "m": 6, "h": 2, "n": 3, "v": 4, "r": 2, "o": 6}, algorithms=("layer",),
             reference=layer_reference),
    ),
    shapes=(
        Shape("fla", {"i": 2048, "n": 128, "v": 256, "i0": 64, "i00": 16},
              f"{_LIBRARY}: defaults, hidden 1024, 4 heads, keys half and values as wide, parts of 16; 2048 tokens", 4, _SCANS),
    ),
    published=(
        _passes("recurrent", "i", 1, "a recurrence"),
        _passes("chunked", "i1", 1, "chunks one after another, with the state at hand"),
        _passes("subchunked", "i1", 1, "chunks one after another, with the state at hand"),
    ),
)
