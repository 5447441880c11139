"""The operations that a PE performs at each point of an Einsum's iteration space."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from einsum_cascades.analysis.operations import counted_calls
from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.ir import Call, Cascade, Einsum
from einsum_cascades.operators import map_operator, reduction_operator

FUSED = "mac"
"""A product that is summed at once: one multiply-add, where a unit has it."""


def per_point(cascade: Cascade, einsum: Einsum, available: Mapping[str, object], place: str, unit: str) -> dict[str, int]:
    """Returns how many of each operator a unit performs at one point.

    Raises: DesignError where the unit lacks an operator.
    """
    counts = dict(_counted(cascade, einsum))
    if FUSED in available and counts.get("mul") and _sums_product(cascade, einsum):
        counts["mul"] -= 1
        counts["add"] -= 1
        counts[FUSED] = 1
    counts = {name: n for name, n in counts.items() if n}
    for name in counts:
        if name not in available:
            raise DesignError(f"{place}: Einsum {einsum.name!r}: {unit} has no such operator, got {name!r}; "
                              f"{suggest(name, available)}")
    return counts


@lru_cache(maxsize=4096)
def _counted(cascade: Cascade, einsum: Einsum) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}

    def add(name: str) -> None:
        counts[name] = counts.get(name, 0) + 1

    for body in einsum.bodies:
        for call in counted_calls(body):
            operator = map_operator(call.op, cascade)
            for name in operator.cost if operator is not None else (call.op,):
                add(name)
        if einsum.summed_ranks:
            add("add")
    head = einsum.reduction
    if head is not None:
        reduction = reduction_operator(head.op, cascade)
        add((reduction.counts or head.op) if reduction is not None else head.op)
    return tuple(counts.items())


def _sums_product(cascade: Cascade, einsum: Einsum) -> bool:
    """Whether the last operation of the body is a product and its reduction a sum."""
    return (isinstance(einsum.body, Call) and einsum.body.op == "mul" and dict(_counted(cascade, einsum)).get("add", 0) > 0
            and (bool(einsum.summed_ranks) or einsum.reduction is not None and einsum.reduction.op == "sum"))
