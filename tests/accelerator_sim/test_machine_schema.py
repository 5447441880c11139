"""The schema of machines: inheritance, numbers with sources and bands, sides, memories in parts, costs that follow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from accelerator_sim.area import machine_area
from accelerator_sim.costs import arithmetic_area, arithmetic_energy
from accelerator_sim.errors import ComponentError
from accelerator_sim.machine import Machine
from accelerator_sim.machine_numbers import machine_numbers
from accelerator_sim.machines import load_machine, machine_definition, machine_ids, read_machine, source_of
from accelerator_sim.sram import BAND_FACTOR, sram_cost
from einsum_cascades.errors import DefinitionError, UnknownNameError
from tests.accelerator_sim.small import definition
from tests.reports.command import runner

Change = Callable[[dict[str, Any]], Any]


def changed(change: Change) -> dict[str, Any]:
    made = copy.deepcopy(definition())
    change(made)
    return made


def both(first: Change, second: Change) -> dict[str, Any]:
    made = changed(first)
    second(made)
    return made


def message(raw: Mapping[str, Any]) -> str:
    with pytest.raises(DefinitionError) as caught:
        read_machine(raw, "m.yaml")
    return str(caught.value)


def band_of(machine: Machine, path: str) -> tuple[float, float] | None:
    return machine.provenance[path].band


# --- numbers ---


def test_a_number_may_say_itself_where_it_is_from() -> None:
    machine = read_machine(changed(lambda d: d["array_2d"]["cycles"].update(
        exp={"value": 6, "source": "a paper", "band": [5, 8]},
        div={"value": 0.5, "estimated": "half of a product", "band_factor": [0.5, 2]})), "m.yaml")
    assert machine.units["array_2d"].cycles["exp"] == 6
    assert source_of(machine, "array_2d.cycles.exp") == "a paper"
    assert band_of(machine, "array_2d.cycles.exp") == (5, 8)
    assert band_of(machine, "array_2d.cycles.div") == (0.25, 1)
    assert machine.provenance["array_2d.cycles.div"].estimated
    assert source_of(machine, "array_2d.cycles.max") == "these tests"


def test_an_entry_of_sources_may_hold_a_rule_and_a_band_for_several_numbers() -> None:
    def change(d: dict[str, Any]) -> None:
        d["sources"]["dram"] = {"estimated": "a guess", "band_factor": [0.5, 4]}
        d["sources"]["dram.row_bits"] = "a standard"
    machine = read_machine(changed(change), "m.yaml")
    assert band_of(machine, "dram.read_pj") == (4, 32)
    assert machine.provenance["dram.read_pj"].estimated
    assert band_of(machine, "dram.row_bits") is None
    assert source_of(machine, "dram.row_bits") == "a standard"


def test_a_band_in_place_keeps_the_source_around_it() -> None:
    machine = read_machine(changed(lambda d: d["dram"].update(read_pj={"value": 8, "band": [4, 9]})), "m.yaml")
    assert source_of(machine, "dram.read_pj") == "these tests"
    assert band_of(machine, "dram.read_pj") == (4, 9)


@pytest.mark.parametrize(("number", "expected"), [
    ({"value": 8, "estimated": "a guess"}, "dram.read_pj.band: an estimate needs a band, got NoneType None; give band: [low, high]"),
    ({"value": 8, "estimated": "a", "source": "b"}, "dram.read_pj.estimated: a number is from a source or estimated, not both, got"),
    ({"value": 8, "source": "a", "band": [9, 10]}, "dram.read_pj.band: the number should lie inside it, which is 8, got a list"),
    ({"value": 8, "source": "a", "band": [9, 3]}, "dram.read_pj.band: it should be two numbers, the smaller first, got a list of 2"),
    ({"value": 8, "source": "a", "band": [1, 9], "band_factor": [1, 2]}, "dram.read_pj.band_factor: the band stands twice, got"),
    ({"value": 8, "source": "a", "band_factor": [2, 3]}, "dram.read_pj.band_factor: 1 should lie inside it, got a list of 2"),
    ({"value": 8, "source": "a", "bend": [2, 3]}, "dram.read_pj: unknown key, got 'bend'; did you mean 'band'? valid: band"),
    ({"value": "eight", "source": "a"}, "dram.read_pj.value: it should be a number, got 'eight'; write one"),
    ({"value": -8, "source": "a"}, "dram.read_pj: it should be a number of at least 0, got -8"),
])
def test_wrong_numbers_are_refused_with_their_path(number: Mapping[str, Any], expected: str) -> None:
    found = message(changed(lambda d: d["dram"].update(read_pj=number)))
    assert found.startswith(f"m.yaml: {expected.replace('NoneType None', 'None')}"), found


@pytest.mark.parametrize(("entry", "expected"), [
    ({"estimated": "a"}, "sources.dram.band: an estimate needs a band"),
    ({"band_factor": [0.5, 2]}, "sources.dram.source: it is missing"),
    ({"source": "a", "band": [1, 2]}, "sources.dram.band: it is for one number, and this path is of several, got"),
    ({"source": "a", "page": 3}, "sources.dram: unknown key, got 'page'"),
    (3, "sources.dram: it should be text, got 3"),
])
def test_wrong_entries_of_sources_are_refused(entry: Any, expected: str) -> None:
    assert message(changed(lambda d: d["sources"].update(dram=entry))).startswith(f"m.yaml: {expected}")


def test_a_number_without_a_source_is_refused() -> None:
    found = message(changed(lambda d: d["sources"].pop("dram")))
    assert found == "m.yaml: sources: it has no source, got none for 'dram.row_bits'; add 'dram.row_bits: ...' there"
    found = message(changed(lambda d: d["sources"].update(drum="a")))
    assert found.startswith("m.yaml: sources: the machine has no such number, got 'drum'; did you mean 'dram")


# --- inheritance ---


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def written(name: str, text: Mapping[str, Any]) -> str:
        (tmp_path / name).write_text(yaml.safe_dump(dict(text), sort_keys=False))
        return str(tmp_path / name)
    return written


def test_a_machine_takes_from_another_what_it_does_not_write(write: Callable[..., str]) -> None:
    write("base.yaml", definition())
    child = write("child.yaml", {"id": "child", "inherits": "base.yaml", "array_2d": {"rows": 8, "cycles": {"exp": 0.5, "div": None}},
                                 "sources": {"array_2d": "a child", "dram.bytes_per_s": "looked up again"}})
    base, machine = read_machine(definition(), "base"), load_machine(child)
    expected = dict(base.parameters()) | {"array_2d.rows": 8, "array_2d.cycles.exp": 0.5}
    del expected["array_2d.cycles.div"]
    assert machine.parameters() == expected
    assert (machine.id, machine.title) == ("child", base.title)
    assert source_of(machine, "array_2d.rows") == "a child"
    assert source_of(machine, "array_2d.cols") == "small: these tests"
    assert source_of(machine, "dram.bytes_per_s") == "looked up again"


def test_what_a_machine_writes_needs_a_source_of_its_own(write: Callable[..., str]) -> None:
    write("base.yaml", definition())
    child = write("child.yaml", {"id": "child", "inherits": "base.yaml", "array_2d": {"rows": 8}})
    with pytest.raises(DefinitionError, match=r"child.yaml: sources: it has no source, got none for 'array_2d.rows'"):
        load_machine(child)


@pytest.mark.parametrize(("child", "expected"), [
    ({"inherits": "bose.yaml"}, "bose.yaml: file: there is none"),
    ({"inherits": "fusemix"}, "unknown machine, got 'fusemix'; did you mean 'fusemax'?"),
    ({"inherits": 3}, "child.yaml: inherits: it should be text, got 3"),
    ({"inherits": "child.yaml"}, "it inherits itself, got child.yaml from child.yaml; break the circle"),
    ({"inherits": "base.yaml", "array_2d": {"rws": 3}, "sources": {"array_2d": "a"}}, "child.yaml: array_2d: unknown key, got 'rws'"),
    ({"inherits": "base.yaml", "array_2d": {"rows": 0}, "sources": {"array_2d": "a"}}, "child.yaml: array_2d.rows: it should be a whole"),
    ({"inherits": "base.yaml", "sources": {"array_3d": "a"}}, "child.yaml: sources: the machine has no such number, got 'array_3d'"),
    ({"inherits": "base.yaml", "dram": None}, "its outermost memory should be a dram"),
])
def test_wrong_heirs_are_refused(write: Callable[..., str], child: Mapping[str, Any], expected: str) -> None:
    write("base.yaml", definition())
    with pytest.raises((DefinitionError, UnknownNameError)) as caught:
        load_machine(write("child.yaml", {"id": "child", **child}))
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", machine_ids())
def test_a_whole_definition_reads_as_the_machine_it_is_of(name: str) -> None:
    raw, source = machine_definition(name)
    assert "inherits" not in raw
    again, machine = read_machine(raw, source), load_machine(name)
    assert again.parameters() == machine.parameters()
    assert again.provenance == machine.provenance
    assert yaml.safe_load(yaml.safe_dump(raw)) == raw


@pytest.mark.parametrize("name", ["fusemax", "fusemax_16", "h200"])
def test_every_number_can_be_set(name: str) -> None:
    machine = load_machine(name)
    for path, value in machine.parameters().items():
        again = load_machine(name, {path: value * 2})
        assert again.parameter(path) == value * 2
        assert source_of(again, path) == "--set"
        moved = {p for p, v in again.parameters().items() if v != machine.parameters()[p]}
        assert moved == ({path} if value else set())


def test_an_unknown_path_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"--set: machine 'h200': unknown parameter, got 'special.lane'; did you mean 'special.lanes'"):
        load_machine("h200", {"special.lane": 8})


# --- units and memories ---


def test_sides_may_have_any_names() -> None:
    def change(d: dict[str, Any]) -> None:
        unit = d["array_2d"]
        del unit["rows"], unit["cols"], unit["drain"]
        unit.update(sides=["cores", "m", "n"], cores=4, m=8, n=2, fill=3, drain="m")
    machine = read_machine(changed(change), "m.yaml")
    unit = machine.units["array_2d"]
    assert dict(unit.dimensions) == {"cores": 4, "m": 8, "n": 2}
    assert (unit.pes, unit.fill_cycles, unit.drain_cycles) == (64, 3, 8)
    assert machine.parameter("array_2d.cores") == 4
    assert "m.yaml: array_2d.n: it is missing" in message(both(change, lambda d: d["array_2d"].pop("n")))
    assert "array_2d.drain: unknown name, got 'rows'" in message(both(change, lambda d: d["array_2d"].update(drain="rows")))


def test_half_a_cycle_is_two_operations_in_one() -> None:
    machine = read_machine(changed(lambda d: d["array_2d"]["cycles"].update(mac=0.5)), "m.yaml")
    assert machine.units["array_2d"].rate("mac") == 2 * machine.units["array_2d"].pes


def test_energies_and_areas_follow_from_a_format() -> None:
    def change(d: dict[str, Any]) -> None:
        del d["array_2d"]["area_um2"]
        d["array_2d"].update(format="bf16", accumulate="fp32", energy_pj={"exp": {"each_cycle": "mac"}, "mac": 2})
    machine = read_machine(changed(change), "m.yaml")
    unit = machine.units["array_2d"]
    assert unit.energy_pj["mac"] == 2
    assert unit.energy_of("exp") == 2 * unit.cycles["exp"]
    assert unit.energy_pj["add"] == arithmetic_energy("add", "bf16", 45).nominal
    mac, compare, elementary = (arithmetic_area(o, "bf16", 45, "fp32").nominal for o in ("mac", "max", "exp"))
    assert unit.area_um2 == {"mac": mac, "compare": compare, "elementary": elementary}
    assert band_of(machine, "array_2d.energy_pj.add") == (0.2, 8.3395)
    settable = changed(change)
    low = read_machine(settable, "m.yaml", costs="low")
    assert (low.parameter("array_2d.energy_pj.add"), low.parameter("array_2d.energy_pj.mac")) == (0.2, 2)
    unknown = both(change, lambda d: d["array_2d"].update(format="fp17"))
    with pytest.raises(UnknownNameError, match="unknown number format, got 'fp17'"):
        read_machine(unknown, "m.yaml")


def test_a_unit_without_energies_and_format_is_refused() -> None:
    found = message(changed(lambda d: d["array_2d"].pop("energy_pj")))
    assert found.startswith("m.yaml: array_2d.energy_pj.mac: an operator with cycles needs an energy, got None; give it in pJ, or")


def in_parts(**given: Any) -> dict[str, Any]:
    def change(d: dict[str, Any]) -> None:
        for key in ("read_pj", "write_pj", "area_mm2"):
            del d["global_buffer"][key]
        d["global_buffer"].update(bytes=1 << 22, **given)
    return changed(change)


def test_a_memory_in_parts_costs_what_one_of_them_does() -> None:
    whole, parts = (read_machine(in_parts(**given), "m.yaml").memories["global_buffer"] for given in
                    ({}, {"banks": 4, "instances": 16}))
    one = sram_cost(1 << 16, 64, 45)
    assert parts.cost(8).read_pj == one.read_pj
    assert parts.cost(8).area_mm2 == pytest.approx(64 * one.area_mm2)
    assert whole.cost(8).read_pj == sram_cost(1 << 22, 64, 45).read_pj


def test_a_second_port_needs_costs_of_its_own() -> None:
    memory = read_machine(in_parts(ports=2), "m.yaml").memories["global_buffer"]
    with pytest.raises(ComponentError, match=r"global_buffer.ports: the SRAM table has one read-write port, got 2; give read_pj"):
        memory.cost(2)
    given = read_machine(in_parts(ports=2, read_pj=1, write_pj=1, area_mm2=1), "m.yaml").memories["global_buffer"]
    assert given.cost(8).read_pj == 1


def test_ends_of_the_bands_reach_tables_and_leave_what_is_set() -> None:
    nominal, low, high = (load_machine("fusemax", costs=end) for end in ("nominal", "low", "high"))
    energy = nominal.memories["global_buffer"].cost(2).read_pj
    assert low.memories["global_buffer"].cost(2).read_pj == pytest.approx(energy * BAND_FACTOR[0])
    assert high.memories["global_buffer"].cost(2).read_pj == pytest.approx(energy * BAND_FACTOR[1])
    assert (low.parameter("array_2d.energy_pj.mac"), high.parameter("array_2d.energy_pj.mac")) == (1.5, 17.1645)
    assert low.units["array_2d"].energy_of("exp") == 9
    assert load_machine("fusemax", {"array_2d.energy_pj.mac": 5}, "low").parameter("array_2d.energy_pj.mac") == 5
    assert machine_area(low) == machine_area(nominal)
    with pytest.raises(UnknownNameError, match="unknown end of the costs' bands, got 'least'; valid: high, low, nominal"):
        load_machine("fusemax", costs="least")


# --- the list of numbers ---


@pytest.mark.parametrize("name", machine_ids())
def test_the_list_has_every_number_and_what_tables_give(name: str) -> None:
    machine = load_machine(name)
    listed = {n.path: n for n in machine_numbers(machine)}
    assert len(listed) == len(machine_numbers(machine))
    assert {p: n.value for p, n in listed.items() if not n.follows} == machine.parameters()
    for memory in machine.memories.values():
        cost = memory.cost(memory.row_bits / 8)
        assert listed[f"{memory.name}.read_pj"].value == cost.read_pj
        assert memory.kind == "dram" or listed[f"{memory.name}.area_mm2"].value == cost.area_mm2
    assert all(n.source and (n.unit or n.path.split(".")[-1] not in ("clock_hz", "bytes", "read_pj", "exp")) for n in listed.values())


def test_show_lists_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    fusebench = runner(capsys)
    found = fusebench("show", "machine", "h200", "--numbers", "--json").json
    by_path = {n["path"]: n for n in found}
    assert by_path["dram.bytes_per_s"] == {
        "path": "dram.bytes_per_s", "value": 4.8e12, "unit": "B/s", "low": None, "high": None, "estimated": False, "follows": False,
        "source": "NVIDIA H200 data sheet (4.8 TB/s)"}
    assert by_path["special.energy_pj.exp"]["estimated"]
    text = fusebench("show", "machine", "h200", "--numbers").out
    assert all(path in text for path in by_path)
    assert "estimated: h100: as many slices as the A100 has" in text
    whole = fusebench("show", "machine", "h200", "--json").json
    assert whole["derived_from"] == "h100"
    assert whole["sources"]["dram.bytes"] == "NVIDIA H200 data sheet (141 GB)"
    assert fusebench("show", "attention", "--numbers").error == "show: --numbers is for a machine, got 'attention'; see 'fusebench show --help'"


# --- limits of kernels ---


def test_limits_of_kernels_are_carried_and_inherited() -> None:
    h100, h200 = load_machine("h100"), load_machine("h200")
    assert (h200.target, dict(h200.limits)) == (h100.target, dict(h100.limits))
    assert h200.parameter("limits.shared_bytes_per_block") == 227 * 1024
    assert load_machine("h200", {"limits.registers_per_thread": 128}).limits["registers_per_thread"] == 128
    assert load_machine("fusemax").target == ""


@pytest.mark.parametrize(("change", "expected"), [
    (lambda limits: limits.pop("warp_size"), "m.yaml: limits.warp_size: it is missing, got"),
    (lambda limits: limits.update(warps=3), "m.yaml: limits: unknown key, got 'warps'"),
    (lambda limits: limits.update(warp_size=0.5), "m.yaml: limits.warp_size: it should be a whole number"),
    (lambda limits: limits.pop("target"), "m.yaml: limits.target: it is missing"),
])
def test_wrong_limits_are_refused(change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    def add(d: dict[str, Any]) -> None:
        d["limits"] = {"target": "sm_90", **load_machine("h100").limits}
        d["sources"]["limits"] = "these tests"
        change(d["limits"])
    assert message(changed(add)).startswith(expected)
