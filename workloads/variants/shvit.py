"""Single-head attention on a part of the channels (SHViT): keys of 16 features, values as wide as the part.

The first F channels X1 are normed together over all tokens and channels (a group norm of one group), projected to
queries and keys of E = 16 features and values of F, and attend with one head; beside the other channels X2 the result
goes through ReLU and a projection. ``core-3pass``, ``core-2pass`` and ``core-1pass`` are attention alone, at d_qk != d_v;
``layer`` is the whole, with the affine maps of batch norms folded into projections that have a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Yun and Ro, SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design, CVPR 2024, arXiv 2401.16456"
_REPOSITORY = "github.com/ysj9909/SHViT, model/shvit.py, model/build.py and README"

_SCORES = """
QK[p,m] = Q[p,e] * K[m,e]
S[p,m]  = QK[p,m] * rsqrt(E)
"""
_ALGORITHMS = {
    "core-3pass": _SCORES + three_passes("p", "m", "V[m,f]", "O[p,f]"),
    "core-2pass": _SCORES + two_passes("p", "m", "V[m,f]", "O[p,f]"),
    "core-1pass": "QK[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e]\nS[p,m1,m0] = QK[p,m1,m0] * rsqrt(E)\n"
                  + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "O[p,f]"),
    "layer": f"""
MU[]    = mean[p,c] X1[p,c]
VA[]    = var[p,c] X1[p,c]
RS[]    = rsqrt(VA[] + 1e-5)
XN[p,c] = (X1[p,c] - MU[]) * RS[] * Gn[c] + Sn[c]
Q0[p,e] = XN[p,c] * Wq[e,c]
K0[p,e] = XN[p,c] * Wk[e,c]
V0[p,f] = XN[p,c] * Wv[f,c]
Q[p,e]  = Q0[p,e] + Bq[e]
K[p,e]  = K0[p,e] + Bk[e]
V[p,f]  = V0[p,f] + Bv[f]
{_SCORES}{two_passes("p", "m", "V[m,f]", "AO[p,f]")}
RA[p,f] = relu(AO[p,f])
RB[p,g] = relu(X2[p,g])
YA[p,o] = RA[p,f] * Wa[o,f]
YB[p,o] = RB[p,g] * Wb[o,g]
Y[p,o]  = YA[p,o] + YB[p,o] + Bo[o]
""",
}
_CORE = ("core-3pass", "core-2pass", "core-1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: attention of one head."""
    import numpy as np
    return {"O": softmax(inputs["Q"] @ inputs["K"].T / np.sqrt(inputs["Q"].shape[1])) @ inputs["V"]}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[p,o] of the layer, the channels put side by side."""
    import numpy as np
    t = dict(inputs)
    normed = (t["X1"] - t["X1"].mean()) / np.sqrt(t["X1"].var() + 1e-5) * t["Gn"] + t["Sn"]
    q, k, v = (normed @ t[f"W{n}"].T + t[f"B{n}"] for n in "qkv")
    attended = reference({"Q": q, "K": k, "V": v}, extents)["O"]
    beside = np.maximum(np.concatenate((attended, t["X2"]), axis=1), 0)
    return {"Y": beside @ np.concatenate((t["Wa"], t["Wb"]), axis=1).T + t["Bo"]}


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", "one tile, where the tokens are few", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


_PARTS = {"s1": ((196, 0), (49, 48), (16, 68)), "s2": ((196, 0), (49, 66), (16, 96)), "s3": ((196, 0), (49, 75), (16, 96)),
          "s4-256": ((256, 0), (64, 72), (16, 96))}
"""Tokens and channels of the part that attends, of the three stages of each model; none in the first."""
_PUBLISHED = {"s1": (6.3, 241.0), "s2": (11.4, 366.0), "s3": (14.2, 601.0), "s4-256": (16.5, 986.0)}

VARIANT = Variant(
    id="shvit",
    title="Single-head attention on a part of the channels",
    system="SHViT",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"p": 9, "m": 14, "e": 4, "f": 7, "m0": 4}, algorithms=_CORE),
        Case("one key", {"p": 3, "m": 1, "e": 4, "f": 7, "m0": 4}, algorithms=_CORE),
        Case("logits of 80 and -80", {"p": 9, "m": 14, "e": 4, "f": 7, "m0": 4}, {"Q": signs(160 / 4), "K": signs()},
             algorithms=_CORE),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", {"p": 9, "m": 14, "e": 4, "f": 7, "m0": 4}, {"Q": normal(2e3)},
             algorithms=_CORE, tolerance=1e-9),
        Case("layer", {"p": 9, "m": 9, "c": 5, "e": 4, "f": 5, "g": 6, "o": 11}, algorithms=("layer",),
             reference=layer_reference),
    ),
    shapes=tuple(Shape(f"{model}-stage-{stage}", {"p": tokens, "m": tokens, "e": 16, "f": part}, _REPOSITORY, 1, _CORE)
                 for model, stages in _PARTS.items() for stage, (tokens, part) in enumerate(stages, 1) if part),
    published=(
        _passes("core-3pass", 3), _passes("core-2pass", 2), _passes("core-1pass", 1),
        *(Published(f"parameters of {model}", millions, "M", _REPOSITORY, "read") for model, (millions, _) in _PUBLISHED.items()),
        *(Published(f"multiplications of {model}", mega, "MMAC", _REPOSITORY, "read") for model, (_, mega) in _PUBLISHED.items()),
    ),
)
