"""The causal depthwise convolution of Mamba, with its activation: every channel by itself, over the last W tokens.

``sequence`` runs over whole sequences and gives the last W inputs, CS, from which ``step`` goes on, one token for each
sequence: it moves the window on, S1, as the released cache does. The names with ``unbiased`` have no bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_SEQUENCE = """
CV[b,i,e] = X[b,i - W + 1 + w,e] * Wc[e,w]
CS[b,e,w] = X[b,I - W + w,e; fill=0]
"""
_STEP = """
output S1
S1[b,e,w] = where(w < W - 1, S0[b,e,w + 1; fill=0], XN[b,e])
CV[b,e]   = S1[b,e,w] * Wc[e,w]
"""
_ALGORITHMS = {
    "sequence": f"{_SEQUENCE}U[b,i,e] = silu(CV[b,i,e] + Bc[e])",
    "step": f"{_STEP}U[b,e] = silu(CV[b,e] + Bc[e])",
    "sequence-unbiased": f"{_SEQUENCE}U[b,i,e] = silu(CV[b,i,e])",
    "step-unbiased": f"{_STEP}U[b,e] = silu(CV[b,e])",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns U[b,i,e] and the last W inputs CS[b,e,w]: NumPy's convolution of each channel of each sequence."""
    import numpy as np
    x, taps = inputs["X"], inputs["Wc"]
    convolved = np.empty_like(x)
    for sequence, channel in np.ndindex(x.shape[0], x.shape[2]):
        convolved[sequence, :, channel] = np.convolve(x[sequence, :, channel], taps[channel, ::-1])[:x.shape[1]]
    before = np.zeros((x.shape[0], taps.shape[1], x.shape[2]))
    window = np.concatenate((before, x), axis=1)[:, -taps.shape[1]:]
    return {"U": _activated(convolved, inputs), "CS": window.transpose(0, 2, 1)}


def step_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns U[b,e] and the window S1[b,e,w]: the last token of a sequence of what the window holds and the new one."""
    import numpy as np
    window = np.concatenate((inputs["S0"][:, :, 1:], inputs["XN"][:, :, None]), axis=2)
    whole = reference({**inputs, "X": window.transpose(0, 2, 1)}, extents)
    return {"U": whole["U"][:, -1], "S1": window}


def _activated(x: Array, inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    x = x + inputs.get("Bc", 0.0)
    out: Array = x / (1 + np.exp(-x))
    return out


_SEQUENCES, _STEPS = ("sequence", "sequence-unbiased"), ("step", "step-unbiased")

VARIANT = Variant(
    id="depthwise_conv1d",
    title="Causal depthwise convolution",
    system="Mamba",
    source="Gu and Dao, Mamba, arXiv 2312.00752, figure 3; github.com/state-spaces/mamba, "
           "mamba_ssm/modules/mamba_simple.py",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"b": 2, "i": 9, "e": 3, "w": 4}, algorithms=_SEQUENCES),
        Case("fewer tokens than taps", {"b": 2, "i": 2, "e": 3, "w": 4}, algorithms=_SEQUENCES),
        Case("one tap", {"b": 1, "i": 5, "e": 3, "w": 1}, algorithms=_SEQUENCES),
        Case("one step", {"b": 3, "e": 5, "w": 4}, algorithms=_STEPS, reference=step_reference),
        Case("one step of one tap", {"b": 3, "e": 5, "w": 1}, algorithms=_STEPS, reference=step_reference),
        Case("one step from nothing", {"b": 2, "e": 3, "w": 4}, {"S0": constant(0.0)}, algorithms=_STEPS,
             reference=step_reference),
    ),
    # Every read of them is at a distance.
    input_shapes={"X": lambda extents: (extents["b"], extents["i"], extents["e"]),
                  "S0": lambda extents: (extents["b"], extents["e"], extents["w"])},
)
