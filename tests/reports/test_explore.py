"""``fusebench explore``: the paper's Pareto curve, limits, tables, pictures, and wrong input."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from reports.fusemax.published import pareto_inputs, published_pareto
from tests.reports.command import Command

BINDING = ("explore", "attention:1pass", "--machine", "fusemax", "--design", "binding", "--workload", "bert", "--seq-len", "4096")
ARRAY = "array_2d.rows=array_2d.cols=array_1d.lanes"


@pytest.mark.parametrize("model", ["bert", "xlm"])
def test_the_papers_pareto_curve_comes_out(fusebench: Command, tmp_path: Path, model: str) -> None:
    entries = [e for e in pareto_inputs() if e["model"] == model]
    columns = {"array_2d.rows": "pe_dim", "array_2d.cols": "pe_dim", "array_1d.lanes": "pe_dim", "global_buffer.bytes": "global_buffer_bytes",
               "global_buffer.row_bits": "row_bits", "array_2d.register_file.depth": "depth_2d", "array_1d.register_file.depth": "depth_1d"}
    table = tmp_path / "points.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *([e[key] for key in columns.values()] for e in entries)])
    found = fusebench("explore", "attention:1pass", "--machine", "fusemax", "--design", "binding", "--workload", model, "--seq-len", "262144",
                      "--points", str(table), "--pareto", "area,latency", "--json").json
    front = {p["array_2d.rows"]: p for p in found["pareto"]["points"]}
    assert sorted(front) == [16, 32, 64, 128, 256, 512]
    for (name, size), published in published_pareto().items():
        if name == model:
            assert front[size]["latency_s"] == pytest.approx(published["latency_s"], rel=1e-9)
            assert front[size]["area_mm2"] == pytest.approx(published["area_mm2"], rel=1e-5)


def test_points_are_simulations(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--vary", f"{ARRAY}=64,128", "--vary", "dram.bytes_per_s=1e10,1e12", "--json").json
    assert (found["points"], found["valid"], len(found["rows"])) == (4, 4, 4)
    for row in found["rows"]:
        settings = [word for path in found["parameters"] for word in ("--set", f"{path}={row[path]}")]
        alone = fusebench("simulate", *BINDING[1:], *settings, "--json").json
        for key, value in (("latency_s", alone["latency_s"]), ("energy_pj", alone["energy_pj"]["total"]),
                           ("area_mm2", alone["area_mm2"]["total"]), ("dram_bytes", alone["dram_bytes"])):
            assert row[key] == pytest.approx(value, rel=1e-12)
        assert row["bound"] == alone["bound"]
        assert row["utilization"] == pytest.approx(alone["utilization"])


def test_limits_and_the_best(fusebench: Command) -> None:
    arguments = (*BINDING, "--vary", f"{ARRAY}=16..512*2", "--vary", "global_buffer.bytes=128K..64M*4")
    found = fusebench(*arguments, "--at-most", "area=400", "--json").json
    inside = [r for r in found["rows"] if r["valid"] and r["area_mm2"] <= 400]
    assert all(p["area_mm2"] <= 400 for p in found["pareto"]["points"])
    assert found["best"]["latency_s"] == min(r["latency_s"] for r in inside)
    ties = [r["area_mm2"] for r in inside if r["latency_s"] == found["best"]["latency_s"]]
    assert found["best"]["area_mm2"] == min(ties)
    least = fusebench(*arguments, "--objective", "area", "--at-most", "latency=0.5", "--json").json["best"]
    assert least["area_mm2"] == min(r["area_mm2"] for r in found["rows"] if r["valid"] and r["latency_s"] <= 0.5)


def test_invalid_points_stay_with_their_reason(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--vary", "global_buffer.bytes=16K,40K,16M", "--json").json
    assert [r["valid"] for r in found["rows"]] == [False, False, True]
    assert "nothing is extrapolated, got 16384" in found["rows"][0]["reason"]
    assert found["rows"][1]["reason"].endswith("give it at least global_buffer.bytes=132096")
    assert [i["points"] for i in found["invalid"]] == [1, 1]
    assert found["rows"][0]["latency_s"] is None


def test_files(fusebench: Command, tmp_path: Path) -> None:
    found = fusebench(*BINDING, "--vary", f"{ARRAY}=64,128", "--sensitivity", "--out", str(tmp_path), "--json").json
    assert [Path(f).name for f in found["files"]] == ["points.csv", "pareto.png", "sensitivity.png"]
    assert all((tmp_path / n).read_bytes().startswith(b"\x89PNG") for n in ("pareto.png", "sensitivity.png"))
    rows = list(csv.DictReader((tmp_path / "points.csv").read_text().splitlines()))
    assert [(r["array_2d.rows"], r["pareto"]) for r in rows] == [("64.0", "True"), ("128.0", "True")]


def test_sensitivity_names_what_binds(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--set", "dram.bytes_per_s=1e9", "--sensitivity", "--json").json["sensitivity"]
    assert found["binding"] == "dram"
    assert found["loads"]["dram"] == pytest.approx(1)
    first = next(p for p in found["parameters"] if p["paths"] == ["dram.bytes_per_s"])
    assert first["wide"]["latency"] == {"down": pytest.approx(-1), "up": pytest.approx(-1), "kinked": False}
    text = fusebench(*BINDING, "--sensitivity").out
    assert "array_1d binds the latency" in text


def test_links(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--vary", "array_2d.rows=64,128", "--link", "array_2d.cols=array_2d.rows", "--link",
                      "array_1d.lanes=2*array_2d.rows", "--json").json
    assert [(r["array_2d.cols"], r["array_1d.lanes"]) for r in found["rows"]] == [(64, 128), (128, 256)]


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "nothing is explored: give --vary, --points or --sensitivity"),
    (("--vary", "array_2d.row=1"), "unknown parameter, got 'array_2d.row'; did you mean 'array_2d.rows'"),
    (("--vary", "array_2d.rows=1", "--pareto", "area,speed"), "--pareto: unknown figure, got 'speed'"),
    (("--vary", "array_2d.rows=1", "--pareto", "area,area"), "a figure stands twice"),
    (("--vary", "array_2d.rows=64", "--at-most", "area=1"), "--at-most area: no machine keeps it, got at most 1 mm2 where they have"),
    (("--vary", "array_2d.rows=64", "--at-most", "latency=1e-9"), "--at-most latency: no point keeps it, got at most 1e-09 s where the least is"),
    (("--vary", "array_2d.rows=64", "--at-most", "area"), "it should be a figure, '=' and a number above 0"),
    (("--sensitivity", "--link", "array_2d.rows=array_2d.cols"), "--link follows a parameter that is varied"),
    (("--points", "missing.csv"), "missing.csv: file: there is none"),
    (("--sensitivity", "--set", "global_buffer.bytes=40000"), "do not fit global_buffer"),
])
def test_wrong_input(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in fusebench(*BINDING, *arguments).error


def test_wrong_tables(fusebench: Command, tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    for text, message in (("array_2d.rows\n", "a line of paths and lines of as many numbers"), ("array_2d.rows\nx\n", "it should hold numbers"),
                          ("array_2d.row\n1\n", "did you mean 'array_2d.rows'"), ("array_2d.rows,array_2d.rows\n1,2\n", "stands twice")):
        table.write_text(text)
        assert message in fusebench(*BINDING, "--points", str(table)).error
    table.write_text("array_2d.rows\n64\n")
    assert "got both" in fusebench(*BINDING, "--points", str(table), "--vary", "array_2d.cols=1").error
