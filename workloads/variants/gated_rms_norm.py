"""The norm of Mamba-2: gate first, then root mean square normalisation in groups of features.

A feature of a token is coordinate d of group g; groups are normalised by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = {
    "gate-first": """
XZ[t,g,d] = X[t,g,d] * silu(Z[t,g,d])
SS[t,g]   = XZ[t,g,d] * XZ[t,g,d]
RN[t,g]   = rsqrt(SS[t,g] / D + 1e-5)
Y[t,g,d]  = XZ[t,g,d] * RN[t,g] * Scale[g,d]
""",
}
WEIGHTS = ("Scale",)
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,g,d]: gated features, every group with a mean square of 1, scaled."""
    import numpy as np
    gated = inputs["X"] * inputs["Z"] / (1 + np.exp(-inputs["Z"]))
    return {"Y": gated / np.sqrt(np.mean(gated**2, axis=-1, keepdims=True) + 1e-5) * inputs["Scale"]}


def closed_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what closed gates leave: nothing."""
    import numpy as np
    return {"Y": np.zeros_like(inputs["X"])}


_CASES = (
    Case("random", {"t": 6, "g": 2, "d": 8}),
    Case("odd extents, one group", {"t": 5, "g": 1, "d": 7}),
    Case("groups of one feature", {"t": 5, "g": 6, "d": 1}),
    Case("closed gates", {"t": 4, "g": 2, "d": 3}, {"Z": constant(0.0)}, reference=closed_reference),
)

VARIANT = Variant(
    id="gated_rms_norm",
    title="Gated root mean square normalisation",
    system="Mamba",
    source="Dao and Gu, Transformers are SSMs, ICML 2024, arXiv 2405.21060, figure 6; github.com/state-spaces/mamba, "
           "mamba_ssm/ops/triton/layernorm_gated.py: norm_before_gate false",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
)
