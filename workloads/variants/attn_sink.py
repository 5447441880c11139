"""Causal attention with a virtual key, or without softmax: the forms in which attention sinks emerge, or do not.

``kv-bias`` adds one key Ks with a value Vs that every query sees; it stands before all positions and is not rotated
(rotary positions of the others are applied before). ``k-bias`` is the same with a value of 0: a part of the weight goes
nowhere. ``k-bias-gate`` is the identity O = plain attention * sigmoid(LSE - score of the virtual key). ``off-by-one``
has a virtual score of 0. ``v-bias`` only adds Vs. With running statistics (``-1pass``) a virtual key is no more than
where the statistics begin: maximum SS, denominator 1, numerator Vs.

``sigmoid`` and ``elu`` have another similarity in place of exp, sigmoid or elu + 1, without a denominator;
``-normed`` divides by the row's sum + 1e-8. ``kernel-elu`` and ``kernel-identity`` have a feature map of queries and
keys in place of a similarity, ``kernel-mlp`` a network of two layers with ReLU that both share, so that only the sums
of keys are carried on; their scores are scaled too. Sums of ``kernel-elu`` are divided by the row's + 1e-8, those of
the others by max(|row's|, 1), both by none in ``-unnormed``.

One copy is one head; the virtual key is shared by heads or of each head. Queries are the last p of the m positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes
from workloads.variants.softmax_passes import POSITION

if TYPE_CHECKING:
    from workloads.variant import Array, Draw, Reference

_PAPER = "Gu et al., When Attention Sink Emerges in Language Models: An Empirical View, ICLR 2025, arXiv 2410.10781"
_REPOSITORY = "github.com/sail-sg/Attention-Sink, lit_gpt/config.py"

_SCORES = f"""
QK[p,m] = Q[p,e] * K[m,e] where m <= {POSITION}
S[p,m]  = QK[p,m] * rsqrt(E)
"""
_TILED = f"""
QK[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e] where m1*M0 + m0 <= {POSITION}
S[p,m1,m0]  = QK[p,m1,m0] * rsqrt(E)
"""
_VIRTUAL = """
SK[p] = Q[p,e] * Ks[e]
SS[p] = SK[p] * rsqrt(E)
"""
_TILE = ("p", "m1", "m0", "V[m1*M0 + m0, f]")


def _with_virtual(score: str, value: str) -> str:
    """Softmax written out, over the keys and one more with this score and value (none: 0)."""
    out = "O[p,f]  = OV[p,f] + AS[p] * " + value if value else "O[p,f]  = A[p,m] * V[m,f]"
    sums = "OV[p,f] = A[p,m] * V[m,f]\nAS[p]   = NS[p] / SD[p]\n" if value else ""
    return f"""
GK[p]   = max[m] S[p,m]
GM[p]   = max(GK[p], {score})
SN[p,m] = exp(S[p,m] - GM[p])
NS[p]   = exp({score} - GM[p])
DK[p]   = SN[p,m]
SD[p]   = DK[p] + NS[p]
A[p,m]  = SN[p,m] / SD[p]
{sums}{out}
"""


def _similarity(function: str, normed: bool) -> str:
    weights = "D[p]    = G[p,m]\nA[p,m]  = G[p,m] / (D[p] + 1e-8)" if normed else "A[p,m]  = G[p,m]"
    return f"""{_SCORES}
G[p,m]  = {function}
{weights}
O[p,f]  = A[p,m] * V[m,f]
"""


_MLP = """
HQ[m,u] = Q[m,e] * W1[u,e]
HK[m,u] = K[m,e] * W1[u,e]
TQ[m,u] = relu(HQ[m,u] + B1[u])
TK[m,u] = relu(HK[m,u] + B1[u])
YQ[m,g] = TQ[m,u] * W2[g,u]
YK[m,g] = TK[m,u] * W2[g,u]
PQ[m,g] = YQ[m,g] + B2[g]
PK[m,g] = YK[m,g] + B2[g]
"""
_FEATURES = {
    "elu": ("PQ[m,e] = elu(Q[m,e]) + 1\nPK[m,e] = elu(K[m,e]) + 1\n", "PQ[m,e]", "PK[m,e]", "Z[m] + 1e-8"),
    "identity": ("", "Q[m,e]", "K[m,e]", "max(abs(Z[m]), 1)"),
    "mlp": (_MLP, "PQ[m,g]", "PK[m,g]", "max(abs(Z[m]), 1)"),
}


def _kernel(name: str, normed: bool) -> str:
    """Linear attention: the sums over the keys so far are the state, and no pair of tokens is looked at."""
    lines, query, key, divisor = _FEATURES[name]
    g = key[-2]
    sums = f"""{lines}
init KV[0,{g},f] = 0
KV[m+1,{g},f] = KV[m,{g},f] + {key} * V[m,f]
NQ[m,f] = {query} * KV[m+1,{g},f]
"""
    if not normed:
        return sums + "O[m,f] = NQ[m,f] * rsqrt(E)\n"
    return sums + f"""
init KS[0,{g}] = 0
KS[m+1,{g}] = KS[m,{g}] + {key}
NV[m,f] = NQ[m,f] * rsqrt(E)
ZQ[m]   = {query} * KS[m+1,{g}]
Z[m]    = ZQ[m] * rsqrt(E)
O[m,f]  = NV[m,f] / ({divisor})
"""


_ALGORITHMS = {
    "kv-bias-3pass": _SCORES + _VIRTUAL + _with_virtual("SS[p]", "Vs[f]"),
    "kv-bias-1pass": _TILED + _VIRTUAL + one_pass(*_TILE, "O[p,f]", seeds=("SS[p]", "1", "Vs[f]")),
    "k-bias-3pass": _SCORES + _VIRTUAL + _with_virtual("SS[p]", ""),
    "k-bias-1pass": _TILED + _VIRTUAL + one_pass(*_TILE, "O[p,f]", seeds=("SS[p]", "1", "0")),
    "k-bias-gate": _SCORES + _VIRTUAL + two_passes("p", "m", "V[m,f]", "OP[p,f]") + """
LSE[p] = GM[p] + log(SD[p])
GS[p]  = sigmoid(LSE[p] - SS[p])
O[p,f] = OP[p,f] * GS[p]
""",
    "off-by-one-3pass": _SCORES + _with_virtual("0", ""),
    "off-by-one-1pass": _TILED + one_pass(*_TILE, "O[p,f]", seeds=("0", "1", "0")),
    "v-bias-3pass": _SCORES + three_passes("p", "m", "V[m,f]", "OP[p,f]") + "O[p,f] = OP[p,f] + Vs[f]\n",
    "v-bias-1pass": _TILED + one_pass(*_TILE, "OP[p,f]") + "O[p,f] = OP[p,f] + Vs[f]\n",
    "sigmoid": _similarity("sigmoid(S[p,m])", False),
    "sigmoid-normed": _similarity("sigmoid(S[p,m])", True),
    "elu": _similarity("elu(S[p,m]) + 1", False),
    "elu-normed": _similarity("elu(S[p,m]) + 1", True),
    **{f"kernel-{name}{'' if normed else '-unnormed'}": _kernel(name, normed)
       for name in _FEATURES for normed in (True, False)},
}
_VIRTUALS = tuple(name for name in _ALGORITHMS if name.startswith(("kv-bias", "k-bias")))
_OFF = ("off-by-one-3pass", "off-by-one-1pass")
_ADDED = ("v-bias-3pass", "v-bias-1pass")
_SIMILAR = tuple((function, normed) for function in ("sigmoid", "elu") for normed in (False, True))
_KERNELS = tuple((name, normed) for name in _FEATURES for normed in (False, True))


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: softmax attention of keys and values with a row put before them, which every query sees."""
    import numpy as np
    keys = np.concatenate((inputs["Ks"][None], inputs["K"]))
    values = np.concatenate((inputs.get("Vs", np.zeros(inputs["V"].shape[1]))[None], inputs["V"]))
    seen = np.concatenate((np.ones((len(inputs["Q"]), 1), dtype=bool), _causal(inputs)), axis=1)
    return {"O": softmax(inputs["Q"] @ keys.T / np.sqrt(keys.shape[1]), seen) @ values}


def off_by_one_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention whose denominator is 1 more than the sum of the exponentials."""
    import numpy as np
    scores = np.where(_causal(inputs), _scores(inputs), -np.inf)
    total = np.logaddexp(np.logaddexp.reduce(scores, axis=1, keepdims=True), 0.0)
    return {"O": np.exp(scores - total) @ inputs["V"]}


def plain_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal attention without a virtual key."""
    return {"O": softmax(_scores(inputs), _causal(inputs)) @ inputs["V"]}


def added_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal attention, and the value that is added to all of it."""
    return {"O": plain_reference(inputs, extents)["O"] + inputs["Vs"]}


def _similar(function: str, normed: bool) -> Reference:
    def formula(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
        import numpy as np
        scores = _scores(inputs)
        weights = 1 / (1 + np.exp(-scores)) if function == "sigmoid" else _elu1(scores)
        weights = weights * _causal(inputs)
        return {"O": (weights / (weights.sum(axis=1, keepdims=True) + 1e-8) if normed else weights) @ inputs["V"]}
    return formula


def _of_kernel(name: str, normed: bool) -> Reference:
    def features(x: Array, t: Mapping[str, Array]) -> Array:
        import numpy as np
        if name == "mlp":
            out: Array = np.maximum(x @ t["W1"].T + t["B1"], 0) @ t["W2"].T + t["B2"]
            return out
        return _elu1(x) if name == "elu" else x

    def formula(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
        import numpy as np
        scale = np.sqrt(inputs["Q"].shape[1])
        weights = features(inputs["Q"], inputs) @ features(inputs["K"], inputs).T / scale * _causal(inputs)
        row = weights.sum(axis=1, keepdims=True)
        row = row + 1e-8 if name == "elu" else np.maximum(np.abs(row), 1)
        return {"O": (weights / row if normed else weights) @ inputs["V"]}
    return formula


def _elu1(x: Array) -> Array:
    import numpy as np
    out: Array = np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
    return out


def _scores(inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    out: Array = inputs["Q"] @ inputs["K"].T / np.sqrt(inputs["Q"].shape[1])
    return out


def _causal(inputs: Mapping[str, Array]) -> Array:
    """Which keys each query sees: the queries are the last of the positions."""
    import numpy as np
    queries, keys = len(inputs["Q"]), len(inputs["K"])
    return np.tri(queries, keys, keys - queries, dtype=bool)


_SMALL = {"p": 7, "m": 7, "m0": 3, "e": 4, "f": 3}
_LONG = {"p": 4, "m": 13, "m0": 4, "e": 5, "f": 2}


def _own(algorithms: tuple[str, ...], extents: Mapping[str, int], name: str, draws: Mapping[str, Draw] | None = None,
         formula: Reference | None = None, tolerance: float = 1e-12) -> Case:
    """A case of some algorithms, with the extents that one of them has."""
    tiled = any(name.endswith("1pass") for name in algorithms)
    return Case(name, {r: n for r, n in extents.items() if tiled or r != "m0"}, draws or {}, {}, algorithms, formula,
                tolerance)


_CASES = (
    _own(_VIRTUALS, _SMALL, "virtual key"),
    _own(_VIRTUALS, _LONG, "virtual key, the last queries of a longer context"),
    _own(_VIRTUALS, _SMALL, "virtual key, logits of 80 and -80",
         {"Q": signs(160 / 4), "K": signs(), "Ks": signs()}),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    _own(_VIRTUALS, _SMALL, "virtual key, logits beyond the range of exp", {"Q": normal(2e3)}, tolerance=1e-9),
    # exp(-4e4) is 0: the virtual key has no weight.
    _own(_VIRTUALS, _SMALL, "a virtual key that is not seen is none",
         {"Q": constant(1.0), "Ks": constant(-2e4)}, plain_reference),
    _own(_VIRTUALS, _SMALL, "a virtual score of 0 and no value are one more in the denominator",
         {"Ks": constant(0.0), "Vs": constant(0.0)}, off_by_one_reference),
    _own(_OFF, _LONG, "one more in the denominator", formula=off_by_one_reference),
    _own(_OFF, _SMALL, "one more in the denominator, logits of 80 and -80", {"Q": signs(160 / 4), "K": signs()},
         off_by_one_reference),
    _own(_ADDED, _LONG, "added value", formula=added_reference),
    *(_own((f"{function}{'-normed' if normed else ''}",), _LONG, f"{function}, normed: {normed}",
           formula=_similar(function, normed)) for function, normed in _SIMILAR),
    *(_own((f"kernel-{name}{'' if normed else '-unnormed'}",),
           {"m": 11, "e": 4, "f": 3, **({"g": 5, "u": 6} if name == "mlp" else {})}, f"kernel {name}, normed: {normed}",
           formula=_of_kernel(name, normed)) for name, normed in _KERNELS),
    # Features that nearly cancel: the sum of a row is within 1, and the guard holds.
    _own(("kernel-identity",), {"m": 11, "e": 4, "f": 3}, "kernel identity, small sums", {"Q": normal(0.1)},
         _of_kernel("identity", True)),
)


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", "as without a virtual key", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="attn_sink",
    title="Attention with virtual keys, and without softmax",
    system="When Attention Sink Emerges",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    shapes=(
        Shape("60m", {"p": 2048, "m": 2048, "e": 96, "f": 96}, f"{_REPOSITORY}: 10 layers, d = 768, 8 heads", 8,
              tuple(a for a in _ALGORITHMS if not a.startswith("kernel"))),
        Shape("60m-kernel", {"m": 2048, "e": 96, "f": 96}, f"{_REPOSITORY}: 10 layers, d = 768, 8 heads", 8,
              tuple(a for a in _ALGORITHMS if a.startswith("kernel") and "mlp" not in a)),
        Shape("1b", {"p": 2048, "m": 2048, "e": 128, "f": 128}, f"{_REPOSITORY}: 22 layers, d = 2048, 16 heads", 16,
              tuple(a for a in _ALGORITHMS if not a.startswith("kernel"))),
    ),
    published=(
        _passes("kv-bias-3pass", 3), _passes("kv-bias-1pass", 1), _passes("off-by-one-1pass", 1),
        _passes("v-bias-1pass", 1), _passes("sigmoid", 1), _passes("kernel-elu", 1),
    ),
)
