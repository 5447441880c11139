"""Routing of a mixture of experts: which J of X experts each token goes to, and the sum of what they give back.

``route`` takes softmax over the router's logits, then the J largest with their probabilities as they are, as Jamba
does; ``combine`` adds the outputs of a token's experts, weighted so. The experts themselves are linear layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_ALGORITHMS = {
    "route": """
output I
GM[t]   = max[x] L[t,x]
SN[t,x] = exp(L[t,x] - GM[t])
SD[t]   = SN[t,x]
W[t,x]  = SN[t,x] / SD[t]
I[t,j]  = topk[x; j](W[t,x])
G[t,j]  = W[t,I[t,j]]
""",
    "combine": "Y[t,d] = G[t,j] * O[t,j,d]",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the experts I[t,j], best first, and their probabilities G[t,j]."""
    import numpy as np
    order = np.argsort(-inputs["L"], axis=1, kind="stable")[:, :extents["j"]]
    total = np.logaddexp.reduce(inputs["L"], axis=1, keepdims=True)
    return {"I": order.astype(np.float64), "G": np.exp(np.take_along_axis(inputs["L"], order, axis=1) - total)}


def combine_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,d], the weighted sum of each token's experts."""
    return {"Y": (inputs["G"][:, None, :] @ inputs["O"])[:, 0]}


def even_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal logits give: the first experts, with equal probabilities."""
    import numpy as np
    shape = extents["t"], extents["j"]
    return {"I": np.broadcast_to(np.arange(extents["j"], dtype=np.float64), shape), "G": np.full(shape, 1 / extents["x"])}


VARIANT = Variant(
    id="expert_router",
    title="Routing of a mixture of experts",
    system="Transformer",
    source="Shazeer et al., Outrageously Large Neural Networks, ICLR 2017, arXiv 1701.06538, section 2; order of softmax "
           "and top-k: Lieber et al., Jamba, arXiv 2403.19887, and its released code",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"t": 7, "x": 8, "j": 2}, algorithms=("route",)),
        Case("all experts", {"t": 5, "x": 3, "j": 3}, algorithms=("route",)),
        Case("equal logits", {"t": 4, "x": 5, "j": 2}, {"L": constant(0.3)}, algorithms=("route",),
             reference=even_reference),
        Case("sum of experts", {"t": 6, "j": 2, "d": 5}, algorithms=("combine",), reference=combine_reference),
        Case("one expert", {"t": 6, "j": 1, "d": 5}, {"G": constant(1.0)}, algorithms=("combine",),
             reference=lambda inputs, extents: {"Y": inputs["O"][:, 0]}),
    ),
)
