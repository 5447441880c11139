"""How long all analyses of a cascade take, without and with extents; the figure to reach is 50 ms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from einsum_cascades.analysis import counting as counts
from einsum_cascades.analysis import linear, passes, summary
from einsum_cascades.ir import Cascade
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from einsum_cascades.symbols import _chosen
from tests.benchmarks.test_language_benchmark import forty_einsums
from tests.einsum_cascades.test_passes import ONE_PASS

GOLDEN = sorted((Path(__file__).parent.parent / "einsum_cascades" / "golden").glob("*.cascade"))

CACHES = (structure, passes.rank_passes, linear.linear, counts._symbolic, counts._numeric, _chosen)

MOST_S = 0.05


def fresh() -> None:
    """Forgets what earlier rounds found."""
    for cache in CACHES:
        cache.cache_clear()


def analyzed(benchmark: Any, cascade: Cascade, extents: dict[str, int] | None = None) -> None:
    """Times all analyses of a cascade that nobody has looked at."""
    summary.analyze(cascade, extents)  # imports are not counted
    benchmark.pedantic(summary.analyze, (cascade, extents), setup=fresh, rounds=5)
    if benchmark.stats is not None:
        assert benchmark.stats.stats.min < MOST_S


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_cascades(benchmark: Any, path: Path) -> None:
    analyzed(benchmark, load(path))


def test_one_pass_attention(benchmark: Any) -> None:
    analyzed(benchmark, parse(ONE_PASS))


def test_one_pass_attention_of_a_million_keys(benchmark: Any) -> None:
    analyzed(benchmark, parse(ONE_PASS), {"p": 1 << 20, "m": 1 << 20, "m0": 256, "e": 64, "f": 64})


def test_forty_einsums(benchmark: Any) -> None:
    """Four attentions in a row, the length of a whole block: within three times the figure."""
    cascade = parse(forty_einsums())
    summary.analyze(cascade)
    benchmark.pedantic(summary.analyze, (cascade,), setup=fresh, rounds=3)
    if benchmark.stats is not None:
        assert benchmark.stats.stats.min < 3 * MOST_S


