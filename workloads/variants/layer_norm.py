"""Layer normalisation, over the features of each token.

``centred`` takes the mean, then the mean square of what is left: 3 passes over the features. ``moments`` takes both
sums in one sweep and the variance as their difference: 2 passes, and cancellation where the mean is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Ba, Kiros and Hinton, Layer Normalization, arXiv 1607.06450, equation 4"

_ALGORITHMS = {
    "centred": """
SX[t]   = X[t,d]
MU[t]   = SX[t] / D
XC[t,d] = X[t,d] - MU[t]
SS[t]   = XC[t,d] * XC[t,d]
RN[t]   = rsqrt(SS[t] / D + 1e-5)
Y[t,d]  = XC[t,d] * RN[t] * Scale[d] + Shift[d]
""",
    "moments": """
SX[t]  = X[t,d]
SS[t]  = X[t,d] * X[t,d]
MU[t]  = SX[t] / D
RN[t]  = rsqrt(SS[t] / D - MU[t] * MU[t] + 1e-5)
Y[t,d] = (X[t,d] - MU[t]) * RN[t] * Scale[d] + Shift[d]
""",
}
WEIGHTS = ("Scale", "Shift")
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,d]: every token with mean 0 and variance 1, scaled and shifted."""
    import numpy as np
    x = inputs["X"]
    normed = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return {"Y": normed * inputs["Scale"] + inputs["Shift"]}


def shift_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal features give: the shift alone."""
    import numpy as np
    return {"Y": np.tile(inputs["Shift"], (extents["t"], 1))}


_CASES = (
    Case("random", {"t": 8, "d": 16}),
    Case("odd extents", {"t": 5, "d": 7}),
    Case("a mean away from 0", {"t": 4, "d": 12}, {"X": normal(1.0, 3.0)}, tolerance=1e-11),
    Case("one feature", {"t": 6, "d": 1}, reference=shift_reference),
    Case("equal features", {"t": 6, "d": 8}, {"X": constant(0.5)}, reference=shift_reference),
)


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the features", count, "passes",
                     "reductions that wait for one another", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["d"]))


VARIANT = Variant(
    id="layer_norm",
    title="Layer normalisation",
    system="Transformer",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    published=(_passes("centred", 3), _passes("moments", 2)),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"t": "seq_len", "d": "d_model"},
)
