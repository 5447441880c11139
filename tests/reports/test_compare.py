"""``fusebench compare``: equal areas, ratios and winners told again from single simulations, and wrong input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from reports import comparing
from reports.choosing import choose
from reports.options import INTERRUPTED
from tests.reports.command import Command

PAPER = ("compare", "attention:3pass", "attention:1pass", "--machines", "flat,fusemax", "--workload", "bert", "--mapping", "designs")


def by(found: Any) -> dict[tuple[str, str, int], Any]:
    """The rows that have figures."""
    return {(r["cascade"], r["machine"], r["seq_len"]): r for r in found["rows"] if r["reason"] is None}


def test_areas_agree_within_a_thousandth(fusebench: Command) -> None:
    found = fusebench(*PAPER, "--iso-area", "1000", "--seq-len", "1024", "--json").json
    assert {"rows", "means", "winners", "baseline", "notes"} <= set(found)
    assert len(found["rows"]) == 4
    for row in found["rows"]:
        assert row["area_mm2"] == pytest.approx(1000, rel=1e-3)
    for row in by(found).values():
        assert {"latency_s", "energy_pj", "utilization", "sized", "design"} <= set(row)


def test_without_a_length_it_is_the_shortest(fusebench: Command) -> None:
    assert {r["seq_len"] for r in fusebench(*PAPER, "--iso-area", "1000", "--json").json["rows"]} == {1024}


def test_rows_are_simulations_of_the_sized_machine(fusebench: Command) -> None:
    found = fusebench(*PAPER, "--iso-area", "1000", "--seq-len", "1024,4096", "--json").json
    compared = 0
    for row in by(found).values():
        settings = [word for path, value in row["sized"].items() for word in ("--set", f"{path}={value}")]
        alone = fusebench("simulate", row["cascade"], "--machine", row["machine"], "--design", row["design"], "--workload", "bert",
                          "--seq-len", str(row["seq_len"]), *settings, "--json").json
        assert row["latency_s"] == pytest.approx(alone["latency_s"])
        assert row["energy_pj"] == pytest.approx(alone["energy_pj"]["total"])
        assert row["area_mm2"] == pytest.approx(alone["area_mm2"]["total"])
        assert row["utilization"] == pytest.approx(alone["utilization"])
        compared += 1
    assert compared >= 4


def test_the_papers_machines_as_they_are_and_at_equal_area(fusebench: Command) -> None:
    """The paper's areas are 0.936 to 1; FuseMax of FLAT's area has a larger array, and is no slower."""
    as_they_are = by(fusebench(*PAPER, "--seq-len", "4096", "--json").json)
    flat, fusemax = as_they_are["attention:3pass", "flat", 4096], as_they_are["attention:1pass", "fusemax", 4096]
    assert fusemax["area_mm2"] / flat["area_mm2"] == pytest.approx(0.936, abs=5e-4)
    assert (flat["design"], fusemax["design"]) == ("flat", "binding")
    equal = by(fusebench(*PAPER, "--seq-len", "4096", "--iso-area", "flat", "--json").json)
    assert equal["attention:3pass", "flat", 4096]["sized"] == {}
    assert equal["attention:1pass", "fusemax", 4096]["area_mm2"] == pytest.approx(flat["area_mm2"], rel=1e-3)
    assert equal["attention:1pass", "fusemax", 4096]["sized"]["array_2d.rows"] > 256
    assert equal["attention:1pass", "fusemax", 4096]["latency_s"] <= fusemax["latency_s"]


def test_ratios_means_and_winners(fusebench: Command) -> None:
    found = fusebench(*PAPER, "--iso-area", "flat", "--seq-len", "1K..16K*4", "--baseline", "attention:1pass@flat", "--objective", "edp", "--json").json
    assert found["baseline"] == {"cascade": "attention:1pass", "machine": "flat"}
    rows = by(found)
    for (_, _, seq_len), row in rows.items():
        base = rows["attention:1pass", "flat", seq_len]
        assert row["speedup"] == pytest.approx(base["latency_s"] / row["latency_s"])
        assert row["energy_ratio"] == pytest.approx(row["energy_pj"] / base["energy_pj"])
        assert row["edp_ratio"] == pytest.approx(row["energy_ratio"] / row["speedup"])
    for mean in found["means"]:
        if (mean["cascade"], mean["machine"]) == ("attention:3pass", "fusemax"):
            assert (mean["lengths"], mean["speedup"]) == (0, None)
            continue
        own = [r["speedup"] for r in rows.values() if (r["cascade"], r["machine"]) == (mean["cascade"], mean["machine"])]
        assert mean["speedup"] == pytest.approx(math.prod(own) ** (1 / len(own)))
        assert mean["lengths"] == 3
    for winner in found["winners"]:
        if winner["among"] == "all":
            here = {f"{c} on {m}": r for (c, m, n), r in rows.items() if n == winner["seq_len"]}
            edp = {name: r["latency_s"] * r["energy_pj"] for name, r in here.items()}
            assert winner["winner"] == min(edp, key=edp.__getitem__)


def test_the_cost_bands(fusebench: Command) -> None:
    """Ends are those of ``simulate --costs`` on the same machine under the same design."""
    found = fusebench(*PAPER, "--iso-area", "flat", "--seq-len", "1024", "--costs", "both", "--objective", "energy", "--json").json
    for row in by(found).values():
        assert row["energy_pj_low"] <= row["energy_pj"] * (1 + 1e-12)
        assert row["energy_pj"] <= row["energy_pj_high"] * (1 + 1e-12)
        settings = [word for path, value in row["sized"].items() for word in ("--set", f"{path}={value}")]
        for end in ("low", "high"):
            alone = fusebench("simulate", row["cascade"], "--machine", row["machine"], "--design", row["design"], "--workload", "bert",
                              "--seq-len", "1024", *settings, "--costs", end, "--json").json
            assert row[f"energy_pj_{end}"] == pytest.approx(alone["energy_pj"]["total"])
    names = {f"{r['cascade']} on {r['machine']}": r for r in by(found).values()}
    for winner in found["winners"]:
        entries = names if winner["among"] == "all" else \
            {n: r for n, r in names.items() if winner["among"] in (f"machine {r['machine']}", f"cascade {r['cascade']}")}
        energies = [{name: r[f"energy_pj_{end}"] for name, r in entries.items()} for end in ("low", "high")]
        ends = {min(known, key=known.__getitem__) for known in energies}
        assert {winner["winner_low"], winner["winner_high"]} == ends
        assert winner["changes"] == (ends != {winner["winner"]})
        best = entries[winner["winner"]]
        assert winner["certain"] == all(best["energy_pj_high"] < r["energy_pj_low"] for r in entries.values() if r is not best)


def test_areas_at_one_node(fusebench: Command) -> None:
    found = fusebench("compare", "attention:3pass", "--machines", "fusemax,marca,tpu_v4i", "--iso-area", "fusemax", "--area-node", "45",
                      "--workload", "bert", "--seq-len", "1024", "--mapping", "unfused", "--json").json
    areas = {r["machine"]: r for r in found["rows"]}
    assert areas["fusemax"]["sized"] == {}
    assert {r["technology_nm"] for r in areas.values()} == {45, 28, 7}
    for row in areas.values():
        assert row["area_at_node_mm2"] == pytest.approx(areas["fusemax"]["area_mm2"], rel=1e-3)
    assert areas["tpu_v4i"]["area_mm2"] < areas["marca"]["area_mm2"] < areas["fusemax"]["area_mm2"]


def test_other_operators_have_shapes_of_their_own(fusebench: Command) -> None:
    found = fusebench("compare", "attention:3pass", "mamba_s6:sequential", "sliding_window_attention:3pass", "--machines", "marca", "--workload",
                      "bert", "--seq-len", "1024", "--shape", "mamba_s6:i=seq_len,e=2*d_model,n=16", "--shape",
                      "sliding_window_attention:r=1,p=seq_len,m=seq_len,e=e,f=f,w=d_model/3,instances=batch*heads", "--mapping", "unfused", "--json").json
    rows = {r["cascade"]: r for r in found["rows"]}
    assert rows["mamba_s6:sequential"]["extents"] == {"i": 1024, "e": 1536, "n": 16}
    assert rows["mamba_s6:sequential"]["instances"] == 64
    assert rows["sliding_window_attention:3pass"]["extents"]["w"] == 256
    assert rows["sliding_window_attention:3pass"]["instances"] == 64 * 12
    assert rows["attention:3pass"]["instances"] == 64 * 12
    assert any("different operators" in note for note in found["notes"])


def test_a_design_of_ones_choice(fusebench: Command) -> None:
    found = fusebench(*PAPER, "--seq-len", "1024", "--design", "fusemax=arch", "--json").json
    assert by(found)["attention:1pass", "fusemax", 1024]["design"] == "arch"
    none = next(r for r in found["rows"] if (r["cascade"], r["machine"]) == ("attention:3pass", "fusemax"))
    assert "by way of designs, got none that places its Einsums" in none["reason"]
    assert none["speedup"] is None


def test_the_mapper_and_the_baseline(fusebench: Command) -> None:
    arguments = ("compare", "attention:3pass", "--machines", "flat,fusemax", "--workload", "bert", "--seq-len", "1024",
                 "--budget-seconds", "60", "--json")
    rows = {way: by(fusebench(*arguments, "--mapping", way).json) for way in ("best", "designs", "mapper", "unfused")}
    flat, fusemax = (("attention:3pass", m, 1024) for m in ("flat", "fusemax"))
    assert rows["best"][flat]["latency_s"] == min(rows["designs"][flat]["latency_s"], rows["mapper"][flat]["latency_s"])
    assert rows["best"][fusemax]["way"] == rows["mapper"][fusemax]["way"] == "mapper"
    assert rows["mapper"][fusemax]["latency_s"] <= rows["unfused"][fusemax]["latency_s"]
    assert rows["mapper"][fusemax]["gap"] is not None
    assert rows["unfused"][fusemax]["way"] == "einsum-by-einsum"


def test_what_is_finished_is_kept(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    def twice(*arguments: Any, **named: Any) -> Any:
        chosen.append("")
        if len(chosen) == 3:
            raise KeyboardInterrupt
        return choose(*arguments, **named)
    monkeypatch.setattr(comparing, "choose", twice)
    ran = fusebench("compare", "attention:1pass", "--machines", "flat,fusemax", "--workload", "bert", "--seq-len", "1024,4096", "--mapping", "designs",
                    "--json")
    assert ran.status == INTERRUPTED
    assert "interrupted after 2 of 4" in ran.err
    assert [(r["machine"], r["seq_len"]) for r in json.loads(ran.out)["rows"]] == [("flat", 1024), ("flat", 4096)]


def test_a_cascade_of_ones_own(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.cascade"
    path.write_text("Z[m,n] = A[m,k] * B[k,n]\n")
    found = fusebench("compare", str(path), "gemm", "--machines", "fusemax", "--extent", "m=512,n=512,k=64", "--mapping", "designs", "--json").json
    mine, gemm = found["rows"]
    assert mine["design"] == gemm["design"] == "linear"
    assert mine["latency_s"] == gemm["latency_s"]
    assert found["winners"][0]["as_good"] == ["gemm on fusemax"]


def test_text_and_files(fusebench: Command, tmp_path: Path) -> None:
    text = fusebench(*PAPER, "--iso-area", "flat", "--seq-len", "1024,4096", "--out", str(tmp_path)).out
    assert "geometric means over lengths" in text
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize(("arguments", "message"), [
    (("--iso-area", "0.1"), "machine 'flat': sized by array_2d.rows, array_2d.cols, array_1d.lanes and global_buffer.bytes, it reaches"),
    (("--iso-area", "fusemx"), "unknown machine, got 'fusemx'; did you mean 'fusemax'"),
    (("--iso-area", "-3"), "--iso-area: it should be an area above 0 in mm2"),
    (("--size", "fusemax=array_2d.rows"), "--size is for --iso-area"),
    (("--iso-area", "1000", "--size", "fusemax=array_2d.row"), "did you mean 'array_2d.rows'"),
    (("--iso-area", "1000", "--size", "marca=none"), "--size: unknown machine, got 'marca'"),
    (("--iso-area", "5000", "--size", "fusemax=global_buffer.bytes"), "it reaches 1220.32 to 1517.81 mm2, got 5000"),
    (("--area-node", "45"), "it is the node of --iso-area, got 45 nm without that"),
    (("--baseline", "attention:3pass"), "it should be a cascade, '@' and a machine"),
    (("--baseline", "gemm@flat"), "--baseline: unknown cascade, got 'gemm'"),
    (("--shape", "mamba_s6:i=seq_len"), "--shape: unknown cascade, got 'mamba_s6'"),
    (("--shape", "attention:q=3"), "--shape attention:3pass: the cascade has no such rank, got 'q'"),
    (("--shape", "attention"), "it should be a cascade, ':', and ranks with their extents"),
    (("--design", "marca=flat"), "--design: unknown machine, got 'marca'"),
    (("--extent", "q=3"), "no cascade has such a rank"),
    (("--seq-len", "0"), "--seq-len: it should be a whole number of at least 1, got 0"),
])
def test_wrong_input(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    lengths = () if "--seq-len" in arguments else ("--seq-len", "1024")
    assert message in fusebench(*PAPER, *lengths, *arguments).error
