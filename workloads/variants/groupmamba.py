"""The grouped scan of GroupMamba: the channels in four groups, each scanned along one route, and one gate for all.

Of a normed image, group k takes C/4 channels through a block of its own: projection and gate, depthwise 3x3 convolution,
scan along its route (rows, columns, both backwards), norm, gate and projection. The groups side by side, times the normed
image and a scale, are multiplied by one gate for each channel (a network of two layers of the image's mean), normed
again, and projected. ``layer`` is that; ``scan`` is from the groups' U to their results. Steps, inputs and states are those
of ``mamba_s6``. Released is the product with the image, where a sum is usual.

One route for each channel is a quarter of the work of the cross scan. The gate needs the mean of the image, but after the
scan: a sweep that norms it can make both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.scan_routes import CROSS, WEIGHTS, along, merged, scanned

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Shaker et al., GroupMamba: Efficient Group-Based Visual State Space Model, CVPR 2025, arXiv 2407.13772"
_REPOSITORY = "github.com/Amshaker/GroupMamba, classification/models/groupmamba.py"

# Each route has an image of its own: the group's.
_SCAN = scanned(CROSS, "separate").replace("= U[", "= U[k, ") + \
    merged(CROSS).replace("V[y,x,e] = sum[k] Y[", "V[k,y,x,e] = Y[")


def _normed(into: str, tensor: str, at: str, over: str, scale: str) -> str:
    """Lines of a layer norm of a tensor over its last rank; ``scale`` are the ranks of its parameters."""
    each = f"{at},{over}"
    return f"""
MU{into}[{at}] = mean[{over}] {tensor}[{each}]
VA{into}[{at}] = var[{over}] {tensor}[{each}]
{into}[{each}] = ({tensor}[{each}] - MU{into}[{at}]) * rsqrt(VA{into}[{at}] + 1e-5) * G{scale} + S{scale}
"""


_ALGORITHMS = {
    "scan": _SCAN,
    "layer": _normed("XN", "X", "y,x", "c", "n[c]") + """
XI[k,y,x,e] = XN[y,x,k*M + m] * Win[k,e,m]
Z[k,y,x,e]  = XN[y,x,k*M + m] * Wz[k,e,m]
CV[k,y,x,e] = XI[k,y + j - J//2, x + l - L//2, e; fill=0] * Wc[k,e,j,l]
U[k,y,x,e]  = silu(CV[k,y,x,e] + Bc[k,e])
""" + _SCAN + _normed("VN", "V", "k,y,x", "e", "o[k,e]") + """
VG[k,y,x,e] = VN[k,y,x,e] * silu(Z[k,y,x,e])
OG[k,y,x,m] = VG[k,y,x,e] * Wout[k,m,e]
ZM[c]       = mean[y,x] XN[y,x,c]
H1[f]       = ZM[c] * W1[f,c]
HR[f]       = relu(H1[f] + B1[f])
H2[c]       = HR[f] * W2[c,f]
SE[c]       = sigmoid(H2[c] + B2[c])
OX[y,x,c]   = OG[c // M, y, x, c % M] * XN[y,x,c] * Skip[]
OS[y,x,c]   = OX[y,x,c] * SE[c]
""" + _normed("ON", "OS", "y,x", "c", "n[c]") + """
P0[y,x,o]   = ON[y,x,c] * Wp[o,c]
O[y,x,o]    = P0[y,x,o] + Bp[o]
""",
}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns V[k,y,x,e]: each group along its route."""
    return {"V": _grouped(inputs["U"], inputs)}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,o] of the layer."""
    import numpy as np
    t = dict(inputs)

    def norm(x: Array, scale: Array, shift: Array) -> Array:
        out: Array = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * scale + shift
        return out

    def silu(x: Array) -> Array:
        out: Array = x / (1 + np.exp(-x))
        return out
    normed = norm(t["X"], t["Gn"], t["Sn"])
    groups = np.stack(np.split(normed, 4, axis=2))
    x = np.einsum("kyxm,kem->kyxe", groups, t["Win"])
    (rows, columns), (height, width) = x.shape[1:3], t["Wc"].shape[2:]
    padded = np.pad(x, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    conv = sum((padded[:, j:j + rows, q:q + columns] * t["Wc"][:, None, None, :, j, q]
                for j in range(height) for q in range(width)), np.zeros(())) + t["Bc"][:, None, None]
    v = norm(_grouped(silu(conv), t), t["Go"][:, None, None], t["So"][:, None, None])
    own = np.einsum("kyxe,kme->kyxm", v * silu(np.einsum("kyxm,kem->kyxe", groups, t["Wz"])), t["Wout"])
    hidden = np.maximum(t["W1"] @ normed.mean(axis=(0, 1)) + t["B1"], 0)
    gate = 1 / (1 + np.exp(-(t["W2"] @ hidden + t["B2"])))
    return {"O": norm(np.concatenate(list(own), axis=2) * normed * t["Skip"] * gate, t["Gn"], t["Sn"]) @ t["Wp"].T + t["Bp"]}


def memoryless_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what decays of 0 leave: every pixel by itself, whatever the route."""
    import numpy as np
    out = np.empty(inputs["U"].shape)
    for k, u in enumerate(inputs["U"]):
        step = np.logaddexp(0, u @ inputs["WxDt"][k].T @ inputs["Wdt"][k].T + inputs["Bdt"][k])
        out[k] = u * (step * np.sum(u @ inputs["WxB"][k].T * (u @ inputs["WxC"][k].T), axis=2, keepdims=True) + inputs["D"][k])
    return {"V": out}


def _grouped(images: Array, weights: Mapping[str, Array]) -> Array:
    import numpy as np
    return np.stack([along((route,), image, {name: weights[name][k:k + 1] for name in WEIGHTS})[0].reshape(image.shape)
                     for k, (route, image) in enumerate(zip(CROSS, images, strict=True))])


MODELS = {"tiny": ((64, 128, 348, 448), 23.0, 83.3), "small": ((64, 128, 348, 512), 34.0, 83.9), "base": ((96, 192, 424, 512), 57.0, 84.5)}
"""Widths of the stages, millions of parameters, accuracy."""


def layer(width: int, size: int) -> dict[str, int]:
    """Returns the extents of a layer: groups of a quarter, one state, a step rank of C/64."""
    group = width // 4
    return {"y": size, "x": size, "i": size * size, "c": width, "m": group, "e": group, "n": 1, "r": -(-width // 64), "j": 3,
            "l": 3, "f": width // 16, "o": width}


def _passes() -> float:
    return float(passes(VARIANT.cascade("scan"))["i"])


_CASE = {"y": 4, "x": 3, "i": 12, "e": 3, "n": 2, "r": 2}
VARIANT = Variant(
    id="groupmamba",
    title="Grouped scan of GroupMamba",
    system="GroupMamba",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=("scan",)),
        Case("wider than high, one state", {**_CASE, "y": 2, "x": 5, "i": 10, "n": 1}, algorithms=("scan",)),
        Case("one pixel", {**_CASE, "y": 1, "x": 1, "i": 1}, algorithms=("scan",)),
        # A pixel's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
        Case("strong decays", _CASE, {"Alog": uniform(4.0, 6.0)}, algorithms=("scan",)),
        Case("decays of 0 leave the pixel", _CASE, {"Alog": constant(50.0)}, algorithms=("scan",), reference=memoryless_reference),
        Case("layer", {**_CASE, "c": 12, "m": 3, "j": 3, "l": 3, "f": 2, "o": 12}, algorithms=("layer",), reference=layer_reference),
    ),
    # Read along routes alone.
    input_shapes={"U": lambda n: (4, n["y"], n["x"], n["e"])},
    shapes=tuple(Shape(f"{model}-stage-{stage + 1}", layer(width, 56 >> stage), f"{_REPOSITORY}: 224 x 224")
                 for model, (widths, *_) in MODELS.items() for stage, width in enumerate(widths)),
    published=(
        Published("passes over i", 1, "passes", "a recurrence along each route", "calculated", _passes),
        *(Published(f"parameters of GroupMamba-{model}", millions, "M", _REPOSITORY, "read") for model, (_, millions, _) in MODELS.items()),
        *(Published(f"accuracy of GroupMamba-{model}", accuracy, "%", _REPOSITORY, "read") for model, (*_, accuracy) in MODELS.items()),
    ),
)
