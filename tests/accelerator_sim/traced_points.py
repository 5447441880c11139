"""The points of an Einsum in a nest, step by step: which exist, which predicates leave, and what each touches.

Part of the brute-force trace. An Einsum that is made again in tiles runs, in every round of the loops outside of its tile, through
the coordinates that its readers touch there: these are found by walking the readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from accelerator_sim.design import Design
from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Num, accesses, conjuncts, coords
from einsum_cascades.structure import structure
from tests.accelerator_sim.traced_ranks import Ranks

Element = tuple[object, ...]
"""A tensor's name, its instance, its indices."""

Lane = tuple[int, ...]
"""Where a PE stands along the parts that are spread over its unit."""

Point = Mapping[str, int]
"""A coordinate for each of the cascade's ranks that an Einsum has, and for each instance."""


@dataclass(frozen=True)
class Step:
    """A step: where the loops stand, and the PEs with a point there. ``held`` says that a predicate leaves one of them,
    ``present`` how many are left, windows that leave their tensors taken out; ``anew`` is the round in which it began anew."""

    chunk: Mapping[str, int]
    pes: list[tuple[Lane, Point]]
    held: bool
    present: int
    anew: tuple[int, ...]


@dataclass(frozen=True)
class Ties:
    """Whether an Einsum skips steps without points, and whether it is made again in tiles."""

    skips: bool
    again: bool


class Points:
    """The points of all Einsums of one nest; ``sides`` are those of each Einsum's unit."""

    def __init__(self, cascade: Cascade, design: Design, number: int, ranks: Ranks, sides: Mapping[str, Mapping[str, int]]) -> None:
        self.cascade, self.design, self.ranks, self.sides = cascade, design, ranks, sides
        self.nest, self.binding = design.nest(number), design.bindings[number]
        self.einsums = {e.name: e for e in cascade.einsums}
        self.instances = design.mapping.instances
        self.shared = (*(i for i in self.instances if i not in self.nest.loops), *self.nest.loops)
        self.known: dict[str, list[Step]] = {}
        self.remade: dict[str, _Remade] = {}
        self.left: dict[str, list[tuple[Expr, Mapping[str, Expr]]]] = {}
        self.structure = structure(cascade)

    def steps(self, name: str) -> list[Step]:
        """Each step of an Einsum, in order."""
        if name not in self.known:
            made = self._again(name) if name in self.nest.recompute else self._once(name)
            self.known[name] = list(made)
        return self.known[name]

    def loops(self, name: str) -> tuple[str, ...]:
        """All loops of an Einsum, outer to inner."""
        if name not in self.nest.recompute:
            return self.design.mapping.loops_of(self.nest, self.einsums[name])
        return self._remade(name).loops

    def spread(self, name: str) -> dict[str, int]:
        """The PEs along the parts that an Einsum spreads over its unit."""
        names = self._remade(name).names if name in self.nest.recompute else {}
        loops = self.loops(name)
        table = {names.get(part, part): self.sides[name][side] for part, side in self.binding.spread[name].items()}
        return {part: pes for part, pes in table.items() if part in loops}

    def element(self, access: Access, point: Point) -> Element | None:
        """What an access touches at a point; None outside of the tensor."""
        found = self.structure
        at = tuple(self.ranks.value(i, point) for i in access.indices)
        for value, index, rank, d in zip(at, access.indices, found.dimensions[access.tensor], range(len(at)), strict=True):
            own = found.iterative.get(access.tensor)
            longer = own is not None and own.dimension == d
            if value is None or value < 0 or not isinstance(index, Coord) and not longer and rank is not None \
                    and value >= self.ranks.extent(rank):
                return None
        return (access.tensor, *(point[i] for i in self.instances), *at)

    def walked(self, name: str, access: Access) -> frozenset[str]:
        """The loops that change what an access touches."""
        mentioned = {r for index in access.indices for r in coords(index)}
        if name in self.nest.recompute:
            return self._remade(name).walked(mentioned, access.tensor in {o.tensor for o in self.einsums[name].outputs})
        return frozenset((*self.instances, *(p for r in mentioned for p in self.ranks.leaf.get(r, (r,)))))

    def tied(self, name: str, access: Access) -> bool:
        """Whether ranks are tied in what an access touches."""
        ties = self.ties(name)
        return ties.skips or ties.again or any(not self._plain(i) for i in access.indices)

    def ties(self, name: str) -> Ties:
        """How an Einsum ties ranks."""
        again = name in self.nest.recompute and bool(self._remade(name).halos)
        return Ties(bool(self._predicates(self.einsums[name])), again)

    def single(self, name: str, loop: str) -> bool:
        """Whether a loop runs once at most."""
        pes = self.spread(name).get(loop, 1)
        if loop in self.ranks.place:
            return self.ranks.chunks(loop, pes) <= 1
        remade = self._remade(name)
        part = remade.original[loop]
        return (self.ranks.extent(part) + pes - 1) // pes <= 1 if loop in remade.halos else self.ranks.chunks(part, pes) <= 1

    # --- Einsums in their own ranks ---

    def _once(self, name: str) -> Iterator[Step]:
        loops, pes = self.loops(name), self.spread(name)
        einsum = self.einsums[name]
        own = dict.fromkeys((*self.instances, *einsum.ranks))
        for at in product(*(range(self.ranks.chunks(x, pes.get(x, 1))) for x in loops)):
            chunk = dict(zip(loops, at, strict=True))
            points: list[tuple[Lane, Point]] = []
            for lane in product(*(range(n) for n in pes.values())):
                digits = {x: i * pes.get(x, 1) for x, i in chunk.items()}
                for part, offset in zip(pes, lane, strict=True):
                    digits[part] += offset
                if self.ranks.exists(digits):
                    points.append((lane, {r: self.ranks.coordinate(r, digits) for r in own
                                          if all(p in digits for p in self.ranks.leaf[r])}))
            if points:
                yield self._step(einsum, chunk, points, ())

    def _step(self, einsum: Einsum, chunk: Mapping[str, int], points: list[tuple[Lane, Point]], anew: tuple[int, ...]) -> Step:
        left = [point for _, point in points if self._holds(einsum, point)] if self._predicates(einsum) else [p for _, p in points]
        present = [point for point in left if self._inside(einsum, point)]
        return Step(chunk, points, bool(left), len(present), anew)

    # --- what predicates leave ---

    def _predicates(self, einsum: Einsum) -> list[tuple[Expr, Mapping[str, Expr]]]:
        """The predicates of an Einsum and those that its operands hand on, with what their ranks are there."""
        if einsum.name not in self.left:
            self.left[einsum.name] = self._handed_on(einsum)
        return self.left[einsum.name]

    def _handed_on(self, einsum: Einsum) -> list[tuple[Expr, Mapping[str, Expr]]]:
        found: list[tuple[Expr, Mapping[str, Expr]]] = [(c, {}) for c in conjuncts(einsum.where)]
        for access in dict.fromkeys(a for body in einsum.bodies for a in accesses(body)):
            maker = self.structure.producers.get(access.tensor)
            if maker is None or access.fill is not None or access.tensor in self.structure.iterative:
                continue
            kept = {i.rank: index for i, index in zip(maker.output.indices, access.indices, strict=True) if isinstance(i, Coord)}
            for condition, inner in self._predicates(maker):
                if all(r in kept for r in _free(condition, inner)):
                    found.append((condition, {**{r: _placed(i, kept) for r, i in inner.items()},
                                              **{r: kept[r] for r in coords(condition) if r not in inner}}))
        return found

    def _holds(self, einsum: Einsum, point: Point) -> bool:
        return all(self.ranks.value(c, {**point, **{r: self.ranks.value(i, point) or 0 for r, i in places.items()}})
                   for c, places in self._predicates(einsum))

    def _inside(self, einsum: Einsum, point: Point) -> bool:
        """Whether all that a point reads is there, also what its operands were made of where that depends on kept ranks alone."""
        for access in dict.fromkeys(a for body in einsum.bodies for a in accesses(body)):
            if access.fill is not None:
                continue
            # A dimension that nothing says the length of is as long as it needs to be.
            dimensions = self.structure.dimensions[access.tensor]
            named = tuple(i if rank is not None or accesses(i) else Num(0.0) for i, rank in zip(access.indices, dimensions, strict=True))
            if self.element(replace(access, indices=named), {**dict.fromkeys(self.instances, 0), **point}) is None:
                return False
            maker = self.structure.producers.get(access.tensor)
            if maker is None or access.tensor in self.structure.iterative:
                continue
            kept = {i.rank: self.ranks.value(index, point) or 0 for i, index in zip(maker.output.indices, access.indices, strict=True)
                    if isinstance(i, Coord)}
            if not self._whole(maker, kept):
                return False
        return True

    def _whole(self, maker: Einsum, kept: Point) -> bool:
        for access in dict.fromkeys(a for body in maker.bodies for a in accesses(body)):
            if access.fill is None and access.tensor not in self.structure.iterative:
                for d, index in enumerate(access.indices):
                    if all(r in kept for r in coords(index)) and coords(index) and not accesses(index):
                        value, rank = self.ranks.value(index, kept), self.structure.dimensions[access.tensor][d]
                        if value is None or rank is not None and not isinstance(index, Coord) and not 0 <= value < self.ranks.extent(rank):
                            return False
        return True

    def _plain(self, index: Expr) -> bool:
        if isinstance(index, Coord) or composite(index) is not None or not coords(index):
            return True
        # A slot of an iterative tensor.
        return isinstance(index, Call) and index.op == "add" and isinstance(index.args[0], Coord) and not coords(index.args[1])

    # --- Einsums that are made again ---

    def _remade(self, name: str) -> _Remade:
        if name not in self.remade:
            self.remade[name] = _Remade(self, name)
        return self.remade[name]

    def _again(self, name: str) -> Iterator[Step]:
        remade, einsum, pes = self._remade(name), self.einsums[name], self.spread(name)
        reader = remade.reader
        rounds: dict[tuple[int, ...], list[Point]] = {}
        for step in self.steps(reader):
            at = tuple(step.chunk.get(x, 0) for x in remade.outer)
            rounds.setdefault(at, []).extend(point for _, point in step.pes)
        for at in sorted(rounds):
            touched: dict[str, list[int]] = {}
            for loop, index in remade.halos.items():
                rank = remade.original[loop]
                values = {self.ranks.value(index, point) for point in rounds[at]}
                touched[loop] = sorted(v for v in values if v is not None and 0 <= v < self.ranks.extent(rank))
            yield from self._round(einsum, remade, pes, dict(zip(remade.outer, at, strict=True)), touched)

    def _round(self, einsum: Einsum, remade: _Remade, pes: Mapping[str, int], at: Mapping[str, int],
               touched: Mapping[str, list[int]]) -> Iterator[Step]:
        counts = []
        for x in remade.loops:
            if x in at:
                counts.append(range(at[x], at[x] + 1))
            elif x in touched:
                counts.append(range(-(-len(touched[x]) // pes.get(x, 1))))
            else:
                counts.append(range(self.ranks.chunks(remade.original.get(x, x), pes.get(x, 1))))
        for chunks in product(*counts):
            chunk = dict(zip(remade.loops, chunks, strict=True))
            points: list[tuple[Lane, Point]] = []
            for lane in product(*(range(n) for n in pes.values())):
                digits = {x: i * pes.get(x, 1) for x, i in chunk.items()}
                for part, offset in zip(pes, lane, strict=True):
                    digits[part] += offset
                point = remade.point(digits, touched)
                if point is not None:
                    points.append((lane, point))
            if points:
                yield self._step(einsum, chunk, points, tuple(at.values()))


class _Remade:
    """How an Einsum runs again: its ``outer`` loops, all its ``loops``, and what they go through.

    Dimensions that the reader reads plainly are in the reader's parts (``plain``); others are ``halos``: a loop through what is touched.
    """

    def __init__(self, points: Points, name: str) -> None:
        self.points, self.name, self.einsum = points, name, points.einsums[name]
        nest = points.nest
        made = {o.tensor for o in self.einsum.outputs}
        self.reader, self.access = next((other, a) for other in nest.runs if other != name for a in reads_of(points.einsums[other])
                                        if a.tensor in made)
        depths = [0 if k.at is None else points.shared.index(k.at) + 1 for kepts in points.binding.kept.values() for k in kepts
                  if k.tensor in made]
        around = points.shared[:min(depths, default=len(points.shared))]
        self.outer = tuple(x for x in around if x in points.loops(self.reader))
        self.plain: dict[str, tuple[Expr, tuple[str, ...]]] = {}
        self.halos: dict[str, Expr] = {}
        self.original: dict[str, str] = {}
        self.names: dict[str, str] = {}
        taken = {points.ranks.rank_of.get(x, x) for x in self.outer}
        taken |= {r for i in self.access.indices for r in coords(i)}
        for own, index in zip(self.einsum.output.indices, self.access.indices, strict=True):
            assert isinstance(own, Coord)
            made_of = composite(index)
            rank = index.rank if isinstance(index, Coord) else made_of.name if made_of is not None else None
            if rank is not None:
                self.plain[own.rank] = index, self._reader_parts(rank, points.ranks.leaf[rank])
            else:
                loop = f"{name}.{own.rank}"
                self.halos[loop], self.original[loop], self.names[own.rank] = index, own.rank, loop
        self.reduced: dict[str, tuple[str, ...]] = {}
        for rank in self.einsum.reduced_ranks:
            parts = points.ranks.leaf[rank]
            self.reduced[rank] = tuple(f"{name}.{p}" for p in parts) if rank in taken else parts
            for loop, part in zip(self.reduced[rank], parts, strict=True):
                self.original[loop] = part
                if loop != part:
                    self.names[part] = loop

    def _reader_parts(self, rank: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        remade = self.points._remade(self.reader) if self.reader in self.points.nest.recompute else None
        if remade is None:
            return parts
        own = next((p for r, (_, p) in remade.plain.items() if r == rank), remade.reduced.get(rank))
        return own if own is not None else parts

    @cached_property
    def own(self) -> tuple[str, ...]:
        """Its parts: of kept ranks, then of reduced ones, in the order of the Einsum."""
        found: list[str] = list(self.points.instances)
        for rank in self.einsum.ranks:
            if rank in self.plain:
                found += self.plain[rank][1]
            elif rank in self.reduced:
                found += self.reduced[rank]
            else:
                found.append(self.names[rank])
        return tuple(dict.fromkeys(found))

    @cached_property
    def loops(self) -> tuple[str, ...]:
        """All its loops, outer to inner."""
        nest = self.points.nest
        first = tuple(x for x in self.points.shared if x in self.outer or x in self.own)
        inner = tuple(self.names.get(x, x) for x in nest.inner.get(self.name, ()))
        ahead = tuple(x for x in (self.names.get(p, p) for p in nest.parallel.get(self.name, ())) if x in self.own and x not in inner)
        return tuple(dict.fromkeys((*first, *ahead, *inner, *self.own)))

    def walked(self, mentioned: set[str], result: bool) -> frozenset[str]:
        """The loops that change what an access with some of its ranks touches; its result begins anew in every round."""
        found = set(self.points.instances)
        for rank in mentioned:
            if rank in self.plain:
                found |= set(self.plain[rank][1])
            elif rank in self.reduced:
                found |= set(self.reduced[rank])
            elif rank in self.names:
                loop = self.names[rank]
                found.add(loop)
                reader = self.points.walked(self.reader, Access("", (self.halos[loop],)))
                found |= {x for x in self.outer if x in reader} - set(self.points.instances)
        return frozenset(found | (set(self.outer) if result else set()))

    def point(self, digits: Mapping[str, int], touched: Mapping[str, list[int]]) -> dict[str, int] | None:
        """The coordinates of its ranks where its loops stand; None where there are none."""
        ranks = self.points.ranks
        point = {i: digits[i] for i in self.points.instances}
        real: dict[str, int] = {self.original.get(x, x): d for x, d in digits.items() if x not in touched and x in self.own
                                and x not in {p for _, parts in self.plain.values() for p in parts}}
        plain = {p: digits[p] for _, parts in self.plain.values() for p in parts}
        if not ranks.exists({i: digits[i] for i in self.points.instances}) or not ranks.exists(real) \
                or not ranks.exists({self.original_of(p): d for p, d in plain.items()}):
            return None
        for rank, (_, parts) in self.plain.items():
            point[rank] = self._value(parts, plain)
        for rank, parts in self.reduced.items():
            point[rank] = self._value(parts, digits)
        for loop, values in touched.items():
            if digits[loop] >= len(values):
                return None
            point[self.original[loop]] = values[digits[loop]]
        return point

    def original_of(self, part: str) -> str:
        """The part of the design that a part stands for, of the reader too."""
        return part.split(".")[-1]

    def _value(self, parts: tuple[str, ...], digits: Mapping[str, int]) -> int:
        value = 0
        for part in parts:
            value = value * self.points.ranks.length[self.original_of(part)] + digits[part]
        return value


def reads_of(einsum: Einsum) -> tuple[Access, ...]:
    """The distinct reads of an Einsum: of its bodies, and of index tensors on its left side."""
    return tuple(dict.fromkeys((*(a for body in einsum.bodies for a in accesses(body)),
                                *(a for out in einsum.outputs for i in out.indices for a in accesses(i)))))


def _free(condition: Expr, inner: Mapping[str, Expr]) -> set[str]:
    return {r for c in coords(condition) for r in (coords(inner[c]) if c in inner else (c,))}


def _placed(expr: Expr, kept: Mapping[str, Expr]) -> Expr:
    from einsum_cascades.ir import transform
    return transform(expr, lambda node: kept.get(node.rank, node) if isinstance(node, Coord) else node)
