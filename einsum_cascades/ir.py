"""The intermediate representation: a cascade of extended Einsums as frozen, hashable values.

One expression type serves values, indices and predicates, so that one traversal serves the printer, the
interpreter, the analyses, the rewrites and the lowering:

* a *value* expression combines tensor accesses with map operators,
* an *index* expression is the same language restricted to integers (coordinates, extents, affine and
  quasi-affine arithmetic, reads of index tensors),
* a *predicate* is the same language with a comparison or a logical operator on top.

``EDGE`` (Odemuyiwa et al.) names the three actions map, reduce and populate: here a map is the body of an
Einsum, and a reduction or a populate is its :class:`Reduction`.

Source: FuseMax (arXiv 2406.10491), section II, for the subset of extended Einsums; the text form is described
in docs/notation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """Where a thing stands in its text; 1-based line and column."""

    line: int
    column: int


def _span() -> Any:
    """The field of a place: two expressions are equal wherever they stand."""
    return field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Num:
    """A literal; ``inf`` is ``float('inf')``."""

    value: float
    span: Span | None = _span()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Coord:
    """The coordinate of a rank (a bare lower-case name)."""

    rank: str
    span: Span | None = _span()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of a rank (a bare capital name); ``Extent('M0')`` is the extent of rank ``m0``."""

    name: str
    span: Span | None = _span()  # noqa: RUF009

    @property
    def rank(self) -> str:
        """The rank that it measures, in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Access:
    """A tensor at one index expression a dimension.

    ``fill`` is the value of coordinates outside the tensor; without it they are absent.
    """

    tensor: str
    indices: tuple[Expr, ...]
    fill: float | None = None
    span: Span | None = _span()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Call:
    """An operator on its arguments; ``op`` is a name of the operator table (``add``, ``exp``, ``le``, ``where``)."""

    op: str
    args: tuple[Expr, ...]
    span: Span | None = _span()  # noqa: RUF009


Expr = Num | Coord | Extent | Access | Call


@dataclass(frozen=True, slots=True)
class Reduction:
    """The named head of a right side: ``max[m]``, or ``topk[m; j]``, which populates rank ``j``.

    ``ranks`` are consumed; ``into`` are made (empty for a reduction, one or more ranks for a populate).
    """

    op: str
    ranks: tuple[str, ...]
    into: tuple[str, ...] = ()
    span: Span | None = _span()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Einsum:
    """One extended Einsum: ``outputs = reduction(bodies) where predicate``.

    Almost every Einsum has one output and one body; an Einsum over tuples (a scan pair, a complex number) has
    as many bodies as outputs, reduced together by one operator of that arity. Ranks that are in no output and in
    no named reduction are reduced first, inside, by sum.
    """

    outputs: tuple[Access, ...]
    bodies: tuple[Expr, ...]
    reduction: Reduction | None = None
    where: Expr | None = None
    span: Span | None = _span()  # noqa: RUF009

    @property
    def output(self) -> Access:
        """The first output; the only one of every Einsum that is not over tuples."""
        return self.outputs[0]

    @property
    def body(self) -> Expr:
        """The first body."""
        return self.bodies[0]

    @property
    def name(self) -> str:
        """The Einsum's name: that of its first output tensor."""
        return self.outputs[0].tensor

    @property
    def output_ranks(self) -> tuple[str, ...]:
        """Ranks of the left side in order, without repetition.

        A rank that only an index tensor of the left side mentions is not kept: ``Y[I[t], e]`` scatters over t, and
        the elements that meet at one coordinate are reduced.
        """
        return unique(r for o in self.outputs for i in o.indices for r in kept_coords(i))

    @property
    def ranks(self) -> tuple[str, ...]:
        """Every rank of the iteration space: those of the left side, then those of the right in order of appearance.

        A rank that a populate makes is part of it (it is on the left)."""
        return unique((*self.output_ranks, *(r for b in self.bodies for r in coords(b)),
                       *(coords(self.where) if self.where is not None else ()),
                       *(self.reduction.ranks if self.reduction else ()),
                       *(r for o in self.outputs for i in o.indices for r in coords(i))))

    @property
    def ranks_of_right_side(self) -> tuple[str, ...]:
        """Ranks that can be reduced: of the bodies, the predicate, and the index tensors of the left side."""
        return unique((*(r for b in self.bodies for r in coords(b)),
                       *(coords(self.where) if self.where is not None else ()),
                       *(r for o in self.outputs for i in o.indices for r in coords(i) if r not in kept_coords(i))))

    @property
    def reduced_ranks(self) -> tuple[str, ...]:
        """Ranks of the iteration space that the output lacks."""
        kept = set(self.output_ranks)
        return tuple(r for r in self.ranks if r not in kept)

    @property
    def summed_ranks(self) -> tuple[str, ...]:
        """Reduced ranks that no name mentions: they are summed first, inside."""
        named = set(self.reduction.ranks) if self.reduction else set()
        return tuple(r for r in self.reduced_ranks if r not in named)

    @property
    def reads(self) -> tuple[Access, ...]:
        """Every access of the right side (bodies, their indices, the predicate and indices on the left), in order."""
        found: list[Access] = []
        for body in self.bodies:
            found += accesses(body)
        if self.where is not None:
            found += accesses(self.where)
        for out in self.outputs:
            for index in out.indices:
                found += accesses(index)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class UserOperator:
    """An operator that a cascade defines for itself, on values or on tuples.

    ``op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative`` has two operands of arity 2.
    Parameters appear in ``bodies`` as scalar accesses without indices.
    """

    name: str
    operands: tuple[tuple[str, ...], ...]
    bodies: tuple[Expr, ...]
    identity: tuple[float, ...] | None = None
    properties: frozenset[str] = frozenset()
    cost_class: str | None = None
    span: Span | None = _span()  # noqa: RUF009


@dataclass(frozen=True)
class Cascade:
    """A cascade: Einsums, seeds of iterative tensors, and declarations. Verified when built.

    ``inits`` are Einsums that define slot 0 (or the last slot of a reversed tensor) of an iterative tensor.
    Order of ``einsums`` has no meaning but is kept for printing. Extents may be fixed in the text (``extents``).

    Raises: NotationError where the cascade is not a valid one (see ``verify``).
    """

    einsums: tuple[Einsum, ...]
    inits: tuple[Einsum, ...] = ()
    declared_outputs: tuple[str, ...] = ()
    dtypes: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    operators: tuple[UserOperator, ...] = ()
    extents: tuple[tuple[str, int], ...] = ()
    name: str = field(default="cascade", compare=False)

    def __post_init__(self) -> None:
        from einsum_cascades.verify import verify
        verify(self)

    def __hash__(self) -> int:
        # Results are cached by cascade all over the suite, and hashing every expression anew would cost more than most.
        known = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.einsums, self.inits, self.declared_outputs, self.dtypes, self.devices, self.operators,
                          self.extents))
            object.__setattr__(self, "_hash", known)
        return int(known)

    def _repr_html_(self) -> str:
        from einsum_cascades.html import to_html
        return to_html(self)


def unique(names: Iterator[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names in order of first appearance."""
    return tuple(dict.fromkeys(names))


def children(expr: Expr) -> tuple[Expr, ...]:
    """Returns the direct subexpressions of an expression (indices of an access, arguments of a call)."""
    match expr:
        case Access(indices=indices):
            return indices
        case Call(args=args):
            return args
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Yields an expression and all its subexpressions, outermost first, left to right."""
    # A stack of its own: analyses walk expressions all the time, and generators inside generators are slow.
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Call):
            stack.extend(reversed(node.args))
        elif isinstance(node, Access):
            stack.extend(reversed(node.indices))


def accesses(expr: Expr) -> tuple[Access, ...]:
    """Returns every access in an expression, an access before the index tensors that it reads."""
    return tuple(e for e in walk(expr) if isinstance(e, Access))


def coords(expr: Expr) -> tuple[str, ...]:
    """Returns the ranks whose coordinates an expression mentions (also inside indices), in order."""
    return unique(e.rank for e in walk(expr) if isinstance(e, Coord))


def kept_coords(expr: Expr) -> tuple[str, ...]:
    """Returns the ranks that an index mentions itself, outside of the index tensors that it reads, in order."""
    match expr:
        case Coord(rank=rank):
            return (rank,)
        case Call(args=args):
            return unique(tuple(r for a in args for r in kept_coords(a)))
        case _:
            return ()


def conjuncts(where: Expr | None) -> tuple[Expr, ...]:
    """Returns a predicate as the conditions that must all hold."""
    match where:
        case None:
            return ()
        case Call(op="and", args=(left, right)):
            return (*conjuncts(left), *conjuncts(right))
        case Call(op="not", args=(Call(op="or", args=(left, right)),)):
            return (*conjuncts(Call("not", (left,))), *conjuncts(Call("not", (right,))))
        case Call(op="not", args=(Call(op="not", args=(inner,)),)):
            return conjuncts(inner)
    return (where,)


def transform(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Returns the expression with ``change`` applied to every node, innermost first."""
    match expr:
        case Access(indices=indices):
            expr = replace(expr, indices=tuple(transform(i, change) for i in indices))
        case Call(args=args):
            expr = replace(expr, args=tuple(transform(a, change) for a in args))
        case _:
            pass
    return change(expr)
