"""Brute force: every point of a cascade on tiny extents, with the elements that it reads and writes.

It shares no code with ``einsum_cascades.analysis``: it evaluates indices and predicates itself. What depends on data
counts as present, and a gather reads every element that its index may name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import ceil, floor, inf

from einsum_cascades.dependencies import Loop
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords
from einsum_cascades.structure import structure

Element = tuple[str, tuple[int, ...]]
Value = float | None


@dataclass(frozen=True)
class Point:
    """One point of an Einsum that is present: what it reads and writes. ``number`` is the Einsum's.

    A slot of a recurrence whose right side is absent is ``copied`` from the one before.
    """

    number: int
    at: Mapping[str, int]
    reads: tuple[Element, ...]
    writes: tuple[Element, ...]
    copied: bool = False


@dataclass
class Expansion:
    """A cascade on given extents; ``writers`` are the points that write an element."""

    cascade: Cascade
    extents: Mapping[str, int]
    einsums: tuple[Einsum, ...]
    points: list[Point] = field(default_factory=list)
    writers: dict[Element, list[int]] = field(default_factory=dict)


# --- expressions: None stands for a value that depends on data ---

def value_of(expr: Expr, at: Mapping[str, int], extents: Mapping[str, int]) -> Value:
    """Returns an index or predicate at a point; None where it reads a tensor."""
    match expr:
        case Num(value=value):
            return value
        case Coord(rank=rank):
            return at[rank]
        case Extent():
            return extents[expr.rank]
        case Access():
            return None
        case Call(op=op, args=args):
            return _applied(op, [value_of(a, at, extents) for a in args])
    raise TypeError(expr)


def _applied(op: str, args: list[Value]) -> Value:
    if op == "and":
        return 0 if 0 in args else None if None in args else 1
    if op == "or":
        return 1 if any(a is not None and a != 0 for a in args) else None if None in args else 0
    known = [a for a in args if a is not None]
    if len(known) < len(args):
        return None
    a, b, c = (*known, 0, 0, 0)[:3]
    match op:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "neg":
            return -a
        case "floordiv":
            return a // b if b else 0
        case "mod":
            return a % b if b else 0
        case "div":
            return a / b if b else 0
        case "max":
            return max(a, b)
        case "min":
            return min(a, b)
        case "clamp":
            return min(max(a, b), c)
        case "floor":
            return floor(a)
        case "ceil":
            return ceil(a)
        case "pow":
            return float(a ** b)
        case "abs":
            return abs(a)
        case "where":
            return b if a else c
        case "lt":
            return a < b
        case "le":
            return a <= b
        case "gt":
            return a > b
        case "ge":
            return a >= b
        case "eq":
            return a == b
        case "ne":
            return a != b
        case "not":
            return not a
    raise ValueError(f"the oracle does not know {op}")


def parts_of(where: Expr | None) -> list[Expr]:
    """Returns a predicate's parts that must all hold."""
    if where is None:
        return []
    if isinstance(where, Call) and where.op == "and":
        return parts_of(where.args[0]) + parts_of(where.args[1])
    return [where]


# --- every point ---

def expand(cascade: Cascade, extents: Mapping[str, int], gathered: str | None = None) -> Expansion:
    """Returns all points that are present.

    A gather reads every element that its index may name. Along ``gathered``, an Einsum that gathers in the dimension
    of that name, and does not iterate it, gets a point for each of its coordinates.
    """
    made = Expansion(cascade, extents, (*cascade.inits, *cascade.einsums))
    found = structure(cascade)
    defined = {out.tensor for e in cascade.einsums for out in e.outputs}
    present: set[Element] = set()
    numbers = {e: i for i, e in enumerate(made.einsums)}
    for einsum in _in_order(found.schedule):
        _expand_one(made, numbers[einsum], gathered, defined, present)
    return made


def _in_order(steps: Sequence[Einsum | Loop]) -> Iterator[Einsum]:
    for step in steps:
        if isinstance(step, Loop):
            yield from _in_order(step.body)
        else:
            yield step


def _expand_one(made: Expansion, number: int, gathered: str | None, defined: set[str], present: set[Element]) -> None:
    einsum, extents = made.einsums[number], made.extents
    found = structure(made.cascade)
    ranks = list(einsum.ranks)
    virtual = gathered is not None and gathered not in ranks and any(
        gathered == name for access in einsum.reads
        for name, index in zip(found.dimensions[access.tensor], access.indices, strict=True) if accesses(index))
    if virtual and gathered is not None:
        ranks.append(gathered)
    kept = set(einsum.output_ranks)
    reduces = bool(einsum.reduced_ranks)
    iterative = any(out.tensor in found.iterative for out in einsum.outputs)
    values = [a for body in einsum.bodies for a in accesses(body)]
    for at_values in product(*(range(extents[r]) for r in ranks)):
        at = dict(zip(ranks, at_values, strict=True))
        failed = [c for c in parts_of(einsum.where) if value_of(c, at, extents) == 0]
        writes = tuple(_placed(made, out, at, None, einsum) for out in einsum.outputs)
        absent = bool(failed) or any(_is_absent(made, a, at, defined, present) for a in values)
        written = tuple(e for elements in writes for e in elements)
        if absent and iterative and number >= len(made.cascade.inits):
            before = tuple(e for o in einsum.outputs for e in _earlier(made, o, at))
            _add(made, Point(number, at, before, written, True))
        elif not absent:
            reads = tuple(dict.fromkeys(e for a in einsum.reads for e in _placed(made, a, at, gathered, einsum)))
            _add(made, Point(number, at, reads, written))
        # A reduction over nothing still gives its identity, unless a predicate on a kept rank fails.
        if not absent or iterative or reduces and not any(set(coords(c)) <= kept for c in failed):
            present.update(written)


def _add(made: Expansion, point: Point) -> None:
    for element in point.writes:
        made.writers.setdefault(element, []).append(len(made.points))
    made.points.append(point)


def _earlier(made: Expansion, out: Access, at: Mapping[str, int]) -> Iterator[Element]:
    """The slot before the one that a point writes."""
    own = structure(made.cascade).iterative.get(out.tensor)
    for tensor, index in _placed(made, out, at, None, None):
        if own is not None:
            d = own.dimension
            yield tensor, (*index[:d], index[d] - own.step, *index[d + 1:])


def _placed(made: Expansion, access: Access, at: Mapping[str, int], gathered: str | None,
              einsum: Einsum | None) -> list[Element]:
    found = structure(made.cascade)
    choices: list[Sequence[int]] = []
    for name, index in zip(found.dimensions[access.tensor], access.indices, strict=True):
        if accesses(index):
            if name == gathered and name is not None and einsum is not None and name not in einsum.ranks:
                choices.append([at[name]])
            else:
                choices.append(range(made.extents[name] if name is not None else 6))
            continue
        value = value_of(index, at, made.extents)
        assert value is not None
        choices.append([int(value)])
    return [(access.tensor, index) for index in product(*choices)]


def _is_absent(made: Expansion, access: Access, at: Mapping[str, int], defined: set[str],
               present: set[Element]) -> bool:
    if access.fill is not None or any(accesses(i) for i in access.indices):
        return False
    (tensor, index), = _placed(made, access, at, None, None)
    found = structure(made.cascade)
    if tensor in defined:
        return tensor not in found.iterative and (tensor, index) not in present
    return any(not 0 <= i < (made.extents[name] if name is not None else inf)
               for name, i in zip(found.dimensions[tensor], index, strict=True))


def elements_of(made: Expansion, access: Access, at: Mapping[str, int]) -> list[Element]:
    """Returns the elements that an access may name at a point."""
    return _placed(made, access, at, None, None)
