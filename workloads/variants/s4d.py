"""S4D: a linear recurrence of complex diagonal states, the same at every token, and so a convolution.

Of each channel e, with rates A[n] (a half of conjugate pairs; the real part is -exp(LAr)) and a step DT, H[i+1] =
exp(DT A) H[i] + (exp(DT A) - 1) / A U[i] and Y[i] = 2 Re(sum of C H[i+1]) + D U[i]: a zero-order hold with B = 1.
``recurrent`` is that. ``convolution`` makes the kernel K[l] = 2 Re(sum of C (exp(DT A) - 1) / A exp(DT A l)) once for all
sequences, and has all pairs of tokens; a library has the same by FFT, which is no Einsum of this cascade. ``chunked``
has the pairs of a chunk, and the states between chunks. ``layer`` goes on with gelu and a gated projection.

Real and imaginary parts are tensors of their own, R and I at the end of a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Gu et al., On the Parameterization and Initialization of Diagonal State Space Models, NeurIPS 2022, arXiv 2206.11893"
_REPOSITORY = "github.com/state-spaces/s4, models/s4/s4d.py"

# P is DT A, E its exponential, and B the hold (E - 1) / A.
_RATES = """
DT[e]   = exp(Ldt[e])
AR[e,n] = -exp(LAr[e,n])
PR[e,n] = DT[e] * AR[e,n]
PI[e,n] = DT[e] * AI[e,n]
ER[e,n] = exp(PR[e,n]) * cos(PI[e,n])
EI[e,n] = exp(PR[e,n]) * sin(PI[e,n])
AA[e,n] = AR[e,n] * AR[e,n] + AI[e,n] * AI[e,n]
BR[e,n] = ((ER[e,n] - 1) * AR[e,n] + EI[e,n] * AI[e,n]) / AA[e,n]
BI[e,n] = (EI[e,n] * AR[e,n] - (ER[e,n] - 1) * AI[e,n]) / AA[e,n]
"""
_KERNEL = """
GR[e,n] = CR[e,n] * BR[e,n] - CI[e,n] * BI[e,n]
GI[e,n] = CR[e,n] * BI[e,n] + CI[e,n] * BR[e,n]
VR[e,l,n] = exp(PR[e,n] * l) * cos(PI[e,n] * l)
VI[e,l,n] = exp(PR[e,n] * l) * sin(PI[e,n] * l)
KN[e,l] = GR[e,n] * VR[e,l,n] - GI[e,n] * VI[e,l,n]
KE[e,l] = 2 * KN[e,l]
"""
_RECURRENT = f"""
init HR[0,e,n] = 0
init HI[0,e,n] = 0
{_RATES}
HR[i+1,e,n] = ER[e,n] * HR[i,e,n] - EI[e,n] * HI[i,e,n] + BR[e,n] * U[i,e]
HI[i+1,e,n] = ER[e,n] * HI[i,e,n] + EI[e,n] * HR[i,e,n] + BI[e,n] * U[i,e]
YN[i,e] = CR[e,n] * HR[i+1,e,n] - CI[e,n] * HI[i+1,e,n]
Y[i,e]  = 2 * YN[i,e] + D[e] * U[i,e]
"""
_ALGORITHMS = {
    "recurrent": _RECURRENT,
    "convolution": f"""{_RATES}{_KERNEL}
YK[i,e] = sum[j] KE[e,i - j] * U[j,e] where j <= i
Y[i,e]  = YK[i,e] + D[e] * U[i,e]
""",
    # The state before a chunk reaches its token i0 through i0 + 1 steps; a token reaches the end through I0 - 1 - i0.
    "chunked": f"""
init HR[0,e,n] = 0
init HI[0,e,n] = 0
{_RATES}{_KERNEL}
BU[i1,i0,e]  = U[i1*I0 + i0, e]
YK[i1,i0,e]  = sum[k0] KE[e,i0 - k0] * BU[i1,k0,e] where k0 <= i0
TR[e,i0,n]   = exp(PR[e,n] * (I0 - 1 - i0)) * cos(PI[e,n] * (I0 - 1 - i0))
TI[e,i0,n]   = exp(PR[e,n] * (I0 - 1 - i0)) * sin(PI[e,n] * (I0 - 1 - i0))
SR[i1,e,n]   = TR[e,i0,n] * BU[i1,i0,e]
SI[i1,e,n]   = TI[e,i0,n] * BU[i1,i0,e]
XR[e,n]      = exp(PR[e,n] * I0) * cos(PI[e,n] * I0)
XI[e,n]      = exp(PR[e,n] * I0) * sin(PI[e,n] * I0)
HR[i1+1,e,n] = XR[e,n] * HR[i1,e,n] - XI[e,n] * HI[i1,e,n] + BR[e,n] * SR[i1,e,n] - BI[e,n] * SI[i1,e,n]
HI[i1+1,e,n] = XR[e,n] * HI[i1,e,n] + XI[e,n] * HR[i1,e,n] + BR[e,n] * SI[i1,e,n] + BI[e,n] * SR[i1,e,n]
QR[e,i0,n]   = exp(PR[e,n] * (i0 + 1)) * cos(PI[e,n] * (i0 + 1))
QI[e,i0,n]   = exp(PR[e,n] * (i0 + 1)) * sin(PI[e,n] * (i0 + 1))
WR[e,i0,n]   = CR[e,n] * QR[e,i0,n] - CI[e,n] * QI[e,i0,n]
WI[e,i0,n]   = CR[e,n] * QI[e,i0,n] + CI[e,n] * QR[e,i0,n]
YC[i1,i0,e]  = WR[e,i0,n] * HR[i1,e,n] - WI[e,i0,n] * HI[i1,e,n]
YT[i1,i0,e]  = YK[i1,i0,e] + 2 * YC[i1,i0,e]
Y[i,e]       = YT[i // I0, i % I0, e] + D[e] * U[i,e]
""",
    "layer": f"""{_RECURRENT}
G[i,e]  = gelu(Y[i,e])
O1[i,m] = G[i,e] * Wo[m,e]
O2[i,m] = G[i,e] * Wg[m,e]
O[i,m]  = (O1[i,m] + Bo[m]) * sigmoid(O2[i,m] + Bg[m])
""",
}
_SCANS = ("recurrent", "convolution", "chunked")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,e], by FFT: the sequence and its kernel of complex powers, padded to twice their length."""
    import numpy as np
    u, length = inputs["U"], len(inputs["U"])
    a, step = -np.exp(inputs["LAr"]) + 1j * inputs["AI"], np.exp(inputs["Ldt"])[:, None]
    held = (inputs["CR"] + 1j * inputs["CI"]) * (np.exp(step * a) - 1) / a
    kernel = 2 * np.einsum("en,len->le", held, np.exp(step * a) ** np.arange(length)[:, None, None]).real
    product = np.fft.rfft(kernel, 2 * length, axis=0) * np.fft.rfft(u, 2 * length, axis=0)
    return {"Y": np.fft.irfft(product, 2 * length, axis=0)[:length] + inputs["D"] * u}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,m] of the layer, with an erf for the gelu."""
    from math import erf, sqrt

    import numpy as np
    y = reference(inputs, extents)["Y"]
    g = np.vectorize(lambda one: one * (1 + erf(one / sqrt(2))) / 2)(y)
    return {"O": (g @ inputs["Wo"].T + inputs["Bo"]) / (1 + np.exp(-(g @ inputs["Wg"].T + inputs["Bg"])))}


def real_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what rates without an imaginary part give: sums of exponentials, token by token."""
    import numpy as np
    u, rate, step = inputs["U"], np.exp(inputs["LAr"]), np.exp(inputs["Ldt"])[:, None]
    state, out = np.zeros(rate.shape), np.empty(u.shape)
    for i in range(len(u)):
        state = state * np.exp(-step * rate) + (1 - np.exp(-step * rate)) / rate * u[i][:, None]
        out[i] = 2 * np.sum(inputs["CR"] * state, axis=1) + inputs["D"] * u[i]
    return {"Y": out}


def linear_rates(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws AI[e,n] as it is initialised: pi n."""
    import numpy as np
    return np.tile(np.pi * np.arange(shape[1]), (shape[0], 1))


def _passes(algorithm: str, rank: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", 1, "passes", "a recurrence, or a prefix", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="s4d",
    title="Diagonal state space model (S4D)",
    system="Survey of Mamba Architectures for Medical Image Analysis",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("recurrence", {"i": 23, "e": 3, "n": 4}, algorithms=("recurrent",)),
        Case("convolution", {"i": 23, "j": 23, "l": 23, "e": 3, "n": 4}, algorithms=("convolution",)),
        Case("chunks", {"i": 24, "i0": 6, "l": 6, "e": 3, "n": 4}, algorithms=("chunked",)),
        Case("ragged last chunk", {"i": 23, "i0": 5, "l": 5, "e": 2, "n": 3}, algorithms=("chunked",)),
        Case("one chunk longer than the tokens", {"i": 7, "i0": 9, "l": 9, "e": 2, "n": 3}, algorithms=("chunked",)),
        Case("one token", {"i": 1, "j": 1, "l": 1, "e": 2, "n": 3}, algorithms=("convolution",)),
        Case("as initialised", {"i": 32, "e": 2, "n": 32}, {"AI": linear_rates, "LAr": constant(-0.6931471805599453)},
             algorithms=("recurrent",)),
        Case("real rates", {"i": 13, "e": 2, "n": 3}, {"AI": constant(0.0)}, algorithms=("recurrent",), reference=real_reference),
        Case("real rates, chunks", {"i": 13, "i0": 4, "l": 4, "e": 2, "n": 3}, {"AI": constant(0.0)}, algorithms=("chunked",),
             reference=real_reference),
        Case("layer", {"i": 7, "e": 3, "n": 2, "m": 4}, algorithms=("layer",), reference=layer_reference),
    ),
    # Steps of 1e-3 to 1e-1, as they are initialised.
    inputs={"Ldt": uniform(-6.9, -2.3), "LAr": uniform(-1.0, 1.0), "AI": uniform(0.0, 30.0)},
    shapes=(Shape("pixels", {"i": 1024, "j": 1024, "l": 1024, "e": 1, "n": 32}, f"{_REPOSITORY}: 64 states, of which a half is "
                  "stored; images of 32 x 32 as sequences", 1, ("recurrent", "convolution")),),
    published=(_passes("recurrent", "i"), _passes("convolution", "i"), _passes("chunked", "i1")),
)
