"""How libraries and accelerators compute softmax attention: each one's cascade, and the passes that it forces.

All are ``attention`` (scores are not scaled, there is no mask). ``pytorch`` writes scores, softmax and weights out, one
Einsum after another. ``flat`` is the same in blocks of ``p0`` queries, each with all its keys. ``tileflow`` takes tiles
of ``m0`` keys with statistics of their own, and corrects the weights of all when the maximum is known. ``rabe-staats``
keeps numerator, denominator and maximum of every tile, and adds them up at the end, tile by tile.
``flashattention1`` carries the output, divided after each tile; ``flashattention2`` divides once. The first has the tiles
of keys outside and the queries inside, the second the reverse: an order of loops, which a mapping chooses.

Which works belong to which count is recalled from the paper's Table I, and not asserted; the counts are of these cascades.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Variant
from workloads.variants.attention import reference as attention_reference
from workloads.variants.attention import uniform_reference
from workloads.variants.softmax_lines import one_pass, three_passes

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Nayak et al., FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design, MICRO 2024, " \
         "arXiv 2406.10491"
_TILED = "S[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e]\n"
_VALUE = "V[m1*M0 + m0, f]"

_ALGORITHMS = {
    "pytorch": "S[p,m] = Q[p,e] * K[m,e]\n" + three_passes("p", "m", "V[m,f]", "AV[p,f]"),
    "flat": "S[p1,p0,m] = Q[p1*P0 + p0, e] * K[m,e]\n" + three_passes("p1,p0", "m", "V[m,f]", "OB[p1,p0,f]")
            + "AV[p,f] = OB[p // P0, p % P0, f]\n",
    "tileflow": f"""{_TILED}
LM[m1,p]     = max[m0] S[p,m1,m0]
SLN[m1,m0,p] = exp(S[p,m1,m0] - LM[m1,p])
SLD[m1,p]    = SLN[m1,m0,p]
GM[p]        = max[m1] LM[m1,p]
PLM[m1,p]    = exp(LM[m1,p] - GM[p])
SD[p]        = SLD[m1,p] * PLM[m1,p]
CP[m1,p]     = PLM[m1,p] / SD[p]
A[m1,m0,p]   = SLN[m1,m0,p] * CP[m1,p]
AV[p,f]      = A[m1,m0,p] * {_VALUE}
""",
    "rabe-staats": f"""{_TILED}
LM[m1,p]     = max[m0] S[p,m1,m0]
SLN[m1,m0,p] = exp(S[p,m1,m0] - LM[m1,p])
SLD[m1,p]    = SLN[m1,m0,p]
SLNV[f,m1,p] = SLN[m1,m0,p] * {_VALUE}
GM[p]        = max[m1] LM[m1,p]
PLM[m1,p]    = exp(LM[m1,p] - GM[p])
SD[p]        = SLD[m1,p] * PLM[m1,p]
SNV[p,f]     = SLNV[f,m1,p] * PLM[m1,p]
AV[p,f]      = SNV[p,f] / SD[p]
""",
    "flashattention1": f"""
init RM[0,p]  = -inf
init RD[0,p]  = 0
init RO[f,0,p] = 0
{_TILED}
LM[m1,p]     = max[m0] S[p,m1,m0]
RM[m1+1,p]   = max(RM[m1,p], LM[m1,p])
SLN[m1,m0,p] = exp(S[p,m1,m0] - RM[m1+1,p])
SLD[m1,p]    = SLN[m1,m0,p]
SLNV[f,m1,p] = SLN[m1,m0,p] * {_VALUE}
PRM[m1,p]    = exp(RM[m1,p] - RM[m1+1,p])
SPD[m1,p]    = RD[m1,p] * PRM[m1,p]
RD[m1+1,p]   = SLD[m1,p] + SPD[m1,p]
SPO[f,m1,p]  = SPD[m1,p] * RO[f,m1,p]
RO[f,m1+1,p] = (SPO[f,m1,p] + SLNV[f,m1,p]) / RD[m1+1,p]
AV[p,f]      = RO[f,M1,p]
""",
    "flashattention2": _TILED + one_pass("p", "m1", "m0", _VALUE, "AV[p,f]"),
}
_COUNTS = {"pytorch": 3, "flat": 3, "tileflow": 2, "rabe-staats": 1, "flashattention1": 1, "flashattention2": 1}
_GROUPS = {("pytorch",): (), ("flat",): ("p0",), ("tileflow", "rabe-staats", "flashattention1", "flashattention2"): ("m0",)}


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[p,f], softmax attention, as in ``attention``."""
    return attention_reference(inputs, extents)


def _cases(name: str, extents: Mapping[str, int], **rest: Any) -> tuple[Case, ...]:
    """Returns a case for each way to tile, with the tiles that it has."""
    return tuple(Case(f"{name}: {algorithms[0]}", {r: n for r, n in extents.items() if r not in ("p0", "m0") or r in tiles},
                      algorithms=algorithms, **rest) for algorithms, tiles in _GROUPS.items())


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", f"{_PAPER}: its cascades", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="attention_taxonomy",
    title="Softmax attention as libraries and accelerators compute it",
    system="FuseMax",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        *_cases("random", {"p": 16, "m": 32, "e": 8, "f": 8, "p0": 4, "m0": 8}),
        *_cases("odd extents, ragged last tile", {"p": 5, "m": 23, "e": 3, "f": 7, "p0": 2, "m0": 4}),
        *_cases("one tile longer than all", {"p": 3, "m": 5, "e": 2, "f": 2, "p0": 4, "m0": 8}),
        *_cases("logits of 80 and -80", {"p": 24, "m": 48, "e": 4, "f": 8, "p0": 5, "m0": 16},
                inputs={"Q": signs(80 / 4), "K": signs()}),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        *_cases("logits beyond the range of exp", {"p": 8, "m": 24, "e": 4, "f": 4, "p0": 3, "m0": 5}, inputs={"Q": normal(1e3)},
                tolerance=1e-10),
        *_cases("equal scores give the mean", {"p": 4, "m": 11, "e": 4, "f": 4, "p0": 3, "m0": 4}, inputs={"Q": constant(0.0)},
                reference=uniform_reference),
    ),
    published=tuple(_passes(algorithm, count) for algorithm, count in _COUNTS.items()),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
