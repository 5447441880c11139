"""Passes and held tensors against brute force, on cascades by hand and at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.footprint import live_footprint
from einsum_cascades.analysis.passes import passes
from einsum_cascades.errors import ExtentError, NotationError
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Call, Cascade, Coord, Expr, walk
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.structure import structure
from tests.einsum_cascades.pass_oracle import held_of, leaves_of, passes_of
from tests.einsum_cascades.point_oracle import expand
from tests.einsum_cascades.strategies import random_cascade
from tests.einsum_cascades.test_passes import DEFERRED, LITERATURE, LOCAL, ONE_PASS, SINKHORN, TABLE, THREE_PASS

LONG, SHORT = 6, 4
"""Extents of the rank that is tried, and of all others."""


def extents_for(cascade: Cascade, rank: str, short: int = SHORT) -> dict[str, int]:
    """Returns extents on which a rank is long; parts of a composite are 4 and 2."""
    composites = structure(cascade).composites
    sizes = {r: short for r in mentioned(cascade) if r not in composites}
    for parts in composites.values():
        sizes |= {parts[0]: 4 if set(leaves_of(cascade, rank)) & set(parts) else 2, **dict.fromkeys(parts[1:], 2)}
    if rank not in composites:
        sizes[rank] = LONG
    try:
        return resolve_extents(cascade, sizes)
    except ExtentError:
        # Ranks that index the same dimension are equally long.
        return resolve_extents(cascade, dict.fromkeys(sizes, LONG))


def agree(cascade: Cascade, rank: str, extents: dict[str, int], *, loose: int = 3) -> bool:
    """Asserts that a rank's passes, and what is held along it, lie between brute force with lags up to ``loose`` and
    with lags of 1: on tiny extents the first takes too much for a constant, the second too little.

    Returns whether brute force could tell.
    """
    most, least = passes_of(cascade, extents, rank), passes_of(cascade, extents, rank, lag=loose)
    if most is None or least is None:
        return False
    counted = passes(cascade, extents)[rank]
    assert isinstance(counted, int)
    assert least <= counted <= most, f"{rank}: {counted} passes, by brute force {least} to {most}\n{to_text(cascade)}"
    certain, possible = held_of(cascade, extents, rank, lag=loose), held_of(cascade, extents, rank)
    if certain is not None and possible is not None:
        held = {(tensor, d) for tensor, found in live_footprint(cascade).items() for d, ranks in enumerate(found.held)
                if rank in ranks}
        assert certain <= held <= possible, f"{rank}\n{to_text(cascade)}"
    return True


IN_PLACE = "\n".join(line for line in ONE_PASS.splitlines() if not line.startswith(("BK", "BV"))).replace(
    "BK[e,m1,m0]", "K[m1*M0 + m0, e]").replace("BV[f,m1,m0]", "V[m1*M0 + m0, f]")
"""One-pass attention that reads the tiles of K and V where they are: fewer nodes to try."""

HARD = {
    "a filter of one coordinate": ("G[] = X[k] where k == 2; Z[k] = X[k] * G[]", 1),
    "a filter of none but the first": ("G[] = X[k] where k < 1; Z[k] = X[k] * G[]", 1),
    "start and end": ("G[] = X[k] where k < 2; Z[k] = X[k] * G[] where k >= K - 2", 1),
    "end and start": ("G[] = X[k] where k >= K - 2; Z[k] = X[k] * G[] where k < 2", 1),
    "read from both ends": ("B[k] = exp(A[k]); Z[k] = B[k] * B[K - 1 - k]", 1),
    "a scan, read from the other end": ("init F[0] = 0; F[k+1] = F[k] * 0.5 + X[k]; Z[k] = F[k+1] * F[K - k]", 2),
    "twice as far": ("B[k] = exp(A[k]); Z[k] = B[k] * B[2*k; fill=0]", 1),
    "half as far": ("B[k] = exp(A[k]); Z[k] = B[k] * B[k//2]", 1),
    "twice and half as far": ("init F[0] = 0; F[k+1] = F[k] * 0.5 + A[k]; Z[k] = F[k+1] * A[k] * F[2*k+1; fill=0]", 2),
    "the next on a ring": ("B[k] = exp(A[k]); Z[k] = B[k] * B[(k + 1) % K]", 1),
    "the one before on a ring": ("B[k] = exp(A[k]); Z[k] = B[k] * B[(k + K - 1) % K]", 1),
    "both neighbours on a ring": ("B[k] = exp(A[k]); Z[k] = B[(k + 1) % K] * B[(k + K - 1) % K]", 1),
    "a bound that is far from most": (
        "B[k] = exp(A[k]); C[k] = B[min(k, 1)] * B[k]; init R[K] = 0; R[k] = R[k+1] + A[k]; Z[k] = R[k] * C[k]", 2),
    "a suffix and a backward scan": (
        "S[q] = X[k] where k >= q; init R[K] = 0; R[k] = R[k+1] * 0.5 + X[k]; Z[k] = S[k] * R[k] * X[k]", 1),
    "a suffix and a forward scan": (
        "S[q] = X[k] where k >= q; init F[0] = 0; F[k+1] = F[k] * 0.5 + X[k]; Z[k] = S[k] * F[k+1] * X[k]", 2),
    "all but itself": ("S[q] = X[k] where k != q; Z[k] = S[k] * X[k]", 2),
    "a seed that sums all": ("init F[0] = G[]; G[] = X[k]; F[k+1] = F[k] * 0.5 + X[k]", 2),
    "a seed of another tensor": ("init F[0] = G[]; G[] = A[k]; F[k+1] = F[k] * 0.5 + X[k]", 1),
    "a prefix of a prefix": (
        "P[q] = X[k] where k <= q; R[q] = Y[k] where k < q; Y[k] = P[k] * X[k]; Z[k] = R[k] * Y[k]", 1),
    "a prefix of a suffix": (
        "P[q] = X[k] where k >= q; R[q] = Y[k] where k <= q; Y[k] = P[k] * X[k]; Z[k] = R[k] * Y[k]", 2),
    "what is recomputed": ("G[] = X[k]; T[k] = A[k] * A[k]; D[] = T[k] * G[]; Z[k] = A[k] * D[]", 2),
    "recomputed through two gates": ("G[] = X[k]; T[k] = A[k] * G[]; D[] = T[k]; Z[k] = X[k] * D[]", 2),
}


@pytest.mark.parametrize(("text", "count"), HARD.values(), ids=HARD)
def test_hard_cases(text: str, count: int) -> None:
    cascade = parse(text)
    assert passes(cascade)["k"] == count
    assert agree(cascade, "k", extents_for(cascade, "k", LONG))


# What data decides is present on every coordinate here, also of a segment that has none: left out.
TEXTS = [text for text, _ in (*TABLE.values(), *LITERATURE.values())
         if text not in (ONE_PASS, SINKHORN) and "Off" not in text]


@pytest.mark.parametrize("text", TEXTS)
def test_table_and_literature(text: str) -> None:
    cascade = parse(text)
    if "m1*M0 + m0 <= p" in text:
        # Two queries see one tile, which tells no lag from all; eight see them all.
        extents = resolve_extents(cascade, {"p": 8, "m1": 4, "m0": 2, "e": 1, "f": 1})
        assert (passes_of(cascade, extents, "m", lag=2), passes_of(cascade, extents, "m0", lag=2)) == (1, 2)
        return
    told = [agree(cascade, rank, extents_for(cascade, rank, 2)) for rank in passes(cascade)]
    assert any(told)


@pytest.mark.parametrize("text", [IN_PLACE, THREE_PASS, DEFERRED, LOCAL])
def test_attention(text: str) -> None:
    cascade = parse(text)
    for rank in passes(cascade):
        extents = extents_for(cascade, rank, 2)
        found = passes_of(cascade, extents, rank, lag=2, most=11)
        assert found == passes(cascade)[rank] or found is None and rank == "p", rank


@pytest.mark.parametrize("rank", ["i", "j"])
def test_sinkhorn(rank: str) -> None:
    """The oracle splits the enclosing iteration by generation by itself."""
    cascade = parse(SINKHORN)
    for generations in (1, 2):
        extents = {"i": 2, "j": 2, rank: 4, "t": generations}
        assert passes_of(cascade, extents, rank, most=10) == generations + 1 == passes(cascade, extents)[rank]


# --- at random ---

def compares_itself(expr: Expr) -> bool:
    """Returns whether a predicate compares a coordinate with itself: brute force sees more there than analyses."""
    return any(isinstance(e, Call) and len(e.args) == 2 and e.args[0] == e.args[1] and isinstance(e.args[0], Coord)
               for e in walk(expr))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(random_cascade(5), st.data())
def test_random_cascades(cascade: Cascade, data: Any) -> None:
    assume(not any(e.where is not None and compares_itself(e.where) for e in cascade.einsums))
    assume(passes(cascade))
    rank = data.draw(st.sampled_from(sorted(passes(cascade))))
    agree(cascade, rank, extents_for(cascade, rank))


class Lines:
    """Builds a random cascade over one rank, with every kind of read that passes are about.

    A cascade has reads from the other end or reads of neighbours, twice at most: on six coordinates no more lags can
    be told from a wait for all.
    """

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.plain, self.histories, self.scalars = ["X", "A"], [], []  # type: list[str], list[str], list[str]
        self.distant = 2
        self.folds = draw(st.booleans())

    def one(self, *choices: str) -> str:
        return str(self.draw(st.sampled_from(choices)))

    def vector(self) -> str:
        name = self.one(*self.plain, *self.histories)
        return f"{name}[k+1]" if name.startswith("F") else f"{name}[k]"

    def gate(self) -> str:
        return f" * {self.one(*self.scalars)}[]" if self.scalars and self.draw(st.booleans()) else ""

    def add(self, number: int) -> None:
        n, kind = number, self.one("map", "map", "sum", "sum", "filter", "forward", "backward", "prefix", "prefix",
                                   "distant", "last", "history")
        if kind == "distant":
            self.distant -= 1
            kind = "map" if self.distant < 0 else "mirror" if self.folds else "shift"
        match kind:
            case "map":
                self.lines.append(f"T{n}[k] = {self.vector()} * {self.vector()}{self.gate()}")
                self.plain.append(f"T{n}")
            case "sum":
                self.lines.append(f"G{n}[] = {self.one('sum', 'max')}[k] {self.vector()}{self.gate()}")
                self.scalars.append(f"G{n}")
            case "filter":
                where = self.one("k < 3", "k >= 2", "k > 0", "k < K - 1", "k >= K - 3")
                self.lines.append(f"G{n}[] = sum[k] {self.vector()}{self.gate()} where {where}")
                self.scalars.append(f"G{n}")
            case "forward" | "backward":
                seed = f"{self.one(*self.scalars)}[]" if self.scalars and self.draw(st.booleans()) else "0"
                name, slot = (f"F{n}", "0") if kind == "forward" else (f"R{n}", "K")
                left, right = ("k+1", "k") if kind == "forward" else ("k", "k+1")
                self.lines += [f"init {name}[{slot}] = {seed}",
                               f"{name}[{left}] = {name}[{right}] * 0.5 + {self.vector()}{self.gate()}"]
                self.histories.append(name)
            case "prefix":
                where = self.one("k <= q", "k < q", "k >= q", "k > q", "k != q", "k <= q - 1",
                                 "k <= q" if self.folds else "k <= q and q - k < 2")
                self.lines += [f"P{n}[q] = sum[k] {self.vector()}{self.gate()} where {where}",
                               f"T{n}[k] = P{n}[k] * {self.vector()}"]
                self.plain.append(f"T{n}")
            case "shift" | "mirror":
                index = self.one("k - 1; fill=0", "k + 1; fill=0") if kind == "shift" else "K - 1 - k"
                self.lines.append(f"T{n}[k] = {self.vector()} * {self.one(*self.plain)}[{index}]{self.gate()}")
                self.plain.append(f"T{n}")
            case _ if self.histories:
                name = self.one(*self.histories)
                slot, last = ("q+1", "K") if name.startswith("F") else ("q", "0+0")
                if kind == "last":
                    self.lines.append(f"G{n}[] = {name}[{last}] * 2")
                    self.scalars.append(f"G{n}")
                else:
                    self.lines.append(f"T{n}[k] = sum[q] {name}[{slot}] * {self.vector()} where q <= k")
                    self.plain.append(f"T{n}")


@st.composite
def pass_cascade(draw: Callable[[Any], Any]) -> Cascade:
    """Draws a cascade over k of up to 6 steps; a step may add two lines."""
    lines = Lines(draw)
    for number in range(draw(st.integers(2, 6))):
        lines.add(number)
    try:
        cascade = parse("\n".join(lines.lines))
    except NotationError:
        assume(False)
        raise
    assume(cascade.einsums and "k" in structure(cascade).ranks)
    return cascade


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pass_cascade())
def test_random_reads(cascade: Cascade) -> None:
    agree(cascade, "k", dict.fromkeys(mentioned(cascade), LONG))


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(pass_cascade())
def test_many_random_reads(cascade: Cascade) -> None:
    agree(cascade, "k", dict.fromkeys(mentioned(cascade), LONG))


# --- the oracle itself ---

def test_oracle_evaluates_and_skips() -> None:
    """Points of a window at a border, by hand: three outputs, of which the outer ones see two inputs."""
    made = expand(parse("Z[t] = X[t - 1 + s] * W[s]; Y[t] = X[t + 0]"), {"t": 3, "s": 3})
    read: dict[int, set[object]] = {}
    for p in made.points:
        if p.number == 0:
            read.setdefault(p.at["t"], set()).update(e for e in p.reads if e[0] == "X")
    assert read == {0: {("X", (0,)), ("X", (1,)), ("X", (2,))} - {("X", (2,))}, 1: {("X", (i,)) for i in range(3)},
                    2: {("X", (i,)) for i in range(1, 4)}}


def test_oracle_counts_lags() -> None:
    """Each shift against the direction of a scan needs a lag of 1: three in a row need 3, or a sweep backwards."""
    cascade = parse("init F[0] = 0; F[k+1] = F[k] * 0.5 + X[k]; B[k] = F[k + 2] * X[k]\n"
                    "C[k] = B[k + 1; fill=0] * X[k]; D[k] = C[k + 1; fill=0] * X[k]")
    assert [passes_of(cascade, {"k": 6}, "k", lag=lag) for lag in (0, 1, 2, 3)] == [2, 2, 2, 1]
    assert passes(cascade) == {"k": 1}
