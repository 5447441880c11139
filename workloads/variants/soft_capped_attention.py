"""Causal attention whose scores are capped softly, C * tanh(score / C), before the mask, as in Gemma 2.

``causal`` sees all earlier keys, ``window`` the last W, the query's own among them. The division by C is folded into Q,
as 1/sqrt(E) is. Grouped queries and positions are as in ``causal_attention``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workloads.draws import constant, normal
from workloads.variant import Case, Variant
from workloads.variants.causal_attention import reference as causal_reference
from workloads.variants.softmax_passes import PASSES, POSITION, algorithms, attended, distances, products

if TYPE_CHECKING:
    from workloads.variant import Array


def _capped(window: str) -> dict[str, str]:
    return algorithms(lambda at, m: f"""
QK[r,p,{at}] = Q[r,p,e] * K[{m},e] where {m} <= {POSITION}{window.format(m=m)}
S[r,p,{at}]  = Cap[] * tanh(QK[r,p,{at}])""")


_CAUSAL = {f"causal-{name}": text for name, text in _capped("").items()}
_WINDOW = {f"window-{name}": text for name, text in _capped(f" and {POSITION} - ({{m}}) < W").items()}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[r,p,f]: softmax of capped scores, over the keys that are not later than the query."""
    return attended(_scores(inputs), distances(extents) >= 0, inputs["V"])


def window_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same over the W keys up to the query's own."""
    before = distances(extents)
    return attended(_scores(inputs), (before >= 0) & (before < extents["w"]), inputs["V"])


def uncapped_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what scores far below the cap give: causal attention without one."""
    return causal_reference({**inputs, "Q": inputs["Q"] * inputs["Cap"]}, extents)


def _scores(inputs: Mapping[str, Array]) -> Array:
    """The capped scores, with tanh written as 1 - 2 / (exp(2 x) + 1)."""
    import numpy as np
    out: Array = inputs["Cap"] * (1 - 2 / (np.exp(2 * products(inputs)) + 1))
    return out


def _names(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}-{name}" for name in PASSES)


VARIANT = Variant(
    id="soft_capped_attention",
    title="Causal attention with soft-capped scores",
    system="Transformer",
    source="Gemma Team, Gemma 2: Improving Open Language Models at a Practical Size, arXiv 2408.00118, section 2",
    algorithms={**_CAUSAL, **_WINDOW},
    reference=reference,
    cases=(
        Case("random", {"r": 2, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 4}, algorithms=_names("causal")),
        Case("the last queries of a longer context", {"r": 3, "p": 3, "m": 11, "e": 3, "f": 2, "m0": 4},
             algorithms=_names("causal")),
        Case("scores at the cap", {"r": 2, "p": 7, "m": 7, "e": 4, "f": 4, "m0": 3}, {"Q": normal(50.0)},
             algorithms=_names("causal")),
        Case("scores far below the cap", {"r": 2, "p": 7, "m": 7, "e": 4, "f": 4, "m0": 3},
             {"Q": normal(1e-7), "Cap": constant(1e6)}, algorithms=_names("causal"), reference=uncapped_reference),
        Case("random, window", {"r": 2, "p": 12, "m": 12, "e": 4, "f": 4, "m0": 5, "w": 4}, algorithms=_names("window"),
             reference=window_reference),
        Case("a window of all keys", {"r": 1, "p": 7, "m": 7, "e": 3, "f": 5, "m0": 3, "w": 9},
             algorithms=_names("window")),
    ),
    inputs={"Cap": constant(5.0)},
)
