"""S4: a linear recurrence whose matrix is diagonal plus low rank, the same at every token, and so a convolution.

Of one channel, with A = diag(L) - P P* (complex, real parts of L below 0) and the bilinear rule of step DT: with G =
2 / DT, H[i+1] = (G - A)^-1 ((G + A) H[i] + 2 B U[i]) and Y[i] = Re(sum of C H[i+1]) + D U[i]. The inverse is a diagonal
and a correction by one scalar (Woodbury), so that a step costs O(N): ``recurrent``. ``convolution`` makes the kernel by
the same steps from one impulse, once for all sequences. ``cauchy`` makes it from its values at the roots of unity z,
sums over the states of 1 / (G (1 - z) - (1 + z) L) each (Cauchy products), and a Fourier sum, which a library has as an
FFT; its parameter is Ct = C (1 - Abar^T), T the tokens, with which the kernel ends after them, and not C.

Real and imaginary parts are tensors of their own, R and I at the end of a name; the real part of L is -exp(LLr).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, uniform
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Gu et al., Efficiently Modeling Long Sequences with Structured State Spaces, ICLR 2022, arXiv 2111.00396, appendix C"
_REPOSITORY = "github.com/state-spaces/s4, models/s4/s4.py"

_RATES = """
G[]   = 2 / exp(Ldt[])
LR[n] = -exp(LLr[n])
PP[n] = PR[n] * PR[n] + PI[n] * PI[n]
"""
# F is 1 / (G - L), W the scalar 1 + P* F P, and X its inverse.
_INVERSE = f"""{_RATES}
FA[n] = (G[] - LR[n]) * (G[] - LR[n]) + LI[n] * LI[n]
FR[n] = (G[] - LR[n]) / FA[n]
FI[n] = LI[n] / FA[n]
W0[]  = PP[n] * FR[n]
WI[]  = PP[n] * FI[n]
WR[]  = 1 + W0[]
WA[]  = WR[] * WR[] + WI[] * WI[]
XR[]  = WR[] / WA[]
XI[]  = -WI[] / WA[]
"""
# At each token t: E = P* H, V = (G + A) H and what comes in, and (G - A)^-1 V by F, S = P* F V, and K = X S.
_STEP = """
ER[t] = PR[n] * HR[t,n] + PI[n] * HI[t,n]
EI[t] = PR[n] * HI[t,n] - PI[n] * HR[t,n]
VR[t,n] = (G[] + LR[n]) * HR[t,n] - LI[n] * HI[t,n] - PR[n] * ER[t] + PI[n] * EI[t] + 2 * BR[n] * {input}
VI[t,n] = (G[] + LR[n]) * HI[t,n] + LI[n] * HR[t,n] - PR[n] * EI[t] - PI[n] * ER[t] + 2 * BI[n] * {input}
JR[t,n] = FR[n] * VR[t,n] - FI[n] * VI[t,n]
JI[t,n] = FR[n] * VI[t,n] + FI[n] * VR[t,n]
SR[t] = PR[n] * JR[t,n] + PI[n] * JI[t,n]
SI[t] = PR[n] * JI[t,n] - PI[n] * JR[t,n]
KR[t] = XR[] * SR[t] - XI[] * SI[t]
KI[t] = XR[] * SI[t] + XI[] * SR[t]
QR[t,n] = PR[n] * KR[t] - PI[n] * KI[t]
QI[t,n] = PR[n] * KI[t] + PI[n] * KR[t]
HR[t+1,n] = JR[t,n] - FR[n] * QR[t,n] + FI[n] * QI[t,n]
HI[t+1,n] = JI[t,n] - FR[n] * QI[t,n] - FI[n] * QR[t,n]
"""
_PAIRS = """
YK[t] = sum[j] KE[t - j] * U[j] where j <= t
Y[t]  = YK[t] + D[] * U[t]
"""
_START = "init HR[0,n] = 0\ninit HI[0,n] = 0\n"

_ALGORITHMS = {
    "recurrent": f"""{_START}{_INVERSE}{_STEP.format(input="U[t]")}
YN[t] = CR[n] * HR[t+1,n] - CI[n] * HI[t+1,n]
Y[t]  = YN[t] + D[] * U[t]
""",
    "convolution": f"""{_START}{_INVERSE}{_STEP.format(input="where(t == 0, 1, 0)")}
KE[t] = CR[n] * HR[t+1,n] - CI[n] * HI[t+1,n]
{_PAIRS}""",
    # The root k is z = cos + i sin; M = G (1 - z) - (1 + z) L, and R its inverse. N0 = Ct R B, N1 = Ct R P, N2 = P* R B,
    # N3 = P* R P, and the value 2 (N0 - (1 + z) N1 N2 / (1 + (1 + z) N3)).
    "cauchy": f"""{_RATES}
ZR[k]   = 1 + cos(6.283185307179586 * k / T)
ZI[k]   = sin(6.283185307179586 * k / T)
MR[k,n] = G[] * (2 - ZR[k]) - ZR[k] * LR[n] + ZI[k] * LI[n]
MI[k,n] = -G[] * ZI[k] - ZR[k] * LI[n] - ZI[k] * LR[n]
MA[k,n] = MR[k,n] * MR[k,n] + MI[k,n] * MI[k,n]
RR[k,n] = MR[k,n] / MA[k,n]
RI[k,n] = -MI[k,n] / MA[k,n]
CBR[n]  = CtR[n] * BR[n] - CtI[n] * BI[n]
CBI[n]  = CtR[n] * BI[n] + CtI[n] * BR[n]
CPR[n]  = CtR[n] * PR[n] - CtI[n] * PI[n]
CPI[n]  = CtR[n] * PI[n] + CtI[n] * PR[n]
PBR[n]  = PR[n] * BR[n] + PI[n] * BI[n]
PBI[n]  = PR[n] * BI[n] - PI[n] * BR[n]
N0R[k]  = CBR[n] * RR[k,n] - CBI[n] * RI[k,n]
N0I[k]  = CBR[n] * RI[k,n] + CBI[n] * RR[k,n]
N1R[k]  = CPR[n] * RR[k,n] - CPI[n] * RI[k,n]
N1I[k]  = CPR[n] * RI[k,n] + CPI[n] * RR[k,n]
N2R[k]  = PBR[n] * RR[k,n] - PBI[n] * RI[k,n]
N2I[k]  = PBR[n] * RI[k,n] + PBI[n] * RR[k,n]
N3R[k]  = PP[n] * RR[k,n]
N3I[k]  = PP[n] * RI[k,n]
DR[k]   = 1 + ZR[k] * N3R[k] - ZI[k] * N3I[k]
DI[k]   = ZR[k] * N3I[k] + ZI[k] * N3R[k]
DA[k]   = DR[k] * DR[k] + DI[k] * DI[k]
AR[k]   = (ZR[k] * DR[k] + ZI[k] * DI[k]) / DA[k]
AI[k]   = (ZI[k] * DR[k] - ZR[k] * DI[k]) / DA[k]
OR[k]   = N1R[k] * N2R[k] - N1I[k] * N2I[k]
OI[k]   = N1R[k] * N2I[k] + N1I[k] * N2R[k]
HR[k]   = 2 * (N0R[k] - AR[k] * OR[k] + AI[k] * OI[k])
HI[k]   = 2 * (N0I[k] - AR[k] * OI[k] - AI[k] * OR[k])
KF[l]   = HR[k] * cos(6.283185307179586 * k * l / T) + HI[k] * sin(6.283185307179586 * k * l / T)
KE[l]   = KF[l] / T
{_PAIRS}""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t], with the matrix written out and inverted, token by token."""
    import numpy as np
    matrix, into, u = *_discrete(inputs), inputs["U"]
    if "CtR" in inputs:
        ends = np.eye(len(matrix)) - np.linalg.matrix_power(matrix, len(u))
        out_of = np.linalg.solve(ends.T, inputs["CtR"] + 1j * inputs["CtI"])
    else:
        out_of = inputs["CR"] + 1j * inputs["CI"]
    state, out = np.zeros(len(matrix), dtype=complex), np.empty(len(u))
    for t in range(len(u)):
        state = matrix @ state + into * u[t]
        out[t] = (out_of @ state).real
    return {"Y": out + inputs["D"] * u}


def diagonal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what no low-rank part gives: each state by itself, through powers of its decay."""
    import numpy as np
    u, tokens = inputs["U"], np.arange(len(inputs["U"]))
    half, rate = np.exp(inputs["Ldt"]) / 2, -np.exp(inputs["LLr"]) + 1j * inputs["LI"]
    decay = (1 + half * rate) / (1 - half * rate)
    held = (inputs["CR"] + 1j * inputs["CI"]) * 2 * half * (inputs["BR"] + 1j * inputs["BI"]) / (1 - half * rate)
    kernel = (held * decay ** tokens[:, None]).sum(axis=1).real
    return {"Y": np.convolve(kernel, u)[:len(u)] + inputs["D"] * u}


def _discrete(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """The matrix of a step and of what comes in, by the bilinear rule."""
    import numpy as np
    low = inputs["PR"] + 1j * inputs["PI"]
    matrix = np.diag(-np.exp(inputs["LLr"]) + 1j * inputs["LI"]) - np.outer(low, low.conj())
    half = np.exp(inputs["Ldt"]) / 2 * matrix
    back = np.eye(len(matrix)) - half
    step = np.exp(inputs["Ldt"]) * (inputs["BR"] + 1j * inputs["BI"])
    return np.linalg.solve(back, np.eye(len(matrix)) + half), np.linalg.solve(back, step)


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the tokens", 1, "passes", "a recurrence, or a prefix", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["t"]))


_NONE = {"PR": constant(0.0), "PI": constant(0.0)}
VARIANT = Variant(
    id="s4",
    title="Structured state space model (S4)",
    system="Survey of Mamba Architectures for Medical Image Analysis",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("recurrence", {"t": 17, "n": 4}, algorithms=("recurrent",)),
        Case("convolution", {"t": 17, "j": 17, "n": 4}, algorithms=("convolution",)),
        Case("roots of unity", {"t": 17, "j": 17, "k": 17, "l": 17, "n": 4}, algorithms=("cauchy",), tolerance=1e-10),
        # One of the roots is -1, where 1 + z is 0.
        Case("an even number of roots", {"t": 16, "j": 16, "k": 16, "l": 16, "n": 3}, algorithms=("cauchy",), tolerance=1e-10),
        Case("one token", {"t": 1, "n": 4}, algorithms=("recurrent",)),
        Case("no low-rank part", {"t": 13, "n": 4}, _NONE, algorithms=("recurrent",), reference=diagonal_reference),
        Case("no low-rank part, convolution", {"t": 13, "j": 13, "n": 4}, _NONE, algorithms=("convolution",),
             reference=diagonal_reference),
        Case("a large low-rank part", {"t": 13, "n": 4}, {"PR": normal(10.0), "PI": normal(10.0)}, algorithms=("recurrent",)),
    ),
    # A step of 1e-3 to 1e-1, as it is initialised.
    inputs={"Ldt": uniform(-6.9, -2.3), "LLr": uniform(-1.0, 1.0), "LI": uniform(-30.0, 30.0)},
    shapes=(Shape("pixels", {"t": 1024, "j": 1024, "k": 1024, "l": 1024, "n": 64},
                  f"{_REPOSITORY}: 64 states; images of 32 x 32 as sequences"),),
    published=tuple(_passes(algorithm) for algorithm in _ALGORITHMS),
)
