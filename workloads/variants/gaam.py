"""Gaussian adaptive attention: a row is weighted by a product of Gaussians around its mean, and by nothing else.

Of a row X[n], with mean and unbiased variance V (+ 1e-8), G[n] is the product over k of Gaussians of width C[k] around
the mean + Delta[k], and Y = X G / max(sum of G, 1e-8). ``direct`` is that; ``moments`` takes the variance as the mean of
squared distances from the mean, as one would write it; ``log`` is the softmax of the exponent, which the constants of
the Gaussians do not change and which a product of many does not underflow in. It is the same but for the guard.

One copy is one head: a run of the axis that is normed. Exactly counted, ``moments`` has 4 passes over n (mean, variance,
sum, result), ``direct`` 3, and ``log`` 4: the maximum that a softmax is taken against needs one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import softmax

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Ioannides et al., Gaussian Adaptive Attention Is All You Need, arXiv 2401.11143"
_REPOSITORY = "github.com/gioannides/Gaussian-Adaptive-Attention, gaussian_adaptive_attention/GaussianBlock.py and README"

_VARIANCE = """
MU[b] = mean[n] X[b,n]
VB[b] = var[n] X[b,n]
V[b]  = VB[b] * (N / (N - 1)) + 1e-8
"""
_EXPONENTS = """
DX[b,n,k] = X[b,n] - MU[b] - Delta[k]
E2[b,n,k] = DX[b,n,k] * DX[b,n,k] / (2 * V[b] * C[k] * C[k])
"""
_GAUSSIANS = f"""{_EXPONENTS}
GK[b,n,k] = exp(-E2[b,n,k]) * rsqrt(6.283185307179586 * C[k] * C[k])
G[b,n]    = prod[k] GK[b,n,k]
SG[b]     = G[b,n]
W[b,n]    = G[b,n] / max(SG[b], 1e-8)
Y[b,n]    = X[b,n] * W[b,n]
"""
_ALGORITHMS = {
    "direct": _VARIANCE + _GAUSSIANS,
    "moments": f"""
MU[b]   = mean[n] X[b,n]
DM[b,n] = X[b,n] - MU[b]
SQ[b]   = DM[b,n] * DM[b,n]
V[b]    = SQ[b] / (N - 1) + 1e-8
{_GAUSSIANS}""",
    "log": f"""{_VARIANCE}{_EXPONENTS}
L[b,n]  = E2[b,n,k]
GM[b]   = min[n] L[b,n]
SN[b,n] = exp(GM[b] - L[b,n])
SD[b]   = SN[b,n]
W[b,n]  = SN[b,n] / SD[b]
Y[b,n]  = X[b,n] * W[b,n]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[b,n], from the densities."""
    import numpy as np
    x, width = inputs["X"], inputs["C"]
    mean, spread = x.mean(axis=1)[:, None, None], x.var(axis=1, ddof=1)[:, None, None] + 1e-8
    densities = np.exp(-(x[:, :, None] - mean - inputs["Delta"]) ** 2 / (2 * spread * width**2)) / np.sqrt(2 * np.pi * width**2)
    product = densities.prod(axis=2)
    return {"Y": x * product / np.maximum(product.sum(axis=1, keepdims=True), 1e-8)}


def stable_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[b,n] as a softmax of quadratic forms, in which many Gaussians do not underflow."""
    x, width = inputs["X"], inputs["C"]
    mean, spread = x.mean(axis=1)[:, None, None], x.var(axis=1, ddof=1)[:, None, None] + 1e-8
    exponents = ((x[:, :, None] - mean - inputs["Delta"]) / width) ** 2 / spread
    return {"Y": x * softmax(-exponents.sum(axis=2) / 2)}


def mean_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a constant row gives: weights of 1/N."""
    return {"Y": inputs["X"] / inputs["X"].shape[1]}


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over n", count, "passes", _REPOSITORY, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["n"]))


VARIANT = Variant(
    id="gaam",
    title="Gaussian adaptive attention",
    system="Gaussian Adaptive Attention (GAAM)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", {"b": 3, "n": 17, "k": 4}),
        Case("one Gaussian at the mean", {"b": 3, "n": 9, "k": 1}, {"Delta": constant(0.0)}),
        Case("two numbers", {"b": 5, "n": 2, "k": 3}, algorithms=("direct", "moments")),
        # The densities sum to less than 1e-8, which the guard puts in their place; a softmax has no guard.
        Case("far from the mean", {"b": 3, "n": 9, "k": 2}, {"Delta": constant(9.0), "C": constant(1.0)},
             algorithms=("direct", "moments")),
        Case("constant rows are means", {"b": 2, "n": 8, "k": 2}, {"X": constant(3.0), "Delta": constant(0.0)},
             reference=mean_reference),
        # Each density is below 1e-3: their product underflows, their logarithm does not.
        Case("more Gaussians than a product can hold", {"b": 2, "n": 8, "k": 300}, {"C": uniform(30.0, 40.0)},
             algorithms=("log",), reference=stable_reference),
    ),
    inputs={"C": uniform(0.5, 2.0)},
    shapes=(Shape("readme", {"b": 1, "n": 32, "k": 5}, f"{_REPOSITORY}: 128 features, 4 heads, 5 Gaussians, 3 layers", 4),),
    published=(
        _passes("direct", 3), _passes("moments", 4), _passes("log", 4),
        Published("accuracy gained, up to about", 20.0, "%", f"abstract of {_PAPER}", "abstract"),
    ),
)
