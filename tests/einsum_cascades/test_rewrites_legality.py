"""The conditions of single rewrites: from declared properties and presence, never from names."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascades.errors import FusebenchError, UnknownNameError
from einsum_cascades.extents import mentioned
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.rewrites import IllegalRewriteError, NoRewriteError, apply, rewrite
from einsum_cascades.rewrites.algebra import lower_bound, nonnegative, ring_of, upper_bound
from einsum_cascades.rewrites.canonical import Canon
from einsum_cascades.rewrites.derivation import derive
from einsum_cascades.rewrites.registry import rewrites
from einsum_cascades.structure import structure
from tests.einsum_cascades.rewrite_cases import ATTENTION

SOFTMAX = """
G[p] = max[m] S[p,m]
N[p,m] = ex(S[p,m] - G[p])
D[p] = N[p,m]
O[p,f] = N[p,m] / D[p] * V[m,f]
"""


def refused(text: str, name: str, *site: str) -> str:
    """Returns why a rewrite is not legal."""
    with pytest.raises(IllegalRewriteError) as caught:
        apply(parse(text), name, *site)
    message = str(caught.value)
    assert "\n" not in message
    return message


def made(text: str, name: str, *site: str) -> Cascade:
    return apply(parse(text), name, *site).cascade


# --- declared properties decide ---

def test_an_undeclared_map_is_its_definition() -> None:
    assert rewrite(parse("op ex(x) = exp(x)" + SOFTMAX)).passes["m"] == 1
    with pytest.raises(NoRewriteError, match="'tanh' mixes both"):
        rewrite(parse("op ex(x) = tanh(x)" + SOFTMAX))


def test_a_declared_map_needs_no_definition_that_is_known() -> None:
    # 3 to the power of x: nothing of it is in the table.
    op = "op ex(x) = pow(3, x) homomorphism(add, mul) homomorphism(sub, div) monotone"
    derived = rewrite(parse(op + SOFTMAX)).cascade
    assert derived.operators == parse(op + SOFTMAX).operators
    rng = np.random.default_rng(0)
    arrays = {"S": rng.normal(size=(3, 7)) * 80, "V": rng.normal(size=(7, 2))}
    wanted = run(parse(op + SOFTMAX), arrays)
    np.testing.assert_allclose(run(derived, arrays, {"m0": 2})["O"], wanted["O"], rtol=1e-11)
    with pytest.raises(NoRewriteError, match="'pow' mixes both"):
        rewrite(parse("op ex(x) = pow(3, x)" + SOFTMAX))


def test_a_map_that_falls_is_bounded_from_below() -> None:
    op = "op ex(x) = exp(-x) homomorphism(add, mul)"
    # Only maps that grow can be declared 'monotone': this one's definition is used, the exponential of a negative.
    text = op + SOFTMAX.replace("max[m]", "min[m]")
    derived = rewrite(parse(text)).cascade
    assert "min(RG" in to_text(derived)


def test_the_algebra_of_the_table() -> None:
    add, top = ring_of("add"), ring_of("max")
    assert add is not None
    assert top is not None
    assert (add.mul, add.div, add.sub) == ("mul", "div", "sub")
    assert (top.mul, top.div, top.sub) == ("add", "sub", None)
    assert ring_of("or") is None
    assert (upper_bound(), lower_bound()) == ("max", "min")


@pytest.mark.parametrize(("expr", "wanted"), [
    ("exp(X[p])", True), ("X[p]", False), ("square(X[p]) + 1", True), ("square(X[p]) - 1", False), ("D[p]", True),
    ("D[p] / (E * sqrt(X[p]))", True), ("-D[p]", False), ("where(X[p] > 0, D[p], 2)", True), ("where(X[p] > 0, D[p], -2)", False),
    ("max(X[p], D[p])", False), ("C[p]", True), ("G[p]", False),
])
def test_signs_follow_from_declarations(expr: str, wanted: bool) -> None:
    cascade = parse(f"""D[p] = sum[e] exp(Y[p,e])
C[p] = count[e] Y[p,e]
G[p] = max[e] exp(Y[p,e])
Z[p] = {expr}
output D, C, G""")
    line = structure(cascade).producers["Z"]
    assert nonnegative(line.body, structure(cascade).producers, cascade) is wanted


def test_a_factor_of_unknown_sign_does_not_leave_a_maximum() -> None:
    text = "T[] = sum[m] Y[m]\nB[p] = max[m] {}\n"
    assert "'mul' mixes both" in refused(text.format("X[p,m] * T[]"), "defer", "B", "m")
    assert to_text(made(text.format("X[p,m] * exp(T[])"), "defer", "B", "m")).endswith("B[p] = NB[p] * exp(T[])\n")
    assert to_text(made(text.format("X[p,m] - T[]"), "defer", "B", "m")).endswith("B[p] = NB[p] - T[]\n")


def test_a_map_does_not_leave_a_maximum_that_may_be_empty() -> None:
    text = "T[] = sum[m] Y[m]\nB[p] = max[m] exp(X[p,m] - T[]){}\n"
    assert "B[p] = exp(NB[p] - T[])" in to_text(made(text.format(""), "defer", "B", "m"))
    # exp(-inf) is 0, and the maximum of nothing is -inf.
    assert "'exp' mixes both" in refused(text.format(" where m < p"), "defer", "B", "m")


# --- presence decides ---

def test_a_factor_that_may_be_absent_stays_inside() -> None:
    text = """D[p] = sum[m] N[p,m] where p < 2
A[p] = sum[m] W[p,m] * D[p]{}
Z[p] = A[p] + 1
"""
    # Both are absent where D is: nothing changes.
    assert "A[p] = NA[p] * D[p]" in to_text(made(text.format(""), "defer", "A", "m"))


def test_what_a_lost_read_filtered_is_filtered_still() -> None:
    text = """S[p,m] = X[p,m] where m <= p
G[p] = sum[m] Y[p,m]
A[p] = sum[m] (S[p,m] - G[p])
"""
    derived = made(text, "defer", "A", "m")
    assert "CA[p] = count[m] S[p,m]" in to_text(derived)
    rng = np.random.default_rng(0)
    arrays = {"X": rng.normal(size=(4, 4)), "Y": rng.normal(size=(4, 4))}
    np.testing.assert_allclose(run(derived, arrays)["A"], run(parse(text), arrays)["A"], rtol=1e-12)


def test_a_gather_says_where_it_is_present_only_itself() -> None:
    text = """G[p] = sum[m] Y[p,m]
A[p] = sum[m] (X[p,I[p,m]] - G[p]) * W[m]
"""
    assert "where its terms are present is not known as a predicate, got I[p,m] of dimension 2 of X" in refused(text, "defer", "A", "m")


# --- single rewrites ---

@pytest.mark.parametrize(("text", "name", "site", "message"), [
    (ATTENTION, "defer", ("SD", "m"), "no factor can leave its reduction over 'm'"),
    (ATTENTION, "defer", ("SN", "m"), "it does not reduce rank 'm'"),
    ("Z[p] = var[m] X[p,m] * G[p]\nG[p] = Y[p,m]", "defer", ("Z", "m"), "'var' has no map that combines partial results"),
    ("Z[p] = max[m] X[p,m] * Y[m,e] * G[p]\nG[p] = W[p,m]", "defer", ("Z", "m"), "a sum stands inside of 'max'"),
    ("G[p] = X[p,m]\nZ[p] = sum[m] exp(X[p,m] * G[p])", "rebase", ("Z", "m"), "it multiplies one with the other"),
    (ATTENTION, "rebase", ("SD", "m"), "references that bound it already"),
    (ATTENTION, "rebase", ("GM", "m"), "got no mixture"),
    ("Z[m] = X[m] * 2", "partition", ("m",), "every Einsum over it needs the whole rank, got Z"),
    ("Z[] = X[m] * Y[m1]", "partition", ("m",), "its part 'm1' has a name that is taken"),
    ("device m\nZ[] = X[m]", "partition", ("m",), "its coordinates are devices"),
    ("Z[p] = argmax[m] X[p,m]", "partition", ("m",), "every Einsum over it needs the whole rank"),
    ("Z[] = sum[m] 1 where m < 3", "partition", ("m",), "its extent would be lost"),
    ("Z[p] = max[m] X[p,m]", "split", ("Z", "m"), "got nothing to split off"),
    ("Z[p] = mean[m, k] X[p,m,k]", "split", ("Z", "m"), "its partial results cannot be combined in any order"),
    ("Z[p] = max[m] X[p,m] * Y[m,e]", "split", ("Z", "e"), "a sum over rank 'e' stands inside of 'max'"),
    ("Z[p] = var[m] X[p,m]", "iterate", ("Z", "m"), "no map combines its partial results"),
    ("Z[p] = count[m] X[p,m]", "iterate", ("Z", "m"), "elements are counted one by one"),
    (ATTENTION, "carry", ("SD", "m"), "it is no sum of one product about running references"),
    (ATTENTION, "fold", ("GM",), "it is no plain map"),
    (ATTENTION, "fold", ("AV",), "it is no plain map"),
    ("A[m] = X[m] * 2\nB[m] = A[m - 1] + 1", "fold", ("A",), "it is read inside of an index, at a distance or with a fill"),
    ("A[m] = X[m] * 2\noutput A\nB[m] = A[m] + 1", "fold", ("A",), "it is an output"),
    ("A[m] = m * 2\nB[m] = A[m] + X[m]", "fold", ("A",), "nothing else says how long its ranks are"),
    (ATTENTION, "regroup", ("AV", "m"), "no factor is a sum of products along rank 'm'"),
    ("S[p,m] = Q[p,m,e] * K[m,e]\nO[p,f] = S[p,m] * V[m,f]", "regroup", ("O", "m"), "no factor is left to be summed after"),
    ("init R[0] = 0\nR[i+1] = R[i] + X[i]", "associative-scan", ("R",), "all of its slots are an output"),
    ("init R[0] = 0\nR[i+1] = 0.5 * R[i] + 1\nZ[] = R[I]", "associative-scan", ("R",), "its step is the same at every coordinate"),
    ("init R[0] = 0\nR[i+1] = 0.5 * R[i] + X[i] where X[i] > 0\nZ[] = R[I]", "associative-scan", ("R",), "got a predicate"),
    ("init R[0] = 0\nR[i+1] = A[i] * R[i] + X[i]\nA[i] = tanh(R[i])\nZ[] = R[I]", "associative-scan", ("R",),
     "its coefficient or its input depends on the state"),
    ("init R[0,n] = 0\nR[i+1,n] = M[i,n,k] * R[i,k]\nZ[n] = R[I,n]", "associative-scan", ("R",), "it is no recurrence of one value"),
    ("init R[I] = 0\nR[i] = 0.5 * R[i+1] + X[i]\nZ[i] = R[i]", "associative-scan", ("R",), "that goes forward"),
    ("init R[0,n] = 0\nR[i+1,n] = A[i] * R[i,n] + X[i,n]\nY[i] = R[i,n] * C[n]", "chunked-scan", ("R",),
     "reads another slot than the one after a step or the last"),
    ("init R[0,n] = 0\nR[i+1,n] = A[i] * R[i,n] + X[i,n]\nY[i,n] = tanh(R[i+1,n])", "chunked-scan", ("R",), "it is no sum of products"),
    ("init R[0,n] = -inf\nR[i+1,n] = max(R[i,n], X[i,n])\nY[i] = R[i+1,n] * C[n]", "chunked-scan", ("R",), "it is no linear recurrence"),
    ("init R[0,n] = 0\nR[i+1,n] = A[i] * R[i,n] + B[n]\nY[i] = R[i+1,n] * C[i,n]", "chunked-scan", ("R",),
     "it adds the same at every step"),
    ("init R[0,n] = 1\nR[i+1,n] = A[i] * R[i,n]\nY[i] = R[i+1,n] * C[i,n]", "chunked-scan", ("R",),
     "it is no linear recurrence"),
])
def test_a_condition_that_does_not_hold_is_said(text: str, name: str, site: tuple[str, ...], message: str) -> None:
    assert message in refused(text, name, *site)


def test_the_rewrites_are_those_of_the_page() -> None:
    assert {"defer", "rebase", "partition", "split", "iterate", "carry", "fold", "common-subexpressions", "dead-code",
            "regroup", "associative-scan", "chunked-scan"} == set(rewrites())
    assert all(r.summary.endswith((".", ":")) for r in rewrites().values())


def test_a_partition_bounds_what_nothing_else_bounds() -> None:
    text = "D[p] = sum[m] S[p,m] * K[m - 2]\nN[] = sum[m] Y[m] * 0 + 1 where m < 5\nS[p,m] = Q[p] * X[m]\n"
    derived = made(text, "partition", "m")
    rng = np.random.default_rng(1)
    arrays = {"Q": rng.normal(size=3), "X": rng.normal(size=7), "K": rng.normal(size=7), "Y": rng.normal(size=7)}
    wanted = run(parse(text), arrays)
    for tile in (1, 2, 3, 9):
        found = run(derived, arrays, {"m0": tile})
        np.testing.assert_allclose(found["D"], wanted["D"], rtol=1e-12)
        np.testing.assert_allclose(found["N"], wanted["N"], rtol=1e-12)


def test_an_iteration_that_no_tile_can_have_goes_coordinate_by_coordinate() -> None:
    derived = rewrite(parse(ATTENTION + "Z[m1] = Y[m1] * 2\n"), over="m").cascade
    assert {i.rank for i in structure(derived).iterative.values()} == {"m"}


def test_keys_see_through_names_and_order() -> None:
    cascade = parse("""A[p,m] = X[p,m] * Y[m]
B[p,m] = Y[m] * X[p,m] + 0 * Z[m]
G[p] = max[m] A[p,m] + W[m]
H[q] = max[k] W[k] + Y[k] * X[q,k]
C[p] = G[p] - H[p]
output B""")
    canon = Canon(cascade)
    producers = structure(cascade).producers
    left, right = producers["C"].body.args  # type: ignore[union-attr]
    assert canon.key(left) == canon.key(right)
    assert canon.key(producers["A"].output) != canon.key(producers["B"].output)


def test_equal_lines_are_made_one() -> None:
    text = "A[p] = max[m] X[p,m] * Y[m]\nB[p] = max[k] Y[k] * X[p,k]\nC[p] = A[p] + B[p]\nD[p] = A[p] - 1\n"
    assert to_text(made(text, "common-subexpressions")).startswith("A[p] = max[m] X[p,m] * Y[m]\nC[p] = A[p] + A[p]\n")


def test_a_tensor_of_a_tuple_does_not_become_an_output() -> None:
    text = """op cmul(r1, i1; r2, i2) = (r1*r2 - i1*i2, r1*i2 + i1*r2) identity (1, 0) associative commutative
(R[n], I[n]) = cmul[k] (A[k,n], B[k,n])
S[n] = R[n] * X[n]
U[n] = I[n] * 0
Z[n] = S[n] + 1
"""
    # Nothing reads U, but it is an output itself: I stays read.
    assert set(structure(made(text, "fold", "S")).outputs) == {"U", "Z"}


def test_the_outer_part_of_a_composite_iterates_without_new_tiles() -> None:
    text = """S[p,m1,m0] = X[p, m1*M0 + m0]
G[p] = max[m1,m0] S[p,m1,m0]
D[p] = sum[m1,m0] exp(S[p,m1,m0] - G[p])
"""
    derived = derive(parse(text), "m1", {}).cascade
    assert {i.rank for i in structure(derived).iterative.values()} == {"m1"}
    assert set(structure(derived).ranks) == {"p", "m1", "m0"}


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="unknown rewrite, got 'iterat'; did you mean 'iterate'"):
        apply(parse(ATTENTION), "iterat", "GM", "m")
    with pytest.raises(UnknownNameError, match="rewrite 'iterate': unknown tensor or rank, got 'GN'; did you mean 'SN'"):
        apply(parse(ATTENTION), "iterate", "GN", "m")
    with pytest.raises(FusebenchError, match="its site has 2 parts, got 1"):
        apply(parse(ATTENTION), "iterate", "GM")


@pytest.mark.parametrize("text", [
    # What a step adds knows its coordinate, or holds a part that does not: neither may count beyond the rank's end.
    """init H[0,n,f] = H0[n,f]
H[i+1,n,f] = A[i] * H[i,n,f] + B[n] * (i + 1) * X[f]
Y[i,f] = C[i,n] * H[i+1,n,f]
L[n,f] = H[I,n,f]
""",
    """init H[0,g,n,f] = 1
H[i+1,g,n,f] = H[i,g,n,f] * W[i,g] / V[g] - B[i,n] * X[i,g,f] + 0.5
Y[f,i,h] = C[i,n] * H[i+1,h//R,n,f]
L[f,n] = H[I,g,n,f]
""",
    # A coefficient of a kept rank, and one that is the same at every step.
    """init H[0,n,f] = 1
H[i+1,n,f] = H[i,n,f] * W[f] + B[i,n] * X[i,f]
Y[i,f] = C[i,n] * H[i+1,n,f] * G[i,f]
""",
    """init H[0,n] = 0
H[i+1,n] = 0.5 * H[i,n] + B[i,n]
Y[i] = C[i,n] * H[i+1,n]
L[n] = H[I,n]
""",
])
def test_a_chunked_scan_of_any_tile(text: str) -> None:
    cascade = parse(text)
    derived = made(text, "chunked-scan", "H")
    sizes = {"i": 7, "n": 2, "f": 3, "g": 2, "h": 4, "r": 2}
    given = {rank: sizes[rank] for rank in mentioned(cascade)}
    rng = np.random.default_rng(3)
    known = structure(cascade)
    arrays = {t: rng.normal(size=[sizes[r] for r in known.dimensions[t] if r is not None]) for t in known.inputs}
    wanted = run(cascade, arrays, given)
    for tile in (1, 3, 7, 10):
        found = run(derived, arrays, {**given, "i0": tile})
        for tensor, value in wanted.items():
            np.testing.assert_allclose(found[tensor], value, rtol=1e-10, atol=1e-12)
