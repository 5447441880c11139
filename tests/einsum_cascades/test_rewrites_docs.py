"""The examples of docs/rewrites.md: each rewrite gives what the page says, with the same values, or the error that it
shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.rewrites import IllegalRewriteError, NoRewriteError, apply, rewrite
from einsum_cascades.rewrites.registry import rewrites
from einsum_cascades.structure import structure

PAGE = (Path(__file__).parents[2] / "docs" / "rewrites.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)\n---\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [(kind, info.split(), before, after) for kind, info, before, after in BLOCKS]


def of(kind: str) -> list[tuple[list[str], dict[str, int], str, str]]:
    """The examples of a kind: the words after it, the numbers after those, the two texts."""
    def numbers(words: list[str]) -> dict[str, int]:
        return {k: int(v) for k, v in (w.split("=") for w in words if "=" in w)}
    return [([w for w in words if "=" not in w], numbers(words), before, after)
            for found, words, before, after in EXAMPLES if found == kind]


def assert_same_values(source: Cascade, made: Cascade, extents: dict[str, int]) -> None:
    rng = np.random.default_rng(3)
    known = resolve_extents(source, {r: n for r, n in extents.items() if r in mentioned(source)})
    found = structure(source)
    inputs = {t: rng.normal(size=[known[str(n)] for n in found.dimensions[t]]) for t in found.inputs}
    wanted = run(source, inputs, {r: n for r, n in extents.items() if r in mentioned(source)})
    values = run(made, inputs, {r: n for r, n in extents.items() if r in mentioned(made)})
    assert set(values) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-12, atol=1e-13)


def test_every_rewrite_has_an_example_and_most_an_illegal_one() -> None:
    assert {words[0] for words, _, _, _ in of("rewrite")} == set(rewrites()) - {"dead-code"}
    assert len(of("illegal")) >= 5
    assert re.findall(r"^### ([\w-]+)$", PAGE.split("## The rewrites")[1], re.MULTILINE) != []
    headings = re.findall(r"^### ([\w-]+)$", PAGE.split("## The rewrites")[1], re.MULTILINE)
    assert set(headings) == set(rewrites())
    assert len(re.findall(r"^```", PAGE, re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize(("words", "extents", "before", "after"), of("rewrite"))
def test_a_rewrite_gives_what_the_page_says(words: list[str], extents: dict[str, int], before: str, after: str) -> None:
    source = parse(before)
    made = apply(source, *words)
    assert to_text(made.cascade) == to_text(parse(after))
    assert made.applied == (words[0],)
    assert_same_values(source, made.cascade, extents)


@pytest.mark.parametrize(("words", "numbers", "before", "after"), of("derive"))
def test_the_search_derives_what_the_page_says(words: list[str], numbers: dict[str, int], before: str,
                                               after: str) -> None:
    source = parse(before)
    made = rewrite(source, numbers["passes"]).cascade
    assert to_text(made) == to_text(parse(after))
    assert_same_values(source, made, {r: n for r, n in numbers.items() if r != "passes"})


@pytest.mark.parametrize(("words", "extents", "text", "message"), of("illegal"))
def test_what_is_not_legal_says_why(words: list[str], extents: dict[str, int], text: str, message: str) -> None:
    with pytest.raises(IllegalRewriteError) as caught:
        apply(parse(text), *words)
    assert str(caught.value) == message.strip()


@pytest.mark.parametrize(("words", "numbers", "text", "message"), of("forced"))
def test_what_forces_a_pass_is_said(words: list[str], numbers: dict[str, int], text: str, message: str) -> None:
    with pytest.raises(NoRewriteError) as caught:
        rewrite(parse(text), numbers["passes"])
    assert str(caught.value) == message.strip()
