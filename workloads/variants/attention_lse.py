"""Softmax attention that gives its log-sum-exp too, whole, or from splits of the keys that are merged afterwards.

LSE[p] = log of the sum over the keys of exp(score) is what partial results need to be merged, and what a gradient
reads. ``3pass``, ``2pass`` and ``1pass`` are those of ``attention``. ``split-kv`` takes splits of ``m0`` keys, each with
a maximum, a denominator and a numerator of its own, which one more sweep over the splits merges; in
``split-kv-streamed`` a split runs over its keys in tiles of ``m00``, as a kernel does whose splits are programs.
``merge`` merges the triples of W partial results (maximum PM, denominator PD, numerator PN, not divided), ``merge-lse``
results that are divided already, by their LSE. The order of partial results has no meaning, and one of no keys (-inf,
0, 0) changes nothing.

A query that sees no key gives AV = 0 and LSE = -inf. As in ``attention``, scores are not scaled. Exactly counted, all
but 3pass and 2pass have 1 pass over the keys; of the splits (m1) there are 2, since the merge waits for all maxima.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs, uniform, visible
from workloads.variant import Case, Published, Variant
from workloads.variants.attention import reference as attention_reference
from workloads.variants.softmax_lines import one_pass, running, three_passes, two_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array, Draw, Reference

_MILAKOV = "Milakov and Gimelshein, Online normalizer calculation for softmax, arXiv 1805.02867, section 3.1"
_FLASH = "Dao et al., FlashAttention, NeurIPS 2022, arXiv 2205.14135, section 3.1; splits: Flash-Decoding"

_WHOLE = """
S[p,m] = Q[p,e] * K[m,e]
"""
_MERGED = """
AV[p,f] = SNV[p,f] / SD[p]
LSE[p]  = GM[p] + log(SD[p])
"""

_ALGORITHMS = {
    "1pass": "S[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e]\n"
             + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "AV[p,f]") + "LSE[p] = RM[M1,p] + log(RD[M1,p])\n",
    "2pass": _WHOLE + two_passes("p", "m", "V[m,f]", "AV[p,f]") + "LSE[p] = GM[p] + log(SD[p])\n",
    "3pass": _WHOLE + three_passes("p", "m", "V[m,f]", "AV[p,f]") + "LSE[p] = GM[p] + log(SD[p])\n",
    "split-kv": f"""
S[m1,p,m0]   = Q[p,e] * K[m1*M0 + m0, e]
LM[m1,p]     = max[m0] S[m1,p,m0]
SLN[m1,p,m0] = exp(S[m1,p,m0] - LM[m1,p])
SLD[m1,p]    = SLN[m1,p,m0]
SLNV[f,m1,p] = SLN[m1,p,m0] * V[m1*M0 + m0, f]
GM[p]        = max[m1] LM[m1,p]
PLM[m1,p]    = exp(LM[m1,p] - GM[p])
SD[p]        = SLD[m1,p] * PLM[m1,p]
SNV[p,f]     = SLNV[f,m1,p] * PLM[m1,p]
{_MERGED}""",
    # Splits are copied (KS, VS), or their tiles would not be parts of the one rank m0.
    "split-kv-streamed": f"""
KS[m1,m0,e]     = K[m1*M0 + m0, e]
VS[m1,m0,f]     = V[m1*M0 + m0, f]
S[m1,p,m01,m00] = Q[p,e] * KS[m1, m01*M00 + m00, e]
{running("m1,p", "m01", "m00", "VS[m1, m01*M00 + m00, f]")}
GM[p]     = max[m1] RM[M01,m1,p]
PLM[m1,p] = exp(RM[M01,m1,p] - GM[p])
SD[p]     = RD[M01,m1,p] * PLM[m1,p]
SNV[p,f]  = RNV[f,M01,m1,p] * PLM[m1,p]
{_MERGED}""",
    "merge": f"""
GM[p]    = max[w] PM[w,p]
PG[w,p]  = exp(PM[w,p] - GM[p])
SD[p]    = PD[w,p] * PG[w,p]
SNV[p,f] = PN[w,p,f] * PG[w,p]
{_MERGED}""",
    "merge-lse": f"""
GM[p]    = max[w] PL[w,p]
PG[w,p]  = exp(PL[w,p] - GM[p])
SD[p]    = PG[w,p]
SNV[p,f] = PO[w,p,f] * PG[w,p]
{_MERGED}""",
}
_ATTENTION = ("3pass", "2pass", "1pass", "split-kv", "split-kv-streamed")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns AV[p,f] and LSE[p], the logarithm of the sum of the exponentials of the scores that are seen."""
    import numpy as np
    scores = inputs["Q"] @ inputs["K"].T
    seen = np.broadcast_to(np.asarray(inputs.get("Mask", True), dtype=bool), scores.shape)
    return {"LSE": np.logaddexp.reduce(np.where(seen, scores, -np.inf), axis=1),
            "AV": attention_reference(inputs, extents)["AV"]}


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same where query p sees the keys up to m = p."""
    import numpy as np
    return reference({**inputs, "Mask": np.tri(extents["p"], extents["m"], dtype=bool)}, extents)


def merge_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the merge of partial results: each weighs as much as the sum of the exponentials of its own scores."""
    import numpy as np
    if "PL" in inputs:
        shares, outputs = inputs["PL"], inputs["PO"]
    else:
        with np.errstate(divide="ignore"):
            shares = inputs["PM"] + np.log(inputs["PD"])
        outputs = np.divide(inputs["PN"], inputs["PD"][:, :, None], out=np.zeros(inputs["PN"].shape),
                            where=inputs["PD"][:, :, None] > 0)
    total = np.logaddexp.reduce(shares, axis=0)
    seen = np.isfinite(shares)
    weights = np.exp(np.where(seen, shares, 0.0) - np.where(np.isfinite(total), total, 0.0)) * seen
    return {"AV": np.einsum("wp,wpf->pf", weights, outputs), "LSE": total}


def of_no_keys(first: int, value: float) -> Draw:
    """Returns a draw in which the first partial results of all queries, and all of the first query, are of no keys."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
        drawn = rng.uniform(0.5, 3.0, shape)
        drawn[:first] = value
        drawn[:, 0] = value
        return drawn
    return draw


# The coordinate of a key, and the ranks of tiles, in each algorithm.
_KEYS = {"1pass": ("m1*M0 + m0", ("m0",)), "2pass": ("m", ()), "3pass": ("m", ()),
         "split-kv": ("m1*M0 + m0", ("m0",)), "split-kv-streamed": ("m1*M0 + m01*M00 + m00", ("m0", "m00"))}


def _seen(name: str, mask: str, extents: Mapping[str, int], draws: Mapping[str, Draw],
          formula: Reference | None = None) -> tuple[Case, ...]:
    """Returns a case for each algorithm that attends, as each has a key's coordinate in a form of its own."""
    return tuple(Case(f"{name}: {algorithm}", {r: n for r, n in extents.items() if r[0] != "m" or r in ("m", *tiles)},
                      draws, {"S": mask.format(m=m)}, (algorithm,), formula)
                 for algorithm, (m, tiles) in _KEYS.items())


_CASES = (
    Case("random", {"p": 16, "m": 32, "e": 8, "f": 8, "m0": 16, "m00": 4}, algorithms=_ATTENTION),
    Case("odd extents, ragged last split and tiles", {"p": 5, "m": 23, "e": 3, "f": 7, "m0": 8, "m00": 3},
         algorithms=_ATTENTION),
    Case("one split longer than the keys", {"p": 3, "m": 5, "e": 2, "f": 2, "m0": 8, "m00": 3}, algorithms=_ATTENTION),
    Case("splits of one key", {"p": 3, "m": 6, "e": 2, "f": 3, "m0": 1, "m00": 1}, algorithms=_ATTENTION),
    Case("logits of 80 and -80", {"p": 24, "m": 48, "e": 4, "f": 8, "m0": 16, "m00": 4},
         {"Q": signs(80 / 4), "K": signs()}, algorithms=_ATTENTION),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    Case("logits beyond the range of exp", {"p": 8, "m": 24, "e": 4, "f": 4, "m0": 10, "m00": 3}, {"Q": normal(1e3)},
         algorithms=_ATTENTION, tolerance=1e-10),
    *_seen("masked, rows that see nothing", "Mask[p, {m}]", {"p": 9, "m": 21, "e": 4, "f": 5, "m0": 8, "m00": 3},
           {"Mask": visible(0.3, empty_rows=2)}),
    *_seen("masked everywhere", "Mask[p, {m}]", {"p": 4, "m": 10, "e": 4, "f": 5, "m0": 4, "m00": 2},
           {"Mask": visible(0.0)}),
    # The splits above the diagonal see nothing at all.
    *_seen("causal", "{m} <= p", {"p": 13, "m": 13, "e": 4, "f": 4, "m0": 4, "m00": 3}, {}, causal_reference),
    Case("merge of triples, some of no keys", {"w": 5, "p": 4, "f": 3},
         {"PM": of_no_keys(1, -float("inf")), "PD": of_no_keys(1, 0.0)}, algorithms=("merge",),
         reference=merge_reference),
    Case("merge of one triple", {"w": 1, "p": 4, "f": 3}, {"PD": uniform(0.5, 2.0)}, algorithms=("merge",),
         reference=merge_reference),
    Case("merge by LSE, some of no keys", {"w": 5, "p": 4, "f": 3}, {"PL": of_no_keys(1, -float("inf"))},
         algorithms=("merge-lse",), reference=merge_reference),
    Case("merge of equals is their mean", {"w": 6, "p": 3, "f": 2}, {"PL": constant(700.0)}, algorithms=("merge-lse",),
         reference=merge_reference),
)


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", f"{_MILAKOV}; {_FLASH}", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="attention_lse",
    title="Softmax attention with log-sum-exp, in splits of the keys",
    system="FlashAttention, Flash-Decoding",
    source=_FLASH,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    # The key of a tile of a split says nothing of how many keys there are.
    input_shapes={"Mask": lambda extents: (extents["p"], extents["m"])},
    published=(
        _passes("3pass", "m", 3), _passes("2pass", "m", 2), _passes("1pass", "m", 1), _passes("split-kv", "m", 1),
        _passes("split-kv-streamed", "m", 1), _passes("split-kv", "m1", 2), _passes("split-kv-streamed", "m1", 2),
    ),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
