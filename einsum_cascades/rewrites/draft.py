"""A cascade under construction: lines are added and replaced, and a definition that is there already is used again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Num, Reduction
from einsum_cascades.rewrites.canonical import Canon, Key
from einsum_cascades.rewrites.editing import Names, bare_ranks, coordinates, edited, replace_reads
from einsum_cascades.rewrites.support import Support
from einsum_cascades.structure import Iteration, structure


class Draft:
    """The lines of a cascade while a rewrite changes them; ``canon`` and ``support`` know the new lines too."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.einsums, self.inits = list(cascade.einsums), list(cascade.inits)
        self.names = Names(cascade)
        self.canon = Canon(cascade)
        self.support = Support(cascade, self.canon)
        self.producers: dict[str, Einsum] = dict(self.canon.producers)
        self.canon.producers = self.support.producers = self.producers
        self.iterative = dict(self.canon.iterative)
        self.canon.iterative = self.support.iterative = self.iterative
        self._known: dict[Key, str] = {}
        self._place = len(self.einsums)
        # In order of evaluation, so that a line never stands for one that it reads.
        for line in structure(cascade).order:
            own = self.canon.iterative.get(line.name)
            if own is not None:
                self._note_iteration(line, own)
            elif len(line.outputs) == 1:
                names = bare_ranks(line.output)
                if names is not None:
                    self._known.setdefault(self._key(names, line), line.name)

    def _note_iteration(self, line: Einsum, own: Iteration) -> None:
        """Remembers an iterative tensor of the form that :meth:`iterate` makes."""
        seeds = [s for s in self.inits if any(o.tensor == line.name for o in s.outputs)]
        others = bare_ranks(Access("", line.output.indices[1:]))
        if own.dimension != 0 or own.step != 1 or len(seeds) != 1 or others is None or len(line.outputs) != 1 \
                or line.reduced_ranks or bare_ranks(Access("", seeds[0].output.indices[1:])) != others:
            return
        body = replace_reads(line.body, lambda a: replace(a, tensor="") if a.tensor == line.name else a)
        key = (own.rank, others, self.canon.key(body), self.canon.key(seeds[0].body),
               None if line.where is None else self.canon.key(line.where))
        self._known.setdefault(key, line.name)

    def begin(self, tensor: str) -> None:
        """New lines go before the line that defines a tensor."""
        self._place = next(i for i, e in enumerate(self.einsums) if any(o.tensor == tensor for o in e.outputs))

    def _key(self, ranks: Iterable[str], line: Einsum) -> Key:
        return frozenset(ranks), self.canon.reduction(line)

    def define(self, name: str, ranks: Iterable[str], body: Expr, reduction: Reduction | None = None,
               where: Expr | None = None) -> Access:
        """Adds a line and returns a read of it; a line that says the same is read instead."""
        ranks = tuple(ranks)
        if reduction is None and where is None and isinstance(body, Access) and bare_ranks(body) == ranks:
            return body
        key = self._key(ranks, Einsum((Access("", coordinates(ranks)),), (body,), reduction, where))
        if key in self._known:
            line = self.producers[self._known[key]]
            return Access(line.name, line.output.indices)
        fresh = self.names.tensor(name)
        line = Einsum((Access(fresh, coordinates(ranks)),), (body,), reduction, where)
        self._known[key] = fresh
        self._insert(line)
        return line.output

    def same_line(self, line: Einsum) -> Access | None:
        """Returns a read of another line that says the same, or None."""
        names = bare_ranks(line.output)
        if len(line.outputs) != 1 or names is None or line.name in self.iterative:
            return None
        known = self._known.get(self._key(names, line))
        return None if known is None or known == line.name else self.producers[known].output

    def iterate(self, name: str, rank: str, others: tuple[str, ...], body: Callable[[str], Expr], seed: Expr | float,
                where: Expr | None = None) -> str:
        """Adds a tensor that iterates over ``rank`` (its first dimension) and returns its name.

        ``body`` gives its right side from that name; slot 0 holds ``seed``. An iteration that says the same is read
        instead.
        """
        rest = coordinates(others)
        start = Num(float(seed)) if isinstance(seed, (int, float)) else seed
        filtered = None if where is None else self.canon.key(where)
        key = (rank, others, self.canon.key(body("")), self.canon.key(start), filtered)
        if key in self._known:
            return self._known[key]
        fresh = self._known[key] = self.names.tensor(name)
        self.inits.append(Einsum((Access(fresh, (Num(0.0), *rest)),), (start,)))
        self.iterative[fresh] = Iteration(rank, 0, 1)
        self._insert(Einsum((Access(fresh, (following(rank), *rest)),), (body(fresh),), None, where))
        return fresh

    def place(self, line: Einsum) -> None:
        """Adds a line as it is."""
        self._insert(line)

    def _insert(self, line: Einsum) -> None:
        self.einsums.insert(self._place, line)
        self._place += 1
        for out in line.outputs:
            self.producers[out.tensor] = line

    def replace(self, line: Einsum) -> None:
        """Puts a line in the place of the one that defines the same tensor."""
        i = next(i for i, e in enumerate(self.einsums) if e.outputs[0].tensor == line.outputs[0].tensor)
        self.einsums[i] = line
        for out in line.outputs:
            self.producers[out.tensor] = line
        # Keys that looked through the old line say the same still; its own definition is another now.
        self._known = {k: v for k, v in self._known.items() if v != line.name}

    def finish(self) -> Cascade:
        """Returns the cascade, without the lines that its outputs do not need."""
        return edited(self.cascade, self.einsums, self.inits)


def following(rank: str) -> Expr:
    """Returns the index of the next slot of an iterative rank."""
    return Call("add", (Coord(rank), Num(1.0)))


def plain(access: Access) -> tuple[str, ...]:
    """Returns the ranks of a read at bare ranks."""
    return tuple(i.rank for i in access.indices if isinstance(i, Coord))
