"""Attention whose keys and values lie on several devices (DistAttention of Infinite-LLM): partial results are merged.

Shard w holds Len[w] keys of its own, maybe none; queries go to all shards, and each gives back a maximum, a denominator
and a numerator for every query, E floats out and F + 2 back, whatever its length. ``shards-2pass`` finds a shard's
maximum first, ``shards-1pass`` runs over its keys in tiles of ``m0``. ``blocks`` has the keys of a shard in blocks that
a table names, Table[w,j] being a block of a pool of B, as a paged cache has.

One copy is one head of one sequence; decoding has one query. The merge is that of ``attention_lse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Variant
from workloads.variants.softmax_lines import running, softmax

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array

_PAPER = "Lin et al., Infinite-LLM: Efficient LLM Service for Long Context with DistAttention and Distributed KVCache, arXiv 2401.02669"

# The statistics of a shard: its maximum LM, denominator LD and numerator LN.
_MERGE = """
GM[p]    = max[w] LM[w,p]
PM[w,p]  = exp(LM[w,p] - GM[p])
SD[p]    = LD[w,p] * PM[w,p]
SNV[p,f] = LN[w,p,f] * PM[w,p]
O[p,f]   = SNV[p,f] / SD[p]
"""


def _local(keys: str, value: str) -> str:
    return f"""
S[w,p,{keys}]  = QK[w,p,{keys}] * rsqrt(E)
LM[w,p]   = max[{keys}] S[w,p,{keys}]
SN[w,p,{keys}] = exp(S[w,p,{keys}] - LM[w,p])
LD[w,p]   = SN[w,p,{keys}]
LN[w,p,f] = SN[w,p,{keys}] * {value}
"""


_ALGORITHMS = {
    "shards-1pass": f"""
device w
QK[w,p,m1,m0] = Q[p,e] * K[w,m1*M0 + m0,e] where m1*M0 + m0 < Len[w]
SS[w,p,m1,m0] = QK[w,p,m1,m0] * rsqrt(E)
{running("w,p", "m1", "m0", "V[w,m1*M0 + m0,f]", tag="S")}
LM[w,p]   = RMS[M1,w,p]
LD[w,p]   = RDS[M1,w,p]
LN[w,p,f] = RNVS[f,M1,w,p]
{_MERGE}""",
    "shards-2pass": f"""
device w
QK[w,p,m] = Q[p,e] * K[w,m,e] where m < Len[w]
{_local("m", "V[w,m,f]")}{_MERGE}""",
    "blocks": f"""
device w
QK[w,p,j,t] = Q[p,e] * K[Table[w,j],t,e] where j*T + t < Len[w] and Table[w,j] < B
{_local("j,t", "V[Table[w,j],t,f]")}{_MERGE}""",
}
_SHARDS = ("shards-1pass", "shards-2pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: attention to the keys of all shards, one after another."""
    import numpy as np
    if "Table" in inputs:
        of = [[inputs[name][table.astype(int)].reshape(-1, inputs[name].shape[2])[:int(count)] for name in "KV"]
              for table, count in zip(inputs["Table"], inputs["Len"], strict=True)]
    else:
        of = [[inputs[name][shard, :int(count)] for name in "KV"] for shard, count in enumerate(inputs["Len"])]
    keys, values = (np.concatenate(parts) for parts in zip(*of, strict=True))
    weights = softmax(inputs["Q"] @ keys.T / np.sqrt(keys.shape[1])) if len(keys) else np.zeros((len(inputs["Q"]), 0))
    return {"O": weights @ values}


def lengths(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws how many keys each shard has: none in the first, all there is room for in the last."""
    room = extents["m"] if "m" in extents else extents["j"] * extents["t"]
    drawn = rng.integers(0, room + 1, shape)
    drawn[-1] = room
    if len(drawn) > 1:
        drawn[0] = 0
    return drawn


def tables(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
    """Draws blocks of the pool, each for one shard at most."""
    return rng.permutation(extents["b"])[:shape[0] * shape[1]].reshape(shape)


def messages(shards: int, heads: int, key: int, value: int) -> int:
    """Returns the values that are sent for a token and layer: queries out to the other shards, partial results back."""
    return (shards - 1) * heads * (key + value + 2)


def _passes(algorithm: str, rank: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", "statistics of a shard, then the merge", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


_CASE = {"w": 4, "p": 3, "m": 7, "e": 4, "f": 3}
VARIANT = Variant(
    id="dist_attention",
    title="Attention over shards of the keys (DistAttention)",
    system="Infinite-LLM (DistAttention)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("shards, one of them empty", {**_CASE, "m0": 3}, algorithms=("shards-1pass",)),
        Case("shards, one of them empty, 2 passes", _CASE, algorithms=("shards-2pass",)),
        Case("one shard", {**_CASE, "w": 1}, algorithms=("shards-2pass",)),
        Case("no keys anywhere", {**_CASE, "m0": 3}, {"Len": constant(0)}, algorithms=("shards-1pass",)),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", {**_CASE, "m0": 3}, {"Q": normal(2e3)}, algorithms=("shards-1pass",), tolerance=1e-9),
        Case("blocks of a pool", {"w": 3, "p": 2, "j": 3, "t": 4, "b": 11, "e": 4, "f": 3}, algorithms=("blocks",)),
    ),
    inputs={"Len": lengths, "Table": tables},
    # Of a pool, only the blocks of the table are read.
    input_shapes={"K": lambda n: (n["b"], n["t"], n["e"]) if "b" in n else (n["w"], n["m"], n["e"]),
                  "V": lambda n: (n["b"], n["t"], n["f"]) if "b" in n else (n["w"], n["m"], n["f"])},
    published=(
        _passes("shards-1pass", "m", 1), _passes("shards-2pass", "m", 2), _passes("shards-1pass", "w", 2),
        Published("throughput, at most", 2.4, "ratio", f"abstract of {_PAPER}, first version", "abstract"),
    ),
)
