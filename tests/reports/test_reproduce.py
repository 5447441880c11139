"""``reproduce fusemax``: our figures against every published one, and what the command prints and writes of them."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

import reports.fusemax
from reports.files import OutputError, write_file
from reports.fusemax import files
from reports.fusemax.cells import error_shown, misses_cells, tokens_shown
from reports.fusemax.comparison import EXCESS, LINEAR, UNEXPLAINED, energy_over_flat_with_excess, misses
from reports.fusemax.figures import FIGURES
from reports.fusemax.files import FILES
from reports.fusemax.frames import averages_frame, pareto_frame, rows_frame
from reports.fusemax.markdown import markdown
from reports.fusemax.reproduction import Reproduction, reproduce
from reports.fusemax.text import text
from tests.reports.command import Command
from tests.reports.test_imports import imported

README = Path(__file__).parents[2] / "README.md"
DESIGNS = ("unfused", "flat", "cascade", "arch", "binding")
MODELS = ("bert", "trxl", "t5", "xlm")
LENGTHS = (1024, 4096, 16384, 65536, 262144, 1048576)
FIGURES_OF_A_ROW = ("dram_bytes", "latency_s", "util_2d", "util_1d", "energy_pj", "energy_pj_physical",
                    "end_to_end_latency_s", "end_to_end_energy_pj")
COUNTED = ("dram_bytes", "latency_s", "util_2d", "util_1d")
EXCESS_RANGES = {"flat": (0.017, 0.029), "cascade": (0.044, 0.071), "arch": (0.0034, 0.0052),
                 "binding": (0.0034, 0.0052)}

Key = tuple[str, str, int]


def published(name: str, first: str = "design") -> Mapping[Key, Mapping[str, float]]:
    """Returns a published table as it stands in its file."""
    with (Path(reports.fusemax.__file__).parent / f"published_{name}.csv").open(newline="") as file:
        return {(r.pop(first), r.pop("model"), int(r.pop("seq_len"))): {k: float(v) for k, v in r.items()}
                for r in csv.DictReader(file)}


ATTENTION, END_TO_END = published("attention"), published("end2end")
LINEAR_LAYERS = published("linear_layers", "machine")


def has_excess(design: str, model: str, seq_len: int) -> bool:
    """Says whether the reference names an excess: where no energy can be compared at 1e-4."""
    if design == "flat":
        return seq_len >= 65536 and (model, seq_len) not in (("bert", 262144), ("t5", 262144))
    if design == "unfused":
        return (model == "xlm" and seq_len >= 262144) or (model == "bert" and seq_len == 1048576)
    return seq_len >= 262144


def tolerance(design: str, fine: float, unfused: float) -> float:
    """The relative error that is allowed: another one for the unfused design."""
    return unfused if design == "unfused" else fine


@pytest.fixture(scope="module")
def reproduction() -> Reproduction:
    """The evaluation, once."""
    return reproduce()


@pytest.fixture(scope="module")
def by_key(reproduction: Reproduction) -> Mapping[Key, Mapping[str, Any]]:
    """The rows by design, model and length."""
    return {(r["design"], r["model"], r["seq_len"]): r for r in reproduction.rows}


def test_every_design_model_and_length_is_there_once(reproduction: Reproduction, by_key: Mapping[Key, Any]) -> None:
    assert list(by_key) == [(d, m, n) for d in DESIGNS for m in MODELS for n in LENGTHS]
    assert len(reproduction.rows) == 120
    assert len(ATTENTION) == len(END_TO_END) == sum(r["published"] is not None for r in reproduction.rows) == 30


@pytest.mark.parametrize("key", ATTENTION, ids=lambda k: "-".join(map(str, k)))
def test_counts_and_times_are_the_published_ones(by_key: Mapping[Key, Any], key: Key) -> None:
    ours, allowed = by_key[key], tolerance(key[0], 1e-5, 0.005)
    for figure in COUNTED:
        assert ours[figure] == pytest.approx(ATTENTION[key][figure], rel=allowed), figure
        assert ours["error"][figure] == pytest.approx(ours[figure] / ATTENTION[key][figure] - 1, abs=1e-15)
    assert ours["end_to_end_latency_s"] == pytest.approx(END_TO_END[key]["end_to_end_latency_s"], rel=allowed)


@pytest.mark.parametrize("key", [k for k in ATTENTION if not has_excess(*k)], ids=lambda k: "-".join(map(str, k)))
def test_energies_without_an_excess_are_the_published_ones(by_key: Mapping[Key, Any], key: Key) -> None:
    ours, allowed = by_key[key], tolerance(key[0], 1e-4, 0.01)
    assert ours["published_excess"] is None
    assert ours["energy_pj"] == pytest.approx(ATTENTION[key]["energy_pj"], rel=allowed)
    assert ours["end_to_end_energy_pj"] == pytest.approx(END_TO_END[key]["end_to_end_energy_pj"],
                                                         rel=0.01 if key[1] == "xlm" else allowed)


@pytest.mark.parametrize("key", [k for k in ATTENTION if has_excess(*k)], ids=lambda k: "-".join(map(str, k)))
def test_energies_with_an_excess_are_lower_by_the_named_share(by_key: Mapping[Key, Any], key: Key) -> None:
    ours, theirs = by_key[key], ATTENTION[key]["energy_pj"]
    low, high = EXCESS_RANGES.get(key[0], (0.0, 0.03))  # for unfused the reference names no share
    share = (theirs - ours["energy_pj"]) / theirs
    assert share > 0
    assert low <= float(f"{share:.2g}") <= high
    assert ours["published_excess"] == list(EXCESS_RANGES.get(key[0], (None, None)))


@pytest.mark.parametrize("key", ATTENTION, ids=lambda k: "-".join(map(str, k)))
def test_linear_layers_are_the_published_ones(by_key: Mapping[Key, Any], key: Key) -> None:
    ours = by_key[key]
    theirs = LINEAR_LAYERS[ours["machine"], *key[1:]]
    assert ours["end_to_end_latency_s"] - ours["latency_s"] == pytest.approx(theirs["latency_s"], rel=1e-5)
    assert ours["end_to_end_energy_pj"] - ours["energy_pj"] == pytest.approx(theirs["energy_pj"],
                                                                             rel=0.01 if key[1] == "xlm" else 1e-4)


def test_excesses_are_those_that_the_reference_names(by_key: Mapping[Key, Any]) -> None:
    for key, row in by_key.items():
        assert (row["published_excess"] is not None) == has_excess(*key)


def test_physical_accounting_counts_more(by_key: Mapping[Key, Any]) -> None:
    for row in by_key.values():
        assert 1.3 < row["energy_pj_physical"] / row["energy_pj"] < 1.7
        assert row["end_to_end_energy_pj_physical"] > row["end_to_end_energy_pj"]
        assert row["end_to_end_energy_pj_physical"] > row["energy_pj_physical"]


def test_averages_are_means_over_models_and_lengths(reproduction: Reproduction, by_key: Mapping[Key, Any]) -> None:
    ours = {a["id"]: a for a in reproduction.averages}

    def mean(figure: str, over: str, under: str, lengths: tuple[int, ...] = LENGTHS) -> Any:
        points = [(m, n) for m in MODELS for n in lengths]
        return pytest.approx(fmean(by_key[over, *p][figure] / by_key[under, *p][figure] for p in points))
    for other in ("unfused", "flat"):
        for prefix, name in (("", "attention"), ("end_to_end_", "end_to_end")):
            assert ours[f"{name}_speedup_vs_{other}"]["ours"] == mean(f"{prefix}latency_s", other, "binding")
            energy = ours[f"{name}_energy_vs_{other}"]
            assert energy["ours"] == mean(f"{prefix}energy_pj", "binding", other)
            assert energy["ours_physical"] == mean(f"{prefix}energy_pj_physical", "binding", other)
        million = ours[f"end_to_end_speedup_1m_vs_{other}"]["ours"]
        assert million == mean("end_to_end_latency_s", other, "binding", LENGTHS[-1:])
    for design in DESIGNS:
        for array in ("util_2d", "util_1d"):
            shares = [row[array] for key, row in by_key.items() if key[0] == design]
            assert ours[f"{array}_{design}"]["ours"] == pytest.approx(fmean(shares))


def test_averages_are_near_the_published_ones(reproduction: Reproduction) -> None:
    for average in reproduction.averages:
        allowed = 0.01 if "energy" in average["id"] else 0.001
        assert average["ours"] == pytest.approx(average["artifact"], rel=allowed, abs=0.0005), average["id"]
        if average["paper"] is not None:
            # The paper has two digits, rounded down in one place: 10x for 10.14.
            assert average["ours"] == pytest.approx(average["paper"], rel=0.016), average["id"]
    (area,) = (a for a in reproduction.averages if a["id"] == "area_vs_flat")
    assert area["ours"] == pytest.approx(0.936, abs=0.002)


def test_pareto_points_are_the_published_ones(reproduction: Reproduction) -> None:
    with (Path(reports.fusemax.__file__).parent / "published_pareto.csv").open(newline="") as file:
        table = {(r["model"], int(r["pe_dim"])): r for r in csv.DictReader(file)}
    ours = {(p["model"], p["pe_dim"]): p for p in reproduction.pareto}
    assert set(ours) == {(m, n) for m in MODELS for n in (16, 32, 64, 128, 256, 512)}
    assert len(table) == 4
    for key, row in table.items():
        assert ours[key]["latency_s"] == pytest.approx(float(row["latency_s"]), rel=1e-5)
        assert ours[key]["area_mm2"] == pytest.approx(float(row["area_mm2"]), rel=0.02)
    for model in MODELS:
        points = [ours[model, n] for n in (16, 32, 64, 128, 256, 512)]
        assert [p["latency_s"] for p in points] == sorted((p["latency_s"] for p in points), reverse=True)
        assert [p["area_mm2"] for p in points] == sorted(p["area_mm2"] for p in points)


def test_misses_have_their_cause(reproduction: Reproduction) -> None:
    found = list(misses(reproduction))
    single = [(m.figure, m.cause, m.models, m.seq_lens) for m in found if m.designs]
    assert single == [("attention energy", EXCESS, ("bert", "xlm"), (262144,)),
                      ("end-to-end energy", EXCESS, ("bert", "xlm"), (262144,)),
                      ("end-to-end energy", LINEAR, ("xlm",), (1024, 16384))]
    assert all(m.designs == DESIGNS for m in found if m.designs)
    assert not any(m.cause == UNEXPLAINED for m in found)


@pytest.mark.parametrize(("key", "figure", "error"), [
    (("binding", "bert", 1024), "latency_s", 0.02),
    (("binding", "bert", 1024), "energy_pj", -0.004),
    (("cascade", "bert", 262144), "energy_pj", -0.02),  # outside of the named range
    (("cascade", "bert", 262144), "energy_pj", 0.05),
])
def test_a_new_miss_is_shown_as_not_explained(reproduction: Reproduction, key: Key, figure: str, error: float) -> None:
    def changed(row: Mapping[str, Any]) -> Mapping[str, Any]:
        same = (row["design"], row["model"], row["seq_len"]) == key
        return {**row, "error": {**row["error"], figure: error}} if same else row
    mutant = replace(reproduction, rows=tuple(map(changed, reproduction.rows)))
    unexplained = [m for m in misses(mutant) if m.cause == UNEXPLAINED and m.designs]
    assert ((key[0],), (key[1],), (key[2],), error) in [(m.designs, m.models, m.seq_lens, m.low) for m in unexplained]
    for document in (text(mutant), markdown(mutant)):
        assert re.search(rf"{re.escape(error_shown(error))}.*not explained", document)


def test_the_excess_explains_the_energy_mean(reproduction: Reproduction) -> None:
    low, high = energy_over_flat_with_excess(reproduction)
    assert low < 0.788 < high < next(a["ours"] for a in reproduction.averages if a["id"] == "attention_energy_vs_flat")
    clean = replace(reproduction, rows=tuple({**r, "published_excess": None} for r in reproduction.rows))
    assert energy_over_flat_with_excess(clean) == pytest.approx((0.79446, 0.79446), abs=1e-5)


@pytest.mark.parametrize(("error", "shown"), [
    (None, "-"), (0.0, "0"), (-2.2e-16, "0"), (-8.2e-6, "-8e-6"), (9.7e-5, "+1e-4"), (1.1e-4, "+0.01%"),
    (-0.0636, "-6.36%")])
def test_an_error_is_shown_in_digits_that_count(error: float | None, shown: str) -> None:
    assert error_shown(error) == shown


def test_lengths_are_shown_as_in_the_paper() -> None:
    assert [tokens_shown(n) for n in (*LENGTHS, 1000)] == ["1K", "4K", "16K", "64K", "256K", "1M", "1000"]


def test_json_has_the_keys_of_the_contract(fusebench: Command) -> None:
    document = fusebench("reproduce", "fusemax", "--json").json
    assert set(document) >= {"rows", "averages", "pareto", "accounting"}
    assert len(document["rows"]) == 120
    for row in document["rows"]:
        assert isinstance(row["seq_len"], int)
        for key in FIGURES_OF_A_ROW:
            assert isinstance(row[key], float)
            assert 0 < row[key] < math.inf
    assert {(r["design"], r["model"], r["seq_len"]) for r in document["rows"]} == {
        (d, m, n) for d in DESIGNS for m in MODELS for n in LENGTHS}
    assert {(p["model"], p["pe_dim"]) for p in document["pareto"]} >= {("bert", 64), ("xlm", 256)}
    assert document["accounting"]["energy_pj"] == "fusemax-artifact"
    assert document["accounting"]["energy_pj_physical"] == "physical"


def test_text_shows_every_point_in_120_columns(fusebench: Command, by_key: Mapping[Key, Any]) -> None:
    out = fusebench("reproduce", "fusemax").out
    assert max(map(len, out.splitlines())) <= 120
    lines = [line.split() for line in out.splitlines() if line.startswith(DESIGNS) and len(line.split()) == 14]
    assert len(lines) == 120
    for line, (key, row) in zip(lines, by_key.items(), strict=True):
        assert line[:3] == [key[0], key[1], tokens_shown(key[2]) + "*" * has_excess(*key)]
        shown = [float(cell) for cell in line[3:11]]
        assert shown == pytest.approx([row[k] for k in FIGURES_OF_A_ROW], rel=0.007)
        assert (line[11:] == ["-", "-", "-"]) == (key not in ATTENTION)
    for average in ("10.054", "6.723", "0.771", "0.794", "0.936"):
        assert f" {average} " in out
    for word in ("Published", "simulated", "fusemax-artifact", "physical", "Excess in the artifact", "XLM's linear"):
        assert word in out


def test_out_writes_tables_that_read_back(fusebench: Command, reproduction: Reproduction, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    ran = fusebench("reproduce", "fusemax", "--out", str(folder))
    assert ran.status == 0
    assert ran.out.splitlines()[-len(FILES):] == [f"written to {folder / name}" for name in FILES]
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    for name, frame in (("rows", rows_frame), ("averages", averages_frame), ("pareto", pareto_frame)):
        # Some releases of pandas read a float64 to its last digit but one.
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), frame(reproduction), rtol=1e-14)
    rows = pd.read_csv(folder / "rows.csv")
    assert len(rows) == 120
    assert rows["published_energy_pj"].notna().sum() == 30
    for name in FIGURES:
        assert is_drawn(folder / f"{name}.png")


def is_drawn(path: Path) -> bool:
    """Says whether an image has a drawing of several colours on white, with a free margin."""
    image = imread(path)
    dark = image[..., :3].min(axis=2) < 0.97
    colours = {tuple(c) for c in (image[::3, ::3, :3].reshape(-1, 3) * 255).astype(int).tolist()}
    return bool(image.shape[1] > 900 and 0.03 < dark.mean() < 0.7 and len(colours) > 8 and not dark[:, -1].any())


def test_each_design_has_its_bars(reproduction: Reproduction, tmp_path: Path) -> None:
    path = write_file(tmp_path / "utilization.png", FIGURES["utilization"](reproduction))
    image = imread(path)[..., :3]
    areas = {}
    for design, colour in {"unfused": "#9a9a9a", "flat": "#e69f00", "cascade": "#56b4e9", "arch": "#009e73",
                           "binding": "#1f3f77"}.items():
        areas[design] = float((abs(image - to_rgb(colour)).max(axis=2) < 0.01).mean())
    # The area of a colour is that of its bars: utilization of both arrays, summed.
    sums = {d: sum(r["util_2d"] + r["util_1d"] for r in reproduction.rows if r["design"] == d) for d in DESIGNS}
    for design in DESIGNS:
        assert areas[design] / areas["binding"] == pytest.approx(sums[design] / sums["binding"], rel=0.08)


def test_json_names_what_is_written(fusebench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILES", {"pareto.csv": FILES["pareto.csv"]})
    document = fusebench("reproduce", "fusemax", "--json", "--out", str(tmp_path)).json
    assert document["files"] == [str(tmp_path / "pareto.csv")]
    assert (tmp_path / "pareto.csv").read_text().startswith("model,pe_dim,latency_s,area_mm2")


@pytest.mark.parametrize(("arguments", "message"), [
    (("fusemx",), "unknown paper, got 'fusemx'; did you mean 'fusemax'? valid: fusemax"),
    ((), "reproduce: PAPER: it is missing, got nothing; see 'fusebench reproduce --help'"),
    (("fusemax", "--out", "{file}"), "{file}: folder: it is a file, got 'file'; name a folder, or another name"),
    (("fusemax", "--out", "{file}/x"), (
        "{file}/x: it cannot be written, got 'Not a directory'; check the folder and its permissions")),
    (("fusemax", "--out", " "), "folder: it has no name, got ' '; name one, such as 'results'"),
    (("fusemax", "--out"), "--out: option '--out' requires an argument, got nothing; see 'fusebench --help'"),
    (("fusemax", "--json", "--markdown"), (
        "reproduce: --markdown and --json exclude each other, got both; see 'fusebench reproduce --help'")),
])
def test_bad_input_is_one_line(fusebench: Command, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    ran = fusebench("reproduce", *(a.format(file=file) for a in arguments))
    assert ran.error == message.format(file=file)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(fusebench: Command, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert fusebench("reproduce", "fusemax", "--out", str(tmp_path)).error == (
        f"{tmp_path}: folder: it cannot be written to, got permissions 0o500; change them")


def test_a_file_that_cannot_be_written_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    assert write_file(path, b"old") == path

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as error:
        write_file(path, b"new")
    assert str(error.value) == (
        f"{path}: it cannot be written, got 'No space left on device'; check the folder and its permissions")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_interrupted_figures_keep_the_tables(fusebench: Command, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(reproduction: Reproduction) -> bytes:
        raise KeyboardInterrupt
    monkeypatch.setitem(FILES, "speedup.png", interrupt)
    ran = fusebench("reproduce", "fusemax", "--out", str(tmp_path))
    assert (ran.status, ran.out, ran.err) == (130, "", "fusebench: interrupted\n")
    assert {p.name for p in tmp_path.iterdir()} == {"rows.csv", "averages.csv", "pareto.csv", "utilization.png"}


def test_the_readme_shows_what_the_command_computes(fusebench: Command) -> None:
    printed = fusebench("reproduce", "fusemax", "--markdown").out.strip()
    call = "fusebench reproduce fusemax --markdown"
    (shown,) = re.findall(rf"<!-- begin: {call} -->\n(.*?)\n<!-- end -->", README.read_text(), re.DOTALL)
    assert shown == printed, f"README.md: its section differs; paste what '{call}' prints"


def test_markdown_tables_have_as_many_cells_in_every_row(reproduction: Reproduction) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", markdown(reproduction), re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert len(tables[2].splitlines()) == 2 + len(misses_cells(reproduction).rows)


def test_without_out_neither_pandas_nor_matplotlib_is_imported() -> None:
    found = imported("from reports.cli import main\nmain(['reproduce', 'fusemax', '--json'])")
    assert found & {"pandas", "matplotlib", "networkx", "torch", "triton", "scipy"} == set()
