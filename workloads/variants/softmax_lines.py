"""Lines of a softmax over any ranks and of the weighted sum of values, in 3, 2 and 1 passes; and its formula in NumPy.

No variant: operators that have several softmaxes, or ranks of their own, share it. Scores are S of the rows (``p``, or
``y,x``, or nothing for one query) and the reduced ranks. Tensors have the names of ``attention``, with a tag where a
cascade has more than one softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.variant import Array


def three_passes(rows: str, keys: str, value: str, out: str, *, tag: str = "") -> str:
    """Returns the lines with the weights written out: ``out`` (its name and ranks) sums weights times ``value``."""
    row, each = _at(rows), _at(rows, keys)
    return f"""
GM{tag}{row} = max[{keys}] S{tag}{each}
SN{tag}{each} = exp(S{tag}{each} - GM{tag}{row})
SD{tag}{row} = SN{tag}{each}
A{tag}{each} = SN{tag}{each} / SD{tag}{row}
{out} = A{tag}{each} * {value}
"""


def two_passes(rows: str, keys: str, value: str, out: str, *, feature: str = "f", tag: str = "") -> str:
    """Returns the lines with the division deferred to the sums."""
    row, each, sums = _at(rows), _at(rows, keys), _at(rows, feature)
    return f"""
GM{tag}{row} = max[{keys}] S{tag}{each}
SN{tag}{each} = exp(S{tag}{each} - GM{tag}{row})
SD{tag}{row} = SN{tag}{each}
SNV{tag}{sums} = SN{tag}{each} * {value}
{out} = SNV{tag}{sums} / SD{tag}{row}
"""


def running(rows: str, tiles: str, inside: str, value: str, *, feature: str = "f", tag: str = "",
            seeds: tuple[str, str, str] = ("-inf", "0", "0")) -> str:
    """Returns the lines that carry maximum RM, denominator RD and numerator RNV over the rank ``tiles``, from what
    ``seeds`` gives; ``inside`` are the ranks of a tile."""
    each, step = _at(rows, tiles, inside), _at(tiles, rows)
    first, later = _at("0", rows), _at(f"{tiles}+1", rows)
    sums, first_sums, later_sums = _at(feature, tiles, rows), _at(feature, "0", rows), _at(feature, f"{tiles}+1", rows)
    return f"""
init RM{tag}{first} = {seeds[0]}
init RD{tag}{first} = {seeds[1]}
init RNV{tag}{first_sums} = {seeds[2]}
LM{tag}{step} = max[{inside}] S{tag}{each}
RM{tag}{later} = max(RM{tag}{step}, LM{tag}{step})
SLN{tag}{each} = exp(S{tag}{each} - RM{tag}{later})
SLD{tag}{step} = SLN{tag}{each}
SLNV{tag}{sums} = SLN{tag}{each} * {value}
PRM{tag}{step} = exp(RM{tag}{step} - RM{tag}{later})
SPD{tag}{step} = RD{tag}{step} * PRM{tag}{step}
RD{tag}{later} = SLD{tag}{step} + SPD{tag}{step}
SPNV{tag}{sums} = RNV{tag}{sums} * PRM{tag}{step}
RNV{tag}{later_sums} = SLNV{tag}{sums} + SPNV{tag}{sums}
"""


def one_pass(rows: str, tiles: str, inside: str, value: str, out: str, *, feature: str = "f", tag: str = "",
             seeds: tuple[str, str, str] = ("-inf", "0", "0")) -> str:
    """Returns the lines with running statistics and one division at the end."""
    last = tiles.upper()
    return running(rows, tiles, inside, value, feature=feature, tag=tag, seeds=seeds) + \
        f"{out} = RNV{tag}{_at(feature, last, rows)} / RD{tag}{_at(last, rows)}\n"


def softmax(scores: Array, seen: Array | bool = True, *, axes: int = 1) -> Array:
    """Returns exp(s - log sum exp s) over the last axes, in which neither a maximum nor a tile is written out; 0 where
    nothing is seen."""
    import numpy as np
    seen = np.broadcast_to(seen, scores.shape)
    total = np.logaddexp.reduce(np.where(seen, scores, -np.inf).reshape(*scores.shape[:scores.ndim - axes], -1), axis=-1)
    total = total.reshape(*total.shape, *[1] * axes)
    weights: Array = np.exp(scores - total, out=np.zeros(scores.shape), where=seen)
    return weights


def _at(*ranks: str) -> str:
    return "[" + ",".join(rank for rank in ranks if rank) + "]"
