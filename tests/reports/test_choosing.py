"""Which design is chosen: shipped, the mapper's, or the baseline where a search that ran out of time is worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from reports import choosing
from reports.cascades import load_cascade
from reports.choosing import BASELINE, MAPPER, Choice, choose

SHAPE = Shape({"p": 256, "m": 256, "e": 64, "f": 64}, {"b": 4})


def with_mapper(monkeypatch: pytest.MonkeyPatch, times: float, gap: float) -> Choice:
    """Lets the mapper find a design that takes so many times as long as the baseline."""
    plain = choose(load_cascade("attention:2pass"), load_machine("fusemax"), SHAPE, way="unfused")
    found = replace(plain, way=MAPPER, gap=gap, estimate=replace(plain.estimate, latency_s=plain.estimate.latency_s * times))
    monkeypatch.setattr(choosing, "_mapped", lambda *_: found)
    return found


@pytest.mark.parametrize(("times", "gap", "way"), [(0.5, 0.0, MAPPER), (0.5, 0.9, MAPPER), (2.0, 0.9, BASELINE), (1.0, 0.9, MAPPER)])
def test_an_unproven_mapping_is_held_against_the_baseline(monkeypatch: pytest.MonkeyPatch, times: float, gap: float, way: str) -> None:
    with_mapper(monkeypatch, times, gap)
    assert choose(load_cascade("attention:2pass"), load_machine("fusemax"), SHAPE).way == way
    assert choose(load_cascade("attention:2pass"), load_machine("fusemax"), SHAPE, way="mapper").way == MAPPER


def test_a_shipped_design_is_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mapper(monkeypatch, 1e-6, 0.0)
    named, machine = load_cascade("attention:1pass"), load_machine("fusemax")
    assert choose(named, machine, SHAPE).design.id in ("arch", "binding", "pipelined")
    assert choose(named, machine, SHAPE, way="best").way == MAPPER
