"""Dual attention of DaViT: attention inside windows, and attention between the channels of a group.

``channel`` lets the C channels of a group attend to each other, over what the tokens make of them: the score of channels
c and d is sum over n of K[n,c] V[n,d], scaled by 1/sqrt(C), and O[n,c] is the softmax over d of it, times Q[n,d]. In the
released code "key" so plays the part of the query, "value" that of the key and "query" that of the value. It needs 2 N C^2
products, and two sweeps over the tokens: all of them for the scores, then the values. ``spatial-3pass`` and
``spatial-1pass`` attend inside windows of Y0 x X0 tokens without overlap; where a window reaches beyond the image its
tokens are 0 and are seen all the same. Padding comes before projection, so that a padded token is a key of the bias.

One copy is one group (of 32 channels), or one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import normal
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Ding et al., DaViT: Dual Attention Vision Transformers, ECCV 2022, arXiv 2204.03645"
_REPOSITORY = "github.com/dingmyu/davit, timm/models/davit.py and README"

_ROWS = "y1,x1,y0,x0"
_IMAGE = "O[y,x,f] = OW[y // Y0, x // X0, y % Y0, x % X0, f]\n"


def _spatial(softmaxed: str) -> str:
    """Windows of queries, keys and values; where there is no token, those are the biases of the projections."""
    cut = "\n".join(
        f"{name}W[{_ROWS},{c}] = where(y1*Y0 + y0 < Y and x1*X0 + x0 < X, {name}[y1*Y0 + y0, x1*X0 + x0, {c}; fill=0], B{name.lower()}[{c}])"
        for name, c in (("Q", "e"), ("K", "e"), ("V", "f")))
    return f"""
{cut}
QK[{_ROWS},v0,u0] = QW[{_ROWS},e] * KW[y1,x1,v0,u0,e]
S[{_ROWS},v0,u0]  = QK[{_ROWS},v0,u0] * rsqrt(E)
{softmaxed}{_IMAGE}"""


_ALGORITHMS = {
    "channel": """
KV[c,d] = K[n,c] * V[n,d]
S[c,d]  = KV[c,d] * rsqrt(C)
""" + three_passes("c", "d", "Q[n,d]", "O[n,c]"),
    "spatial-3pass": _spatial(three_passes(_ROWS, "v0,u0", "VW[y1,x1,v0,u0,f]", f"OW[{_ROWS},f]")),
    "spatial-1pass": _spatial(one_pass(_ROWS, "v0", "u0", "VW[y1,x1,v0,u0,f]", f"OW[{_ROWS},f]")),
}
_SPATIAL = ("spatial-3pass", "spatial-1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[n,c]: every token's channels, mixed by one matrix of the whole image."""
    import numpy as np
    mixing = softmax(inputs["K"].T @ inputs["V"] / np.sqrt(inputs["K"].shape[1]))
    return {"O": inputs["Q"] @ mixing.T}


def identity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one channel attends to: itself."""
    return {"O": inputs["Q"]}


def spatial_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,f], window by window, of images that are padded to whole windows with the biases."""
    import numpy as np
    height, width = extents["y0"], extents["x0"]
    rows, columns = inputs["Q"].shape[:2]

    def padded(name: str) -> Array:
        out = np.tile(inputs[f"B{name.lower()}"], (-(-rows // height) * height, -(-columns // width) * width, 1))
        out[:rows, :columns] = inputs[name]
        return out
    q, k, v = (padded(name) for name in "QKV")
    out = np.empty(v.shape)
    for y in range(0, len(q), height):
        for x in range(0, q.shape[1], width):
            own = slice(y, y + height), slice(x, x + width)
            queries, keys, values = (a[own].reshape(height * width, -1) for a in (q, k, v))
            out[own] = (softmax(queries @ keys.T / np.sqrt(q.shape[2])) @ values).reshape(height, width, -1)
    return {"O": out[:rows, :columns]}


MODELS = {"tiny": ((1, 1, 3, 1), 96, 28.3, 4.5), "small": ((1, 1, 9, 1), 96, 49.7, 8.8), "base": ((1, 1, 9, 1), 128, 87.9, 15.5)}
"""Depths of the stages (each a spatial and a channel block), first width, millions of parameters, GMACs at 224 x 224."""


def parameters(model: str) -> float:
    """Returns the millions of parameters: of a block two depthwise 3x3 convolutions, two norms, four projections and a
    network of ratio 4; between stages a norm and a 2x2 convolution; a 7x7 convolution and a norm before them."""
    depths, width, _, _ = MODELS[model]
    found = 147 * width + width + 2 * width
    for stage, depth in enumerate(depths):
        d = width << stage
        block = 2 * 10 * d + 4 * d + 12 * d * d + (3 + 1 + 4 + 1) * d
        found += 2 * depth * block + (2 * d + 4 * d * 2 * d + 2 * d if stage < 3 else 0)
    last = width * 8
    return (found + 2 * last + 1000 * last + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224, those of both kinds of attention among them (windows of 7 x 7, groups of 32)."""
    depths, width, _, _ = MODELS[model]
    found = 56 * 56 * 147 * width
    for stage, depth in enumerate(depths):
        d, tokens = width << stage, (56 >> stage) ** 2
        found += 2 * depth * tokens * (12 * d * d + 18 * d) + depth * tokens * (2 * 49 * d + 2 * 32 * d)
        found += tokens // 4 * 4 * d * 2 * d if stage < 3 else 0
    return (found + 1000 * width * 8) / 1e9


def _published(model: str) -> tuple[Published, Published]:
    *_, millions, giga = MODELS[model]
    return (Published(f"parameters of DaViT-{model}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of DaViT-{model}", giga, "GMAC", _REPOSITORY, "read", lambda: gmacs(model)))


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "as the cascade has it", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_WINDOWS = {"y0": 3, "x0": 2, "v0": 3, "u0": 2, "e": 4, "f": 3}
VARIANT = Variant(
    id="davit",
    title="Dual attention: windows, and channels of a group",
    system="DaViT",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("channels", {"n": 13, "c": 5, "d": 5}, algorithms=("channel",)),
        Case("one token", {"n": 1, "c": 4, "d": 4}, algorithms=("channel",)),
        Case("one channel is its query", {"n": 6, "c": 1, "d": 1}, algorithms=("channel",), reference=identity_reference),
        # Scores grow with the tokens, as their scale does not know how many there are.
        Case("many tokens, scores beyond the range of exp", {"n": 900, "c": 3, "d": 3}, {"K": normal(10.0), "V": normal(10.0)},
             algorithms=("channel",), tolerance=1e-9),
        Case("windows", {**_WINDOWS, "y": 6, "x": 4}, algorithms=_SPATIAL, reference=spatial_reference),
        Case("windows that are padded", {**_WINDOWS, "y": 5, "x": 3}, algorithms=_SPATIAL, reference=spatial_reference),
        Case("one window", {**_WINDOWS, "y": 3, "x": 2}, algorithms=_SPATIAL, reference=spatial_reference),
    ),
    input_shapes={"Q": lambda n: (n["n"], n["d"]) if "n" in n else (n["y"], n["x"], n["e"]),
                  "K": lambda n: (n["n"], n["c"]) if "n" in n else (n["y"], n["x"], n["e"]),
                  "V": lambda n: (n["n"], n["d"]) if "n" in n else (n["y"], n["x"], n["f"])},
    shapes=(
        *(Shape(f"tiny-{size}-channel", {"n": size * size, "c": 32, "d": 32}, f"{_REPOSITORY}: groups of 32", groups, ("channel",))
          for size, groups in ((56, 3), (28, 6), (14, 12), (7, 24))),
        *(Shape(f"tiny-{size}-spatial", {"y": size, "x": size, "y0": 7, "x0": 7, "v0": 7, "u0": 7, "e": 32, "f": 32},
                f"{_REPOSITORY}: windows of 7 x 7", heads, _SPATIAL) for size, heads in ((56, 3), (28, 6), (14, 12), (7, 24))),
    ),
    published=(
        _passes("channel", "n", 1), _passes("channel", "d", 3), _passes("spatial-3pass", "v0", 3), _passes("spatial-1pass", "v0", 1),
        *(published for model in MODELS for published in _published(model)),
    ),
)
