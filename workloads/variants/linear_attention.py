"""Linear attention: features of queries and keys in place of exp, so that sums over the keys are all that is kept.

With features elu + 1 the sum over the keys of phi(Q) phi(K) V is phi(Q) times KV = sum of phi(K) V, and the denominator
phi(Q) times KS = sum of phi(K); ``Eps`` is added to it. ``noncausal`` has two stages, KV and KS of all keys and then
the queries; ``noncausal-quadratic`` computes the weight of every pair. Causal: ``causal-sequential`` carries KV and KS
from token to token, ``causal-chunked`` from chunk to chunk of ``i0`` tokens, with the pairs inside a chunk written out,
and ``causal-quadratic`` has all pairs. Those named ``plain`` have no features and no denominator, and are scaled by
1/sqrt(E). All causal ones but the quadratic start from a state and give the last one.

Exactly counted, each has 1 pass over the keys m (or tokens i), and noncausal 1 over the queries p. Where queries and
keys are the same tokens, as in self-attention, that is one sweep after the other over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal
from workloads.variant import Case, Published, Shape, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Katharopoulos et al., Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention, ICML " \
         "2020, arXiv 2006.16236, sections 3.2 and 3.3"
_MQAR = "github.com/IntelligentControlSystems/dsf-mqar, experiments: recall of up to 512 tokens, one head"

_FEATURES = """
PQ[i,e] = elu(Q[i,e]) + 1
PK[i,e] = elu(K[i,e]) + 1
"""
_TILE_FEATURES = """
PQ[i1,i0,e] = elu(Q[i1*I0 + i0, e]) + 1
PK[i1,i0,e] = elu(K[i1*I0 + i0, e]) + 1
"""


def _sequential(query: str, key: str, normed: bool) -> str:
    lines = f"""
init KV[0,e,f] = KV0[e,f]
KV[i+1,e,f] = KV[i,e,f] + {key} * V[i,f]
N[i,f]      = {query} * KV[i+1,e,f]
KVL[e,f]    = KV[I,e,f]
"""
    return lines + (f"""
init KS[0,e] = KS0[e]
KS[i+1,e] = KS[i,e] + {key}
Z[i]      = {query} * KS[i+1,e]
O[i,f]    = N[i,f] / (Z[i] + Eps[])
KSL[e]    = KS[I,e]
""" if normed else "O[i,f] = N[i,f] * rsqrt(E)\n")


def _chunked(query: str, tensor: str, normed: bool) -> str:
    """Pairs inside a chunk, and the state of the chunks before; ``tensor`` has the keys in chunks."""
    key = f"{tensor}[i1,i0,e]"
    lines = f"""
init KV[0,e,f] = KV0[e,f]
W[i1,i0,k0]   = {query} * {tensor}[i1,k0,e] where k0 <= i0
NI[i1,i0,f]   = W[i1,i0,k0] * V[i1*K0 + k0, f]
NC[i1,i0,f]   = {query} * KV[i1,e,f]
NT[i1,i0,f]   = NI[i1,i0,f] + NC[i1,i0,f]
SV[i1,e,f]    = {key} * V[i1*I0 + i0, f]
KV[i1+1,e,f]  = KV[i1,e,f] + SV[i1,e,f]
KVL[e,f]      = KV[I1,e,f]
"""
    return lines + (f"""
init KS[0,e] = KS0[e]
ZI[i1,i0]    = W[i1,i0,k0]
ZC[i1,i0]    = {query} * KS[i1,e]
ZT[i1,i0]    = ZI[i1,i0] + ZC[i1,i0]
SK[i1,e]     = {key}
KS[i1+1,e]   = KS[i1,e] + SK[i1,e]
OT[i1,i0,f]  = NT[i1,i0,f] / (ZT[i1,i0] + Eps[])
O[i,f]       = OT[i // I0, i % I0, f]
KSL[e]       = KS[I1,e]
""" if normed else """
OT[i1,i0,f] = NT[i1,i0,f] * rsqrt(E)
O[i,f]      = OT[i // I0, i % I0, f]
""")


_ALGORITHMS = {
    "noncausal": """
PQ[p,e] = elu(Q[p,e]) + 1
PK[m,e] = elu(K[m,e]) + 1
KV[e,f] = PK[m,e] * V[m,f]
KS[e]   = PK[m,e]
N[p,f]  = PQ[p,e] * KV[e,f]
Z[p]    = PQ[p,e] * KS[e]
O[p,f]  = N[p,f] / (Z[p] + Eps[])
""",
    "noncausal-quadratic": """
PQ[p,e] = elu(Q[p,e]) + 1
PK[m,e] = elu(K[m,e]) + 1
W[p,m]  = PQ[p,e] * PK[m,e]
N[p,f]  = W[p,m] * V[m,f]
Z[p]    = W[p,m]
O[p,f]  = N[p,f] / (Z[p] + Eps[])
""",
    "causal-sequential": _FEATURES + _sequential("PQ[i,e]", "PK[i,e]", True),
    "causal-chunked": _TILE_FEATURES + _chunked("PQ[i1,i0,e]", "PK", True),
    "causal-quadratic": """
PQ[i,e] = elu(Q[i,e]) + 1
PK[i,e] = elu(K[i,e]) + 1
W[i,k]  = PQ[i,e] * PK[k,e] where k <= i
N[i,f]  = W[i,k] * V[k,f]
Z[i]    = W[i,k]
O[i,f]  = N[i,f] / (Z[i] + Eps[])
""",
    "plain-sequential": _sequential("Q[i,e]", "K[i,e]", False),
    "plain-chunked": "BK[i1,i0,e] = K[i1*I0 + i0, e]\n" + _chunked("Q[i1*I0 + i0, e]", "BK", False),
    "plain-quadratic": """
W[i,k]  = Q[i,e] * K[k,e] where k <= i
N[i,f]  = W[i,k] * V[k,f]
O[i,f]  = N[i,f] * rsqrt(E)
""",
}
_NONCAUSAL = ("noncausal", "noncausal-quadratic")
_STATES = ("causal-sequential", "causal-chunked")
_PLAIN = ("plain-sequential", "plain-chunked")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: the mean of all values, weighted by phi(Q) phi(K), with phi = elu + 1."""
    import numpy as np
    return _weighted(inputs, np.ones((len(inputs["Q"]), len(inputs["K"])), dtype=bool))


def causal_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same of the tokens so far, and of what was before them; the last sums, KVL and KSL, where there are
    first ones."""
    import numpy as np
    return _weighted(inputs, np.tri(len(inputs["Q"]), dtype=bool))


def plain_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the scaled products of queries and earlier keys, times the values, without a denominator."""
    import numpy as np
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    before = inputs.get("KV0", np.zeros((q.shape[1], v.shape[1])))
    out = {"O": (np.tril(q @ k.T) @ v + q @ before) / np.sqrt(q.shape[1])}
    return {**out, "KVL": before + np.einsum("ke,kf->ef", k, v)} if "KV0" in inputs else out


def values_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what one key without an Eps gives: its value, whatever its weight."""
    import numpy as np
    return {"O": np.tile(inputs["V"], (len(inputs["Q"]), 1))}


def _weighted(inputs: Mapping[str, Array], seen: Array) -> dict[str, Array]:
    import numpy as np
    q, k, v = _phi(inputs["Q"]), _phi(inputs["K"]), inputs["V"]
    sums, keys = inputs.get("KV0", np.zeros((q.shape[1], v.shape[1]))), inputs.get("KS0", np.zeros(q.shape[1]))
    weights = q @ k.T * seen
    out = {"O": (weights @ v + q @ sums) / (weights.sum(axis=1) + q @ keys + inputs["Eps"])[:, None]}
    return {**out, "KVL": sums + np.einsum("ke,kf->ef", k, v), "KSL": keys + k.sum(axis=0)} if "KV0" in inputs else out


def _phi(x: Array) -> Array:
    """elu + 1: x + 1 above 0, exp below."""
    import numpy as np
    out: Array = np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
    return out


_CAUSAL_CASES = tuple(
    Case(f"{name}, {kind}", {"i": i, "i0": i0, "e": 4, "f": 3}, draws, algorithms=algorithms, reference=formula)
    for kind, algorithms, formula in (("causal", _STATES, causal_reference), ("plain", _PLAIN, plain_reference))
    for name, i, i0, draws in (
        ("after a state", 16, 4, {}), ("odd extents, ragged last chunk", 23, 5, {}), ("chunks of one token", 7, 1, {}),
        ("one chunk longer than the tokens", 7, 9, {}), ("one token", 1, 4, {}),
        ("no state before", 11, 4, {"KV0": constant(0.0)}))
)
_CASES = (
    Case("random", {"p": 12, "m": 17, "e": 4, "f": 5}, algorithms=_NONCAUSAL),
    Case("one key gives its value", {"p": 5, "m": 1, "e": 4, "f": 3}, {"Eps": constant(0.0)}, algorithms=_NONCAUSAL,
         reference=values_reference),
    # Of half precision a weight of a million would be beyond the range, too.
    Case("queries beyond the range of exp", {"p": 5, "m": 9, "e": 4, "f": 3}, {"Q": normal(1e3)}, algorithms=_NONCAUSAL),
    Case("keys beyond the range of exp", {"p": 5, "m": 9, "e": 4, "f": 3}, {"K": normal(1e3)}, algorithms=_NONCAUSAL),
    Case("all pairs, causal", {"i": 13, "e": 4, "f": 3}, algorithms=("causal-quadratic",), reference=causal_reference),
    Case("all pairs, plain", {"i": 13, "k": 13, "e": 4, "f": 3}, algorithms=("plain-quadratic",), reference=plain_reference),
    *_CAUSAL_CASES,
)


def _passes(algorithm: str, rank: str, count: int, note: str) -> Published:
    return Published(f"passes of {algorithm} over {rank}", count, "passes", note, "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))[rank]))


VARIANT = Variant(
    id="linear_attention",
    title="Linear attention",
    system="Dynamical Systems Framework (DSF)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=_CASES,
    # Sums before the first token are of features that are positive.
    inputs={"Eps": constant(1e-6), "KS0": lambda rng, shape, extents: rng.uniform(0.0, 2.0, shape)},
    shapes=(
        *(Shape(f"mqar-{n}", {"i": n, "k": n, "i0": 64, "e": 128, "f": 256}, f"{_MQAR}: width 256, 128 features", 1,
                tuple(a for a in _ALGORITHMS if not a.startswith("non"))) for n in (64, 128, 256, 512)),
        *(Shape(f"noncausal-{n}", {"p": n, "m": n, "e": 64, "f": 64}, "github.com/hp-l33/flash-bidirectional-linear-"
                "attention, benchmark: batch 8, 16 heads of 64", 128, _NONCAUSAL) for n in (4096, 8192, 16384)),
    ),
    published=(
        _passes("noncausal", "m", 1, "sums over the keys wait for nothing"),
        _passes("noncausal", "p", 1, "queries after all keys"),
        _passes("causal-sequential", "i", 1, "a recurrence"),
        _passes("causal-chunked", "i1", 1, "chunks one after another, with the state at hand"),
    ),
)
