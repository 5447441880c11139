"""How long the search takes: attention's goal is under 1 s, that of every other algorithm under 10 s."""

from __future__ import annotations

import re
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
def test_every_variant(benchmark: Any, name: str) -> None:
    """All algorithms of a variant, one after another; each is derived, or refused with what forbids it."""
    variant = load_variant(name)
    cascades = [variant.cascade(algorithm) for algorithm in variant.algorithms]

    def search() -> list[NoRewriteError]:
        refused = []
        for cascade in cascades:
            try:
                rewrite(cascade)
            except NoRewriteError as error:
                refused.append(error)
        return refused
    for error in benchmark.pedantic(search, setup=fresh, rounds=1):
        assert error.einsum is not None or error.read is not None or re.search("tensor '|iteration around it", str(error))
