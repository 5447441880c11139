"""Axes in text: lists, ranges, parameters together; their grid; the domain of every parameter is the reader's."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from accelerator_sim.design_space.axes import Axis, Link, grid, parse_axis, parse_link
from accelerator_sim.design_space.domains import domain_of
from accelerator_sim.machines import load_machine, machine_ids
from einsum_cascades.errors import DefinitionError, FusebenchError, UnknownNameError

FUSEMAX = load_machine("fusemax")


@pytest.mark.parametrize(("text", "values"), [
    ("array_2d.rows=16,32,64", (16, 32, 64)),
    ("array_2d.rows=16..256*2", (16, 32, 64, 128, 256)),
    ("array_2d.rows=16..300*2", (16, 32, 64, 128, 256)),
    ("array_2d.rows=1..4", (1, 2, 3, 4)),
    ("array_2d.rows=10..50+20", (10, 30, 50)),
    ("array_2d.rows=1..8*1.5", (1, 2, 3, 5, 8)),
    ("array_2d.rows=1,4..6,2", (1, 4, 5, 6, 2)),
    ("global_buffer.bytes=1K,1M,1.5Mi", (1024, 2**20, 1.5 * 2**20)),
    ("global_buffer.bytes=1M..8M*2", (2**20, 2**21, 2**22, 2**23)),
    ("global_buffer.bytes=1K..3K+1K", (1024, 2048, 3072)),
    ("dram.bytes_per_s=100G..300G+100G", (1e11, 2e11, 3e11)),
    ("dram.bytes_per_s=1e11..5e11:5", (1e11, 2e11, 3e11, 4e11, 5e11)),
    ("dram.bytes_per_s=1..100*:3", (1, 10, 100)),
    ("dram.bytes_per_s=1Ki", (1024,)),
    ("array_2d.energy_pj.mac=0.1..0.3+0.1", (0.1, 0.2, 0.3)),
    ("clock_hz=1e+9..3e+9+1e+9", (1e9, 2e9, 3e9)),
])
def test_values(text: str, values: tuple[float, ...]) -> None:
    (found,) = parse_axis(text, FUSEMAX).values.values()
    assert found == pytest.approx(values, rel=1e-12)


def test_parameters_together() -> None:
    axis = parse_axis("array_2d.rows=array_2d.cols=16,32; global_buffer.bytes=64K,1M", FUSEMAX)
    assert axis.values == {"array_2d.rows": (16, 32), "array_2d.cols": (16, 32), "global_buffer.bytes": (65536, 2**20)}


@pytest.mark.parametrize(("text", "message"), [
    ("array_2d.row=16", "unknown parameter, got 'array_2d.row'; did you mean 'array_2d.rows'"),
    ("array_2d.rows", "it should be a path, '=' and values, got 'array_2d.rows'"),
    ("array_2d.rows=", "it should be a path, '=' and values"),
    ("array_2d.rows=x", "it should be a number, got 'x'"),
    ("array_2d.rows=nan", "it should be a number, got 'nan'"),
    ("array_2d.rows=1e999", "not too large, got '1e999'"),
    ("array_2d.rows=16.5", "array_2d.rows: it should be a whole number of at least 1, got 16.5"),
    ("array_2d.rows=0,1", "array_2d.rows: it should be a whole number of at least 1, got 0"),
    ("clock_hz=0", "clock_hz: it should be a number above 0, got 0"),
    ("array_2d.rows=8..4", "should end where it begins or later, got '8..4'"),
    ("array_2d.rows=1..8*1", "a factor above 1"),
    ("array_2d.rows=1..8+0", "a step above 0"),
    ("array_2d.rows=1..8:1", "a whole number of at least 2 values"),
    ("clock_hz=1..1e300+1", "at most 10,000,000 values"),
    ("array_2d.rows=1,2;array_2d.cols=1", "lists of one length, got '2 of array_2d.rows, 1 of array_2d.cols'"),
    ("array_2d.rows=array_2d.rows=1", "a parameter stands twice, got 'array_2d.rows'"),
])
def test_wrong_axes(text: str, message: str) -> None:
    with pytest.raises(FusebenchError) as error:
        parse_axis(text, FUSEMAX)
    assert message in str(error.value)


def test_a_grid_is_every_combination_the_last_axis_fastest() -> None:
    axes = [Axis({"a": (1, 2), "b": (3, 4)}), Axis({"c": (5, 6, 7)}), Axis({"d": (8, 9)})]
    found = grid(axes)
    points = list(zip(*(found[k].tolist() for k in "abcd"), strict=True))
    assert points == [(a, b, c, d) for (a, b), c, d in product(((1, 3), (2, 4)), (5, 6, 7), (8, 9))]


def test_links_follow() -> None:
    axes = [parse_axis("array_2d.rows=16,32", FUSEMAX)]
    found = grid(axes, [parse_link("array_1d.lanes = 2*array_2d.rows", FUSEMAX), parse_link("array_2d.cols=array_1d.lanes", FUSEMAX)],
                 FUSEMAX)
    assert found["array_1d.lanes"].tolist() == found["array_2d.cols"].tolist() == [32, 64]
    fixed = grid(axes, [Link("array_2d.cols", 0.5, "array_1d.lanes")], FUSEMAX)
    assert fixed["array_2d.cols"].tolist() == [128, 128]
    with pytest.raises(DefinitionError, match=r"array_2d.cols: it should be a whole number of at least 1, got 0.5"):
        grid([parse_axis("array_2d.rows=1", FUSEMAX)], [Link("array_2d.cols", 0.5, "array_2d.rows")], FUSEMAX)
    with pytest.raises(DefinitionError, match=r"it follows 'array_2d.cols' and is varied too"):
        grid(axes, [Link("array_2d.rows", 1, "array_2d.cols")], FUSEMAX)
    with pytest.raises(UnknownNameError, match=r"did you mean 'array_2d.rows'"):
        parse_link("array_2d.cols=array_2d.row", FUSEMAX)


def test_two_axes_do_not_share_a_parameter() -> None:
    with pytest.raises(DefinitionError, match="two axes have the same parameter, got 'a' twice"):
        grid([Axis({"a": (1,)}), Axis({"a": (2,)})])
    with pytest.raises(DefinitionError, match="too many points together, got 16,000,000"):
        grid([Axis({name: tuple(map(float, range(4000)))}) for name in "ab"])


def taken(name: str, path: str, value: float) -> bool:
    """Whether the reader of machine files takes a value."""
    try:
        load_machine(name, {path: value})
    except DefinitionError:
        return False
    return True


@pytest.mark.parametrize("name", ["fusemax", "tpu_v4i", "h100"])
def test_a_domain_is_what_a_file_may_say(name: str) -> None:
    """The reader is the oracle: it takes a value if and only if the domain holds it. One path of each kind."""
    machine = load_machine(name)
    for path in {".".join(p.split(".")[1:3] if "limits" in p else p.split(".")[1:2]) or p: p for p in machine.parameters()}.values():
        for value in (-1.0, 0, 0.5, 1):
            assert bool(domain_of(machine, path).holds(np.array([float(value)]))[0]) == taken(name, path, value), (path, value)


@pytest.mark.slow
@pytest.mark.parametrize("name", machine_ids())
def test_every_domain_is_what_a_file_may_say(name: str) -> None:
    machine = load_machine(name)
    for path in machine.parameters():
        for value in (-1.0, 0, 0.5, 1, 1.5, 2):
            assert bool(domain_of(machine, path).holds(np.array([float(value)]))[0]) == taken(name, path, value), (path, value)


def test_a_latency_is_at_least_its_interval() -> None:
    machine = load_machine("fusemax")
    units = {**machine.units, "array_1d": replace(machine.units["array_1d"], latency={"exp": 20})}
    slower = replace(machine, units=units)
    assert domain_of(slower, "array_1d.latency.exp").least == 6
    assert domain_of(slower, "array_1d.cycles.exp").most == 20
