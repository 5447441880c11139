"""Sigmoid attention: every score through a sigmoid of its own, with neither a maximum nor a denominator.

``sigmoid`` is the operator, ``tanh`` the released kernel's identity sigmoid(x) = (1 + tanh(x/2)) / 2 with the halves
folded into scale and bias, ``split`` adds partial results of tiles of the keys, ``streamed`` accumulates them tile by
tile, and ``alibi`` adds the optional linear bias. Nothing needs a second look at a key: all have one pass. ``Bias`` is
the scalar added to every score; the released code has 0, and -log(number of keys) is often recommended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs, visible
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Ramapuram et al., Theory, Analysis, and Best Practices for Sigmoid Self-Attention, arXiv 2409.04431"
_REPOSITORY = "github.com/apple/ml-sigmoid-attention, flash_sigmoid/README.md"

_ALGORITHMS = {
    "sigmoid": """
QK[p,m] = Q[p,e] * K[m,e]
S[p,m]  = QK[p,m] * rsqrt(E) + Bias[]
A[p,m]  = sigmoid(S[p,m])
O[p,f]  = A[p,m] * V[m,f]
""",
    "tanh": """
HB[]    = Bias[] / 2
QK[p,m] = Q[p,e] * K[m,e]
HS[p,m] = QK[p,m] * (rsqrt(E) / 2) + HB[]
T[p,m]  = tanh(HS[p,m])
A[p,m]  = T[p,m] * 0.5 + 0.5
O[p,f]  = A[p,m] * V[m,f]
""",
    "split": """
BQK[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e]
BS[m1,m0,p]  = BQK[m1,m0,p] * rsqrt(E) + Bias[]
BA[m1,m0,p]  = sigmoid(BS[m1,m0,p])
PO[m1,p,f]   = BA[m1,m0,p] * V[m1*M0 + m0, f]
O[p,f]       = PO[m1,p,f]
""",
    "streamed": """
init RO[0,p,f] = 0
BQK[m1,m0,p]  = Q[p,e] * K[m1*M0 + m0, e]
BS[m1,m0,p]   = BQK[m1,m0,p] * rsqrt(E) + Bias[]
BA[m1,m0,p]   = sigmoid(BS[m1,m0,p])
PO[m1,p,f]    = BA[m1,m0,p] * V[m1*M0 + m0, f]
RO[m1+1,p,f]  = RO[m1,p,f] + PO[m1,p,f]
O[p,f]        = RO[M1,p,f]
""",
    "alibi": """
QK[p,m] = Q[p,e] * K[m,e]
S[p,m]  = QK[p,m] * rsqrt(E) + Bias[] - Slope[] * abs(p - m)
A[p,m]  = sigmoid(S[p,m])
O[p,f]  = A[p,m] * V[m,f]
""",
}
_PLAIN = ("sigmoid", "tanh", "split", "streamed")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f] = sum over the keys m that ``Mask[p,m]`` shows of V[m,f] / (1 + exp(-S[p,m])).

    S = Q K / sqrt(E) + Bias, less Slope * |p - m| where there is a slope. Written as odds / (1 + odds), with the
    logarithm of the denominator taken as one function.
    """
    import numpy as np
    return {"O": np.where(_mask(inputs), np.exp(-np.logaddexp(0.0, -_scores(inputs))), 0.0) @ inputs["V"]}


def exponential_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the limit of a very negative bias, where the sigmoid is exp: linear in exp(S), without a denominator."""
    import numpy as np
    return {"O": np.where(_mask(inputs), np.exp(_scores(inputs)), 0.0) @ inputs["V"]}


def half_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what scores of 0 give: half the sum of the values, for every query."""
    import numpy as np
    return {"O": np.tile(inputs["V"].sum(axis=0) / 2, (len(inputs["Q"]), 1))}


def sum_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the limit of a very large bias: the sum of the values that are seen."""
    import numpy as np
    return {"O": _mask(inputs) * np.ones_like(_scores(inputs)) @ inputs["V"]}


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention in which query p sees the keys up to m = p."""
    import numpy as np
    return reference({**inputs, "Mask": np.tri(len(inputs["Q"]), len(inputs["K"]), dtype=bool)}, extents)


def window_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention in which query p sees the last ``w`` keys up to m = p."""
    import numpy as np
    distance = np.arange(len(inputs["Q"]))[:, None] - np.arange(len(inputs["K"]))
    return reference({**inputs, "Mask": (distance >= 0) & (distance < extents["w"])}, extents)


def _scores(inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    q, k = inputs["Q"], inputs["K"]
    distance = np.abs(np.subtract.outer(np.arange(len(q)), np.arange(len(k))))
    scores: Array = q @ k.T / np.sqrt(q.shape[1]) + inputs["Bias"] - inputs.get("Slope", 0.0) * distance
    return scores


def _mask(inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    return np.asarray(inputs.get("Mask", True), dtype=bool)


_MASKED = {"QK": "Mask[p,m]", "BQK": "Mask[p, m1*M0 + m0]"}
_CAUSAL = {"QK": "m <= p", "BQK": "m1*M0 + m0 <= p"}
_WINDOW = {"QK": "m <= p and p - m < W", "BQK": "m1*M0 + m0 <= p and p - (m1*M0 + m0) < W"}

_CASES = (
    Case("random", {"p": 16, "m": 32, "e": 8, "f": 8, "m0": 8}),
    Case("odd extents, ragged last tile", {"p": 5, "m": 23, "e": 3, "f": 7, "m0": 4}),
    Case("one tile longer than the keys", {"p": 3, "m": 5, "e": 2, "f": 2, "m0": 8}),
    Case("tiles of one key", {"p": 3, "m": 6, "e": 2, "f": 3, "m0": 1}),
    Case("one key", {"p": 4, "m": 1, "e": 4, "f": 3, "m0": 4}),
    # Products of signs: sums of E terms of 160/E, over sqrt(E) = 2, reach 80 and -80.
    Case("logits of 80 and -80", {"p": 24, "m": 48, "e": 4, "f": 8, "m0": 16}, {"Q": signs(160 / 4), "K": signs()}),
    Case("masked, rows that see nothing", {"p": 9, "m": 21, "e": 4, "f": 5, "m0": 4},
         {"Mask": visible(0.3, empty_rows=2)}, _MASKED),
    Case("masked everywhere", {"p": 4, "m": 10, "e": 4, "f": 5, "m0": 4}, {"Mask": visible(0.0)}, _MASKED),
    Case("causal", {"p": 13, "m": 13, "e": 4, "f": 4, "m0": 3}, where=_CAUSAL, reference=causal_reference),
    Case("causal in a window", {"p": 13, "m": 13, "e": 4, "f": 4, "m0": 3, "w": 5}, where=_WINDOW,
         reference=window_reference),
    Case("a window of all keys is causal", {"p": 9, "m": 9, "e": 4, "f": 4, "m0": 4, "w": 9}, where=_WINDOW,
         reference=causal_reference),
    Case("scores of 0 give half the sum", {"p": 4, "m": 11, "e": 4, "f": 4, "m0": 4},
         {"Q": constant(0.0), "Bias": constant(0.0)}, algorithms=_PLAIN, reference=half_reference),
    Case("large bias gives the sum", {"p": 4, "m": 11, "e": 4, "f": 4, "m0": 4}, {"Bias": constant(60.0)},
         algorithms=_PLAIN, reference=sum_reference),
    # 1 + tanh loses what is below the rounding of 1: the identity cannot reach this limit.
    Case("very negative bias gives exp", {"p": 6, "m": 11, "e": 4, "f": 4, "m0": 4}, {"Bias": constant(-60.0)},
         algorithms=("sigmoid", "split", "streamed"), reference=exponential_reference),
    Case("slope of 0 is none", {"p": 6, "m": 11, "e": 4, "f": 4}, {"Slope": constant(0.0)}, algorithms=("alibi",),
         reference=lambda inputs, extents: reference({k: v for k, v in inputs.items() if k != "Slope"}, extents)),
)


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the keys", 1.0, "passes", f"{_PAPER}: no statistic of a row",
                     "calculated", lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


def _speed(what: str, value: float) -> Published:
    return Published(f"H100 speed over FlashAttention-2 2.5.6, {what}", value, "%",
                     f"{_REPOSITORY}; abstract of {_PAPER}", "read")


VARIANT = Variant(
    id="flash_sigmoid",
    title="Sigmoid attention",
    system="Sigmoid Self-Attention (FlashSigmoid)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    inputs={"Bias": normal(), "Slope": normal(0.1)},
    shapes=tuple(Shape(f"d{d}-n{n}", {"p": n, "m": n, "e": d, "f": d},
                       f"{_REPOSITORY}: benchmark of hidden size 2048, fp16", instances=batch * 2048 // d)
                 for d in (64, 128)
                 for batch, n in ((32, 512), (16, 1024), (8, 2048), (4, 4096), (2, 8192), (1, 16384))),
    published=(
        *(_passes(algorithm) for algorithm in _ALGORITHMS),
        _speed("forward, full", 17.39), _speed("forward, causal", 18.76),
        _speed("backward, full", 2.7), _speed("backward, causal", 6.19),
    ),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
