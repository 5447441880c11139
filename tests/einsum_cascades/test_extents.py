"""Extents from the text, from arrays and from what is given; composites; conflicts and gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascades.errors import ExtentError
from einsum_cascades.extents import known_extents, mentioned, resolve_extents
from einsum_cascades.notation import parse

TILES = "LM[m1,p] = max[m0] S[p,m0,m1]\nS[p,m0,m1] = Q[p,e] * K[m1*M0 + m0, e]\nGM[p] = max[m1] LM[m1,p]"


def test_bare_accesses_bind_ranks_to_the_shapes_of_arrays() -> None:
    cascade = parse("Z[p,f] = A[p,m] * V[m,f]")
    assert resolve_extents(cascade, {}, {"A": (2, 3), "V": (3, 5)}) == {"p": 2, "f": 5, "m": 3}


def test_two_ranks_of_one_dimension_are_equally_long() -> None:
    assert resolve_extents(parse("Z[p,m] = X[p,e] * X[m,e]"), {"p": 4, "e": 2}) == {"p": 4, "m": 4, "e": 2}
    assert resolve_extents(parse("Z[i] = T[i]\nT[j] = X[j]"), {"i": 4}) == {"i": 4, "j": 4}


def test_extents_of_the_text_count() -> None:
    assert resolve_extents(parse("extent M0 4\n" + TILES), {"m": 10, "p": 1, "e": 1})["m1"] == 3


@given(st.integers(1, 40), st.integers(1, 12))
def test_of_a_composite_and_its_parts_the_missing_one_follows(m: int, m0: int) -> None:
    cascade = parse(TILES)
    m1 = (m + m0 - 1) // m0
    everything = {"m": m, "m0": m0, "m1": m1, "p": 2, "e": 2}
    assert resolve_extents(cascade, everything) == everything
    assert resolve_extents(cascade, {"m0": m0, "p": 2}, {"K": (m, 2)}) == everything
    assert resolve_extents(cascade, {"m1": m1, "m0": m0, "p": 2, "e": 2})["m"] == m1 * m0
    other = resolve_extents(cascade, {"m": m, "m1": m1, "p": 2, "e": 2})["m0"]
    assert m1 * other >= m > m1 * (other - 1)


def test_composites_of_three_parts() -> None:
    cascade = parse("Z[] = A[(m2*M1 + m1)*M0 + m0]")
    assert resolve_extents(cascade, {"m1": 3, "m0": 4}, {"A": (25,)}) == {"m2": 3, "m1": 3, "m0": 4, "m": 25}


def test_parts_without_a_common_name_are_composites_too() -> None:
    assert resolve_extents(parse("Z[g,r] = A[g*R + r]"), {"r": 3}, {"A": (12,)}) == {"g": 4, "r": 3}


def test_a_clamped_window_names_the_dimension_it_stays_in() -> None:
    cascade = parse("W[p,j] = K[clamp(p - J//2, 0, M - J) + j]")
    assert resolve_extents(cascade, {"p": 4, "j": 3}, {"K": (7,)}) == {"p": 4, "j": 3, "m": 7}


def test_a_read_with_a_fill_does_not_bind() -> None:
    cascade = parse("U[t] = where(t < L, A[t; fill=0], B[t - L; fill=0])")
    assert resolve_extents(cascade, {"t": 7, "l": 3}, {"A": (3,), "B": (4,)}) == {"t": 7, "l": 3}


def test_a_sort_makes_a_rank_as_long_as_the_one_it_sorts() -> None:
    assert resolve_extents(parse("O[j] = sort[m; j](S[m])"), {}, {"S": (6,)}) == {"j": 6, "m": 6}


def test_another_rank_over_the_slots_of_an_iteration_has_one_more() -> None:
    cascade = parse("init H[0] = 0\nH[i+1] = H[i] + X[i]\nY[s] = H[s]")
    assert resolve_extents(cascade, {"i": 3}) == {"i": 3, "s": 4}
    assert resolve_extents(cascade, {"i": 3, "s": 2}) == {"i": 3, "s": 2}


def test_named_extents_without_a_rank_are_parameters() -> None:
    cascade = parse("S[p,m] = X[p,m] where p - m < W")
    assert mentioned(cascade) == ("p", "m", "w")
    assert resolve_extents(cascade, {"w": 2}, {"X": (3, 3)})["w"] == 2


def test_known_extents_leaves_gaps() -> None:
    assert known_extents(parse(TILES), {"p": 3}) == {"p": 3}


@pytest.mark.parametrize(("text", "given_extents", "shapes", "message"), [
    ("Z[p] = A[p,m] * B[m]", {}, {"A": (2, 3), "B": (4,)},
     ("cascade: rank 'm': it is bound to two extents, got 3 (dimension 2 of A) and 4 (dimension 1 of B); make them equal or "
     "use two ranks")),
    ("Z[p] = A[p,m] * B[m]", {"m": 5}, {"A": (2, 3)},
     ("cascade: rank 'm': it is bound to two extents, got 5 (given) and 3 (dimension 2 of A); make them equal or use two "
     "ranks")),
    ("extent M 4\nZ[p] = A[p,m] * B[m]", {"m": 5}, {},
     "cascade: rank 'm': it is bound to two extents, got 4 ('extent M') and 5 (given); make them equal or use two ranks"),
    ("Z[p] = A[p,m] * B[m]", {"p": 3}, {},
     ("cascade: rank 'm': it has no extent, got none from the text, the arrays or the ranks given; give one, as in --extent "
     "m=16")),
    ("I[p,j] = topk[m; j](S[p,m])", {}, {"S": (3, 4)},
     ("cascade: rank 'j': it has no extent, got none from the text, the arrays or the ranks given; give one, as in --extent "
     "j=16")),
    ("Z[p] = A[p,m]", {"n": 3}, {},
     "cascade: rank 'n': the cascade has no such rank, got an extent of 3 for it; valid: m, p"),
    ("Z[p] = A[p,m]", {"m": 0}, {}, "cascade: rank 'm': an extent is a whole number of at least 1, got 0; give one"),
    ("Z[p] = A[p,m]", {}, {"A": (3,)},
     "cascade: tensor 'A': it has 2 dimensions (p, m), got an array of shape (3,); give an array of that many dimensions"),
    (TILES, {"m": 10, "m0": 4, "m1": 2, "p": 1, "e": 1}, {},
     "cascade: rank 'm1': it is bound to two extents, got 2 and 3 = ceil(m / 4) with m = 10; leave one of m, m1, m0 out"),
], ids=["arrays", "given", "text", "gap", "topk", "unknown", "zero", "dimensions", "composite"])
def test_conflicts_and_gaps(text: str, given_extents: dict[str, int], shapes: dict[str, tuple[int, ...]],
                            message: str) -> None:
    with pytest.raises(ExtentError) as caught:
        resolve_extents(parse(text), given_extents, shapes)
    assert str(caught.value) == message
