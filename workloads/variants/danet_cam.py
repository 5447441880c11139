"""Channel attention (CAM): every channel attends to those that are least like it, and is added to itself.

The energy of channels c and d is the sum over pixels of X[n,c] X[n,d]; weights are the softmax over d of its largest
value less the energy, and Y = gamma * weighted channels + X. ``released`` writes that maximum, and takes a softmax of the
difference (with a maximum of its own); ``direct`` needs a minimum alone, since the two differ by what does not depend
on d. Two sweeps over the pixels: all of them for the energies, then the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import softmax, three_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Sinha and Dolz, Multi-scale self-guided attention for medical image segmentation, arXiv 1906.02849"
_REPOSITORY = "github.com/sinAshish/Multi-Scale-Attention, src/models/attention.py"

_ENERGY = "E[c,d] = X[n,c] * X[n,d]\n"
_SUM = "Y[n,c] = Gamma[] * O[n,c] + X[n,c]\n"
_ALGORITHMS = {
    "released": _ENERGY + "EM[c] = max[d] E[c,d]\nS[c,d] = EM[c] - E[c,d]\n" + three_passes("c", "d", "X[n,d]", "O[n,c]") + _SUM,
    "direct": _ENERGY + """
EL[c]   = min[d] E[c,d]
SN[c,d] = exp(EL[c] - E[c,d])
SD[c]   = SN[c,d]
A[c,d]  = SN[c,d] / SD[c]
O[n,c]  = A[c,d] * X[n,d]
""" + _SUM,
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[n,c]: a softmax of the negative Gram matrix."""
    x = inputs["X"]
    return {"Y": inputs["Gamma"] * (x @ softmax(-x.T @ x).T) + x}


def identity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a gamma of 0 gives: the pixels as they were."""
    return {"Y": inputs["X"]}


def mean_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what equal channels give: their mean, which each of them is."""
    return {"Y": (1 + inputs["Gamma"]) * inputs["X"]}


def equal_channels(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws pixels whose channels are all the same."""
    import numpy as np
    return np.repeat(rng.normal(size=(shape[0], 1)), shape[1], axis=1)


def products(name: str) -> float:
    """Returns the millions of multiplications of an Einsum at 64 x 64 pixels of 64 channels."""
    counts = count_operations(VARIANT.cascade("direct"), {"n": 4096, "c": 64, "d": 64}).einsums
    return float(counts[name]["mul"].value({})) / 1e6


def _passes(rank: str, algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "energies of all pixels, then sums", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="danet_cam",
    title="Channel attention",
    system="Multi-scale self-guided attention",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"n": 13, "c": 5, "d": 5}),
        Case("gamma of 0 changes nothing", {"n": 13, "c": 5, "d": 5}, {"Gamma": constant(0.0)}, reference=identity_reference),
        Case("one pixel", {"n": 1, "c": 4, "d": 4}),
        Case("one channel", {"n": 6, "c": 1, "d": 1}, reference=mean_reference),
        Case("equal channels", {"n": 6, "c": 4, "d": 4}, {"X": equal_channels}, reference=mean_reference),
        # Energies of 4096 pixels: exponentials of thousands, were it not for the minimum.
        Case("energies beyond the range of exp", {"n": 4096, "c": 3, "d": 3}, {"X": normal(1.0, 0.5)}, tolerance=1e-9),
    ),
    shapes=(Shape("256x256", {"n": 4096, "c": 64, "d": 64},
                  f"{_REPOSITORY}: images of 256 x 256, all maps at 64 x 64 of 64 channels; 8 of them", 8),),
    published=(
        _passes("n", "direct", 2), _passes("n", "released", 2),
        Published("products of energies", 16.8, "MMAC", f"{_REPOSITORY}: 64 x 64 of 64 channels", "calculated", lambda: products("E")),
        Published("products of weights", 16.8, "MMAC", f"{_REPOSITORY}: 64 x 64 of 64 channels", "calculated", lambda: products("O")),
    ),
)
