"""The examples of docs/notation.md parse, print back, have extents, and give the errors that they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from einsum_cascades.errors import NotationError
from einsum_cascades.extents import known_extents, mentioned
from einsum_cascades.loading import from_yaml
from einsum_cascades.notation import parse
from einsum_cascades.operators import DTYPES, MAPS, OPERATOR_PROPERTIES, POPULATES, REDUCTIONS
from einsum_cascades.printing import to_text

PAGE = (Path(__file__).parents[2] / "docs" / "notation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(cascade|error|yaml)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CASCADES = [(text, {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", info)}) for kind, info, text in BLOCKS if kind == "cascade"]
ERRORS = [tuple(text.split("\n---\n")) for kind, _, text in BLOCKS if kind == "error"]


def test_the_page_has_examples_of_each_kind() -> None:
    assert len(CASCADES) >= 18
    assert len(ERRORS) >= 4
    assert len(re.findall(r"^```", PAGE, re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize(("text", "extents"), CASCADES)
def test_examples_parse_print_back_and_have_extents(text: str, extents: dict[str, int]) -> None:
    cascade = parse(text)
    assert parse(to_text(cascade)) == cascade
    assert set(known_extents(cascade, extents)) == set(mentioned(cascade))


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_errors_are_those_that_the_page_shows(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse(text)
    assert str(caught.value) == message.strip()


def test_the_yaml_example_loads() -> None:
    (text,) = (text for kind, _, text in BLOCKS if kind == "yaml")
    assert from_yaml(text) == parse("extent K 4\nT[k,m,n] = A[k,m] * B[k,n]\nZ[m,n] = sum[k] T[k,m,n]")


def test_the_page_names_every_operator_reduction_populate_property_and_precision() -> None:
    words = set(re.findall(r"[a-z_0-9]+", PAGE))
    names = {name for name, m in MAPS.items() if m.symbol is None}
    assert (names | set(REDUCTIONS) | set(POPULATES) | set(OPERATOR_PROPERTIES) | set(DTYPES)) - words == set()
