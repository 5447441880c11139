"""Rewrites on random cascades: whatever is legal changes no value, and what reaches one pass is equal to its source."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from einsum_cascades.analysis.passes import passes
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.rewrites import IllegalRewriteError, NoRewriteError, rewrite
from einsum_cascades.rewrites.registry import rewrites
from einsum_cascades.structure import structure
from tests.einsum_cascades.statistics import EXTENTS, statistics_text
from tests.einsum_cascades.strategies import Sample, arrays_for, random_sample

Steps = list[tuple[str, ...]]


def composed(cascade: Cascade, rng: Random, number: int) -> tuple[Cascade, Steps]:
    """A cascade after some random legal rewrites, and what they were."""
    steps: Steps = []
    for _ in range(number):
        made = next(_legal(cascade, rng), None)
        if made is None:
            break
        cascade = made[0]
        steps.append(made[1])
    return cascade, steps


def _legal(cascade: Cascade, rng: Random):  # type: ignore[no-untyped-def]
    known = rewrites()
    for name in rng.sample(sorted(known), len(known)):
        sites = list(known[name].candidates(cascade))
        for site in rng.sample(sites, len(sites)):
            try:
                made = known[name].apply(cascade, *site)
            except IllegalRewriteError:
                continue
            if made != cascade:
                yield made, (name, *site)


def sized(cascade: Cascade, extents: dict[str, int], tile: int) -> dict[str, int]:
    """Extents of a derived cascade, with a tile for each new inner rank."""
    names = mentioned(cascade)
    known = {r: n for r, n in extents.items() if r in names}
    return known | {r: tile for r in names if r not in known and r.endswith("0")}


def drawn(cascade: Cascade, seed: int) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Extents and inputs of a cascade of statistics. Every row of the mask sees the first column: the maximum of
    nothing is infinite, and an infinite factor is another one outside of a sum than inside."""
    draw = np.random.default_rng(seed)
    given = {r: n for r, n in EXTENTS.items() if r in mentioned(cascade)}
    extents = resolve_extents(cascade, given)
    inputs = {}
    for tensor in structure(cascade).inputs:
        shape = tuple(extents[str(n)] for n in structure(cascade).dimensions[tensor])
        inputs[tensor] = draw.normal(size=shape)
        if tensor == "Mask":
            inputs[tensor] = (draw.random(shape) < 0.6).astype(float)
            inputs[tensor][..., 0] = 1.0
    return given, inputs


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], within: float) -> None:
    """Fails unless all outputs agree, relative to the largest value of each."""
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        if np.isfinite(value).all():
            scale = max(float(np.max(np.abs(value), initial=0.0)), 1e-3)
            np.testing.assert_allclose(found[name] / scale, value / scale, rtol=within, atol=within, err_msg=name)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_sample(size=5), st.randoms(use_true_random=False), st.integers(1, 5))
def test_random_legal_rewrites_of_random_cascades_change_no_value(sample: Sample, rng: Random, number: int) -> None:
    made, steps = composed(sample.cascade, rng, number)
    note(f"{to_text(sample.cascade)}\n{steps}\n{to_text(made)}")
    inputs = arrays_for(sample, rng.randrange(10))
    wanted = run(sample.cascade, inputs, sample.extents)
    needed = {k: v for k, v in inputs.items() if k in structure(made).inputs}
    assert_same(run(made, needed, sized(made, sample.extents, rng.randint(1, 3))), wanted, 1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from((1, 1, 2)))
def test_statistics_of_one_pass_are_those_of_many(rng: Random, target: int) -> None:
    text = statistics_text(rng)
    note(text)
    source = parse(text)
    try:
        made = rewrite(source, target)
    except NoRewriteError:
        return
    note(to_text(made.cascade))
    counted = passes(made.cascade)
    assert all(int(counted[r]) <= target for r in passes(source))
    assert (made.applied == ()) == (max(int(n) for n in passes(source).values()) <= target)
    wanted_extents, inputs = drawn(source, rng.randrange(1000))
    wanted = run(source, inputs, wanted_extents)
    for tile in (1, 3, 10):
        assert_same(run(made.cascade, inputs, sized(made.cascade, EXTENTS, tile)), wanted, 1e-6)


def test_most_rewrites_find_a_site_in_cascades_of_statistics() -> None:
    # The property above would hold of rewrites that never apply.
    applied: Counter[str] = Counter()
    for seed in range(25):
        rng = Random(seed)
        cascade = parse(statistics_text(rng))
        applied.update(step[0] for step in composed(cascade, rng, 6)[1])
        try:
            applied.update(rewrite(cascade).applied)
        except NoRewriteError:
            applied["none"] += 1
    wanted = {"defer", "rebase", "partition", "split", "iterate", "carry", "fold", "common-subexpressions"}
    assert wanted <= set(applied)
    assert applied["none"] < 15


@pytest.mark.slow
@settings(max_examples=800, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_random_legal_rewrites_of_statistics_change_no_value(rng: Random) -> None:
    source = parse(statistics_text(rng))
    made, steps = composed(source, rng, rng.randint(1, 6))
    note(f"{to_text(source)}\n{steps}\n{to_text(made)}")
    wanted_extents, inputs = drawn(source, rng.randrange(1000))
    needed = {k: v for k, v in inputs.items() if k in structure(made).inputs}
    assert_same(run(made, needed, sized(made, EXTENTS, rng.randint(1, 4))), run(source, inputs, wanted_extents), 1e-6)
