"""Hypothesis strategies for cascades: random valid ones, with extents and inputs on which they can run.

``random_cascade()`` draws a valid cascade of up to ``size`` steps over a small pool of ranks. Steps cover maps,
reductions (by sum, by name, over tuples), filters, iterative ranks in both directions, gathers and scatters,
populates, partitions and windows. Values stay tame: no step lets a number grow without bound.
``random_sample()`` adds extents for every rank, and :func:`arrays_for` makes inputs of the right shapes, with whole
numbers in range for index tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, UserOperator
from einsum_cascades.structure import structure

LINEAR = UserOperator("lin", (("a1", "b1"), ("a2", "b2")),
                      (Call("mul", (Access("a1", ()), Access("a2", ()))),
                       Call("add", (Call("mul", (Access("a2", ()), Access("b1", ()))), Access("b2", ())))),
                      (1.0, 0.0), frozenset({"associative"}))
"""Composition of x -> a*x + b: associative, not commutative."""

ROTATION = UserOperator("cmul", (("r1", "i1"), ("r2", "i2")),
                        (Call("sub", (Call("mul", (Access("r1", ()), Access("r2", ()))),
                                      Call("mul", (Access("i1", ()), Access("i2", ()))))),
                         Call("add", (Call("mul", (Access("r1", ()), Access("i2", ()))),
                                      Call("mul", (Access("i1", ()), Access("r2", ())))))),
                        (1.0, 0.0), frozenset({"associative", "commutative"}))
"""Multiplication of complex numbers as pairs."""

GATE = UserOperator("gate", (("x", "y"),), (Call("mul", (Access("x", ()), Call("sigmoid", (Access("y", ()),)))),))
"""A map of two values."""

POOL = {"p": (1, 4), "m": (2, 5), "e": (1, 3), "n": (1, 3)}
"""Ranks that a random cascade uses, with the range of their extents."""

UNARY = ("tanh", "sigmoid", "abs", "neg", "relu", "sin", "square", "silu", "softplus", "sign")
BINARY = ("add", "sub", "mul", "max", "min")
REDUCTIONS = ("max", "min", "mean", "sum", "any", "all", "count", "var")


@dataclass(frozen=True)
class Sample:
    """A cascade and an extent for every rank that it mentions."""

    cascade: Cascade
    extents: dict[str, int]


@dataclass
class _Builder:
    """What has been built so far; ``tensors`` maps a name to its ranks, ``indices`` an index tensor's to its bound."""

    draw: Callable[[Any], Any]
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    einsums: list[Einsum] = field(default_factory=list)
    inits: list[Einsum] = field(default_factory=list)
    operators: dict[str, UserOperator] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    defined: int = 0
    read: int = 0
    split: bool = False

    def ranks(self, least: int, most: int) -> tuple[str, ...]:
        return tuple(self.draw(st.lists(st.sampled_from(sorted(POOL)), min_size=least, max_size=most, unique=True)))

    def source(self) -> str:
        """An existing tensor, or a new input."""
        if self.tensors and self.draw(st.integers(0, 2)):
            return str(self.draw(st.sampled_from(sorted(self.tensors))))
        self.read += 1
        name = f"X{self.read}"
        self.tensors[name] = self.ranks(0, 3)
        return name

    def source_with(self, rank: str) -> str:
        """A tensor that has a rank: an existing one or a new input."""
        known = sorted(t for t, ranks in self.tensors.items() if rank in ranks)
        if known and self.draw(st.booleans()):
            return str(self.draw(st.sampled_from(known)))
        self.read += 1
        name = f"X{self.read}"
        self.tensors[name] = tuple(dict.fromkeys((*self.ranks(0, 2), rank)))
        return name

    def name(self) -> str:
        self.defined += 1
        return f"T{self.defined}"

    def access(self, tensor: str, **moved: Expr) -> Access:
        return Access(tensor, tuple(moved.get(r, Coord(r)) for r in self.tensors[tensor]))

    def add(self, ranks: tuple[str, ...], body: Expr, reduction: Reduction | None = None,
            where: Expr | None = None) -> str:
        name = self.name()
        self.tensors[name] = ranks
        self.einsums.append(Einsum((Access(name, tuple(Coord(r) for r in ranks)),), (body,), reduction, where))
        return name

    def predicate(self, ranks: tuple[str, ...]) -> Expr | None:
        """None, or a comparison between ranks and small numbers, sometimes two of them."""
        if not ranks or self.draw(st.integers(0, 2)):
            return None
        parts = []
        for _ in range(self.draw(st.integers(1, 2))):
            left = Coord(self.draw(st.sampled_from(ranks)))
            right = self.draw(st.one_of(
                st.sampled_from(ranks).map(Coord), st.integers(0, 3).map(lambda v: Num(float(v))),
                st.sampled_from(ranks).map(lambda r: Call("sub", (Extent(r.upper()), Num(1.0))))))
            parts.append(Call(self.draw(st.sampled_from(("lt", "le", "gt", "ge", "eq", "ne"))), (left, right)))
        if len(parts) == 1:
            return Call("not", (parts[0],)) if self.draw(st.integers(0, 5)) == 0 else parts[0]
        return Call(self.draw(st.sampled_from(("and", "or"))), tuple(parts))


def _map(b: _Builder) -> None:
    first = b.source()
    ranks, body = b.tensors[first], Call(b.draw(st.sampled_from(UNARY)), (b.access(first),))
    if b.draw(st.booleans()):
        second = b.source()
        ranks = tuple(dict.fromkeys((*ranks, *b.tensors[second])))
        if b.draw(st.integers(0, 4)) == 0:
            b.operators["gate"] = GATE
            body = Call("gate", (body, b.access(second)))
        else:
            body = Call(b.draw(st.sampled_from(BINARY)), (body, b.access(second)))
    if b.draw(st.integers(0, 3)) == 0 and ranks:
        condition = Call("lt", (Coord(ranks[0]), Num(float(b.draw(st.integers(0, 3))))))
        body = Call("where", (condition, body, Num(b.draw(st.sampled_from((0.0, -1.5, 2.0))))))
    # tanh keeps the values of a chain of products small.
    b.add(tuple(b.draw(st.permutations(ranks))), Call("tanh", (body,)), where=b.predicate(ranks))


def _contraction(b: _Builder) -> None:
    first, second = b.source(), b.source()
    ranks = tuple(dict.fromkeys((*b.tensors[first], *b.tensors[second])))
    kept = tuple(r for r in ranks if b.draw(st.booleans()))
    b.add(kept, Call("mul", (b.access(first), b.access(second))), where=b.predicate(ranks))


def _named(b: _Builder) -> None:
    tensor = b.source_with(b.draw(st.sampled_from(sorted(POOL))))
    ranks = b.tensors[tensor]
    reduced = tuple(b.draw(st.lists(st.sampled_from(ranks), min_size=1, max_size=2, unique=True)))
    b.add(tuple(r for r in ranks if r not in reduced), b.access(tensor),
          Reduction(b.draw(st.sampled_from(REDUCTIONS)), reduced), b.predicate(ranks))


def _softmax(b: _Builder) -> None:
    tensor = b.source_with("m")
    ranks = b.tensors[tensor]
    rest = tuple(r for r in ranks if r != "m")
    where = b.predicate(ranks)
    scores = b.add(ranks, b.access(tensor), where=where)
    peak = b.add(rest, b.access(scores), Reduction("max", ("m",)))
    weights = b.add(ranks, Call("exp", (Call("sub", (b.access(scores), b.access(peak))),)))
    total = b.add(rest, b.access(weights))
    b.add(ranks, Call("div", (b.access(weights), b.access(total))))


def _prefix(b: _Builder) -> None:
    tensor = b.source_with("m")
    ranks = b.tensors[tensor]
    comparison = b.draw(st.sampled_from(("le", "lt", "ge")))
    result = b.add(tuple("q" if r == "m" else r for r in ranks), b.access(tensor), Reduction("sum", ("m",)),
                   Call(comparison, (Coord("m"), Coord("q"))))
    b.extra.setdefault("q", b.draw(st.integers(1, 4)))
    # q stays out of the pool, so that only this step's tensors have it.
    b.tensors.pop(result)


def _recurrence(b: _Builder) -> None:
    rank = b.draw(st.sampled_from(("m", "n")))
    tensor = b.source_with(rank)
    ranks = b.tensors[tensor]
    name, forward = b.name(), b.draw(st.booleans())
    here, there = Coord(rank), Call("add", (Coord(rank), Num(1.0)))
    left = tuple((there if forward else here) if r == rank else Coord(r) for r in ranks)
    earlier = tuple((here if forward else there) if r == rank else Coord(r) for r in ranks)
    start = Num(0.0) if forward else Extent(rank.upper())
    seed = b.draw(st.sampled_from((0.0, 1.0, float("-inf"))))
    b.inits.append(Einsum((Access(name, tuple(start if r == rank else Coord(r) for r in ranks)),), (Num(seed),)))
    state = Access(name, earlier)
    body = Call("max", (state, b.access(tensor))) if seed == float("-inf") else \
        Call("add", (Call("mul", (state, Num(0.5))), b.access(tensor)))
    b.einsums.append(Einsum((Access(name, left),), (body,), None, b.predicate((rank,))))
    # All generations of the state, and its last one.
    result = b.name()
    b.tensors[result] = ranks
    b.einsums.append(Einsum((Access(result, tuple(Coord(r) for r in ranks)),),
                            (Call("tanh", (Call("add", (Access(name, left), b.access(tensor))),)),)))
    last = b.name()
    rest = tuple(r for r in ranks if r != rank)
    b.tensors[last] = rest
    end = Extent(rank.upper()) if forward else Num(0.0)
    b.einsums.append(Einsum((Access(last, tuple(Coord(r) for r in rest)),),
                            (Call("tanh", (Access(name, tuple(end if r == rank else Coord(r) for r in ranks)),)),)))


def _gather(b: _Builder) -> None:
    scores, values = b.source_with("m"), b.source_with("m")
    rest = tuple(r for r in b.tensors[scores] if r != "m")
    index = b.name()
    where = b.predicate(b.tensors[scores])
    if b.draw(st.booleans()):
        b.einsums.append(Einsum((Access(index, tuple(Coord(r) for r in rest)),), (b.access(scores),),
                                Reduction(b.draw(st.sampled_from(("argmax", "argmin"))), ("m",))))
        made = rest
    else:
        made = (*rest, "j")
        b.extra["j"] = b.draw(st.integers(1, 2))
        b.einsums.append(Einsum((Access(index, tuple(Coord(r) for r in made)),), (b.access(scores),),
                                Reduction(b.draw(st.sampled_from(("topk", "bottomk"))), ("m",), ("j",)), where))
    taken = b.access(values, m=Access(index, tuple(Coord(r) for r in made)))
    other = tuple(r for r in b.tensors[values] if r not in ("m", *made))
    result = b.add((*made, *other), taken)
    b.tensors.pop(result)


def _input_gather(b: _Builder) -> None:
    values, index = b.source_with("m"), f"I{b.read + 1}"
    b.read += 1
    # An index tensor over p: arrays_for fills it with coordinates of m.
    rest = tuple(r for r in b.tensors[values] if r not in ("m", "p"))
    taken = b.access(values, m=Access(index, (Coord("p"),)))
    if "p" not in b.tensors[values]:
        b.add(("p", *rest), taken)


def _scatter(b: _Builder) -> None:
    values = b.source_with("p")
    b.read += 1
    index = f"I{b.read}"
    rest = tuple(r for r in b.tensors[values] if r != "p")
    name, out = b.name(), b.name()
    head = b.draw(st.sampled_from((None, Reduction("max", ("p",)), Reduction("sum", ("p",)))))
    b.einsums.append(Einsum((Access(name, (Access(index, (Coord("p"),)), *(Coord(r) for r in rest))),),
                            (b.access(values),), head))
    b.extra["s"] = 3
    b.einsums.append(Einsum((Access(out, (Coord("s"), *(Coord(r) for r in rest))),),
                            (Call("tanh", (Access(name, (Coord("s"), *(Coord(r) for r in rest))),)),)))


def _partition(b: _Builder) -> None:
    tensor = b.source_with("m")
    b.split = True
    ranks = b.tensors[tensor]
    whole = Call("add", (Call("mul", (Coord("m1"), Extent("M0"))), Coord("m0")))
    rest = tuple(r for r in ranks if r != "m")
    tiles = b.add(("m1", "m0", *rest), b.access(tensor, m=whole))
    local = b.add(("m1", *rest), b.access(tiles), Reduction(b.draw(st.sampled_from(("max", "sum", "min"))), ("m0",)))
    b.add(rest, b.access(local), Reduction("max", ("m1",)))
    for name in (tiles, local):
        b.tensors.pop(name)


def _window(b: _Builder) -> None:
    tensor = b.source_with("m")
    width = Extent("W")
    ranks, j = b.tensors[tensor], Coord("w")
    b.extra["w"] = 2
    rest = tuple(r for r in ranks if r not in ("m", "p"))
    if "p" in ranks:
        return
    half = Call("sub", (Coord("p"), Call("floordiv", (width, Num(2.0)))))
    kind = b.draw(st.sampled_from(("clamp", "fill", "stride", "absent")))
    fill = None
    match kind:
        case "clamp":
            index: Expr = Call("add", (Call("clamp", (half, Num(0.0), Call("sub", (Extent("M"), width)))), j))
        case "fill":
            index, fill = Call("add", (half, j)), b.draw(st.sampled_from((0.0, -1.0, float("-inf"))))
        case "stride":
            index = Call("add", (Call("mul", (Num(2.0), Coord("p"))), j))
        case _:
            index = Call("add", (half, j))
    indices = tuple(index if r == "m" else Coord(r) for r in ranks)
    b.add(("p", *rest), Call("tanh", (Access(tensor, indices, fill),)), Reduction("max", ("w",)))


def _quasi_affine(b: _Builder) -> None:
    tensor = b.source_with("m")
    rest = tuple(r for r in b.tensors[tensor] if r not in ("m", "p"))
    if "p" in b.tensors[tensor]:
        return
    op = b.draw(st.sampled_from(("floordiv", "mod")))
    b.add(("p", *rest), b.access(tensor, m=Call(op, (Coord("p"), Num(2.0)))))


def _tuple(b: _Builder) -> None:
    first = b.source_with("m")
    ranks = b.tensors[first]
    b.read += 1
    second = f"X{b.read}"
    b.tensors[second] = ranks
    operator = b.draw(st.sampled_from((LINEAR, ROTATION)))
    b.operators[operator.name] = operator
    left, right = b.name(), b.name()
    rest = tuple(r for r in ranks if r != "m")
    bodies: tuple[Expr, ...] = (Call("tanh", (b.access(first),)), Call("tanh", (b.access(second),)))
    if b.draw(st.booleans()):
        out, where = rest, b.predicate(ranks)
    else:
        out, where = ("q", *rest), Call("le", (Coord("m"), Coord("q")))
        b.extra.setdefault("q", b.draw(st.integers(1, 4)))
    b.einsums.append(Einsum(tuple(Access(n, tuple(Coord(r) for r in out)) for n in (left, right)), bodies,
                            Reduction(operator.name, ("m",)), where))
    if out == rest:
        b.tensors[left] = b.tensors[right] = rest


STEPS: tuple[Callable[[_Builder], None], ...] = (
    _map, _map, _contraction, _contraction, _named, _softmax, _prefix, _recurrence, _gather, _input_gather, _scatter,
    _partition, _window, _quasi_affine, _tuple)
"""The steps of a random cascade; the commonest stand twice."""


@st.composite
def random_sample(draw: Callable[[Any], Any], size: int = 6) -> Sample:
    """Draws a valid cascade of up to ``size`` steps with an extent for every rank that it mentions."""
    b = _Builder(draw)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=size)):
        step(b)
    if not b.einsums:
        _map(b)
    order = draw(st.permutations(range(len(b.einsums))))
    einsums = tuple(b.einsums[i] for i in order)
    declared = tuple(draw(st.lists(st.sampled_from([e.name for e in einsums]), max_size=1)))
    cascade = Cascade(einsums, tuple(b.inits), declared, operators=tuple(b.operators.values()))
    sizes = {rank: draw(st.integers(*POOL[rank])) for rank in sorted(POOL)}
    sizes |= b.extra
    if b.split:
        sizes["m0"] = draw(st.integers(1, 3))
    known = mentioned(cascade)
    return Sample(cascade, resolve_extents(cascade, {r: size for r, size in sizes.items() if r in known}))


def random_cascade(size: int = 6) -> st.SearchStrategy[Cascade]:
    """Draws a valid cascade of up to ``size`` steps."""
    return random_sample(size).map(lambda sample: sample.cascade)


def arrays_for(sample: Sample, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns inputs for a sample: normal values, and coordinates in range for index tensors.

    Scattered and gathered dimensions have at most 3 coordinates to hit, so that some meet.
    """
    rng = np.random.default_rng(seed)
    found = structure(sample.cascade)
    arrays = {}
    for tensor in found.inputs:
        shape = tuple(_size(sample, name) for name in found.dimensions[tensor])
        if tensor in found.index_tensors:
            arrays[tensor] = rng.integers(0, min(sample.extents.get("m", 3), 3), shape)
        else:
            arrays[tensor] = np.round(rng.normal(size=shape), 3)
    return arrays


def _size(sample: Sample, rank: str | None) -> int:
    # Only windows and gathers leave a dimension without a name, and they read along m.
    return sample.extents.get(rank if rank is not None else "m", POOL["m"][1])
