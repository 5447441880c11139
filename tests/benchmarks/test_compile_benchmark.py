"""How long kernels take to compile: whole, to the stage that rejects them, and from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.compilation.cache import Cache
from autotune.compilation.service import Compiled, compile_all
from autotune.limits import DeviceLimits
from tests.autotune.compilation.kernels import HOPPER, attention

pytest.importorskip("triton")
_LARGE = attention(bm=128, bn=256, num_stages=4)
"""Its shared memory is beyond Hopper's, which only the assembler would not mind."""


def compiled(limits: DeviceLimits | None, cache: Cache | None = None) -> Compiled:
    return next(iter(compile_all([_LARGE], {"sm_90": limits} if limits else {}, cache=cache)))[1]


@pytest.mark.slow
@pytest.mark.benchmark(group="compile")
@pytest.mark.parametrize("limits", [None, HOPPER], ids=["whole", "until it is rejected"])
def test_large_tile(benchmark: Any, limits: DeviceLimits | None) -> None:
    made = benchmark.pedantic(compiled, (limits,), rounds=1)
    assert made.ok == (limits is None), made.error


@pytest.mark.benchmark(group="compile from the cache")
def test_cached(benchmark: Any, tmp_path: Path) -> None:
    cache = Cache(tmp_path, "compiled")
    compiled(HOPPER, cache)
    assert benchmark.pedantic(compiled, (HOPPER, cache), rounds=20).cached
