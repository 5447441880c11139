"""One step of a state-space layer, for the next token of every sequence b: the state that was kept, moved on by one.

``s6`` is that of Mamba, with the gate, over channels e and states n; ``ssd`` that of Mamba-2, over h heads of p
channels in each of g groups, which share B and C. They are the recurrences of ``mamba_s6`` and ``mamba2_ssd`` with
I = 1, here with all sequences in one cascade, since they share the parameters. T and DP are the steps before their
bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant
from workloads.variants import mamba2_ssd, mamba_s6

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = {
    "s6": """
output H1
DL[b,e]   = softplus(DP[b,e] + Bdt[e])
A[e,n]    = -exp(Alog[e,n])
DA[b,e,n] = DL[b,e] * A[e,n]
AB[b,e,n] = exp(DA[b,e,n])
DU[b,e]   = DL[b,e] * U[b,e]
BX[b,e,n] = DU[b,e] * B[b,n]
H1[b,e,n] = AB[b,e,n] * H0[b,e,n] + BX[b,e,n]
YS[b,e]   = H1[b,e,n] * C[b,n]
Y[b,e]    = YS[b,e] + D[e] * U[b,e]
G[b,e]    = Y[b,e] * silu(Z[b,e])
""",
    "ssd": """
output H1
DT[b,g,h]     = softplus(T[b,g,h] + Bdt[g,h])
LA[g,h]       = -exp(Alog[g,h])
DA[b,g,h]     = DT[b,g,h] * LA[g,h]
AB[b,g,h]     = exp(DA[b,g,h])
DX[b,g,h,p]   = DT[b,g,h] * X[b,g,h,p]
H1[b,g,h,p,n] = AB[b,g,h] * H0[b,g,h,p,n] + DX[b,g,h,p] * B[b,g,n]
YS[b,g,h,p]   = H1[b,g,h,p,n] * C[b,g,n]
Y[b,g,h,p]    = YS[b,g,h,p] + D[g,h] * X[b,g,h,p]
""",
}
WEIGHTS = ("Bdt", "Alog", "D")
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns G[b,e] and the state H1[b,e,n] of ``s6``: sequence by sequence, a scan of one token."""
    import numpy as np
    steps = []
    for b in range(extents["b"]):
        own = {name: inputs[name][b:b + 1] for name in ("DP", "U", "Z", "B", "C")}
        steps.append(mamba_s6.reference({**inputs, **own, "H0": inputs["H0"][b]}, extents))
    return {"G": np.concatenate([step["G"] for step in steps]), "H1": np.stack([step["HL"] for step in steps])}


def ssd_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[b,g,h,p] and the state H1[b,g,h,p,n] of ``ssd``: sequence by sequence and group by group."""
    import numpy as np
    y, state = np.empty_like(inputs["X"]), np.empty_like(inputs["H0"])
    for b, g in np.ndindex(extents["b"], extents["g"]):
        own = {"X": inputs["X"][b, g][None], "T": inputs["T"][b, g][None], "B": inputs["B"][b, g][None, None],
               "C": inputs["C"][b, g][None, None], "H0": inputs["H0"][b, g],
               **{name: inputs[name][g] for name in WEIGHTS}}
        step = mamba2_ssd.reference(own, extents)
        y[b, g], state[b, g] = step["Y"][0], step["HL"]
    return {"Y": y, "H1": state}


def first_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what ``s6`` gives from a state of 0: every token by itself."""
    import numpy as np
    pushed = np.logaddexp(0.0, inputs["DP"] + inputs["Bdt"]) * inputs["U"]
    y = pushed * np.sum(inputs["B"] * inputs["C"], axis=1, keepdims=True) + inputs["D"] * inputs["U"]
    return {"G": y * inputs["Z"] / (1 + np.exp(-inputs["Z"])), "H1": np.einsum("be,bn->ben", pushed, inputs["B"])}


VARIANT = Variant(
    id="state_update",
    title="State update of Mamba for the next token",
    system="Mamba",
    source="Gu and Dao, Mamba, arXiv 2312.00752, section 3; Dao and Gu, Transformers are SSMs, arXiv 2405.21060, "
           "section 2; github.com/state-spaces/mamba, mamba_ssm/ops/triton/selective_state_update.py",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"b": 3, "e": 6, "n": 4}, algorithms=("s6",)),
        Case("odd extents", {"b": 1, "e": 5, "n": 3}, algorithms=("s6",)),
        Case("from a state of 0", {"b": 3, "e": 4, "n": 2}, {"H0": constant(0.0)}, algorithms=("s6",),
             reference=first_reference),
        Case("random, heads in groups", {"b": 3, "g": 2, "h": 3, "p": 4, "n": 5}, algorithms=("ssd",),
             reference=ssd_reference),
        Case("one head", {"b": 2, "g": 1, "h": 1, "p": 3, "n": 2}, algorithms=("ssd",), reference=ssd_reference),
    ),
)
