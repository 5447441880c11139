"""Relative convolutional attention: queries, keys and values through a short causal convolution, and relative scores.

Projected queries, keys and values are convolved over time, each channel by itself with W taps and a bias, and nothing
before the first token. The score is that of the query plus a learned vector with the key, of the query with a vector of
the distance, and a bias of the distance: s ((Q + U) K + Q R[i] + Beta[i]), s = 1/sqrt(E), i = N + (m - position of p),
in tables of 2 N entries. Causal; the queries are the last p of the m positions, convolved with what they follow.

One copy is one head; filters are shared by heads, and are of queries, keys and values each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes
from workloads.variants.softmax_passes import POSITION

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "RCMHA: Relative Convolutional Multi-Head Attention for Natural Language Modelling"
_REPOSITORY = "github.com/hermansh-id/rcmha, rcmha/attention.py, util.py and config.py"

_CONVOLVED = f"""
CQ[p,e] = Q0[{POSITION} - W + 1 + w, e; fill=0] * Wq[e,w]
CK[m,e] = K0[m - W + 1 + w, e; fill=0] * Wk[e,w]
CV[m,f] = V0[m - W + 1 + w, f; fill=0] * Wv[f,w]
Q[p,e]  = CQ[p,e] + Bq[e]
K[m,e]  = CK[m,e] + Bk[e]
V[m,f]  = CV[m,f] + Bv[f]
QU[p,e] = Q[p,e] + U[e]
"""


def _scores(at: str, m: str) -> str:
    distance = f"N - M + P + {m} - p"
    return f"""{_CONVOLVED}
QK[p,{at}] = QU[p,e] * K[{m},e] where {m} <= {POSITION}
QR[p,{at}] = Q[p,e] * R[{distance}, e] where {m} <= {POSITION}
S[p,{at}]  = (QK[p,{at}] + QR[p,{at}] + Beta[{distance}]) * rsqrt(E)
"""


_ALGORITHMS = {
    "3pass": _scores("m", "m") + three_passes("p", "m", "V[m,f]", "O[p,f]"),
    "2pass": _scores("m", "m") + two_passes("p", "m", "V[m,f]", "O[p,f]"),
    "1pass": _scores("m1,m0", "m1*M0 + m0") + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "O[p,f]"),
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f], by the shift of rows that lines up a matrix of all relative vectors."""
    import numpy as np
    t, queries, keys = dict(inputs), extents["p"], extents["m"]

    def convolved(x: Array, taps: Array, bias: Array) -> Array:
        out = np.zeros_like(x) + bias
        for step in range(taps.shape[1]):
            back = taps.shape[1] - 1 - step
            out[back:] += x[:len(x) - back] * taps[:, step]
        return out
    q = convolved(t["Q0"], t["Wq"], t["Bq"])[keys - queries:]
    k, v = convolved(t["K0"], t["Wk"], t["Bk"]), convolved(t["V0"], t["Wv"], t["Bv"])
    half = extents["n"]
    relative = q @ t["R"].T + t["Beta"]
    # Row of position i: entry half + m - i, for m = 0 ... i; what comes later is not seen.
    shifted = np.zeros((queries, keys))
    for row in range(queries):
        position = keys - queries + row
        shifted[row, :position + 1] = relative[row, half - position:half + 1]
    scores = ((q + t["U"]) @ k.T + shifted) / np.sqrt(q.shape[1])
    return {"O": softmax(scores, np.tri(queries, keys, keys - queries, dtype=bool)) @ v}


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what identity filters and empty tables give: causal attention."""
    import numpy as np
    queries, keys = extents["p"], extents["m"]
    scores = inputs["Q0"][keys - queries:] @ inputs["K0"].T / np.sqrt(inputs["Q0"].shape[1])
    return {"O": softmax(scores, np.tri(queries, keys, keys - queries, dtype=bool)) @ inputs["V0"]}


def identity(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws the filter that gives the token itself: 1 at the last tap."""
    import numpy as np
    taps = np.zeros(shape)
    taps[:, -1] = 1
    return taps


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", "convolutions reach back, and wait for nothing",
                     "calculated", lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


_SMALL = {"p": 7, "m": 7, "m0": 3, "n": 9, "w": 3, "e": 4, "f": 3}
_LONG = {"p": 4, "m": 11, "m0": 4, "n": 11, "w": 3, "e": 5, "f": 2}
_NONE = {**dict.fromkeys(("Wq", "Wk", "Wv"), identity), **dict.fromkeys(("Bq", "Bk", "Bv", "U", "R", "Beta"), constant(0.0))}


def _cases(name: str, extents: Mapping[str, int], **rest: Any) -> tuple[Case, Case]:
    """Returns the case of all algorithms and, as only one has tiles, the same without their size."""
    whole = {r: n for r, n in extents.items() if r != "m0"}
    return (Case(name, whole, algorithms=("3pass", "2pass"), **rest),
            Case(f"{name}, 1 pass", extents, algorithms=("1pass",), **rest))


VARIANT = Variant(
    id="rcmha",
    title="Relative convolutional multi-head attention",
    system="RCMHA",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        *_cases("random", _SMALL),
        *_cases("the last queries of a longer context", _LONG),
        *_cases("fewer tokens than taps", {**_SMALL, "p": 2, "m": 2}),
        *_cases("identity filters and empty tables are causal attention", _SMALL, inputs=_NONE, reference=causal_reference),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        *_cases("logits beyond the range of exp", _SMALL, inputs={"Q0": normal(1e3)}, tolerance=1e-9),
    ),
    # Read at an offset, they do not say how long they are.
    input_shapes={"Q0": lambda n: (n["m"], n["e"]), "K0": lambda n: (n["m"], n["e"]), "V0": lambda n: (n["m"], n["f"]),
                  "R": lambda n: (2 * n["n"], n["e"]), "Beta": lambda n: (2 * n["n"],)},
    shapes=(Shape("repository", {"p": 4096, "m": 4096, "n": 4096, "w": 3, "e": 16, "f": 16},
                  f"{_REPOSITORY}: d = 128, 8 heads, tables of 8192", 8),),
    published=(
        _passes("3pass", 3), _passes("2pass", 2), _passes("1pass", 1),
        Published("memory of training", 2.98, "GB", f"abstract of {_PAPER}; against 3.5 GB of relative attention without "
                  "convolution", "abstract"),
    ),
)
