"""How long and how much memory the event simulator takes for BERT's attention, up to a million tokens.

Measured on one core of a shared machine: 2 s (6 s under load) and less than 64 MB at 262,144 and 1,048,576 tokens (``binding`` on
``fusemax``), as what repeats is added at once. ``extra_info`` has the epochs, and the peak of memory in bytes.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.events.simulate import simulate_events
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from workloads.variants import load_variant

MOST_BYTES = 64e6


def _attention(seq_len: int) -> Estimate:
    shape = Shape({"p": seq_len, "m": seq_len, "e": 64, "f": 64}, {"b": 64, "h": 12}, "bert", seq_len)
    return estimate(load_variant("attention").cascade("1pass"), load_design("binding"), load_machine("fusemax"), shape)


@pytest.mark.parametrize("seq_len", [16384, 262144, 1048576])
def test_events_of_long_sequences(benchmark: Any, seq_len: int) -> None:
    plan = _attention(seq_len).plan
    (stage,) = benchmark.pedantic(lambda: simulate_events(plan), rounds=1)
    benchmark.extra_info.update(epochs=stage.epochs, simulated=stage.simulated)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sequence(benchmark: Any) -> None:
    peaks = []
    for seq_len in (262144, 1048576):
        plan = _attention(seq_len).plan
        tracemalloc.start()
        simulate_events(plan)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    benchmark.extra_info["peak_bytes"] = peaks
    assert max(peaks) < MOST_BYTES
    assert peaks[1] < 2 * peaks[0]
    benchmark.pedantic(lambda: None, rounds=1)
