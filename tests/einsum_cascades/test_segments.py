"""Offsets of ragged segments: one entry more than there are segments, and the last segment keeps its elements."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.summary import analyze
from einsum_cascades.errors import ExtentError
from einsum_cascades.extents import known_extents, resolve_extents
from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.structure import structure
from tests.einsum_cascades.running import outputs
from tests.einsum_cascades.slow_interpreter import slow_run

POOLED = "Pool[s,e] = sum[t] X[t] * V[t,e] where Off[s] <= t and t < Off[s + 1]\nMost[s] = max[t] X[t] where {}"
FORMS = ("Off[s] <= t and t < Off[s + 1]", "Off[s] <= t < Off[s + 1]", "t >= Off[s] and Off[1 + s] > t",
         "not (t < Off[s] or Off[s + 1] <= t)", "Off[s] < t + 1 and not t >= Off[s+1]")
GATHERED = "Most[s] = max[j] X[Off[s] + j] where {}\nN[] = count[j] W[j]"
GATHERED_FORMS = ("Off[s] + j < Off[s + 1]", "j < Off[s + 1] - Off[s]", "not (Off[s+1] - Off[s] <= j)")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.sampled_from(FORMS + GATHERED_FORMS), st.booleans())
def test_segments_are_slices(lengths: list[int], form: str, given_extent: bool) -> None:
    off = np.concatenate(([0], np.cumsum(lengths)))
    x = np.random.default_rng(len(lengths)).normal(size=int(off[-1]) + 1)
    gathers = form in GATHERED_FORMS
    arrays = {"X": x, "Off": off, "W": np.ones(3)} if gathers else {"X": x, "Off": off, "V": np.stack([x, -x], axis=1)}
    cascade = parse((GATHERED if gathers else POOLED).format(form))
    found = run(cascade, arrays, {"s": len(lengths)} if given_extent else {})
    slices = [x[a:b] for a, b in pairwise(off)]
    np.testing.assert_array_equal(found["Most"], [part.max(initial=-np.inf) for part in slices])
    if not gathers:
        np.testing.assert_allclose(found["Pool"][:, 1], [-(part * part).sum() for part in slices], atol=1e-12)
    slow = slow_run(cascade, arrays)
    assert all(np.allclose(found[name], slow[name], atol=1e-12) for name in found)


def test_one_gives_the_other() -> None:
    cascade = parse(POOLED.format(FORMS[0]))
    assert known_extents(cascade, {}, {"Off": (4,)}) == {"s": 3}
    assert known_extents(cascade, {"s": 3}, {}) == {"s": 3}
    assert structure(cascade).shape("Off", {"s": 3}) == (4,)
    assert structure(cascade).shape("Off", {}) == (None,)
    assert structure(cascade).label("Off") == "Off[S+1]"
    # Another rank that runs through all offsets is one longer too.
    assert resolve_extents(parse("Z[s] = X[t] where Off[s] <= t and t < Off[s+1]\nY[g] = Off[g] * 2"),
                           {"s": 3, "t": 5})["g"] == 4


def test_a_batch_of_offsets() -> None:
    off = np.array([[0, 1, 4], [0, 3, 4]])
    text = "Z[b,s] = X[b,t] where Off[b,s] <= t and t < Off[b,s+1]"
    np.testing.assert_array_equal(outputs(text, X=np.ones((2, 4)), Off=off)["Z"], [[1, 3], [3, 1]])


def test_segments_in_tiles() -> None:
    """Three segments in tiles of two; the fourth of them is beyond the extent and empty."""
    text = "Z[s1,s0] = X[t] where Off[s1*S0 + s0] <= t and t < Off[s1*S0 + s0 + 1]"
    found = outputs(text, X=np.ones(7), Off=np.array([0, 2, 3, 7]), extents={"s0": 2})
    np.testing.assert_array_equal(found["Z"], [[2, 1], [4, 0]])
    assert resolve_extents(parse(text), {"s0": 2}, {"Off": (4,), "X": (7,)}) == {"s0": 2, "s1": 2, "s": 3, "t": 7}


@pytest.mark.parametrize(("off", "extents", "message"), [
    ([0, 2], {"s": 2}, ("cascade: rank 's': it is bound to two extents, got 2 (given) and 1 (2 offsets in dimension 1 of Off, "
                       "less 1); make them equal or use two ranks")),
    ([0, 2, 4, 5], {"s": 2}, ("cascade: rank 's': it is bound to two extents, got 2 (given) and 3 (4 offsets in dimension 1 "
                             "of Off, less 1); make them equal or use two ranks")),
    ([], {}, ("cascade: tensor 'Off': dimension 1 of Off holds offsets of segments 's', one more than there are segments, "
             "got none; give at least one, the end of the last segment")),
    ([[0, 1]], {}, ("cascade: tensor 'Off': it has 1 dimension (S+1), got an array of shape (1, 2); give an array of that "
                   "many dimensions")),
])
def test_wrong_numbers_of_offsets(off: list[int], extents: dict[str, int], message: str) -> None:
    with pytest.raises(ExtentError) as caught:
        outputs("Z[s] = X[t] where Off[s] <= t and t < Off[s+1]", X=np.ones(5), Off=np.array(off), extents=extents)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "tensor"), [
    ("D[t] = X[t+1] - X[t]", "X"),
    ("L[s] = Off[s+1] - Off[s]", "Off"),
    ("Z[t,s] = X[t] where Seg[t] == s and Seg[t+1] != s", "Seg"),
    ("Z[t] = X[t] where Seg[t] < Seg[t+1]", "Seg"),
    ("Z[t] = X[t] where X[t+1] < t and t < X[t]", "X"),
    ("Z[s] = X[t] where Off[s] <= t and t < Off[s+1; fill=9]", "Off"),
    ("Z[s] = X[t] where Off[s] <= t and t < Off[s+2]", "Off"),
    ("Z[s] = X[t] where Off[s] <= t and t < End[s]", "End"),
    ("Z[s] = X[t] where Off[s] <= t and t < Off[s+1]\nOff[s] = sum[r] Len[r] where r < s", "Off"),
])
def test_what_is_no_offsets_is_as_long_as_its_rank(text: str, tensor: str) -> None:
    """A difference; lengths; ends of runs; neighbours; an upper bound first; a fill; two further; two inputs; no input."""
    found = structure(parse(text))
    assert found.offsets == {}
    assert found.dimensions[tensor][0] in ("s", "t")


def test_a_difference_of_neighbours_ends_with_the_tensor() -> None:
    np.testing.assert_array_equal(outputs("D[t] = X[t+1] - X[t]", X=np.array([1.0, 3.0, 7.0]))["D"], [2, 4, 0])


def test_analyses_count_the_last_offset() -> None:
    cascade = parse(POOLED.format(FORMS[0]))
    assert parse(to_text(cascade)) == cascade
    found = analyze(cascade, {"s": 3, "t": 7, "e": 2})
    assert found.compulsory_values["read"] == (3 + 1) + 7 + 7 * 2
    assert found.passes == {"s": 1, "e": 1, "t": 1}
