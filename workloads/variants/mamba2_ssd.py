"""State space duality of Mamba-2: a scan with one decay for each head, so that chunks of it are matrix products.

Of each head h, H[i+1] = exp(DT[i] A) H[i] + DT[i] X[i] B[i]' and Y[i] = H[i+1] C[i] + D X[i]; a group of H/G heads
shares B and C. As the decay depends neither on p nor on n, the weight of token k for token i is C[i].B[k] exp(sum of
what lies between): attention without softmax under a decaying mask. ``quadratic`` computes that for all pairs of
tokens, ``sequential`` the recurrence, and ``chunked`` the one inside chunks of ``i0`` tokens and the other across them.
Decays are kept as logarithms, and only differences that are 0 or less are exponentiated. The two with a state start
from H0 (0 before the first token) and give the last one, HL. ``block`` is the layer after its norm: projections (the
five slices of one), causal convolution, steps within bounds, scan, and the norm of each group of heads, after the gate.

The usual 6NP operations of the recurrence per token and head have the step in each product; here DT X is computed once,
which leaves 5NP + P. Of a chunk's pairs only those with k0 <= i0 count, (Q + 1)/2 per token. The usual 2 passes over
the tokens are those of kernels that finish one phase before the next: exactly counted, a chunk's tokens are visited
twice (i0), but no chunk waits for a later one, and one sweep over the chunks does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, uniform
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Dao and Gu, Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State " \
         "Space Duality, ICML 2024, arXiv 2405.21060"
_REPOSITORY = "github.com/state-spaces/mamba, mamba_ssm/modules/mamba2.py"

_STEPS = """
LA[h]     = -exp(Alog[h])
DA[i,h]   = DT[i,h] * LA[h]
DX[i,h,p] = DT[i,h] * X[i,h,p]
"""
_SEQUENTIAL = f"""{_STEPS}
AB[i,h]      = exp(DA[i,h])
H[i+1,h,p,n] = AB[i,h] * H[i,h,p,n] + DX[i,h,p] * B[i,h*G//H,n]
YS[i,h,p]    = H[i+1,h,p,n] * C[i,h*G//H,n]
Y[i,h,p]     = YS[i,h,p] + D[h] * X[i,h,p]
"""

_ALGORITHMS = {
    "sequential": f"""
init H[0,h,p,n] = H0[h,p,n]
DT[i,h] = softplus(T[i,h] + Bdt[h])
{_SEQUENTIAL}
HL[h,p,n] = H[I,h,p,n]
""",
    "chunked": """
init HC[0,h,p,n] = H0[h,p,n]
DT[i1,i0,h]    = softplus(T[i1*I0 + i0, h] + Bdt[h])
LA[h]          = -exp(Alog[h])
DA[i1,i0,h]    = DT[i1,i0,h] * LA[h]
DX[i1,i0,h,p]  = DT[i1,i0,h] * X[i1*I0 + i0, h, p]
SA[i1,i0,h]    = sum[k0] DA[i1,k0,h] where k0 <= i0
TA[i1,h]       = DA[i1,i0,h]
CB[i1,i0,k0,g] = C[i1*I0 + i0, g, n] * B[i1*K0 + k0, g, n]
LM[i1,i0,k0,h] = exp(SA[i1,i0,h] - SA[i1,k0,h]) where k0 <= i0
W[i1,i0,k0,h]  = CB[i1,i0,k0,h*G//H] * LM[i1,i0,k0,h]
YD[i1,i0,h,p]  = W[i1,i0,k0,h] * DX[i1,k0,h,p]
LE[i1,i0,h]    = exp(TA[i1,h] - SA[i1,i0,h])
EX[i1,i0,h,p]  = DX[i1,i0,h,p] * LE[i1,i0,h]
ST[i1,h,p,n]   = EX[i1,i0,h,p] * B[i1*I0 + i0, h*G//H, n]
EC[i1,h]       = exp(TA[i1,h])
HC[i1+1,h,p,n] = EC[i1,h] * HC[i1,h,p,n] + ST[i1,h,p,n]
CH[i1,i0,h,p]  = C[i1*I0 + i0, h*G//H, n] * HC[i1,h,p,n]
ES[i1,i0,h]    = exp(SA[i1,i0,h])
YO[i1,i0,h,p]  = CH[i1,i0,h,p] * ES[i1,i0,h]
YT[i1,i0,h,p]  = YD[i1,i0,h,p] + YO[i1,i0,h,p]
Y[i,h,p]       = YT[i // I0, i % I0, h, p] + D[h] * X[i,h,p]
HL[h,p,n]      = HC[I1,h,p,n]
""",
    "quadratic": f"""
DT[i,h] = softplus(T[i,h] + Bdt[h])
{_STEPS}
SA[i,h]   = sum[k] DA[k,h] where k <= i
CB[i,k,g] = C[i,g,n] * B[k,g,n]
LM[i,k,h] = exp(SA[i,h] - SA[k,h]) where k <= i
W[i,k,h]  = CB[i,k,h*G//H] * LM[i,k,h]
YD[i,h,p] = W[i,k,h] * DX[k,h,p]
Y[i,h,p]  = YD[i,h,p] + D[h] * X[i,h,p]
""",
    "block": f"""
init H[0,h,p,n] = 0
Z[i,h,p]  = U[i,m] * Wz[h,p,m]
X0[i,h,p] = U[i,m] * Wx[h,p,m]
B0[i,g,n] = U[i,m] * Wb[g,n,m]
C0[i,g,n] = U[i,m] * Wc[g,n,m]
T[i,h]    = U[i,m] * Wt[h,m]
XC[i,h,p] = X0[i - W + 1 + w, h, p] * Kx[h,p,w]
BC[i,g,n] = B0[i - W + 1 + w, g, n] * Kb[g,n,w]
CC[i,g,n] = C0[i - W + 1 + w, g, n] * Kc[g,n,w]
X[i,h,p]  = silu(XC[i,h,p] + Bx[h,p])
B[i,g,n]  = silu(BC[i,g,n] + Bb[g,n])
C[i,g,n]  = silu(CC[i,g,n] + Bc[g,n])
DT[i,h]   = clamp(softplus(T[i,h] + Bdt[h]), Low[], High[])
{_SEQUENTIAL}
YZ[i,h,p] = Y[i,h,p] * silu(Z[i,h,p])
MS[i,g]   = sum[h,p] YZ[i,h,p] * YZ[i,h,p] where h*G//H == g
RN[i,g]   = rsqrt(MS[i,g] / (H*P/G) + 1e-5)
YN[i,h,p] = YZ[i,h,p] * RN[i,h*G//H] * Wn[h,p]
O[i,m]    = YN[i,h,p] * Wout[m,h,p]
""",
}
WEIGHTS = ("Wz", "Wx", "Wb", "Wc", "Wt", "Kx", "Kb", "Kc", "Bx", "Bb", "Bc", "Bdt", "Alog", "D", "Wn", "Wout")
"""The inputs of ``block`` that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,h,p], and the last state HL[h,p,n] where there is a first one: the recurrence, token by token."""
    import numpy as np
    return _scan(inputs, np.logaddexp(0.0, inputs["T"] + inputs["Bdt"]))


def linear_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what decays of 1 make of it: causal linear attention with queries C, keys B and values step * X."""
    import numpy as np
    return _retention(inputs, np.logaddexp(0.0, inputs["T"] + inputs["Bdt"]), np.ones(len(inputs["D"])))


def retention_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what steps of 1 make of it: the retention of RetNet, whose decay is one constant for each head."""
    import numpy as np
    return _retention(inputs, np.ones_like(inputs["T"]), np.exp(-np.exp(inputs["Alog"])))


def block_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,m] of a whole layer, from its normed input U[i,m]."""
    import numpy as np
    t, heads, groups = dict(inputs), extents["h"], extents["g"]

    def convolved(x: Array, kernel: Array, bias: Array) -> Array:
        taps = kernel.shape[-1]
        padded = np.concatenate((np.zeros((taps - 1, *x.shape[1:])), x))
        sums: Array = sum(padded[tap:tap + len(x)] * kernel[..., tap] for tap in range(taps)) + bias
        out: Array = sums / (1 + np.exp(-sums))
        return out

    def projected(weight: Array) -> Array:
        out: Array = np.tensordot(t["U"], weight, (1, weight.ndim - 1))
        return out
    step = np.clip(np.logaddexp(0.0, projected(t["Wt"]) + t["Bdt"]), t["Low"], t["High"])
    y = _scan({"X": convolved(projected(t["Wx"]), t["Kx"], t["Bx"]),
               "B": convolved(projected(t["Wb"]), t["Kb"], t["Bb"]),
               "C": convolved(projected(t["Wc"]), t["Kc"], t["Bc"]), "Alog": t["Alog"], "D": t["D"]}, step)["Y"]
    z = projected(t["Wz"])
    gated = (y * z / (1 + np.exp(-z))).reshape(len(z), groups, -1)
    normed = gated / np.sqrt(np.mean(gated**2, axis=2, keepdims=True) + 1e-5)
    return {"O": np.einsum("ihp,hp,mhp->im", normed.reshape(len(z), heads, -1), t["Wn"], t["Wout"])}


def _scan(inputs: Mapping[str, Array], step: Array) -> dict[str, Array]:
    import numpy as np
    x = inputs["X"]
    b, c = _by_head(inputs["B"], x.shape[1]), _by_head(inputs["C"], x.shape[1])
    state = np.array(inputs.get("H0", np.zeros((*x.shape[1:], b.shape[2]))), dtype=np.float64)
    decay = np.exp(-step * np.exp(inputs["Alog"]))
    y = np.empty_like(x)
    for i in range(len(x)):
        state = decay[i][:, None, None] * state + np.einsum("h,hp,hn->hpn", step[i], x[i], b[i])
        y[i] = np.einsum("hpn,hn->hp", state, c[i]) + inputs["D"][:, None] * x[i]
    return {"Y": y, "HL": state} if "H0" in inputs else {"Y": y}


def _retention(inputs: Mapping[str, Array], step: Array, decay: Array) -> dict[str, Array]:
    """Attention without softmax, whose weights decay with the distance; H0 is one token away from the first."""
    import numpy as np
    x = inputs["X"]
    b, c = _by_head(inputs["B"], x.shape[1]), _by_head(inputs["C"], x.shape[1])
    tokens = np.arange(len(x))
    distance = np.maximum(np.subtract.outer(tokens, tokens), 0)
    seen = np.tri(len(x), dtype=bool) * decay[:, None, None] ** distance
    values = step[:, :, None] * x
    y = np.einsum("hik,ihn,khn,khp->ihp", seen, c, b, values) + inputs["D"][:, None] * x
    if "H0" not in inputs:
        return {"Y": y}
    y += np.einsum("hi,ihn,hpn->ihp", decay[:, None] ** (tokens + 1), c, inputs["H0"])
    last = np.einsum("hk,khp,khn->hpn", decay[:, None] ** tokens[::-1], values, b)
    return {"Y": y, "HL": last + decay[:, None, None] ** len(x) * inputs["H0"]}


def _by_head(shared: Array, heads: int) -> Array:
    """B or C of every head, from those of its group."""
    import numpy as np
    return np.repeat(shared, heads // shared.shape[1], axis=1)


_SCANS = ("sequential", "chunked", "quadratic")
_CASES = (
    Case("random", {"i": 24, "h": 4, "g": 2, "p": 3, "n": 5, "i0": 8}, algorithms=_SCANS),
    Case("odd extents, ragged last chunk", {"i": 23, "h": 3, "g": 1, "p": 5, "n": 2, "i0": 4}, algorithms=_SCANS),
    Case("a group for each head", {"i": 13, "h": 3, "g": 3, "p": 2, "n": 4, "i0": 4}, algorithms=_SCANS),
    Case("chunks of one token", {"i": 9, "h": 2, "g": 1, "p": 3, "n": 2, "i0": 1}, algorithms=_SCANS),
    Case("one chunk longer than the tokens", {"i": 9, "h": 2, "g": 1, "p": 3, "n": 2, "i0": 12}, algorithms=_SCANS),
    Case("one token after a state", {"i": 1, "h": 2, "g": 1, "p": 3, "n": 2, "i0": 4}, algorithms=_SCANS),
    Case("no state before", {"i": 14, "h": 2, "g": 1, "p": 3, "n": 2, "i0": 4}, {"H0": constant(0.0)},
         algorithms=("sequential", "chunked")),
    # A token's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
    Case("strong decays", {"i": 21, "h": 3, "g": 1, "p": 2, "n": 3, "i0": 5},
         {"Alog": uniform(4.0, 6.0), "Bdt": normal(0.1, 1.0)}, algorithms=_SCANS),
    Case("decays of 1 are linear attention", {"i": 17, "h": 4, "g": 2, "p": 3, "n": 4, "i0": 5},
         {"Alog": constant(-1e4)}, algorithms=_SCANS, reference=linear_reference),
    # softplus(log(e - 1)) = 1.
    Case("steps of 1 are retention", {"i": 17, "h": 4, "g": 1, "p": 3, "n": 4, "i0": 5},
         {"T": constant(0.0), "Bdt": constant(0.5413248546129181), "Alog": uniform(-6.0, -3.0)}, algorithms=_SCANS,
         reference=retention_reference),
    Case("whole layer", {"i": 11, "m": 6, "h": 4, "g": 2, "p": 3, "n": 5, "w": 4}, algorithms=("block",),
         reference=block_reference),
    Case("whole layer, steps without bounds", {"i": 3, "m": 6, "h": 3, "g": 1, "p": 2, "n": 3, "w": 4},
         {"Low": constant(0.0), "High": constant(float("inf"))}, algorithms=("block",), reference=block_reference),
)

MODELS = {"130m": (24, 768, 129.0), "370m": (48, 1024, 368.3), "780m": (48, 1536, 780.2), "1.3b": (48, 2048, 1343.8),
          "2.7b": (64, 2560, 2702.6)}
"""Layers, model width and millions of parameters (vocabulary of 50288, tied) of the published language models."""


def layer(model: str, tokens: int) -> dict[str, int]:
    """Returns the extents of a layer of one of the models: width doubled, heads of 64, 128 states, one group, 4 taps,
    and chunks of 256."""
    width = MODELS[model][1]
    return {"i": tokens, "m": width, "h": 2 * width // 64, "p": 64, "n": 128, "g": 1, "w": 4, "i0": 256}


def parameters(model: str) -> float:
    """Returns the millions of parameters of a model: its layers with their norms, the embedding, and the last norm."""
    layers, width, _ = MODELS[model]
    own = parameter_count(VARIANT.cascade("block"), WEIGHTS, layer(model, 1)) + width
    return (layers * own + 50288 * width + width) / 1e6


def chunked_flops(model: str, tokens: int) -> float:
    """Returns the GFLOPs of the scan of one layer, 2 for each multiplication of its matrix products over whole chunks
    (all pairs of tokens, as a matrix unit has them) and of the recurrence over chunks."""
    extents = layer(model, tokens)
    extents = {**extents, "i1": tokens // extents["i0"], "k0": extents["i0"]}
    products = ("CB", "YD", "ST", "CH", "HC")
    return sum(2 * prod(extents[rank] for rank in einsum.ranks) for einsum in VARIANT.cascade("chunked").einsums
               if einsum.name in products) / 1e9


def _parameters(model: str) -> Published:
    return Published(f"parameters of {model}", MODELS[model][2], "M", f"layer shapes of {_REPOSITORY}", "calculated",
                     lambda: parameters(model))


def _flops(model: str, value: float) -> Published:
    return Published(f"scan of a layer of {model}, 4096 tokens", value, "GFLOP", f"{_REPOSITORY}: chunks of 256",
                     "calculated", lambda: chunked_flops(model, 4096))


def _passes(algorithm: str, rank: str, count: int, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", note, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="mamba2_ssd",
    title="State space duality of Mamba-2",
    system="Mamba",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    # Bounds that cut off some steps at both ends.
    inputs={"Low": constant(0.3), "High": constant(1.5)},
    # Where only a head's group is read, no access says how many groups there are.
    input_shapes={tensor: lambda extents: (extents["i"], extents["g"], extents["n"]) for tensor in ("B", "C")},
    shapes=(
        *(Shape(f"{model}-4096", layer(model, 4096), f"{_REPOSITORY}: one sequence") for model in MODELS),
        Shape("upstream-test", {"i": 2048, "h": 32, "p": 64, "n": 64, "g": 1, "i0": 64},
              "github.com/state-spaces/mamba, tests of the chunked scan", algorithms=_SCANS),
    ),
    published=(
        _passes("sequential", "i", 1, "a recurrence without a reduction over all tokens"),
        _passes("chunked", "i1", 1, "chunks one after another, with the state at hand"),
        *(_parameters(model) for model in MODELS),
        _flops("2.7b", 21.8), _flops("130m", 6.7),
        Published("chunked scan over the fused scan of Mamba, at least", 2.0, "ratio", f"{_PAPER}, as quoted elsewhere",
                  "secondary"),
        Published("chunked scan over the fused scan of Mamba, at most", 8.0, "ratio", f"{_PAPER}, as quoted elsewhere",
                  "secondary"),
    ),
)
