"""Pooling of many instances by gated attention, with the entropy of its weights (AEM), which training maximizes.

Pooling is that of ``acmil_mba_stkim`` with one branch, Z[l] = sum of A[n] F[n,l]; the entropy is H = - sum of A log A.
``5pass`` writes all of it out: maximum, sum, weights, logarithms, pooling. ``1pass`` runs over tiles of instances and
needs one more sum than pooling does: H = LSE - sum of A S, the sum of exponentials times scores being corrected as the
others are; where scores are large and the entropy is not, that is a small difference of large numbers.
``1pass-centred`` sums the distances from the running maximum instead, and moves them with it. ``entropy`` is that identity alone, of scores that are given.

``5pass`` has 3 passes exactly counted: weights, their logarithms and the pooling are one sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Zhang et al., AEM: Attention Entropy Maximization for Multiple Instance Learning based Whole Slide Image " \
         "Classification, arXiv 2406.15303"
_REPOSITORY = "github.com/dazhangyu123/AEM, main.py and architecture/transformer.py"


def _scores(n: str, index: str) -> str:
    return f"""
PF[{n},l] = X[{index},c] * Wr[l,c]
F[{n},l]  = relu(PF[{n},l])
PV[{n},d] = F[{n},l] * Wv[d,l]
PU[{n},d] = F[{n},l] * Wu[d,l]
GV[{n},d] = tanh(PV[{n},d] + Bv[d])
GU[{n},d] = sigmoid(PU[{n},d] + Bu[d])
SW[{n}]   = GV[{n},d] * GU[{n},d] * Ww[d]
S[{n}]    = SW[{n}] + Bw[]
"""


_RUNNING_ENTROPY = """
init RS[0] = 0
SLS[n1]  = SLN[n1,n0] * S[n1,n0]
SPS[n1]  = RS[n1] * PRM[n1]
RS[n1+1] = SLS[n1] + SPS[n1]
LSE[]    = RM[N1] + log(RD[N1])
MS[]     = RS[N1] / RD[N1]
H[]      = LSE[] - MS[]
"""
_CENTRED_ENTROPY = """
init RT[0] = 0
SC[n1,n0] = S[n1,n0] - RM[n1+1]
SLT[n1]  = SLN[n1,n0] * SC[n1,n0]
MD[n1]   = (RM[n1] - RM[n1+1]) * RD[n1]
SPT[n1]  = (RT[n1] + MD[n1]) * PRM[n1]
RT[n1+1] = SLT[n1] + SPT[n1]
MT[]     = RT[N1] / RD[N1]
H[]      = log(RD[N1]) - MT[]
"""
_ALGORITHMS = {
    "5pass": _scores("n", "n") + three_passes("", "n", "F[n,l]", "Z[l]") + "AL[n] = A[n] * log(A[n])\nHN[] = AL[n]\nH[] = -HN[]\n",
    "1pass": _scores("n1,n0", "n1*N0 + n0") + one_pass("", "n1", "n0", "F[n1,n0,l]", "Z[l]", feature="l") + _RUNNING_ENTROPY,
    "1pass-centred": _scores("n1,n0", "n1*N0 + n0") + one_pass("", "n1", "n0", "F[n1,n0,l]", "Z[l]", feature="l") + _CENTRED_ENTROPY,
    "entropy": """
GM[k]   = max[n] S[k,n]
SN[k,n] = exp(S[k,n] - GM[k])
SD[k]   = SN[k,n]
SS[k]   = SN[k,n] * S[k,n]
H[k]    = GM[k] + log(SD[k]) - SS[k] / SD[k]
""",
}
_POOLED = ("5pass", "1pass", "1pass-centred")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Z[l] and H[], the entropy in natural units."""
    import numpy as np
    t = dict(inputs)
    features = np.maximum(t["X"] @ t["Wr"].T, 0)
    gate = 1 / (1 + np.exp(-(features @ t["Wu"].T + t["Bu"])))
    weights = softmax(np.tanh(features @ t["Wv"].T + t["Bv"]) * gate @ t["Ww"] + t["Bw"])
    return {"Z": weights @ features, "H": _entropy(weights)}


def entropy_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns H[k] of each row of scores."""
    return {"H": _entropy(softmax(inputs["S"]))}


def uniform_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal scores have: log N, the most there is."""
    import numpy as np
    return {"H": np.full(extents["k"], np.log(extents["n"]))}


def certain_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one score far above the others has: nothing."""
    import numpy as np
    return {"H": np.zeros(extents["k"])}


def one_best(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws scores of 0, but one of 2000 in each row."""
    import numpy as np
    drawn = np.zeros(shape)
    drawn[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = 2000
    return drawn


def _entropy(weights: Array) -> Array:
    import numpy as np
    logs = np.log(weights, out=np.zeros(weights.shape), where=weights > 0)
    return np.asarray(-(weights * logs).sum(axis=-1))


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the instances", count, "passes", "features are made anew in each sweep", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["n"]))


_CASE = {"n": 17, "c": 5, "l": 4, "d": 3}
VARIANT = Variant(
    id="aem_entropy_mil",
    title="Pooling of instances with the entropy of its weights",
    system="AEM: Attention Entropy Maximization",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=("5pass",)),
        Case("random, tiles", {**_CASE, "n0": 5}, algorithms=("1pass", "1pass-centred")),
        Case("one instance", {**_CASE, "n": 1}, algorithms=("5pass",)),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("scores beyond the range of exp", {**_CASE, "n0": 5}, {"Ww": normal(1e4)}, algorithms=("1pass-centred",),
             tolerance=1e-9),
        Case("entropy", {"k": 3, "n": 11}, {"S": normal(3.0)}, algorithms=("entropy",), reference=entropy_reference),
        Case("equal scores", {"k": 2, "n": 9}, {"S": constant(700.0)}, algorithms=("entropy",), reference=uniform_reference),
        Case("one score far above", {"k": 2, "n": 9}, {"S": one_best}, algorithms=("entropy",), reference=certain_reference),
    ),
    shapes=(Shape("vit-s-10000", {"n": 10000, "c": 384, "l": 128, "d": 128},
                  f"{_REPOSITORY}: ViT-S features; slides of 1e3 to 1e5 instances", 1, _POOLED),),
    published=(_passes("5pass", 3), _passes("1pass", 1), _passes("1pass-centred", 1)),
)
