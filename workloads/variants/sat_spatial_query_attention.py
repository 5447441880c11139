"""Attention whose last token says how much each token counts: the spatial query of SAT.

The map MG[m] is the sigmoid of the mean over heads of the last token's scores. Weights of all heads and queries are
multiplied by it after the softmax, and are not normed again. ``3pass`` does that, as the released code does;
``vgate-3pass``, ``vgate-2pass`` and ``vgate-1pass`` multiply the values instead, which is the same and leaves the softmax
as it is. ``map`` is what the layers' maps are drawn from, the token's own row left out.

One copy has all heads, as the map is a mean over them. A key's map waits for all heads, which is 2 passes over them, but
for no other key: exactly counted, one sweep over the keys makes the map and attends. A kernel whose programs are heads
needs the map made before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Wu et al., Spatial-Aware Token for Weakly Supervised Object Localization, ICCV 2023, arXiv 2303.10438"
_REPOSITORY = "github.com/wpy1999/SAT, Model/SAT.py and README"

_MAP = """
LK[h,m] = Q[h,P - 1,e] * K[h,m,e]
LG[m]   = mean[h] LK[h,m]
MG[m]   = sigmoid(LG[m] * rsqrt(E))
"""
_SCORES = """
QK[h,p,m] = Q[h,p,e] * K[h,m,e]
S[h,p,m]  = QK[h,p,m] * rsqrt(E)
"""
_VALUES = "VG[h,m,f] = V[h,m,f] * MG[m]\n"
_ALGORITHMS = {
    "3pass": _MAP + _SCORES + """
GM[h,p]   = max[m] S[h,p,m]
SN[h,p,m] = exp(S[h,p,m] - GM[h,p])
SD[h,p]   = SN[h,p,m]
A[h,p,m]  = SN[h,p,m] / SD[h,p]
AM[h,p,m] = A[h,p,m] * MG[m]
O[h,p,f]  = AM[h,p,m] * V[h,m,f]
""",
    "vgate-3pass": _MAP + _SCORES + _VALUES + three_passes("h,p", "m", "VG[h,m,f]", "O[h,p,f]"),
    "vgate-2pass": _MAP + _SCORES + _VALUES + two_passes("h,p", "m", "VG[h,m,f]", "O[h,p,f]"),
    "vgate-1pass": _MAP + _VALUES + """
QK[h,p,m1,m0] = Q[h,p,e] * K[h,m1*M0 + m0,e]
S[h,p,m1,m0]  = QK[h,p,m1,m0] * rsqrt(E)
""" + one_pass("h,p", "m1", "m0", "VG[h,m1*M0 + m0,f]", "O[h,p,f]"),
    "map": """
LK[h,m] = QL[h,e] * K[h,m,e]
LG[m]   = mean[h] LK[h,m]
MG[m]   = sigmoid(LG[m] * rsqrt(E))
""",
}
_GATED = tuple(name for name in _ALGORITHMS if name != "map")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[h,p,f]: attention, every weight times the map of its key."""
    weights = softmax(_scores(inputs))
    return {"O": weights * _map(_scores(inputs)[:, -1]) @ inputs["V"]}


def map_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns MG[m], from the queries of the last token alone."""
    import numpy as np
    return {"MG": _map(np.einsum("he,hme->hm", inputs["QL"], inputs["K"]) / np.sqrt(inputs["QL"].shape[1]))}


def half_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a last query of 0 gives: half of attention."""
    return {"O": softmax(_scores(inputs)) @ inputs["V"] / 2}


def _scores(inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    out: Array = np.einsum("hpe,hme->hpm", inputs["Q"], inputs["K"]) / np.sqrt(inputs["Q"].shape[2])
    return out


def _map(row: Array) -> Array:
    import numpy as np
    out: Array = np.exp(-np.logaddexp(0.0, -row.mean(axis=0)))
    return out


def last_is_zero(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws queries of which the last is 0 in every head."""
    drawn = rng.normal(size=shape)
    drawn[:, -1] = 0
    return drawn


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", "a map waits for heads, not for keys", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


_CASE = {"h": 3, "p": 7, "m": 7, "e": 4, "f": 3}


def _cases(name: str, **rest: Any) -> tuple[Case, Case]:
    """Returns the case of the algorithms without tiles, and that of the one with."""
    return (Case(name, _CASE, algorithms=_GATED[:3], **rest),
            Case(f"{name}, 1 pass", {**_CASE, "m0": 3}, algorithms=("vgate-1pass",), **rest))


VARIANT = Variant(
    id="sat_spatial_query_attention",
    title="Spatial query attention of SAT",
    system="Spatial-Aware Token (SAT)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        *_cases("random"),
        *_cases("a last query of 0 gives half of attention", inputs={"Q": last_is_zero}, reference=half_reference),
        *_cases("logits of 80 and -80", inputs={"Q": signs(160 / 4), "K": signs()}),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        *_cases("logits beyond the range of exp", inputs={"Q": normal(2e3)}, tolerance=1e-9),
        Case("map", {"h": 3, "m": 8, "e": 4}, algorithms=("map",), reference=map_reference),
        Case("map of 0 is a half", {"h": 2, "m": 5, "e": 4}, {"QL": constant(0.0)}, algorithms=("map",), reference=map_reference),
    ),
    shapes=(Shape("deit-s", {"h": 6, "p": 198, "m": 198, "e": 64, "f": 64},
                  f"{_REPOSITORY}: DeiT-S, a class token, 196 patches and the spatial token; layers 10 to 12"),),
    published=(
        _passes("3pass", 3), _passes("vgate-2pass", 2), _passes("vgate-1pass", 1),
        Published("localization with known class, CUB", 98.45, "%", _REPOSITORY, "read"),
        Published("localization with known class, ImageNet", 73.13, "%", _REPOSITORY, "read"),
    ),
)
