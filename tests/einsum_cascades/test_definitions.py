"""Strict YAML: what plain words mean, typed fields, and the place of the key in every error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from einsum_cascades.definitions import Fields, parse_yaml, read_yaml
from einsum_cascades.errors import DefinitionError
from tests.einsum_cascades.test_round_trip import mutated

MACHINE = """\
clock_hz: 940e6          # a number, though YAML 1.1 would read text
array_2d: {rows: 256, cols: 1_000, cycles: {exp: 6}}
sizes: [1, 2.0, 3]
sources:
  - {title: "a paper", year: 2024}
name: fusemax
fast: true
empty:
"""


def fields(text: str = MACHINE) -> Fields:
    return Fields(parse_yaml(text, source="m.yaml"), source="m.yaml")


def test_plain_words_are_read_as_in_yaml_1_2() -> None:
    text = "[940e6, 1e-5, .5, 1_000, -3, 010, 0x10, no, on, 12:30, 2024-01-01, ~, true, .inf, '5']"
    assert parse_yaml(text, source="x") == [940e6, 1e-5, 0.5, 1000, -3, "010", "0x10", "no", "on", "12:30", "2024-01-01", None,
                                            True, float("inf"), "5"]
    assert parse_yaml("a: &x {p: 1}\nb: {<<: *x, q: 2}", source="x") == {"a": {"p": 1}, "b": {"p": 1, "q": 2}}


def test_fields_have_their_types() -> None:
    machine = fields()
    array = machine.fields("array_2d")
    clock = machine.number("clock_hz", above=0)
    assert (clock, type(clock)) == (940e6, float)
    assert (array.integer("rows", least=1), array.integer("cols"), array.fields("cycles").number("exp")) == (256, 1000, 6.0)
    assert machine.integers("sizes") == (1, 2, 3)
    assert [entry.integer("year") for entry in machine.list_of_fields("sources")] == [2024]
    assert machine.text("name") == machine.choice("name", ("flat", "fusemax")) == "fusemax"
    assert machine.flag("fast") is True
    assert not machine.given("empty")
    assert (machine.text("note", default="none"), machine.number("share", default=0.5), machine.texts("tags", default=()),
            machine.fields("own", default={}).keys(), machine.flag("slow", default=False)) == ("none", 0.5, (), (), False)
    machine.finish()


@pytest.mark.parametrize(("take", "message"), [
    (lambda f: f.number("clock"), "clock: it is missing, got no value; write one"),
    (lambda f: f.text("empty"), "empty: it is missing, got no value; write some, in quotes where it is a number"),
    (lambda f: f.number("name"), "name: it should be a number, got 'fusemax'; write one"),
    (lambda f: f.number("fast"), "fast: it should be a number, got True; write one"),
    (lambda f: f.number("clock_hz", most=1e6), "clock_hz: it should be a number of at most 1e+06, got 940000000.0; correct it"),
    (lambda f: f.number("clock_hz", above=940e6, most=1e12), (
        "clock_hz: it should be a number of more than 9.4e+08 and at most 1e+12, got 940000000.0; correct it")),
    (lambda f: f.fields("array_2d").fields("cycles").integer("exp", least=7), (
        "array_2d.cycles.exp: it should be a whole number of at least 7, got 6; correct it")),
    (lambda f: f.text("clock_hz"), (
        "clock_hz: it should be text, got 940000000.0; write some, in quotes where it is a number")),
    (lambda f: f.text("sizes"), "sizes: it should be text, got a list of 3; write some, in quotes where it is a number"),
    (lambda f: f.choice("name", ("flat", "fusemix")), (
        "name: unknown name, got 'fusemax'; did you mean 'fusemix'? valid: flat, fusemix")),
    (lambda f: f.flag("name"), "name: it should be true or false, got 'fusemax'; write one of them"),
    (lambda f: f.fields("name"), "name: it should be a mapping, got 'fusemax'; write 'key: value' lines below it"),
    (lambda f: f.entries("array_2d"), (
        "array_2d: it should be a list, got a mapping of 'rows', 'cols', 'cycles'; begin each entry with '- '")),
    (lambda f: f.texts("sizes"), "sizes[0]: it should be text, got 1; write some, in quotes where it is a number"),
    (lambda f: f.list_of_fields("sizes"), "sizes[0]: it should be a mapping, got 1; write 'key: value' lines below it"),
    (lambda f: f.list_of_fields("sources")[0].finish(), "sources[0]: unknown key, got 'title'; there are none to choose from"),
    (lambda f: (f.given("clocks_hz"), f.finish()), "unknown key, got 'clock_hz'; did you mean 'clocks_hz'? valid: clocks_hz"),
])
def test_wrong_fields(take: Callable[[Fields], Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        take(fields())
    assert str(caught.value) == f"m.yaml: {message}"


@pytest.mark.parametrize(("text", "key", "message"), [
    ("a: 2.5", "a", "a: it should be a whole number, got 2.5; round it"),
    ("a: .inf", "a", "a: it should be a whole number, got inf; write one"),
    ("a: .nan", "a", "a: it should be a whole number, got nan; write one"),
    ("a: 1e999", "a", "a: it should be a whole number, got inf; write one"),
    ("a: " + "9" * 400, "a", f"a: it should be a whole number, got {'9' * 77}...; write one"),
])
def test_numbers_that_are_none(text: str, key: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        fields(text).integer(key)
    assert str(caught.value) == f"m.yaml: {message}"


def test_keys_of_ones_own_are_text() -> None:
    with pytest.raises(DefinitionError, match=r"^m.yaml: a key should be text, got 3; put it in quotes$"):
        fields("3: x").keys()


@pytest.mark.parametrize(("content", "message"), [
    (b"", ": file: it should be a mapping, got an empty file; write 'key: value' lines"),
    (b"# nothing\n", ": file: it should be a mapping, got an empty file; write 'key: value' lines"),
    (b"- 1\n- 2\n", ": file: it should be a mapping, got a list of 2; write 'key: value' lines"),
    (b"plain", ": file: it should be a mapping, got str 'plain'; write 'key: value' lines"),
    (b"a: 1\nb: {c: 1,\n  c: 2}", ":3:3: key 'c': it stands twice in one mapping, got another value; keep one of the two"),
    (b"a: \0", ": file: it is not text, got a NUL byte at byte 3; give a definition in UTF-8"),
    (b"\x89PNG", ": file: it is not text, got byte 0x89 at byte 0, which is no UTF-8; give a definition in UTF-8"),
    (b"a: 1\n---\nb: 2", ":2:1: YAML: it cannot be read, got 'but found another document'; check indentation and quotes"),
    (b"a: !!python/object/apply:os.getcwd []", (
        ":1:4: YAML: it cannot be read, got \"could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd'\"; check indentation and quotes")),
    (b"a: " + b"[" * 5000, ":1:53: YAML: it is nested too deep, got more than 50 levels; simplify it"),
    (b"a: " + b"9" * 5000, ": YAML: it cannot be read, got ValueError; simplify it"),
    (b"# " + b"x" * 4_000_000, ": file: too long, got more than 4000000 bytes; give a shorter one"),
], ids=["empty", "comment", "list", "text", "twice", "nul", "png", "documents", "tag", "deep", "digits", "long"])
def test_files_that_hold_no_mapping(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(DefinitionError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}{message}"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="there is none, got a path that does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(DefinitionError, match="it is a folder, got no text"):
        read_yaml(tmp_path)


def test_mutations_give_only_clean_errors() -> None:
    rng = random.Random(5)
    broken = 0
    for _ in range(1000):
        try:
            document = parse_yaml(mutated(MACHINE, rng), source="mutant")
            if isinstance(document, dict):
                fields = Fields(document, source="mutant")
                fields.number("clock_hz")
                fields.fields("array_2d").integer("rows")
                fields.list_of_fields("sources")
                fields.finish()
        except DefinitionError as error:
            broken += 1
            assert "\n" not in str(error)
            assert str(error).startswith("mutant")
    assert broken > 300
