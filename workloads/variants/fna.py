"""Neighbourhood attention in 1, 2 and 3 dimensions: every query attends to a window of W keys around it.

At a border the window shifts and keeps its W keys; nothing is padded. An even window has W//2 keys before the query
and W//2 - 1 after. With dilation d (``p0``, ``y0``, ``x0``) every d-th key belongs to a window: each residue class of
the coordinates is a sequence of its own, so ``1d-dilated`` and ``2d-dilated`` take the rank apart, attend inside a
class, and put it together again. With stride t (``t``, ``ty``, ``tx``) the t queries of a group share one window, that
of their leader; in causal attention the leader is the last of the group, and no query sees a later key. ``2d-bias``
adds a table of (2 WY - 1) x (2 WX - 1) relative positions, which only older releases have.

The window is the fiber that softmax reduces: 3 passes over it, 2 with the division deferred, 1 with running statistics
(in 2-D by rows of the window).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING

from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.passes import passes
from workloads.draws import normal, signs
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Hassani et al., Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the " \
         "Threadblock Level, NeurIPS 2024, arXiv 2403.04690"
_TIMINGS = "github.com/SHI-Labs/NATTEN, docs/profiler.md: forward on one H100, fp16, d = 128"


def _key(rank: str, window: str, leader: str = "") -> str:
    """The key of a window's coordinate: that of a leader (the query itself), shifted at the borders."""
    n, w = rank.upper(), window.upper()
    return f"clamp({leader or rank} - {w}//2, 0, {n} - {w}) + {window}"


def _leader(rank: str, stride: str) -> str:
    """The query in the middle of a group, whose window the group shares."""
    return f"min({rank}//{stride.upper()}*{stride.upper()} + {stride.upper()}//2, {rank.upper()} - 1)"


def _residue_key(rank: str, window: str) -> str:
    """The key inside a residue class, whose length is ceil((P - p0) / P0)."""
    n, d, w = rank.upper(), f"{rank.upper()}0", window.upper()
    return f"clamp({rank}1 - {w}//2, 0, ({n} - {rank}0 + {d} - 1)//{d} - {w}) + {window},{rank}0"


def _three_passes(p: str, w: str, value: str, out: str = "O") -> str:
    return f"""
GM[{p}]     = max[{w}] S[{p},{w}]
SN[{p},{w}] = exp(S[{p},{w}] - GM[{p}])
SD[{p}]     = SN[{p},{w}]
A[{p},{w}]  = SN[{p},{w}] / SD[{p}]
{out}[{p},f]   = A[{p},{w}] * {value}
"""


def _two_passes(p: str, w: str, value: str) -> str:
    return f"""
GM[{p}]     = max[{w}] S[{p},{w}]
SN[{p},{w}] = exp(S[{p},{w}] - GM[{p}])
SD[{p}]     = SN[{p},{w}]
SNV[{p},f]  = SN[{p},{w}] * {value}
O[{p},f]    = SNV[{p},f] / SD[{p}]
"""


def _one_pass(p: str, w1: str, w0: str, value: str) -> str:
    return f"""
init RM[0,{p}]    = -inf
init RD[0,{p}]    = 0
init RNV[f,0,{p}] = 0
LM[{w1},{p}]       = max[{w0}] S[{w1},{w0},{p}]
RM[{w1}+1,{p}]     = max(RM[{w1},{p}], LM[{w1},{p}])
SLN[{w1},{w0},{p}] = exp(S[{w1},{w0},{p}] - RM[{w1}+1,{p}])
SLD[{w1},{p}]      = SLN[{w1},{w0},{p}]
SLNV[f,{w1},{p}]   = SLN[{w1},{w0},{p}] * {value}
PRM[{w1},{p}]      = exp(RM[{w1},{p}] - RM[{w1}+1,{p}])
SPD[{w1},{p}]      = RD[{w1},{p}] * PRM[{w1},{p}]
RD[{w1}+1,{p}]     = SLD[{w1},{p}] + SPD[{w1},{p}]
SPNV[f,{w1},{p}]   = RNV[f,{w1},{p}] * PRM[{w1},{p}]
RNV[f,{w1}+1,{p}]  = SLNV[f,{w1},{p}] + SPNV[f,{w1},{p}]
O[{p},f]           = RNV[f,{w1.upper()},{p}] / RD[{w1.upper()},{p}]
"""


_P = _key("p", "w")
_YX = f"{_key('y', 'wy')}, {_key('x', 'wx')}"
_P_STRIDED = _key("p", "w", _leader("p", "t"))
_P_CAUSAL = "max(min(p//T*T + T - 1, P - 1) - W + 1, 0) + w"
_YX_STRIDED = f"{_key('y', 'wy', _leader('y', 'ty'))}, {_key('x', 'wx', _leader('x', 'tx'))}"
_ZYX = f"{_key('z', 'wz')}, {_key('y', 'wy')}, {_key('x', 'wx')}"
_P_RESIDUE = _residue_key("p", "w")
_YX_RESIDUE = f"{_residue_key('y', 'wy')}, {_residue_key('x', 'wx')}"
_1D = f"""
QK[p,w] = Q[p,e] * K[{_P}, e]
S[p,w]  = QK[p,w] * rsqrt(E)
"""
_2D = f"""
QK[y,x,wy,wx] = Q[y,x,e] * K[{_YX}, e]
S[y,x,wy,wx]  = QK[y,x,wy,wx] * rsqrt(E)
"""

_ALGORITHMS = {
    "1d": _1D + _three_passes("p", "w", f"V[{_P}, f]"),
    "1d-2pass": _1D + _two_passes("p", "w", f"V[{_P}, f]"),
    # The window is copied (VW), or its tiles would not be parts of the one rank w.
    "1d-1pass": f"""
KW[p,w,e]   = K[{_P}, e]
VW[p,w,f]   = V[{_P}, f]
QK[w1,w0,p] = Q[p,e] * KW[p, w1*W0 + w0, e]
S[w1,w0,p]  = QK[w1,w0,p] * rsqrt(E)
""" + _one_pass("p", "w1", "w0", "VW[p, w1*W0 + w0, f]"),
    # The same keys as a mask of all: what a library without neighbourhoods computes.
    "1d-masked": f"""
QK[p,m] = Q[p,e] * K[m,e] where {_P.removesuffix(' + w')} <= m and m < {_P.removesuffix(' + w')} + W
S[p,m]  = QK[p,m] * rsqrt(E)
""" + _three_passes("p", "m", "V[m,f]"),
    "1d-strided": f"""
QK[p,w] = Q[p,e] * K[{_P_STRIDED}, e]
S[p,w]  = QK[p,w] * rsqrt(E)
""" + _three_passes("p", "w", f"V[{_P_STRIDED}, f]"),
    "1d-causal": f"""
QK[p,w] = Q[p,e] * K[{_P_CAUSAL}, e] where {_P_CAUSAL} <= p
S[p,w]  = QK[p,w] * rsqrt(E)
""" + _three_passes("p", "w", f"V[{_P_CAUSAL}, f]"),
    "1d-dilated": f"""
KG[p1,p0,e] = K[p1*P0 + p0, e]
VG[p1,p0,f] = V[p1*P0 + p0, f]
QK[p1,p0,w] = Q[p1*P0 + p0, e] * KG[{_P_RESIDUE}, e]
S[p1,p0,w]  = QK[p1,p0,w] * rsqrt(E)
""" + _three_passes("p1,p0", "w", f"VG[{_P_RESIDUE}, f]", out="OG") + """
O[p,f] = OG[p // P0, p % P0, f]
""",
    "2d": _2D + _three_passes("y,x", "wy,wx", f"V[{_YX}, f]"),
    "2d-2pass": _2D + _two_passes("y,x", "wy,wx", f"V[{_YX}, f]"),
    "2d-1pass": f"""
QK[wy,wx,y,x] = Q[y,x,e] * K[{_YX}, e]
S[wy,wx,y,x]  = QK[wy,wx,y,x] * rsqrt(E)
""" + _one_pass("y,x", "wy", "wx", f"V[{_YX}, f]"),
    "2d-bias": f"""
QK[y,x,wy,wx] = Q[y,x,e] * K[{_YX}, e]
S[y,x,wy,wx]  = QK[y,x,wy,wx] * rsqrt(E) + Rpb[{_key('y', 'wy')} - y + WY - 1, {_key('x', 'wx')} - x + WX - 1]
""" + _three_passes("y,x", "wy,wx", f"V[{_YX}, f]"),
    "2d-strided": f"""
QK[y,x,wy,wx] = Q[y,x,e] * K[{_YX_STRIDED}, e]
S[y,x,wy,wx]  = QK[y,x,wy,wx] * rsqrt(E)
""" + _three_passes("y,x", "wy,wx", f"V[{_YX_STRIDED}, f]"),
    "2d-dilated": f"""
KG[y1,y0,x1,x0,e]  = K[y1*Y0 + y0, x1*X0 + x0, e]
VG[y1,y0,x1,x0,f]  = V[y1*Y0 + y0, x1*X0 + x0, f]
QK[y1,y0,x1,x0,wy,wx] = Q[y1*Y0 + y0, x1*X0 + x0, e] * KG[{_YX_RESIDUE}, e]
S[y1,y0,x1,x0,wy,wx]  = QK[y1,y0,x1,x0,wy,wx] * rsqrt(E)
""" + _three_passes("y1,y0,x1,x0", "wy,wx", f"VG[{_YX_RESIDUE}, f]", out="OG") + """
O[y,x,f] = OG[y // Y0, y % Y0, x // X0, x % X0, f]
""",
    "3d": f"""
QK[z,y,x,wz,wy,wx] = Q[z,y,x,e] * K[{_ZYX}, e]
S[z,y,x,wz,wy,wx]  = QK[z,y,x,wz,wy,wx] * rsqrt(E)
""" + _three_passes("z,y,x", "wz,wy,wx", f"V[{_ZYX}, f]"),
}
_PLAIN_1D = ("1d", "1d-2pass", "1d-1pass", "1d-masked")
_PLAIN_2D = ("2d", "2d-2pass", "2d-1pass")
_AXES = {1: "p", 2: "yx", 3: "zyx"}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[..., f], softmax attention of each query over its neighbourhood, scaled by 1/sqrt(E).

    Of the axis of rank r, ``extents`` give the window (``wr``; ``w`` in 1-D), the stride (``tr`` or ``t``) and the
    dilation (``r0``); 1 where they do not. The keys of a query are the product of those of its axes.
    """
    return _attention(inputs, extents, neighbours)


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns causal neighbourhood attention: of a group's last W keys, a query sees those up to its own."""
    return _attention(inputs, extents, causal_neighbours)


def neighbours(i: int, length: int, window: int, stride: int, dilation: int) -> list[int]:
    """Returns the keys of query ``i`` on one axis: of the runs of ``window`` keys of the query's residue class, the one
    that starts nearest to where its leader is in the middle."""
    members = list(range(i % dilation, length, dilation))
    group = members.index(i) // stride * stride
    leader = min(group + stride // 2, len(members) - 1)
    starts = range(len(members) - window + 1)
    first = min(starts, key=lambda start: abs(start - (leader - window // 2)))
    return members[first:first + window]


def causal_neighbours(i: int, length: int, window: int, stride: int, dilation: int) -> list[int]:
    """Returns the keys of query ``i`` on one axis, none of them later: the last of those up to its group's end."""
    members = list(range(i % dilation, length, dilation))
    group = members.index(i) // stride * stride
    seen = members[:group + stride][-window:]
    return [key for key in seen if key <= i]


def full_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a window of all keys is: softmax attention of all to all."""
    return _attention(inputs, extents, lambda i, length, window, stride, dilation: list(range(length)))


def values_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a window of one key is: the query's own value."""
    return {"O": inputs["V"]}


def blocked_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a stride as long as the window is: attention inside blocks of W keys, which divide the sequence."""
    return _attention(inputs, extents, lambda i, length, window, stride, dilation:
                      list(range(i // window * window, (i // window + 1) * window)))


def residue_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a dilated window that spans the sequence is: attention inside each residue class."""
    return _attention(inputs, extents, lambda i, length, window, stride, dilation:
                      list(range(i % dilation, length, dilation)))


def _attention(inputs: Mapping[str, Array], extents: Mapping[str, int],
               keys_of: Callable[[int, int, int, int, int], list[int]]) -> dict[str, Array]:
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    axes = _AXES[q.ndim - 1]
    one = len(axes) == 1
    keys = [[keys_of(i, length, extents["w" if one else f"w{r}"], extents.get("t" if one else f"t{r}", 1),
                     extents.get(f"{r}0", 1)) for i in range(length)]
            for r, length in zip(axes, q.shape[:-1], strict=True)]
    out = np.empty((*q.shape[:-1], v.shape[-1]))
    for query in product(*(range(n) for n in q.shape[:-1])):
        window = np.ix_(*(keys[axis][i] for axis, i in enumerate(query)))
        scores = k[window] @ q[query] / np.sqrt(q.shape[-1])
        if "Rpb" in inputs:
            steps = [extents.get(f"{r}0", 1) for r in axes]
            scores = scores + inputs["Rpb"][tuple((index - i) // step + size // 2 for index, i, step, size
                                                  in zip(window, query, steps, inputs["Rpb"].shape, strict=True))]
        weights = np.exp(scores - np.logaddexp.reduce(scores, axis=None))
        out[query] = np.tensordot(weights, v[window], weights.ndim)
    return {"O": out}


_CASES = (
    Case("1-D", {"p": 17, "m": 17, "w": 5, "w0": 2, "e": 6, "f": 4}, algorithms=_PLAIN_1D),
    Case("1-D, even window", {"p": 13, "m": 13, "w": 6, "w0": 4, "e": 3, "f": 5}, algorithms=_PLAIN_1D),
    Case("1-D, logits of 80 and -80", {"p": 24, "m": 24, "w": 7, "w0": 3, "e": 4, "f": 4},
         {"Q": signs(160 / 4), "K": signs()}, algorithms=_PLAIN_1D),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    Case("1-D, logits beyond the range of exp", {"p": 15, "m": 15, "p0": 1, "w": 7, "w0": 3, "t": 1, "e": 4, "f": 4},
         {"Q": normal(2e3)}, algorithms=(*_PLAIN_1D, "1d-strided", "1d-dilated"), tolerance=1e-10),
    Case("1-D, causal, logits beyond the range of exp", {"p": 15, "w": 7, "t": 1, "e": 4, "f": 4}, {"Q": normal(2e3)},
         algorithms=("1d-causal",), reference=causal_reference, tolerance=1e-10),
    Case("1-D, a window of all keys is full attention", {"p": 9, "m": 9, "w": 9, "w0": 4, "e": 4, "f": 4},
         algorithms=_PLAIN_1D, reference=full_reference),
    Case("1-D, a window of one key gives its value", {"p": 9, "m": 9, "w": 1, "w0": 1, "e": 4, "f": 4},
         algorithms=_PLAIN_1D, reference=values_reference),
    Case("1-D, strides", {"p": 19, "w": 6, "t": 4, "e": 4, "f": 4}, algorithms=("1d-strided",)),
    Case("1-D, stride of 1 is none", {"p": 14, "w": 5, "t": 1, "e": 4, "f": 4}, algorithms=("1d-strided",)),
    Case("1-D, stride of a window gives blocks", {"p": 15, "w": 5, "t": 5, "e": 4, "f": 4}, algorithms=("1d-strided",),
         reference=blocked_reference),
    Case("1-D, causal", {"p": 15, "w": 4, "t": 1, "e": 4, "f": 4}, algorithms=("1d-causal",),
         reference=causal_reference),
    Case("1-D, causal with strides", {"p": 15, "w": 6, "t": 4, "e": 4, "f": 4}, algorithms=("1d-causal",),
         reference=causal_reference),
    Case("1-D, dilated", {"p": 17, "p0": 3, "w": 4, "e": 4, "f": 3}, algorithms=("1d-dilated",)),
    Case("1-D, dilation of 1 is none", {"p": 14, "p0": 1, "w": 5, "e": 4, "f": 3}, algorithms=("1d-dilated",)),
    Case("1-D, a dilated window of all is the residue class", {"p": 15, "p0": 3, "w": 5, "e": 4, "f": 3},
         algorithms=("1d-dilated",), reference=residue_reference),
    Case("2-D", {"y": 7, "x": 6, "wy": 5, "wx": 4, "e": 5, "f": 3}, algorithms=_PLAIN_2D),
    Case("2-D, logits beyond the range of exp",
         {"y": 5, "x": 6, "y0": 1, "x0": 1, "wy": 3, "wx": 4, "ty": 1, "tx": 1, "e": 4, "f": 3}, {"Q": normal(2e3)},
         algorithms=(*_PLAIN_2D, "2d-strided", "2d-dilated"), tolerance=1e-10),
    Case("2-D, a window of all keys is full attention", {"y": 4, "x": 3, "wy": 4, "wx": 3, "e": 5, "f": 3},
         algorithms=_PLAIN_2D, reference=full_reference),
    Case("2-D, a window of one key gives its value", {"y": 4, "x": 3, "wy": 1, "wx": 1, "e": 5, "f": 3},
         algorithms=_PLAIN_2D, reference=values_reference),
    Case("2-D, bias", {"y": 6, "x": 5, "wy": 5, "wx": 4, "e": 4, "f": 3}, algorithms=("2d-bias",)),
    Case("2-D, bias, logits beyond the range of exp", {"y": 6, "x": 5, "wy": 5, "wx": 4, "e": 4, "f": 3},
         {"Q": normal(2e3)}, algorithms=("2d-bias",), tolerance=1e-10),
    Case("2-D, strides", {"y": 7, "x": 9, "wy": 4, "wx": 5, "ty": 2, "tx": 3, "e": 4, "f": 3},
         algorithms=("2d-strided",)),
    Case("2-D, strides of a window give blocks", {"y": 6, "x": 8, "wy": 3, "wx": 4, "ty": 3, "tx": 4, "e": 4, "f": 3},
         algorithms=("2d-strided",), reference=blocked_reference),
    Case("2-D, dilated", {"y": 11, "x": 8, "y0": 2, "x0": 3, "wy": 5, "wx": 2, "e": 4, "f": 3},
         algorithms=("2d-dilated",)),
    Case("2-D, dilation of 1 is none", {"y": 6, "x": 5, "y0": 1, "x0": 1, "wy": 3, "wx": 4, "e": 4, "f": 3},
         algorithms=("2d-dilated",)),
    Case("2-D, a dilated window of all is the residue class",
         {"y": 6, "x": 6, "y0": 2, "x0": 3, "wy": 3, "wx": 2, "e": 4, "f": 3}, algorithms=("2d-dilated",),
         reference=residue_reference),
    Case("3-D", {"z": 3, "y": 5, "x": 6, "wz": 2, "wy": 4, "wx": 5, "e": 4, "f": 3}, algorithms=("3d",)),
    Case("3-D, logits beyond the range of exp", {"z": 3, "y": 4, "x": 5, "wz": 2, "wy": 3, "wx": 3, "e": 4, "f": 3},
         {"Q": normal(2e3)}, algorithms=("3d",), tolerance=1e-10),
    Case("3-D, a window of all keys is full attention",
         {"z": 2, "y": 3, "x": 3, "wz": 2, "wy": 3, "wx": 3, "e": 4, "f": 3}, algorithms=("3d",),
         reference=full_reference),
)

_LINE = {"p": 32768, "w": 2048, "e": 128, "f": 128}
_PLANE = {"y": 256, "x": 256, "wy": 80, "wx": 80, "e": 128, "f": 128}
_SPACE = {"z": 30, "y": 48, "x": 80, "wz": 18, "wy": 24, "wx": 24, "e": 128, "f": 128}
_SHAPES = (
    Shape("1d-32768", _LINE, _TIMINGS, algorithms=("1d", "1d-2pass", "1d-1pass")),
    Shape("1d-32768-stride-256", {**_LINE, "t": 256}, _TIMINGS, algorithms=("1d-strided",)),
    Shape("1d-32768-blocks", {**_LINE, "t": 2048}, _TIMINGS, algorithms=("1d-strided",)),
    Shape("2d-256", _PLANE, _TIMINGS, instances=24, algorithms=_PLAIN_2D),
    Shape("2d-256-stride-16", {**_PLANE, "ty": 16, "tx": 16}, _TIMINGS, instances=24, algorithms=("2d-strided",)),
    Shape("3d-30-48-80", _SPACE, _TIMINGS, instances=24, algorithms=("3d",)),
)


def flops(algorithm: str, extents: Mapping[str, int]) -> int:
    """Returns the FLOPs of the two matrix products of one head, 2 for each multiplication."""
    counted = count_operations(VARIANT.cascade(algorithm), extents).einsums
    return sum(2 * int(counted[einsum]["mul"].value({})) for einsum in ("QK", "O"))


def _passes(algorithm: str, window: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the window", count, "passes", f"{_PAPER}: softmax attention, fused",
                     "calculated", lambda: float(passes(VARIANT.cascade(algorithm))[window]))


def _timed(what: str, value: float) -> Published:
    return Published(f"time, {what}", value, "us", _TIMINGS, "read")


def _dense(keys: int) -> dict[str, int]:
    """Attention of as many queries to all keys: a window that sees all of them."""
    return {"p": keys, "w": keys, "e": 128, "f": 128}


def _bound(algorithm: str, extents: Mapping[str, int], keys: int, value: float) -> Published:
    """The most that a window can save: FLOPs of attention to all ``keys`` over those of the window."""
    return Published(f"bound of the speed over dense attention, {algorithm}", value, "ratio", _TIMINGS, "calculated",
                     lambda: flops("1d", _dense(keys)) / flops(algorithm, extents))


def _rate(what: str, algorithm: str, extents: Mapping[str, int], heads: int, time_us: float, value: float) -> Published:
    """The useful FLOPs in the published time."""
    return Published(f"rate on H100, {what}", value, "TFLOP/s", _TIMINGS, "calculated",
                     lambda: heads * flops(algorithm, extents) / time_us / 1e6)


def _average(what: str, value: float) -> Published:
    return Published(f"average speed over the naive CUDA kernels, {what}", value, "%", f"abstract of {_PAPER}",
                     "abstract")


VARIANT = Variant(
    id="fna",
    title="Neighbourhood attention",
    system="Faster Neighborhood Attention",
    source=f"{_PAPER}; window rule of github.com/SHI-Labs/NATTEN, csrc/include/natten/cuda/reference/mask.hpp",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    input_shapes={"Rpb": lambda extents: (2 * extents["wy"] - 1, 2 * extents["wx"] - 1)},
    shapes=_SHAPES,
    published=(
        _passes("1d", "w", 3), _passes("1d-1pass", "w", 1), _passes("2d", "wy", 3), _passes("2d-1pass", "wy", 1),
        _bound("1d", _LINE, 32768, 16.0), _bound("2d", _PLANE, 256 * 256, 10.2),
        _bound("3d", _SPACE, 30 * 48 * 80, 11.1),
        _rate("1-D", "1d", _LINE, 1, 94.848, 362.0), _rate("2-D", "2d", _PLANE, 24, 16201.0, 318.0),
        _rate("3-D", "3d", _SPACE, 24, 79043.0, 186.0),
        _rate("1-D, dense", "1d", _dense(32768), 1, 787.392, 698.0),
        _rate("2-D, dense", "1d", _dense(256 * 256), 24, 97435.0, 542.0),
        _rate("3-D, dense", "1d", _dense(30 * 48 * 80), 24, 283327.0, 576.0),
        _timed("1-D, dense", 787.392), _timed("1-D, W = 2048", 94.848), _timed("1-D, W = 2048, t = 256", 62.687),
        _timed("1-D, W = 2048, t = 2048", 59.264),
        _timed("2-D, dense", 97435.0), _timed("2-D, W = 80 x 80", 16201.0),
        _timed("2-D, W = 80 x 80, t = 16 x 16", 7914.0),
        _timed("3-D, dense", 283327.0), _timed("3-D, W = 18 x 24 x 24", 79043.0),
        _average("GEMM-based, 1-D, fp32", 895.0), _average("GEMM-based, 2-D, fp32", 272.0),
        _average("GEMM-based, 1-D, fp16", 496.0), _average("GEMM-based, 2-D, fp16", 113.0),
        _average("fused, 1-D, fp16", 1607.0), _average("fused, 2-D, fp16", 581.0),
    ),
)
