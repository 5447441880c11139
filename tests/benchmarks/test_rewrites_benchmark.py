"""How long the search takes: attention in under 1 s, every variant in under 10 s, figures of the issue."""

from __future__ import annotations

import time
from typing import Any

import pytest

from einsum_cascades.analysis import linear, passes
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.rewrites import NoRewriteError, algebra, rewrite
from einsum_cascades.structure import structure
from tests.einsum_cascades.rewrite_cases import ATTENTION, CASES
from workloads.variants import load_variant, variant_ids

ATTENTION_S = 1.0
VARIANT_S = 10.0


def fresh() -> None:
    """Forgets what earlier rounds found."""
    for cache in (structure, passes.rank_passes, linear.linear, algebra.ring_of):
        cache.cache_clear()


def derived(benchmark: Any, cascade: Cascade, target: int, most_s: float) -> None:
    rewrite(cascade, target)  # imports are not counted
    benchmark.pedantic(rewrite, (cascade, target), setup=fresh, rounds=3)
    if benchmark.stats is not None:
        assert benchmark.stats.stats.min < most_s


@pytest.mark.parametrize("target", [1, 2])
def test_attention(benchmark: Any, target: int) -> None:
    derived(benchmark, parse(ATTENTION), target, ATTENTION_S)


def test_attention_with_everything(benchmark: Any) -> None:
    derived(benchmark, next(c for c in CASES if c.name == "everything").cascade, 1, ATTENTION_S)


@pytest.mark.slow
@pytest.mark.parametrize("name", variant_ids())
def test_every_variant_ends_in_time(name: str) -> None:
    variant = load_variant(name)
    for algorithm in variant.algorithms:
        fresh()
        start = time.perf_counter()
        try:
            rewrite(variant.cascade(algorithm))
        except NoRewriteError as error:
            assert error.einsum is not None or "iteration around it" in str(error)
        assert time.perf_counter() - start < VARIANT_S, f"{name}:{algorithm}"
