"""The floor of a cascade: the time that no kernel of it is under on a device, from three of its ceilings.

Its inputs are read and its outputs written once; sums of products of two tensors that split the result between them run
on the matrix units; exponentials run on the unit that has them. The larger of the three times is the floor: they can
overlap. Everything else is left out, so that it is a bound and no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autotune.lowering.defaults import default_extents
from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.analysis.traffic import compulsory_traffic
from einsum_cascades.ir import Access, Call, Cascade, Einsum, coords
from einsum_cascades.symbols import Formula

TYPE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}

_EXPONENTIALS = ("exp", "exp2", "sigmoid", "tanh", "silu", "softplus")
"""Each takes one exponential at least."""


@dataclass(frozen=True)
class Needs:
    """What an operator needs of any device, for all instances: bytes of memory, operations of the matrix units (two for each
    product that is summed), exponentials."""

    memory_bytes: float
    matrix_operations: float
    exponentials: float


@dataclass(frozen=True)
class Ceilings:
    """What a device reached: bytes (read and written) a second of a copy, operations a second of a matrix product, and
    exponentials a second. None: not measured."""

    copy_bytes_per_s: float | None = None
    matrix_operations_per_s: float | None = None
    exponentials_per_s: float | None = None


@dataclass(frozen=True)
class Floor:
    """The time in microseconds, and which of the ceilings it is."""

    us: float
    bound: str


def needs(cascade: Cascade, extents: Mapping[str, int], instances: int, dtype: str) -> Needs:
    """Returns the needs of a cascade at some extents. All tensors are counted in one type."""
    sizes = default_extents(cascade, extents)
    counted = count_operations(cascade, sizes)
    traffic = compulsory_traffic(cascade, sizes)
    matrix = sum(_number(count, sizes) for einsum in cascade.einsums if _on_matrix_units(einsum)
                 for name, count in counted.einsums[einsum.name].items() if name in ("mul", "add"))
    exponentials = sum(_number(counted.total[name], sizes) for name in _EXPONENTIALS if name in counted.total)
    moved = _number(traffic.total_read, sizes) + _number(traffic.total_write, sizes)
    return Needs(instances * moved * TYPE_BYTES[dtype], instances * matrix, instances * exponentials)


def floor(wanted: Needs, ceilings: Ceilings) -> Floor | None:
    """Returns the floor; None where a ceiling that it needs was not measured."""
    terms = {"copy": (wanted.memory_bytes, ceilings.copy_bytes_per_s), "matrix": (wanted.matrix_operations, ceilings.matrix_operations_per_s),
             "exp": (wanted.exponentials, ceilings.exponentials_per_s)}
    times = {}
    for name, (amount, rate) in terms.items():
        if amount > 0 and not rate:
            return None
        times[name] = amount / rate * 1e6 if rate else 0.0
    bound = max(times, key=lambda name: times[name])
    return Floor(times[bound], bound)


def _on_matrix_units(einsum: Einsum) -> bool:
    """A sum of products of two tensors, each of which has a rank of the result that the other lacks."""
    body = einsum.bodies[0]
    if len(einsum.bodies) != 1 or not isinstance(body, Call) or body.op != "mul" or not all(isinstance(a, Access) for a in body.args):
        return False
    if einsum.reduction is not None and einsum.reduction.op != "sum":
        return False
    kept = set(coords(einsum.outputs[0]))
    left, right = (set(coords(arg)) for arg in body.args)
    return bool(left & kept - right) and bool(right & kept - left) and bool((left & right) - kept)


def _number(value: Formula, sizes: Mapping[str, int]) -> float:
    found = value.put(sizes).constant
    return math.nan if found is None else float(found)
