"""Focal modulation: every query is multiplied by a context that a few depthwise convolutions and a mean have gathered.

A projection of each token gives a query Q, a first context C0 and L + 1 gates G (linear, no sigmoid). Level l convolves
the context before, depthwise and without a bias, and takes gelu; the mean of the last one over the image, through gelu,
is one more level. The contexts, each times its gate, are summed and projected to the modulator; Y is the projection of
Q times it. ``levels2`` and ``levels3`` have so many convolutions; ``averaged`` divides the sum by L + 1 and norms Q times
the modulator, as the large models do. ``split`` is linear algebra: the mean's part of the modulator is one vector for
each image, so that the last sweep needs the query, a gate and the local part alone.

The mean waits for the image: 2 passes over the rows, whatever the levels, whose windows reach back a constant way.
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

_PAPER = "Yang et al., Focal Modulation Networks, NeurIPS 2022, arXiv 2203.11926"
_REPOSITORY = "github.com/microsoft/FocalNet, classification/focalnet.py and README"


def _context(levels: int) -> str:
    """Lines from the tokens to the sum of the local contexts, LA, and the mean level, MG; level l has taps jl x kl."""
    lines = ["""
QL[y,x,c] = X[y,x,m] * Wq[c,m]
CL[y,x,c] = X[y,x,m] * Wc[c,m]
GL[y,x,g] = X[y,x,m] * Wg[g,m]
Q[y,x,c]  = QL[y,x,c] + Bq[c]
C0[y,x,c] = CL[y,x,c] + Bc[c]
G[y,x,g]  = GL[y,x,g] + Bg[g]
"""]
    for level, before in enumerate(range(levels), 1):
        j, k = f"j{'abc'[before]}", f"k{'abc'[before]}"
        lines.append(f"""
T{level}[y,x,c] = C{before}[y + {j} - {j.upper()}//2, x + {k} - {k.upper()}//2, c; fill=0] * W{level}[c,{j},{k}]
C{level}[y,x,c] = gelu(T{level}[y,x,c])
P{level}[y,x,c] = C{level}[y,x,c] * G[y,x,{before}]
""")
    lines.append(f"""
LA[y,x,c] = {" + ".join(f"P{level}[y,x,c]" for level in range(1, levels + 1))}
MC[c]     = mean[y,x] C{levels}[y,x,c]
MG[c]     = gelu(MC[c])
""")
    return "".join(lines)


def _modulated(levels: int, averaged: bool) -> str:
    divided = f" / {levels + 1}" if averaged else ""
    normed = """
MU[y,x]   = mean[d] QM[y,x,d]
VA[y,x]   = var[d] QM[y,x,d]
V[y,x,d]  = (QM[y,x,d] - MU[y,x]) * rsqrt(VA[y,x] + 1e-5) * Gn[d] + Sn[d]
""" if averaged else "V[y,x,d]  = QM[y,x,d]\n"
    return f"""{_context(levels)}
AG[y,x,c] = (LA[y,x,c] + MG[c] * G[y,x,{levels}]){divided}
HL[y,x,d] = AG[y,x,c] * Wh[d,c]
QM[y,x,d] = Q[y,x,0 + d] * (HL[y,x,d] + Bh[d])
{normed}
YP[y,x,o] = V[y,x,d] * Wp[o,d]
Y[y,x,o]  = YP[y,x,o] + Bp[o]
"""


_ALGORITHMS = {
    "levels3": _modulated(3, False),
    "levels2": _modulated(2, False),
    "averaged": _modulated(3, True),
    "split": f"""{_context(3)}
HL[y,x,d] = LA[y,x,c] * Wh[d,c]
HM[d]     = MG[c] * Wh[d,c]
QB[y,x,d] = Q[y,x,0 + d] * (HL[y,x,d] + Bh[d])
QG[y,x,d] = Q[y,x,0 + d] * HM[d]
YL[y,x,o] = QB[y,x,d] * Wp[o,d]
YG[y,x,o] = QG[y,x,d] * Wp[o,d]
Y[y,x,o]  = YL[y,x,o] + YG[y,x,o] * G[y,x,3] + Bp[o]
""",
}
_THREE = ("levels3", "split")
_WEIGHTS = ("Wq", "Wc", "Wg", "Bq", "Bc", "Bg", "W1", "W2", "Wh", "Bh", "Wp", "Bp")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[y,x,o]: the levels one after another, each convolved window by window."""
    return _modulation(inputs, averaged=False)


def averaged_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with the mean of the levels, and a layer norm of the product."""
    return _modulation(inputs, averaged=True)


def pooled_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what levels of which only the mean has a gate give: one vector for the image modulates all."""
    import numpy as np
    t = dict(inputs)
    context = t["X"] @ t["Wc"].T + t["Bc"]
    for _ in range(3):
        context = _gelu(context)
    mean = _gelu(context.mean(axis=(0, 1)))
    gates = (t["X"] @ t["Wg"].T + t["Bg"])[:, :, 3:]
    modulator = gates * (mean @ t["Wh"].T) + t["Bh"]
    return {"Y": (t["X"] @ t["Wq"].T + t["Bq"]) * modulator @ t["Wp"].T + t["Bp"] + np.zeros(())}


def _modulation(inputs: Mapping[str, Array], averaged: bool) -> dict[str, Array]:
    import numpy as np
    t = dict(inputs)
    query, context, gates = (t["X"] @ t[f"W{n}"].T + t[f"B{n}"] for n in "qcg")
    total = np.zeros(context.shape)
    levels = 3 if "W3" in t else 2
    for level in range(levels):
        context = _gelu(_convolved(context, t[f"W{level + 1}"]))
        total += context * gates[:, :, level:level + 1]
    total += _gelu(context.mean(axis=(0, 1))) * gates[:, :, levels:]
    if averaged:
        total /= levels + 1
    product = query * (total @ t["Wh"].T + t["Bh"])
    if averaged:
        centred = product - product.mean(axis=2, keepdims=True)
        product = centred / np.sqrt(product.var(axis=2, keepdims=True) + 1e-5) * t["Gn"] + t["Sn"]
    return {"Y": product @ t["Wp"].T + t["Bp"]}


def _convolved(x: Array, taps: Array) -> Array:
    import numpy as np
    (rows, columns, _), (height, width) = x.shape, taps.shape[1:]
    padded = np.pad(x, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    out: Array = np.stack([[np.einsum("jkc,cjk->c", padded[y:y + height, z:z + width], taps) for z in range(columns)]
                           for y in range(rows)])
    return out


def _gelu(x: Array) -> Array:
    from math import erf, sqrt

    import numpy as np
    out: Array = np.vectorize(lambda one: one * (1 + erf(one / sqrt(2))) / 2)(x)
    return out


def centre(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws filters of 1 in the middle."""
    import numpy as np
    taps = np.zeros(shape)
    taps[:, shape[1] // 2, shape[2] // 2] = 1
    return taps


def global_gate(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws what makes gates, with those of all levels but the mean 0."""
    drawn = rng.normal(size=shape)
    drawn[:3] = 0
    return drawn


MODELS = {"t-srf": ((2, 2, 6, 2), 96, (3, 5), 28.4, 4.4, 28.43), "t-lrf": ((2, 2, 6, 2), 96, (3, 5, 7), 28.6, 4.5, 28.65),
          "s-lrf": ((2, 2, 18, 2), 96, (3, 5, 7), 50.3, 8.7, 50.34), "b-lrf": ((2, 2, 18, 2), 128, (3, 5, 7), 88.7, 15.4, 88.75)}
"""Depths, first width and taps of the levels; published millions of parameters and GMACs at 224 x 224, and the former counted."""


def layer(width: int, taps: tuple[int, ...], size: int) -> dict[str, int]:
    """Returns the extents of the modulation of a stage."""
    return {"y": size, "x": size, **dict.fromkeys("mcdo", width), "g": len(taps) + 1,
            **{f"{axis}{'abc'[level]}": n for level, n in enumerate(taps) for axis in "jk"}}


def parameters(model: str) -> float:
    """Returns the millions of parameters: patches of 4x4 and a norm, 2x2 convolutions of stride 2 with a norm between
    stages, and in a layer the modulation, two norms and a network of ratio 4."""
    depths, width, taps, *_ = MODELS[model]
    cascade = VARIANT.cascade(f"levels{len(taps)}")
    weights = (*_WEIGHTS, *(("W3",) if len(taps) == 3 else ()))
    found = 48 * width + width + 2 * width
    for stage, depth in enumerate(depths):
        d = width << stage
        found += depth * (parameter_count(cascade, weights, layer(d, taps, 1)) + 8 * d * d + 5 * d + 4 * d)
        found += 4 * d * 2 * d + 2 * d + 4 * d if stage < 3 else 0
    last = width * 8
    return (found + 2 * last + 1000 * last + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224: projections, convolutions and networks."""
    depths, width, taps, *_ = MODELS[model]
    found = 56 * 56 * 48 * width
    for stage, depth in enumerate(depths):
        d, tokens = width << stage, (56 >> stage) ** 2
        own = d * (2 * d + len(taps) + 1) + d * sum(k * k for k in taps) + 2 * d * d + 8 * d * d
        found += depth * tokens * own + (tokens // 4 * 4 * d * 2 * d if stage < 3 else 0)
    return (found + 1000 * width * 8) / 1e9


def _published(model: str) -> tuple[Published, ...]:
    _, _, _, millions, giga, exact_millions = MODELS[model]
    name = f"FocalNet-{model}"
    return (Published(f"parameters of {name}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of {name}", giga, "GMAC", _REPOSITORY, "read", lambda: gmacs(model)),
            Published(f"parameters of {name}, exactly", exact_millions, "M", _REPOSITORY, "calculated", lambda: parameters(model)))


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the rows", 2, "passes", "the mean, then what it is added to", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["y"]))


_CASE = {"y": 5, "x": 4, **dict.fromkeys("mcdo", 4), "g": 4, "ja": 3, "ka": 3, "jb": 5, "kb": 3, "jc": 3, "kc": 5}
_TWO = {r: n for r, n in _CASE.items() if r not in ("jc", "kc")}
VARIANT = Variant(
    id="focal_modulation",
    title="Focal modulation",
    system="Focal Modulation Networks",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=_THREE),
        Case("two levels", {**_TWO, "g": 3}, algorithms=("levels2",)),
        Case("mean of the levels, normed", _CASE, algorithms=("averaged",), reference=averaged_reference),
        Case("filters wider than the image", {**_CASE, "y": 2, "x": 1}, algorithms=_THREE),
        Case("filters of the token itself, and a gate of the mean alone", _CASE,
             {**dict.fromkeys(("W1", "W2", "W3"), centre), "Wg": global_gate, "Bg": global_gate}, algorithms=_THREE,
             reference=pooled_reference),
        Case("gates of 0 leave biases", _CASE, {"Wg": constant(0.0), "Bg": constant(0.0), "Bh": constant(0.0)}, algorithms=_THREE,
             reference=lambda inputs, extents: {"Y": 0 * inputs["X"] + inputs["Bp"]}),
    ),
    shapes=tuple(Shape(f"{model}-stage-{stage + 1}", layer(width << stage, taps, 56 >> stage), f"{_REPOSITORY}: 224 x 224", 1,
                       (*_THREE, "averaged") if len(taps) == 3 else ("levels2",))
                 for model, (_, width, taps, *_) in MODELS.items() for stage in range(4)),
    published=(
        *(_passes(algorithm) for algorithm in _ALGORITHMS),
        *(published for model in MODELS for published in _published(model)),
    ),
)
