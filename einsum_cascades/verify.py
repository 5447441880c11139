"""The checks that make a cascade a valid one; every message names the place, the thing, its value and a remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from einsum_cascades.errors import NotationError, suggest
from einsum_cascades.indices import Offset, affine, offset
from einsum_cascades.ir import (
    Access,
    Call,
    Cascade,
    Coord,
    Einsum,
    Expr,
    Extent,
    Num,
    Span,
    children,
    coords,
    kept_coords,
    walk,
)
from einsum_cascades.operators import (
    DTYPES,
    MAPS,
    POPULATES,
    REDUCTIONS,
    map_operator,
    parameters,
    reduces,
    reduction_operator,
)
from einsum_cascades.structure import all_accesses, iterations, producers, ranks, structure

DEEPEST_EXPRESSION = 100
"""Levels that an expression may have; a sum of n terms has n."""

_TENSOR = re.compile(r"^[A-Z][A-Za-z0-9_]*$")
_RANK = re.compile(r"^[a-z][a-z0-9_]*$")
_OPERATOR = re.compile(r"^[a-z][a-z0-9_]*$")
_RESERVED = frozenset(("where", "and", "or", "not", "inf"))
_INTEGER_MAPS = frozenset(("floor", "ceil", "round"))


def verify(cascade: Cascade) -> None:
    """Checks a cascade.

    Raises: NotationError where it breaks a rule of the notation.
    """
    check = _Check(cascade)
    for einsum in (*cascade.einsums, *cascade.inits):
        check.expressions(einsum)
    check.operators()
    check.definitions()
    check.dimensions()
    for einsum in cascade.einsums:
        check.reduction(einsum)
        check.left_side(einsum)
        check.additive_terms(einsum)
    check.seeds()
    check.declarations()
    structure(cascade)


class _Check:
    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade

    def fail(self, message: str, span: Span | None) -> None:
        raise NotationError(message, source=self.cascade.name, line=span.line if span else None,
                            column=span.column if span else None)

    # --- expressions ---

    def expressions(self, einsum: Einsum) -> None:
        if not einsum.outputs or len(einsum.outputs) != len(einsum.bodies):
            self.fail(f"line: the two sides differ in their number of values, got {len(einsum.outputs)} on the left and "
                      f"{len(einsum.bodies)} on the right; give one value for each tensor", einsum.span)
        for expr in (*einsum.outputs, *einsum.bodies, *((einsum.where,) if einsum.where is not None else ())):
            self.depth(expr)
            for node in walk(expr):
                self.node(node, einsum)

    def depth(self, expr: Expr) -> None:
        level: tuple[Expr, ...] = (expr,)
        for _ in range(DEEPEST_EXPRESSION):
            level = tuple(child for node in level for child in children(node))
            if not level:
                return
        self.fail(f"expression: nested too deeply, got more than {DEEPEST_EXPRESSION} levels; give a part of it a line of "
                  f"its own", getattr(expr, "span", None))

    def node(self, node: Expr, einsum: Einsum | None) -> None:
        match node:
            case Num(value=value):
                if math.isnan(value):
                    self.fail("number: it is not a number, got nan; write a literal or inf", node.span)
            case Coord(rank=rank):
                self.rank_name(rank, node.span)
            case Extent(name=name):
                if not _TENSOR.match(name):
                    self.fail(f"extent {name!r}: names of extents begin with a capital letter, got {name!r}; write "
                              f"{name.upper()!r}", node.span)
            case Access(tensor=tensor, indices=indices, fill=fill):
                if not _TENSOR.match(tensor):
                    self.fail(f"tensor {tensor!r}: names of tensors begin with a capital letter, got {tensor!r}; use ASCII "
                              f"letters, digits and _", node.span)
                if fill is not None and math.isnan(fill):
                    self.fail(f"tensor {tensor!r}: its fill is not a number, got nan; write a literal or inf", node.span)
                for index in indices:
                    self.index(index, tensor, node.span)
            case Call(op=op, args=args):
                self.call(op, args, node.span)

    def rank_name(self, rank: str, span: Span | None) -> None:
        if not _RANK.match(rank) or rank in _RESERVED:
            self.fail(f"rank {rank!r}: names of ranks are in lower case, got {rank!r}; write "
                      f"{(rank.lower().lstrip('_') or 'r')!r}" if rank not in _RESERVED else
                      f"rank {rank!r}: the word has another meaning, got {rank!r}; choose another name", span)

    def call(self, op: str, args: tuple[Expr, ...], span: Span | None) -> None:
        found = map_operator(op, self.cascade)
        if found is None:
            users = {o.name: o for o in self.cascade.operators}
            if op in users:
                self.fail(f"operator {op!r}: it gives {len(users[op].bodies)} values, got it where one is wanted; put it at "
                          f"the head of the right side, with {len(users[op].bodies)} tensors on the left", span)
            valid = [name for name, m in MAPS.items() if m.symbol is None] + list(users)
            hint = f"reductions are written '{op}[rank] ...'; " if op in REDUCTIONS or op in POPULATES else ""
            self.fail(f"operator {op!r}: there is none of that name, got {op!r}; {hint}{suggest(op, valid)}", span)
        elif len(args) != found.arity:
            names = ", ".join("abcdefgh"[:found.arity]) if found.user is None else ", ".join(parameters(found.user))
            self.fail(f"operator {op!r}: it takes {found.arity} operand{'s' if found.arity != 1 else ''}, got {len(args)}; "
                      f"write {op}({names})", span)

    def index(self, index: Expr, tensor: str, span: Span | None) -> None:
        match index:
            case Num(value=value) if not math.isfinite(value) or value != int(value):
                self.fail(f"tensor {tensor!r}: an index is a whole number, got {value:g}; use floor(...) or another index",
                          index.span or span)
            case Call(op=op) if op in _INTEGER_MAPS:
                return
            case Call(op=op) if op in MAPS and MAPS[op].kind == "value" and not MAPS[op].integral and op != "where":
                use = "//" if op == "div" else f"floor({op}(...))"
                self.fail(f"tensor {tensor!r}: an index is a whole number, got {op!r} in it; write {use}",
                          index.span or span)
            case Call(args=args):
                for argument in args:
                    self.index(argument, tensor, span)

    # --- operators of the cascade ---

    def operators(self) -> None:
        seen: set[str] = set()
        for operator in self.cascade.operators:
            where, names = f"operator {operator.name!r}", parameters(operator)
            if operator.name in seen or operator.name in MAPS or operator.name in REDUCTIONS \
                    or operator.name in POPULATES or operator.name in _RESERVED:
                self.fail(f"{where}: there is one of that name already, got a second; choose another name", operator.span)
            if not _OPERATOR.match(operator.name):
                self.fail(f"{where}: names of operators are in lower case, got {operator.name!r}; write "
                          f"{operator.name.lower()!r}", operator.span)
            if len(set(names)) != len(names):
                twice = next(n for n in names if names.count(n) > 1)
                self.fail(f"{where}: a parameter stands twice, got {twice!r}; rename one", operator.span)
            for name in names:
                if not _RANK.match(name) or name in _RESERVED:
                    self.fail(f"{where}: parameters are in lower case, got {name!r}; rename it", operator.span)
            if operator.identity is not None and len(operator.identity) != len(operator.bodies):
                self.fail(f"{where}: its identity needs {len(operator.bodies)} values, got {len(operator.identity)}; give "
                          f"one for each result", operator.span)
            for body in operator.bodies:
                self.depth(body)
                for node in walk(body):
                    self.parameter(node, operator.name, names, seen)
            seen.add(operator.name)

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

    # --- definitions ---

    def definitions(self) -> None:
        seen: dict[str, Access] = {}
        for einsum in self.cascade.einsums:
            for out in einsum.outputs:
                if out.tensor in seen:
                    first = seen[out.tensor].span
                    at = f" (first in line {first.line})" if first else ""
                    self.fail(f"tensor {out.tensor!r}: it is defined twice, got a second definition{at}; rename one, or "
                              f"write 'init' before a seed", out.span or einsum.span)
                seen[out.tensor] = out
        operators = {o.name for o in self.cascade.operators}
        for name in seen:
            if name in operators:
                self.fail(f"tensor {name!r}: an operator has that name, got both; rename one", seen[name].span)

    def dimensions(self) -> None:
        first: dict[str, Access] = {out.tensor: out for e in self.cascade.einsums for out in e.outputs}
        for access in all_accesses(self.cascade):
            known = first.setdefault(access.tensor, access)
            if len(known.indices) != len(access.indices):
                at = f" in line {known.span.line}" if known.span else ""
                self.fail(f"tensor {access.tensor!r}: it has {len(known.indices)} "
                          f"dimension{'s' if len(known.indices) != 1 else ''}{at}, got {len(access.indices)} here; give it "
                          f"the same number of indices everywhere", access.span)

    # --- one Einsum ---

    def reduction(self, einsum: Einsum) -> None:
        head = einsum.reduction
        if head is None:
            return
        populate = POPULATES.get(head.op)
        known = (*REDUCTIONS, *POPULATES, *(o.name for o in self.cascade.operators if reduces(o)))
        if populate is None and reduction_operator(head.op, self.cascade) is None:
            user = next((o for o in self.cascade.operators if o.name == head.op), None)
            if user is not None:
                self.fail(f"reduction {head.op!r}: the operator cannot reduce, got operands of "
                          f"{' and '.join(str(len(o)) for o in user.operands)} values, {len(user.bodies)} results and "
                          f"{'an' if user.identity else 'no'} identity; give it two operands as wide as its result, and "
                          f"'identity'", head.span)
            self.fail(f"reduction {head.op!r}: there is none of that name, got {head.op!r}; {suggest(head.op, known)}",
                      head.span)
        for rank in (*head.ranks, *head.into):
            self.rank_name(rank, head.span)
        kept, available = set(einsum.output_ranks), set(einsum.ranks_of_right_side)
        for rank in head.ranks:
            if rank in kept:
                self.fail(f"rank {rank!r}: {head.op!r} reduces it but the left side keeps it, got it in both; remove it from "
                          f"one of them", head.span)
            if rank not in available:
                self.fail(f"rank {rank!r}: {head.op!r} reduces it but the right side lacks it, got {head.op}"
                          f"[{', '.join(head.ranks)}]; {suggest(rank, available - kept)}", head.span)
        if len(set(head.ranks)) != len(head.ranks):
            self.fail(f"reduction {head.op!r}: a rank stands twice, got [{', '.join(head.ranks)}]; name each once",
                      head.span)
        if populate is not None:
            self.populate(einsum)
        elif head.into:
            self.fail(f"reduction {head.op!r}: it makes no rank, got '; {', '.join(head.into)}'; only the populates do: "
                      f"{', '.join(POPULATES)}", head.span)
        else:
            self.width(einsum)

    def populate(self, einsum: Einsum) -> None:
        head = einsum.reduction
        assert head is not None
        if len(head.ranks) != 1 or len(head.into) != 1:
            self.fail(f"populate {head.op!r}: it takes one rank and makes one, got [{', '.join(head.ranks)}"
                      f"{'; ' if head.into else ''}{', '.join(head.into)}]; write {head.op}[m; j](...)", head.span)
        made = head.into[0]
        if made not in einsum.output_ranks:
            self.fail(f"rank {made!r}: {head.op!r} makes it but the left side lacks it, got "
                      f"{', '.join(einsum.output_ranks) or 'a scalar'} there; put {made!r} on the left", head.span)
        used = next((r for b in einsum.bodies for r in coords(b) if r == made), None)
        if used is not None or (einsum.where is not None and made in coords(einsum.where)):
            self.fail(f"rank {made!r}: {head.op!r} makes it but the right side reads it, got both; rename one", head.span)
        if len(einsum.bodies) != 1:
            self.fail(f"populate {head.op!r}: it takes one value, got {len(einsum.bodies)}; split the line", head.span)

    def width(self, einsum: Einsum) -> None:
        head = einsum.reduction
        assert head is not None
        found = reduction_operator(head.op, self.cascade)
        if found is not None and found.user is not None and found.arity != len(einsum.bodies):
            self.fail(f"reduction {head.op!r}: it reduces {found.arity} values together, got {len(einsum.bodies)}; give "
                      f"{found.arity} tensors on the left and as many values on the right", head.span)
        if found is not None and found.index and len(head.ranks) != 1:
            self.fail(f"reduction {head.op!r}: it takes one rank, got [{', '.join(head.ranks)}]; reduce the others first",
                      head.span)

    def left_side(self, einsum: Einsum) -> None:
        for out in einsum.outputs:
            for index in out.indices:
                self.left_index(out, index, einsum)
            own = [r for index in out.indices for r in kept_coords(index)]
            twice = next((r for r in own if own.count(r) > 1), None)
            if twice is not None:
                self.fail(f"rank {twice!r}: it stands twice on the left side of {out.tensor!r}, got [{', '.join(own)}]; "
                          f"write a predicate 'where i == j' instead", out.span)
            if set(own) != set(einsum.output_ranks):
                lacking = next(r for r in einsum.output_ranks if r not in own)
                self.fail(f"tensor {out.tensor!r}: the tensors of a tuple have the same ranks, got none of rank "
                          f"{lacking!r}; add it or split the line", out.span)
        moving = [p for p in (offset(i) for i in einsum.output.indices) if p is not None and p.constant == 1]
        if len(moving) > 1:
            self.fail(f"tensor {einsum.name!r}: it iterates over two ranks, got {moving[0].rank!r} and {moving[1].rank!r}; "
                      f"make one of them an ordinary rank", einsum.output.span)

    def left_index(self, out: Access, index: Expr, einsum: Einsum) -> None:
        if isinstance(index, (Coord, Access)):
            return
        place = offset(index)
        if isinstance(index, (Num, Extent)) or place is None and affine(index) is not None and not coords(index):
            self.fail(f"tensor {out.tensor!r}: a fixed slot stands on the left of a seed only, got one here; write 'init' "
                      f"before the line, or a predicate such as 'where i == 0'", out.span)
        if place is None or place.extents:
            self.fail(f"tensor {out.tensor!r}: the left side holds ranks, an iterative rank + 1, or an index tensor, got "
                      f"another expression; move it to the right side (floor // and modulo % take a rank apart)", out.span)
        assert isinstance(place, Offset)
        if place.constant != 1:
            sign = "-" if place.constant < 0 else "+"
            self.fail(f"tensor {out.tensor!r}: an iterative rank steps by 1, got {place.rank}{sign}{abs(place.constant)}; "
                      f"write {out.tensor}[{place.rank}+1] = ... {out.tensor}[{place.rank}] ...", out.span)
        if not any(o.tensor == out.tensor for seed in self.cascade.inits for o in seed.outputs):
            self.fail(f"tensor {out.tensor!r}: it is iterative over {place.rank!r} but has no seed, got no 'init' for it; "
                      f"add 'init {_seed_text(out, index)} = ...'", out.span)

    def additive_terms(self, einsum: Einsum) -> None:
        summed = einsum.summed_ranks
        if not summed:
            return
        for body in einsum.bodies:
            for term in _terms(body):
                present = set(coords(term))
                for rank in summed:
                    if rank not in present:
                        self.fail(f"rank {rank!r}: it is summed without a name but a term lacks it, got "
                                  f"{_shown(term)!r}, which would be added once for each {rank}; give the term a line of "
                                  f"its own, or name the reduction at the head (sum[{', '.join(summed)}] ...)",
                                  getattr(term, "span", None) or einsum.span)

    # --- seeds and declarations ---

    def seeds(self) -> None:
        defined = producers(self.cascade)
        iterative = iterations(self.cascade)
        seeded: set[str] = set()
        for seed in self.cascade.inits:
            if seed.reduction is not None:
                self.reduction(seed)
            self.additive_terms(seed)
            for out in seed.outputs:
                if out.tensor not in defined:
                    self.fail(f"tensor {out.tensor!r}: it has a seed but no definition, got only 'init'; "
                              f"{suggest(out.tensor, defined)}", out.span)
                if out.tensor in seeded:
                    self.fail(f"tensor {out.tensor!r}: it has two seeds, got a second 'init'; remove one", out.span)
                seeded.add(out.tensor)
                own = iterative.get(out.tensor)
                if own is None:
                    self.fail(f"tensor {out.tensor!r}: it has a seed but does not iterate, got no rank + 1 on its left side; "
                              f"write {out.tensor}[i+1,...] = ..., or remove 'init'", out.span)
                assert own is not None
                self.slot(out, own.rank, own.dimension, own.step)
        self.unseeded(defined, seeded)

    def slot(self, out: Access, rank: str, dimension: int, step: int) -> None:
        for number, index in enumerate(out.indices):
            if number != dimension:
                if not isinstance(index, Coord):
                    self.fail(f"tensor {out.tensor!r}: a seed has plain ranks beside its slot, got another index in "
                              f"dimension {number + 1}; name a rank there", out.span)
                continue
            right = (isinstance(index, Num) and index.value == 0) if step > 0 else \
                (isinstance(index, Extent) and index.rank == rank)
            if not right:
                want = "0" if step > 0 else rank.upper()
                self.fail(f"tensor {out.tensor!r}: the seed of an iteration over {rank!r} stands in slot {want}, got "
                          f"{_shown(index)!r}; write init {_seed_text(out, index, want)} = ...", out.span)

    def unseeded(self, defined: dict[str, Einsum], seeded: set[str]) -> None:
        """A tensor that reads itself one step away, in another form than that of an iteration."""
        for name, einsum in defined.items():
            if name in seeded:
                continue
            own = next(out for out in einsum.outputs if out.tensor == name)
            for access in einsum.reads:
                if access.tensor != name:
                    continue
                for left, right in zip(own.indices, access.indices, strict=True):
                    here, there = offset(left), offset(right)
                    if here is not None and there is not None and here.rank == there.rank \
                            and here.constant == 0 and there.constant != 0:
                        r = here.rank
                        form = f"{name}[{r}+1,...] = ... {name}[{r},...] ... and 'init {name}[0,...] = ...'" \
                            if there.constant < 0 else f"'init {name}[{r.upper()},...] = ...' for a reverse iteration"
                        self.fail(f"tensor {name!r}: it is iterative over {r!r} but has no seed, got "
                                  f"{_shown(access)!r} on its right side; write {form}", access.span)

    def declarations(self) -> None:
        cascade, defined = self.cascade, producers(self.cascade)
        tensors = {a.tensor for a in all_accesses(cascade)}
        known = ranks(cascade)
        for name in cascade.declared_outputs:
            if name not in defined:
                what = "it is an input" if name in tensors else "nothing defines it"
                self.fail(f"output {name!r}: {what}, got it as an output; {suggest(name, defined)}", None)
        for name, kind in cascade.dtypes:
            if name not in tensors:
                self.fail(f"dtype {name!r}: the cascade has no such tensor, got {name!r}; {suggest(name, tensors)}", None)
            if kind not in DTYPES:
                self.fail(f"dtype {name!r}: unknown precision, got {kind!r}; {suggest(kind, DTYPES)}", None)
        self.once("dtype", [name for name, _ in cascade.dtypes])
        for rank in cascade.devices:
            if rank not in known:
                self.fail(f"device {rank!r}: the cascade has no such rank, got {rank!r}; {suggest(rank, known)}", None)
        self.once("extent", [rank for rank, _ in cascade.extents])
        named = {e.rank for a in all_accesses(cascade) for i in a.indices for e in walk(i) if isinstance(e, Extent)}
        named |= {e.rank for s in (*cascade.einsums, *cascade.inits) for x in (*s.bodies, *((s.where,) if s.where else ()))
                  for e in walk(x) if isinstance(e, Extent)}
        for rank, size in cascade.extents:
            if rank not in known and rank not in named and rank not in structure(cascade).composites:
                self.fail(f"extent {rank!r}: the cascade has no such rank, got {rank!r}; {suggest(rank, known)}", None)
            if size < 1:
                self.fail(f"extent {rank!r}: it needs a whole number of at least 1, got {size}; give one", None)

    def once(self, what: str, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.fail(f"{what} {name!r}: it is given twice, got a second value; remove one", None)
            seen.add(name)


def _terms(body: Expr) -> tuple[Expr, ...]:
    """The top-level additive terms of an expression."""
    match body:
        case Call(op="add" | "sub", args=(left, right)):
            return (*_terms(left), *_terms(right))
        case Call(op="neg", args=(inner,)):
            return _terms(inner)
    return (body,)


def _seed_text(out: Access, index: Expr, slot: str = "0") -> str:
    return f"{out.tensor}[{','.join(slot if i is index else _shown(i) for i in out.indices)}]"


def _shown(expr: Expr) -> str:
    from einsum_cascades.printing import expr_text
    text = expr_text(expr)
    return text if len(text) <= 60 else text[:57] + "..."
