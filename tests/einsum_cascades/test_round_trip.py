"""Text to cascade and back: golden texts, random cascades, and random text, which gives errors and no tracebacks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from einsum_cascades.errors import FusebenchError
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Extent, Num, walk
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.printing import einsum_text, expr_text, to_text
from tests.einsum_cascades.strategies import random_cascade

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.cascade"))
PIECES = ("[", "]", "(", ")", ",", ";", "=", "==", "+1", "-", "*", "//", "%", " where ", " and ", "max[m] ", "init ",
          "output ", "inf", "1e999", "0", "3.5", "m", "M", "QK", "Zz[p,m]", "exp(", "\n", "#", "\0", "é", "fill=0", "op ",
          "extent M 3\n", "dtype K bf16\n", "where(", "topk[m; j](", "clamp(", " <= ", "not ", "1e", ".", "_")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_texts_are_printed_as_they_stand(path: Path) -> None:
    assert to_text(load(path)) == path.read_text()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_order_of_lines_does_not_change_the_text_of_a_line(path: Path) -> None:
    lines = path.read_text().splitlines()
    backwards = parse("\n".join(reversed(lines)))
    assert sorted(to_text(backwards).splitlines()) == sorted(lines)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_cascade())
def test_a_random_cascade_survives_the_round_trip(cascade: Cascade) -> None:
    text = to_text(cascade)
    assert parse(text) == cascade
    assert to_text(parse(text)) == text


def _expression(rng: random.Random, depth: int) -> Call | Access | Num | Coord | Extent:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice((Num(rng.choice((0.0, 1.0, -2.0, 0.1, 1e-5, 3e20, -float("inf"), 12345678.5))), Coord("p"),
                           Extent("P"), Access("X", (Coord("p"),)), Access("X", (Coord("p"),), -1.5),
                           Access("Y", ()), Access("X", (Call("floordiv", (Coord("p"), Num(2.0))),))))
    op, arity = rng.choice((("add", 2), ("sub", 2), ("mul", 2), ("div", 2), ("neg", 1), ("exp", 1), ("max", 2), ("lt", 2),
                            ("le", 2), ("eq", 2), ("and", 2), ("or", 2), ("not", 1), ("where", 3), ("floordiv", 2),
                            ("mod", 2), ("pow", 2), ("ge", 2), ("ne", 2), ("gt", 2)))
    return Call(op, tuple(_expression(rng, depth - 1) for _ in range(arity)))


def test_every_shape_of_expression_survives_the_round_trip() -> None:
    rng = random.Random(7)
    operators = set()
    for _ in range(1500):
        body = _expression(rng, 5)
        operators |= {node.op for node in walk(body) if isinstance(node, Call)}
        out = Access("Z", (Coord("p"),))
        einsum = Einsum((out,), (body,), None, _expression(rng, 3))
        parsed = parse(einsum_text(einsum)).einsums[0]
        assert parsed == einsum, expr_text(body)
    assert len(operators) == 20


def mutated(text: str, rng: random.Random) -> str:
    """Returns a text with one to three small changes."""
    for _ in range(rng.randint(1, 3)):
        at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(6):
            case 0:
                text = text[:at] + text[at + 1:]
            case 1:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[at + 1:]
            case 3:
                text = text[:at] + text[min(to, at + 12):]
            case 4:
                text = text[:at] + text[at:to][:30] + text[at:]
            case _:
                text = text[:at] + text[at + 1:at + 2] + text[at:at + 1] + text[at + 2:]
        text = text or " "
    return text


def test_ten_thousand_mutations_give_only_clean_errors() -> None:
    rng = random.Random(20)
    texts = [path.read_text() for path in GOLDEN]
    valid = broken = 0
    for number in range(10_000):
        text = mutated(texts[number % len(texts)], rng)
        try:
            cascade = parse(text, source="mutant")
        except FusebenchError as error:
            broken += 1
            assert "\n" not in str(error)
            assert str(error).startswith("mutant")
            assert ", got " in str(error)
            assert "; " in str(error)
        else:
            valid += 1
            assert parse(to_text(cascade)) == cascade
    # Both kinds must occur, or the mutations are too tame or too wild to tell anything.
    assert valid > 300
    assert broken > 5000
