"""Linear attention over a sequence that is cut into chunks, one on each device: LASP-2 and what came before.

Device w holds the chunk w of C tokens. A chunk's state is M[e,f] = sum of K V; what a query sees of the chunks before its
own is the sum of their states, whatever their lengths. ``lasp2`` gathers all states on all devices, in one collective,
and adds up those before; ``lasp1`` sends the sum on from device to device, one hop after another, which is a
recurrence over the devices (the analysis of collectives takes that for local: slot w+1 is what device w leaves).
``scan`` leaves the collective open. ``bidirectional`` sees all chunks. Inside a chunk the pairs are written out, up to the
query's own where it is causal. There are no features but what is given, and no denominator.

One copy is one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Sun et al., LASP-2: Rethinking Sequence Parallelism for Linear Attention and Its Hybrid, arXiv 2502.07563"

_STATES = "device d, w\nM[d,e,f] = K[d,c,e] * V[d,c,f]\n"
_INSIDE = """
S[w,q,c]  = Q[w,q,e] * K[w,c,e] where c <= q
OI[w,q,f] = S[w,q,c] * V[w,c,f]
"""
_TOGETHER = """
OC[w,q,f] = Q[w,q,e] * B[w,e,f]
O[w,q,f]  = OI[w,q,f] + OC[w,q,f]
"""
_ALGORITHMS = {
    "lasp2": f"""{_STATES}{_INSIDE}
MG[w,d,e,f] = M[d,e,f]
B[w,e,f]    = sum[d] MG[w,d,e,f] where d < w
{_TOGETHER}""",
    "scan": f"""{_STATES}{_INSIDE}
B[w,e,f]  = sum[d] M[d,e,f] where d < w
{_TOGETHER}""",
    # The sum of the chunks before stands in slot w; a device adds its own and sends it on.
    "lasp1": f"""
init B[0,e,f] = 0
device w
M[w,e,f]   = K[w,c,e] * V[w,c,f]
B[w+1,e,f] = B[w,e,f] + M[w,e,f]
{_INSIDE}{_TOGETHER}""",
    "bidirectional": f"""{_STATES}
MG[w,d,e,f] = M[d,e,f]
B[w,e,f]    = MG[w,d,e,f]
O[w,q,f]    = Q[w,q,e] * B[w,e,f]
""",
}
_CAUSAL = ("lasp2", "scan", "lasp1")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[w,q,f]: the lower triangle of the products of all queries and keys, times the values, cut into chunks."""
    import numpy as np
    q, k, v = (inputs[name].reshape(-1, inputs[name].shape[2]) for name in "QKV")
    return {"O": (np.tril(q @ k.T) @ v).reshape(*inputs["Q"].shape[:2], -1)}


def bidirectional_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same without the triangle."""
    q, k, v = (inputs[name].reshape(-1, inputs[name].shape[2]) for name in "QKV")
    return {"O": (q @ k.T @ v).reshape(*inputs["Q"].shape[:2], -1)}


def _passes(algorithm: str) -> Published:
    return Published(f"passes of {algorithm} over the tokens of a chunk", 1, "passes", "sums wait for nothing", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["c"]))


VARIANT = Variant(
    id="lasp2",
    title="Sequence-parallel linear attention (LASP-2)",
    system="LASP-2",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        *(Case(f"random: {algorithm}", {"w": 4, "c": 5, "q": 5, "e": 3, "f": 2, **({} if algorithm == "lasp1" else {"d": 4})},
               algorithms=(algorithm,)) for algorithm in _CAUSAL),
        *(Case(f"one device: {algorithm}", {"w": 1, "c": 9, "q": 9, "e": 3, "f": 2, **({} if algorithm == "lasp1" else {"d": 1})},
               algorithms=(algorithm,)) for algorithm in _CAUSAL),
        Case("a token on each device", {"w": 6, "d": 6, "c": 1, "q": 1, "e": 3, "f": 2}, algorithms=("lasp2", "scan")),
        Case("both ways", {"w": 4, "d": 4, "c": 5, "q": 5, "e": 3, "f": 2}, algorithms=("bidirectional",),
             reference=bidirectional_reference),
        Case("keys of 0 give nothing", {"w": 3, "d": 3, "c": 4, "q": 4, "e": 3, "f": 2}, {"K": constant(0.0)}, algorithms=("lasp2",)),
    ),
    shapes=(Shape("2048k-64", {"w": 64, "d": 64, "c": 32768, "q": 32768, "e": 128, "f": 128},
                  f"abstract of {_PAPER}: 2048K tokens on 64 GPUs; heads of 128 are a choice of this suite"),),
    published=(
        *(_passes(algorithm) for algorithm in _ALGORITHMS),
        Published("training over LASP, 2048K tokens on 64 GPUs", 15.2, "%", f"abstract of {_PAPER}", "abstract"),
        Published("training over Ring Attention, 2048K tokens on 64 GPUs", 36.6, "%", f"abstract of {_PAPER}", "abstract"),
    ),
)
