"""Retention (RetNet): causal linear attention whose weights decay with the distance, by a constant of each head.

Of head h, O[i] = Q[i] (sum over k <= i of gamma^(i-k) K[k] V[k]'), scaled by 1/sqrt(N), gamma = 1 - 2^(-5-h).
``parallel`` computes the weight of every pair of tokens, ``recurrent`` carries the sum from token to token, and
``chunked`` from chunk to chunk of ``i0`` tokens. The last two start from a state S0 and give the last one, SL; a last
chunk that is not full decays by the tokens that it has. ``layer`` is what stands around it, in the recurrent form: each
head is normed over its values (group norm without parameters of its own), gated by silu(G), and projected.

Rotation of queries and keys is applied before. Powers of a decay are exponentials of its logarithm times distances of 0
or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Sun et al., Retentive Network: A Successor to Transformer for Large Language Models, arXiv 2307.08621, " \
         "equations 5 to 8"
_LIBRARY = "github.com/fla-org/flash-linear-attention, fla/layers/multiscale_retention.py"

_DECAY = "LG[h] = log1p(-exp2(-5 - h))\n"
_RECURRENCE = """
GA[h]        = 1 - exp2(-5 - h)
KV[i,h,n,v]  = K[i,h,n] * V[i,h,v]
S[i+1,h,n,v] = GA[h] * S[i,h,n,v] + KV[i,h,n,v]
QS[i,h,v]    = Q[i,h,n] * S[i+1,h,n,v]
"""

_ALGORITHMS = {
    "recurrent": f"""
init S[0,h,n,v] = S0[h,n,v]
{_RECURRENCE}
O[i,h,v]  = QS[i,h,v] * rsqrt(N)
SL[h,n,v] = S[I,h,n,v]
""",
    # TN is how many tokens a chunk has: the last one may have fewer than I0.
    "chunked": f"""
init S[0,h,n,v] = S0[h,n,v]
{_DECAY}
BK[i1,i0,h,n]  = K[i1*I0 + i0, h, n]
BV[i1,i0,h,v]  = V[i1*I0 + i0, h, v]
TN[i1]         = min(I0, I - i1*I0)
QK[i1,i0,k0,h] = Q[i1*I0 + i0, h, n] * BK[i1,k0,h,n] where k0 <= i0
D[i0,k0,h]     = exp((i0 - k0) * LG[h]) where k0 <= i0
W[i1,i0,k0,h]  = QK[i1,i0,k0,h] * D[i0,k0,h]
OI[i1,i0,h,v]  = W[i1,i0,k0,h] * BV[i1,k0,h,v]
DE[i1,i0,h]    = exp((TN[i1] - 1 - i0) * LG[h]) where i1*I0 + i0 < I
EV[i1,i0,h,v]  = BV[i1,i0,h,v] * DE[i1,i0,h]
SC[i1,h,n,v]   = BK[i1,i0,h,n] * EV[i1,i0,h,v]
DC[i1,h]       = exp(TN[i1] * LG[h])
S[i1+1,h,n,v]  = DC[i1,h] * S[i1,h,n,v] + SC[i1,h,n,v]
QS[i1,i0,h,v]  = Q[i1*I0 + i0, h, n] * S[i1,h,n,v]
DS[i0,h]       = exp((i0 + 1) * LG[h])
OC[i1,i0,h,v]  = QS[i1,i0,h,v] * DS[i0,h]
OT[i1,i0,h,v]  = OI[i1,i0,h,v] + OC[i1,i0,h,v]
O[i,h,v]       = OT[i // I0, i % I0, h, v] * rsqrt(N)
SL[h,n,v]      = S[I1,h,n,v]
""",
    "parallel": f"""{_DECAY}
QK[i,k,h] = Q[i,h,n] * K[k,h,n] where k <= i
D[i,k,h]  = exp((i - k) * LG[h]) where k <= i
W[i,k,h]  = QK[i,k,h] * D[i,k,h]
WV[i,h,v] = W[i,k,h] * V[k,h,v]
O[i,h,v]  = WV[i,h,v] * rsqrt(N)
""",
    "layer": f"""
init S[0,h,n,v] = 0
Q[i,h,n] = X[i,m] * Wq[h,n,m]
K[i,h,n] = X[i,m] * Wk[h,n,m]
V[i,h,v] = X[i,m] * Wv[h,v,m]
G[i,h,v] = X[i,m] * Wg[h,v,m]
{_RECURRENCE}
R[i,h,v]  = QS[i,h,v] * rsqrt(N)
MU[i,h]   = mean[v] R[i,h,v]
VA[i,h]   = var[v] R[i,h,v]
RN[i,h,v] = (R[i,h,v] - MU[i,h]) * rsqrt(VA[i,h] + 1e-5)
GN[i,h,v] = RN[i,h,v] * silu(G[i,h,v])
Y[i,o]    = GN[i,h,v] * Wo[o,h,v]
""",
}
_STATES = ("recurrent", "chunked")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,h,v], the weighted sum over the earlier tokens, and the last state where there is a first one."""
    import numpy as np
    return _retention(inputs, 1 - 2.0**(-5 - np.arange(inputs["Q"].shape[1])))


def last_head_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what the last head of many gives over a few tokens: linear attention, as its decay is nearly 1."""
    import numpy as np
    return {**reference(inputs, extents), "O": _retention(inputs, np.ones(inputs["Q"].shape[1]))["O"]}


def last_head(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws Q[i,h,n] that asks the last head alone: the 41st decays by 1 - 2^-45."""
    drawn = rng.normal(size=shape)
    drawn[:, :-1] = 0
    return drawn


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,o] of the layer: projections, retention, norm of each head, gate, projection."""
    import numpy as np
    q, k, v, g = (np.einsum("im,hdm->ihd", inputs["X"], inputs[w]) for w in ("Wq", "Wk", "Wv", "Wg"))
    out = reference({"Q": q, "K": k, "V": v}, extents)["O"]
    normed = (out - out.mean(axis=2, keepdims=True)) / np.sqrt(out.var(axis=2, keepdims=True) + 1e-5)
    return {"Y": np.einsum("ihv,ohv->io", normed * g / (1 + np.exp(-g)), inputs["Wo"])}


def _retention(inputs: Mapping[str, Array], gamma: Array) -> dict[str, Array]:
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    tokens = np.arange(len(q))
    weights = np.einsum("ihn,khn->hik", q, k) * np.tri(len(q))
    weights *= gamma[:, None, None] ** np.maximum(np.subtract.outer(tokens, tokens), 0)
    out = np.einsum("hik,khv->ihv", weights, v)
    if "S0" not in inputs:
        return {"O": out / np.sqrt(q.shape[2])}
    out += np.einsum("hi,ihn,hnv->ihv", gamma[:, None] ** (tokens + 1), q, inputs["S0"])
    last = np.einsum("hk,khn,khv->hnv", gamma[:, None] ** tokens[::-1], k, v)
    return {"O": out / np.sqrt(q.shape[2]), "SL": last + gamma[:, None, None] ** len(q) * inputs["S0"]}


def _passes(algorithm: str, rank: str, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", 1, "passes", note, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="retnet",
    title="Retention of RetNet",
    system="Dynamical Systems Framework (DSF)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("after a state", {"i": 24, "h": 3, "n": 4, "v": 5, "i0": 8}, algorithms=_STATES),
        Case("odd extents, ragged last chunk", {"i": 23, "h": 2, "n": 3, "v": 2, "i0": 5}, algorithms=_STATES),
        Case("chunks of one token", {"i": 7, "h": 2, "n": 3, "v": 2, "i0": 1}, algorithms=_STATES),
        Case("one chunk longer than the tokens", {"i": 7, "h": 2, "n": 3, "v": 2, "i0": 9}, algorithms=_STATES),
        Case("one token", {"i": 1, "h": 2, "n": 3, "v": 2, "i0": 4}, algorithms=_STATES),
        Case("no state before", {"i": 11, "h": 2, "n": 3, "v": 2, "i0": 4}, {"S0": constant(0.0)}, algorithms=_STATES),
        # Head 40 decays by 1 - 2^-45, of which 9 powers are 1 within 1e-12.
        Case("a head that hardly decays is linear attention", {"i": 9, "h": 41, "n": 2, "v": 1, "i0": 4},
             {"Q": last_head}, algorithms=_STATES, reference=last_head_reference),
        Case("all pairs", {"i": 13, "k": 13, "h": 3, "n": 4, "v": 5}, algorithms=("parallel",)),
        Case("layer", {"i": 9, "m": 6, "h": 3, "n": 2, "v": 4, "o": 6}, {"X": normal(2.0)}, algorithms=("layer",),
             reference=layer_reference),
    ),
    shapes=(
        Shape("fla", {"i": 2048, "k": 2048, "h": 8, "n": 128, "v": 256, "i0": 64},
              f"{_LIBRARY}: defaults, hidden 1024, 8 heads, keys as wide, values twice as wide; 2048 tokens", 1,
              ("recurrent", "chunked", "parallel")),
    ),
    published=(
        _passes("recurrent", "i", "a recurrence"), _passes("chunked", "i1", "chunks one after another, with the state at hand"),
        _passes("parallel", "k", "no statistic of a row"),
    ),
)

