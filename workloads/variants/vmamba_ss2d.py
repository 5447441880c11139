"""The cross scan of VMamba (SS2D): an image scanned along rows and columns, forwards and backwards, and summed.

Of a normed image, a projection, a depthwise 3x3 convolution and silu give U; each of four routes has parameters of its
own, and results are summed where they came from, normed, and projected. ``noz`` is that (one state for each channel in
the published models), ``gated`` multiplies by silu of a second projection before the last. ``scan`` is from U to the
sum. ``raster`` makes the parameters in the order of the image, as projections do not care, and only the scan follows
the route: the same with no copy of U but one for each route's step. Steps, inputs and states are those of ``mamba_s6``.

The four recurrences are one sweep each over their routes; no two routes can share a stream of the image, but one that
is held on chip serves all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.scan_routes import CROSS, WEIGHTS, along, gathered, merged, pixel_of, recurrence, scanned

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Liu et al., VMamba: Visual State Space Model, NeurIPS 2024, arXiv 2401.10166"
_REPOSITORY = "github.com/MzeroMiko/VMamba, classification/models/vmamba.py, configs/vssm and README"

_FIRST = """
XI[y,x,e] = X[y,x,m] * Win[e,m]
CV[y,x,e] = XI[y + j - J//2, x + l - L//2, e; fill=0] * Wc[e,j,l]
U[y,x,e]  = silu(CV[y,x,e])
"""
_NORM = """
MU[y,x]   = mean[e] V[y,x,e]
VA[y,x]   = var[e] V[y,x,e]
VN[y,x,e] = (V[y,x,e] - MU[y,x]) * rsqrt(VA[y,x] + 1e-5) * Gn[e] + Sn[e]
"""
_PIXEL = ", ".join(pixel_of(CROSS))
_ALGORITHMS = {
    "scan": scanned(CROSS, "separate") + merged(CROSS),
    "raster": f"""
{gathered(CROSS)}
RD[k,y,x,r] = U[y,x,e] * WxDt[k,r,e]
RB[k,y,x,n] = U[y,x,e] * WxB[k,n,e]
RC[k,y,x,n] = U[y,x,e] * WxC[k,n,e]
RP[k,y,x,e] = RD[k,y,x,r] * Wdt[k,e,r]
RL[k,y,x,e] = softplus(RP[k,y,x,e] + Bdt[k,e])
B[k,i,n]  = RB[k, {_PIXEL}, n]
C[k,i,n]  = RC[k, {_PIXEL}, n]
DL[k,i,e] = RL[k, {_PIXEL}, e]
{recurrence("separate")}{merged(CROSS)}""",
    "noz": _FIRST + scanned(CROSS, "separate") + merged(CROSS) + _NORM + "O[y,x,o] = VN[y,x,e] * Wout[o,e]\n",
    "gated": _FIRST + "Z[y,x,e] = X[y,x,m] * Wz[e,m]\n" + scanned(CROSS, "separate") + merged(CROSS) + _NORM
             + "VG[y,x,e] = VN[y,x,e] * silu(Z[y,x,e])\nO[y,x,o] = VG[y,x,e] * Wout[o,e]\n",
}
_SCANS = ("scan", "raster")
LAYER_WEIGHTS = ("Win", "Wc", *WEIGHTS, "Gn", "Sn", "Wout")
"""The inputs of ``noz`` that are parameters."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns V[y,x,e]: the sum of four scans, each walked pixel by pixel."""
    return {"V": _summed(inputs["U"], inputs)}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,o] of the layer, gated where there is a second projection."""
    import numpy as np
    t = dict(inputs)
    x = t["X"] @ t["Win"].T
    (rows, columns, _), (height, width) = x.shape, t["Wc"].shape[1:]
    padded = np.pad(x, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    conv = sum((padded[j:j + rows, z:z + columns] * t["Wc"][:, j, z] for j in range(height) for z in range(width)), np.zeros(()))
    v = _summed(conv / (1 + np.exp(-conv)), t)
    normed = (v - v.mean(axis=2, keepdims=True)) / np.sqrt(v.var(axis=2, keepdims=True) + 1e-5) * t["Gn"] + t["Sn"]
    if "Wz" in t:
        z = t["X"] @ t["Wz"].T
        normed = normed * z / (1 + np.exp(-z))
    return {"O": normed @ t["Wout"].T}


def memoryless_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what decays of 0 leave: every pixel by itself, whatever the routes."""
    import numpy as np
    u, out = inputs["U"], np.zeros(inputs["U"].shape)
    for k in range(4):
        step = np.logaddexp(0, u @ inputs["WxDt"][k].T @ inputs["Wdt"][k].T + inputs["Bdt"][k])
        product = np.sum(u @ inputs["WxB"][k].T * (u @ inputs["WxC"][k].T), axis=2, keepdims=True)
        out += u * (step * product + inputs["D"][k])
    return {"V": out}


def _summed(u: Array, weights: Mapping[str, Array]) -> Array:
    out: Array = along(CROSS, u, {name: weights[name] for name in WEIGHTS}).sum(axis=0).reshape(u.shape)
    return out


MODELS = {"tiny": ((2, 2, 8, 2), 96, 1, 30.25, 4.88, 30, 4.9), "small": ((2, 2, 15, 2), 96, 2, 50.15, 8.67, 50, 8.7),
          "base": ((2, 2, 15, 2), 128, 2, 88.56, 15.30, 89, 15.4)}
"""Depths, first width, how many channels are scanned for each; millions of parameters and GMACs at 224 x 224, as counted
from the released models and as published."""


def layer(width: int, ratio: int, size: int) -> dict[str, int]:
    """Returns the extents of a layer: one state, a step rank of M/16."""
    return {"y": size, "x": size, "i": size * size, "m": width, "o": width, "e": ratio * width, "n": 1, "r": -(-width // 16),
            "j": 3, "l": 3}


def parameters(model: str) -> float:
    """Returns the millions of parameters: two 3x3 convolutions of stride 2 with norms, one with a norm between stages, and
    in a layer the scan, two norms and a network of ratio 4."""
    depths, width, ratio, *_ = MODELS[model]
    half = width // 2
    found = 27 * half + half + 2 * half + 9 * half * width + width + 2 * width
    for stage, depth in enumerate(depths):
        d = width << stage
        own = parameter_count(VARIANT.cascade("noz"), LAYER_WEIGHTS, {**layer(d, ratio, 1), "k": 4})
        found += depth * (own + 8 * d * d + 5 * d + 4 * d)
        found += 9 * d * 2 * d + 2 * d + 4 * d if stage < 3 else 0
    last = width * 8
    return (found + 2 * last + 1000 * last + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224, the scan counted as 9 for each state and 1 for each skip, as its authors do."""
    depths, width, ratio, *_ = MODELS[model]
    half = width // 2
    found = 112 * 112 * 27 * half + 56 * 56 * 9 * half * width
    for stage, depth in enumerate(depths):
        d, tokens, rank = width << stage, (56 >> stage) ** 2, -(-(width << stage) // 16)
        e = ratio * d
        own = 2 * d * e + 9 * e + 4 * e * (rank + 2) + 4 * rank * e + 4 * (9 * e + e) + 8 * d * d
        found += depth * tokens * own + (tokens // 4 * 9 * d * 2 * d if stage < 3 else 0)
    return (found + 1000 * width * 8) / 1e9


def _published(model: str) -> tuple[Published, ...]:
    *_, exact_millions, exact_giga, millions, giga = MODELS[model]
    name = f"VMamba-{model}"
    return (Published(f"parameters of {name}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of {name}", giga, "GMAC", _REPOSITORY, "read", lambda: gmacs(model)),
            Published(f"parameters of {name}, exactly", exact_millions, "M", _REPOSITORY, "calculated", lambda: parameters(model)),
            Published(f"multiplications of {name}, exactly", exact_giga, "GMAC", _REPOSITORY, "calculated", lambda: gmacs(model)))


def _passes(rank: str, count: int) -> Published:
    return Published(f"passes over {rank}", count, "passes", "a recurrence along each route", "calculated",
                     lambda: float(passes(VARIANT.cascade("scan"))[rank]))


_CASE = {"y": 4, "x": 3, "i": 12, "e": 3, "n": 2, "r": 2}
_LAYER = {**_CASE, "m": 4, "o": 4, "j": 3, "l": 3}
VARIANT = Variant(
    id="vmamba_ss2d",
    title="Cross scan of VMamba (SS2D)",
    system="Survey of Mamba Architectures for Medical Image Analysis",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=_SCANS),
        Case("wider than high, one state", {**_CASE, "y": 2, "x": 5, "i": 10, "n": 1}, algorithms=_SCANS),
        Case("one row", {**_CASE, "y": 1, "x": 7, "i": 7}, algorithms=_SCANS),
        Case("one pixel", {**_CASE, "y": 1, "x": 1, "i": 1}, algorithms=_SCANS),
        # A pixel's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
        Case("strong decays", _CASE, {"Alog": uniform(4.0, 6.0)}, algorithms=_SCANS),
        Case("decays of 0 leave the pixel", _CASE, {"Alog": constant(50.0)}, algorithms=_SCANS, reference=memoryless_reference),
        Case("layer", _LAYER, algorithms=("noz", "gated"), reference=layer_reference),
    ),
    # Read along routes alone, they do not say how long they are.
    input_shapes={"U": lambda n: (n["y"], n["x"], n["e"])},
    shapes=tuple(Shape(f"{model}-stage-{stage + 1}", layer(width << stage, ratio, 56 >> stage), f"{_REPOSITORY}: 224 x 224")
                 for model, (_, width, ratio, *_) in MODELS.items() for stage in range(4)),
    published=(_passes("i", 1), *(published for model in MODELS for published in _published(model))),
)
