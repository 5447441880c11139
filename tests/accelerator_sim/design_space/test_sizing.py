"""Sizing to an area: within 0.1% of any area that can be reached, and honest about those that cannot."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator_sim.area import machine_area
from accelerator_sim.design_space.domains import domain_of
from accelerator_sim.design_space.sizing import TOLERANCE, Sizing, default_sizing, reachable_areas, size_to_area
from accelerator_sim.errors import AreaError
from accelerator_sim.machine import with_parameters
from accelerator_sim.machines import load_machine, machine_ids
from einsum_cascades.errors import UnknownNameError

MACHINES = {name: load_machine(name) for name in machine_ids()}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(MACHINES)), st.floats(-1, 4), st.booleans())
def test_any_area_in_reach_is_met(name: str, exponent: float, in_proportion: bool) -> None:
    machine, target = MACHINES[name], 10.0 ** exponent
    sizing = default_sizing(machine, in_proportion)
    least, most = reachable_areas(machine, sizing)
    try:
        found = size_to_area(machine, target, sizing)
    except AreaError as error:
        assert not least <= target <= most or "in steps" in str(error)
        return
    assert abs(found.error) <= TOLERANCE
    # The area is that of the machine that is handed back, told again from its parameters alone.
    again = with_parameters(machine, found.changed)
    assert machine_area(again)["total"] == pytest.approx(found.area_mm2)
    assert machine_area(found.machine)["total"] == pytest.approx(target, rel=TOLERANCE)
    assert set(found.changed) <= set(sizing.paths)
    for path, value in found.changed.items():
        assert domain_of(machine, path).least <= value
        assert not domain_of(machine, path).whole or value == int(value)


@pytest.mark.parametrize("target", [60, 200, 1000, 1500])
@pytest.mark.parametrize("name", ["fusemax", "flat", "marca", "tpu_v4i", "h100"])
def test_the_papers_scales_are_met(name: str, target: float) -> None:
    assert abs(size_to_area(MACHINES[name], target, default_sizing(MACHINES[name], in_proportion=True)).error) <= TOLERANCE


def test_a_machine_of_that_area_stays_as_it_is() -> None:
    for machine in MACHINES.values():
        assert size_to_area(machine, machine_area(machine)["total"]).changed == {}


def test_rules_of_what_grows() -> None:
    assert default_sizing(MACHINES["fusemax"]) == Sizing({"array_2d.rows": 1, "array_2d.cols": 1, "array_1d.lanes": 1}, "global_buffer.bytes")
    assert default_sizing(MACHINES["tpu_v4i"]) == Sizing({"array_2d.units": 1, "array_1d.lanes": 1}, "global_buffer.bytes")
    assert default_sizing(MACHINES["fusemax"], True).coarse["global_buffer.bytes"] == 2
    gpu = default_sizing(MACHINES["h100"])
    assert gpu.coarse == dict.fromkeys(("tensor.cores", "fp32.sms", "special.sms", "shared_memory.instances", "shared_memory.bytes"), 1)
    assert gpu.fine == "l2.bytes"


def test_sides_are_multiples_of_a_step() -> None:
    sizing = Sizing(dict.fromkeys(("array_2d.rows", "array_2d.cols", "array_1d.lanes"), 1), "global_buffer.bytes", 16)
    found = size_to_area(MACHINES["fusemax"], 1391.8, sizing)
    assert abs(found.error) <= TOLERANCE
    assert {found.changed[p] % 16 for p in sizing.coarse} == {0}
    assert found.changed["global_buffer.bytes"] % 512 == 0


def test_the_nearest_whole_array_is_found_by_trying_all() -> None:
    """Brute force over square arrays: what is chosen before the buffer closes the gap is the best of them, or its neighbour."""
    machine = MACHINES["fusemax"]
    areas = {n: machine_area(with_parameters(machine, dict.fromkeys(("array_2d.rows", "array_2d.cols", "array_1d.lanes"), n)))["total"]
             for n in range(200, 320)}
    assert all(a < b for a, b in pairwise(areas.values()))
    for target in (900.0, 1100.0, 1250.0, 1391.819, 1500.0):
        below, above = max(n for n, a in areas.items() if a <= target), min(n for n, a in areas.items() if a >= target)
        found = size_to_area(machine, target)
        assert found.changed["array_2d.rows"] in (below, above)


def test_what_cannot_be_reached_is_said() -> None:
    machine = MACHINES["fusemax"]
    for target, sizing, message in (
            (5000.0, Sizing({"global_buffer.bytes": 1}), r"it reaches 1220\.\d+ to 1517\.\d+ mm2, got 5000; give an area in that range"),
            (0.5, default_sizing(machine), r"it reaches 1\.62634 to any mm2, got 0.5"),
            (1400.0, Sizing({"array_1d.lanes": 1}, None, 1024), r"in steps, of which none is near enough, got 1400 between 13\d\d"),
            (1400.0, Sizing({"clock_hz": 1}), r"it reaches 1302\.95 to 1302\.95 mm2, got 1400"),
            (-1.0, None, "its area should be a number above 0, got -1 mm2")):
        with pytest.raises(AreaError, match=message):
            size_to_area(machine, target, sizing)
    with pytest.raises(UnknownNameError, match=r"did you mean 'array_2d.rows'"):
        size_to_area(machine, 1400, Sizing({"array_2d.row": 1}))
