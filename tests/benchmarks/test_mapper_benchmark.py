"""How fast the mapper is: attention and a decoder layer of GPT-3 6.7B on a machine like the TPU v4i, for latency."""

from __future__ import annotations

from typing import Any

import pytest

from accelerator_sim.machines import load_machine
from accelerator_sim.mapper import map_cascade
from accelerator_sim.plan import Shape
from workloads.variants import load_variant


def test_attention_of_16_heads_and_1024_tokens(benchmark: Any) -> None:
    shape = Shape({"p": 1024, "m": 1024, "e": 64, "f": 64}, {"b": 16})
    cascade, machine = load_variant("attention").cascade("3pass"), load_machine("tpu_v4i")
    found = benchmark.pedantic(lambda: map_cascade(cascade, machine, shape), rounds=1, iterations=1)
    assert found.proven_optimal


@pytest.mark.slow
def test_a_layer_of_gpt3_6_7b(benchmark: Any) -> None:
    variant = load_variant("gpt_layer")
    shape = Shape(variant.shapes[0].extents, {"b": 1})
    found = benchmark.pedantic(lambda: map_cascade(variant.cascade(), load_machine("tpu_v4i"), shape, budget_s=30), rounds=1, iterations=1)
    benchmark.extra_info["gap"] = found.gap
    assert found.value >= found.bound
