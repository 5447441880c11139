"""Root mean square normalisation, over the features of each token.

``scaled`` has a scale for each feature; in ``unit-offset``, as Gemma has it, the parameter is that scale minus 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_SQUARES = """
SS[t]  = X[t,d] * X[t,d]
RN[t]  = rsqrt(SS[t] / D + 1e-5)
"""
_ALGORITHMS = {
    "scaled": f"""{_SQUARES}
Y[t,d] = X[t,d] * RN[t] * Scale[d]
""",
    "unit-offset": f"""{_SQUARES}
Y[t,d] = X[t,d] * RN[t] * (1 + Scale[d])
""",
}
WEIGHTS = ("Scale",)
"""The inputs that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,d]: every token with a mean square of 1, scaled."""
    import numpy as np
    return {"Y": inputs["X"] / np.sqrt(np.mean(inputs["X"]**2, axis=1, keepdims=True) + 1e-5) * inputs["Scale"]}


def offset_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same, scaled by 1 more than the parameter."""
    return reference({**inputs, "Scale": inputs["Scale"] + 1}, extents)


def unscaled_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same without a scale: rows whose squares add up to their number, but for the 1e-5."""
    import numpy as np
    squares = np.sum(inputs["X"]**2, axis=1, keepdims=True) + 1e-5 * extents["d"]
    return {"Y": inputs["X"] * np.sqrt(extents["d"] / squares)}


_CASES = (
    Case("random", {"t": 8, "d": 16}, algorithms=("scaled",)),
    Case("odd extents", {"t": 5, "d": 7}, algorithms=("scaled",)),
    Case("one feature", {"t": 5, "d": 1}, algorithms=("scaled",)),
    Case("nothing but 0", {"t": 3, "d": 4}, {"X": constant(0.0)}),
    Case("random, offset", {"t": 8, "d": 16}, algorithms=("unit-offset",), reference=offset_reference),
    Case("an offset of 0 is a scale of 1", {"t": 5, "d": 7}, {"Scale": constant(0.0)}, algorithms=("unit-offset",),
         reference=unscaled_reference),
)

VARIANT = Variant(
    id="rms_norm",
    title="Root mean square normalisation",
    system="Transformer",
    source="Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019, arXiv 1910.07467, equation 4",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"t": "seq_len", "d": "d_model"},
)
