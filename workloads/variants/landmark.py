"""Landmark attention: a softmax over blocks of keys, each block standing behind its last token, the landmark.

Keys come in blocks of ``m0``: regular tokens and, last, the landmark. A query sees the regular tokens of its own block
up to itself, and the landmarks of the blocks before. The weight that a landmark gets is shared out by a softmax over
the regular tokens of its block. Landmarks have no value, and that of the query's own block is not seen, not even by
itself. Queries are the last ``p`` of the ``m`` positions, so that a cache of earlier keys may precede them.

``grouped`` writes both softmaxes out, 3 steps inside a block and 3 outside. Exactly counted they are 3 passes over m,
not 6: the softmax inside does not wait for that outside, so one sweep does a step of both. ``1pass`` takes block after
block, a past one as a single key with the block's softmax as its value. ``topk`` is inference: of the past blocks, each
query keeps the ``j`` whose landmarks score highest; ``topk-shared`` keeps the same ones for all queries, by the largest
share that a landmark has of any query's softmax over landmarks. Both visit the keys twice: landmarks, then what they
choose. Rotary positions, which inference changes, are applied before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Mohtashami and Jaggi, Landmark Attention: Random-Access Infinite Context Length for Transformers, " \
         "NeurIPS 2023, arXiv 2305.16300"
_REPOSITORY = "github.com/epfml/landmark-attention"

# A query at p stands at position p + M - P, which is token TP of block BP.
_BP, _TP = "(p + M - P)//M0", "(p + M - P)%M0"
_PAST = f"m1 < {_BP}"
_OWN = f"m1 == {_BP} and m0 < M0 - 1"
_SCORES = """
QK[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e] where m1*M0 + m0 <= p + M - P
S[p,m1,m0]  = QK[p,m1,m0] * rsqrt(E)
"""
_LANDMARK_SCORES = f"""
LQK[p,m1] = Q[p,e] * K[m1*M0 + m0, e] where {_PAST} and m0 == M0 - 1
SL[p,m1]  = LQK[p,m1] * rsqrt(E)
"""
# Of each query to its own block and to the blocks IB[p,j]: softmax inside a block, and the outer one of own tokens and
# landmarks, with the reference GO and the denominator DO.
_CHOSEN = f"""
TQK[p,m0]   = Q[p,e] * K[{_BP}*M0 + m0, e] where m0 < M0 - 1 and m0 <= {_TP}
ST[p,m0]    = TQK[p,m0] * rsqrt(E)
BQK[p,j,m0] = Q[p,e] * K[IB[p,j]*M0 + m0, e] where IB[p,j] < {_BP}
SB[p,j,m0]  = BQK[p,j,m0] * rsqrt(E)
GI[p,j]     = max[m0] SB[p,j,m0] where m0 < M0 - 1
NI[p,j,m0]  = exp(SB[p,j,m0] - GI[p,j]) where m0 < M0 - 1
DI[p,j]     = NI[p,j,m0]
PI[p,j,m0]  = NI[p,j,m0] / DI[p,j]
GT[p]       = max[m0] ST[p,m0]
GL[p]       = max[j] SB[p,j,M0 - 1]
GO[p]       = max(GT[p], GL[p])
NT[p,m0]    = exp(ST[p,m0] - GO[p])
NL[p,j]     = exp(SB[p,j,M0 - 1] - GO[p])
DT[p]       = NT[p,m0]
DL[p]       = NL[p,j]
DO[p]       = DT[p] + DL[p]
AT[p,m0]    = NT[p,m0] / DO[p]
AL[p,j]     = NL[p,j] / DO[p]
AB[p,j,m0]  = AL[p,j] * PI[p,j,m0]
OT[p,f]     = AT[p,m0] * V[{_BP}*M0 + m0, f]
OB[p,f]     = AB[p,j,m0] * V[IB[p,j]*M0 + m0, f]
O[p,f]      = OT[p,f] + OB[p,f]
"""

_ALGORITHMS = {
    "grouped": f"""{_SCORES}
GI[p,m1]    = max[m0] S[p,m1,m0] where {_PAST} and m0 < M0 - 1
NI[p,m1,m0] = exp(S[p,m1,m0] - GI[p,m1]) where m0 < M0 - 1
DI[p,m1]    = NI[p,m1,m0]
PI[p,m1,m0] = NI[p,m1,m0] / DI[p,m1]
GT[p]       = max[m1,m0] S[p,m1,m0] where {_OWN}
GL[p]       = max[m1] S[p,m1,M0 - 1] where {_PAST}
GO[p]       = max(GT[p], GL[p])
NT[p,m1,m0] = exp(S[p,m1,m0] - GO[p]) where {_OWN}
NL[p,m1]    = exp(S[p,m1,M0 - 1] - GO[p]) where {_PAST}
DT[p]       = NT[p,m1,m0]
DL[p]       = NL[p,m1]
DO[p]       = DT[p] + DL[p]
AT[p,m1,m0] = NT[p,m1,m0] / DO[p]
AL[p,m1]    = NL[p,m1] / DO[p]
AB[p,m1,m0] = AL[p,m1] * PI[p,m1,m0]
OT[p,f]     = AT[p,m1,m0] * V[m1*M0 + m0, f]
OB[p,f]     = AB[p,m1,m0] * V[m1*M0 + m0, f]
O[p,f]      = OT[p,f] + OB[p,f]
""",
    # A block enters by its tokens where it is the query's own, by its landmark where it is past. Whether it is past is
    # asked of its tokens, so that VI is 0 where none is; it would be absent otherwise, and the own block with it.
    "1pass": f"""
init RM[0,p]    = -inf
init RD[0,p]    = 0
init RNV[f,0,p] = 0
{_SCORES}
GI[p,m1]      = max[m0] S[p,m1,m0] where m1*M0 + m0 < {_BP}*M0 and m0 < M0 - 1
NI[p,m1,m0]   = exp(S[p,m1,m0] - GI[p,m1]) where m1*M0 + m0 < {_BP}*M0 and m0 < M0 - 1
DI[p,m1]      = NI[p,m1,m0]
NVI[p,m1,f]   = NI[p,m1,m0] * V[m1*M0 + m0, f]
VI[p,m1,f]    = NVI[p,m1,f] / DI[p,m1]
SE[p,m1,m0]   = S[p,m1,m0] where {_OWN} or {_PAST} and m0 == M0 - 1
LM[m1,p]      = max[m0] SE[p,m1,m0]
RM[m1+1,p]    = max(RM[m1,p], LM[m1,p])
SLN[m1,m0,p]  = exp(SE[p,m1,m0] - RM[m1+1,p])
SLD[m1,p]     = SLN[m1,m0,p]
SLT[f,m1,p]   = SLN[m1,m0,p] * V[m1*M0 + m0, f] where m0 < M0 - 1
SLL[f,m1,p]   = SLN[m1,m0,p] * VI[p,m1,f] where m0 == M0 - 1
SLNV[f,m1,p]  = SLT[f,m1,p] + SLL[f,m1,p]
PRM[m1,p]     = exp(RM[m1,p] - RM[m1+1,p])
SPD[m1,p]     = RD[m1,p] * PRM[m1,p]
RD[m1+1,p]    = SLD[m1,p] + SPD[m1,p]
SPNV[f,m1,p]  = RNV[f,m1,p] * PRM[m1,p]
RNV[f,m1+1,p] = SLNV[f,m1,p] + SPNV[f,m1,p]
O[p,f]        = RNV[f,M1,p] / RD[M1,p]
""",
    "topk": f"""{_LANDMARK_SCORES}
IB[p,j] = topk[m1; j](SL[p,m1])
{_CHOSEN}""",
    "topk-shared": f"""{_LANDMARK_SCORES}
GB[p]    = max[m1] SL[p,m1]
NB[p,m1] = exp(SL[p,m1] - GB[p])
DB[p]    = NB[p,m1]
PB[p,m1] = NB[p,m1] / DB[p]
B[m1]    = max[p] PB[p,m1]
IS[j]    = topk[m1; j](B[m1])
{_CHOSEN.replace('IB[p,j]', 'IS[j]')}""",
}
_TRAINING = ("grouped", "1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f], query by query: a softmax over own tokens and past landmarks, and inside each past block.

    Where the extent of ``j`` is given, only that many past blocks are seen, those with the largest landmark scores.
    """
    import numpy as np

    def best(scores: Array, query: int) -> Array:
        return np.argsort(-scores, kind="stable")[:extents.get("j", len(scores))]
    return _attention(inputs, extents, best)


def shared_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f] where all queries see the same blocks: those with the largest share, for any query, of a softmax
    over its past landmarks."""
    import numpy as np
    shares = np.full((extents["p"], extents["m1"]), -np.inf)

    def noted(scores: Array, query: int) -> Array:
        shares[query, :len(scores)] = np.exp(scores - np.logaddexp.reduce(scores)) if len(scores) else 0.0
        return np.arange(0)
    _attention(inputs, extents, noted)
    kept = np.argsort(-shares.max(axis=0), kind="stable")[:extents["j"]]
    return _attention(inputs, extents, lambda scores, query: kept[kept < len(scores)])


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what it is without a past block: causal softmax attention, less the landmark where there is one."""
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    seen = np.tri(len(q), len(k), len(k) - len(q), dtype=bool) & (np.arange(len(k)) < extents["m0"] - 1)
    scores = np.where(seen, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    return {"O": np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)) @ v}


def pairs_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what blocks of a token and its landmark are: causal softmax attention with the landmarks' keys and the
    values of the tokens before them; the last token counts by its own key."""
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    rows = []
    for position, query in enumerate(q, len(k) - len(q)):
        token = position // 2 * 2
        keys = np.concatenate((k[1:token:2], k[token:token + 1]))
        scores = keys @ query / np.sqrt(q.shape[1])
        rows.append(np.exp(scores - np.logaddexp.reduce(scores)) @ v[0:token + 1:2])
    return {"O": np.stack(rows)}


def ones_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what values of 1 give: 1, as the weights of a query sum to 1."""
    import numpy as np
    return {"O": np.ones((len(inputs["Q"]), inputs["V"].shape[1]))}


def zeros_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what blocks of nothing but a landmark give: 0, as landmarks have no value."""
    import numpy as np
    return {"O": np.zeros((len(inputs["Q"]), inputs["V"].shape[1]))}


def _attention(inputs: Mapping[str, Array], extents: Mapping[str, int],
               chosen: Callable[[Array, int], Array]) -> dict[str, Array]:
    """Attention in which ``chosen`` gives, from a query's scores of all past landmarks, the blocks that it sees."""
    import numpy as np
    q, k, v, size = inputs["Q"], inputs["K"], inputs["V"], extents["m0"]
    out = np.zeros((len(q), v.shape[1]))
    for number, query in enumerate(q):
        position = number + len(k) - len(q)
        scores = k @ query / np.sqrt(q.shape[1])
        first = position // size * size
        own = slice(first, min(position + 1, first + size - 1))
        blocks = chosen(scores[size - 1:first:size], number)
        inside = scores[:first].reshape(-1, size)[blocks, :-1]
        inner = np.exp(inside - np.logaddexp.reduce(inside, axis=1, keepdims=True))
        means = np.einsum("gt,gtf->gf", inner, v[:first].reshape(-1, size, v.shape[1])[blocks, :-1])
        logits = np.concatenate((scores[own], scores[blocks * size + size - 1]))
        values = np.concatenate((v[own], means))
        out[number] = np.exp(logits - np.logaddexp.reduce(logits)) @ values
    return {"O": out}


_CASES = (
    Case("random", {"p": 24, "m": 24, "m0": 6, "e": 8, "f": 8}, algorithms=_TRAINING),
    Case("odd extents, ragged last block", {"p": 23, "m": 23, "m0": 5, "e": 3, "f": 7}, algorithms=_TRAINING),
    Case("queries after a cache", {"p": 7, "m": 22, "m0": 5, "e": 3, "f": 4}, algorithms=_TRAINING),
    Case("one query", {"p": 1, "m": 17, "m0": 4, "e": 3, "f": 4}, algorithms=_TRAINING),
    Case("logits of 80 and -80", {"p": 24, "m": 24, "m0": 6, "e": 4, "f": 4}, {"Q": signs(160 / 4), "K": signs()},
         algorithms=_TRAINING),
    # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
    Case("logits beyond the range of exp", {"p": 23, "m": 23, "m0": 5, "e": 4, "f": 4}, {"Q": normal(2e3)},
         algorithms=_TRAINING, tolerance=1e-10),
    Case("best blocks, logits beyond the range of exp", {"p": 14, "m": 23, "m0": 5, "j": 2, "e": 4, "f": 4},
         {"Q": normal(2e3)}, algorithms=("topk",), tolerance=1e-10),
    Case("best blocks of all queries, logits beyond the range of exp",
         {"p": 4, "m": 24, "m0": 4, "j": 2, "e": 4, "f": 4}, {"Q": normal(2e3)}, algorithms=("topk-shared",),
         reference=shared_reference, tolerance=1e-10),
    Case("one block is causal attention", {"p": 8, "m": 8, "m0": 9, "e": 4, "f": 4}, algorithms=_TRAINING,
         reference=causal_reference),
    Case("one block and its landmark", {"p": 9, "m": 9, "m0": 9, "e": 4, "f": 4}, algorithms=_TRAINING,
         reference=causal_reference),
    Case("a landmark after each token", {"p": 13, "m": 13, "m0": 2, "e": 4, "f": 4}, algorithms=_TRAINING,
         reference=pairs_reference),
    Case("values of 1 give 1", {"p": 17, "m": 17, "m0": 4, "e": 4, "f": 2}, {"V": constant(1.0)}, algorithms=_TRAINING,
         reference=ones_reference),
    Case("nothing but landmarks", {"p": 6, "m": 6, "m0": 1, "e": 4, "f": 2}, algorithms=_TRAINING,
         reference=zeros_reference),
    Case("best blocks of each query", {"p": 6, "m": 26, "m0": 4, "j": 2, "e": 4, "f": 3}, algorithms=("topk",)),
    Case("best blocks, and fewer where there are fewer", {"p": 22, "m": 22, "m0": 4, "j": 3, "e": 4, "f": 3},
         algorithms=("topk",)),
    Case("best blocks of all queries", {"p": 6, "m": 26, "m0": 4, "j": 2, "e": 4, "f": 3}, algorithms=("topk-shared",),
         reference=shared_reference),
    Case("best blocks of all queries, in order", {"p": 22, "m": 22, "m0": 4, "j": 3, "e": 4, "f": 3},
         algorithms=("topk-shared",), reference=shared_reference),
    Case("as many blocks as there are", {"p": 21, "m": 21, "m0": 4, "j": 6, "e": 4, "f": 3}),
)


def _passes(algorithm: str, rank: str, count: int, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", f"{_PAPER}, {note}", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="landmark",
    title="Landmark attention",
    system="Landmark Attention",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    # Where V is read by gathers alone, they do not say how long it is.
    input_shapes={"V": lambda extents: (extents["m"], extents["f"])},
    shapes=(
        # A landmark every 50 tokens makes blocks of 51, as one every 63 makes the released blocks of 64.
        Shape("pg19", {"p": 512, "m": 512, "m0": 51, "e": 128, "f": 128},
              f"{_REPOSITORY}, lm_benchmark: 8 heads, d = 1024, a landmark every 50 tokens", 8, _TRAINING),
        Shape("llama-7b-512", {"p": 512, "m": 512, "m0": 64, "e": 128, "f": 128},
              f"{_REPOSITORY}, llama: 32 heads, mem_freq 63, context 512", 32, _TRAINING),
        Shape("llama-7b-2048", {"p": 2048, "m": 2048, "m0": 64, "e": 128, "f": 128},
              f"{_REPOSITORY}, llama: 32 heads, mem_freq 63, context 2048 of the Triton version", 32, _TRAINING),
        Shape("triton-test", {"p": 1024, "m": 1024, "m0": 64, "e": 128, "f": 128},
              f"{_REPOSITORY}, llama/ltriton: batch 2, 8 heads, bf16", 16, _TRAINING),
    ),
    published=(
        _passes("1pass", "m", 1, "training"), _passes("topk", "m", 2, "inference: landmarks, then what they choose"),
        Published("context of LLaMA 7B", 32.0, "k tokens", f"abstract of {_PAPER}", "abstract"),
    ),
)
