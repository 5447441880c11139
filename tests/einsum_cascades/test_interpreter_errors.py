"""What the interpreter says of arrays and extents that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from einsum_cascades.errors import ExecutionError, ExtentError, FusebenchError
from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse
from tests.einsum_cascades.running import output

GATHER = "Z[p,e] = K[I[p],e]"


_NUMBERS = "it holds no real numbers, got dtype {}; give floats, integers or booleans"
_WHOLE = "its index {} is no whole number, got {} at t=1; round it with floor(...) or give whole numbers"
_OUTSIDE = ("tensor 'I': it indexes dimension 1 of {}, which has 2 coordinates, got {}; give numbers from 0 to 1, or "
            "read with a fill or a predicate such as 'where {} >= 0'")
_INDEX = "tensor 'I': it is an index, so that its elements are whole numbers, got {}; give coordinates"


@pytest.mark.parametrize(("text", "inputs", "extents", "message"), [
    (GATHER, {"K": np.ones((2, 2))}, {},
     "tensor 'I': it is an input without an array, got K; give an array of the ranks [p]"),
    ("Z[] = A[] * B[]", {}, {},
     "tensor 'A': it is an input without an array, got none; give an array of no dimension (a scalar)"),
    ("Z[p] = K[p]", {"K": np.ones(2), "Kk": 1}, {},
     "tensor 'Kk': the cascade has no such input, got an array for it; did you mean 'K'? valid: K"),
    ("Z[p] = K[p]", {"K": np.ones(2), "Z": 1}, {}, "tensor 'Z': the cascade defines it, got an array for it; valid: K"),
    ("Z[p] = K[p]", {"K": ["a"]}, {}, "tensor 'K': " + _NUMBERS.format("<U1")),
    ("Z[p] = K[p]", {"K": [1j]}, {}, "tensor 'K': " + _NUMBERS.format("complex128")),
    ("Z[p] = K[p]", {"K": [[1], [1, 2]]}, {},
     "tensor 'K': it is no array, got rows of different lengths; give an array of the ranks [p]"),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([0, 0.5])}, {}, _INDEX.format("0.5 at [1]")),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([np.nan])}, {}, _INDEX.format("nan at [0]")),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([0, 1, 5])}, {}, _OUTSIDE.format("'K'", "5 at p=2", "I[p]")),
    ("Y[I[t]] = X[t]; Z[s] = Y[s]", {"X": np.ones(2), "I": np.array([0, -1])}, {"s": 2},
     _OUTSIDE.format("'Y'", "-1 at t=1", "I[t]")),
    ("B[t] = X[t] / 2; Z[t] = K[B[t]]", {"X": np.arange(2), "K": np.ones(2)}, {},
     "tensor 'K', dimension 1: " + _WHOLE.format("B[t]", 0.5)),
    ("Z[t] = K[floor(X[t])]", {"X": np.array([1, np.nan]), "K": np.ones(2)}, {},
     "tensor 'K', dimension 1: " + _WHOLE.format("floor(X[t])", "nan"))])
def test_execution_errors(text: str, inputs: dict[str, Any], extents: dict[str, int], message: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        run(parse(text), inputs, extents)
    assert str(caught.value) == f"cascade: {message}"


@pytest.mark.parametrize(("text", "inputs", "extents", "words"), [
    ("Z[p] = K[p] * L[p]", {"K": np.ones(2), "L": np.ones(3)}, {}, ("rank 'p'", "got 2", "and 3")),
    ("Z[p] = K[p,e]", {"K": np.ones(2)}, {}, ("tensor 'K'", "2 dimensions", "(2,)")),
    ("Z[p] = K[p]", {"K": np.ones(2)}, {"p": 3}, ("rank 'p'", "3", "2")),
    ("Z[p] = K[p]", {"K": np.ones(2)}, {"q": 3}, ("rank 'q'", "valid: p")),
    ("Z[p] = K[p] where p < W", {"K": np.ones(2)}, {}, ("rank 'w'", "--extent")),
    ("Y[I[t]] = X[t]", {"X": np.ones(2), "I": np.zeros(2)}, {}, ("tensor 'Y'", "dimension 1", "Z[s] = Y[s]"))])
def test_extent_errors(text: str, inputs: dict[str, Any], extents: dict[str, int], words: tuple[str, ...]) -> None:
    with pytest.raises(ExtentError) as caught:
        run(parse(text), inputs, extents)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_out_of_range_is_no_error_where_the_predicate_fails_or_a_fill_stands() -> None:
    K, index = np.array([5.0, 6.0]), np.array([1, -1, 7])
    assert_array_equal(output("Z[p] = K[I[p]] where 0 <= I[p] and I[p] < 2", K=K, I=index), [6, 0, 0])
    assert_array_equal(output("Z[p] = K[I[p]; fill=2]", K=K, I=index), [6, 2, 2])
    # Arithmetic on an index tensor may leave the tensor, as any other index may.
    assert_array_equal(output("Z[p] = K[I[p] + 1]", K=K, I=np.array([0, 1])), [6, 0])


def test_what_is_too_large_is_one_line() -> None:
    ones = np.ones(1 << 20)
    with pytest.raises(FusebenchError, match=r"tensor 'Z': the interpreter has not the memory for it, got the shape"):
        output("Z[t,s,u] = K[t] * L[s] * J[u]", K=ones, L=ones, J=ones)
