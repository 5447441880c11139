"""Strict JSON, and text tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import tables
from reports.output import emit, plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.floats().map(np.float64)
    | st.integers(0, 9).map(np.int32),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner))


@given(VALUES)
def test_any_result_is_strict_json(value: Any) -> None:
    def refused(word: str) -> None:
        raise AssertionError(word)
    json.loads(json.dumps(plain(value), allow_nan=False), parse_constant=refused)


def test_values_become_those_of_json() -> None:
    value = {"a": float("inf"), "b": -np.inf, "c": np.nan, "d": np.arange(3), 4: (1, np.float32(0.5)), "e": np.bool_(True),
             "f": MappingProxyType({"x": Path("a/b")}), "g": frozenset("ba"), "h": 2**80}
    assert plain(value) == {"a": "inf", "b": "-inf", "c": None, "d": [0, 1, 2], "4": [1, 0.5], "e": True,
                            "f": {"x": "a/b"}, "g": ["a", "b"], "h": 2**80}
    with pytest.raises(TypeError, match="object has no form in JSON"):
        plain({"a": object()})


def test_emit_prints_one_of_the_two(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": float("nan")}, True, lambda: "text")
    assert json.loads(capsys.readouterr().out) == {"a": None}
    emit({"a": 1}, False, lambda: "text\n")
    assert capsys.readouterr().out == "text\n"


def test_a_table_aligns_text_left_and_numbers_right() -> None:
    rows = [("bert", 64, 0.123456789, None), ("a longer name", 1048576, 12.0, "x")]
    assert click.unstyle(tables.table(("model", "tokens", "share", "note"), rows)).splitlines() == [
        "model             tokens    share  note",
        "-------------  ---------  -------  ----",
        "bert                  64  0.12346  -",
        "a longer name  1,048,576       12  x",
    ]
    assert click.unstyle(tables.table(("a",), [])).splitlines() == ["a", "-"]


def test_text_folds_on_a_narrow_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a", "one two three four five six seven eight")]
    assert len(tables.table(("id", "text"), rows).splitlines()) == 3
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    folded = click.unstyle(tables.table(("id", "text"), rows)).splitlines()
    assert max(map(len, folded)) <= 30
    assert " ".join(" ".join(line.split()) for line in folded[2:]) == "a one two three four five six seven eight"
    assert max(len(click.unstyle(line)) for line in tables.pairs(rows).splitlines()) <= 30


@pytest.mark.parametrize(("value", "text"), [
    (None, "-"), (True, "yes"), (1234567, "1,234,567"), (1234567.0, "1,234,567"), (0.000123456789, "0.00012346"),
    (1e300, "1e+300"), (float("inf"), "inf"), ([1, "a", 2.5], "1, a, 2.5"), ([], "-"), ("P*M", "P*M"),
])
def test_values_as_text(value: Any, text: str) -> None:
    assert tables.shown(value) == text


def test_sections_of_a_result() -> None:
    document = {"cascade": "a", "live_footprint_values": {"QK": "M", "GM": 1}, "rows": [{"x": 1, "y": "b"}], "none": {},
                "lines": ["l"]}
    assert click.unstyle(tables.sections(document)) == """\
cascade  a

live footprint values
  QK  M
  GM  1

rows
  x  y
  -  -
  1  b

lines
  l"""
