"""The gated convolution of MambaOut: the block of Mamba without its scan.

Of normed tokens, one projection gives a gate G (H features), a part I that goes on as it is (H - C) and a part that a
depthwise 7x7 convolution mixes (C); the second projection is of gelu(G) times the two side by side, and is added to the
input. ``block`` is that on a grid. Nothing waits for the image: one pass over the rows, with a halo of 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Yu and Wang, MambaOut: Do We Really Need Mamba for Vision?, CVPR 2025, arXiv 2405.07992"
_REPOSITORY = "github.com/yuweihao/MambaOut, models/mambaout.py and README"

_ALGORITHMS = {
    "block": """
MU[y,x]    = mean[m] X[y,x,m]
VA[y,x]    = var[m] X[y,x,m]
XN[y,x,m]  = (X[y,x,m] - MU[y,x]) * rsqrt(VA[y,x] + 1e-6) * Gn[m] + Sn[m]
G0[y,x,h]  = XN[y,x,m] * Wg[h,m]
I0[y,x,i]  = XN[y,x,m] * Wi[i,m]
V0[y,x,c]  = XN[y,x,m] * Wv[c,m]
VP[y,x,c]  = V0[y,x,c] + Bv[c]
CV[y,x,c]  = VP[y + j - J//2, x + k - K//2, c; fill=0] * Wc[c,j,k]
G[y,x,h]   = gelu(G0[y,x,h] + Bg[h])
IB[y,x,i]  = I0[y,x,i] + Bi[i]
CB[y,x,c]  = CV[y,x,c] + Bc[c]
U[y,x,h]   = where(h < I, IB[y,x,h; fill=0], CB[y,x,h - I; fill=0])
GU[y,x,h]  = G[y,x,h] * U[y,x,h]
F2[y,x,o]  = GU[y,x,h] * Wo[o,h]
Y[y,x,o]   = X[y,x,0 + o] + F2[y,x,o] + Bo[o]
""",
}
WEIGHTS = ("Gn", "Sn", "Wg", "Wi", "Wv", "Bg", "Bi", "Bv", "Wc", "Bc", "Wo", "Bo")
"""The inputs of ``block`` that are parameters."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[y,x,o]: one projection, cut into its three parts, and an erf for the gelu."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view
    t, (rows, columns, _) = dict(inputs), inputs["X"].shape
    centred = t["X"] - t["X"].mean(axis=2, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-6) * t["Gn"] + t["Sn"]
    weight, bias = np.concatenate([t[f"W{n}"] for n in "giv"]), np.concatenate([t[f"B{n}"] for n in "giv"])
    gate, same, mixed = np.split(normed @ weight.T + bias, np.cumsum([len(t["Wg"]), len(t["Wi"])]), axis=2)
    height, width = t["Wc"].shape[1:]
    padded = np.pad(mixed, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    windows = sliding_window_view(padded, (height, width), axis=(0, 1))[:rows, :columns]
    conv = np.einsum("yxcjk,cjk->yxc", windows, t["Wc"]) + t["Bc"]
    hidden = gate * _normal_distribution(gate) * np.concatenate((same, conv), axis=2)
    return {"Y": t["X"] + hidden @ t["Wo"].T + t["Bo"]}


def perceptron_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what filters of the token itself give: a gated linear unit, pixel by pixel."""
    import numpy as np
    t = dict(inputs)
    flat = t["X"].reshape(-1, t["X"].shape[2])
    normed = (flat - flat.mean(axis=1, keepdims=True)) / np.sqrt(flat.var(axis=1, keepdims=True) + 1e-6) * t["Gn"] + t["Sn"]
    gate = normed @ t["Wg"].T + t["Bg"]
    values = np.concatenate((normed @ t["Wi"].T + t["Bi"], normed @ t["Wv"].T + t["Bv"] + t["Bc"]), axis=1)
    out = flat + gate * _normal_distribution(gate) * values @ t["Wo"].T + t["Bo"]
    return {"Y": out.reshape(t["X"].shape)}


def centre(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws filters of 1 in the middle."""
    import numpy as np
    taps = np.zeros(shape)
    taps[:, shape[1] // 2, shape[2] // 2] = 1
    return taps


def _normal_distribution(x: Array) -> Array:
    from math import erf, sqrt

    import numpy as np
    out: Array = np.vectorize(lambda one: (1 + erf(one / sqrt(2))) / 2)(x)
    return out


MODELS = {"femto": ((3, 3, 9, 3), (48, 96, 192, 288), 7.3, 1.2, 7.30, 1.148), "kobe": ((3, 3, 15, 3), (48, 96, 192, 288), 9.1, 1.5, 9.14, 1.506),
          "tiny": ((3, 3, 9, 3), (96, 192, 384, 576), 26.5, 4.5, 26.55, 4.470), "small": ((3, 4, 27, 3), (96, 192, 384, 576), 48.5, 9.0, 48.49, 8.936),
          "base": ((3, 4, 27, 3), (128, 256, 512, 768), 84.8, 15.8, 84.81, 15.794)}
"""Depths and widths of the stages, published millions of parameters and GMACs at 224 x 224, and both counted exactly."""


def layer(width: int, size: int) -> dict[str, int]:
    """Returns the extents of a block of a stage: 8/3 times as many features as channels."""
    hidden = int(8 / 3 * width)
    return {"y": size, "x": size, "m": width, "o": width, "h": hidden, "i": hidden - width, "c": width, "j": 7, "k": 7}


def parameters(model: str) -> float:
    """Returns the millions of parameters: a stem of two 3x3 convolutions of stride 2, each with a norm, one more between
    stages, the blocks, a norm, and a head of two layers (4 times as wide, with a norm between)."""
    depths, widths, *_ = MODELS[model]
    first, last = widths[0], widths[3]
    found = 27 * (first // 2) + first // 2 + first + 9 * first // 2 * first + first + 2 * first
    for stage, (depth, d) in enumerate(zip(depths, widths, strict=True)):
        found += depth * parameter_count(VARIANT.cascade("block"), WEIGHTS, layer(d, 1))
        if stage < 3:
            found += 9 * d * widths[stage + 1] + widths[stage + 1] + 2 * widths[stage + 1]
    return (found + 2 * last + last * 4 * last + 4 * last + 2 * 4 * last + 4 * last * 1000 + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224."""
    depths, widths, *_ = MODELS[model]
    first, last = widths[0], widths[3]
    found = 112 * 112 * 27 * (first // 2) + 56 * 56 * 9 * first // 2 * first
    for stage, (depth, d) in enumerate(zip(depths, widths, strict=True)):
        tokens, hidden = (56 >> stage) ** 2, int(8 / 3 * d)
        found += depth * tokens * (d * 2 * hidden + 49 * d + hidden * d)
        found += tokens // 4 * 9 * d * widths[stage + 1] if stage < 3 else 0
    return (found + last * 4 * last + 4 * last * 1000) / 1e9


def _published(model: str) -> tuple[Published, ...]:
    _, _, millions, giga, exact_millions, exact_giga = MODELS[model]
    name = f"MambaOut-{model}"
    return (Published(f"parameters of {name}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of {name}", giga, "GMAC", _REPOSITORY, "read", lambda: gmacs(model)),
            Published(f"parameters of {name}, exactly", exact_millions, "M", _REPOSITORY, "calculated", lambda: parameters(model)),
            Published(f"multiplications of {name}, exactly", exact_giga, "GMAC", _REPOSITORY, "calculated", lambda: gmacs(model)))


def _passes() -> float:
    return float(passes(VARIANT.cascade())["y"])


_CASE = {"y": 5, "x": 6, "m": 4, "o": 4, "h": 7, "i": 3, "c": 4, "j": 3, "k": 3}
VARIANT = Variant(
    id="mambaout",
    title="Gated convolution of MambaOut",
    system="MambaOut",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE),
        Case("a filter wider than the image", {**_CASE, "y": 3, "x": 2, "j": 7, "k": 7}),
        Case("one pixel", {**_CASE, "y": 1, "x": 1}),
        Case("filters of the token itself are a gated linear unit", _CASE, {"Wc": centre}, reference=perceptron_reference),
        Case("gates of 0 leave the input and the bias", _CASE, {"Wg": constant(0.0), "Bg": constant(0.0)},
             reference=lambda inputs, extents: {"Y": inputs["X"] + inputs["Bo"]}),
    ),
    shapes=tuple(Shape(f"{model}-stage-{stage + 1}", layer(widths[stage], 56 >> stage), f"{_REPOSITORY}: 224 x 224")
                 for model, (_, widths, *_) in MODELS.items() for stage in range(4)),
    published=(
        Published("passes over the rows", 1, "passes", "no statistic of the image", "calculated",
                  _passes),
        *(published for model in MODELS for published in _published(model)),
    ),
)
