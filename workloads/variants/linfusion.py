"""LinFusion: linear attention of all to all with means in place of sums, and queries and keys through a small network.

O = phi(Q) mean(phi(K) V) / (phi(Q) mean(phi(K)) + 1e-4), phi = elu + 1, of one head. ``core`` is that; ``scaled`` puts
1/sqrt(M) on keys and values each, as the code does to stay in the range of fp16; ``quadratic`` has the weight of every
pair. ``layer`` is the whole, of all heads: queries are Wq (X + network(X)), keys likewise with a network of their own,
a network being Linear, layer norm, leaky ReLU (slope 0.01) and Linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Liu et al., LinFusion: 1 GPU, 1 Minute, 16K Image, arXiv 2409.02097"
_REPOSITORY = "github.com/Huage001/LinFusion, src/linfusion/attention.py"
_TRITON = "github.com/hp-l33/flash-bidirectional-linear-attention, README: A800, batch 8, 16 heads of 64"

_PHI = "PQ[p,e] = elu(Q[p,e]) + 1\nPK[m,e] = elu(K[m,e]) + 1\n"


def _network(query: str) -> str:
    """Lines that give the network's X + output, named X plus the letter of what it is for."""
    n = query
    return f"""
L{n}[t,u] = X[t,d] * W{n}1[u,d]
B{n}[t,u] = L{n}[t,u] + B{n}1[u]
M{n}[t]   = mean[u] B{n}[t,u]
R{n}[t]   = var[u] B{n}[t,u]
N{n}[t,u] = (B{n}[t,u] - M{n}[t]) * rsqrt(R{n}[t] + 1e-5) * G{n}[u] + S{n}[u]
A{n}[t,u] = leaky_relu(N{n}[t,u], 0.01)
O{n}[t,d] = A{n}[t,u] * W{n}2[d,u]
X{n}[t,d] = X[t,d] + O{n}[t,d] + B{n}2[d]
"""


_ALGORITHMS = {
    "core": f"""{_PHI}
KV[e,f] = mean[m] PK[m,e] * V[m,f]
KS[e]   = mean[m] PK[m,e]
N[p,f]  = PQ[p,e] * KV[e,f]
Z[p]    = PQ[p,e] * KS[e]
O[p,f]  = N[p,f] / (Z[p] + 1e-4)
""",
    "scaled": f"""{_PHI}
SK[m,e] = PK[m,e] * rsqrt(M)
SV[m,f] = V[m,f] * rsqrt(M)
KV[e,f] = SK[m,e] * SV[m,f]
KS[e]   = SK[m,e] * rsqrt(M)
N[p,f]  = PQ[p,e] * KV[e,f]
Z[p]    = PQ[p,e] * KS[e]
O[p,f]  = N[p,f] / (Z[p] + 1e-4)
""",
    "quadratic": f"""{_PHI}
W[p,m]  = PQ[p,e] * PK[m,e]
N[p,f]  = W[p,m] * V[m,f]
Z[p]    = W[p,m]
O[p,f]  = N[p,f] / (Z[p] + 1e-4 * M)
""",
    "layer": f"""{_network("q")}{_network("k")}
Q[t,h,e]  = Xq[t,d] * Wq[h,e,d]
K[t,h,e]  = Xk[t,d] * Wk[h,e,d]
V[t,h,f]  = X[t,d] * Wv[h,f,d]
PQ[t,h,e] = elu(Q[t,h,e]) + 1
PK[t,h,e] = elu(K[t,h,e]) + 1
KV[h,e,f] = mean[t] PK[t,h,e] * V[t,h,f]
KS[h,e]   = mean[t] PK[t,h,e]
NN[t,h,f] = PQ[t,h,e] * KV[h,e,f]
Z[t,h]    = PQ[t,h,e] * KS[h,e]
OH[t,h,f] = NN[t,h,f] / (Z[t,h] + 1e-4)
Y[t,c]    = OH[t,h,f] * Wo[c,h,f]
""",
}
_CORE = ("core", "scaled", "quadratic")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: sums over all keys, with 1e-4 for each key in the denominator."""
    weights = _phi(inputs["Q"]) @ _phi(inputs["K"]).T
    return {"O": weights @ inputs["V"] / (weights.sum(axis=1, keepdims=True) + 1e-4 * weights.shape[1])}


def one_key_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one key gives: its value, less what 1e-4 is beside its weight."""
    weight = _phi(inputs["Q"]) @ _phi(inputs["K"])[0]
    return {"O": (weight / (weight + 1e-4))[:, None] * inputs["V"]}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,c] of the layer, head by head."""
    import numpy as np
    t = dict(inputs)

    def through(n: str) -> Array:
        hidden = t["X"] @ t[f"W{n}1"].T + t[f"B{n}1"]
        normed = (hidden - hidden.mean(axis=1, keepdims=True)) / np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
        normed = normed * t[f"G{n}"] + t[f"S{n}"]
        out: Array = t["X"] + np.where(normed > 0, normed, 0.01 * normed) @ t[f"W{n}2"].T + t[f"B{n}2"]
        return out
    queries, keys = through("q"), through("k")
    heads = [reference({"Q": queries @ t["Wq"][h].T, "K": keys @ t["Wk"][h].T, "V": t["X"] @ t["Wv"][h].T}, extents)["O"]
             @ t["Wo"][:, h].T for h in range(extents["h"])]
    return {"Y": np.sum(heads, axis=0)}


def _phi(x: Array) -> Array:
    """elu + 1: x + 1 above 0, exp below."""
    import numpy as np
    out: Array = np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
    return out


def _passes(algorithm: str, rank: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", 1, "passes", "means of all keys, then the queries", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


def _time(tokens: int, torch_ms: float, triton_ms: float) -> tuple[Published, Published]:
    return (Published(f"forward of {tokens} tokens in PyTorch", torch_ms, "ms", _TRITON, "read"),
            Published(f"forward of {tokens} tokens in Triton", triton_ms, "ms", _TRITON, "read"))


VARIANT = Variant(
    id="linfusion",
    title="Normalised linear attention of LinFusion",
    system="LinFusion",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"p": 9, "m": 14, "e": 4, "f": 5}, algorithms=_CORE),
        Case("one key", {"p": 5, "m": 1, "e": 3, "f": 4}, algorithms=_CORE, reference=one_key_reference),
        Case("queries beyond the range of exp", {"p": 5, "m": 9, "e": 4, "f": 3}, {"Q": normal(1e3)}, algorithms=_CORE),
        Case("keys beyond the range of exp", {"p": 5, "m": 9, "e": 4, "f": 3}, {"K": normal(1e3)}, algorithms=_CORE),
        Case("values of 1", {"p": 5, "m": 9, "e": 4, "f": 3}, {"V": constant(1.0)}, algorithms=_CORE),
        Case("layer", {"t": 7, "d": 6, "u": 5, "h": 2, "e": 3, "f": 4, "c": 6}, algorithms=("layer",),
             reference=layer_reference),
    ),
    shapes=tuple(Shape(f"benchmark-{n}", {"p": n, "m": n, "e": 64, "f": 64}, _TRITON, 128, _CORE) for n in (4096, 8192, 16384)),
    published=(
        _passes("core", "m"), _passes("core", "p"),
        *_time(4096, 0.532, 0.276), *_time(8192, 1.006, 0.521), *_time(16384, 1.925, 0.981),
    ),
)
