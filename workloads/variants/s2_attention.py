"""S2 attention: causal attention in which every head sees its own blocks of the keys, the last ones and every V-th.

Blocks have ``m0`` tokens, of queries and of keys (``p0``). Head h of H sees, from query block p1, key block m1 <= p1
where p1 - m1 < L (the last L blocks, its own among them) or (m1 + h t) mod V = 0, t = max(1, V // H), and of those the
keys up to the query. With H >= V the heads see every block together. ``3pass``, ``2pass`` and ``1pass`` have that as a
mask over all keys; ``offset`` begins the stride one block earlier, as the copies for phi-3 in inference libraries do.

``index`` finds the blocks of each head and query block, in ascending order, and how many they are: a compressed index.
``blocks`` attends to the blocks Cols[h,p1,j], j < Count[h,p1], of any such index: the first stage of a plan whose second
loops over blocks that are there. ``blocks-1pass`` has running statistics over them. Blocks that are listed must be
different ones. ``whole`` is both stages.

One copy has all heads, as they differ; queries that share a key head share its pattern, and are more of its queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Lin et al., S2-Attention: Hardware-Aware Context Sharding Among Attention Heads, arXiv 2407.17678"
_REPOSITORY = "github.com/linxihui/dkernel"


def _active(query: str, key: str, offset: str = "") -> str:
    """Whether a head sees a block of keys from a block of queries."""
    return f"{key} <= {query} and ({query} - {key} < L or ({key} + h*max(1, V//H){offset}) % V == 0)"


def _masked(offset: str = "") -> str:
    return f"""
QK[h,p,m] = Q[h,p,e] * K[h,m,e] where m <= p and {_active("p//M0", "m//M0", offset)}
S[h,p,m]  = QK[h,p,m] * rsqrt(E)
"""


_INDEX = f"""
AB[h,p1,m1]   = where({_active("p1", "m1")}, 1, 0)
Cols[h,p1,j]  = threshold[m1; j](AB[h,p1,m1])
Count[h,p1]   = AB[h,p1,m1]
"""
# Keys of listed blocks, up to the query.
_BLOCK_SCORES = """
QK[h,p1,p0,j,m0] = Q[h,p1*P0 + p0,e] * K[h,Cols[h,p1,j]*M0 + m0,e] \
    where j < Count[h,p1] and Cols[h,p1,j]*M0 + m0 <= p1*P0 + p0
S[h,p1,p0,j,m0]  = QK[h,p1,p0,j,m0] * rsqrt(E)
"""
_BLOCK_VALUE = "V[h,Cols[h,p1,j]*M0 + m0,f]"
_WHOLE_ROWS = "O[h,p,f] = OB[h,p // P0,p % P0,f]\n"
_BLOCKS = _BLOCK_SCORES + two_passes("h,p1,p0", "j,m0", _BLOCK_VALUE, "OB[h,p1,p0,f]") + _WHOLE_ROWS

_ALGORITHMS = {
    "3pass": _masked() + three_passes("h,p", "m", "V[h,m,f]", "O[h,p,f]"),
    "2pass": _masked() + two_passes("h,p", "m", "V[h,m,f]", "O[h,p,f]"),
    "1pass": f"""
QK[h,p,m1,m0] = Q[h,p,e] * K[h,m1*M0 + m0,e] where m1*M0 + m0 <= p and {_active("p//M0", "m1")}
S[h,p,m1,m0]  = QK[h,p,m1,m0] * rsqrt(E)
""" + one_pass("h,p", "m1", "m0", "V[h,m1*M0 + m0,f]", "O[h,p,f]"),
    "offset": _masked(" + 1") + two_passes("h,p", "m", "V[h,m,f]", "O[h,p,f]"),
    "index": _INDEX + "output Cols, Count\n",
    "blocks": _BLOCKS,
    "blocks-1pass": _BLOCK_SCORES + one_pass("h,p1,p0", "j", "m0", _BLOCK_VALUE, "OB[h,p1,p0,f]") + _WHOLE_ROWS,
    "whole": _INDEX + _BLOCKS,
}
_MASKS = ("3pass", "2pass", "1pass")
_LISTED = ("blocks", "blocks-1pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[h,p,f]: attention under a mask of tokens, which is the pattern of blocks with the future taken away."""
    return _attention(inputs, _tokens(pattern(_blocks(extents), extents["h"], extents["l"], extents["v"]), extents))


def offset_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with the stride one block earlier."""
    return _attention(inputs, _tokens(pattern(_blocks(extents), extents["h"], extents["l"], extents["v"], 1), extents))


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what a stride of 1, or as many last blocks as there are, give: causal attention."""
    import numpy as np
    return _attention(inputs, np.tri(extents["p"], dtype=bool)[None])


def listed_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns attention to the listed blocks, up to the query."""
    import numpy as np
    count = _blocks(extents)
    seen = np.zeros((extents["h"], count, count), dtype=bool)
    for h in range(extents["h"]):
        for q in range(count):
            seen[h, q, inputs["Cols"][h, q, :int(inputs["Count"][h, q])].astype(int)] = True
    return _attention(inputs, _tokens(seen, extents))


def index_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns Cols[h,p1,j] and Count[h,p1] of the pattern; 0 beyond the count."""
    import numpy as np
    seen = pattern(extents["p1"], extents["h"], extents["l"], extents["v"])
    found = np.zeros((extents["h"], extents["p1"], extents["j"]))
    for h, q in np.ndindex(seen.shape[:2]):
        own = np.flatnonzero(seen[h, q])[:extents["j"]]
        found[h, q, :len(own)] = own
    return {"Cols": found, "Count": seen.sum(axis=2)}


def pattern(blocks: int, heads: int, last: int, stride: int, offset: int = 0) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    """Returns which key block each head sees from each query block, [head, query block, key block]."""
    import numpy as np
    step = stride // heads or 1
    seen = np.zeros((heads, blocks, blocks), dtype=bool)
    for head in range(heads):
        strided = [block for block in range(blocks) if (block + head * step + offset) % stride == 0]
        for query in range(blocks):
            seen[head, query, [block for block in strided if block <= query]] = True
            seen[head, query, max(query - last + 1, 0):query + 1] = True
    return seen


def listed(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws the blocks of each head and query block: different ones, its own first, in no order."""
    import numpy as np
    drawn = np.zeros(shape, dtype=np.int64)
    for h, q in np.ndindex(shape[:2]):
        others = rng.permutation([*range(q), *range(q + 1, shape[1])])
        drawn[h, q] = np.resize([q, *others], shape[2])
    return drawn


def counts(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws how many blocks are listed: the own one at least, no more than there are."""
    return rng.integers(1, min(extents["j"], shape[1]) + 1, shape)


def density_bound(tokens: int, block: int, last: int, stride: int, heads: int) -> float:
    """Returns how many times as many blocks causal attention has: the most that leaving out blocks can gain."""
    import numpy as np
    count = tokens // block
    seen = pattern(count, heads, last, stride)
    return float(heads * np.tri(count).sum() / seen.sum())


def _blocks(extents: Mapping[str, int]) -> int:
    size = extents.get("m0", extents.get("p0", 1))
    return -(-extents["p"] // size)


def _tokens(seen: Array, extents: Mapping[str, int]) -> Array:
    """The mask of tokens of a mask of blocks."""
    import numpy as np
    size = extents["m0"]
    whole = seen.repeat(size, axis=1).repeat(size, axis=2)[:, :extents["p"], :extents["p"]]
    out: Array = whole & np.tri(extents["p"], dtype=bool)
    return out


def _attention(inputs: Mapping[str, Array], seen: Array) -> dict[str, Array]:
    import numpy as np
    scores = np.einsum("hpe,hme->hpm", inputs["Q"], inputs["K"]) / np.sqrt(inputs["Q"].shape[2])
    return {"O": softmax(scores, seen) @ inputs["V"]}


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "over the blocks that are seen", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


def _bound(tokens: int, last: int, stride: int, value: float) -> Published:
    return Published(f"blocks of causal attention over those seen, {tokens // 1024}K tokens, {last} last, stride {stride}",
                     value, "ratio", f"{_REPOSITORY}, dkernel/utils.py: blocks of 64, 32 heads", "calculated",
                     lambda: density_bound(tokens, 64, last, stride, 32))


_SHAPE = {"p": 21, "m": 21, "m0": 4, "h": 3, "l": 1, "v": 3, "e": 4, "f": 3}
_LIST = {"h": 2, "p": 19, "p0": 4, "m0": 4, "j": 3, "e": 4, "f": 3}
_PHI = {"h": 8, "e": 128, "f": 128, "m0": 64, "l": 16, "v": 8}
VARIANT = Variant(
    id="s2_attention",
    title="S2 attention (last blocks, and a stride of each head)",
    system="Heterogeneous Context Sharding (S2-Attention)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random, ragged last block", _SHAPE, algorithms=_MASKS),
        Case("stride longer than heads", {**_SHAPE, "h": 2, "v": 5}, algorithms=_MASKS),
        Case("more heads than stride", {**_SHAPE, "h": 5, "v": 2}, algorithms=_MASKS),
        Case("stride of 1 is causal", {**_SHAPE, "v": 1}, algorithms=_MASKS, reference=causal_reference),
        Case("as many last blocks as there are is causal", {**_SHAPE, "l": 6}, algorithms=_MASKS, reference=causal_reference),
        Case("logits of 80 and -80", _SHAPE, {"Q": signs(160 / 4), "K": signs()}, algorithms=_MASKS),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", _SHAPE, {"Q": normal(2e3)}, algorithms=_MASKS, tolerance=1e-9),
        Case("offset", _SHAPE, algorithms=("offset",), reference=offset_reference),
        Case("index", {"h": 3, "p1": 7, "m1": 7, "j": 5, "l": 2, "v": 4}, algorithms=("index",), reference=index_reference),
        Case("index of a stride of 1 has all", {"h": 2, "p1": 5, "m1": 5, "j": 5, "l": 1, "v": 1}, algorithms=("index",),
             reference=index_reference),
        Case("listed blocks", _LIST, algorithms=_LISTED, reference=listed_reference),
        Case("listed blocks, logits beyond the range of exp", _LIST, {"Q": normal(2e3)}, algorithms=_LISTED,
             reference=listed_reference, tolerance=1e-9),
        Case("both stages", {"h": 3, "p": 21, "p0": 4, "m0": 4, "m1": 6, "j": 6, "l": 1, "v": 3, "e": 4, "f": 3},
             algorithms=("whole",)),
    ),
    inputs={"Cols": listed, "Count": counts},
    # Read at the blocks of an index alone, keys and values do not say how long they are.
    input_shapes={"K": lambda n: (n["h"], n["p"], n["e"]), "V": lambda n: (n["h"], n["p"], n["f"])},
    shapes=(
        *(Shape(f"phi-3-small-{n}", {**_PHI, "p": n, "m": n}, "configuration of phi-3-small: 8 key heads of 32, blocks of 64, 16 "
                "last, stride 8, on every other layer", 4, _MASKS) for n in (8192, 65536)),
        *(Shape(f"dkernel-{n}", {"h": 16, "p": n, "m": n, "m0": 64, "l": 8, "v": 16, "e": 128, "f": 128},
                f"{_REPOSITORY}, benchmark/benchmark_sparse_attn.py: batch 4, bf16", 4, _MASKS)
          for n in (1024, 8192, 65536)),
    ),
    published=(
        _passes("3pass", "m", 3), _passes("2pass", "m", 2), _passes("1pass", "m", 1), _passes("blocks-1pass", "j", 1),
        _bound(8192, 16, 8, 3.04), _bound(65536, 16, 8, 6.57), _bound(131072, 8, 16, 14.3),
        Published("attention over FlashAttention-2", 25.3, "ratio", f"abstract of {_PAPER}; shape and GPU not said", "abstract"),
    ),
)
