"""The softmax layers of LASP-2H: keys and values of all devices gathered, each device attending for its own chunk.

Device w holds the chunk w of C tokens, and its queries see the chunks before and their own up to themselves. ``gathered-
3pass`` and ``gathered-1pass`` have all keys and values on every device after one collective, which the queries of the
chunk then run over, in the second chunk by chunk. ``ring`` is Ring Attention: at each step a device attends to the chunk
that it has, with running statistics, and hands it to the next; what is later than the queries is not seen.

One copy is one head. Scores are scaled by 1/sqrt(E).
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

_PAPER = "Sun et al., LASP-2: Rethinking Sequence Parallelism for Linear Attention and Its Hybrid, arXiv 2502.07563"
_RING = "Liu et al., Ring Attention with Blockwise Transformers for Near-Infinite Context, arXiv 2310.01889"

_GATHERED = """
device d, w
KG[w,d,c,e] = K[d,c,e]
VG[w,d,c,f] = V[d,c,f]
QK[w,q,u,c] = Q[w,q,e] * KG[w,u,c,e] where u*C + c <= w*C + q
S[w,q,u,c]  = QK[w,q,u,c] * rsqrt(E)
"""
_ALGORITHMS = {
    "gathered-3pass": _GATHERED + three_passes("w,q", "u,c", "VG[w,u,c,f]", "O[w,q,f]"),
    "gathered-1pass": _GATHERED + one_pass("w,q", "u", "c", "VG[w,u,c,f]", "O[w,q,f]"),
    # At step s, device w has the chunk of device w - s; those that have wrapped round are of later tokens.
    "ring": """
device w
init KR[0,w,c,e] = K[w,c,e]
init VR[0,w,c,f] = V[w,c,f]
KR[s+1,w,c,e] = KR[s,(w + W - 1) % W,c,e]
VR[s+1,w,c,f] = VR[s,(w + W - 1) % W,c,f]
QK[w,q,s,c] = Q[w,q,e] * KR[s,w,c,e] where s <= w and (s > 0 or c <= q)
S[w,q,s,c]  = QK[w,q,s,c] * rsqrt(E)
""" + one_pass("w,q", "s", "c", "VR[s,w,c,f]", "O[w,q,f]"),
}
_ALL_GATHERED = ("gathered-3pass", "gathered-1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[w,q,f]: causal attention of the whole sequence, cut into chunks."""
    import numpy as np
    q, k, v = (inputs[name].reshape(-1, inputs[name].shape[2]) for name in "QKV")
    weights = softmax(q @ k.T / np.sqrt(q.shape[1]), np.tri(len(q), dtype=bool))
    return {"O": (weights @ v).reshape(*inputs["Q"].shape[:2], -1)}


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "after the keys are there", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_CASE = {"w": 3, "c": 4, "q": 4, "e": 3, "f": 2}
VARIANT = Variant(
    id="lasp2h",
    title="Sequence-parallel softmax attention of LASP-2H",
    system="LASP-2",
    source=f"{_PAPER}; ring: {_RING}",
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("gathered", {**_CASE, "d": 3}, algorithms=_ALL_GATHERED),
        Case("gathered, one device", {**_CASE, "w": 1, "d": 1}, algorithms=_ALL_GATHERED),
        Case("gathered, a token on each device", {**_CASE, "w": 5, "d": 5, "c": 1, "q": 1}, algorithms=_ALL_GATHERED),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("gathered, logits beyond the range of exp", {**_CASE, "d": 3}, {"Q": normal(2e3)}, algorithms=_ALL_GATHERED, tolerance=1e-9),
        Case("ring", {**_CASE, "s": 3}, algorithms=("ring",)),
        Case("ring of one device", {**_CASE, "w": 1, "s": 1}, algorithms=("ring",)),
        Case("ring, logits beyond the range of exp", {**_CASE, "s": 3}, {"Q": normal(2e3)}, algorithms=("ring",), tolerance=1e-9),
    ),
    shapes=(Shape("2048k-64", {"w": 64, "d": 64, "s": 64, "c": 32768, "q": 32768, "e": 128, "f": 128},
                  f"abstract of {_PAPER}: 2048K tokens on 64 GPUs; heads of 128 are a choice of this suite"),),
    published=(_passes("gathered-3pass", "u", 3), _passes("gathered-1pass", "u", 1), _passes("ring", "s", 1)),
)
