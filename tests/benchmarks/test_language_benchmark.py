"""How long a cascade of 40 Einsums takes to parse and verify; the figure to reach is 20 ms."""

from __future__ import annotations

from typing import Any

from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from einsum_cascades.structure import structure

_ONE_PASS = """
init RM{n}[0,p] = -inf
init RD{n}[0,p] = 0
init RNV{n}[{out},0,p] = 0
BQK{n}[m1,m0,p] = {query} * K{n}[m1*M0 + m0, e] where m1*M0 + m0 <= p
LM{n}[m1,p] = max[m0] BQK{n}[m1,m0,p]
RM{n}[m1+1,p] = max(RM{n}[m1,p], LM{n}[m1,p])
SLN{n}[m1,m0,p] = exp(BQK{n}[m1,m0,p] - RM{n}[m1+1,p])
SLD{n}[m1,p] = SLN{n}[m1,m0,p]
SLNV{n}[{out},m1,p] = SLN{n}[m1,m0,p] * V{n}[m1*M0 + m0, {out}]
PRM{n}[m1,p] = exp(RM{n}[m1,p] - RM{n}[m1+1,p])
RD{n}[m1+1,p] = SLD{n}[m1,p] + RD{n}[m1,p] * PRM{n}[m1,p]
RNV{n}[{out},m1+1,p] = SLNV{n}[{out},m1,p] + RNV{n}[{out},m1,p] * PRM{n}[m1,p]
AV{n}[p,{out}] = RNV{n}[{out},M1,p] / RD{n}[M1,p]
"""


def forty_einsums() -> str:
    """Returns the text of four attentions in a row: 40 Einsums and 12 seeds."""
    # Each layer's queries are the output of the layer before, whose features are f.
    return "".join(_ONE_PASS.format(n=n, query="Q[p,e]" if n == 0 else f"AV{n - 1}[p,e]", out="e" if n < 3 else "f")
                   for n in range(4))


def test_parse_and_verify_forty_einsums(benchmark: Any) -> None:
    text = forty_einsums()

    def read() -> Cascade:
        structure.cache_clear()
        return parse(text)

    assert len(benchmark(read).einsums) == 40


def test_verify_forty_einsums_that_are_built(benchmark: Any) -> None:
    parsed = parse(forty_einsums())

    def build() -> Cascade:
        structure.cache_clear()
        return Cascade(parsed.einsums, parsed.inits)

    assert benchmark(build) == parsed


def test_print_forty_einsums(benchmark: Any) -> None:
    parsed = parse(forty_einsums())
    assert parse(benchmark(to_text, parsed)) == parsed
