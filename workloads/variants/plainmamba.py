"""The continuous scan of PlainMamba: four snakes over an image with one set of parameters, which know their direction.

Rows that turn at their end, columns likewise, and both backwards: no step of a route leaves its neighbours. The move to a
step (none, right, left, up, down) adds a learned vector of the states to B. ``scan`` is what the paper means: inputs and
parameters follow the route. ``raster`` is what is released: the inputs follow it, while steps, B and C stay in the order
of the image, whatever the route; then decays have no rank k, and one exponential serves four states. ``layer`` is the
block: norm, projections with biases, depthwise convolution, scan, sum, gate and projection. Steps, inputs and states are
those of ``mamba_s6``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.scan_routes import SNAKES, gathered, merged, pixel_of, recurrence, scan

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Yang et al., PlainMamba: Improving Non-Hierarchical Mamba in Visual Recognition, BMVC 2024, arXiv 2403.17695"
_REPOSITORY = "github.com/ChenhongyiYang/PlainMamba, mmcls/plain_mamba_dev/models/plain_mamba"

_AT_ROW, _AT_COLUMN = pixel_of(SNAKES)
# From one pixel to the next: the table has a row for none, right, left, up and down.
_MOVES = f"""
PY[k,i]   = {_AT_ROW}
PX[k,i]   = {_AT_COLUMN}
MY[k,i]   = PY[k,i] - PY[k,i - 1; fill=0]
MX[k,i]   = PX[k,i] - PX[k,i - 1; fill=0]
Dir[k,i]  = where(i == 0, 0, where(MX[k,i] > 0, 1, where(MX[k,i] < 0, 2, where(MY[k,i] < 0, 3, 4))))
TH[k,i,n] = Theta[Dir[k,i], n]
"""
_RASTER = """
RD[y,x,r] = U[y,x,e] * WxDt[r,e]
RB[y,x,n] = U[y,x,e] * WxB[n,e]
RC[y,x,n] = U[y,x,e] * WxC[n,e]
RP[y,x,e] = RD[y,x,r] * Wdt[e,r]
RL[y,x,e] = softplus(RP[y,x,e] + Bdt[e])
"""
_SCAN = f"""{gathered(SNAKES)}{_MOVES}
DR[k,i,r] = US[k,i,e] * WxDt[r,e]
B0[k,i,n] = US[k,i,e] * WxB[n,e]
C[k,i,n]  = US[k,i,e] * WxC[n,e]
DP[k,i,e] = DR[k,i,r] * Wdt[e,r]
DL[k,i,e] = softplus(DP[k,i,e] + Bdt[e])
B[k,i,n]  = B0[k,i,n] + TH[k,i,n]
{recurrence("shared")}{merged(SNAKES)}"""
_ALGORITHMS = {
    "scan": _SCAN,
    "raster": f"""{gathered(SNAKES)}{_MOVES}{_RASTER}
init H[k,0,e,n] = 0
DL[i,e]      = RL[i // X, i % X, e]
A[e,n]       = -exp(Alog[e,n])
DA[i,e,n]    = DL[i,e] * A[e,n]
AB[i,e,n]    = exp(DA[i,e,n])
B[k,i,n]     = RB[i // X, i % X, n] + TH[k,i,n]
DU[k,i,e]    = DL[i,e] * US[k,i,e]
BX[k,i,e,n]  = DU[k,i,e] * B[k,i,n]
H[k,i+1,e,n] = AB[i,e,n] * H[k,i,e,n] + BX[k,i,e,n]
YS[k,i,e]    = H[k,i+1,e,n] * RC[i // X, i % X, n]
Y[k,i,e]     = YS[k,i,e] + D[e] * US[k,i,e]
{merged(SNAKES)}""",
    "layer": f"""
MU[y,x]   = mean[m] X[y,x,m]
VA[y,x]   = var[m] X[y,x,m]
XN[y,x,m] = (X[y,x,m] - MU[y,x]) * rsqrt(VA[y,x] + 1e-5) * Gn[m] + Sn[m]
X0[y,x,e] = XN[y,x,m] * Win[e,m]
Z0[y,x,e] = XN[y,x,m] * Wz[e,m]
XI[y,x,e] = X0[y,x,e] + Bin[e]
CV[y,x,e] = XI[y + j - J//2, x + l - L//2, e; fill=0] * Wc[e,j,l]
U[y,x,e]  = silu(CV[y,x,e] + Bc[e])
{_SCAN}
VG[y,x,e] = V[y,x,e] * silu(Z0[y,x,e] + Bz[e])
O0[y,x,o] = VG[y,x,e] * Wout[o,e]
O[y,x,o]  = O0[y,x,o] + Bout[o]
""",
}
WEIGHTS = ("Gn", "Sn", "Win", "Wz", "Bin", "Bz", "Wc", "Bc", "WxDt", "WxB", "WxC", "Wdt", "Bdt", "Alog", "D", "Wout", "Bout")
"""The inputs of ``layer`` that are parameters, but for the table of moves."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns V[y,x,e]: four walks over the image, all that belongs to a pixel going with it."""
    return {"V": _walked(inputs["U"], inputs, released=False)}


def released_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns V[y,x,e] where steps, B and C are those of the image's order, whatever pixel the walk is at."""
    return {"V": _walked(inputs["U"], inputs, released=True)}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,o] of the layer."""
    import numpy as np
    t = dict(inputs)
    normed = (t["X"] - t["X"].mean(axis=2, keepdims=True)) / np.sqrt(t["X"].var(axis=2, keepdims=True) + 1e-5)
    normed = normed * t["Gn"] + t["Sn"]
    x, z = normed @ t["Win"].T + t["Bin"], normed @ t["Wz"].T + t["Bz"]
    (rows, columns, _), (height, width) = x.shape, t["Wc"].shape[1:]
    padded = np.pad(x, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    conv = sum((padded[j:j + rows, q:q + columns] * t["Wc"][:, j, q] for j in range(height) for q in range(width)), np.zeros(()))
    conv = conv + t["Bc"]
    v = _walked(conv / (1 + np.exp(-conv)), t, released=False)
    return {"O": v * z / (1 + np.exp(-z)) @ t["Wout"].T + t["Bout"]}


def _walked(image: Array, t: Mapping[str, Array], released: bool) -> Array:
    import numpy as np
    rows, columns, channels = image.shape
    pixels = image.reshape(-1, channels)
    out = np.zeros(pixels.shape)
    codes = {(0, 1): 1, (0, -1): 2, (-1, 0): 3, (1, 0): 4}
    for backward in (False, True):
        for down in (False, True):
            walk = _snake(columns, rows) if down else _snake(rows, columns)
            walk = [(b, a) for a, b in walk] if down else walk
            walk = walk[::-1] if backward else walk
            moves = [0, *(codes[b[0] - a[0], b[1] - a[1]] for a, b in pairwise(walk))]
            order = [y * columns + x for y, x in walk]
            u = pixels[order]
            of = pixels if released else u
            step = np.logaddexp(0, of @ t["WxDt"].T @ t["Wdt"].T + t["Bdt"])
            out[order] += scan(u, step, t["Alog"], of @ t["WxB"].T + t["Theta"][moves], of @ t["WxC"].T, t["D"])
    return out.reshape(image.shape)


def _snake(lines: int, length: int) -> list[tuple[int, int]]:
    """A walk from a corner that never leaves the neighbours of where it is."""
    walk, at, way = [(0, 0)], (0, 0), 1
    while len(walk) < lines * length:
        onward = (at[0], at[1] + way)
        at, way = (onward, way) if 0 <= onward[1] < length else ((at[0] + 1, at[1]), -way)
        walk.append(at)
    return walk


MODELS = {"l1": (192, 24, 1, 7.3, 3.01), "l2": (384, 24, 2, 25.7, 8.08), "l3": (448, 36, 2, 50.5, 14.43)}
"""Width, layers and inner convolutions of the stem; published millions of parameters (without the classifier), and GMACs
as counted from the released models at 224 x 224."""


def layer(width: int, size: int = 14) -> dict[str, int]:
    """Returns the extents of a layer: width doubled, 16 states, a step rank of M/16, 7x7 taps."""
    return {"y": size, "x": size, "i": size * size, "m": width, "o": width, "e": 2 * width, "n": 16, "r": -(-width // 16),
            "j": 7, "l": 7}


def parameters(model: str) -> float:
    """Returns the millions of parameters but for the classifier: a stem of a 7x7 convolution, 3x3 ones and an 8x8 one,
    positions, layers with a table of five moves each, and the last norm; the first layer of the smallest has a depthwise
    3x3 convolution more."""
    width, layers, inner, *_ = MODELS[model]
    stem = 147 * 64 + 128 + inner * (9 * 64 * 64 + 128) + 64 * 64 * width + width + 196 * width
    own = parameter_count(VARIANT.cascade("layer"), WEIGHTS, layer(width, 1)) + 5 * 16
    return (stem + layers * own + 2 * width) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224, each route's scan counted as 9 for each state and 1 for each skip."""
    width, layers, inner, *_ = MODELS[model]
    e, rank = 2 * width, -(-width // 16)
    stem = 112 * 112 * (147 * 64 + inner * 9 * 64 * 64) + 196 * 64 * 64 * width
    own = 3 * width * e + 49 * e + (rank + 32) * e + rank * e + 4 * (9 * e * 16 + e)
    return (stem + layers * 196 * own + 1000 * width) / 1e9


def _published(model: str) -> tuple[Published, ...]:
    *_, millions, giga = MODELS[model]
    return (Published(f"parameters of PlainMamba-{model}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of PlainMamba-{model}", giga, "GMAC", f"layer shapes of {_REPOSITORY}", "calculated",
                      lambda: gmacs(model)))


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over i", 1, "passes", "a recurrence along each route", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["i"]))


_CASE = {"y": 4, "x": 3, "i": 12, "e": 3, "n": 2, "r": 2}
VARIANT = Variant(
    id="plainmamba",
    title="Continuous scan of PlainMamba",
    system="PlainMamba",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=("scan",)),
        Case("odd sides", {**_CASE, "y": 3, "x": 5, "i": 15}, algorithms=("scan",)),
        Case("one row", {**_CASE, "y": 1, "x": 6, "i": 6}, algorithms=("scan",)),
        Case("one pixel", {**_CASE, "y": 1, "x": 1, "i": 1}, algorithms=("scan",)),
        # A pixel's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
        Case("strong decays", _CASE, {"Alog": uniform(4.0, 6.0)}, algorithms=("scan",)),
        Case("as released", _CASE, algorithms=("raster",), reference=released_reference),
        Case("as released, odd sides", {**_CASE, "y": 5, "x": 3, "i": 15}, algorithms=("raster",), reference=released_reference),
        Case("equal pixels have no order", _CASE, {"U": constant(0.7)}, algorithms=("raster",)),
        Case("layer", {**_CASE, "m": 4, "o": 4, "j": 3, "l": 3}, algorithms=("layer",), reference=layer_reference),
    ),
    # Read along routes, or at moves, alone.
    input_shapes={"U": lambda n: (n["y"], n["x"], n["e"]), "Theta": lambda n: (5, n["n"])},
    shapes=tuple(Shape(f"{model}", layer(width), f"{_REPOSITORY}: 224 x 224, patches of 16") for model, (width, *_) in MODELS.items()),
    published=(_passes("scan"), _passes("raster"), *(published for model in MODELS for published in _published(model))),
)
