"""The addition of a layer's output to the residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,d], the sum of both."""
    return {"Y": inputs["X"] + inputs["R"]}


VARIANT = Variant(
    id="residual",
    title="Residual addition",
    system="Transformer",
    source="He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385, equation 1",
    algorithms={"add": "Y[t,d] = X[t,d] + R[t,d]"},
    reference=reference,
    cases=(
        Case("random", {"t": 6, "d": 8}),
        Case("odd extents", {"t": 1, "d": 7}),
        Case("a layer that gives 0", {"t": 3, "d": 4}, {"X": constant(0.0)},
             reference=lambda inputs, extents: {"Y": inputs["R"]}),
    ),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"t": "seq_len", "d": "d_model"},
)
