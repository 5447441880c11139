"""A slow interpreter of cascades, written apart as the oracle of the fast one: one scalar at a time, on demand.

An element is evaluated when something asks for it, through as many earlier slots as it needs; no order of
evaluation is planned. An absent element carries its *failures*: for each condition that fails, the ranks on which
the condition depends. A reduction skips an element with a failure on a reduced rank; a failure on none of them
makes the result absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product

import numpy as np

from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords, kept_coords
from tests.einsum_cascades.slow_scalars import POSITIONS, REDUCED, SCALARS

Failures = frozenset[frozenset[str]]
Element = tuple[float, frozenset[frozenset[int]]]
Env = dict[str, int]
PRESENT: Failures = frozenset()


class _CycleError(Exception):
    """An element was asked for while it was being evaluated."""


def slow_run(cascade: Cascade, inputs: Mapping[str, np.ndarray],
             extents: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns every tensor that the cascade defines, absent elements as 0."""
    arrays = {name: np.asarray(a, dtype=float) for name, a in inputs.items()}
    sizes = resolve_extents(cascade, extents or {}, {name: a.shape for name, a in arrays.items()})
    return _Slow(cascade, arrays, sizes).tensors()


class _Slow:
    def __init__(self, cascade: Cascade, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
        self.cascade, self.arrays, self.sizes = cascade, arrays, sizes
        self.defined = {o.tensor: (e, k) for e in cascade.einsums for k, o in enumerate(e.outputs)}
        self.seeds = {o.tensor: (e, k) for e in cascade.inits for k, o in enumerate(e.outputs)}
        self.users = {o.name: o for o in cascade.operators}
        self.iterative = {name: found for name in self.defined if (found := self.iteration(name)) is not None}
        self.known: dict[tuple[str, tuple[int, ...]], Element] = {}
        self.active: set[tuple[str, tuple[int, ...]]] = set()

    def tensors(self) -> dict[str, np.ndarray]:
        result = {}
        for name in self.defined:
            array = np.zeros(self.shape(name))
            for point in product(*map(range, array.shape)):
                value, failures = self.element(name, point)
                array[point] = 0.0 if failures else value
            result[name] = array
        return result

    # --- tensors ---

    def iteration(self, name: str) -> tuple[int, str, int] | None:
        """The dimension, rank and step of an iterative tensor."""
        einsum, number = self.defined[name]
        for d, index in enumerate(einsum.outputs[number].indices):
            match index:
                case (Call(op="add", args=(Coord(rank=rank), Num(value=1.0)))
                      | Call(op="add", args=(Num(value=1.0), Coord(rank=rank)))):
                    return d, rank, 1
                case Coord(rank=rank) if name in self.seeds:
                    seed, which = self.seeds[name]
                    if isinstance(seed.outputs[which].indices[d], Extent):
                        return d, rank, -1
        return None

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self.arrays:
            return self.arrays[name].shape
        einsum, number = self.defined[name]
        sizes = []
        for d, index in enumerate(einsum.outputs[number].indices):
            own = self.iterative.get(name)
            if own is not None and own[0] == d:
                sizes.append(self.sizes[own[1]] + 1)
            elif isinstance(index, Access):
                sizes.append(self.sizes[self.bare_read(name, d)])
            else:
                assert isinstance(index, Coord)
                sizes.append(self.sizes[index.rank])
        return tuple(sizes)

    def bare_read(self, name: str, dimension: int) -> str:
        for einsum in (*self.cascade.einsums, *self.cascade.inits):
            for access in einsum.reads:
                index = access.indices[dimension] if access.tensor == name else None
                if isinstance(index, Coord) and access.fill is None:
                    return index.rank
        raise AssertionError(f"no read of {name}, dimension {dimension}")

    def element(self, name: str, point: tuple[int, ...]) -> Element:
        if name in self.arrays:
            return float(self.arrays[name][point]), frozenset()
        key = (name, point)
        if key not in self.known:
            if key in self.active:
                raise _CycleError(name)
            self.active.add(key)
            try:
                self.known[key] = self.evaluated(name, point)
            finally:
                self.active.discard(key)
        return self.known[key]

    def evaluated(self, name: str, point: tuple[int, ...]) -> Element:
        own = self.iterative.get(name)
        if own is None:
            return self.computed(*self.defined[name], point)
        dimension, rank, step = own
        carried = self.carried(name)
        everything = frozenset((frozenset(range(len(point))),))
        first = 0 if step > 0 else self.sizes[rank]
        if point[dimension] == first:
            value, failures = self.computed(*self.seeds[name], point)
            return value, failures if carried or not failures else everything
        value, failures = self.computed(*self.defined[name], point)
        if not failures:
            return value, failures
        before = self.element(name, (*point[:dimension], point[dimension] - step, *point[dimension + 1:]))
        return before[0], before[1] if carried or not before[1] else everything

    def carried(self, name: str) -> bool:
        """Whether the definition reads the slot before, with all other indices as on the left."""
        dimension, rank, step = self.iterative[name]
        einsum, number = self.defined[name]
        out = einsum.outputs[number]

        def operands(expr: Expr) -> Iterator[Access]:
            if isinstance(expr, Access):
                yield expr
            elif isinstance(expr, Call):
                for argument in expr.args:
                    yield from operands(argument)

        def previous(index: Expr) -> bool:
            if coords(index) != (rank,) or accesses(index):
                return False
            return [self.value(index, {rank: i})[0] - i for i in (3, 5)] == ([0, 0] if step > 0 else [1, 1])

        return any(a.tensor == name and a.fill is None and all(previous(i) if d == dimension else i == out.indices[d]
                                                               for d, i in enumerate(a.indices))
                   for a in operands(einsum.bodies[number]))

    def computed(self, einsum: Einsum, number: int, point: tuple[int, ...]) -> Element:
        """An element of an output of an Einsum or seed, failures by dimension."""
        out, env, goals = einsum.outputs[number], {}, []
        own = self.iterative.get(out.tensor)
        for d, index in enumerate(out.indices):
            if isinstance(index, Access):
                goals.append((index, point[d]))
            elif isinstance(index, Coord):
                env[index.rank] = point[d]
            elif own is not None and coords(index):
                env[own[1]] = point[d] - 1
        value, failures = _Point(self, einsum, number, env, goals).result()
        return value, frozenset(frozenset(d for d, i in enumerate(out.indices) if set(kept_coords(i)) & ranks)
                                for ranks in failures)

    # --- expressions ---

    def value(self, expr: Expr, env: Env) -> tuple[float, Failures]:
        match expr:
            case Num(value=value):
                return value, PRESENT
            case Coord(rank=rank):
                return float(env[rank]), PRESENT
            case Extent(name=name):
                return float(self.sizes[name.lower()]), PRESENT
            case Call(op=op, args=args):
                found = [self.value(a, env) for a in args]
                failures = PRESENT.union(*(f for _, f in found))
                return (0.0 if failures else self.call(op, [v for v, _ in found])), failures
            case Access():
                return self.read(expr, env)
        raise AssertionError(expr)

    def call(self, op: str, operands: list[float]) -> float:
        if op in self.users:
            return self.results(op, operands)[0]
        return float(SCALARS[op](*operands))

    def results(self, op: str, operands: list[float]) -> list[float]:
        user = self.users[op]
        named = dict(zip([n for o in user.operands for n in o], operands, strict=True))

        def body(expr: Expr) -> float:
            match expr:
                case Num(value=value):
                    return value
                case Access(tensor=name):
                    return named[name]
                case Call(op=inner, args=args):
                    return self.call(inner, [body(a) for a in args])
            raise AssertionError(expr)

        return [body(b) for b in user.bodies]

    def read(self, access: Access, env: Env) -> tuple[float, Failures]:
        shape = self.shape(access.tensor)
        failures: set[frozenset[str]] = set()
        point: list[int] = []
        outside: set[int] = set()
        for d, index in enumerate(access.indices):
            at, missing = self.value(index, env)
            failures |= missing
            if not missing:
                assert math.isinf(at) or at == int(at), f"{access.tensor}: index {at}"
            if missing or not 0 <= at < shape[d]:
                if not missing:
                    outside.add(d)
                at = 0
            point.append(int(at))
        if access.fill is not None and outside:
            return access.fill, frozenset(failures)
        failures |= {frozenset(coords(access.indices[d])) for d in outside}
        if outside or failures:
            # What is absent whatever the bad index is makes the read absent too.
            absent = {d for d in range(len(shape)) if d in outside or self.value(access.indices[d], env)[1]}
            value, own = 0.0, frozenset[frozenset[int]]()
            with suppress(_CycleError):
                own = frozenset(f for f in self.element(access.tensor, tuple(point))[1] if not f & absent)
        else:
            value, own = self.element(access.tensor, tuple(point))
        used = range(len(shape))
        for dimensions in own:
            label = used if access.fill is not None else dimensions
            failures.add(frozenset(r for d in label for r in coords(access.indices[d])))
        return value, frozenset(failures)

    def conditions(self, where: Expr | None) -> Iterator[Expr]:
        match where:
            case None:
                return
            case Call(op="and", args=args):
                for part in args:
                    yield from self.conditions(part)
            case Call(op="not", args=(Call(op="or", args=args),)):
                for part in args:
                    yield from self.conditions(Call("not", (part,)))
            case Call(op="not", args=(Call(op="not", args=(inner,)),)):
                yield from self.conditions(inner)
            case _:
                yield where


class _Point:
    """One element of one output: ``env`` are the kept coordinates, ``goals`` index tensors and what they must hit."""

    def __init__(self, slow: _Slow, einsum: Einsum, number: int, env: Env, goals: list[tuple[Access, int]]) -> None:
        self.slow, self.einsum, self.number, self.env, self.goals = slow, einsum, number, env, goals
        head = einsum.reduction
        made = set(head.into) if head else set()
        self.outer = tuple(head.ranks) if head else ()
        self.inner = tuple(r for r in einsum.reduced_ranks if r not in self.outer and r not in made)
        self.goal_ranks = {r for index, _ in goals for r in coords(index)}
        self.visited = False

    def result(self) -> tuple[float, Failures]:
        """The value and the failures of the element."""
        head = self.einsum.reduction
        width = range(len(self.einsum.bodies))
        joint = head is not None and head.op in self.slow.users
        elements: list[tuple[tuple[int, ...], list[float]]] = []
        inherited: set[frozenset[str]] = set()
        for place in product(*(range(self.slow.sizes[r]) for r in self.outer)):
            env = self.env | dict(zip(self.outer, place, strict=True))
            values, skipped = [], False
            for body in width if joint else (self.number,):
                value, failures, met = self.summed(body, env)
                inherited |= {f for f in failures if not f & set(self.outer)}
                skipped = skipped or bool(failures) or not met
                values.append(value)
            if not skipped:
                elements.append((place, values))
        if not self.visited:
            inherited |= {f for f in self.unvisited() if not f & {*self.outer, *self.inner}}
        if inherited:
            return 0.0, frozenset(inherited)
        if head is None:
            return (elements[0][1][0] if elements else 0.0), PRESENT
        if joint:
            return self.folded([v for _, v in elements]), PRESENT
        pairs = [(place[0], v[0]) for place, v in elements] if head.op in POSITIONS or head.into else []
        if head.into:
            return self.populated(head.op, pairs, head.ranks[0], head.into[0])
        if head.op in POSITIONS:
            return float(POSITIONS[head.op](pairs)), PRESENT
        return REDUCED[head.op]([v[0] for _, v in elements]), PRESENT

    def folded(self, elements: list[list[float]]) -> float:
        assert self.einsum.reduction is not None
        op = self.einsum.reduction.op
        identity = self.slow.users[op].identity
        assert identity is not None
        state = list(identity)
        for element in elements:
            state = self.slow.results(op, [*state, *element])
        return state[self.number]

    def populated(self, op: str, pairs: list[tuple[int, float]], rank: str, made: str) -> tuple[float, Failures]:
        everything = frozenset((frozenset(self.einsum.output_ranks),))
        if op == "threshold":
            places = [c for c, v in pairs if v > 0]
        else:
            sign = -1 if op in ("topk", "sort_descending") else 1
            places = [c for c, _ in sorted(pairs, key=lambda p: (sign * p[1], p[0]))]
            places += [c for c in range(self.slow.sizes[rank]) if c not in places]
        wanted = self.env[made]
        return (float(places[wanted]), PRESENT) if wanted < len(places) else (0.0, everything)

    def summed(self, body: int, env: Env) -> tuple[float, Failures, bool]:
        """The sum over the inner ranks, and whether the point hits the goals."""
        inner = set(self.inner)
        values: list[float] = []
        inherited: set[frozenset[str]] = set()
        visited = met = False
        for place in product(*(range(self.slow.sizes[r]) for r in self.inner)):
            here = env | dict(zip(self.inner, place, strict=True))
            conditions = self.slow.conditions(self.einsum.where)
            failures = {frozenset(coords(c)) for c in conditions if not self.holds(c, here)}
            if not failures:
                visited = self.visited = True
                value, missing = self.slow.value(self.einsum.bodies[body], here)
                failures |= missing
            hit = all(self.hits(index, goal, here) for index, goal in self.goals)
            met = met or hit
            inherited |= {f for f in failures if not f & inner}
            if not failures and hit:
                values.append(value)
        if not visited and not inherited:
            inherited |= {f for f in self.unvisited(env) if not f & inner}
        if self.goal_ranks & inner:
            met = True
        return REDUCED["sum"](values) if self.inner else (values[0] if values else 0.0), frozenset(inherited), met

    def holds(self, condition: Expr, env: Env) -> bool:
        value, failures = self.slow.value(condition, env)
        return not failures and value != 0

    def hits(self, index: Access, goal: int, env: Env) -> bool:
        value, failures = self.slow.value(index, env)
        return not failures and value == goal

    def unvisited(self, env: Env | None = None) -> set[frozenset[str]]:
        """Failures of the bodies where the predicate holds nowhere, as far as they can be known."""
        here = dict.fromkeys((*self.outer, *self.inner), 0) | (env or self.env)
        found: set[frozenset[str]] = set()
        joint = self.einsum.reduction is not None and self.einsum.reduction.op in self.slow.users
        for number, body in enumerate(self.einsum.bodies):
            if joint or number == self.number:
                with suppress(_CycleError):
                    found |= self.slow.value(body, here)[1]
        return found

