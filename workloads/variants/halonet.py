"""Blocked local attention with halo: the queries of a block share the keys of the block and of a border around it.

Blocks of Y0 x X0 queries see windows of WY x WX keys, which reach (WY - Y0)/2 beyond the block on each side. Scores have
a bias for the row and for the column of a key, each the product of the query (not scaled) with one of 2 WY - 1 (2 WX - 1)
vectors, at ky - qy + WY - 1 in coordinates of the window and of the block. Outside of the image keys and values are 0:
they take part with the bias alone as score, as in the implementation that is in use. ``masked`` leaves them out.
``3pass``, ``2pass`` and ``1pass`` (by rows of the window) are one function; ``plain`` has no bias, and ``strided`` only
every second query of a block, in both directions, as where a layer halves the map.

A block need not divide the image. Per query there are WY WX scores and, shared by a block, WY WX / (Y0 X0) keys to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Vaswani et al., Scaling Local Self-Attention for Parameter Efficient Visual Backbones, CVPR 2021, arXiv 2103.12731"
_REPOSITORY = "github.com/rwightman/pytorch-image-models, timm/layers/halo_attn.py and timm/models/byoanet.py"


def _at(rank: str) -> str:
    """The row or column of a window's key in the image."""
    return f"{rank}1*{rank.upper()}0 - (W{rank.upper()} - {rank.upper()}0)//2 + w{rank}"


_ROWS = "y1,x1,y0,x0"
_QUERY = "y1*Y0 + y0, x1*X0 + x0"
_KEY = f"{_at('y')}, {_at('x')}"
_INSIDE = f"0 <= {_at('y')} and {_at('y')} < Y and 0 <= {_at('x')} and {_at('x')} < X"
_VALUE = f"V[{_KEY}, f; fill=0]"
_BIAS = f"""
RY[{_ROWS},wy] = Q[{_QUERY}, e] * Ry[wy - y0 + WY - 1, e]
RX[{_ROWS},wx] = Q[{_QUERY}, e] * Rx[wx - x0 + WX - 1, e]
"""
_IMAGE = "O[y,x,f] = OB[y // Y0, x // X0, y % Y0, x % X0, f]\n"


def _scores(order: str, where: str = "", bias: bool = True) -> str:
    added = f" + RY[{_ROWS},wy] + RX[{_ROWS},wx]" if bias else ""
    return f"""{_BIAS if bias else ""}
QK[{order}] = Q[{_QUERY}, e] * K[{_KEY}, e; fill=0]{where}
S[{order}]  = QK[{order}] * rsqrt(E){added}
"""


_SCORES = _scores(f"{_ROWS},wy,wx")
_OUT = f"OB[{_ROWS},f]"
_ALGORITHMS = {
    "3pass": _SCORES + three_passes(_ROWS, "wy,wx", _VALUE, _OUT) + _IMAGE,
    "2pass": _SCORES + two_passes(_ROWS, "wy,wx", _VALUE, _OUT) + _IMAGE,
    "1pass": _SCORES + one_pass(_ROWS, "wy", "wx", _VALUE, _OUT) + _IMAGE,
    "masked": _scores(f"{_ROWS},wy,wx", f" where {_INSIDE}") + two_passes(_ROWS, "wy,wx", _VALUE, _OUT) + _IMAGE,
    "plain": _scores(f"{_ROWS},wy,wx", f" where {_INSIDE}", bias=False) + two_passes(_ROWS, "wy,wx", _VALUE, _OUT) + _IMAGE,
    # Query s of a block stands at 2 s of its pixels; the bias is that of the pixel.
    "strided": f"""
QB[y1,x1,y0,x0,e] = Q[y1*Y0 + y0, x1*X0 + x0, e]
QS[y1,x1,sy,sx,e] = QB[y1,x1,2*sy,2*sx,e]
RY[y1,x1,sy,sx,wy] = QS[y1,x1,sy,sx,e] * Ry[wy - 2*sy + WY - 1, e]
RX[y1,x1,sy,sx,wx] = QS[y1,x1,sy,sx,e] * Rx[wx - 2*sx + WX - 1, e]
QK[y1,x1,sy,sx,wy,wx] = QS[y1,x1,sy,sx,e] * K[{_KEY}, e; fill=0]
S[y1,x1,sy,sx,wy,wx]  = QK[y1,x1,sy,sx,wy,wx] * rsqrt(E) + RY[y1,x1,sy,sx,wy] + RX[y1,x1,sy,sx,wx]
{two_passes("y1,x1,sy,sx", "wy,wx", _VALUE, "O[y1,x1,sy,sx,f]")}
""",
}
_PLAIN = ("3pass", "2pass", "1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,f], pixel by pixel, on an image with a border of zeros as wide as the halo."""
    return _attention(inputs, extents)


def masked_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same over the keys that are inside of the image."""
    return _attention(inputs, extents, masked=True)


def strided_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y1,x1,sy,sx,f], every second pixel of each block."""
    import numpy as np
    whole = _attention(inputs, extents)["O"]
    sizes = (extents["y1"], extents["x1"], extents["sy"], extents["sx"])
    out = np.zeros((*sizes, whole.shape[2]))
    for by, bx, y, x in np.ndindex(sizes):
        out[by, bx, y, x] = whole[by * extents["y0"] + 2 * y, bx * extents["x0"] + 2 * x]
    return {"O": out}


def global_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one block of the whole image gives: attention of all to all."""
    import numpy as np
    q, k, v = (inputs[name].reshape(-1, inputs[name].shape[2]) for name in ("Q", "K", "V"))
    return {"O": (softmax(q @ k.T / np.sqrt(q.shape[1])) @ v).reshape(*inputs["V"].shape)}


def window_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what no halo gives: attention inside of blocks that divide the image."""
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    out = np.empty(v.shape)
    for y in range(0, v.shape[0], extents["y0"]):
        for x in range(0, v.shape[1], extents["x0"]):
            block = slice(y, y + extents["y0"]), slice(x, x + extents["x0"])
            out[block] = global_reference({"Q": q[block], "K": k[block], "V": v[block]}, extents)["O"]
    return {"O": out}


def _attention(inputs: Mapping[str, Array], extents: Mapping[str, int], masked: bool = False) -> dict[str, Array]:
    import numpy as np
    q, v = inputs["Q"], inputs["V"]
    size = np.array([extents["y0"], extents["x0"]])
    window = np.array([extents["wy"], extents["wx"]])
    halo = (window - size) // 2
    reach = tuple((h, w) for h, w in zip(halo, window, strict=True))
    keys, values = (np.pad(inputs[name], (*reach, (0, 0))) for name in ("K", "V"))
    there = np.pad(np.ones(q.shape[:2], dtype=bool), reach)
    out = np.empty((*q.shape[:2], v.shape[2]))
    for pixel in np.ndindex(q.shape[:2]):
        block, inside = np.divmod(pixel, size)
        # The border is as wide as the halo, so that the window begins where the block does.
        (y, x), (wy, wx) = block * size, window
        own = slice(y, y + wy), slice(x, x + wx)
        query = q[pixel]
        scores = keys[own] @ query / np.sqrt(len(query))
        if "Ry" in inputs:
            scores += (inputs["Ry"][wy - 1 - inside[0]:][:wy] @ query)[:, None]
            scores += (inputs["Rx"][wx - 1 - inside[1]:][:wx] @ query)[None, :]
        weights = softmax(scores, there[own] if masked else True, axes=2)
        out[pixel] = np.tensordot(weights, values[own], 2)
    return {"O": out}


def keys_loaded(block: int, halo: int) -> float:
    """Returns how many keys a block loads for each of its queries."""
    return (block + 2 * halo) ** 2 / block**2


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "over the window", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


def _stage(size: int, channels: int) -> Shape:
    return Shape(f"h1-{size}", {"y": size, "x": size, "y0": 8, "x0": 8, "wy": 14, "wx": 14, "e": 16, "f": 16},
                 f"{_REPOSITORY}: halonet_h1 at 256 x 256, blocks of 8, halo of 3; heads of 16", channels // 16, (*_PLAIN, "masked"))


_CASE = {"y": 6, "x": 8, "y0": 3, "x0": 4, "wy": 5, "wx": 8, "e": 4, "f": 3}
VARIANT = Variant(
    id="halonet",
    title="Blocked local attention with halo",
    system="Scaling Local Self-Attention (HaloNet)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=_PLAIN),
        Case("ragged last blocks", {**_CASE, "y": 7, "x": 9}, algorithms=_PLAIN),
        Case("logits of 80 and -80", _CASE, {"Q": signs(160 / 4), "K": signs(), "Ry": constant(0.0), "Rx": constant(0.0)},
             algorithms=_PLAIN),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", _CASE, {"Q": normal(1e3)}, algorithms=_PLAIN, tolerance=1e-9),
        Case("padding masked", {**_CASE, "y": 7, "x": 9}, algorithms=("masked",), reference=masked_reference),
        Case("small", {"y": 3, "x": 2, "y0": 2, "x0": 2, "wy": 4, "wx": 4, "e": 2, "f": 2}, algorithms=_PLAIN),
        Case("padding masked, small", {"y": 3, "x": 2, "y0": 2, "x0": 2, "wy": 4, "wx": 4, "e": 2, "f": 2},
             algorithms=("masked",), reference=masked_reference),
        Case("padding masked, no bias", _CASE, algorithms=("plain",), reference=masked_reference),
        Case("no halo is window attention", {"y": 6, "x": 8, "y0": 3, "x0": 4, "wy": 3, "wx": 4, "e": 4, "f": 3},
             algorithms=("plain",), reference=window_reference),
        Case("one block without halo is attention", {"y": 5, "x": 4, "y0": 5, "x0": 4, "wy": 5, "wx": 4, "e": 4, "f": 3},
             algorithms=("plain",), reference=global_reference),
        Case("a halo beyond the image is attention", {"y": 5, "x": 4, "y0": 5, "x0": 4, "wy": 9, "wx": 10, "e": 4, "f": 3},
             algorithms=("plain",), reference=global_reference),
        Case("every second query", {"y": 8, "x": 8, "y0": 4, "x0": 4, "sy": 2, "sx": 2, "wy": 6, "wx": 8, "e": 4, "f": 3}, algorithms=("strided",), reference=strided_reference),
    ),
    # Windows read them at an offset.
    input_shapes={"Ry": lambda n: (2 * n["wy"] - 1, n["e"]), "Rx": lambda n: (2 * n["wx"] - 1, n["e"]),
                  **dict.fromkeys("QK", lambda n: (n["y"], n["x"], n["e"])), "V": lambda n: (n["y"], n["x"], n["f"])},
    shapes=(_stage(64, 64), _stage(32, 128), _stage(16, 256), _stage(8, 512)),
    published=(
        _passes("3pass", "wy", 3), _passes("2pass", "wy", 2), _passes("1pass", "wy", 1),
        Published("keys loaded for each query, blocks of 8, halo of 3", 3.06, "ratio", f"{_PAPER}: 14 x 14 keys for 8 x 8 queries",
                  "calculated", lambda: keys_loaded(8, 3)),
        Published("parameters of halonet_h1", 8.1, "M", _REPOSITORY, "read"),
        Published("multiplications of halonet_h1", 3.0, "GMAC", _REPOSITORY, "read"),
    ),
)
