"""A cascade, or the part of it that one kernel computes, as nodes whose reads of each other are at their own coordinates.

An Einsum that is read at another place than its own coordinates (``S[p,m1,M0-1]``, ``KW[p, w1*W0 + w0, e]``, ``DA[i1,k0]``)
is instantiated again at that place: its ranks are replaced by the index expressions. What is left reads stored tensors at
any index, and other nodes as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from autotune.errors import LoweringError, UnstoredError
from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.indices import affine, bounding_rank, offset
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, coords, unique
from einsum_cascades.operators import POPULATES, reduction_operator
from einsum_cascades.printing import expr_text
from einsum_cascades.structure import structure

PREVIOUS, LAST = "@previous", "@last"
"""Suffixes of reads of a state: the slot before this coordinate's, and the one after the last coordinate."""


@dataclass(frozen=True)
class Node:
    """One Einsum at one place. A read of a node in an expression is an access without indices.

    ``outputs`` names its values (several for an operator on tuples). ``reduction`` is the operator over ``reduced`` ("" for
    none); ``inner`` are ranks that are summed first. ``scan`` is the rank along which a reduction keeps its prefixes,
    ``exclusive`` and ``reverse`` say which. ``carried`` is the rank of a state, whose seed is ``seed`` and whose loop runs
    backwards where ``step`` is -1.
    """

    outputs: tuple[str, ...]
    ranks: tuple[str, ...]
    bodies: tuple[Expr, ...]
    reduction: str = ""
    reduced: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    where: tuple[Expr, ...] = ()
    scan: str | None = None
    carried: str | None = None
    step: int = 1
    seed: str | None = None
    tensor: str = ""

    @property
    def name(self) -> str:
        """The name of its first value."""
        return self.outputs[0]

    @property
    def lost(self) -> tuple[str, ...]:
        """Ranks that it reduces."""
        return (*self.reduced, *self.inner)

    @property
    def space(self) -> frozenset[str]:
        """Every rank that it iterates."""
        return frozenset((*self.ranks, *self.lost, *((self.carried,) if self.carried else ())))

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Names of the nodes that it reads, each with how: "" as it is, or a suffix."""
        found: dict[tuple[str, str], None] = {}
        for expr in (*self.bodies, *self.where):
            for access in node_reads(expr):
                found[split(access.tensor)] = None
        return tuple(found)


@dataclass(frozen=True)
class Stored:
    """A node's value that goes to memory: tensor ``tensor`` at ``indices``; ``slots`` where every slot of a state does."""

    tensor: str
    value: str
    indices: tuple[Expr, ...]
    slots: bool = False


@dataclass(frozen=True)
class NodeGraph:
    """The nodes of one kernel in an order of evaluation, what it stores, and the extents of renamed ranks."""

    nodes: tuple[Node, ...]
    stored: tuple[Stored, ...]
    copies: Mapping[str, str]
    by_value: Mapping[str, Node] = field(default_factory=dict)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Every rank of any node."""
        return unique(tuple(r for n in self.nodes for r in (*n.ranks, *n.lost, *((n.carried,) if n.carried else ()))))


def split(name: str) -> tuple[str, str]:
    """Returns the node's value of a read, and how it is read."""
    value, at, how = name.partition("@")
    return value, at + how


def node_reads(expr: Expr) -> tuple[Access, ...]:
    """Returns the reads of nodes in an expression."""
    match expr:
        case Access(tensor=name, indices=indices):
            own = (expr,) if is_node(name) else ()
            return (*own, *(a for i in indices for a in node_reads(i)))
        case Call(args=args):
            return tuple(a for arg in args for a in node_reads(arg))
    return ()


def is_node(name: str) -> bool:
    """Returns whether an access reads a node: their names begin with a dot, which no tensor's does."""
    return name.startswith(".")


def nodes_of(cascade: Cascade, writes: Collection[str], kept: Collection[str], joinable: Collection[str] = ()) -> NodeGraph:
    """Returns the nodes that compute the tensors ``writes`` from those that are ``kept`` in memory (inputs among them).

    ``joinable`` are ranks under whose name a reduction may go through another rank that is as long.

    Raises: LoweringError for what no kernel can do: scatters, populates, reads of an iterative tensor's earlier slots.
    """
    return _Instances(cascade, frozenset(kept) - frozenset(writes), frozenset(joinable)).graph(tuple(writes))


_Substitution = dict[str, Expr]


class _Instances:
    def __init__(self, cascade: Cascade, kept: frozenset[str], joinable: frozenset[str]) -> None:
        self.cascade, self.kept, self.joinable = cascade, kept, joinable
        self.structure = structure(cascade)
        self.names: dict[tuple[str, tuple[tuple[str, Expr], ...]], tuple[str, ...]] = {}
        self.used: set[str] = set()
        self.copies: dict[str, str] = {}
        self.made: dict[str, Node] = {}
        self.within: list[str] = []

    def graph(self, writes: tuple[str, ...]) -> NodeGraph:
        stored = tuple(s for tensor in writes for s in self.store(tensor))
        ordered = _ordered(self.made)
        return NodeGraph(ordered, stored, dict(self.copies), {v: n for n in ordered for v in n.outputs})

    def fail(self, what: str, got: str, remedy: str) -> LoweringError:
        return LoweringError(f"{self.cascade.name}: {what}, got {got}; {remedy}")

    def unstored(self, tensor: str, what: str, got: str) -> UnstoredError:
        return UnstoredError(f"{self.cascade.name}: tensor {tensor!r}: {what}, got {got}; store {tensor!r} between two kernels", tensor)

    # --- what goes to memory ---

    def store(self, tensor: str) -> tuple[Stored, ...]:
        einsum = self.structure.producers[tensor]
        out = next(o for o in einsum.outputs if o.tensor == tensor)
        own = self.structure.iterative.get(tensor)
        if own is not None:
            (update,) = self.instance(einsum, {})[:1]
            node = self.made[update]
            value = node.outputs[[o.tensor for o in einsum.outputs].index(tensor)]
            first: Expr = Num(0.0) if own.step > 0 else Extent(own.rank.upper())
            indices = list(out.indices)
            found = [Stored(tensor, value, tuple(indices), True)]
            if node.seed is not None:
                indices[own.dimension] = first
                found.insert(0, Stored(tensor, node.seed, tuple(indices)))
            return tuple(found)
        ranks = tuple(i.rank for i in out.indices if isinstance(i, Coord))
        if len(ranks) != len(out.indices) or len(set(ranks)) != len(ranks):
            raise self.fail(f"tensor {tensor!r}: it is written at other places than its own coordinates", f"[{', '.join(map(expr_text, out.indices))}]",
                            "a scatter has no kernel; compute it outside and give it as an input")
        sub = self.digits(einsum)
        values = self.instance(einsum, sub)
        value = values[[o.tensor for o in einsum.outputs].index(tensor)]
        return (Stored(tensor, value, tuple(sub.get(r, Coord(r)) for r in ranks)),)

    def digits(self, einsum: Einsum) -> _Substitution:
        """Ranks that the body reads as digits (``X[i//I0, i % I0]``): they are iterated as the digits' ranks."""
        sub: _Substitution = {}
        if einsum.reduction is not None:
            return sub
        for access in einsum.reads:
            names = self.structure.dimensions.get(access.tensor, ())
            if access.tensor in self.kept:
                continue
            for index, outer in zip(access.indices, names, strict=True):
                match index:
                    case Call(op="floordiv", args=(Coord(rank=rank), Extent() as size)) if outer is not None:
                        inner = next((name for i, name in zip(access.indices, names, strict=True)
                                      if i == Call("mod", (Coord(rank), size))), None)
                        if inner is not None and inner == size.rank and rank in einsum.output_ranks:
                            sub[rank] = Call("add", (Call("mul", (Coord(outer), Extent(size.name))), Coord(inner)))
        return sub

    # --- instances ---

    def read(self, access: Access, sub: _Substitution) -> Expr:
        """An access under a substitution: of a stored tensor as it is, of another as the instance that it needs."""
        indices = tuple(self.placed(i, sub) for i in access.indices)
        tensor = access.tensor
        if tensor in self.kept or tensor in self.structure.inputs:
            return Access(tensor, indices, access.fill)
        einsum = self.structure.producers[tensor]
        number = [o.tensor for o in einsum.outputs].index(tensor)
        own = self.structure.iterative.get(tensor)
        if own is not None:
            return self.slot(access, indices, einsum, number)
        if access.fill is not None:
            raise self.unstored(tensor, "it is read beyond its coordinates with a fill, but is not in memory", expr_text(access))
        out = einsum.outputs[number]
        inner: _Substitution = {}
        bounds: list[Expr] = []
        for d, (left, index) in enumerate(zip(out.indices, indices, strict=True)):
            if not isinstance(left, Coord):
                raise self.fail(f"tensor {tensor!r}: it is written at other places than its own coordinates", expr_text(left),
                                "a scatter has no kernel; compute it outside and give it as an input")
            if left.rank in inner:
                raise self.fail(f"tensor {tensor!r}: it is written along a diagonal", expr_text(out), "write every element")
            inner[left.rank] = index
            name = self.structure.dimensions[tensor][d]
            if not isinstance(index, Coord) and name is not None:
                bounds += _inside(index, name)
        return Access(self.instance(einsum, inner, tuple(bounds))[number], ())

    def slot(self, access: Access, indices: tuple[Expr, ...], einsum: Einsum, number: int) -> Expr:
        tensor = access.tensor
        own = self.structure.iterative[tensor]
        index = indices[own.dimension]
        place, form = offset(index), affine(index)
        inner = {left.rank: i for d, (left, i) in enumerate(zip(einsum.outputs[number].indices, indices, strict=True))
                 if d != own.dimension and isinstance(left, Coord)}
        final = Extent(own.rank.upper()) if own.step > 0 else Num(0.0)
        start = Num(0.0) if own.step > 0 else Extent(own.rank.upper())
        if index == final:
            return Access(self.instance(einsum, inner)[number] + LAST, ())
        if form is not None and form == affine(start):
            return Access(self.seed(tensor, inner), ())
        if place is not None and not place.extents and place.constant in (0, 1):
            inner[own.rank] = Coord(place.rank)
            value = self.instance(einsum, inner)[number]
            later = (place.constant == 1) == (own.step > 0)
            return Access(value if later else value + PREVIOUS, ())
        raise self.unstored(tensor, f"a state keeps its last slot alone, not slot {expr_text(index)}", expr_text(access))

    def seed(self, tensor: str, sub: _Substitution) -> str:
        own = self.structure.iterative[tensor]
        seeds = self.structure.seeds.get(tensor, ())
        if len(seeds) != 1 or len(seeds[0].outputs) != 1:
            raise self.fail(f"tensor {tensor!r}: a state has one seed", f"{len(seeds)} seeds", "give one 'init' line")
        seed = seeds[0]
        inner: _Substitution = {}
        target = self.structure.producers[tensor]
        left = next(o for o in target.outputs if o.tensor == tensor)
        for d, (mine, its) in enumerate(zip(seed.output.indices, left.indices, strict=True)):
            if d == own.dimension:
                continue
            if not isinstance(mine, Coord) or not isinstance(its, Coord):
                raise self.fail(f"tensor {tensor!r}: its seed is of whole slots", expr_text(seed.output), "seed all coordinates")
            inner[mine.rank] = sub.get(its.rank, its)
        return self.instance(seed, inner)[0]

    def instance(self, einsum: Einsum, sub: _Substitution, bounds: tuple[Expr, ...] = ()) -> tuple[str, ...]:
        """The values of an Einsum whose ranks are replaced; ``bounds`` keep the places inside of it."""
        own = self.structure.iterative.get(einsum.name) if einsum not in self.cascade.inits else None
        kept = einsum.output_ranks
        sub = {r: e for r, e in sub.items() if r in kept and e != Coord(r)}
        key = (f"{einsum.name}{'@seed' if einsum in self.cascade.inits else ''}", tuple(sorted(sub.items(), key=lambda x: x[0])))
        if key in self.names:
            return self.names[key]
        head = einsum.reduction
        if head is not None and head.op in POPULATES:
            raise self.fail(f"tensor {einsum.name!r}: {head.op} makes coordinates by sorting, which no kernel does",
                            f"{head.op}[{', '.join(head.ranks)}; {', '.join(head.into)}]",
                            f"compute {einsum.name!r} outside and give it as an input")
        if any(name == key[0] for name in self.within):
            raise self.fail(f"tensor {einsum.name!r}: it reads itself at other coordinates of an earlier slot, which other programs write",
                            expr_text(next(a for a in einsum.reads if a.tensor in {o.tensor for o in einsum.outputs})) if einsum.name in
                            {a.tensor for a in einsum.reads} else key[0], "no kernel waits for others at each step: use another algorithm")
        self.within.append(key[0])
        names = self.names[key] = tuple(self.fresh(o.tensor if not key[0].endswith("@seed") else o.tensor + "_0")
                                        for o in einsum.outputs)
        carried: str | None = None
        if own is not None:
            if any(o.tensor not in self.structure.iterative for o in einsum.outputs):
                raise self.fail(f"tensor {einsum.name!r}: all tensors of an Einsum over tuples are states, or none",
                                ", ".join(o.tensor for o in einsum.outputs), "split it")
            at = sub.get(own.rank, Coord(own.rank))
            if not isinstance(at, Coord):
                raise self.fail(f"tensor {einsum.name!r}: a state goes along a rank", expr_text(at), "store it between two kernels")
            carried = at.rank
        outside = {r for e in sub.values() for r in coords(e)}
        reduced = tuple(r for r in einsum.reduced_ranks)
        scan = self.prefix(einsum, sub, outside) if own is None else None
        full = dict(sub)
        if scan is not None:
            full[scan[0]] = Coord(scan[1])
        else:
            full |= self.renamed(einsum, reduced, outside | {r for r in kept if r not in sub})
        conditions = tuple(c for c in conjuncts(einsum.where) if scan is None or c is not scan[2])
        bodies = tuple(self.placed(b, full) for b in einsum.bodies)
        where = (*bounds, *(self.placed(c, full) for c in conditions))
        ranks = unique(tuple(r for k in kept for r in coords(sub.get(k, Coord(k)))))
        named = head.ranks if head is not None else ()

        def place(rank: str) -> str:
            at = full.get(rank, Coord(rank))
            assert isinstance(at, Coord)
            return at.rank

        inner = tuple(place(r) for r in reduced if r not in named)
        over = tuple(place(r) for r in reduced if r in named)
        op = head.op if head is not None else ""
        if scan is not None:
            inner, over = (), ()
        if not op and inner:
            op, over, inner = "sum", inner, ()
        if op in ("sum", "max", "min", "prod") and inner and op == "sum":
            over, inner = (*over, *inner), ()
        if op and reduction_operator(op, self.cascade) is None:
            raise self.fail(f"tensor {einsum.name!r}: it has no reduction {op!r}", op, "use a reduction of the table")
        if op in ("mean", "count", "var"):
            self.parts(names, ranks, bodies, op, (*over, *inner), where, einsum.name)
            self.within.pop()
            return names
        self.made[names[0]] = Node(names, tuple(r for r in ranks if r != carried), bodies, op, over, inner, where,
                                   scan[1] if scan else None, carried, own.step if own else 1,
                                   self.seed(einsum.name, sub) if own is not None else None, einsum.name)
        self.within.pop()
        if own is not None and len(einsum.outputs) > 1:
            raise self.fail(f"tensor {einsum.name!r}: a state of an Einsum over tuples", "several", "write one Einsum each")
        return names

    def parts(self, names: tuple[str, ...], ranks: tuple[str, ...], bodies: tuple[Expr, ...], op: str, lost: tuple[str, ...],
              where: tuple[Expr, ...], tensor: str) -> None:
        """A mean as a sum over a count of present elements, a variance as the mean of squared deviations."""
        def node(stem: str, body: Expr, reduction: str) -> Expr:
            name = self.fresh(stem)
            over = lost if reduction else ()
            self.made[name] = Node((name,), ranks, (body,), reduction, over, (), where if reduction else (), tensor=tensor)
            return Access(name, ())

        count = node(f"{tensor}_count", Call("where", (Num(1.0), Num(1.0), bodies[0])), "sum")
        if op == "count":
            found: Expr = count
        else:
            found = node(f"{tensor}_mean", Call("div", (node(f"{tensor}_sum", bodies[0], "sum"), count)), "")
            if op == "var":
                away = Call("sub", (bodies[0], found))
                found = Call("div", (node(f"{tensor}_squares", Call("mul", (away, away)), "sum"), count))
        self.made[names[0]] = Node(names, ranks, (found,), tensor=tensor)

    def placed(self, expr: Expr, sub: _Substitution) -> Expr:
        match expr:
            case Access():
                return self.read(expr, sub)
            case Call(op=op, args=args):
                return simplified(Call(op, tuple(self.placed(a, sub) for a in args)))
            case Coord(rank=rank):
                return sub.get(rank, Coord(rank))
            case Extent(name=name):
                return Extent(name)
            case Num(value=value):
                return Num(value)

    def renamed(self, einsum: Einsum, reduced: tuple[str, ...], taken: set[str]) -> _Substitution:
        """New names of reduced ranks: another where the name is taken, that of a rank as long where one joins."""
        table: _Substitution = {}
        for rank in reduced:
            target = rank
            same = {name for access in einsum.reads if access.tensor not in self.structure.inputs
                    for name, index in zip(self.structure.dimensions[access.tensor], access.indices, strict=True)
                    if index == Coord(rank) and name is not None}
            if len(same) == 1 and not same & (taken | set(reduced)) and same <= self.joinable:
                target = same.pop()
            number = 2
            while target in taken:
                target, number = f"{rank}_{number}", number + 1
                self.copies[target] = self.copies.get(rank, rank)
            if target != rank:
                table[rank] = Coord(target)
            taken = taken | {target}
        return table

    def prefix(self, einsum: Einsum, sub: _Substitution, outside: set[str]) -> tuple[str, str, Expr] | None:
        """The reduced rank k, the kept rank i and the condition of a reduction over ``k <= i``, or None."""
        if len(einsum.reduced_ranks) != 1 or einsum.summed_ranks and einsum.reduction is not None:
            return None
        k = einsum.reduced_ranks[0]
        head = reduction_operator(einsum.reduction.op if einsum.reduction else "sum", self.cascade)
        if head is None or head.combine is None or not head.associative:
            return None
        for condition in conjuncts(einsum.where):
            match condition:
                case Call(op="le", args=(Coord(rank=a), Coord(rank=b))) | Call(op="ge", args=(Coord(rank=b), Coord(rank=a))):
                    pass
                case _:
                    continue
            if a != k or b not in einsum.output_ranks or not isinstance(sub.get(b, Coord(b)), Coord):
                continue
            others = [*einsum.bodies, *(c for c in conjuncts(einsum.where) if c is not condition)]
            lengths = {name for access in einsum.reads for name, index in zip(
                self.structure.dimensions[access.tensor], access.indices, strict=True) if index == Coord(k)}
            at = sub.get(b, Coord(b))
            assert isinstance(at, Coord)
            if any(b in coords(e) for e in others) or lengths != {b}:
                continue
            return k, at.rank, condition
        return None

    def fresh(self, tensor: str) -> str:
        name, number = f".{tensor}", 2
        while name in self.used:
            name, number = f".{tensor}_{number}", number + 1
        self.used.add(name)
        return name


def simplified(expr: Call) -> Expr:
    """Returns an index with digits of composites taken apart: ``(i1*I0 + i0)//I0`` is i1, ``% I0`` is i0."""
    match expr:
        case Call(op="floordiv" | "mod" as op, args=(Call(op="add", args=(Call(op="mul", args=(outer, Extent(name=a))),
                                                                      Coord(rank=inner))), Extent(name=b))):
            if a == b and b.lower() == inner:
                return outer if op == "floordiv" else Coord(inner)
    return expr


def _inside(index: Expr, rank: str) -> list[Expr]:
    if bounding_rank(index) == rank:
        return []
    form = affine(index)
    if form is not None and not form.coordinates and form.extents == ((rank, 1),) and form.constant == -1:
        return []
    match index:
        case Num(value=value) if value == 0:
            return []
        case Call(op="floordiv" | "mod", args=(Coord(), Extent())):
            # Digits of a coordinate that exists: the outer one is below its extent by how extents follow.
            return []
    return [Call("le", (Num(0.0), index)), Call("lt", (index, Extent(rank.upper())))]


def _ordered(made: Mapping[str, Node]) -> tuple[Node, ...]:
    """The nodes in an order in which each follows what it reads, but for earlier slots."""
    owner = {v: n for n in made.values() for v in n.outputs}
    done: dict[str, Node] = {}
    for root in made.values():
        stack = [(root, iter(_before(root, owner)))]
        path = {root.name}
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n.name not in done and n.name not in path), None)
            if following is None:
                stack.pop()
                done.setdefault(node.name, node)
            else:
                path.add(following.name)
                stack.append((following, iter(_before(following, owner))))
    return tuple(done.values())


def _before(node: Node, owner: Mapping[str, Node]) -> list[Node]:
    found = [owner[value] for value, how in node.reads if how != PREVIOUS]
    # A state that is read at its earlier slot alone is a node of the kernel too; its seed comes before it.
    if node.seed is not None:
        found.append(owner[node.seed])
    return found
