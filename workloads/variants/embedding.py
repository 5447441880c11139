"""Embedding of tokens: a row of a table for each, gathered by its number.

``scaled`` multiplies the row by a number, as Gemma does (the root of the width). ``positions`` adds the row of the
token's place and that of its segment, as BERT does. A token that is not in the vocabulary gives 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant, coordinates
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_ALGORITHMS = {
    "lookup": "Y[t,d] = Table[I[t],d] where I[t] < V",
    "scaled": "Y[t,d] = Table[I[t],d] * Factor[] where I[t] < V",
    "positions": """
Y[b,p,d] = Table[I[b,p],d] + Place[p + 0,d] + Kind[S[b,p],d] where I[b,p] < V and p < L and S[b,p] < C
""",
}
WEIGHTS = ("Table",)
"""The inputs of ``lookup`` and ``scaled`` that are parameters of the layer."""
POSITION_WEIGHTS = ("Table", "Place", "Kind")
"""The inputs of ``positions`` that are parameters of the layer."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[t,d], as the product of the table with one-hot rows."""
    return {"Y": _one_hot(inputs["I"], extents["v"]) @ inputs["Table"] * inputs.get("Factor", 1.0)}


def position_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[b,p,d], the sum of the token's, the place's and the segment's rows."""
    return {"Y": _one_hot(inputs["I"], extents["v"]) @ inputs["Table"] + inputs["Place"][:extents["p"]]
            + _one_hot(inputs["S"], extents["c"]) @ inputs["Kind"]}


def _one_hot(index: Array, size: int) -> Array:
    import numpy as np
    return np.equal.outer(index, np.arange(size)).astype(np.float64)


def _any_token(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    return rng.integers(0, 2 * extents["v"], shape)


_TOKENS = ("lookup", "scaled")

VARIANT = Variant(
    id="embedding",
    title="Embedding of tokens",
    system="Transformer",
    source="Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, section 3.4; positions and "
           "segments: Devlin et al., NAACL 2019, arXiv 1810.04805, figure 2",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"t": 12, "d": 4, "v": 9}, algorithms=_TOKENS),
        Case("a vocabulary of one", {"t": 5, "d": 3, "v": 1}, algorithms=_TOKENS,
             reference=lambda inputs, extents: {"Y": inputs["Table"].repeat(extents["t"], 0) * inputs.get("Factor", 1.0)}),
        Case("tokens beyond the vocabulary", {"t": 12, "d": 4, "v": 6}, {"I": _any_token}, algorithms=_TOKENS),
        Case("random, with positions", {"b": 3, "p": 6, "d": 4, "v": 9, "l": 8, "c": 2}, algorithms=("positions",),
             reference=position_reference),
        Case("all places, one segment", {"b": 2, "p": 5, "d": 3, "v": 7, "l": 5, "c": 1}, algorithms=("positions",),
             reference=position_reference),
    ),
    inputs={"I": coordinates("v"), "S": coordinates("c"), "Factor": constant(3.0)},
    input_shapes={"Table": lambda extents: (extents["v"], extents["d"]),
                  "Place": lambda extents: (extents["l"], extents["d"]),
                  "Kind": lambda extents: (extents["c"], extents["d"])},
)
