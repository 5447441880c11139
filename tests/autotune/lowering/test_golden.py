"""Golden sources: what a change of the lowering changes is seen in the text of a few kernels.

``pytest tests/autotune/lowering/test_golden.py --update-golden`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.lowering import lower
from tests.autotune.lowering.configs import config
from workloads.variants import load_variant

FOLDER = Path(__file__).parent / "golden"

CASES = (
    ("attention", "1pass", {"p": 256, "m": 256, "e": 64, "f": 64, "m0": 64}, "AV: p=grid:64 m1=loop m0=tile e=tile f=tile"),
    ("causal_attention", "2pass", {"r": 4, "p": 256, "m": 256, "e": 80, "f": 64}, "AV: r=grid:4 p=grid:16 m=loop:64 e=tile f=tile packed=r*p"),
    ("fna", "1d-masked", {"p": 256, "m": 256, "w": 31, "e": 32, "f": 32}, "O: p=grid:64 m=loop:32 e=tile f=tile"),
    ("linear_attention", "noncausal", {"p": 256, "m": 256, "e": 64, "f": 64}, "KV KS: e=tile f=tile m=loop:64\nO: p=grid:64 e=tile f=tile"),
    ("mamba_s6", "associative", {"i": 256, "e": 64, "n": 16}, "G HL: e=grid:32 i=loop:64 n=tile"),
)


@pytest.mark.parametrize(("variant", "algorithm", "extents", "given"), CASES, ids=[f"{c[0]}_{c[1]}" for c in CASES])
def test_sources_are_those_of_the_files(variant: str, algorithm: str, extents: dict[str, int], given: str, update_golden: bool) -> None:
    plan = lower(load_variant(variant).cascade(algorithm), extents, config(given, "bf16"))
    text = "\n".join(kernel.source for kernel in plan.kernels)
    file = FOLDER / f"{variant}_{algorithm}.txt"
    if update_golden:
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, f"{file.name}: the source is another one; look at it, then --update-golden"
