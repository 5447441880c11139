"""Scattered linear attention: linear attention inside each window of voxels, windows having any number of voxels.

Voxels come in the order of their windows; window w has those from Off[w] up to Off[w+1], maybe none. With features relu,
O[n] = phi(Q[n]) KV[w] / (phi(Q[n]) KS[w] + 1e-6), where KV and KS are sums over the voxels of n's window. ``segments``
reads the offsets. ``scatter`` reads the window Win[n] of each voxel, which need not be sorted: sums are scattered and
gathered. ``quadratic`` has the weight of every pair of one window.

One copy is one head. Exactly counted, segments has 1 pass over the voxels that are keys, and one more as they are queries;
scatter reads the window of a voxel in both, which makes 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import coordinates, offsets
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "He et al., ScatterFormer: Efficient Voxel Transformer with Scattered Linear Attention, ECCV 2024, arXiv 2401.00912"
_REPOSITORY = "github.com/skyhehe123/ScatterFormer, tools/cfgs/waymo_models/scatterformer.yaml"

_INSIDE = "Off[w] <= n and n < Off[w + 1]"
_ALGORITHMS = {
    "segments": f"""
PQ[n,e]   = relu(Q[n,e])
PK[n,e]   = relu(K[n,e])
KV[w,e,f] = sum[n] PK[n,e] * V[n,f] where {_INSIDE}
KS[w,e]   = sum[n] PK[n,e] where {_INSIDE}
N[n,f]    = sum[w,e] PQ[n,e] * KV[w,e,f] where {_INSIDE}
Z[n]      = sum[w,e] PQ[n,e] * KS[w,e] where {_INSIDE}
O[n,f]    = N[n,f] / (Z[n] + 1e-6)
""",
    "scatter": """
PQ[n,e] = relu(Q[n,e])
PK[n,e] = relu(K[n,e])
TV[Win[n],e,f] = PK[n,e] * V[n,f]
TS[Win[n],e]   = PK[n,e]
KV[w,e,f] = TV[w,e,f]
KS[w,e]   = TS[w,e]
N[n,f]  = PQ[n,e] * KV[Win[n],e,f]
Z[n]    = PQ[n,e] * KS[Win[n],e]
O[n,f]  = N[n,f] / (Z[n] + 1e-6)
""",
    "quadratic": """
PQ[n,e] = relu(Q[n,e])
PK[n,e] = relu(K[n,e])
W[n,m]  = PQ[n,e] * PK[m,e] where Win[n] == Win[m]
N[n,f]  = W[n,m] * V[m,f]
Z[n]    = W[n,m]
O[n,f]  = N[n,f] / (Z[n] + 1e-6)
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[n,f]: one window after another, each linear attention of its own voxels."""
    import numpy as np
    q, k, v = np.maximum(inputs["Q"], 0), np.maximum(inputs["K"], 0), inputs["V"]
    if "Off" in inputs:
        windows = [np.arange(int(first), int(last)) for first, last in zip(inputs["Off"][:-1], inputs["Off"][1:], strict=True)]
    else:
        windows = [np.flatnonzero(inputs["Win"] == w) for w in range(extents["w"])]
    out = np.zeros((len(q), v.shape[1]))
    for own in windows:
        weights = q[own] @ k[own].T
        out[own] = weights @ v[own] / (weights.sum(axis=1, keepdims=True) + 1e-6)
    return {"O": out}


def all_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one window gives: linear attention of all to all."""
    import numpy as np
    weights = np.maximum(inputs["Q"], 0) @ np.maximum(inputs["K"], 0).T
    return {"O": weights @ inputs["V"] / (weights.sum(axis=1, keepdims=True) + 1e-6)}


def alone_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what windows of one voxel give: its value, or 0 where its query and its key share no feature."""
    import numpy as np
    weight = np.sum(np.maximum(inputs["Q"], 0) * np.maximum(inputs["K"], 0), axis=1, keepdims=True)
    return {"O": weight / (weight + 1e-6) * inputs["V"]}


def parity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what the windows of ``parity`` give."""
    return reference(inputs, {**extents, "w": 2})


def parity(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws windows 0 and 1, in no order."""
    return rng.integers(0, 2, shape)


def ends(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws offsets of windows of one voxel each."""
    import numpy as np
    return np.arange(shape[0])


def each(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws windows of one voxel each, in no order."""
    return rng.permutation(shape[0])


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the voxels", 1, "passes", "each of keys and of queries", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["n"]))


VARIANT = Variant(
    id="scatterformer",
    title="Scattered linear attention over windows of voxels",
    system="ScatterFormer",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("windows of any length", {"n": 19, "w": 5, "e": 4, "f": 3}, algorithms=("segments",)),
        Case("more windows than voxels", {"n": 4, "w": 9, "e": 4, "f": 3}, algorithms=("segments",)),
        Case("one window", {"n": 11, "w": 1, "e": 4, "f": 3}, algorithms=("segments",), reference=all_reference),
        Case("a window for each voxel", {"n": 8, "w": 8, "e": 2, "f": 3}, {"Off": ends}, algorithms=("segments",),
             reference=alone_reference),
        Case("voxels in no order", {"n": 19, "w": 5, "e": 4, "f": 3}, algorithms=("scatter",)),
        Case("more windows than voxels, scattered", {"n": 4, "w": 9, "e": 4, "f": 3}, algorithms=("scatter",)),
        Case("one window, scattered", {"n": 11, "w": 1, "e": 4, "f": 3}, algorithms=("scatter",), reference=all_reference),
        Case("a window for each voxel, scattered", {"n": 8, "w": 8, "e": 2, "f": 3}, {"Win": each}, algorithms=("scatter",),
             reference=alone_reference),
        Case("pairs of a window", {"n": 19, "m": 19, "e": 4, "f": 3}, {"Win": parity}, algorithms=("quadratic",),
             reference=parity_reference),
    ),
    inputs={"Off": offsets("n"), "Win": coordinates("w")},
    # How many voxels there are depends on the scan: each of the 1600 windows full in one of the 32 layers.
    shapes=(Shape("waymo", {"n": 230400, "w": 1600, "e": 32, "f": 32},
                  f"{_REPOSITORY}: d = 128, 4 heads, windows of 12 x 12 of a grid of 480 x 480", 4, ("segments", "scatter")),),
    published=(
        _passes("segments"),
        Published("scattered linear attention, less than", 1.0, "ms", f"abstract of {_PAPER}; GPU not said", "abstract"),
        Published("detector", 23.0, "frames/s", f"abstract of {_PAPER}", "abstract"),
    ),
)
