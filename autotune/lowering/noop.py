"""The proof that a step of a loop changes nothing when a condition fails in all of its lanes, so that it may be skipped.

With the condition failing, reductions under it are their identities and maps under it are absent; each state's update must
then simplify to the state itself. ``x - x = 0`` holds for finite x alone: a state that is still its seed may be infinite, so
the seeds must be a fixed point as well. A row that has met no element is its seed; one that has met one is finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.lowering.nodes import LAST, PREVIOUS, Node, is_node, split
from autotune.lowering.support import Support
from einsum_cascades.elementwise import function_of
from einsum_cascades.ir import Access, Call, Cascade, Expr, Num
from einsum_cascades.operators import MAPS, reduction_operator


@dataclass(frozen=True)
class _Symbol:
    """A constant, the earlier value of a state, an absent value, or something unknown (the same where equal)."""

    kind: str
    value: object = None


_ABSENT = _Symbol("absent")


def changes_nothing(condition: Expr, states: Sequence[Node], seeds: Mapping[str, float | None], support: Support,
                    cascade: Cascade) -> bool:
    """Returns whether the updates of all states leave them as they are where a condition fails.

    ``seeds`` gives the constant that seeds each state, None where it is none.
    """
    for known in ({}, {n: s for n, s in seeds.items() if s is not None}):
        proof = _Proof(condition, known, support, cascade)
        for state in states:
            if proof.value(state) != proof.earlier(state.name):
                return False
    return True


class _Proof:
    def __init__(self, condition: Expr, seeds: Mapping[str, float], support: Support, cascade: Cascade) -> None:
        self.condition, self.seeds, self.support, self.cascade = condition, seeds, support, cascade
        self.known: dict[str, _Symbol] = {}

    def earlier(self, name: str) -> _Symbol:
        return _Symbol("constant", self.seeds[name]) if name in self.seeds else _Symbol("earlier", name)

    def value(self, node: Node) -> _Symbol:
        if node.name not in self.known:
            self.known[node.name] = _Symbol("unknown", node.name)
            self.known[node.name] = self._value(node)
        return self.known[node.name]

    def _value(self, node: Node) -> _Symbol:
        if self.condition in self.support.body(node):
            if node.carried is not None:
                return self.earlier(node.name)
            if not node.reduction:
                return _ABSENT
            operator = reduction_operator(node.reduction, self.cascade)
            assert operator is not None
            return _Symbol("constant", operator.identity[0]) if len(node.bodies) == 1 else _Symbol("unknown", node.name)
        if node.reduction or len(node.bodies) > 1 or node.scan is not None:
            return _Symbol("unknown", node.name)
        found = self.expression(node.bodies[0])
        if found == _ABSENT and node.carried is not None:
            return self.earlier(node.name)
        return found

    def expression(self, expr: Expr) -> _Symbol:
        match expr:
            case Num(value=value):
                return _Symbol("constant", float(value))
            case Access(tensor=name) if is_node(name):
                read, how = split(name)
                if how == PREVIOUS:
                    return self.earlier(read)
                return _Symbol("unknown", name) if how == LAST else self.value(self.support.owner[read])
            case Call(op=op, args=args):
                return self.call(op, tuple(self.expression(a) for a in args))
        return _Symbol("unknown", expr)

    def call(self, op: str, args: tuple[_Symbol, ...]) -> _Symbol:
        if _ABSENT in args:
            return _ABSENT
        numbers = [a.value for a in args if a.kind == "constant"]
        if len(numbers) == len(args) and op in MAPS:
            return _Symbol("constant", float(function_of(op)(*numbers)))
        operator = MAPS.get(op)
        if len(args) == 2 and operator is not None:
            a, b = args
            one, other = (_number(a), _number(b))
            if operator.identity is not None and other == operator.identity:
                return a
            if operator.commutative and operator.identity is not None and one == operator.identity:
                return b
            if op == "mul" and 0.0 in (one, other):
                return _Symbol("constant", 0.0)
            if a == b and op == "sub":
                return _Symbol("constant", 0.0)
            if a == b and operator.idempotent:
                return a
        return _Symbol("unknown", (op, args))


def _number(symbol: _Symbol) -> object:
    return symbol.value if symbol.kind == "constant" else None
