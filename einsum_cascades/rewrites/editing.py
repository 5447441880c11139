"""Editing of cascades: substitution in expressions, fresh names, and a cascade with some of its lines changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from einsum_cascades.errors import NotationError
from einsum_cascades.ir import (
    Access,
    Call,
    Cascade,
    Coord,
    Einsum,
    Expr,
    Extent,
    Reduction,
    coords,
    kept_coords,
    transform,
    walk,
)
from einsum_cascades.rewrites.algebra import flat
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import all_accesses, composites, extent_names, outputs, ranks


class Names:
    """Names that a cascade does not use yet; a name once given is taken."""

    def __init__(self, cascade: Cascade) -> None:
        self.tensors = {a.tensor for a in all_accesses(cascade)}
        self.ranks = {*ranks(cascade), *composites(cascade), *extent_names(cascade)}

    def tensor(self, wanted: str) -> str:
        """Returns the wanted name of a tensor, or it with the first number that makes it a new one."""
        return self._fresh(wanted, self.tensors)

    def rank(self, wanted: str) -> str:
        """Returns the wanted name of a rank, or it with the first number that makes it a new one."""
        return self._fresh(wanted, self.ranks)

    @staticmethod
    def _fresh(wanted: str, taken: set[str]) -> str:
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        return name


def coordinates(names: Iterable[str]) -> tuple[Expr, ...]:
    """Returns ranks as indices."""
    return tuple(Coord(r) for r in names)


def read(tensor: str, names: Iterable[str], **moved: Expr) -> Access:
    """Returns an access of a tensor at ranks; ``moved`` replaces the index of some of them."""
    return Access(tensor, tuple(moved.get(r, Coord(r)) for r in names))


def substitute(expr: Expr, table: Mapping[str, Expr]) -> Expr:
    """Returns an expression with coordinates replaced, all at once."""
    if not table or not any(r in table for r in coords(expr)):
        return expr
    return transform(expr, lambda node: table.get(node.rank, node) if isinstance(node, Coord) else node)


def replace_reads(expr: Expr, change: Callable[[Access], Expr]) -> Expr:
    """Returns an expression with every access replaced, inner ones first."""
    return transform(expr, lambda node: change(node) if isinstance(node, Access) else node)


def map_right_side(einsum: Einsum, change: Callable[[Expr], Expr]) -> Einsum:
    """Returns an Einsum with bodies and predicate changed."""
    return replace(einsum, bodies=tuple(change(b) for b in einsum.bodies),
                   where=change(einsum.where) if einsum.where is not None else None)


def map_reads(einsum: Einsum, change: Callable[[Access], Expr]) -> Einsum:
    """Returns an Einsum with every access of its right side and of index tensors on its left changed."""
    def left(out: Access) -> Access:
        return replace(out, indices=tuple(replace_reads(i, change) for i in out.indices))
    made = map_right_side(einsum, lambda e: replace_reads(e, change))
    return replace(made, outputs=tuple(left(o) for o in made.outputs))


def conjunction(parts: Iterable[Expr]) -> Expr | None:
    """Returns predicates joined by ``and``, each once; None where there are none."""
    made: Expr | None = None
    for part in dict.fromkeys(parts):
        made = part if made is None else Call("and", (made, part))
    return made


def bare_ranks(out: Access) -> tuple[str, ...] | None:
    """Returns the ranks of a left side or a read if every index is a rank of its own, else None."""
    names = tuple(i.rank for i in out.indices if isinstance(i, Coord))
    return names if len(names) == len(out.indices) and len(set(names)) == len(names) else None



def ends_with(line: Einsum, rank: str) -> bool:
    """Returns whether a value of a line is absent beyond a rank's end: each of its bodies reads along the rank."""
    return all(any(a.fill is None and Coord(rank) in a.indices for a in outermost(body)) for body in line.bodies)


def is_renameable(line: Einsum, rank: str) -> bool:
    """Returns whether a rank may have another name: every index that mentions it is the rank, which so keeps its
    extent."""
    return all(rank not in coords(index) or index == Coord(rank) for access in line.reads for index in access.indices)


def outermost(expr: Expr) -> Iterator[Access]:
    """Yields the accesses of an expression that stand in no other access."""
    match expr:
        case Access():
            yield expr
        case Call(args=args):
            for arg in args:
                yield from outermost(arg)
        case _:
            return


def edited(cascade: Cascade, einsums: Iterable[Einsum], inits: Iterable[Einsum] | None = None) -> Cascade:
    """Returns the cascade with other lines but the same outputs; lines that none of them needs are left out.

    Outputs that are now read are named by ``output``; declarations of what is gone are dropped.

    Raises: IllegalRewriteError where a tensor of a tuple would become an output.
    """
    wanted = outputs(cascade)
    lines, seeds = needed(tuple(einsums), tuple(cascade.inits if inits is None else inits), wanted)
    present = {a.tensor for e in (*lines, *seeds) for a in (*e.outputs, *e.reads)}
    named = {r for e in (*lines, *seeds) for r in e.ranks} | {
        node.rank for e in (*lines, *seeds) for expr in (*e.outputs, *e.bodies, *((e.where,) if e.where else ()))
        for node in walk(expr) if isinstance(node, Extent)}
    bare = replace_lines(cascade, lines, seeds, (), tuple(d for d in cascade.dtypes if d[0] in present),
                         tuple(d for d in cascade.devices if d in named), ())
    found = outputs(bare)
    extra = next((t for t in found if t not in wanted), None)
    if extra is not None:
        raise IllegalRewriteError(f"tensor {extra!r}: nothing reads it any more, got it in a tuple with tensors that "
                                  "are needed; it would become an output")
    declared = tuple(t for t in wanted if t not in found or t in cascade.declared_outputs)
    sizes = tuple(s for s in cascade.extents if s[0] in named or s[0] in composites(bare))
    return replace_lines(bare, lines, seeds, declared, bare.dtypes, bare.devices, sizes) if declared or sizes else bare


def replace_lines(cascade: Cascade, einsums: tuple[Einsum, ...], inits: tuple[Einsum, ...], declared: tuple[str, ...],
                  dtypes: tuple[tuple[str, str], ...], devices: tuple[str, ...],
                  extents: tuple[tuple[str, int], ...]) -> Cascade:
    """Returns a cascade of these lines and declarations with the operators and the name of another.

    Raises: IllegalRewriteError where that is no valid cascade.
    """
    try:
        return Cascade(einsums, inits, declared, dtypes, devices, cascade.operators, extents, cascade.name)
    except NotationError as error:
        # An expression that is too deep, or a rank that nothing else says the extent of.
        raise IllegalRewriteError(f"cascade: the rewrite would make it none, got: {error}") from error


def needed(einsums: tuple[Einsum, ...], inits: tuple[Einsum, ...],
           wanted: Iterable[str]) -> tuple[tuple[Einsum, ...], tuple[Einsum, ...]]:
    """Returns the lines that some tensors need, and their seeds, in order."""
    producer = {o.tensor: e for e in einsums for o in e.outputs}
    seeds: dict[str, list[Einsum]] = {}
    for seed in inits:
        for out in seed.outputs:
            seeds.setdefault(out.tensor, []).append(seed)
    reached: set[str] = set()
    stack = list(wanted)
    while stack:
        tensor = stack.pop()
        if tensor in reached or tensor not in producer:
            continue
        for line in (producer[tensor], *seeds.get(tensor, ())):
            reached.update(o.tensor for o in line.outputs)
            stack += [a.tensor for a in line.reads]
            # A tensor of a tuple brings the seeds of the others.
            stack += [a.tensor for o in line.outputs for seed in seeds.get(o.tensor, ()) for a in seed.reads]
    return (tuple(e for e in einsums if any(o.tensor in reached for o in e.outputs)),
            tuple(s for s in inits if any(o.tensor in reached for o in s.outputs)))



def keeps(out: Access, rank: str) -> bool:
    """Returns whether a left side keeps a rank."""
    return any(rank in kept_coords(i) for i in out.indices)


def reductions(cascade: Cascade) -> Iterator[tuple[str, str]]:
    """Yields every tensor with every rank that its line reduces."""
    for line in cascade.einsums:
        for rank in line.reduced_ranks:
            yield line.name, rank


def sum_head(body: Expr, gone: tuple[str, ...]) -> Reduction | None:
    """Returns the head of a sum over ranks: none where every term has all of them, else one that names them."""
    terms = [part for _, part in flat(body, "add", "sub", None)]
    return None if all(set(gone) <= set(coords(t)) for t in terms) else Reduction("sum", gone)
