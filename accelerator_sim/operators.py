"""The operations that a PE performs at each point of an Einsum's iteration space."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from einsum_cascades.analysis.operations import counted_calls
from einsum_cascades.errors import DesignError, suggest
from einsum_cascades.ir import Call, Cascade, Einsum
from einsum_cascades.operators import map_operator, reduction_operator

FUSED = "mac"
"""A product that is summed at once: one multiply-add, where a unit has it."""

COMPOSED: Mapping[str, tuple[str, ...]] = {
    "neg": ("sub",), "min": ("max",), "abs": ("max", "sub"), "relu": ("max",), "square": ("mul",), "clamp": ("max", "max"),
    "exp2": ("exp", "mul"), "expm1": ("exp", "sub"), "sigmoid": ("exp", "add", "div"), "silu": ("sigmoid", "mul"),
    "tanh": ("exp", "sub", "add", "div"), "gelu_tanh": ("mul", "mul", "mul", "add", "tanh", "add", "mul"),
    "gelu": ("gelu_tanh",), "softplus": ("exp", "add", "log"), "rsqrt": ("sqrt", "div"), "mish": ("softplus", "tanh", "mul"),
    "elu": ("exp", "sub", "max"), "leaky_relu": ("mul", "max"), "hard_sigmoid": ("add", "clamp", "mul"),
    "hard_swish": ("hard_sigmoid", "mul"), "mean": ("add",), "var": ("sub", "mul", "add"), "log2": ("log", "mul"),
    "log1p": ("add", "log"), "where": ("max",), "sqrt": ("div",), "log": ("div", "mac"), "lt": ("max",), "le": ("max",),
    "gt": ("max",), "ge": ("max",), "eq": ("max",), "ne": ("max",), "and": ("max",), "or": ("max",), "not": ("max",),
    "sign": ("max",), "argmax": ("max",), "argmin": ("max",), "count": ("add",), "sin": ("mac", "mac", "mac", "mac"),
    "cos": ("mac", "mac", "mac", "mac"), "topk": ("max",), "bottomk": ("max",), "threshold": ("max",), "sort": ("max",),
    "sort_descending": ("max",), "pow": ("log", "mul", "exp"), "erf": ("gelu_tanh",),
}
"""How a unit that lacks an operator performs it with others: by its definition (sigmoid, silu, tanh, ...), by a unit of the
same kind (a comparison in place of a maximum, a digit-by-digit square root in a divider, one comparison an element in a
selection), or by four multiply-adds of a polynomial (sin, cos). Numbered assumption A21."""


NO_OPERATORS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
"""Those of a cascade that defines none."""


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


def own_operators(cascade: Cascade) -> Mapping[str, tuple[str, ...]]:
    """Returns what the operators that a cascade defines for itself are composed of: a pair of a scan, a complex product."""
    return {o.name: tuple(call.op for body in o.bodies for call in counted_calls(body)) for o in cascade.operators}


def per_point(counts: Mapping[str, int], sums_product: bool, available: Mapping[str, object], place: str,
              unit: str, own: Mapping[str, tuple[str, ...]] = NO_OPERATORS) -> dict[str, int]:
    """Returns how many of each operator a unit performs at one point: a product and its sum fused where it can, an operator
    that it lacks composed of others; ``own`` are operators of the cascade, by what they are composed of.

    Raises: DesignError where the unit lacks an operator, and what it could be composed of.
    """
    made = dict(counts)
    if sums_product and FUSED in available:
        made["mul"] -= 1
        made["add"] -= 1
        made[FUSED] = made.get(FUSED, 0) + 1
    found: dict[str, int] = {}
    for name, number in made.items():
        if number:
            _perform(name, number, available, found, f"{place}: {unit}", name, {**COMPOSED, **own})
    return found


def _perform(name: str, number: int, available: Mapping[str, object], found: dict[str, int], place: str, wanted: str,
             composed: Mapping[str, tuple[str, ...]]) -> None:
    if name in available:
        found[name] = found.get(name, 0) + number
        return
    if name not in composed:
        raise DesignError(f"{place} has no such operator, got {wanted!r}; {suggest(wanted, available)}")
    for part in composed[name]:
        _perform(part, number, available, found, place, wanted, composed)
