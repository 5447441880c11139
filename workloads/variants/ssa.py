"""Selective self-attention: every query has a temperature, and every value too.

Scores of query p are multiplied by TQ[p], the value of key m by TV[m]; the first before the maximum, as a factor may be
negative. Only the part of the temperatures that depends on the position is in the public code: ``position`` makes TQ
from it, 1 + exp(-exp(Beta)) log(n) for the query that sees n keys, with one Beta for each layer; ``position-linear`` is
the variant 1 + Beta log(n). What depends on the token is not: TQ and TV are inputs of ``3pass``, ``2pass`` and
``1pass``, whatever makes them. All are causal, and the queries are the last p of the m positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from einsum_cascades.analysis.passes import passes
from workloads.draws import constant, normal, signs
from workloads.variant import Case, Published, Shape, Variant
from workloads.variants.softmax_lines import one_pass, softmax, three_passes, two_passes
from workloads.variants.softmax_passes import POSITION

if TYPE_CHECKING:
    from workloads.variant import Array

_PAPER = "Zhang et al., Selective Attention: Enhancing Transformer through Principled Context Control, NeurIPS 2024, " \
         "arXiv 2411.12892"
_REPOSITORY = "github.com/umich-sota/selective_attention, lit_gpt/model_finetune_att.py and gpt_2_PTS.py"


def _scores(key: str, coordinate: str) -> str:
    return f"""
QK[p,{key}] = Q[p,e] * K[{coordinate},e] where {coordinate} <= {POSITION}
S[p,{key}]  = QK[p,{key}] * rsqrt(E) * TQ[p]
"""


_WHOLE, _TILED = _scores("m", "m"), _scores("m1,m0", "m1*M0 + m0")
_VALUES = "VT[m,f] = V[m,f] * TV[m]\n"
_TILE_VALUES = "VT[m1,m0,f] = V[m1*M0 + m0, f] * TV[m1*M0 + m0]\n"

_ALGORITHMS = {
    "1pass": _TILED + _TILE_VALUES + one_pass("p", "m1", "m0", "VT[m1,m0,f]", "O[p,f]"),
    "2pass": _WHOLE + _VALUES + two_passes("p", "m", "VT[m,f]", "O[p,f]"),
    "3pass": _WHOLE + _VALUES + three_passes("p", "m", "VT[m,f]", "O[p,f]"),
    "position": f"TQ[p] = 1 + exp(-exp(Beta[])) * log({POSITION} + 1)\n"
                + _TILED + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "O[p,f]"),
    "position-linear": f"TQ[p] = 1 + Beta[] * log({POSITION} + 1)\n"
                       + _TILED + one_pass("p", "m1", "m0", "V[m1*M0 + m0, f]", "O[p,f]"),
}
_GENERIC = ("1pass", "2pass", "3pass")


def reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns O[p,f]: causal attention of queries TQ * Q to keys K and values TV * V."""
    return _attention(inputs, inputs["TQ"], inputs["TV"])


def position_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with the temperature of the number of keys that a query sees, and values as they are."""
    import numpy as np
    return _attention(inputs, 1 + np.exp(-np.exp(inputs["Beta"])) * np.log(_keys_seen(inputs)))


def position_linear_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns the same with 1 + Beta log(number of keys)."""
    import numpy as np
    return _attention(inputs, 1 + inputs["Beta"] * np.log(_keys_seen(inputs)))


def plain_reference(inputs: Mapping[str, Array], extents: Mapping[str, int]) -> dict[str, Array]:
    """Returns what temperatures of 1 give: causal attention."""
    return _attention(inputs)


def _attention(inputs: Mapping[str, Array], of_query: Array | float = 1.0, of_value: Array | float = 1.0) -> dict[str, Array]:
    import numpy as np
    queries = inputs["Q"] * np.reshape(of_query, (-1, 1)) / np.sqrt(inputs["Q"].shape[1])
    values = inputs["V"] * np.reshape(of_value, (-1, 1))
    seen = np.arange(len(inputs["K"])) < _keys_seen(inputs)[:, None]
    return {"O": softmax(queries @ inputs["K"].T, seen) @ values}


def _keys_seen(inputs: Mapping[str, Array]) -> Array:
    import numpy as np
    queries, keys = len(inputs["Q"]), len(inputs["K"])
    return np.arange(keys - queries + 1, keys + 1)


_SMALL = {"p": 11, "m": 11, "m0": 4, "e": 4, "f": 3}
_LONG = {"p": 4, "m": 13, "m0": 4, "e": 5, "f": 2}


def _passes(algorithm: str, count: int) -> Published:
    return Published(f"passes of {algorithm} over the keys", count, "passes", "as without temperatures", "calculated",
                     lambda: float(passes(VARIANT.cascade(algorithm))["m"]))


VARIANT = Variant(
    id="ssa",
    title="Selective self-attention (temperatures of queries and values)",
    system="Selective Attention (SSA)",
    source=_PAPER,
    algorithms=_ALGORITHMS,
    reference=reference,
    cases=(
        Case("random, temperatures of either sign", _SMALL, algorithms=_GENERIC),
        Case("the last queries of a longer context", _LONG, algorithms=_GENERIC),
        Case("temperatures of 1 are attention", _SMALL, {"TQ": constant(1.0), "TV": constant(1.0)}, algorithms=_GENERIC,
             reference=plain_reference),
        Case("logits of 80 and -80", _SMALL, {"Q": signs(160 / 4), "K": signs(), "TQ": signs()}, algorithms=_GENERIC),
        # Rounding of a score of some thousands is 1e-12, and so is then the relative error of its exponential.
        Case("logits beyond the range of exp", _SMALL, {"Q": normal(2e3)}, algorithms=_GENERIC, tolerance=1e-9),
        Case("by position", _LONG, algorithms=("position",), reference=position_reference),
        Case("by position, as initialised for GPT-2", _SMALL, {"Beta": constant(1.5)}, algorithms=("position",),
             reference=position_reference),
        # exp(-exp(5)) is 3.6e-65.
        Case("by position, a large Beta is attention", _SMALL, {"Beta": constant(5.0)}, algorithms=("position",),
             reference=plain_reference),
        Case("by position, linear", _LONG, algorithms=("position-linear",), reference=position_linear_reference),
        Case("by position, linear, a Beta of 0 is attention", _SMALL, {"Beta": constant(0.0)},
             algorithms=("position-linear",), reference=plain_reference),
    ),
    shapes=(Shape("gpt2-small", {"p": 1024, "m": 1024, "e": 64, "f": 64},
                  "12 heads of the small GPT-2 (Radford et al., 2019), which the repository trains", 12),),
    published=(
        _passes("3pass", 3), _passes("2pass", 2), _passes("1pass", 1), _passes("position", 1),
        Published("new parameters, less than", 0.5, "%", f"abstract of {_PAPER}", "abstract"),
    ),
    workloads=("bert", "trxl", "t5", "xlm"),
    workload_ranks={"p": "seq_len", "m": "seq_len", "e": "e", "f": "f"},
)
