"""Mixture-of-head attention: every token has its own few of the heads, chosen and weighted by a router.

Of the ``h`` heads, the first ``s`` are shared by all tokens and each token keeps the ``j`` best of the other ``r``. The
gate of a head multiplies its output before the last projection. A head that a token does not keep has a gate of 0, and
its query row needs no scores, softmax or values: the algorithms skip it, except for ``dense``, which is the released
code (every head, times its gate). ``dispatch`` makes a list of tokens for each head and gathers their queries.
``routed`` has no shared heads, ``shared`` no routed ones. ``llama`` is the form for a model that is trained already: no
router, but the length of the query (which rotary positions leave as it is), gates of 0 and 1, causal, and ``u`` key
heads that query heads share.

The guard of the renormalisation, max(sum, eps), is left out: the best J of R shares sum to at least J/R. Passes over
the keys are those of softmax attention, 3, or 1 with running statistics, since gates depend on the token alone. Counts
are upper bounds where they depend on the router; (S + J)/(S + R) of them is what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Jin et al., MoH: Multi-Head Attention as Mixture-of-Head Attention, arXiv 2410.11842"
_REPOSITORY = "github.com/SkyworkAI/MoH"

_BEST = """
RM[p]   = max[r] RL[p,r]
RN[p,r] = exp(RL[p,r] - RM[p])
RD[p]   = RN[p,r]
RG[p,r] = RN[p,r] / RD[p]
I[p,j]  = topk[r; j](RG[p,r])
"""
_ROUTED = f"""
RL[p,r] = X[p,d] * Wr[d,r]
{_BEST}
KG[p,j] = RG[p,I[p,j]]
KD[p]   = KG[p,j]
KW[p,j] = J * KG[p,j] / KD[p]
GR[p,I[p,j]] = KW[p,j]
"""
_SHARED = """
SL[p,s] = X[p,d] * Ws[d,s]
SM[p]   = max[s] SL[p,s]
SX[p,s] = exp(SL[p,s] - SM[p])
SS[p]   = SX[p,s]
GS[p,s] = S * SX[p,s] / SS[p]
"""
# The two kinds of heads are weighted against each other: c is 0 for shared heads and 1 for routed ones.
_BOTH = f"""
extent C 2
{_SHARED}{_ROUTED}
CL[p,c]  = X[p,d] * W0[d,c]
CM[p]    = max[c] CL[p,c]
CN[p,c]  = exp(CL[p,c] - CM[p])
CD[p]    = CN[p,c]
CW[p,c]  = 2 * CN[p,c] / CD[p]
GSW[p,s] = CW[p,0] * GS[p,s]
GRW[p,r] = CW[p,1] * GR[p,r]
G[p,h]   = where(h < S, GSW[p,h; fill=0], GRW[p,h - S; fill=0])
"""
_LENGTHS = f"""
SQ[p,r] = Q[S + r,p,e] * Q[S + r,p,e]
NQ[p,r] = sqrt(SQ[p,r])
VQ[p]   = var[r] NQ[p,r]
IQ[p]   = rsqrt(VQ[p] * (R / (R - 1)))
RL[p,r] = NQ[p,r] * IQ[p]
{_BEST}
TJ[p,I[p,j]] = any[j] 1
T[p,r] = TJ[p,r]
G[p,h] = where(h < S, 1, T[p,h - S; fill=0])
"""


def _attention(kept: str = "where G[p,h] > 0", seen: str = "", key_head: str = "h") -> str:
    return f"""
QK[h,p,m] = Q[h,p,e] * K[{key_head},m,e] {kept}{seen}
QS[h,p,m] = QK[h,p,m] * rsqrt(E)
GM[h,p]   = max[m] QS[h,p,m]
SN[h,p,m] = exp(QS[h,p,m] - GM[h,p])
SD[h,p]   = SN[h,p,m]
A[h,p,m]  = SN[h,p,m] / SD[h,p]
AV[h,p,f] = A[h,p,m] * V[{key_head},m,f]
GO[h,p,f] = G[p,h] * AV[h,p,f] {kept}
Y[p,o]    = GO[h,p,f] * Wo[h,f,o]
"""


_ALGORITHMS = {
    "3pass": _BOTH + _attention(),
    "1pass": f"""
init RX[0,h,p]    = -inf
init RS[0,h,p]    = 0
init RNV[f,0,h,p] = 0
{_BOTH}
BQK[m1,m0,h,p]  = Q[h,p,e] * K[h, m1*M0 + m0, e] where G[p,h] > 0
BQS[m1,m0,h,p]  = BQK[m1,m0,h,p] * rsqrt(E)
LM[m1,h,p]      = max[m0] BQS[m1,m0,h,p]
RX[m1+1,h,p]    = max(RX[m1,h,p], LM[m1,h,p])
SLN[m1,m0,h,p]  = exp(BQS[m1,m0,h,p] - RX[m1+1,h,p])
SLD[m1,h,p]     = SLN[m1,m0,h,p]
SLNV[f,m1,h,p]  = SLN[m1,m0,h,p] * V[h, m1*M0 + m0, f]
PRM[m1,h,p]     = exp(RX[m1,h,p] - RX[m1+1,h,p])
SPD[m1,h,p]     = RS[m1,h,p] * PRM[m1,h,p]
RS[m1+1,h,p]    = SLD[m1,h,p] + SPD[m1,h,p]
SPNV[f,m1,h,p]  = RNV[f,m1,h,p] * PRM[m1,h,p]
RNV[f,m1+1,h,p] = SLNV[f,m1,h,p] + SPNV[f,m1,h,p]
AV[h,p,f]       = RNV[f,M1,h,p] / RS[M1,h,p]
GO[h,p,f]       = G[p,h] * AV[h,p,f] where G[p,h] > 0
Y[p,o]          = GO[h,p,f] * Wo[h,f,o]
""",
    "dense": _BOTH + _attention(kept=""),
    # q counts the tokens of a head, of which there are p at most. Reading Y through YS says how long it is.
    "dispatch": f"""
{_BOTH}
IP[h,q]   = threshold[p; q](G[p,h])
QD[h,q,e] = Q[h,IP[h,q],e]
QK[h,q,m] = QD[h,q,e] * K[h,m,e]
QS[h,q,m] = QK[h,q,m] * rsqrt(E)
GM[h,q]   = max[m] QS[h,q,m]
SN[h,q,m] = exp(QS[h,q,m] - GM[h,q])
SD[h,q]   = SN[h,q,m]
A[h,q,m]  = SN[h,q,m] / SD[h,q]
AV[h,q,f] = A[h,q,m] * V[h,m,f]
GO[h,q,f] = G[IP[h,q],h] * AV[h,q,f]
YQ[h,q,o] = GO[h,q,f] * Wo[h,f,o]
YS[IP[h,q],o] = YQ[h,q,o]
Y[p,o]    = YS[p,o]
""",
    "routed": f"{_ROUTED}G[p,h] = GR[p,h]\n{_attention()}",
    "shared": f"{_SHARED}G[p,h] = GS[p,h]\n{_attention()}",
    "llama": _LENGTHS + _attention(seen=" and m <= p", key_head="h*U//H"),
}
_TWO_KINDS = ("3pass", "1pass", "dense", "dispatch")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[p,o]: dense multi-head attention, each head's output times its gate, projected."""
    import numpy as np
    queries, keys, values = inputs["Q"], inputs["K"], inputs["V"]
    each = len(queries) // len(keys)
    scores = np.einsum("hpe,hme->hpm", queries, np.repeat(keys, each, axis=0)) / np.sqrt(queries.shape[2])
    seen = np.ones(scores.shape[1:], dtype=bool)
    if "X" not in inputs:
        seen = np.tril(seen)
    total = np.logaddexp.reduce(np.where(seen, scores, -np.inf), axis=2, keepdims=True)
    heads = np.exp(np.where(seen, scores - total, -np.inf)) @ np.repeat(values, each, axis=0)
    return {"Y": np.einsum("ph,hpf,hfo->po", gates(inputs, extents), heads, inputs["Wo"])}


def gates(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> Array:
    """Returns the gate of every token and head, [p,h], shared heads first."""
    import numpy as np
    if "X" not in inputs:
        lengths = np.linalg.norm(inputs["Q"][extents["s"]:], axis=2).T
        routed = _kept(_softmax(lengths / lengths.std(axis=1, ddof=1, keepdims=True)), extents["j"]) > 0
        return np.concatenate((np.ones((len(routed), extents["s"])), routed), axis=1)
    x, found = inputs["X"], []
    if "Ws" in inputs:
        share = _softmax(x @ inputs["Ws"])
        found.append(share.shape[1] * share)
    if "Wr" in inputs:
        kept = _kept(_softmax(x @ inputs["Wr"]), extents["j"])
        found.append(extents["j"] * kept / kept.sum(axis=1, keepdims=True))
    kinds = 2 * _softmax(x @ inputs["W0"]) if len(found) == 2 else np.ones((len(x), 1))
    return np.concatenate([kinds[:, [kind]] * gate for kind, gate in enumerate(found)], axis=1)


def attention_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what gates of 1 give: multi-head attention, causal and with shared keys where ``llama`` is."""
    import numpy as np
    queries, keys, values = inputs["Q"], inputs["K"], inputs["V"]
    out = np.zeros((queries.shape[1], inputs["Wo"].shape[2]))
    for head, query in enumerate(queries):
        own = head * len(keys) // len(queries)
        for p in range(len(query)):
            seen = slice(None) if "X" in inputs else slice(p + 1)
            weights = _softmax(keys[own, seen] @ query[p][:, None] / np.sqrt(queries.shape[2]), axis=0)[:, 0]
            out[p] += weights @ values[own, seen] @ inputs["Wo"][head]
    return {"Y": out}


def _softmax(logits: Array, axis: int = 1) -> Array:
    import numpy as np
    weights: Array = np.exp(logits - np.logaddexp.reduce(logits, axis=axis, keepdims=True))
    return weights


def _kept(shares: Array, count: int) -> Array:
    """The largest shares of each row; the others are 0."""
    import numpy as np
    order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
    kept = np.zeros_like(shares)
    np.put_along_axis(kept, order, np.take_along_axis(shares, order, axis=1), axis=1)
    return kept


_SIZES = {"d": 5, "e": 4, "f": 3, "o": 6}
_UNIFORM = {"Wr": constant(0.0), "Ws": constant(0.0), "W0": constant(0.0)}
_CASES = (
    Case("random", {**_SIZES, "h": 6, "s": 2, "r": 4, "j": 2, "p": 10, "q": 10, "m": 14, "m0": 4},
         algorithms=_TWO_KINDS),
    Case("one routed head kept", {**_SIZES, "h": 5, "s": 1, "r": 4, "j": 1, "p": 7, "q": 7, "m": 9, "m0": 4},
         algorithms=_TWO_KINDS),
    Case("all routed heads kept", {**_SIZES, "h": 5, "s": 2, "r": 3, "j": 3, "p": 7, "q": 7, "m": 9, "m0": 4},
         algorithms=_TWO_KINDS),
    Case("logits of 80 and -80", {**_SIZES, "h": 4, "s": 2, "r": 2, "j": 1, "p": 12, "q": 12, "m": 24, "m0": 5},
         {"Q": signs(160 / 4), "K": signs()}, algorithms=_TWO_KINDS),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    Case("logits beyond the range of exp",
         {**_SIZES, "h": 7, "s": 3, "r": 4, "j": 2, "p": 7, "q": 7, "m": 9, "m0": 4},
         {"Q": normal(2e3), "X": normal(1e3), "W0": normal(1e-3)}, algorithms=_TWO_KINDS, tolerance=1e-10),
    Case("a router far from balance between the kinds",
         {**_SIZES, "h": 7, "s": 3, "r": 4, "j": 2, "p": 7, "q": 7, "m": 9, "m0": 4}, {"W0": normal(1e3)},
         algorithms=_TWO_KINDS, tolerance=1e-10),
    Case("a uniform router that keeps all is attention",
         {**_SIZES, "h": 5, "s": 2, "r": 3, "j": 3, "p": 7, "q": 7, "m": 9, "m0": 4}, _UNIFORM, algorithms=_TWO_KINDS,
         reference=attention_reference),
    Case("equal shares keep the first heads",
         {**_SIZES, "h": 5, "s": 2, "r": 3, "j": 2, "p": 4, "q": 4, "m": 9, "m0": 4}, _UNIFORM, algorithms=_TWO_KINDS),
    Case("no shared heads", {**_SIZES, "h": 4, "r": 4, "j": 2, "p": 7, "m": 9}, algorithms=("routed",)),
    Case("no shared heads, a uniform router that keeps all is attention",
         {**_SIZES, "h": 4, "r": 4, "j": 4, "p": 7, "m": 9}, {"Wr": constant(0.0)}, algorithms=("routed",),
         reference=attention_reference),
    Case("no shared heads, logits beyond the range of exp", {**_SIZES, "h": 4, "r": 4, "j": 2, "p": 7, "m": 9},
         {"Q": normal(2e3), "X": normal(1e3)}, algorithms=("routed",), tolerance=1e-10),
    Case("no routed heads", {**_SIZES, "h": 4, "s": 4, "p": 7, "m": 9}, algorithms=("shared",)),
    Case("no routed heads, logits beyond the range of exp", {**_SIZES, "h": 4, "s": 4, "p": 7, "m": 9},
         {"Q": normal(2e3), "X": normal(1e3)}, algorithms=("shared",), tolerance=1e-10),
    Case("one head is attention", {**_SIZES, "h": 1, "s": 1, "p": 7, "m": 9}, algorithms=("shared",),
         reference=attention_reference),
    Case("trained model", {"e": 4, "f": 3, "o": 6, "h": 8, "u": 2, "s": 4, "r": 4, "j": 2, "p": 9, "m": 9},
         algorithms=("llama",)),
    Case("trained model, logits beyond the range of exp",
         {"e": 4, "f": 3, "o": 6, "h": 8, "u": 2, "s": 4, "r": 4, "j": 2, "p": 9, "m": 9}, {"Q": normal(2e3)},
         algorithms=("llama",), tolerance=1e-10),
    Case("trained model that keeps all is attention",
         {"e": 4, "f": 3, "o": 6, "h": 6, "u": 3, "s": 2, "r": 4, "j": 4, "p": 9, "m": 9}, algorithms=("llama",),
         reference=attention_reference),
)

_DIT_SIZES = {"p": 256, "m": 256, "e": 72, "f": 72, "d": 1152, "o": 1152}
# Layers, shared heads, routed heads, routed heads that a token keeps.
_DIT = ((9, 8, 0, 0), (10, 16, 0, 0), (9, 16, 8, 3))
_VIT = ((5, 2, 2, 2), (5, 2, 6, 4), (23, 2, 14, 6), (5, 4, 28, 8))
_LLAMA = ((32, 16, 16, 8),)


def kept_share(layers: tuple[tuple[int, int, int, int], ...]) -> float:
    """Returns the percentage of a model's heads that a token uses: each layer counts its heads, used over all."""
    used = sum(count * (shared + kept) for count, shared, _, kept in layers)
    return 100 * used / sum(count * (shared + routed) for count, shared, routed, _ in layers)


def _share(model: str, value: float, layers: tuple[tuple[int, int, int, int], ...]) -> Published:
    return Published(f"heads that {model} uses", value, "%", f"configurations of {_REPOSITORY}; {_PAPER}", "read",
                     lambda: kept_share(layers))


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", f"{_PAPER}: softmax attention, gated",
                     "calculated", lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="moh",
    title="Mixture-of-head attention",
    system="MoH: Mixture-of-Head attention",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    input_shapes={
        # dispatch reads Q by gathers alone, llama K and V by the head that a query's head shares.
        "Q": lambda extents: (extents["h"], extents["p"], extents["e"]),
        "K": lambda extents: (extents.get("u", extents["h"]), extents["m"], extents["e"]),
        "V": lambda extents: (extents.get("u", extents["h"]), extents["m"], extents["f"]),
    },
    shapes=(
        Shape("dit-xl-routed", {**_DIT_SIZES, "h": 24, "s": 16, "r": 8, "j": 3, "q": 256},
              f"{_REPOSITORY}, MoH-DiT/models.py: layers 19-27; the number of tokens is recalled",
              algorithms=_TWO_KINDS),
        *(Shape(f"dit-xl-shared-{heads}", {**_DIT_SIZES, "h": heads, "s": heads},
                f"{_REPOSITORY}, MoH-DiT/models.py: layers {layers}; the number of tokens is recalled",
                algorithms=("shared",)) for heads, layers in ((8, "0-8"), (16, "9-18"))),
        Shape("llama3-8b", {"p": 8192, "m": 8192, "h": 32, "u": 8, "s": 16, "r": 16, "j": 8, "e": 128, "f": 128,
                            "o": 4096},
              f"{_REPOSITORY}, MoH-LLaMA3/Inference_code/modeling_llama.py; the context is recalled",
              algorithms=("llama",)),
    ),
    published=(
        _passes("3pass", 3), _passes("1pass", 1),
        _share("MoH-LLaMA3-8B", 75.0, _LLAMA), _share("MoH-DiT-XL/2-90", 90.0, _DIT),
        _share("MoH-ViT-B-50", 50.0, _VIT),
        Published("average of 14 benchmarks of MoH-LLaMA3-8B", 64.0, "%", f"abstract of {_PAPER}", "abstract"),
        Published("top-1 of MoH-ViT-B with 75 % of the heads", 84.9, "%", f"{_PAPER}, as quoted elsewhere",
                  "secondary"),
        Published("FID of MoH-DiT-XL/2-90", 2.94, "FID", f"{_PAPER}, as quoted elsewhere", "secondary"),
    ),
)
