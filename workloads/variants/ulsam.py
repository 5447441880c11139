"""Subspace attention (ULSAM): the channels in subspaces, each gated by a softmax over all pixels.

Subspace s has the J channels X[s,j]. A channel is scaled (a 1x1 depthwise convolution and a batch norm, folded) and goes
through ReLU and a 3x3 maximum; the channels of a subspace are weighted and summed to one score for each pixel, again
through ReLU, and the softmax over pixels is the gate A: Y = X A + X. ``3pass`` writes the softmax out, ``1pass`` runs its
maximum and sum over the rows of the image, which leaves one more sweep for the gate.

Scores are 0 or more, but not bounded, so that a maximum is needed. Gates sum to 1: on large maps they are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import softmax

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Saini et al., ULSAM: Ultra-Lightweight Subspace Attention Module for Compact Convolutional Neural Networks, " \
         "WACV 2020, arXiv 2006.15102"
_REPOSITORY = "github.com/Nandan91/ULSAM, ulsam.py"

_SCORES = """
extent U 3
extent V 3
D[s,j,y,x] = relu(W1[s,j] * X[s,j,y,x] + B1[s,j])
MP[s,j,y,x] = max[u,v] D[s,j,y + u - 1,x + v - 1]
PW[s,y,x] = MP[s,j,y,x] * W2[s,j]
S[s,y,x]  = relu(PW[s,y,x] + B2[s])
"""
_GATE = """
Y[s,j,y,x] = X[s,j,y,x] * A[s,y,x] + X[s,j,y,x]
"""
_ALGORITHMS = {
    "3pass": f"""{_SCORES}
GM[s]     = max[y,x] S[s,y,x]
SN[s,y,x] = exp(S[s,y,x] - GM[s])
SD[s]     = SN[s,y,x]
A[s,y,x]  = SN[s,y,x] / SD[s]
{_GATE}""",
    "1pass": f"""
init RM[0,s] = -inf
init RD[0,s] = 0
{_SCORES}
LM[y,s]   = max[x] S[s,y,x]
RM[y+1,s] = max(RM[y,s], LM[y,s])
SLN[s,y,x] = exp(S[s,y,x] - RM[y+1,s])
SLD[y,s]  = SLN[s,y,x]
PRM[y,s]  = exp(RM[y,s] - RM[y+1,s])
SPD[y,s]  = RD[y,s] * PRM[y,s]
RD[y+1,s] = SLD[y,s] + SPD[y,s]
SN[s,y,x] = exp(S[s,y,x] - RM[Y,s])
A[s,y,x]  = SN[s,y,x] / RD[Y,s]
{_GATE}""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[s,j,y,x], one subspace after another."""
    import numpy as np
    x = inputs["X"]
    out = np.empty(x.shape)
    for s in range(len(x)):
        scaled = np.maximum(inputs["W1"][s][:, None, None] * x[s] + inputs["B1"][s][:, None, None], 0)
        rows, columns = x.shape[2:]
        # ReLU leaves nothing below 0, so that a border of 0 is the least there is.
        padded = np.pad(scaled, ((0, 0), (1, 1), (1, 1)))
        pooled = np.max([padded[:, u:u + rows, v:v + columns] for u in range(3) for v in range(3)], axis=0)
        score = np.maximum(np.tensordot(inputs["W2"][s], pooled, 1) + inputs["B2"][s], 0)
        out[s] = x[s] * (1 + softmax(score, axes=2))
    return {"Y": out}


def uniform_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal scores give: the map, and one part in all its pixels more."""
    return {"Y": inputs["X"] * (1 + 1 / (extents["y"] * extents["x"]))}


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the rows", count, "passes", "a last one for the gate", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["y"]))


VARIANT = Variant(
    id="ulsam",
    title="Ultra-lightweight subspace attention",
    system="ULSAM",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"s": 3, "j": 2, "y": 5, "x": 4}),
        Case("a subspace for each channel", {"s": 5, "j": 1, "y": 3, "x": 4}),
        Case("one subspace", {"s": 1, "j": 6, "y": 4, "x": 3}),
        Case("one pixel", {"s": 2, "j": 2, "y": 1, "x": 1}, reference=uniform_reference),
        Case("weights of 0 give equal gates", {"s": 2, "j": 3, "y": 4, "x": 5}, {"W2": constant(0.0)}, reference=uniform_reference),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("scores beyond the range of exp", {"s": 2, "j": 3, "y": 4, "x": 5}, {"W2": normal(1e3)}, tolerance=1e-9),
    ),
    input_shapes={"X": lambda n: (n["s"], n["j"], n["y"], n["x"])},
    shapes=(Shape("demo", {"s": 4, "j": 16, "y": 112, "x": 112}, f"{_REPOSITORY}: comment of 64 x 112 x 112, 4 subspaces"),),
    published=(
        _passes("3pass", 3), _passes("1pass", 2),
        Published("MobileNet-V2: multiplications less, about", 13.0, "%", f"abstract of {_PAPER}; layers are replaced", "abstract"),
        Published("MobileNet-V2: parameters less, about", 25.0, "%", f"abstract of {_PAPER}; layers are replaced", "abstract"),
    ),
)
