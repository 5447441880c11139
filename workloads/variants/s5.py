"""S5: one linear recurrence of complex diagonal states for all features, with matrices before and after it.

States of P modes take all H features: X[i+1] = exp(L DT) X[i] + (exp(L DT) - 1) / L (B U[i]), Y[i] = 2 Re(C X[i+1]) +
D U[i]. The scan costs 6 P of some 12 P H operations for a token: the matrices are the work. ``sequential`` takes one
token after another, ``associative`` is a prefix reduction of pairs of complex numbers, whose order is open, and
both from a state R0, I0. ``bidirectional`` has a second recurrence from the last token to the first, with half of a C of
2 P columns.

Real and imaginary parts are tensors of their own, R and I at the end of a name; real parts of L are -exp(LLr).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.variant import Case, Published, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Smith et al., Simplified State Space Layers for Sequence Modeling, ICLR 2023, arXiv 2208.04933"
_REPOSITORY = "github.com/lindermanlab/S5, s5/ssm.py"

_RATES = """
DT[p]   = exp(Ldt[p])
LR[p]   = -exp(LLr[p])
PR[p]   = DT[p] * LR[p]
PI[p]   = DT[p] * LI[p]
ER[p]   = exp(PR[p]) * cos(PI[p])
EI[p]   = exp(PR[p]) * sin(PI[p])
LL[p]   = LR[p] * LR[p] + LI[p] * LI[p]
FR[p]   = ((ER[p] - 1) * LR[p] + EI[p] * LI[p]) / LL[p]
FI[p]   = (EI[p] * LR[p] - (ER[p] - 1) * LI[p]) / LL[p]
UR[i,p] = U[i,h] * BR[p,h]
UI[i,p] = U[i,h] * BI[p,h]
VR[i,p] = FR[p] * UR[i,p] - FI[p] * UI[i,p]
VI[i,p] = FR[p] * UI[i,p] + FI[p] * UR[i,p]
"""


def _steps(d: str, written: str, read: str) -> str:
    return f"""
XR{d}[{written},p] = ER[p] * XR{d}[{read},p] - EI[p] * XI{d}[{read},p] + VR[i,p]
XI{d}[{written},p] = ER[p] * XI{d}[{read},p] + EI[p] * XR{d}[{read},p] + VI[i,p]
YR{d}[i,h] = CR{d}[h,p] * XR{d}[{written},p]
YI{d}[i,h] = CI{d}[h,p] * XI{d}[{written},p]
"""


_ALGORITHMS = {
    "sequential": f"""
init XR[0,p] = R0[p]
init XI[0,p] = I0[p]
{_RATES}{_steps("", "i+1", "i")}
Y[i,h] = 2 * (YR[i,h] - YI[i,h]) + D[h] * U[i,h]
""",
    "associative": f"""
op lin(ar, ai, br, bi; cr, ci, dr, di) = (ar*cr - ai*ci, ar*ci + ai*cr, cr*br - ci*bi + dr, cr*bi + ci*br + di) \
    identity (1, 0, 0, 0) associative
{_RATES}
TR[i,p] = ER[p]
TI[i,p] = EI[p]
(AR[i,p], AI[i,p], SR[i,p], SI[i,p]) = lin[k] (TR[k,p], TI[k,p], VR[k,p], VI[k,p]) where k <= i
XR[i,p] = AR[i,p] * R0[p] - AI[i,p] * I0[p] + SR[i,p]
XI[i,p] = AR[i,p] * I0[p] + AI[i,p] * R0[p] + SI[i,p]
YR[i,h] = CR[h,p] * XR[i,p]
YI[i,h] = CI[h,p] * XI[i,p]
Y[i,h]  = 2 * (YR[i,h] - YI[i,h]) + D[h] * U[i,h]
""",
    "bidirectional": f"""
init XR[0,p]  = 0
init XI[0,p]  = 0
init XRB[I,p] = 0
init XIB[I,p] = 0
{_RATES}{_steps("", "i+1", "i")}{_steps("B", "i", "i+1")}
Y[i,h] = 2 * (YR[i,h] - YI[i,h] + YRB[i,h] - YIB[i,h]) + D[h] * U[i,h]
""",
}
_FORWARD = ("sequential", "associative")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,h], in complex numbers, token by token."""
    return {"Y": 2 * _read(inputs, inputs["U"], "") + inputs["D"] * inputs["U"]}


def both_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same and what the sequence turned round gives."""
    u = inputs["U"]
    return {"Y": 2 * (_read(inputs, u, "") + _read(inputs, u[::-1], "B")[::-1]) + inputs["D"] * u}


def unrolled_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[i,h] as a sum over earlier tokens, each through a power of the decay."""
    import numpy as np
    u, tokens = inputs["U"], np.arange(len(inputs["U"]))
    decay, into = _held(inputs)
    powers = decay ** np.maximum(np.subtract.outer(tokens, tokens), 0)[:, :, None] * np.tri(len(u))[:, :, None]
    first = decay ** (tokens[:, None] + 1) * (inputs["R0"] + 1j * inputs["I0"])
    states = np.einsum("ikp,ph,kh->ip", powers, into, u) + first
    return {"Y": 2 * (states @ (inputs["CR"] + 1j * inputs["CI"]).T).real + inputs["D"] * u}


def _held(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """The decay of a step, and the matrix of the zero-order hold."""
    import numpy as np
    rate = -np.exp(inputs["LLr"]) + 1j * inputs["LI"]
    decay = np.exp(rate * np.exp(inputs["Ldt"]))
    return decay, ((decay - 1) / rate)[:, None] * (inputs["BR"] + 1j * inputs["BI"])


def _read(inputs: Mapping[str, Array], u: Array, d: str) -> Array:
    import numpy as np
    decay, into = _held(inputs)
    out = np.empty(u.shape)
    state = inputs["R0"] + 1j * inputs["I0"] if "R0" in inputs else np.zeros(len(decay), dtype=complex)
    for i in range(len(u)):
        state = decay * state + into @ u[i]
        out[i] = ((inputs[f"CR{d}"] + 1j * inputs[f"CI{d}"]) @ state).real
    return out


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the tokens", count, "passes", "a recurrence, or one each way", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["i"]))


VARIANT = Variant(
    id="s5",
    title="Simplified state space layer (S5)",
    system="Survey of Mamba Architectures for Medical Image Analysis",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"i": 17, "p": 4, "h": 3}, algorithms=_FORWARD),
        Case("one token", {"i": 1, "p": 4, "h": 3}, algorithms=_FORWARD),
        Case("powers of the decay", {"i": 9, "p": 3, "h": 2}, algorithms=_FORWARD, reference=unrolled_reference),
        Case("real rates", {"i": 9, "p": 3, "h": 2}, {"LI": constant(0.0)}, algorithms=_FORWARD),
        Case("both ways", {"i": 17, "p": 4, "h": 3}, algorithms=("bidirectional",), reference=both_reference),
        Case("both ways, nothing comes back", {"i": 9, "p": 4, "h": 3}, {"CRB": constant(0.0), "CIB": constant(0.0)},
             algorithms=("bidirectional",)),
    ),
    # Steps of 1e-3 to 1e-1, as they are initialised.
    inputs={"Ldt": uniform(-6.9, -2.3), "LLr": uniform(-1.0, 1.0), "LI": uniform(0.0, 30.0)},
    # Of each token: 4 P H multiplications before, 2 P H after (of what is real), 4 P for the step of the states.
    published=(_passes("sequential", 1), _passes("associative", 1), _passes("bidirectional", 2)),
)
