"""The conditions under which a node's elements are present, as expressions of coordinates and extents.

Three kinds: coordinates that exist (``m < M``), indices that stay inside a tensor (``m1*M0 + m0 < M``), and predicates.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.lowering.nodes import Node, node_reads, split
from einsum_cascades.indices import affine, bounding_rank
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, accesses, coords
from einsum_cascades.structure import Structure

Conditions = tuple[Expr, ...]


def exists(rank: str) -> Expr:
    """Returns the condition that a coordinate is below its extent."""
    return Call("lt", (Coord(rank), Extent(rank.upper())))


def length(tensor: str, dimension: int, rank: str | None) -> Extent:
    """Returns the length of a dimension: its rank's extent, or a name that only this dimension has."""
    return Extent(rank.upper()) if rank is not None else Extent(f"@{tensor}@{dimension}")


def inside(access: Access, found: Structure) -> Conditions:
    """Returns the conditions that keep a read of a stored tensor inside of it, those of coordinates that exist included."""
    conditions: dict[Expr, None] = {}
    own = found.iterative.get(access.tensor)
    for d, (index, rank) in enumerate(zip(access.indices, found.dimensions[access.tensor], strict=True)):
        for name in coords(index):
            conditions[exists(name)] = None
        if isinstance(index, Coord) and access.fill is None or own is not None and own.dimension == d:
            continue
        limit = length(access.tensor, d, rank)
        if not accesses(index) and rank is not None and bounding_rank(index) == rank:
            continue
        form = affine(index)
        if form is not None and not form.coordinates and not form.constant and not form.extents:
            continue
        if not nonnegative(index) or accesses(index):
            conditions[Call("le", (Num(0.0), index))] = None
        conditions[Call("lt", (index, limit))] = None
    return tuple(conditions)


def nonnegative(expr: Expr) -> bool:
    """Returns whether an index is at least 0 wherever its coordinates are."""
    match expr:
        case Num(value=value):
            return value >= 0
        case Coord() | Extent():
            return True
        case Call(op="add" | "mul" | "floordiv" | "mod" | "min", args=args):
            return all(nonnegative(a) for a in args)
        case Call(op="max", args=args):
            return any(nonnegative(a) for a in args)
        case Call(op="clamp", args=(_, low, high)):
            return nonnegative(low) and nonnegative(high)
        case Call(op="sub", args=(Extent(), Num(value=value))):
            return value <= 1
    return False


def is_existence(condition: Expr) -> bool:
    """Returns whether a condition only says that a coordinate is below its extent."""
    match condition:
        case Call(op="lt", args=(Coord(rank=rank), Extent(name=name))):
            return name == rank.upper()
    return False


class Support:
    """The conditions of every node of a kernel."""

    def __init__(self, owner: Mapping[str, Node], found: Structure) -> None:
        self.owner, self.structure = owner, found
        self.known: dict[str, Conditions] = {}

    def ranks(self, expr: Expr) -> frozenset[str]:
        """Returns the ranks that an expression varies along: of its coordinates, and of the nodes that it reads."""
        found = set(coords(expr))
        for access in node_reads(expr):
            value, how = split(access.tensor)
            node = self.owner[value]
            found |= set(node.ranks)
            if node.carried is not None and how != "@last":
                found.add(node.carried)
        return frozenset(found)

    def body(self, node: Node) -> Conditions:
        """Returns the conditions of a node's points, before it reduces."""
        conditions: dict[Expr, None] = {}
        for expr in node.bodies:
            conditions |= dict.fromkeys(self.expression(expr))
        for condition in node.where:
            conditions[condition] = None
            conditions |= dict.fromkeys(self.expression(condition))
        return tuple(conditions)

    def expression(self, expr: Expr) -> Conditions:
        """Returns the conditions of an expression: those of everything that it reads."""
        conditions: dict[Expr, None] = {}
        for access in accesses(expr):
            if access in node_reads(access):
                value, how = split(access.tensor)
                conditions |= dict.fromkeys(self.value(value) if not how else ())
            else:
                conditions |= dict.fromkeys(c for c in inside(access, self.structure)
                                            if access.fill is None or is_existence(c))
        return tuple(conditions)

    def value(self, value: str) -> Conditions:
        """Returns the conditions of a node's elements, after it reduces; a slot of a state is always present."""
        node = self.owner[value]
        if node.carried is not None:
            return ()
        if value not in self.known:
            lost = set(node.lost) | ({node.scan} if node.scan is not None else set())
            self.known[value] = tuple(c for c in self.body(node) if not lost & self.ranks(c))
        return self.known[value]
