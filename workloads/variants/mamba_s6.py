"""The selective scan of Mamba (S6), in the algorithms that compute its recurrence, and the whole block around it.

Of each channel e and state n, H[i+1] = exp(DL[i] A) H[i] + DL[i] B[i] U[i] and Y[i] = sum over n of C[i] H[i+1]; the
step DL, B and C depend on the token. The input matrix is DL * B, as in the released code; ``zoh`` has the zero-order
hold (exp(DL A) - 1) / A * B of the paper's equation 4 in its place. The released code takes softplus as linear above
20, which changes it by less than 3e-9. All start from a state H0 (0 before the first token) and give the last one, HL.

``sequential`` takes one token after another. ``associative`` is a prefix reduction by the pair operator lin, which
leaves its order open; ``kogge-stone`` and ``brent-kung`` fix it, in ``s`` = ceil(log2 I) steps of doubled distance, and
with an up- and a down-sweep (Blelloch's, for inclusive prefixes of any number of tokens). ``tiled`` scans inside tiles
of ``i0`` tokens and carries the state from tile to tile, as the released kernel does. ``split`` scans every chunk from
0, carries the states of the ends over the chunks, and scans again; a chunk's decay is exp(A * sum of DL), and needs no
scan. ``quadratic`` has the exponential of every pair of tokens of a chunk, and no matrix product, since a decay depends
on e and n. ``block`` is the layer: residual, norm, projections, causal convolution, scan and gate.

Exactly counted, all have 1 pass over the tokens i: a prefix needs nothing that comes later, not even in the sweeps of
``brent-kung``, and a chunk nothing of later chunks. The usual 2 of ``split`` and of an up- and a down-sweep are those
of a machine that finishes one phase before the next; a chunk's own tokens (i0) are visited twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, uniform
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, arXiv 2312.00752"
_REPOSITORY = "github.com/state-spaces/mamba, mamba_ssm/modules/mamba_simple.py and README.md"

_DECAYS = """
DL[i,e]   = softplus(DP[i,e] + Bdt[e])
A[e,n]    = -exp(Alog[e,n])
DA[i,e,n] = DL[i,e] * A[e,n]
AB[i,e,n] = exp(DA[i,e,n])
"""
_STEPS = f"""{_DECAYS}
DU[i,e]   = DL[i,e] * U[i,e]
BX[i,e,n] = DU[i,e] * B[i,n]
"""
_RECURRENCE = """
H[i+1,e,n] = AB[i,e,n] * H[i,e,n] + BX[i,e,n]
YS[i,e]    = H[i+1,e,n] * C[i,n]
"""
_GATE = """
Y[i,e]  = YS[i,e] + D[e] * U[i,e]
G[i,e]  = Y[i,e] * silu(Z[i,e])
"""
_TILED_STEPS = """
DL[i1,i0,e]   = softplus(DP[i1*I0 + i0, e] + Bdt[e])
A[e,n]        = -exp(Alog[e,n])
DA[i1,i0,e,n] = DL[i1,i0,e] * A[e,n]
AB[i1,i0,e,n] = exp(DA[i1,i0,e,n])
DU[i1,i0,e]   = DL[i1,i0,e] * U[i1*I0 + i0, e]
BX[i1,i0,e,n] = DU[i1,i0,e] * B[i1*I0 + i0, n]
"""
_TILED_GATE = """
Y[i1,i0,e]  = YS[i1,i0,e] + D[e] * U[i1*I0 + i0, e]
GT[i1,i0,e] = Y[i1,i0,e] * silu(Z[i1*I0 + i0, e])
G[i,e]      = GT[i // I0, i % I0, e]
HL[e,n]     = HC[I1,e,n]
"""
_LIN = """
op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
"""

_ALGORITHMS = {
    "sequential": f"""
init H[0,e,n] = H0[e,n]
{_STEPS}{_RECURRENCE}{_GATE}
HL[e,n] = H[I,e,n]
""",
    "associative": f"""{_LIN}{_STEPS}
(P[i,e,n], S[i,e,n]) = lin[k] (AB[k,e,n], BX[k,e,n]) where k <= i
H[i,e,n] = P[i,e,n] * H0[e,n] + S[i,e,n]
YS[i,e]  = H[i,e,n] * C[i,n]
{_GATE}
HL[e,n] = H[I - 1,e,n]
""",
    "kogge-stone": f"""
init KA[0,i,e,n] = AB[i,e,n]
init KB[0,i,e,n] = BX[i,e,n]
{_STEPS}
KA[s+1,i,e,n] = KA[s,i - floor(pow(2, s)),e,n] * KA[s,i,e,n] where i >= pow(2, s)
KB[s+1,i,e,n] = KB[s,i - floor(pow(2, s)),e,n] * KA[s,i,e,n] + KB[s,i,e,n] where i >= pow(2, s)
H[i,e,n] = KA[S,i,e,n] * H0[e,n] + KB[S,i,e,n]
YS[i,e]  = H[i,e,n] * C[i,n]
{_GATE}
HL[e,n] = H[I - 1,e,n]
""",
    # A node of the up-sweep is the last position of its subtree; the down-sweep goes to those between two nodes.
    "brent-kung": f"""
init UA[0,i,e,n] = AB[i,e,n]
init UB[0,i,e,n] = BX[i,e,n]
init VA[S,i,e,n] = UA[S,i,e,n]
init VB[S,i,e,n] = UB[S,i,e,n]
{_STEPS}
UA[s+1,i,e,n] = UA[s,i - floor(pow(2, s)),e,n] * UA[s,i,e,n] where (i + 1) % pow(2, s + 1) == 0
UB[s+1,i,e,n] = UB[s,i - floor(pow(2, s)),e,n] * UA[s,i,e,n] + UB[s,i,e,n] where (i + 1) % pow(2, s + 1) == 0
VA[s,i,e,n] = VA[s+1,i - floor(pow(2, s)),e,n] * VA[s+1,i,e,n] \
    where (i + 1) % pow(2, s + 1) == pow(2, s) and i >= pow(2, s)
VB[s,i,e,n] = VB[s+1,i - floor(pow(2, s)),e,n] * VA[s+1,i,e,n] + VB[s+1,i,e,n] \
    where (i + 1) % pow(2, s + 1) == pow(2, s) and i >= pow(2, s)
H[i,e,n] = VA[0,i,e,n] * H0[e,n] + VB[0,i,e,n]
YS[i,e]  = H[i,e,n] * C[i,n]
{_GATE}
HL[e,n] = H[I - 1,e,n]
""",
    "tiled": f"""{_LIN}
init HC[0,e,n] = H0[e,n]
{_TILED_STEPS}
(P[i1,i0,e,n], S[i1,i0,e,n]) = lin[k0] (AB[i1,k0,e,n], BX[i1,k0,e,n]) where k0 <= i0
HC[i1+1,e,n] = P[i1,I0 - 1,e,n] * HC[i1,e,n] + S[i1,I0 - 1,e,n]
H[i1,i0,e,n] = P[i1,i0,e,n] * HC[i1,e,n] + S[i1,i0,e,n]
YS[i1,i0,e]  = H[i1,i0,e,n] * C[i1*I0 + i0, n]
{_TILED_GATE}""",
    "split": f"""
init L[i1,0,e,n] = 0
init HC[0,e,n]   = H0[e,n]
init H[i1,0,e,n] = HC[i1,e,n]
{_TILED_STEPS}
L[i1,i0+1,e,n] = AB[i1,i0,e,n] * L[i1,i0,e,n] + BX[i1,i0,e,n]
SD[i1,e]       = DL[i1,i0,e]
PC[i1,e,n]     = exp(SD[i1,e] * A[e,n])
HC[i1+1,e,n]   = PC[i1,e,n] * HC[i1,e,n] + L[i1,I0,e,n]
H[i1,i0+1,e,n] = AB[i1,i0,e,n] * H[i1,i0,e,n] + BX[i1,i0,e,n]
YS[i1,i0,e]    = H[i1,i0+1,e,n] * C[i1*I0 + i0, n]
{_TILED_GATE}""",
    "quadratic": f"""
init HC[0,e,n] = H0[e,n]
DL[i1,i0,e]   = softplus(DP[i1*I0 + i0, e] + Bdt[e])
A[e,n]        = -exp(Alog[e,n])
DU[i1,i0,e]   = DL[i1,i0,e] * U[i1*I0 + i0, e]
BX[i1,i0,e,n] = DU[i1,i0,e] * B[i1*I0 + i0, n]
SL[i1,i0,e]   = sum[k0] DL[i1,k0,e] where k0 <= i0
SD[i1,e]      = DL[i1,i0,e]
LW[i1,i0,k0,e,n] = exp((SL[i1,i0,e] - SL[i1,k0,e]) * A[e,n]) where k0 <= i0
YI[i1,i0,e]   = C[i1*I0 + i0, n] * LW[i1,i0,k0,e,n] * BX[i1,k0,e,n]
LC[i1,i0,e,n] = exp(SL[i1,i0,e] * A[e,n])
YC[i1,i0,e]   = C[i1*I0 + i0, n] * LC[i1,i0,e,n] * HC[i1,e,n]
YS[i1,i0,e]   = YI[i1,i0,e] + YC[i1,i0,e]
LE[i1,i0,e,n] = exp((SD[i1,e] - SL[i1,i0,e]) * A[e,n])
ST[i1,e,n]    = LE[i1,i0,e,n] * BX[i1,i0,e,n]
PC[i1,e,n]    = exp(SD[i1,e] * A[e,n])
HC[i1+1,e,n]  = PC[i1,e,n] * HC[i1,e,n] + ST[i1,e,n]
{_TILED_GATE}""",
    "zoh": f"""
init H[0,e,n] = H0[e,n]
{_DECAYS}
BB[i,e,n] = expm1(DA[i,e,n]) / A[e,n]
UB[i,e,n] = U[i,e] * B[i,n]
BX[i,e,n] = BB[i,e,n] * UB[i,e,n]
{_RECURRENCE}{_GATE}
HL[e,n] = H[I,e,n]
""",
    "block": f"""
output RS
init H[0,e,n] = 0
RS[i,m] = RES[i,m] + X[i,m]
SS[i]   = RS[i,m] * RS[i,m]
RN[i]   = rsqrt(SS[i] / M + 1e-5)
XN[i,m] = RS[i,m] * RN[i] * Wn[m]
XI[i,e] = XN[i,m] * WinX[e,m]
Z[i,e]  = XN[i,m] * WinZ[e,m]
CV[i,e] = XI[i - W + 1 + w, e] * Wc[e,w]
U[i,e]  = silu(CV[i,e] + Bc[e])
DR[i,r] = U[i,e] * WxDt[r,e]
B[i,n]  = U[i,e] * WxB[n,e]
C[i,n]  = U[i,e] * WxC[n,e]
DP[i,e] = DR[i,r] * Wdt[e,r]
{_STEPS}{_RECURRENCE}{_GATE}
O[i,m]  = G[i,e] * Wout[m,e]
""",
}
_SCANS = ("sequential", "associative", "kogge-stone", "brent-kung", "tiled", "split", "quadratic")
WEIGHTS = ("Wn", "WinX", "WinZ", "Wc", "Bc", "WxDt", "WxB", "WxC", "Wdt", "Bdt", "Alog", "D", "Wout")
"""The inputs of ``block`` that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns G[i,e] and the last state HL[e,n]: the paper's recurrence, token by token, with the gate of the block."""
    import numpy as np
    step = np.logaddexp(0.0, inputs["DP"] + inputs["Bdt"])
    return _scan(inputs, step, step[:, :, None] * inputs["B"][:, None, :])


def zoh_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with the zero-order hold of equation 4 in place of step * B."""
    import numpy as np
    step = np.logaddexp(0.0, inputs["DP"] + inputs["Bdt"])
    a = -np.exp(inputs["Alog"])
    return _scan(inputs, step, (np.exp(step[:, :, None] * a) - 1) / a * inputs["B"][:, None, :])


def memoryless_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what decays of 0 leave: every token by itself."""
    import numpy as np
    x, z = inputs["U"], inputs["Z"]
    step = np.logaddexp(0.0, inputs["DP"] + inputs["Bdt"])
    y = x * (step * np.sum(inputs["B"] * inputs["C"], axis=1, keepdims=True) + inputs["D"])
    return {"G": y * z / (1 + np.exp(-z)), "HL": np.outer(step[-1] * x[-1], inputs["B"][-1])}


def linear_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what decays of 1 make of it: causal linear attention with queries C, keys B and values step * U."""
    import numpy as np
    x, z, b, c = inputs["U"], inputs["Z"], inputs["B"], inputs["C"]
    values = np.logaddexp(0.0, inputs["DP"] + inputs["Bdt"]) * x
    y = np.tril(c @ b.T) @ values + c @ inputs["H0"].T + inputs["D"] * x
    return {"G": y * z / (1 + np.exp(-z)), "HL": inputs["H0"] + values.T @ b}


def block_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,m] and the residual stream RS[i,m] of a whole layer."""
    import numpy as np
    t = dict(inputs)
    residual = t["RES"] + t["X"]
    normed = residual / np.sqrt(np.mean(residual**2, axis=1, keepdims=True) + 1e-5) * t["Wn"]
    x, taps = normed @ t["WinX"].T, t["Wc"].shape[1]
    padded = np.concatenate((np.zeros((taps - 1, x.shape[1])), x))
    conv = sum(padded[tap:tap + len(x)] * t["Wc"][:, tap] for tap in range(taps)) + t["Bc"]
    u = conv / (1 + np.exp(-conv))
    scanned = reference({**t, "U": u, "Z": normed @ t["WinZ"].T, "DP": u @ t["WxDt"].T @ t["Wdt"].T,
                         "B": u @ t["WxB"].T, "C": u @ t["WxC"].T, "H0": np.zeros_like(t["Alog"])}, extents)
    return {"O": scanned["G"] @ t["Wout"].T, "RS": residual}


def _scan(inputs: Mapping[str, Array], step: Array, input_matrix: Array) -> dict[str, Array]:
    import numpy as np
    x, z, c = inputs["U"], inputs["Z"], inputs["C"]
    a = -np.exp(inputs["Alog"])
    state = np.array(inputs["H0"], dtype=np.float64)
    y = np.empty_like(x)
    for i in range(len(x)):
        state = np.exp(step[i][:, None] * a) * state + input_matrix[i] * x[i][:, None]
        y[i] = state @ c[i] + inputs["D"] * x[i]
    return {"G": y * z / (1 + np.exp(-z)), "HL": state}


def s4d_real(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws Alog[e,n] as it is initialised: log(n + 1), so that A = -1, -2, ..."""
    import numpy as np
    return np.tile(np.log(np.arange(1.0, shape[1] + 1)), (shape[0], 1))


def step_bias(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws Bdt[e] as it is initialised: softplus of it is spread from 1e-3 to 1e-1 by its logarithm."""
    import numpy as np
    return np.log(np.expm1(np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))))


_CASES = (
    Case("random", {"i": 24, "e": 6, "n": 4, "i0": 8, "s": 5}, algorithms=_SCANS),
    Case("odd extents, ragged last chunk", {"i": 23, "e": 3, "n": 5, "i0": 4, "s": 5}, algorithms=_SCANS),
    Case("as initialised", {"i": 32, "e": 4, "n": 16, "i0": 8, "s": 5}, {"Alog": s4d_real, "Bdt": step_bias},
         algorithms=_SCANS),
    Case("chunks of one token", {"i": 9, "e": 3, "n": 2, "i0": 1, "s": 4}, algorithms=_SCANS),
    Case("one chunk longer than the tokens", {"i": 9, "e": 3, "n": 2, "i0": 12, "s": 4}, algorithms=_SCANS),
    Case("one token after a state", {"i": 1, "e": 4, "n": 3, "i0": 4, "s": 1}, algorithms=_SCANS),
    Case("one state", {"i": 15, "e": 3, "n": 1, "i0": 4, "s": 4}, algorithms=_SCANS),
    Case("no state before", {"i": 15, "e": 3, "n": 2, "i0": 4, "s": 4}, {"H0": constant(0.0)}, algorithms=_SCANS),
    # A token's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
    Case("strong decays", {"i": 21, "e": 3, "n": 3, "i0": 5, "s": 5},
         {"Alog": uniform(4.0, 6.0), "Bdt": normal(0.1, 1.0)}, algorithms=_SCANS),
    Case("decays of 0 leave the token", {"i": 13, "e": 3, "n": 2, "i0": 4, "s": 4}, {"Alog": constant(50.0)},
         algorithms=_SCANS, reference=memoryless_reference),
    Case("decays of 1 are linear attention", {"i": 13, "e": 3, "n": 2, "i0": 4, "s": 4}, {"Alog": constant(-1e4)},
         algorithms=_SCANS, reference=linear_reference),
    Case("zero-order hold", {"i": 23, "e": 4, "n": 3}, algorithms=("zoh",), reference=zoh_reference),
    Case("zero-order hold of short steps is the released form", {"i": 12, "e": 4, "n": 3}, {"Alog": constant(-30.0)},
         algorithms=("zoh",)),
    Case("whole layer", {"i": 13, "m": 5, "e": 6, "n": 4, "r": 2, "w": 4}, algorithms=("block",),
         reference=block_reference),
    Case("whole layer, fewer tokens than taps", {"i": 2, "m": 5, "e": 6, "n": 4, "r": 2, "w": 4}, algorithms=("block",),
         reference=block_reference),
)

MODELS = {"130m": (24, 768, 129.1), "370m": (48, 1024, 371.5), "790m": (48, 1536, 793.2), "1.4b": (48, 2048, 1372.2),
          "2.8b": (64, 2560, 2768.3)}
"""Layers, model width and millions of parameters (vocabulary of 50280, tied) of the published language models."""


def layer(model: str, tokens: int) -> dict[str, int]:
    """Returns the extents of a layer of one of the models: width doubled, 16 states, 4 taps, a step rank of M/16."""
    width = MODELS[model][1]
    return {"i": tokens, "m": width, "e": 2 * width, "n": 16, "r": width // 16, "w": 4}


def parameters(model: str) -> float:
    """Returns the millions of parameters of a model: its layers, the embedding, and the last norm."""
    layers, width, _ = MODELS[model]
    own = parameter_count(VARIANT.cascade("block"), WEIGHTS, layer(model, 1))
    return (layers * own + 50280 * width + width) / 1e6


def _parameters(model: str) -> Published:
    return Published(f"parameters of {model}", MODELS[model][2], "M", f"layer shapes of {_REPOSITORY}", "calculated",
                     lambda: parameters(model))


def _passes(algorithm: str, rank: str, count: int, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", note, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


def _speed(what: str, value: float, unit: str = "ratio") -> Published:
    return Published(what, value, unit, f"{_PAPER}, section 4.5 and appendix E.5, as quoted elsewhere", "secondary")


VARIANT = Variant(
    id="mamba_s6",
    title="Selective scan of Mamba (S6)",
    system="Mamba",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    shapes=(
        *(Shape(f"{model}-2048", layer(model, 2048), f"{_REPOSITORY}: one sequence") for model in MODELS),
        Shape("2.8b-2048-batch-64", layer("2.8b", 2048), f"{_REPOSITORY}: 64 sequences", instances=64),
        Shape("2.8b-decode-batch-128", layer("2.8b", 1), f"{_REPOSITORY}: the next token of 128 sequences",
              instances=128),
        *(Shape(f"scan-{1 << power}", {"i": 1 << power, "e": 1024, "n": 16}, f"{_PAPER}, section 4.5: scan alone, bf16",
                algorithms=(*_SCANS, "zoh"))
          for power in range(9, 20, 2)),
    ),
    published=(
        _passes("sequential", "i", 1, "a recurrence without a reduction over all tokens"),
        _passes("split", "i0", 2, "tokens of a chunk are scanned, and again from the carried state"),
        *(_parameters(model) for model in MODELS),
        _speed("fused scan over unfused parallel scan in PyTorch, at least", 20.0),
        _speed("fused scan over unfused parallel scan in PyTorch, at most", 40.0),
        _speed("fused scan over FlashAttention-2 at 32K tokens, at most", 7.0),
        _speed("scan over earlier state-space implementations, at most", 3.0),
        _speed("generation of 1.4B at batch 128 on A100 80GB", 1814.0, "tokens/s"),
        _speed("generation of a Transformer of 1.3B at batch 16 on A100 80GB", 364.0, "tokens/s"),
    ),
)
