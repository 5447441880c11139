"""How text is read: precedence, line ends, comments, names, literals, heads, tuples and declarations."""

from __future__ import annotations

import math

import pytest

from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, Reduction, UserOperator
from einsum_cascades.notation import parse
from einsum_cascades.printing import expr_text


def body(text: str) -> Expr:
    return parse(f"Z[p] = {text}").einsums[0].body


A, B, C = (Access(name, (Coord("p"),)) for name in "ABC")


@pytest.mark.parametrize(("text", "expected"), [
    ("A[p] - B[p] - C[p]", Call("sub", (Call("sub", (A, B)), C))),
    ("A[p] - (B[p] - C[p])", Call("sub", (A, Call("sub", (B, C))))),
    ("A[p] + B[p] * C[p]", Call("add", (A, Call("mul", (B, C))))),
    ("A[p] / B[p] * C[p]", Call("mul", (Call("div", (A, B)), C))),
    ("-A[p] * B[p]", Call("mul", (Call("neg", (A,)), B))),
    ("-(A[p] * B[p])", Call("neg", (Call("mul", (A, B)),))),
    ("A[p] - -2", Call("sub", (A, Num(-2.0)))),
    ("-(2)", Call("neg", (Num(2.0),))),
    ("-inf", Num(-math.inf)),
    ("1.5e-3 * P", Call("mul", (Num(1.5e-3), Extent("P")))),
    ("max(A[p], B[p], C[p])", Call("max", (Call("max", (A, B)), C))),
    ("where(A[p] < 0, B[p], C[p])", Call("where", (Call("lt", (A, Num(0.0))), B, C))),
    ("A[p] < B[p] and not B[p] == C[p] or p > 1",
     Call("or", (Call("and", (Call("lt", (A, B)), Call("not", (Call("eq", (B, C)),)))),
                 Call("gt", (Coord("p"), Num(1.0)))))),
    ("0 <= p < 3", Call("and", (Call("le", (Num(0.0), Coord("p"))), Call("lt", (Coord("p"), Num(3.0)))))),
    ("p % 3 // 2", Call("floordiv", (Call("mod", (Coord("p"), Num(3.0))), Num(2.0)))),
], ids=lambda v: v if isinstance(v, str) else "")
def test_precedence(text: str, expected: Expr) -> None:
    assert body(text) == expected


def test_where_is_loosest_and_a_function_where_it_takes_arguments() -> None:
    einsum = parse("Z[p] = where(p < 2, A[p], 1) + B[p] where (p > 0) or B[p] > 1").einsums[0]
    assert expr_text(einsum.body) == "where(p < 2, A[p], 1) + B[p]"
    assert einsum.where is not None
    assert expr_text(einsum.where) == "p > 0 or B[p] > 1"


def test_a_named_reduction_takes_everything_up_to_where() -> None:
    einsum = parse("Z[p] = max[m, n] A[p,m,n] + B[p] where m <= p").einsums[0]
    assert einsum.reduction == Reduction("max", ("m", "n"))
    assert expr_text(einsum.body) == "A[p,m,n] + B[p]"
    assert einsum.reduced_ranks == ("m", "n")
    assert einsum.summed_ranks == ()


def test_ranks_that_no_name_mentions_are_summed() -> None:
    einsum = parse("Z[p] = max[m] Q[p,e] * K[m,e] where m <= p").einsums[0]
    assert einsum.ranks == ("p", "e", "m")
    assert einsum.summed_ranks == ("e",)


def test_a_head_may_begin_with_a_sign_or_a_bracket() -> None:
    assert parse("Z[p] = max[m] -A[p,m]").einsums[0].body == Call("neg", (Access("A", (Coord("p"), Coord("m"))),))
    assert parse("Z[p] = max[m] (A[p,m] + 1) * 2").einsums[0].body == parse("Z[p] = max[m](A[p,m]+1)*2").einsums[0].body


def test_populates_name_the_rank_they_make() -> None:
    einsum = parse("I[p,j] = topk[m; j](S[p,m] * 2)").einsums[0]
    assert einsum.reduction == Reduction("topk", ("m",), ("j",))
    assert einsum.output_ranks == ("p", "j")
    assert einsum.reduced_ranks == ("m",)


def test_lines_end_at_line_ends_semicolons_and_comments_and_go_on_after_operators_and_in_brackets() -> None:
    plain = parse("Z[p] = A[p] * B[p] where p > 0 and p < 3\nY[p] = Z[p]\noutput Z")
    assert plain == parse("""# a cascade
        Z[p] = A[
                 p] *          # the factor
               B[p]
          where p > 0
            and p < 3   ;Y[p] =
        Z[p];;
        output Z
        """)
    assert plain == parse("Z[p] = A[p] * B[p] where p > 0 and p < 3\r\nY[p] = Z[p]\r\noutput Z\r\n")


def test_names_of_tensors_and_extents_are_two_namespaces() -> None:
    einsum = parse("Z[k] = K[k,d] / K where k < K - 1").einsums[0]
    assert einsum.body == Call("div", (Access("K", (Coord("k"), Coord("d"))), Extent("K")))
    assert Extent("M0").rank == "m0"


def test_keywords_are_free_as_names_elsewhere() -> None:
    cascade = parse("op twice(init) = init * 2\nZ[output,fill] = twice(A[output,fill; fill=-1.5])")
    assert cascade.einsums[0].ranks == ("output", "fill")


def test_tuples_and_operators_on_tuples() -> None:
    cascade = parse("""op cmul(r1, i1; r2, i2) = (r1*r2 - i1*i2, r1*i2 + i1*r2) identity (1, 0) associative commutative
                       (X[p], Y[p]) = cmul(A[p], B[p]; C[p], A[p])
                       (R[], S[]) = cmul[p] (X[p], Y[p] + 1) where p > 0""")
    assert cascade.operators[0] == UserOperator(
        "cmul", (("r1", "i1"), ("r2", "i2")),
        (Call("sub", (Call("mul", (Access("r1", ()), Access("r2", ()))), Call("mul", (Access("i1", ()), Access("i2", ()))))),
         Call("add", (Call("mul", (Access("r1", ()), Access("i2", ()))),
                      Call("mul", (Access("i1", ()), Access("r2", ())))))),
        (1.0, 0.0), frozenset({"associative", "commutative"}))
    # The call is written out: each tensor has an expression of its own.
    assert expr_text(cascade.einsums[0].bodies[0]) == "A[p] * C[p] - B[p] * A[p]"
    assert expr_text(cascade.einsums[0].bodies[1]) == "A[p] * A[p] + B[p] * C[p]"
    assert cascade.einsums[1].reduction == Reduction("cmul", ("p",))
    assert [o.tensor for o in cascade.einsums[1].outputs] == ["R", "S"]


def test_declarations() -> None:
    cascade = parse("dtype Q, K bf16\ndevice d\nextent M0 = 256, e 64\noutput Z, Y\noutput Z\n"
                    "Z[d,m0] = Q[d,e] * K[m0,e]\nY[d] = Z[d,m0]")
    assert cascade.dtypes == (("Q", "bf16"), ("K", "bf16"))
    assert cascade.devices == ("d",)
    assert cascade.extents == (("m0", 256), ("e", 64))
    assert cascade.declared_outputs == ("Z", "Y")


def test_scatter_reduces_what_only_the_index_tensor_mentions() -> None:
    einsum = parse("Y[I[t], e] = max[t] X[t,e]").einsums[0]
    assert einsum.output_ranks == ("e",)
    assert einsum.ranks == ("e", "t")
    assert einsum.reduced_ranks == ("t",)
    assert parse("Y[I[t], e] = X[t,e]").einsums[0].summed_ranks == ("t",)


def test_places_do_not_count_in_comparisons() -> None:
    one, two = parse("Z[p] = A[p]"), parse("\n\n   Z[ p ] =   A[p]")
    assert one == two
    assert hash(one) == hash(two)
    assert two.einsums[0].span is not None
    assert (two.einsums[0].span.line, two.einsums[0].span.column) == (3, 4)
