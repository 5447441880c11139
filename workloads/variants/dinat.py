"""Dilated neighbourhood attention (DiNA): neighbourhood attention inside each residue class of the coordinates.

With dilation Y0 (and X0) the grid is Y0 X0 grids of every Y0-th row and X0-th column, and the window of a query shifts
at the borders of its own: see ``fna``. Scores have a bias by relative position, a table of (2 WY - 1) x (2 WX - 1).
``3pass``, ``2pass`` and ``1pass`` (by rows of the window) take the grid apart, attend, and put it together again;
``masked`` is the same as a mask over all keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.fna import reference as neighbourhood_reference
from workloads.variants.fna import residue_reference
from workloads.variants.softmax_lines import one_pass, three_passes, two_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Hassani and Shi, Dilated Neighborhood Attention Transformer, arXiv 2209.15001"
_REPOSITORY = "github.com/SHI-Labs/Neighborhood-Attention-Transformer, classification/dinat.py and DiNAT.md"


def _first(rank: str, at: str, residue: str) -> str:
    """The first key of the window of the member ``at`` of a residue class, which has ceil((Y - y0) / Y0) members."""
    n, d, w = rank.upper(), f"{rank.upper()}0", f"W{rank.upper()}"
    return f"clamp({at} - {w}//2, 0, ({n} - ({residue}) + {d} - 1)//{d} - {w})"


_ROWS = "y1,y0,x1,x0"
_KEY = f"{_first('y', 'y1', 'y0')} + wy, y0, {_first('x', 'x1', 'x0')} + wx, x0"
_BIAS = f"Rpb[{_first('y', 'y1', 'y0')} + wy - y1 + WY - 1, {_first('x', 'x1', 'x0')} + wx - x1 + WX - 1]"
_APART = f"""
KG[{_ROWS},e] = K[y1*Y0 + y0, x1*X0 + x0, e]
VG[{_ROWS},f] = V[y1*Y0 + y0, x1*X0 + x0, f]
QK[{_ROWS},wy,wx] = Q[y1*Y0 + y0, x1*X0 + x0, e] * KG[{_KEY}, e]
S[{_ROWS},wy,wx]  = QK[{_ROWS},wy,wx] * rsqrt(E) + {_BIAS}
"""
_VALUE = f"VG[{_KEY}, f]"
_TOGETHER = "O[y,x,f] = OG[y // Y0, y % Y0, x // X0, x % X0, f]\n"


def _seen(rank: str) -> str:
    """Whether a key of the whole grid is in the window of a query: of its residue class, and of the run that it has."""
    n, key, d, w = rank, f"m{rank}", f"{rank.upper()}0", f"W{rank.upper()}"
    first = _first(n, f"{n}//{d}", f"{n}%{d}")
    return f"{key} % {d} == {n} % {d} and {first} <= {key}//{d} and {key}//{d} < {first} + {w}"


_ALGORITHMS = {
    "3pass": _APART + three_passes(_ROWS, "wy,wx", _VALUE, f"OG[{_ROWS},f]") + _TOGETHER,
    "2pass": _APART + two_passes(_ROWS, "wy,wx", _VALUE, f"OG[{_ROWS},f]") + _TOGETHER,
    "1pass": _APART + one_pass(_ROWS, "wy", "wx", _VALUE, f"OG[{_ROWS},f]") + _TOGETHER,
    "masked": f"""
QK[y,x,my,mx] = Q[y,x,e] * K[my,mx,e] where {_seen("y")} and {_seen("x")}
S[y,x,my,mx]  = QK[y,x,my,mx] * rsqrt(E) + Rpb[my//Y0 - y//Y0 + WY - 1, mx//X0 - x//X0 + WX - 1]
{two_passes("y,x", "my,mx", "V[my,mx,f]", "O[y,x,f]")}
""",
}
_APARTS = ("3pass", "2pass", "1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[y,x,f]: softmax attention of each query over its neighbourhood in its residue class, as in ``fna``."""
    return neighbourhood_reference(inputs, extents)


def undilated_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a dilation of 1 is: neighbourhood attention."""
    return neighbourhood_reference(inputs, {r: n for r, n in extents.items() if r not in ("y0", "x0")})


MODELS = {"mini": ((3, 4, 6, 5), 64, 3, 20, 2.7), "tiny": ((3, 4, 18, 5), 64, 3, 28, 4.3),
          "small": ((3, 4, 18, 5), 96, 2, 51, 7.8), "base": ((3, 4, 18, 5), 128, 2, 90, 13.7)}
"""Depths of the stages, width of the first, ratio of the networks, millions of parameters and GMACs at 224 x 224."""


def parameters(model: str) -> float:
    """Returns the millions of parameters: two convolutions of stride 2 before the stages, one between them, and in a
    layer two norms, four projections, the bias table and the network; the larger two have layer scales."""
    depths, width, ratio, _, _ = MODELS[model]
    scales = 2 if model in ("small", "base") else 0
    found = 9 * 3 * (width // 2) + width // 2 + 9 * width // 2 * width + width + 2 * width
    for stage, depth in enumerate(depths):
        d = width << stage
        layer = (4 + 2 * ratio) * d * d + (4 + 1 + ratio) * d + 4 * d + d // 32 * 13 * 13 + scales * d
        found += depth * layer
        if stage < 3:
            found += 9 * d * 2 * d + 2 * 2 * d
    last = width * 8
    return (found + 2 * last + 1000 * last + 1000) / 1e6


def gmacs(model: str) -> float:
    """Returns the GMACs at 224 x 224, those of the two products of attention over 7 x 7 keys among them."""
    depths, width, ratio, _, _ = MODELS[model]
    found = 112 * 112 * 9 * 3 * width // 2 + 56 * 56 * 9 * width // 2 * width
    for stage, depth in enumerate(depths):
        d, tokens = width << stage, (56 >> stage) ** 2
        found += depth * tokens * ((4 + 2 * ratio) * d * d + 2 * 49 * d)
        if stage < 3:
            found += tokens // 4 * 9 * d * 2 * d
    return (found + 1000 * width * 8) / 1e9


def _published(model: str) -> tuple[Published, Published]:
    *_, millions, giga = MODELS[model]
    return (Published(f"parameters of DiNAT-{model}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"multiplications of DiNAT-{model}", giga, "GMAC", _REPOSITORY, "read", lambda: gmacs(model)))


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "over the window", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_CASE = {"y": 7, "x": 6, "my": 7, "mx": 6, "y0": 2, "x0": 3, "wy": 3, "wx": 2, "e": 4, "f": 3}


def _cases(name: str, extents: Mapping[str, int], **rest: Any) -> tuple[Case, Case]:
    """Returns the case of the algorithms that take the grid apart, and that of the mask, which has ranks of its own."""
    own = {r: n for r, n in extents.items() if r not in ("my", "mx")}
    return Case(name, own, algorithms=_APARTS, **rest), Case(f"{name}, masked", extents, algorithms=("masked",), **rest)


VARIANT = Variant(
    id="dinat",
    title="Dilated neighbourhood attention",
    system="Dilated Neighborhood Attention Transformer",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        *_cases("random", _CASE),
        *_cases("a dilation of 1 is none", {**_CASE, "y0": 1, "x0": 1}, reference=undilated_reference),
        *_cases("logits of 80 and -80", _CASE, inputs={"Q": signs(160 / 4), "K": signs()}),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        *_cases("logits beyond the range of exp", _CASE, inputs={"Q": normal(2e3)}, tolerance=1e-9),
        *_cases("a window of all without bias is attention inside the class",
                {"y": 4, "x": 6, "my": 4, "mx": 6, "y0": 2, "x0": 3, "wy": 2, "wx": 2, "e": 2, "f": 2},
                inputs={"Rpb": constant(0.0)}, reference=residue_reference),
    ),
    input_shapes={"Rpb": lambda n: (2 * n["wy"] - 1, 2 * n["wx"] - 1)},
    shapes=tuple(
        Shape(f"mini-{size}-dilation-{dilation}", {"y": size, "x": size, "my": size, "mx": size, "y0": dilation, "x0": dilation, "wy": 7,
                                                   "wx": 7, "e": 32, "f": 32}, f"{_REPOSITORY}: DiNAT-Mini at 224 x 224", heads)
        for size, dilation, heads in ((56, 1, 2), (56, 8, 2), (28, 4, 4), (14, 2, 8), (7, 1, 16))),
    published=(
        _passes("3pass", "wy", 3), _passes("2pass", "wy", 2), _passes("1pass", "wy", 1),
        *(published for model in MODELS for published in _published(model)),
    ),
)
