"""Checks of the operators that a cascade defines for itself."""

from __future__ import annotations

from einsum_cascades.errors import suggest
from einsum_cascades.expressions import RESERVED
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, UserOperator, walk
from einsum_cascades.operators import MAPS, OPERATOR_PROPERTIES, POPULATES, REDUCTIONS, parameters
from einsum_cascades.scalars import broken_property
from einsum_cascades.verify_expressions import OPERATOR_NAME, RANK_NAME, ExpressionCheck


class OperatorCheck(ExpressionCheck):
    """Checks names, parameters, identity and declared properties of operators."""

    def operators(self) -> None:
        seen: set[str] = set()
        for operator in self.cascade.operators:
            where, names = f"operator {operator.name!r}", parameters(operator)
            if operator.name in seen or operator.name in MAPS or operator.name in REDUCTIONS \
                    or operator.name in POPULATES or operator.name in RESERVED:
                self.fail(f"{where}: there is one of that name already, got a second; choose another name", operator.span)
            if not OPERATOR_NAME.match(operator.name):
                self.fail(f"{where}: names of operators are in lower case, got {operator.name!r}; write "
                          f"{operator.name.lower()!r}", operator.span)
            if len(set(names)) != len(names):
                twice = next(n for n in names if names.count(n) > 1)
                self.fail(f"{where}: a parameter stands twice, got {twice!r}; rename one", operator.span)
            for name in names:
                if not RANK_NAME.match(name) or name in RESERVED:
                    self.fail(f"{where}: parameters are in lower case, got {name!r}; rename it", operator.span)
            if operator.identity is not None and len(operator.identity) != len(operator.bodies):
                self.fail(f"{where}: its identity needs {len(operator.bodies)} values, got {len(operator.identity)}; give "
                          f"one for each result", operator.span)
            for body in operator.bodies:
                self.depth(body)
                for node in walk(body):
                    self.parameter(node, operator.name, names, seen)
            self.properties(operator, seen)
            seen.add(operator.name)

    def properties(self, operator: UserOperator, seen: set[str]) -> None:
        where = f"operator {operator.name!r}"
        for text in sorted(operator.properties):
            word, _, rest = text.partition("(")
            names = tuple(n.strip() for n in rest[:-1].split(",")) if rest else ()
            if word not in OPERATOR_PROPERTIES:
                self.fail(f"{where}: unknown property, got {word!r}; {suggest(word, OPERATOR_PROPERTIES)}", operator.span)
            wanted = {"homomorphism": 2, "distributes_over": 1, "inverse": 1}.get(word, 0)
            if len(names) != wanted:
                self.fail(f"{where}: {word!r} takes {wanted} name{'s' if wanted != 1 else ''}, got {len(names)}; write "
                          f"{word}{'(add, mul)' if wanted == 2 else '(add)' if wanted else ''}", operator.span)
            for name in names:
                if name not in MAPS and name not in seen:
                    self.fail(f"{where}: {word!r} names a map that does not exist, got {name!r}; {suggest(name, MAPS)}",
                              operator.span)
        broken = broken_property(operator, {o.name: o for o in self.cascade.operators})
        if broken is not None:
            self.fail(f"{where}: it is declared {broken[0]!r} but is not, got a counterexample at {broken[1]}; correct the "
                      f"operator or remove the word", operator.span)

    def parameter(self, node: Expr, operator: str, names: tuple[str, ...], seen: set[str]) -> None:
        match node:
            case Access(tensor=tensor, indices=()) if tensor in names:
                return
            case Coord(rank=name) | Extent(name=name) | Access(tensor=name):
                self.fail(f"operator {operator!r}: it may use its parameters only, got {name!r}; {suggest(name, names)}",
                          node.span)
            case Call(op=op, args=args):
                if op not in MAPS and op not in seen:
                    known = [n for n, m in MAPS.items() if m.symbol is None] + sorted(seen)
                    self.fail(f"operator {operator!r}: it uses an operator that is not defined before it, got {op!r}; "
                              f"{suggest(op, known)}", node.span)
                self.call(op, args, node.span)
