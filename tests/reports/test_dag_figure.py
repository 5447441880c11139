"""The picture of a graph: texts that do not overlap, colours that can be told apart, files that are what they say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import colors, image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from einsum_cascades.notation import parse
from reports import dag_figure
from reports.dag import cascade_graph
from reports.dag_figure import INK, NO_PASS_COLOUR, PAPER, PASS_COLOURS, figure_of, picture
from tests.reports.command import Command
from workloads.variants import load_variant

DRAWN = ("attention:3pass", "attention:1pass", "fna:2d", "mamba_s6:brent-kung", "mamba2_ssd:block", "mamba2_ssd:chunked",
         "moh:1pass", "landmark:topk-shared")
LONG = "op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n" \
       "(P[i,n], S[i,n]) = lin[k] (A[k,n] * exp(B[k,n] + C[k,n]) * exp(B[k,n] - C[k,n]) * exp(C[k,n]), " \
       "B[k,n] * sigmoid(A[k,n]) + exp(A[k,n]) * C[k,n]) where k <= i and k >= i - 128 and n != 5\nH[i,n] = P[i,n] + S[i,n]"


@cache
def figure(name: str) -> Figure:
    identifier, _, algorithm = name.partition(":")
    made = figure_of(cascade_graph(load_variant(identifier).cascade(algorithm) if algorithm else parse(LONG)))
    FigureCanvasAgg(made).draw()  # type: ignore[no-untyped-call]
    return made


def boxes(made: Figure, kind: type[Any]) -> list[tuple[Any, Bbox]]:
    """Returns the artists of a kind and where they are drawn, as matplotlib measures it."""
    return [(artist, artist.get_window_extent()) for artist in made.axes[0].get_children()
            if isinstance(artist, kind) and (not isinstance(artist, Text) or artist.get_text())]


def apart(a: Bbox, b: Bbox) -> bool:
    return bool(a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0)


@pytest.mark.parametrize("name", [*DRAWN, "long lines"])
def test_texts_and_boxes_do_not_overlap(name: str) -> None:
    made = figure(name)
    texts, frames = boxes(made, Text), boxes(made, FancyBboxPatch)
    assert len(texts) > 5
    for (a, here), (b, there) in combinations(texts, 2):
        # The extent of a line of text has room for letters that go below it.
        assert apart(here.padded(0.0, -1.5), there.padded(0.0, -1.5)), (a.get_text(), b.get_text())
    for (_, here), (_, there) in combinations(frames, 2):
        assert apart(here, there)
    page = made.bbox
    for text, here in texts:
        assert page.x0 <= here.x0 < here.x1 <= page.x1, text.get_text()
        assert page.y0 <= here.y0 < here.y1 <= page.y1, text.get_text()
        around = [frame for _, frame in frames if not apart(frame, here)]
        assert len(around) <= 1
        assert all(frame.x0 <= here.x0 and here.x1 <= frame.x1 for frame in around), text.get_text()


def test_every_line_and_tensor_is_named() -> None:
    cascade = load_variant("attention").cascade("1pass")
    texts = [text.get_text() for text, _ in boxes(figure("attention:1pass"), Text)]
    assert {"BQK[m1,m0,p]", "init RM[0,p]", "V[m,f]", "= max(RM[m1,p], LM[m1,p])"} <= set(texts)
    assert {out.tensor for e in cascade.einsums for out in e.outputs} - {"AV"} <= set(texts)
    assert texts.count("pass 1") == 1 + 2
    assert texts.count("pass 2") == 1 + 3
    carried = "carried over from the iteration before"
    assert {"attention:1pass: 2 passes along m0", "does not iterate m0", carried} <= set(texts)
    assert carried not in {text.get_text() for text, _ in boxes(figure("attention:3pass"), Text)}


def test_carried_edges_are_dashed() -> None:
    lines = [patch.get_linestyle() for patch in figure("attention:1pass").axes[0].patches]
    # RM to itself; RM to PRM, RD to SPD and RNV to SPNV, each on either side of its name; the legend.
    assert sum(style != "solid" and style != "-" for style in lines) == 1 + 3 * 2 + 1


# --- colours ---

def luminance(colour: str) -> float:
    """Returns the relative luminance. Source: WCAG 2.1."""
    parts = np.array(colors.to_rgb(colour))
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [*PASS_COLOURS, NO_PASS_COLOUR, PAPER])
def test_text_stands_out(colour: str) -> None:
    """A ratio of 4.5 is what WCAG 2.1 asks of small text (level AA); 7 that of level AAA."""
    assert (luminance(colour) + 0.05) / (luminance(INK) + 0.05) >= 7


Colour = Any
"""Three linear parts, an array of NumPy."""


def seen(colour: str, deficiency: str) -> Colour:
    """Returns what somebody sees. Source: Machado, Oliveira and Fernandes 2009, severity 1."""
    matrix = {"none": np.eye(3),
              "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
              "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
              "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
              }[deficiency]
    parts = np.array(colors.to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.clip(np.asarray(matrix) @ linear, 0, 1)


def lab(linear: Colour) -> Colour:
    """Returns linear sRGB as CIE L*a*b* (D65)."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", ["none", "protan", "deutan", "tritan"])
def test_passes_can_be_told_apart(deficiency: str) -> None:
    """A distance of 2.3 is the least that is seen side by side; four passes and none are far beyond it."""
    for a, b in combinations((*PASS_COLOURS[:4], NO_PASS_COLOUR), 2):
        assert np.linalg.norm(lab(seen(a, deficiency)) - lab(seen(b, deficiency))) > 10, (a, b)


# --- files ---

def drawn(fusebench: Command, path: Path, *arguments: str) -> bytes:
    assert fusebench("show", "attention:1pass", "--out", str(path), "--json", *arguments).json["file"] == str(path)
    return path.read_bytes()


def test_png(fusebench: Command, tmp_path: Path) -> None:
    data = drawn(fusebench, tmp_path / "a.png")
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = image.imread(io.BytesIO(data))
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 500
    share = {colour: np.all(np.abs(pixels[..., :3] - colors.to_rgb(colour)) < 0.01, axis=-1).mean()
             for colour in (PAPER, PASS_COLOURS[0], PASS_COLOURS[1], PASS_COLOURS[2], NO_PASS_COLOUR)}
    assert share[PAPER] > 0.5
    assert share[PASS_COLOURS[0]] > 0.005
    assert share[PASS_COLOURS[1]] > 0.005
    assert share[NO_PASS_COLOUR] > 0.005
    assert share[PASS_COLOURS[2]] == 0


def test_svg(fusebench: Command, tmp_path: Path) -> None:
    data = drawn(fusebench, tmp_path / "a.svg")
    root = ElementTree.fromstring(data)
    names = {"s": "http://www.w3.org/2000/svg"}
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    title = root.find("s:title", names)
    assert title is not None
    assert title.text == "attention:1pass: 2 passes along m0"
    assert len(root.findall(".//s:path", names)) > 80
    assert PASS_COLOURS[1].lower() in data.decode().lower()
    assert drawn(fusebench, tmp_path / "again.svg") == data
    assert drawn(fusebench, tmp_path / "UPPER.SVG", "--rank", "m1") != data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["UPPER.SVG", "a.svg", "again.svg"]


def test_names_of_files_are_no_formulas(tmp_path: Path, fusebench: Command) -> None:
    for name in ("$x^$.cascade", "<&>\x1b.cascade", "漢字.cascade", "\udcff.cascade"):
        path = tmp_path / name
        path.write_text("Z[m] = A[k,m] * B[k]\n")
        assert fusebench("show", str(path), "--out", str(tmp_path / "x.svg"), "--json").status == 0
        ElementTree.parse(tmp_path / "x.svg")


def test_a_large_picture_has_fewer_dots_per_inch(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = cascade_graph(load_variant("attention").cascade("3pass"))
    sizes = [image.imread(io.BytesIO(picture(graph, ".png"))).shape]
    for limit, most in (("_MOST", 50_000), ("_LONGEST", 300)):
        with monkeypatch.context() as patched:
            patched.setattr(dag_figure, limit, most)
            sizes.append(image.imread(io.BytesIO(picture(graph, ".png"))).shape)
    (_, _), (height, width), (longest, _) = (size[:2] for size in sizes)
    assert 45_000 < height * width <= 50_000
    assert 298 <= longest <= 300
    assert height / width == pytest.approx(sizes[0][0] / sizes[0][1], rel=0.02)


def wrong(folder: Path) -> Iterator[tuple[str, str]]:
    yield "a.pdf", "a.pdf: file: its name should end in .svg or .png, got suffix '.pdf'; rename it"
    yield "picture", "picture: file: its name should end in .svg or .png, got no suffix; rename it"
    yield "", ": file: its name should end in .svg or .png, got no suffix; rename it"
    none = folder / "none" / "a.svg"
    yield str(none), f"{none}: file: its folder should exist, got {str(none.parent)!r}, which does not; make the folder"
    (folder / "b.svg").mkdir()
    yield str(folder / "b.svg"), f"{folder / 'b.svg'}: file: it is a folder, got 'b.svg'; name a file in it, or another name"
    long = folder / f"{'x' * 300}.svg"
    yield str(long), f"{long}: it cannot be "
    (folder / "file").write_text("")
    under = folder / "file" / "a.svg"
    yield str(under), f"{under}: file: its folder should exist, got "


def test_files_that_cannot_be_written(fusebench: Command, tmp_path: Path) -> None:
    for out, message in wrong(tmp_path):
        assert fusebench("show", "attention", "--out", out).error.startswith(message)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.svg", "file"]


def test_an_error_leaves_the_file_that_was_there(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text("before")
    assert "unknown rank, got 'q'" in fusebench("show", "attention", "--rank", "q", "--out", str(path)).error
    assert path.read_text() == "before"


@pytest.mark.parametrize("option", [("--rank", "m"), ("--out", "a.svg"), ("--latex",)])
def test_a_machine_has_no_graph(fusebench: Command, option: tuple[str, ...]) -> None:
    message = f"show: a machine has no graph, got {option[0]}; see 'fusebench show --help'"
    assert fusebench("show", "machine", "fusemax", *option).error == message


def test_latex(fusebench: Command) -> None:
    text = fusebench("show", "attention:3pass", "--latex").out
    assert text.startswith("\\begin{align*}\n")
    assert text.endswith("\\end{align*}\n")
    shown = fusebench("show", "attention:3pass", "--latex", "--json").json
    assert shown["latex"] == text
    assert "latex" not in fusebench("show", "attention:3pass", "--json").json
