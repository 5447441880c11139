"""Attention with a bias that depends on the distance of query and key alone, as in T5; and that bias from its buckets.

``RB`` has a value for each of the P + M - 1 distances, in the order of m - p: read in place, so that no P x M matrix of
biases is kept. ``buckets`` makes it for each head h from a table of B values, by the bucket ``Bkt`` of every distance
(a constant of the lengths), once for all layers of a stack. ``full`` sees all keys, ``causal`` the earlier ones.
Grouped queries and positions are as in ``causal_attention``; T5 does not scale its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant, coordinates
from workloads.variant import Case, Variant
from workloads.variants.causal_attention import reference as causal_reference
from workloads.variants.softmax_passes import PASSES, POSITION, algorithms, attended, distances, products

if TYPE_CHECKING:
    from workloads.variant import Array


def _biased(mask: str) -> dict[str, str]:
    return algorithms(lambda at, m: f"""
QK[r,p,{at}] = Q[r,p,e] * K[{m},e]{mask.format(m=m)}
S[r,p,{at}]  = QK[r,p,{at}] + RB[{m} - p + P - 1]""")


_ALGORITHMS = {
    **{f"full-{name}": text for name, text in _biased("").items()},
    **{f"causal-{name}": text for name, text in _biased(f" where {{m}} <= {POSITION}").items()},
    "buckets": "RB[h,d] = Table[Bkt[d],h] where Bkt[d] < B",
}
WEIGHTS = ("Table",)
"""The inputs of ``buckets`` that are parameters of the stack."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[r,p,f]: softmax of scores and biases over all keys."""
    import numpy as np
    return attended(_scores(inputs, extents), np.array(True), inputs["V"])


def biased_causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same over the keys that are not later than the query."""
    return attended(_scores(inputs, extents), distances(extents) >= 0, inputs["V"])


def buckets_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns RB[h,d], the value of each distance's bucket for each head."""
    import numpy as np
    return {"RB": (np.equal.outer(inputs["Bkt"], np.arange(extents["b"])) @ inputs["Table"]).T}


def _scores(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> Array:
    """The scores and the biases, of a matrix whose diagonals are constant."""
    import numpy as np
    bias = np.stack([inputs["RB"][extents["p"] - 1 - p:][:extents["m"]] for p in range(extents["p"])])
    out: Array = products(inputs) + bias
    return out


def _names(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}-{name}" for name in PASSES)


VARIANT = Variant(
    id="relative_bias_attention",
    title="Attention with relative position bias",
    system="Transformer",
    source="Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, JMLR 21, "
           "2020, arXiv 1910.10683, section 2.1",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"r": 1, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 4}, algorithms=_names("full")),
        Case("more keys than queries", {"r": 2, "p": 5, "m": 11, "e": 3, "f": 2, "m0": 3}, algorithms=_names("full")),
        Case("random, causal", {"r": 1, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 5}, algorithms=_names("causal"),
             reference=biased_causal_reference),
        Case("one query, causal", {"r": 2, "p": 1, "m": 9, "e": 4, "f": 4, "m0": 4}, algorithms=_names("causal")),
        Case("equal biases change nothing", {"r": 2, "p": 7, "m": 7, "e": 3, "f": 5, "m0": 3}, {"RB": constant(2.5)},
             algorithms=_names("causal"), reference=causal_reference),
        Case("buckets", {"h": 3, "d": 11, "b": 4}, algorithms=("buckets",), reference=buckets_reference),
    ),
    inputs={"Bkt": coordinates("b")},
    input_shapes={"RB": lambda extents: (extents["p"] + extents["m"] - 1,),
                  "Table": lambda extents: (extents["b"], extents["h"])},
)
