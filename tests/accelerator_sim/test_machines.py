"""Machine files: every key that is missing, wrong or unknown gets one line with its path; a user's own file works anywhere."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from accelerator_sim.designs import load_design
from accelerator_sim.estimate import estimate
from accelerator_sim.machines import load_machine, machine_ids, read_machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, FusebenchError, UnknownNameError
from tests.accelerator_sim.small import definition
from tests.accelerator_sim.test_counts_against_trace import cascade_of

OPTIONAL = frozenset((
    "bytes_per_s", "label", "drain", "cols", "area_um2", "area_mm2",
    # The buffer and the register files would cost what the tables say.
    "global_buffer.read_pj", "global_buffer.write_pj", "register_file.read_pj", "register_file.write_pj"))
"""Keys, with what they are in where that matters, that a machine can do without."""


def keys(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a definition but the sources, by path."""
    for key, value in node.items():
        if key != "sources":
            yield (*path, key)
            if isinstance(value, dict):
                yield from keys(value, (*path, key))


PATHS = tuple(keys(definition()))


def at(path: tuple[str, ...]) -> Any:
    node: Any = definition()
    for key in path:
        node = node[key]
    return node


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The definition with another value at a path; None takes the key away."""
    made = copy.deepcopy(definition())
    node = made
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return made


def refusal(raw: Mapping[str, Any]) -> str:
    with pytest.raises(DefinitionError) as caught:
        read_machine(raw, "m.yaml")
    found = str(caught.value)
    assert "\n" not in found
    assert found.startswith("m.yaml: ")
    assert ", got " in found
    assert "; " in found
    return found


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_value_of_another_kind_is_refused_with_its_path(path: tuple[str, ...]) -> None:
    wrong: tuple[Any, ...] = ([1], True, "seven" if not isinstance(at(path), str) else {"a": 1})
    for value in wrong:
        assert ".".join(path) in refusal(with_value(path, value)), value


@pytest.mark.parametrize("path", [p for p in PATHS if isinstance(at(p), (int, float))], ids=".".join)
def test_a_number_out_of_its_range_is_refused_with_its_path(path: tuple[str, ...]) -> None:
    for value in (-1, float("nan"), float("inf"), *((0, 2.5) if path[-1] in ("rows", "cols", "lanes", "row_bits", "bytes") else ())):
        assert ".".join(path) in refusal(with_value(path, value)), value


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_missing_key_is_refused_unless_a_machine_can_do_without(path: tuple[str, ...]) -> None:
    raw = with_value(path, None)
    # An operator less, or a part of a PE less, is another machine.
    if {path[-1], ".".join(path[-2:])} & OPTIONAL or len(path) == 3 and path[1] in ("cycles", "area_um2"):
        read_machine(raw, "m.yaml")
    else:
        expected = {"rows": "array_2d.drain", "dram": "its outermost memory should be a dram", "kind": f"{path[0]}.kind"}
        assert expected.get(path[-1], path[-1]) in refusal(raw)


@pytest.mark.parametrize("path", [(), *(p for p in PATHS if isinstance(at(p), dict))], ids=lambda p: ".".join(p) or "top")
def test_an_unknown_key_is_refused_with_its_path(path: tuple[str, ...]) -> None:
    raw = with_value((*path, "colour"), "red")
    found = refusal(raw)
    if path and path[-1] in ("cycles", "energy_pj", "area_um2"):
        assert f"{'.'.join(path)}.colour" in found
    else:
        assert "unknown key, got 'colour'" in found
        assert f"m.yaml: {'.'.join(path) + ': ' if path else ''}" in found


def test_near_names_are_offered() -> None:
    raw = with_value(("array_2d", "rows"), None)
    raw["array_2d"]["row"] = 2
    raw["array_2d"].pop("drain")
    assert refusal(raw).startswith("m.yaml: array_2d: unknown key, got 'row'; did you mean 'rows'?")


@pytest.mark.parametrize(("text", "message"), [
    ("", "file: it should be a mapping, got an empty file"),
    ("- a\n- b\n", "file: it should be a mapping, got a list of 2"),
    ("id: [\n", "YAML: it cannot be read"),
    ("id: a\nid: b\n", "key 'id': it stands twice in one mapping"),
])
def test_a_file_that_is_no_machine_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_machine(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"\x00\x01")
    for name in (str(tmp_path / "none.yaml"), str(tmp_path), str(tmp_path / "m.yaml")):
        with pytest.raises(FusebenchError) as caught:
            load_machine(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match=r"unknown machine, got 'fusemux'; did you mean 'fusemax'\? valid: "):
        load_machine("fusemux")


def test_a_users_own_machine_works_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(definition(), sort_keys=False))
    shape = Shape({"p": 6, "m": 6, "e": 2, "f": 2})
    found = estimate(cascade_of("binding"), load_design("binding"), load_machine(str(path)), shape)
    assert found.machine == "small"
    slower = load_machine(str(path), {"array_2d.cycles.exp": 50, "array_1d.cycles.exp": 50})
    assert estimate(cascade_of("binding"), load_design("binding"), slower, shape).latency_s > found.latency_s
    with pytest.raises(DefinitionError, match=r"mine.yaml: array_2d.rows: it should be a whole number of at least 1, got 0"):
        load_machine(str(path), {"array_2d.rows": 0})
    with pytest.raises(UnknownNameError, match=r"--set: machine 'small': unknown parameter, got 'array_2d.row'; did you mean 'array_2d.rows'"):
        load_machine(str(path), {"array_2d.row": 3})


@pytest.mark.parametrize("path", ["id", "array_2d", "array_2d.label", "sources", "dram.kind", "array_2d.energy_pj", "", "."])
def test_only_numbers_can_be_set(path: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown parameter"):
        load_machine("fusemax", {path: 3})


@pytest.mark.parametrize("name", machine_ids())
def test_shipped_machines_have_parameters_that_read_back(name: str) -> None:
    machine = load_machine(name)
    assert machine.id == name
    for path, value in machine.parameters().items():
        assert machine.parameter(path) is value
