"""Kernels of the catalogue's operators at odd shapes, in fp32 and fp16, against the float64 references.

Rows and keys that no tile divides, head dimensions that are no powers of two and that differ, strides with gaps, outputs
poisoned beforehand; the error allowed is derived from a low-precision run (autotune/gate/budget.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from autotune.workers import run_tasks

pytest.importorskip("triton")
pytest.importorskip("torch")

ATTENTION = {"p": 77, "m": 101, "e": 24, "f": 40}
FLASH = "AV: p=grid:32 m1=loop m0=tile e=tile:16 f=tile:16"
TASKS: tuple[tuple[str, str, dict[str, int], str | None, dict[str, Any]], ...] = (
    ("attention", "1pass", {**ATTENTION, "m0": 32}, FLASH, {}),
    ("attention", "1pass", {"p": 33, "m": 70, "e": 16, "f": 256, "m0": 32}, FLASH, {}),
    ("attention", "1pass", {"p": 1, "m": 40, "e": 72, "f": 16, "m0": 16}, "AV: p=grid:16 m1=loop m0=tile e=tile f=tile", {}),
    ("attention", "2pass", ATTENTION, "AV: p=grid:32 m=loop:32 e=tile:16 f=tile:16", {}),
    ("attention", "3pass", ATTENTION, "AV: p=grid:32 m=loop:32 e=tile:16 f=tile:16", {}),
    ("attention", "3pass", {**ATTENTION, "e": 48}, "AV: p=grid:32 m=loop:32 e=loop:16 f=grid:32", {}),
    ("attention", "3pass", ATTENTION, "AV: p=grid:16 m=tile e=tile:16 f=tile:16", {}),
    ("attention", "2pass-local", {**ATTENTION, "m0": 32}, "LM SLD: p=grid:32 m1=grid m0=tile e=tile:16\n" + FLASH, {}),
    ("causal_attention", "1pass", {**ATTENTION, "r": 2, "m0": 32}, FLASH + " r=grid", {}),
    ("causal_attention", "1pass", {**ATTENTION, "p": 101, "m": 77, "r": 1, "m0": 32}, FLASH + " r=grid", {}),
    ("causal_attention", "2pass", {**ATTENTION, "r": 4}, "AV: r=grid:4 p=grid:16 m=loop:32 e=tile:16 f=tile:16 packed=r*p", {}),
    ("attention_lse", "1pass", {**ATTENTION, "m0": 32}, None, {}),
    ("attention_lse", "split-kv", {**ATTENTION, "m0": 32}, None, {}),
    ("sliding_window_attention", "1pass", {**ATTENTION, "r": 2, "w": 20, "m0": 32}, FLASH + " r=grid", {}),
    ("sliding_window_attention", "2pass", {**ATTENTION, "r": 2, "w": 20}, "AV: r=grid p=grid:32 m=loop:16 e=tile:16 f=tile:16", {}),
    ("soft_capped_attention", "causal-1pass", {**ATTENTION, "r": 1, "m0": 32}, None, {}),
    ("relative_bias_attention", "causal-1pass", {**ATTENTION, "r": 2, "m0": 32}, None, {}),
    ("flash_sigmoid", "sigmoid", ATTENTION, "O: p=grid:32 m=loop:32 e=tile:16 f=tile:16", {}),
    ("flash_sigmoid", "alibi", ATTENTION, None, {}),
    ("attn_sink", "off-by-one-1pass", {}, None, {}),
    ("fna", "1d", {"p": 77, "w": 7, "e": 24, "f": 40}, None, {}),
    ("fna", "1d-masked", {"p": 77, "m": 77, "w": 7, "e": 24, "f": 40}, "O: p=grid:16 m=loop:16 e=tile:16 f=tile:16", {}),
    ("fna", "1d-dilated", {"p": 77, "p0": 3, "w": 5, "e": 16, "f": 16}, None, {}),
    ("fna", "2d-2pass", {"y": 9, "x": 11, "wy": 3, "wx": 5, "e": 16, "f": 16}, None, {}),
    ("halonet", "2pass", {}, None, {}),
    ("dinat", "masked", {}, None, {}),
    ("s2_attention", "1pass", {}, None, {}),
    ("landmark", "grouped", {"p": 33, "m": 77, "m0": 11, "e": 24, "f": 40}, None, {}),
    ("landmark", "1pass", {"p": 33, "m": 77, "m0": 11, "e": 24, "f": 40}, None, {}),
    ("linear_attention", "noncausal", {}, None, {}),
    ("linear_attention", "causal-chunked", {}, None, {}),
    ("agent_attention", "1pass", {}, None, {}),
    ("mamba_s6", "sequential", {"i": 37, "e": 20, "n": 5}, "G HL: e=grid:16 i=loop n=tile", {}),
    ("mamba_s6", "associative", {"i": 37, "e": 20, "n": 5}, "G HL: e=grid:16 i=loop:16 n=tile", {}),
    ("mamba_s6", "associative", {"i": 37, "e": 20, "n": 5}, "G HL: e=grid:8 i=tile n=tile", {}),
    ("mamba_s6", "split", {"i": 37, "i0": 8, "e": 20, "n": 4}, None, {}),
    ("mamba2_ssd", "sequential", {"i": 37, "h": 4, "p": 20, "n": 12, "g": 2}, None, {}),
    ("mamba2_ssd", "chunked", {"i": 75, "i0": 16, "h": 4, "p": 20, "n": 24, "g": 2}, None, {}),
    ("mamba2_ssd", "chunked", {"i": 75, "i0": 16, "h": 4, "p": 20, "n": 24, "g": 2}, """
SA: i1=grid i0=tile h=grid
HC: i1=loop i0=tile h=grid p=tile:16 n=tile:16
Y: i1=grid i0=grid:16 k0=tile:16 h=grid p=tile:16 n=tile:16
HL: h=grid p=tile n=tile
""", {"instances": "b", "seed": 2}),
    ("retnet", "chunked", {}, None, {}),
    ("gla", "chunked", {}, None, {}),
)


def tasks(dtype: str) -> list[dict[str, Any]]:
    """The tasks of all kernels in one storage type."""
    found = []
    for variant, algorithm, extents, text, more in TASKS:
        found.append({"variant": variant, "algorithm": algorithm, "extents": extents, "dtype": dtype, **more,
                      **({"config": text} if text else {})})
    return found


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_kernels_agree_with_the_references(dtype: str) -> None:
    wanted = tasks(dtype)
    failures = {}
    for number, outcome in run_tasks("tests.autotune.lowering.interpreted:check_variant", wanted, jobs=2,
                                     environment={"TRITON_INTERPRET": "1"}):
        name = f"{number} {wanted[number]['variant']}:{wanted[number]['algorithm']}"
        if outcome.error or outcome.result["reason"]:
            failures[name] = outcome.error or outcome.result["reason"]
    assert failures == {}


def test_masked_rows_give_0_and_large_logits_no_nan() -> None:
    """Whole rows without keys, and predicates that keep everything out."""
    own = {"p": 45, "m": 50, "e": 24, "f": 40}
    wanted = [{"variant": "attention", "algorithm": a, "extents": own | ({"m0": 16} if a == "1pass" else {}), "dtype": "fp32",
               "where": {name: predicate}}
              for a, name in (("1pass", "BQK"), ("2pass", "QK"), ("3pass", "QK"))
              for predicate in ("p < 7", "p > M", "p % 3 == 1")]
    found = dict(run_tasks("tests.autotune.lowering.interpreted:check_masked", wanted, jobs=2, environment={"TRITON_INTERPRET": "1"}))
    assert [o.error for o in found.values() if o.error] == []
    assert max(max(o.result["errors"].values()) for o in found.values()) < 5e-6
