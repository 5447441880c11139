"""The operations that a PE performs at each point of an Einsum's iteration space."""

from __future__ import annotations

from collections.abc import Mapping

from einsum_cascades.analysis.operations import counted_calls
from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.ir import Call, Cascade, Einsum
from einsum_cascades.operators import map_operator, reduction_operator

FUSED = "mac"
"""A product that is summed at once: one multiply-add, where a unit has it."""


def counted(cascade: Cascade, einsum: Einsum) -> tuple[Mapping[str, int], bool]:
    """Returns how many of each operator a point takes, and whether the last of them is a product that is summed.

    A reduction takes one of its operator at each point, as rule 9 of the notation counts it.
    """
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
    sums = bool(einsum.summed_ranks) or head is not None and head.op == "sum"
    return counts, sums and isinstance(einsum.body, Call) and einsum.body.op == "mul"


def per_point(counts: Mapping[str, int], sums_product: bool, available: Mapping[str, object], place: str,
              unit: str) -> dict[str, int]:
    """Returns how many of each operator a unit performs at one point, with a product and its sum fused where it can.

    Raises: DesignError where the unit lacks an operator.
    """
    made = dict(counts)
    if sums_product and FUSED in available:
        made["mul"] -= 1
        made["add"] -= 1
        made[FUSED] = made.get(FUSED, 0) + 1
    made = {name: n for name, n in made.items() if n}
    for name in made:
        if name not in available:
            raise DesignError(f"{place}: {unit} has no such operator, got {name!r}; {suggest(name, available)}")
    return made
