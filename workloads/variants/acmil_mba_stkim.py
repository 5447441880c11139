"""Pooling of many instances by several attention branches (ACMIL), and the dropping of their best in training.

Features F[n,l] are a projection of X through ReLU; the score of an instance in branch k is that of gated attention,
(tanh(F Wv + bv) sigmoid(F Wu + bu)) Ww + bw, and Z[k] the softmax-weighted sum of the features over all N instances of a
bag. ZB is the mean of the branches, which is what the mean of their weights would pool. ``3pass``, ``2pass`` and ``1pass``
(over tiles of instances) are one function. ``stkim-2pass`` and ``stkim-1pass`` drop some of each branch's J best
instances, those that Drop[k,j] says, as a seeded random number would: the released code gives them a score of -1e9, here
they are left out, so that a branch that drops all gives 0 and not the mean. ``diversity`` gives the mean cosine of the
weights of all pairs of branches, a loss.

The best instances are known when all scores are, so that dropping costs one more sweep over the instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, visible
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Zhang et al., Attention-Challenging Multiple Instance Learning for Whole Slide Image Classification, ECCV 2024, " \
         "arXiv 2311.07125"
_REPOSITORY = "github.com/dazhangyu123/ACMIL, architecture/transformer.py and config"


def _scores(n: str, index: str) -> str:
    return f"""
PF[{n},l] = X[{index},c] * Wr[l,c]
F[{n},l]  = relu(PF[{n},l])
PV[{n},d] = F[{n},l] * Wv[d,l]
PU[{n},d] = F[{n},l] * Wu[d,l]
GV[{n},d] = tanh(PV[{n},d] + Bv[d])
GU[{n},d] = sigmoid(PU[{n},d] + Bu[d])
SW[k,{n}] = GV[{n},d] * GU[{n},d] * Ww[k,d]
S[k,{n}]  = SW[k,{n}] + Bw[k]
"""


_BAG = "ZB[l] = mean[k] Z[k,l]\noutput Z\n"
_DROPPED = _scores("n", "n").replace("S[k,n]  =", "SA[k,n] =") + """
I[k,j]  = topk[n; j](SA[k,n])
DR[k,I[k,j]] = any[j] Drop[k,j]
DK[k,n] = DR[k,n] > 0
"""
_ALGORITHMS = {
    "3pass": _scores("n", "n") + three_passes("k", "n", "F[n,l]", "Z[k,l]") + _BAG,
    "2pass": _scores("n", "n") + two_passes("k", "n", "F[n,l]", "Z[k,l]", feature="l") + _BAG,
    "1pass": _scores("n1,n0", "n1*N0 + n0") + one_pass("k", "n1", "n0", "F[n1,n0,l]", "Z[k,l]", feature="l") + _BAG,
    "stkim-2pass": _DROPPED + "S[k,n] = SA[k,n] where not DK[k,n]\n"
                   + two_passes("k", "n", "F[n,l]", "Z[k,l]", feature="l") + _BAG,
    "stkim-1pass": _DROPPED + "S[k,n1,n0] = SA[k,n1*N0 + n0] where not DK[k,n1*N0 + n0]\n"
                   + one_pass("k", "n1", "n0", "F[n1*N0 + n0, l]", "Z[k,l]", feature="l") + _BAG,
    "diversity": """
GM[k]   = max[n] S[k,n]
SN[k,n] = exp(S[k,n] - GM[k])
SD[k]   = SN[k,n]
A[k,n]  = SN[k,n] / SD[k]
G[k,j]  = A[k,n] * A[j,n]
L[k]    = sum[n] A[k,n] * A[k,n]
CS[k,j] = G[k,j] * rsqrt(L[k]) * rsqrt(L[j]) where k < j
CT[]    = CS[k,j]
DL[]    = CT[] * 2 / (K * (K - 1))
""",
}
_POOLED = ("3pass", "2pass", "1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Z[k,l] of the branches, and ZB[l] from the mean of their weights."""
    features, scores = _gated(inputs)
    weights = softmax(scores)
    return {"Z": weights @ features, "ZB": weights.mean(axis=0) @ features}


def dropped_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same where the instances that are dropped have no weight; a branch that drops all gives 0."""
    import numpy as np
    features, scores = _gated(inputs)
    seen = np.ones(scores.shape, dtype=bool)
    for k in range(len(scores)):
        best = sorted(range(scores.shape[1]), key=lambda n: -scores[k, n])[:extents["j"]]
        seen[k, [n for j, n in enumerate(best) if inputs["Drop"][k, j]]] = False
    weights = softmax(scores, seen)
    return {"Z": weights @ features, "ZB": weights.mean(axis=0) @ features}


def mean_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal scores give: the mean of the features, in every branch."""
    import numpy as np
    features, scores = _gated(inputs)
    return {"Z": np.tile(features.mean(axis=0), (len(scores), 1)), "ZB": features.mean(axis=0)}


def diversity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns DL, pair by pair."""
    import numpy as np
    weights = softmax(inputs["S"])
    pairs = [(i, j) for i in range(len(weights)) for j in range(i + 1, len(weights))]
    cosines = [weights[i] @ weights[j] / np.linalg.norm(weights[i]) / np.linalg.norm(weights[j]) for i, j in pairs]
    return {"DL": np.asarray(np.mean(cosines))}


def _gated(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    import numpy as np
    t = dict(inputs)
    features = np.maximum(t["X"] @ t["Wr"].T, 0)
    gate = 1 / (1 + np.exp(-(features @ t["Wu"].T + t["Bu"])))
    return features, (np.tanh(features @ t["Wv"].T + t["Bv"]) * gate @ t["Ww"].T + t["Bw"]).T


def multiplications(features: int, inner: int) -> float:
    """Returns the thousands of multiplications for an instance: projection, two gates of 128, scores and pooling of 5."""
    return (features * inner + 2 * inner * 128 + 5 * 128 + 5 * inner) / 1e3


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "features are made anew in each sweep", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_CASE = {"n": 17, "c": 5, "l": 4, "d": 3, "k": 3}
VARIANT = Variant(
    id="acmil_mba_stkim",
    title="Pooling of instances by attention branches",
    system="Attention-Challenging Multiple Instance Learning (ACMIL)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=("3pass", "2pass")),
        Case("random, tiles", {**_CASE, "n0": 5}, algorithms=("1pass",)),
        Case("one branch", {**_CASE, "k": 1, "n0": 5}, algorithms=("1pass",)),
        Case("one instance", {**_CASE, "n": 1}, algorithms=("3pass", "2pass")),
        Case("weights of 0 are the mean", {**_CASE, "n0": 5}, {"Ww": constant(0.0)}, algorithms=("1pass",), reference=mean_reference),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("scores beyond the range of exp", {**_CASE, "n0": 5}, {"Ww": normal(1e4)}, algorithms=("1pass",), tolerance=1e-9),
        Case("best dropped", {**_CASE, "j": 6}, algorithms=("stkim-2pass",), reference=dropped_reference),
        Case("best dropped, tiles", {**_CASE, "j": 6, "n0": 5}, algorithms=("stkim-1pass",), reference=dropped_reference),
        Case("none dropped", {**_CASE, "j": 6, "n0": 5}, {"Drop": constant(0.0)}, algorithms=("stkim-1pass",)),
        Case("all dropped", {**_CASE, "n": 4, "j": 4, "n0": 3}, {"Drop": constant(1.0)}, algorithms=("stkim-1pass",),
             reference=dropped_reference),
        Case("diversity", {"k": 4, "j": 4, "n": 9}, algorithms=("diversity",), reference=diversity_reference),
    ),
    inputs={"Drop": visible(0.6)},
    shapes=tuple(Shape(f"{name}-10000", {"n": 10000, "c": features, "l": inner, "d": 128, "k": 5},
                       f"{_REPOSITORY}: {name} features; slides of 1e3 to 1e5 instances", 1, _POOLED)
                 for name, features, inner in (("vit-s", 384, 128), ("resnet18", 512, 256), ("clip-l", 768, 384), ("uni", 1024, 512),
                                               ("gigapath", 1536, 768))),
    published=(
        _passes("3pass", "n", 3), _passes("2pass", "n", 2), _passes("1pass", "n", 1), _passes("stkim-2pass", "n", 3), _passes("stkim-1pass", "n", 2),
        Published("multiplications for an instance, 384 to 128 features", 83.0, "kMAC", f"{_REPOSITORY}: 5 branches", "calculated",
                  lambda: multiplications(384, 128)),
    ),
)
