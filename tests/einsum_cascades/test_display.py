"""LaTeX and HTML of cascades: exact for small ones, well formed for all, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.mathtext import MathTextParser

from einsum_cascades.analysis.passes import passes
from einsum_cascades.ir import Cascade
from einsum_cascades.latex import to_latex
from einsum_cascades.loading import load
from einsum_cascades.notation import parse
from einsum_cascades.printing import to_text
from tests.einsum_cascades.strategies import random_cascade

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.cascade"))
# What TeX knows and matplotlib's parser does not, by something that it does know.
SUBSTITUTES = ((r"\operatorname*", r"\operatorname"), (r"\lor", r"\vee"), (r"\land", r"\wedge"), (r"\lnot", r"\neg"),
               (r"\bmod", r"\cdot"))


def lines(latex: str) -> list[str]:
    assert latex.startswith("\\begin{align*}\n")
    assert latex.endswith("\n\\end{align*}\n")
    return latex[len("\\begin{align*}\n"):-len("\n\\end{align*}\n")].split(" \\\\\n")


def check(cascade: Cascade) -> None:
    found = lines(to_latex(cascade))
    assert len(found) == len(cascade.einsums) + len(cascade.inits) + len(cascade.operators)
    for line in found:
        # A selection has lines of its own; the rest has one sign to align at.
        plain = re.sub(r"\\begin\{cases\}(.*?)\\end\{cases\}", r"{\1}", line)
        while plain != line:
            line, plain = plain, re.sub(r"\\begin\{cases\}(.*?)\\end\{cases\}", r"{\1}", plain)
        plain = plain.replace(r"& \text{if }", "+").replace(r"& \text{otherwise}", "").replace(r"\\", "+")
        assert plain.count("&") == 1
        for old, new in SUBSTITUTES:
            plain = plain.replace(old, new)
        MathTextParser("path").parse(f"${plain.replace('&=', '=')}$")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_latex_of_golden_cascades_is_well_formed(path: Path) -> None:
    check(load(path))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_cascade(4))
def test_latex_of_random_cascades_is_well_formed(cascade: Cascade) -> None:
    check(cascade)


@pytest.mark.parametrize(("text", "latex"), [
    ("GM[p] = max[m0] Q[p,e] * K[m0,e]", r"\mathit{GM}_{p} &= \max_{m_{0}} \sum_{e} Q_{p, e} \cdot K_{m_{0}, e}"),
    ("Z[p] = exp(A[p] - B[]) / sqrt(P)", r"Z_{p} &= \frac{\exp\left(A_{p} - B\right)}{\sqrt{P}}"),
    ("Z[p] = (A[p] + B[p]) * -C[p] - -2", r"Z_{p} &= \left(A_{p} + B_{p}\right) \cdot \left(-C_{p}\right) - \left(-2\right)"),
    ("Z[] = A[p] - B[p]", r"Z &= \sum_{p} \left(A_{p} - B_{p}\right)"),
    ("I[j] = topk[m; j](S[m]) where m < 3 and not m == 1",
     r"I_{j} &= \operatorname*{topk}_{m \to j} S_{m} \quad \text{where } m < 3 \land \lnot \left(m = 1\right)"),
    ("Z[p] = X[p // 2, p % 2; fill=-inf]",
     r"Z_{p} &= X_{\left\lfloor \frac{p}{2} \right\rfloor, p \bmod 2; -\infty}"),
    ("Z[p_a] = 1e-05 * A[p_a]", r"Z_{\mathit{p\_a}} &= 1 \times 10^{-5} \cdot A_{\mathit{p\_a}}"),
])
def test_latex(text: str, latex: str) -> None:
    assert lines(to_latex(parse(text))) == [latex]


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_html_is_balanced_and_shows_every_line(path: Path) -> None:
    cascade = load(path)
    page = _Balanced()
    page.feed(cascade._repr_html_())
    assert page.open == []
    wanted = {line for line in to_text(cascade).splitlines() if not line.startswith("output")}
    assert wanted <= set(page.text)
    assert f"passes: {', '.join(f'{rank} {count}' for rank, count in passes(cascade).items())}" in page.text


def test_html_escapes_the_name() -> None:
    page = parse("Z[p] = A[p] where p < 3", source="<script>alert(1)</script>\"'&")._repr_html_()
    assert "<script>" not in page
    assert "&lt;/script&gt;&quot;&#x27;&amp;</b>" in page
    assert "&lt;script&gt;" in page
    assert "p &lt; 3" in page


def test_html_takes_its_colours_from_the_page() -> None:
    page = load(GOLDEN[0])._repr_html_()
    assert "color" not in page
    assert "background" not in page
