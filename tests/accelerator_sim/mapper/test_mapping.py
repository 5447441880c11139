"""Mappings of attention: as good as the published one, legal by events, whole as the sum of their groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelerator_sim.design_text import to_definition, to_yaml
from accelerator_sim.designs import design_ids, load_design, load_design_file
from accelerator_sim.estimate import estimate
from accelerator_sim.events.simulate import simulate_events
from accelerator_sim.machines import load_machine
from accelerator_sim.mapper import MapperSpace, map_cascade
from accelerator_sim.plan import Shape
from workloads.variants import load_variant


def attention(length: int, instances: int, **tiles: int) -> Shape:
    return Shape({"p": length, "m": length, "e": 64, "f": 64, **tiles}, {"b": instances})


@pytest.mark.parametrize("length", [1024, pytest.param(16384, marks=pytest.mark.slow), pytest.param(65536, marks=pytest.mark.slow)])
def test_it_is_as_good_as_the_published_mapping(length: int) -> None:
    cascade, machine = load_variant("attention").cascade("1pass"), load_machine("fusemax")
    shape = attention(length, 768, m0=512)
    published = estimate(cascade, load_design("binding"), machine, attention(length, 768))
    found = map_cascade(cascade, machine, shape, budget_s=120)
    assert found.value <= published.latency_s


def test_events_agree_with_a_mapping() -> None:
    cascade, machine = load_variant("attention").cascade("3pass"), load_machine("fusemax")
    found = map_cascade(cascade, machine, attention(1024, 12))
    assert found.proven_optimal
    cycles = sum(stage.cycles for stage in simulate_events(found.estimate.plan))
    assert cycles == pytest.approx(found.estimate.latency_cycles, rel=0.02)


def test_a_mapping_of_several_groups_reads_back_the_same(tmp_path: Path) -> None:
    cascade, machine = load_variant("attention").cascade("3pass"), load_machine("tpu_v4i")
    shape = attention(256, 2)
    found = map_cascade(cascade, machine, shape, space=MapperSpace(most_loops=1, most_einsums=3))
    assert len(found.groups) > 1
    assert found.value == pytest.approx(sum(g.latency_s for g in found.groups), rel=1e-12)
    path = tmp_path / "mapping.yaml"
    path.write_text(to_yaml(found.design))
    again = estimate(cascade, load_design(str(path)), machine, shape)
    assert again.latency_s == found.estimate.latency_s
    assert again.energy_pj == found.estimate.energy_pj


@pytest.mark.parametrize("name", [n for n in design_ids() if not load_design_file(n).table])
def test_shipped_designs_are_written_as_they_were_read(name: str, tmp_path: Path) -> None:
    design = load_design(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(design))
    assert to_definition(load_design(str(path))) == to_definition(design)


def test_a_state_is_carried_along_its_rank() -> None:
    cascade, machine = load_variant("mamba_s6").cascade("sequential"), load_machine("tpu_v4i")
    found = map_cascade(cascade, machine, Shape({"i": 8, "e": 16, "n": 4}, {"b": 1}), space=MapperSpace(most_loops=1), budget_s=20)
    group = next(g for g in found.groups if "H" in g.einsums)
    assert "i" in group.loops


def test_ranks_that_nothing_divides() -> None:
    found = map_cascade(load_variant("gemm").cascade(), load_machine("fusemax"), Shape({"m": 1021, "n": 7, "k": 13}, {"b": 1}))
    assert found.proven_optimal
