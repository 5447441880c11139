"""All analyses in one result: the keys and the types of the command's JSON, with all extents, some, or none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from einsum_cascades.analysis.summary import analyze, explain
from einsum_cascades.errors import ExtentError
from einsum_cascades.ir import Cascade
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.einsum_cascades.strategies import Sample, random_cascade, random_sample
from tests.einsum_cascades.test_operations import GOLDEN, golden_extents
from tests.einsum_cascades.test_passes import ONE_PASS, SINKHORN, THREE_PASS

KEYS = ["passes", "live_footprint_values", "operations", "compulsory_values", "intensity", "critical_path", "fusion",
        "bounds"]
SIZES = {"p": 6, "m": 10, "e": 3, "f": 4}


def test_with_all_extents() -> None:
    found = analyze(parse(THREE_PASS), SIZES).to_dict()
    p, m, e, f = SIZES.values()
    assert list(found) == KEYS
    assert found["passes"] == {"p": 1, "m": 3, "e": 1, "f": 1}
    once = dict.fromkeys(("Q", "K", "V", "GM", "SD", "A", "AV"), 1)
    assert found["live_footprint_values"] == once | {"QK": m, "SN": m}
    assert found["operations"] == {"mul": p * m * (e + f), "add": p * m * (e + f + 1), "max": p * m, "exp": p * m,
                                   "sub": p * m, "div": p * m}
    assert found["compulsory_values"] == {"read": p * e + m * e + m * f, "write": p * f}
    assert found["intensity"] == pytest.approx((2 * p * m * (e + f) + 5 * p * m) / (p * e + m * e + m * f + p * f))
    assert found["critical_path"] == 2 + 3 * 4 + 5
    assert found["bounds"] == []


def test_without_extents() -> None:
    found = analyze(parse(THREE_PASS))
    assert found.passes["m"] == 3
    assert found.operations["mul"] == "P*M*E + P*M*F"
    assert found.live_footprint_values["QK"] == "M"
    assert found.compulsory_values == {"read": "P*E + M*E + M*F", "write": "P*F"}
    assert found.intensity == "(2*P*M*E + 2*P*M*F + 5*P*M)/(P*E + P*F + M*E + M*F)"


def test_with_some_extents() -> None:
    """What follows from them is a number, the rest stays a formula in the others."""
    found = analyze(parse(ONE_PASS), {"m0": 256, "m": 1024, "e": 64})
    assert found.live_footprint_values["BQK"] == 256
    assert found.operations["exp"] == "1028*P"
    assert found.passes == {"e": 1, "m1": 1, "m0": 2, "f": 1, "p": 1, "m": 1}
    assert found.critical_path == 2 * 4 + 6 + 2 * 8 + 5


def test_extents_of_the_text() -> None:
    found = analyze(parse("extent M0 8\n" + ONE_PASS))
    assert found.live_footprint_values["BQK"] == 8
    every = analyze(parse("extent K 4\nZ[] = X[k]"))
    assert every.operations == {"add": 4}
    assert every.intensity == 4 / 5


def test_enclosing_iterations() -> None:
    assert analyze(parse(SINKHORN)).passes == {"t": 1, "i": "T + 1", "j": "T + 1"}
    assert analyze(parse(SINKHORN), {"t": 5}).passes == {"t": 1, "i": 6, "j": 6}


@pytest.mark.parametrize(("extents", "message"), [
    ({"q": 4}, "cascade: rank 'q': the cascade has no such rank, got an extent of 4 for it; valid: e, f, m, m0, m1, p"),
    ({"m": 4, "m1": 3, "m0": 2},
     "cascade: rank 'm1': it is bound to two extents, got 3 and 2 = ceil(m / 2) with m = 4; leave"),
    ({"m": 0}, "cascade: rank 'm': an extent is a whole number of at least 1, got 0; give one"),
])
def test_wrong_extents(extents: dict[str, int], message: str) -> None:
    with pytest.raises(ExtentError) as error:
        analyze(parse(ONE_PASS), extents)
    assert str(error.value).startswith(message)


def test_bounds_name_what_they_bound() -> None:
    text = "S[p,m] = Q[p] * K[m] where Mask[p,m] > 0; G[p] = max[m] S[p,m]; N[p,m] = exp(S[p,m] - G[p])"
    found = analyze(parse(text))
    assert "operations: S" in found.bounds
    assert "live_footprint_values: S" in found.bounds
    assert "compulsory_values: Q" in found.bounds
    assert "compulsory_values: Mask" not in found.bounds


def test_a_cascade_that_moves_nothing() -> None:
    found = analyze(parse("Y[p] = 2 where p < 0"), {"p": 3})
    assert found.intensity == 0
    assert found.compulsory_values == {"read": 0, "write": 0}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_cascades(path: Path) -> None:
    cascade = load(path)
    check(cascade, golden_extents(path, 3))


def check(cascade: Cascade, extents: dict[str, int]) -> None:
    """Asserts the types of the result, and that formulas are about extents that the cascade has."""
    found = analyze(cascade, extents)
    known = structure(cascade)
    assert list(found.passes) == list(dict.fromkeys((*known.ranks, *known.composites)))
    assert set(found.live_footprint_values) == {*known.inputs, *known.producers}
    for numbers in (found.passes, found.live_footprint_values, found.operations, found.compulsory_values):
        assert all(type(n) is int and n >= 0 for n in numbers.values())
    assert isinstance(found.intensity, float)
    assert type(found.critical_path) is int
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    names = {rank.upper() for rank in extents}
    free = analyze(cascade)
    texts = [str(v) for v in (*free.passes.values(), *free.live_footprint_values.values(), *free.operations.values(),
                              *free.compulsory_values.values(), free.intensity, free.critical_path)]
    used = {name for text in texts for name in re.findall(r"[A-Z][A-Z0-9]*", text)}
    assert used <= names
    assert all(isinstance(line, str) for line in explain(cascade))


@settings(max_examples=60, deadline=None)
@given(random_sample())
def test_random_cascades(sample: Sample) -> None:
    check(sample.cascade, sample.extents)


@settings(max_examples=60, deadline=None)
@given(random_cascade())
def test_no_extent_is_needed(cascade: Cascade) -> None:
    assert list(analyze(cascade).to_dict()) == KEYS
