"""Position attention (PAM): every pixel attends to every pixel, without a scale, and is added to itself.

Queries and keys have C/8 features, values C, of 1x1 convolutions with a bias; Y = gamma * attention + X. ``3pass``,
``2pass`` and ``1pass`` are attention and the sum, of queries, keys and values that are given; ``layer`` has the
convolutions too. With so few features there are E + F multiplications for each exponential: 72 at C = 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Sinha and Dolz, Multi-scale self-guided attention for medical image segmentation, arXiv 1906.02849"
_REPOSITORY = "github.com/sinAshish/Multi-Scale-Attention, src/models/attention.py"

_SCORES = "S[p,m] = Q[p,e] * K[m,e]\n"
_SUM = "Y[p,f] = Gamma[] * O[p,f] + X[p,f]\n"
_ALGORITHMS = {
    "3pass": _SCORES + three_passes("p", "m", "V[m,f]", "O[p,f]") + _SUM,
    "2pass": _SCORES + two_passes("p", "m", "V[m,f]", "O[p,f]") + _SUM,
    "1pass": "S[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e]\n" + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "O[p,f]") + _SUM,
    "layer": f"""
Q0[p,e] = X[p,c] * Wq[e,c]
K0[p,e] = X[p,c] * Wk[e,c]
V0[p,f] = X[p,c] * Wv[f,c]
Q[p,e]  = Q0[p,e] + Bq[e]
K[p,e]  = K0[p,e] + Bk[e]
V[p,f]  = V0[p,f] + Bv[f]
{_SCORES}{two_passes("p", "m", "V[m,f]", "O[p,f]")}{_SUM}""",
}
_GIVEN = ("3pass", "2pass", "1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[p,f] from queries, keys and values."""
    return {"Y": inputs["Gamma"] * (softmax(inputs["Q"] @ inputs["K"].T) @ inputs["V"]) + inputs["X"]}


def layer_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Y[p,f] from the pixels alone."""
    own = {name: inputs["X"] @ inputs[f"W{name.lower()}"].T + inputs[f"B{name.lower()}"] for name in "QKV"}
    return reference({**inputs, **own}, extents)


def identity_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a gamma of 0 gives: the pixels as they were."""
    return {"Y": inputs["X"]}


def products(names: tuple[str, ...]) -> float:
    """Returns the millions of multiplications of Einsums at 64 x 64 pixels of 64 channels."""
    counts = count_operations(VARIANT.cascade("3pass"), {"p": 4096, "m": 4096, "e": 8, "f": 64}).einsums
    return float(sum(counts[name]["mul"].value({}) for name in names)) / 1e6


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the pixels that are keys", count, "passes", _PAPER, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


_CASE = {"p": 9, "m": 9, "m0": 4, "e": 3, "f": 5}
VARIANT = Variant(
    id="danet_pam",
    title="Position attention",
    system="Multi-scale self-guided attention",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random", _CASE, algorithms=_GIVEN),
        Case("gamma of 0 changes nothing", _CASE, {"Gamma": constant(0.0)}, algorithms=_GIVEN, reference=identity_reference),
        Case("one pixel", {"p": 1, "m": 1, "m0": 4, "e": 2, "f": 3}, algorithms=_GIVEN),
        Case("logits of 80 and -80", {"p": 16, "m": 16, "m0": 5, "e": 4, "f": 5}, {"Q": signs(80 / 4), "K": signs()},
             algorithms=_GIVEN),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", _CASE, {"Q": normal(1e3)}, algorithms=_GIVEN, tolerance=1e-9),
        Case("layer", {"p": 9, "m": 9, "c": 5, "e": 3, "f": 5}, algorithms=("layer",), reference=layer_reference),
    ),
    shapes=(Shape("256x256", {"p": 4096, "m": 4096, "e": 8, "f": 64},
                  f"{_REPOSITORY}: images of 256 x 256, all maps at 64 x 64 of 64 channels; 8 of them", 8, _GIVEN),),
    published=(
        _passes("3pass", 3), _passes("2pass", 2), _passes("1pass", 1),
        Published("products of queries and keys", 134.0, "MMAC", f"{_REPOSITORY}: 64 x 64 of 64 channels", "calculated",
                  lambda: products(("S",))),
        Published("products of weights and values", 1074.0, "MMAC", f"{_REPOSITORY}: 64 x 64 of 64 channels", "calculated",
                  lambda: products(("O",))),
    ),
)
