"""The extent of every rank, from the text, from the shapes of arrays and from what is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.errors import ExtentError, suggest
from einsum_cascades.indices import Composite, bounding_rank, composite
from einsum_cascades.ir import Cascade, Coord
from einsum_cascades.segments import whole_rank
from einsum_cascades.structure import Structure, all_accesses, extent_names, structure


def resolve_extents(cascade: Cascade, given: Mapping[str, int],
                    shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, int]:
    """Returns the extent of every rank that the cascade mentions, composites included.

    ``given`` has lower-case ranks; ``shapes`` are those of input arrays. Bare accesses make a tensor's dimension and
    a rank equally long (not those with a fill, which may leave the tensor); the offsets of a rank's segments are one
    longer than it. Of a composite ``r1*R0 + r0``, r, r1 and r0, the missing one follows: r1 = ceil(r / r0). A sort
    makes a rank as long as the one it sorts.

    Raises: ExtentError for a rank without an extent, with two, or that the cascade does not have.
    """
    found = known_extents(cascade, given, shapes)
    for rank in mentioned(cascade):
        if rank not in found:
            raise ExtentError(f"{cascade.name}: rank {rank!r}: it has no extent, got none from the text, the arrays or the "
                              f"ranks given; give one, as in --extent {rank}=16")
    return found


def known_extents(cascade: Cascade, given: Mapping[str, int],
                  shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, int]:
    """Returns as :func:`resolve_extents`, but only the extents that follow from what is there.

    Raises: ExtentError for a rank with two extents, or that the cascade does not have.
    """
    solver = _Solver(cascade, structure(cascade))
    solver.bind_text()
    for rank, size in given.items():
        solver.give(rank, size)
    for tensor, shape in (shapes or {}).items():
        solver.shape(tensor, shape)
    return solver.solve()


def mentioned(cascade: Cascade) -> tuple[str, ...]:
    """Returns every rank that needs an extent: those with a coordinate, a composite or a named extent."""
    found = structure(cascade)
    return tuple(dict.fromkeys((*found.ranks, *found.composites, *extent_names(cascade))))


Symbol = str | tuple[str, int]
"""A rank's name, or a dimension of a tensor."""


@dataclass(frozen=True, slots=True)
class _Size:
    value: int
    source: str
    declared: str | None = None


class DeclaredExtentError(ExtentError):
    """The text gives a rank two extents; ``rank`` is the one of the later ``extent`` line."""

    def __init__(self, message: str, rank: str) -> None:
        super().__init__(message)
        self.rank = rank


class _Solver:
    def __init__(self, cascade: Cascade, found: Structure) -> None:
        self.cascade, self.structure = cascade, found
        self.parents: dict[Symbol, Symbol] = {}
        self.sizes: dict[Symbol, _Size] = {}
        self.parts: list[tuple[Symbol, tuple[str, ...]]] = []
        self.weak: list[tuple[Symbol, str]] = []
        self.slots: list[tuple[str, str]] = []

    def fail(self, message: str) -> ExtentError:
        return ExtentError(f"{self.cascade.name}: {message}")

    # --- symbols that are equally long ---

    def root(self, symbol: Symbol) -> Symbol:
        while symbol in self.parents:
            symbol = self.parents[symbol]
        return symbol

    def join(self, a: Symbol, b: Symbol) -> None:
        a, b = self.root(a), self.root(b)
        if a == b:
            return
        # A rank's name makes a better message than a dimension.
        if isinstance(b, str) and not isinstance(a, str):
            a, b = b, a
        self.parents[b] = a
        if b in self.sizes:
            self.bind(a, self.sizes.pop(b))

    def bind(self, symbol: Symbol, size: _Size) -> None:
        symbol = self.root(symbol)
        known = self.sizes.setdefault(symbol, size)
        if known.value != size.value:
            name = f"rank {symbol!r}" if isinstance(symbol, str) else f"tensor {symbol[0]!r}, dimension {symbol[1] + 1}"
            message = (f"{name}: it is bound to two extents, got {known.value} ({known.source}) and {size.value} "
                            f"({size.source}); make them equal or use two ranks")
            if known.declared and size.declared:
                order = [rank for rank, _ in self.cascade.extents]
                raise DeclaredExtentError(f"{self.cascade.name}: {message}", max(known.declared, size.declared, key=order.index))
            raise self.fail(message)

    def size(self, symbol: Symbol) -> int | None:
        found = self.sizes.get(self.root(symbol))
        return found.value if found is not None else None

    # --- where extents come from ---

    def bind_text(self) -> None:
        for rank, size in self.cascade.extents:
            self.bind(rank, _Size(size, f"'extent {rank.upper()}'", rank))
        for einsum in self.cascade.einsums:
            head = einsum.reduction
            if head is not None and head.op in ("sort", "sort_descending"):
                self.join(head.ranks[0], head.into[0])
        named: set[Symbol] = set()
        bounded: list[tuple[Symbol, str]] = []
        for access in all_accesses(self.cascade):
            own = self.structure.iterative.get(access.tensor)
            for d, index in enumerate(access.indices):
                symbol = (access.tensor, d)
                if own is not None and own.dimension == d:
                    if isinstance(index, Coord) and index.rank != own.rank:
                        self.slots.append((index.rank, own.rank))
                    continue
                made = composite(index)
                segmented = self.structure.offsets.get(symbol)
                if segmented is not None and whole_rank(index) == segmented:
                    if made is not None:
                        self.compose(made, segmented)
                    continue
                if isinstance(index, Coord):
                    if access.fill is None:
                        self.join(index.rank, symbol)
                        named.add(symbol)
                    continue
                bound = bounding_rank(index)
                if made is not None:
                    self.compose(made, symbol)
                    named.add(symbol)
                elif bound is not None:
                    bounded.append((symbol, bound))
        self.weak = [(symbol, rank) for symbol, rank in bounded if symbol not in named]

    def compose(self, made: Composite, symbol: Symbol) -> None:
        if made.name is not None:
            self.join(made.name, symbol)
            symbol = made.name
        if (symbol, made.parts) not in self.parts:
            self.parts.append((symbol, made.parts))
        for inside in made.inner:
            assert inside.name is not None
            self.compose(inside, inside.name)

    def give(self, rank: str, size: int) -> None:
        known = mentioned(self.cascade)
        name = rank if rank in known else rank.lower()
        if name not in known:
            raise self.fail(f"rank {rank!r}: the cascade has no such rank, got an extent of {size} for it; "
                            f"{suggest(rank, known)}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise self.fail(f"rank {name!r}: an extent is a whole number of at least 1, got {size!r}; give one")
        self.bind(name, _Size(size, "given"))

    def shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        names = self.structure.dimensions.get(tensor)
        if names is None or tensor in self.structure.producers:
            return
        if len(names) != len(shape):
            wanted = ", ".join(self.structure.names(tensor)) or "none: it is a scalar"
            raise self.fail(f"tensor {tensor!r}: it has {len(names)} dimension{'s' if len(names) != 1 else ''} ({wanted}), "
                            f"got an array of shape {tuple(shape)}; give an array of that many dimensions")
        for d, size in enumerate(shape):
            self.bind((tensor, d), _Size(int(size), f"dimension {d + 1} of {tensor}"))

    # --- what follows ---

    def segments(self) -> None:
        """Of a rank and the offsets of its segments, the one gives the other."""
        for place, rank in self.structure.offsets.items():
            size, segments = self.size(place), self.size(rank)
            name = f"dimension {place[1] + 1} of {place[0]}"
            if size == 0:
                raise self.fail(f"tensor {place[0]!r}: {name} holds offsets of segments {rank!r}, one more than there are "
                                f"segments, got none; give at least one, the end of the last segment")
            if size is not None:
                self.bind(rank, _Size(size - 1, f"{size} offsets in {name}, less 1"))
            elif segments is not None:
                self.bind(place, _Size(segments + 1, f"{rank} + 1 offsets in {name}"))

    def solve(self) -> dict[str, int]:
        self.segments()
        self.follow()
        for symbol, rank in self.weak:
            self.join(rank, symbol)
        for rank, iterated in self.slots:
            steps = self.size(iterated)
            if self.size(rank) is None and steps is not None:
                self.bind(rank, _Size(steps + 1, f"the slots of {iterated!r}"))
        self.segments()
        self.follow()
        self.check()
        return {rank: size for rank in mentioned(self.cascade) if (size := self.size(rank)) is not None}

    def follow(self) -> None:
        for _ in range(len(self.parts) + 1):
            before = len(self.sizes)
            for whole, parts in self.parts:
                self.missing(whole, parts)
            if len(self.sizes) == before:
                return

    def missing(self, whole: Symbol, parts: tuple[str, ...]) -> None:
        total, sizes = self.size(whole), [self.size(p) for p in parts]
        absent = [p for p, s in zip(parts, sizes, strict=True) if s is None]
        product = 1
        for size in sizes:
            product *= size or 1
        if not absent and total is None:
            self.bind(whole, _Size(product, " * ".join(parts)))
        elif len(absent) == 1 and total is not None and product:
            self.bind(absent[0], _Size(-(-total // product), f"ceil({_text(whole)} / {product})"))

    def check(self) -> None:
        for whole, parts in self.parts:
            total, sizes = self.size(whole), [self.size(p) for p in parts]
            known = [s for s in sizes if s is not None]
            if total is None or len(known) != len(sizes):
                continue
            inner = 1
            for size in known[1:]:
                inner *= size
            if inner and -(-total // inner) != known[0]:
                raise self.fail(f"rank {parts[0]!r}: it is bound to two extents, got {known[0]} and "
                                f"{-(-total // inner)} = ceil({_text(whole)} / {inner}) with {_text(whole)} = {total}; leave "
                                f"one of {', '.join((_text(whole), *parts))} out")


def _text(symbol: Symbol) -> str:
    return symbol if isinstance(symbol, str) else f"dimension {symbol[1] + 1} of {symbol[0]}"
