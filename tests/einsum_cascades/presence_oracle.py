"""Brute force for what is present: every point of every Einsum tried, absence carried from tensor to tensor.

It shares no code with ``einsum_cascades.analysis``. Absence is kept as *parts*, as rule 3 wants it: a reduction skips
what is absent for a reason that depends on a rank that it reduces, and is itself absent for any other reason. What
data decides counts as present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from einsum_cascades.dependencies import Loop
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, Expr, accesses, coords
from einsum_cascades.structure import structure
from tests.einsum_cascades.point_oracle import parts_of, value_of

At = Mapping[str, int]


@dataclass(frozen=True)
class Part:
    """A reason for absence: it depends on ``ranks``, and ``holds`` where nothing is absent for it."""

    ranks: frozenset[str]
    holds: Callable[[At], bool]


@dataclass(frozen=True)
class Points:
    """The points of one Einsum: ``ranks`` are those that it iterates, without those that a populate makes."""

    einsum: Einsum
    seed: bool
    ranks: tuple[str, ...]
    parts: tuple[Part, ...]
    extents: Mapping[str, int]

    def over(self, ranks: tuple[str, ...]) -> Iterator[dict[str, int]]:
        """Yields the points over some of the ranks that are present as far as these ranks decide."""
        parts = [p for p in self.parts if p.ranks <= set(ranks)]
        for values in product(*(range(self.extents[r]) for r in ranks)):
            at = dict(zip(ranks, values, strict=True))
            if all(p.holds(at) for p in parts):
                yield at


def points(cascade: Cascade, extents: Mapping[str, int]) -> list[Points]:
    """Returns the points of every seed and Einsum, in an order of evaluation."""
    found = structure(cascade)
    absent: dict[str, list[tuple[tuple[int, ...], set[tuple[int, ...]]]]] = {}
    result = []

    def steps(of: tuple[Einsum | Loop, ...]) -> Iterator[Einsum]:
        for step in of:
            if isinstance(step, Loop):
                yield from steps(step.body)
            else:
                yield step

    for einsum in steps(found.schedule):
        made = set(einsum.reduction.into) if einsum.reduction is not None else set()
        parts = [Part(frozenset(coords(c)), _static(c, extents)) for c in parts_of(einsum.where) if not accesses(c)]
        for access in (a for body in einsum.bodies for a in accesses(body)):
            if access.fill is None:
                parts += _inside(access, cascade, extents)
                for dims, elements in absent.get(access.tensor, ()):
                    parts += _support(access, dims, elements, extents)
        ranks = tuple(r for r in einsum.ranks if r not in made)
        own = Points(einsum, einsum in cascade.inits, ranks, tuple(parts), extents)
        result.append(own)
        for out in einsum.outputs:
            bare = {i.rank: d for d, i in enumerate(out.indices) if isinstance(i, Coord)}
            if out.tensor in found.iterative or len(bare) < len(out.indices):
                continue
            for part in parts:
                if part.ranks <= set(bare):
                    names = sorted(part.ranks)
                    lost = {v for v in product(*(range(extents[r]) for r in names))
                            if not part.holds(dict(zip(names, v, strict=True)))}
                    absent.setdefault(out.tensor, []).append((tuple(bare[r] for r in names), lost))
    return result


def _static(condition: Expr, extents: Mapping[str, int]) -> Callable[[At], bool]:
    return lambda at: bool(value_of(condition, at, extents))


def _inside(access: Access, cascade: Cascade, extents: Mapping[str, int]) -> Iterator[Part]:
    found = structure(cascade)
    own = found.iterative.get(access.tensor)
    for d, (name, index) in enumerate(zip(found.dimensions[access.tensor], access.indices, strict=True)):
        if name is not None and not accesses(index) and not (own is not None and own.dimension == d):
            def holds(at: At, index: Expr = index, name: str = name) -> bool:
                value = value_of(index, at, extents)
                return value is not None and 0 <= value < extents[name]
            yield Part(frozenset(coords(index)), holds)


def _support(access: Access, dims: tuple[int, ...], elements: set[tuple[int, ...]],
             extents: Mapping[str, int]) -> Iterator[Part]:
    indices = [access.indices[d] for d in dims]
    if not any(accesses(i) for i in indices):
        yield Part(frozenset(r for i in indices for r in coords(i)),
                   lambda at: tuple(value_of(i, at, extents) for i in indices) not in elements)

