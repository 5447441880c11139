"""The interpreter against the rules of the notation, one by one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.einsum_cascades.running import normal, output, outputs

INF = np.inf


# --- rule 1: names ---

def test_a_tensor_and_the_extent_of_a_rank_may_share_a_name() -> None:
    K = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert_array_equal(output("Z[d] = K[k,d] / K where k < K - 1", K=K), K[:2].sum(0) / 3)


def test_a_bare_rank_is_its_coordinate_and_a_scalar_has_no_rank() -> None:
    assert_array_equal(output("Z[m] = m * S[] + M", S=2.0, extents={"m": 4}), [4, 6, 8, 10])
    assert output("Z[] = S[] * S[]", S=3).shape == ()


# --- rule 2: precedence and reductions ---

@pytest.mark.parametrize(("expression", "value"), [
    ("2 + 3 * 4 - 5", 9), ("2 - 3 - 4", -5), ("24 / 4 / 2", 3), ("-2 * -3 + -1", 5), ("2 * (3 + 4)", 14),
    ("7 // 2 * 2 + 7 % 2", 7), ("-7 // 2", -4), ("-7 % 3", 2), ("1 < 2 and 2 < 1 or 3 < 4", 1),
    ("not 1 < 2 or 1 < 2", 1),
    ("1 <= 1 < 2", 1), ("(1 < 2) + (2 < 3)", 2), ("max(1, 3, 2) - min(1, 3, 2)", 2), ("where(2 < 1, 5, 6)", 6)])
def test_precedence(expression: str, value: float) -> None:
    assert output(f"Z[] = {expression} + 0 * X[]", X=0.0) == value


def test_a_named_reduction_takes_everything_and_unnamed_ranks_are_summed_inside() -> None:
    Q, K = normal(3, 4), normal(5, 4)
    assert_allclose(output("Z[p] = max[m] Q[p,e] * K[m,e]", Q=Q, K=K), (Q @ K.T).max(1))
    assert_allclose(output("Z[p] = sum[m] X[p,m] + 1", X=Q), Q.sum(1) + 4)


@pytest.mark.parametrize(("name", "value", "empty"), [
    ("sum", 3.5, 0), ("prod", 0, 1), ("max", 3, -INF), ("min", -1, INF), ("any", 1, 0), ("all", 0, 1), ("count", 4, 0),
    ("mean", 0.875, 0), ("var", np.var([1.5, 0, 3, -1]), 0), ("argmax", 2, 0), ("argmin", 3, 0)])
def test_reductions_and_their_value_of_an_empty_fiber(name: str, value: float, empty: float) -> None:
    X = np.array([1.5, 0.0, 3.0, -1.0])
    assert output(f"Z[] = {name}[m] X[m]", X=X) == value
    assert output(f"Z[] = {name}[m] X[m] where X[m] > 9", X=X) == empty
    # What is skipped takes no part: not as a number, nor as an element.
    assert output(f"Z[] = {name}[m] X[m] where X[m] != 0", X=X) == {
        "prod": -4.5, "all": 1, "count": 3, "mean": 3.5 / 3, "var": np.var([1.5, 3, -1])}.get(name, value)


# --- rule 3: absence ---

def test_where_a_predicate_fails_on_kept_ranks_the_element_is_absent_and_so_is_every_map_of_it() -> None:
    made = outputs("A[p] = X[p] where p < 2; B[p] = A[p] + 5; C[] = count[p] B[p]; D[] = mean[p] B[p]; output A, B",
                   X=np.array([1.0, 2.0, 3.0]))
    assert_array_equal(made["A"], [1, 2, 0])
    assert_array_equal(made["B"], [6, 7, 0])
    assert made["C"] == 2
    assert made["D"] == 6.5


def test_on_reduced_ranks_terms_are_skipped_and_nothing_left_gives_the_identity() -> None:
    X = normal(3, 3)
    made = outputs("A[p] = max[m] X[p,m] where m < p; B[] = count[p] A[p]; output A", X=X)
    assert_array_equal(made["A"], [-INF, X[1, 0], X[2, :2].max()])
    assert made["B"] == 3


def test_absence_that_does_not_depend_on_a_reduced_rank_goes_through_the_reduction() -> None:
    made = outputs("A[p,m] = X[p] * Y[m] where p < 2; B[p] = A[p,m]; C[] = count[p] B[p]\n"
                   "D[m] = sum[p] A[p,m]; output B",
                   X=np.ones(3), Y=np.ones(4))
    assert_array_equal(made["B"], [4, 4, 0])
    assert made["C"] == 2
    assert_array_equal(made["D"], [2, 2, 2, 2])


def test_conditions_joined_by_and_act_each_for_itself() -> None:
    made = outputs("A[p] = max[m] X[m] where p < 2 and m < 0; B[] = count[p] A[p]; output A",
                   X=np.ones(3), extents={"p": 3})
    assert_array_equal(made["A"], [-INF, -INF, 0])
    assert made["B"] == 2


def test_a_predicate_on_something_absent_fails() -> None:
    assert_array_equal(output("A[p] = X[p] where p < 2; Z[p] = 1 where A[p] > 0 or p < 9", X=np.ones(3)), [1, 1, 0])


def test_a_slot_whose_right_side_is_absent_keeps_the_one_before() -> None:
    X = np.array([1.0, 2.0, 3.0, 4.0])
    made = outputs("init H[0] = 10; H[i+1] = H[i] + X[i] where X[i] != 2; output H", X=X)
    assert_array_equal(made["H"], [10, 11, 11, 14, 18])
    # The same without a recurrence, and backwards.
    assert_array_equal(outputs("init H[0] = 10; H[i+1] = X[i] where X[i] != 2; output H", X=X)["H"], [10, 1, 1, 3, 4])
    assert_array_equal(outputs("init H[I] = 10; H[i] = X[i] where X[i] != 2; output H", X=X)["H"], [1, 3, 3, 4, 10])


def test_a_map_of_an_absent_operand_is_absent_even_if_it_would_not_use_it() -> None:
    assert_array_equal(output("A[p] = X[p] where p < 1; Z[p] = where(p < 9, 5, A[p])", X=np.ones(2)), [5, 0])


# --- rule 4: safe values ---

@pytest.mark.parametrize(("expression", "a", "b", "value"), [
    ("A[] / B[]", 0, 0, 0), ("A[] / B[]", 2, 0, INF), ("A[] / B[]", -2, 0, -INF), ("A[] / B[]", INF, INF, 0),
    ("A[] - B[]", -INF, -INF, -INF), ("A[] - B[]", -INF, INF, -INF), ("A[] - B[]", INF, INF, 0),
    ("A[] + B[]", INF, -INF, -INF),
    ("A[] * B[]", 0, INF, 0), ("A[] * B[]", -INF, 0, 0), ("log(A[])", 0, 0, -INF), ("log(A[])", -1, 0, -INF),
    ("sqrt(A[])", -1, 0, 0),
    ("exp(A[] - B[])", -INF, -INF, 0), ("sigmoid(A[])", -INF, 0, 0), ("silu(A[])", -INF, 0, 0),
    ("softplus(A[])", 1000, 0, 1000),
    ("exp(A[])", 1000, 0, INF), ("A[] % B[]", 3, 0, 0), ("A[] // B[]", 3, 0, 0), ("pow(A[], B[])", -8, 0.5, 0)])
def test_no_map_makes_a_nan(expression: str, a: float, b: float, value: float) -> None:
    assert output(f"Z[] = {expression} + 0 * A[] + 0 * B[]", A=a, B=b) == value


@pytest.mark.parametrize(("fiber", "value"), [
    ([INF, -INF, 1], -INF), ([-INF, 1, 2], -INF), ([INF, 1, 2], INF), ([1e308, 1e308, 1], INF)])
def test_sums_and_sums_of_products_with_infinities(fiber: list[float], value: float) -> None:
    assert output("Z[] = X[m]", X=np.array(fiber)) == value
    assert output("Z[] = X[m] * Y[m]", X=np.array(fiber), Y=np.ones(3)) == value


@pytest.mark.parametrize(("fiber", "value"), [([INF, -INF], -INF), ([-INF, INF], -INF), ([INF, 2], INF), ([3, 2], 5)])
def test_scatters_with_infinities(fiber: list[float], value: float) -> None:
    made = output("Y[I[t]] = X[t]; Z[s] = Y[s]", X=np.array(fiber), I=np.array([1, 1]), extents={"s": 3})
    assert_array_equal(made, [0, value, 0])


def test_a_product_of_0_and_infinity_is_0_also_inside_a_reduction() -> None:
    assert output("Z[] = prod[m] X[m]", X=np.array([INF, 0, -INF])) == 0
    assert output("Z[] = X[m] * Y[m]", X=np.array([0, 2.0]), Y=np.array([INF, 3.0])) == 6
    assert_array_equal(output("Z[p] = X[p,m] * Y[m] / D[p]", X=np.array([[0, 0], [1, 1], [1, -1], [-1, -1.0]]),
                              Y=np.ones(2), D=np.array([0, 2.0, 0, 0])), [0, 1, -INF, -INF])


# --- rules 5 and 6: order, slots, generations, outputs ---

def test_the_order_of_lines_has_no_meaning() -> None:
    lines = ["init H[0,e] = 1", "G[i,e] = H[i,e] * A[i,e]", "H[i+1,e] = G[i,e] + S[i]", "S[i] = G[i,e]",
             "Z[e] = H[I,e]"]
    A = normal(4, 3)
    H = np.ones(3)
    for a in A:
        G = H * a
        H = G + G.sum()
    for order in (lines, lines[::-1], lines[2:] + lines[:2]):
        assert_allclose(output("\n".join(order), A=A), H)


def test_a_slot_read_elsewhere_at_the_next_coordinate_is_of_the_same_generation() -> None:
    X = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    text = "init R[0] = -inf; R[i+1] = max(R[i], X[i]); Z[i] = "
    assert_array_equal(output(text + "R[i+1]", X=X), np.maximum.accumulate(X))
    assert_array_equal(output(text + "R[i]", X=X), [-INF, 3, 3, 4, 4])


def test_a_reverse_iteration_has_its_seed_in_the_last_slot() -> None:
    X = normal(5)
    made = outputs("init R[I] = S[]; R[i] = 2 * R[i+1] + X[i]; output R", X=X, S=7.0)["R"]
    expected = [7.0]
    for x in X[::-1]:
        expected.append(2 * expected[-1] + x)
    assert_allclose(made, expected[::-1])


def test_an_iterative_output_has_all_slots_and_history_gives_every_tensor() -> None:
    text = "init H[0,e] = 0; H[i+1,e] = H[i,e] + X[i,e]; Z[e] = H[I,e]"
    X = normal(4, 2)
    assert list(outputs(text, X=X)) == ["Z"]
    made = outputs(text, X=X, history=True)
    assert made.keys() == {"H", "Z"}
    assert_allclose(made["H"], np.vstack([np.zeros(2), np.cumsum(X, 0)]))
    assert outputs("init H[0] = 0; H[i+1] = H[i] + X[i]", X=X[:, 0])["H"].shape == (5,)


def test_left_sides_may_permute_ranks() -> None:
    X = normal(2, 3, 4)
    assert_array_equal(output("Z[c,a,b] = X[a,b,c]", X=X), X.transpose(2, 0, 1))


def test_outputs_are_float64_whatever_goes_in_and_whatever_precision_is_declared() -> None:
    text = "dtype X bf16; dtype Z fp8_e4m3; Z[m] = X[m] / 3"
    for kind in (np.float32, np.int16, np.bool_, np.uint8):
        made = output(text, X=np.array([1, 0, 1]).astype(kind))
        assert made.dtype == np.float64
        assert_array_equal(made, [1 / 3, 0, 1 / 3])


def test_inputs_are_left_alone() -> None:
    X = np.array([1.0, 2.0])
    made = output("Z[m] = X[m]", X=X)
    made[:] = 0
    assert_array_equal(X, [1, 2])


# --- rule 7: extents and partitions ---

def test_coordinates_beyond_the_extent_are_absent_in_every_reduction() -> None:
    X = -np.arange(1.0, 8.0)
    text = "extent M0 3; B[m1,m0] = X[m1*M0 + m0]; Z[m1] = {} B[m1,m0]"
    tiles = [X[:3], X[3:6], X[6:]]
    for name, function in (("max[m0]", np.max), ("min[m0]", np.min), ("mean[m0]", np.mean), ("prod[m0]", np.prod),
                           ("count[m0]", np.size), ("argmax[m0]", np.argmax), ("sum[m0]", np.sum)):
        assert_allclose(output(text.format(name), X=X), np.array([float(function(t)) for t in tiles]), err_msg=name)


def test_scores_beyond_the_extent_do_not_exist_after_a_sum_over_features() -> None:
    Q, K = -normal(2) ** 2, normal(7, 2) ** 2
    made = output("BK[m1,m0,e] = K[m1*M0 + m0, e]; S[m1,m0] = Q[e] * BK[m1,m0,e]; G[m1] = max[m0] S[m1,m0]",
                  Q=Q, K=K, extents={"m0": 3})
    S = K @ Q
    assert_allclose(made, [S[:3].max(), S[3:6].max(), S[6:].max()])
    assert (made < 0).all()


def test_an_extent_is_whatever_the_arrays_the_text_or_the_caller_say() -> None:
    assert_array_equal(output("extent J 2; Z[j] = X[j + 1]", X=np.arange(4.0)), [1, 2])
    assert_array_equal(output("Z[j] = X[j + 1]", X=np.arange(4.0), extents={"j": 5}), [1, 2, 3, 0, 0])
    assert_array_equal(output("Z[j] = X[j + 1; fill=-1]", X=np.arange(4.0), extents={"j": 5}), [1, 2, 3, -1, -1])


def test_dimensions_without_elements() -> None:
    empty = np.zeros((0, 2))
    made = outputs("S[p,m] = Q[p,e] * K[m,e]; G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p])\n"
                   "O[p,f] = N[p,m] * V[m,f]; output G",
                   Q=np.ones((3, 2)), K=empty, V=empty)
    assert_array_equal(made["G"], [-INF] * 3)
    assert_array_equal(made["O"], np.zeros((3, 2)))
    assert_array_equal(output("Z[j] = X[j; fill=4]", X=np.zeros(0), extents={"j": 2}), [4, 4])


# --- rule 8: populates, gathers, scatters ---

def test_topk_is_descending_with_ties_to_the_lowest_coordinate_and_absent_elements_last() -> None:
    X = np.array([[2.0, 5.0, 2.0, 5.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    made = outputs("I[p,j] = topk[m; j](X[p,m]); L[p,j] = topk[m; j](X[p,m]) where m < 2 + p\n"
                   "B[p,j] = bottomk[m; j](X[p,m])",
                   X=X, extents={"j": 4})
    assert made["I"].dtype == np.int64
    assert_array_equal(made["I"], [[1, 3, 0, 2], [4, 3, 2, 1]])
    assert_array_equal(made["L"], [[1, 0, 2, 3], [2, 1, 0, 3]])
    assert_array_equal(made["B"], [[4, 0, 2, 1], [0, 1, 2, 3]])


def test_what_is_populated_beyond_the_elements_is_absent() -> None:
    X = np.array([3.0, -1.0, 2.0])
    made = outputs("I[j] = topk[m; j](X[m]); V[j] = X[I[j]] + 10; T[t] = threshold[m; t](X[m])\n"
                   "W[t] = X[T[t]]; C[] = count[t] W[t]; output T",
                   X=X, extents={"j": 5, "t": 4})
    assert_array_equal(made["V"], [13, 12, 9, 0, 0])
    assert_array_equal(made["T"], [0, 2, 0, 0])
    assert made["C"] == 2


def test_a_sort_is_of_all_coordinates() -> None:
    X = normal(3, 6)
    made = outputs("A[p,j] = sort[m; j](X[p,m]); B[p,j] = sort_descending[m; j](X[p,m])", X=X)
    assert_array_equal(made["A"], np.argsort(X, axis=1))
    assert_array_equal(made["B"], np.argsort(-X, axis=1))


def test_argmax_of_infinities_is_the_first_element_that_is_present() -> None:
    X = np.full(4, -INF)
    assert output("Z[] = argmax[m] X[m] where m > 1", X=X) == 2
    assert output("Z[] = argmax[m] X[m]", X=X).dtype == np.int64


def test_gather_and_scatter() -> None:
    K, index = normal(5, 2), np.array([[4, 0], [1, 1]])
    assert_array_equal(output("Z[p,j,e] = K[I[p,j], e]", K=K, I=index), K[index])
    X, Seg = normal(6, 2), np.array([0, 2, 2, 0, 3, 2])
    expected = np.zeros((4, 2))
    np.add.at(expected, Seg, X)
    assert_allclose(output("Y[Seg[t],e] = X[t,e]; Z[s,e] = Y[s,e]", X=X, Seg=Seg, extents={"s": 4}), expected)
    peaks = np.full((4, 2), -INF)
    np.maximum.at(peaks, Seg, X)
    assert_array_equal(output("Y[Seg[t],e] = max[t] X[t,e]; Z[s,e] = Y[s,e]", X=X, Seg=Seg, extents={"s": 4}), peaks)


# --- size ---

def test_products_are_contracted_and_not_formed() -> None:
    A, B, C, D = normal(200, 200), normal(200, 200, seed=1), normal(200, 200, seed=2), normal(200, 200, seed=3)
    made = output("Z[p,s] = A[p,q] * B[q,r] * C[r,s] * D[p,s]", A=A, B=B, C=C, D=D)
    assert_allclose(made, (A @ B @ C) * D, rtol=1e-9, atol=1e-9)


def test_a_large_iteration_space_is_gone_through_in_pieces() -> None:
    X, Y = normal(256, 256), normal(256, 512, seed=1)
    tracemalloc.start()
    made = output("Z[p,f] = max[m] X[p,m] + Y[m,f]", X=X[:128], Y=Y)
    large = output("Z[p] = max[m, f] abs(X[p,m] * Y[m,f])", X=X, Y=Y)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 450e6
    assert_allclose(made[5], (X[5][:, None] + Y).max(0))
    assert_allclose(large, [np.abs(x[:, None] * Y).max() for x in X])
