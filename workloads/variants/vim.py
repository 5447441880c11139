"""The bidirectional block of Vision Mamba (Vim): one projection, a scan each way with parameters of its own, their mean.

Tokens are projected to inputs and gates. Each direction has its own causal convolution of W taps, projections, rates and
skip, and takes inputs and gates in its order; the results are gated by silu, averaged where they belong, and projected.
``flipped`` is as released: the backward direction is a forward scan of the sequence turned round. ``reversed`` never turns
it: its convolution looks ahead, and its recurrence runs from the last token to the first. Steps, inputs and states are
those of ``mamba_s6``; ``B`` and ``F`` at the end of a name are the two directions.

Both directions pass over the tokens once; what one has is kept until the other has come there, 2 passes in all. To turn
the sequence round, and back, is one more sweep, so that ``flipped`` has 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, uniform
from workloads.parameters import parameter_count
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.scan_routes import scan

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Zhu et al., Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model, ICML 2024, " \
         "arXiv 2401.09417"
_REPOSITORY = "github.com/hustvl/Vim, vim/models_mamba.py and README"

_PROJECTED = """
XI[i,e] = X[i,m] * Win[e,m]
Z[i,e]  = X[i,m] * Wz[e,m]
"""
_OUT = """
GA[i,e] = 0.5 * (GF[i,e] + GB[{back},e])
O[i,m]  = GA[i,e] * Wout[m,e]
"""


def _direction(d: str, source: str, gate: str, tap: str, backward: bool) -> str:
    """The lines of one direction, from its inputs and gates to what it gives: G with its letter."""
    written, read, seed = ("i", "i+1", "I") if backward else ("i+1", "i", "0")
    return f"""
init H{d}[{seed},e,n] = 0
CV{d}[i,e]   = {source}[{tap}, e; fill=0] * Wc{d}[e,w]
U{d}[i,e]    = silu(CV{d}[i,e] + Bc{d}[e])
DR{d}[i,r]   = U{d}[i,e] * WxDt{d}[r,e]
B{d}[i,n]    = U{d}[i,e] * WxB{d}[n,e]
C{d}[i,n]    = U{d}[i,e] * WxC{d}[n,e]
DP{d}[i,e]   = DR{d}[i,r] * Wdt{d}[e,r]
DL{d}[i,e]   = softplus(DP{d}[i,e] + Bdt{d}[e])
A{d}[e,n]    = -exp(Alog{d}[e,n])
DA{d}[i,e,n] = DL{d}[i,e] * A{d}[e,n]
AB{d}[i,e,n] = exp(DA{d}[i,e,n])
DU{d}[i,e]   = DL{d}[i,e] * U{d}[i,e]
BX{d}[i,e,n] = DU{d}[i,e] * B{d}[i,n]
H{d}[{written},e,n] = AB{d}[i,e,n] * H{d}[{read},e,n] + BX{d}[i,e,n]
YS{d}[i,e]   = H{d}[{written},e,n] * C{d}[i,n]
Y{d}[i,e]    = YS{d}[i,e] + D{d}[e] * U{d}[i,e]
G{d}[i,e]    = Y{d}[i,e] * silu({gate}[i,e])
"""


_FORWARD = _PROJECTED + _direction("F", "XI", "Z", "i - W + 1 + w", False)
_ALGORITHMS = {
    "flipped": _FORWARD + "XB[i,e] = XI[I - 1 - i, e]\nZB[i,e] = Z[I - 1 - i, e]\n"
               + _direction("B", "XB", "ZB", "i - W + 1 + w", False) + _OUT.format(back="I - 1 - i"),
    "reversed": _FORWARD + _direction("B", "XI", "Z", "i + W - 1 - w", True) + _OUT.format(back="i"),
}
_OWN = ("Wc", "Bc", "WxDt", "WxB", "WxC", "Wdt", "Bdt", "Alog", "D")
WEIGHTS = ("Win", "Wz", "Wout", *(f"{name}{d}" for d in "FB" for name in _OWN))
"""The inputs that are parameters of the block."""


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[i,m]: the mean of a block of the tokens and of one of the tokens turned round, turned back."""
    x, z = inputs["X"] @ inputs["Win"].T, inputs["X"] @ inputs["Wz"].T
    forward = _one_way(x, z, {name: inputs[f"{name}F"] for name in _OWN})
    backward = _one_way(x[::-1], z[::-1], {name: inputs[f"{name}B"] for name in _OWN})[::-1]
    return {"O": (forward + backward) / 2 @ inputs["Wout"].T}


def memoryless_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what no states leave: convolutions both ways, gated."""
    import numpy as np
    x, z = inputs["X"] @ inputs["Win"].T, inputs["X"] @ inputs["Wz"].T
    found = [_convolved(x, inputs["WcF"], inputs["BcF"]) * inputs["DF"],
             _convolved(x[::-1], inputs["WcB"], inputs["BcB"])[::-1] * inputs["DB"]]
    return {"O": np.mean(found, axis=0) * z / (1 + np.exp(-z)) @ inputs["Wout"].T}


def _one_way(x: Array, z: Array, t: Mapping[str, Array]) -> Array:
    import numpy as np
    u = _convolved(x, t["Wc"], t["Bc"])
    step = np.logaddexp(0, u @ t["WxDt"].T @ t["Wdt"].T + t["Bdt"])
    out: Array = scan(u, step, t["Alog"], u @ t["WxB"].T, u @ t["WxC"].T, t["D"]) * z / (1 + np.exp(-z))
    return out


def _convolved(x: Array, taps: Array, bias: Array) -> Array:
    import numpy as np
    width = taps.shape[1]
    padded = np.concatenate((np.zeros((width - 1, x.shape[1])), x))
    sums = sum((padded[w:w + len(x)] * taps[:, w] for w in range(width)), np.zeros(())) + bias
    out: Array = sums / (1 + np.exp(-sums))
    return out


MODELS = {"tiny": (192, 7.15, 7, 1.29, 0.52), "small": (384, 25.80, 26, 4.85, 1.05), "base": (768, 97.60, 98, 18.8, 2.09)}
"""Width; millions of parameters as counted from the released models and as published; GMACs of projections, and the scans
counted as 9 for each state. 24 layers, a token more than 14 x 14 patches."""


def layer(width: int, tokens: int) -> dict[str, int]:
    """Returns the extents of a layer: width doubled, 16 states, 4 taps, a step rank of M/16."""
    return {"i": tokens, "m": width, "e": 2 * width, "n": 16, "r": width // 16, "w": 4}


def parameters(model: str) -> float:
    """Returns the millions of parameters: patches, positions, the class token, layers with a norm each, the last norm and
    the classifier."""
    width = MODELS[model][0]
    own = parameter_count(VARIANT.cascade("reversed"), WEIGHTS, layer(width, 1)) + width
    return (24 * own + 768 * width + width + 197 * width + width + width + 1000 * width + 1000) / 1e6


def projection_gmacs(model: str) -> float:
    """Returns the GMACs of the projections of the layers, of the patches and of the classifier."""
    width = MODELS[model][0]
    e, rank = 2 * width, width // 16
    return (24 * 197 * (3 * width * e + 2 * ((2 * rank + 32) * e + 4 * e)) + 196 * 768 * width + 1000 * width) / 1e9


def scan_gmacs(model: str) -> float:
    """Returns the GMACs of the scans of both directions, 9 for each state."""
    return 24 * 2 * 9 * 197 * 2 * MODELS[model][0] * 16 / 1e9


def _published(model: str) -> tuple[Published, ...]:
    _, exact, millions, projections, scans = MODELS[model]
    name = f"Vim-{model}"
    return (Published(f"parameters of {name}", millions, "M", _REPOSITORY, "read", lambda: parameters(model)),
            Published(f"parameters of {name}, exactly", exact, "M", _REPOSITORY, "calculated", lambda: parameters(model)),
            Published(f"projections of {name}", projections, "GMAC", _REPOSITORY, "calculated", lambda: projection_gmacs(model)),
            Published(f"scans of {name}", scans, "GMAC", _REPOSITORY, "calculated", lambda: scan_gmacs(model)))


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the tokens", count, "passes", "a scan each way", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["i"]))


_CASE = {"i": 9, "m": 4, "e": 3, "n": 2, "r": 2, "w": 4}
VARIANT = Variant(
    id="vim",
    title="Bidirectional block of Vision Mamba",
    system="Vision Mamba (Vim)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE),
        Case("fewer tokens than taps", {**_CASE, "i": 2}),
        Case("one token", {**_CASE, "i": 1}),
        # A token's decay of exp(-40) to exp(-400): quotients of prefix products would be 0/0.
        Case("strong decays", _CASE, dict.fromkeys(("AlogF", "AlogB"), uniform(4.0, 6.0))),
        Case("no states", _CASE, dict.fromkeys(("WxBF", "WxBB"), constant(0.0)), reference=memoryless_reference),
    ),
    shapes=(
        *(Shape(f"{model}-224", layer(width, 197), f"{_REPOSITORY}: 224 x 224, patches of 16") for model, (width, *_) in MODELS.items()),
        Shape("tiny-1248", layer(192, 6085), f"{_REPOSITORY}: 1248 x 1248, patches of 16"),
    ),
    published=(
        _passes("flipped", 3), _passes("reversed", 2), *(published for model in MODELS for published in _published(model)),
        Published("features at 1248 x 1248 over DeiT", 2.8, "ratio", f"abstract of {_PAPER}", "abstract"),
        Published("memory of the GPU saved", 86.8, "%", f"abstract of {_PAPER}", "abstract"),
    ),
)
