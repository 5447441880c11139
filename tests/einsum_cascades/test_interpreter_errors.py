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


@pytest.mark.parametrize(("text", "inputs", "extents", "message"), [
    (GATHER, {"K": np.ones((2, 2))}, {},
     "tensor 'I': it is an input without an array, got K; give an array of the ranks [p]"),
    ("Z[] = A[] * B[]", {}, {}, "tensor 'A': it is an input without an array, got none; give an array of no dimension (a scalar)"),
    ("Z[p] = K[p]", {"K": np.ones(2), "Kk": 1}, {},
     "tensor 'Kk': the cascade has no such input, got an array for it; did you mean 'K'? valid: K"),
    ("Z[p] = K[p]", {"K": np.ones(2), "Z": 1}, {}, "tensor 'Z': the cascade defines it, got an array for it; valid: K"),
    ("Z[p] = K[p]", {"K": ["a"]}, {}, "tensor 'K': it holds no real numbers, got dtype <U1; give floats, integers or booleans"),
    ("Z[p] = K[p]", {"K": [1j]}, {}, "tensor 'K': it holds no real numbers, got dtype complex128; give floats, integers or booleans"),
    ("Z[p] = K[p]", {"K": [[1], [1, 2]]}, {},
     "tensor 'K': it is no array, got rows of different lengths; give an array of the ranks [p]"),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([0, 0.5])}, {},
     "tensor 'I': it is an index, so that its elements are whole numbers, got 0.5 at [1]; give coordinates"),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([np.nan])}, {},
     "tensor 'I': it is an index, so that its elements are whole numbers, got nan at [0]; give coordinates"),
    (GATHER, {"K": np.ones((2, 2)), "I": np.array([0, 1, 5])}, {},
     ("tensor 'I': it indexes dimension 1 of 'K', which has 2 coordinates, got 5 at p=2; give numbers from 0 to 1, or read "
     "with a fill or a predicate such as 'where I[p] >= 0'")),
    ("Y[I[t]] = X[t]; Z[s] = Y[s]", {"X": np.ones(2), "I": np.array([0, -1])}, {"s": 2},
     ("tensor 'I': it indexes dimension 1 of 'Y', which has 2 coordinates, got -1 at t=1; give numbers from 0 to 1, or read with a "
     "fill or a predicate such as 'where I[t] >= 0'")),
    ("B[t] = X[t] / 2; Z[t] = K[B[t]]", {"X": np.arange(2), "K": np.ones(2)}, {},
     "tensor 'K', dimension 1: its index B[t] is no whole number, got 0.5 at t=1; round it with floor(...) or give whole numbers"),
    ("Z[t] = K[floor(X[t])]", {"X": np.array([1, np.nan]), "K": np.ones(2)}, {},
     ("tensor 'K', dimension 1: its index floor(X[t]) is no whole number, got nan at t=1; round it with floor(...) or give whole "
     "numbers"))])
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
