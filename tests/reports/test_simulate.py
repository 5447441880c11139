"""``fusebench simulate``: the contract's keys, settings that carry through, timings, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reports.command import Command

BERT = ("--workload", "bert", "--seq-len", "1024")
BINDING = ("simulate", "attention:1pass", "--machine", "fusemax", "--design", "binding", *BERT)


def test_the_contracts_keys(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--json").json
    assert {"latency_s", "latency_cycles", "dram_bytes", "utilization", "energy_pj", "area_mm2", "bound", "accounting"} <= set(found)
    assert set(found["utilization"]) == {"2d", "1d"}
    for parts in (found["energy_pj"], found["area_mm2"]):
        assert parts["total"] == pytest.approx(sum(v for k, v in parts.items() if k != "total"))
    assert (found["accounting"], found["schedule"]) == ("physical", "typed")


def test_a_variant_is_taken_in_the_designs_algorithm(fusebench: Command) -> None:
    arguments = [a if a != "attention:1pass" else "attention" for a in BINDING]
    assert fusebench(*arguments, "--json").json["cascade"] == "attention:1pass"


@pytest.mark.parametrize(("setting", "cycles"), [
    # One tile of 256 x 256 takes 138 cycles: 65 + 1 + 8 + 64; its query tile 64 more for the division.
    ("array_2d.cycles.exp=6", 4 * (4 * 138 + 64)),
    ("array_2d.cycles.exp=16", 4 * (4 * 148 + 64)),
    ("array_1d.cycles.exp=7", 4 * (4 * 139 + 64)),
    ("array_1d.lanes=128", 4 * (4 * 2 * 138 + 2 * 64)),
    ("dram.bytes_per_s=1e12", 4 * (4 * 138 + 64)),
])
def test_settings_carry_through(fusebench: Command, setting: str, cycles: int) -> None:
    found = fusebench(*BINDING, "--set", setting, "--json").json
    assert found["latency_cycles"] == pytest.approx(768 * cycles, rel=1e-12)


def test_the_energy_splits_into_lines(fusebench: Command) -> None:
    found = fusebench(*BINDING, "--explain", "--json").json
    assert sum(line["energy_pj"] for line in found["energy_lines"]) == pytest.approx(found["energy_pj"]["total"])
    for line in found["energy_lines"]:
        assert line["count"] * line["pj_each"] == pytest.approx(line["energy_pj"])


def test_costs_have_two_ends(fusebench: Command) -> None:
    low, nominal, high = (fusebench(*BINDING, "--costs", end, "--json").json["energy_pj"]["total"] for end in ("low", "nominal", "high"))
    assert low < nominal < high


def test_events_agree_and_leave_a_trace_and_a_picture(fusebench: Command, tmp_path: Path) -> None:
    trace, picture = tmp_path / "epochs.json", tmp_path / "epochs.png"
    found = fusebench(*BINDING, "--timing", "event", "--trace", str(trace), "--picture", str(picture), "--json").json
    assert found["latency_cycles"] == pytest.approx(found["latency_cycles_analytic"], rel=0.02)
    assert len(json.loads(trace.read_text())["traceEvents"]) > 100
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("dataflow", "cycles"), [("ws", 28639), ("os", 24543)])
def test_without_overlap_it_is_scale_sim(fusebench: Command, dataflow: str, cycles: int) -> None:
    found = fusebench("simulate", "gemm", "--machine", "fusemax", "--timing", "no-overlap", "--dataflow", dataflow,
                      "--extent", "m=1024,n=1024,k=1024", "--json").json
    assert found["latency_cycles"] == cycles


def test_a_cascade_of_ones_own_takes_its_shape_from_extents(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.cascade"
    path.write_text("Z[m,n] = A[m,k] * B[k,n]\n")
    arguments = ("--machine", "fusemax", "--extent", "m=512,n=512,k=64")
    mine = fusebench("simulate", str(path), "--design", "linear", *arguments, "--json").json
    ours = fusebench("simulate", "gemm", "--design", "linear", *arguments, "--json").json
    assert {k: v for k, v in mine.items() if k != "cascade"} == {k: v for k, v in ours.items() if k != "cascade"}


@pytest.mark.parametrize(("arguments", "message"), [
    (("attention:3pass", "--machine", "fusemax", "--design", "binding", *BERT), "has no such Einsum, got 'BQK'"),
    (("attention:1pass", "--machine", "flat", "--design", "binding", *BERT), "array_2d has no such operator, got 'max'"),
    (("attention:3pass", "--machine", "flat", "--design", "flat", "--workload", "bert", "--seq-len", "2000"), "no mapping for this workload"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", *BERT, "--set", "global_buffer.bytes=40000"), "do not fit global_buffer"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", *BERT, "--set", "array_2d.rwos=3"), "did you mean 'array_2d.rows'?"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", *BERT, "--set", "array_2d.rows"), "write --set"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", "--workload", "bert"), "needs a length"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", "--extent", "p=8"), "has no extent"),
    (("attention:1pass", "--machine", "fusemax", "--design", "binding", "--extent", "z=8"), "no such rank"),
    (("gemm", "--machine", "fusemax", "--design", "linear", "--extent", "m=8,n=8,k=8", "--dataflow", "os"), "--dataflow is for"),
    (("attention:1pass", "--machine", "fusemax", "--timing", "no-overlap", "--extent", "p=8,m=8,e=8,f=8"), "one matrix product"),
])
def test_wrong_input(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in fusebench("simulate", *arguments).error


RAGGED = "Y[s,k] = A[t,k] * B[s] where Off[s] <= t and t < Off[s + 1] and Mask[k] > 0\n"
RAGGED_DESIGN = """
id: ragged
title: Ragged
source: these tests
cascade: any
stages:
  - nests:
      - einsums: [Y]
        loops: [s]
        units: {array_2d: {einsums: [Y], parallel: {k: cols}}}
"""


def test_what_is_known_of_data_is_handed_in(fusebench: Command, tmp_path: Path) -> None:
    (tmp_path / "ragged.cascade").write_text(RAGGED)
    (tmp_path / "ragged.yaml").write_text(RAGGED_DESIGN)
    base = ("simulate", str(tmp_path / "ragged.cascade"), "--machine", "fusemax", "--design", str(tmp_path / "ragged.yaml"),
            "--extent", "s=3,t=12,k=4")
    assert any("A43" in note for note in fusebench(*base, "--json").json["notes"])
    few = fusebench(*base, "--segments", "Off=1,2,3", "--density", "Mask=1", "--json").json
    assert not any("A43" in note for note in few["notes"])
    assert few["stages"]["Y"]["compute_cycles"] == 6
    assert fusebench(*base, "--segments", "Of=1,2,3").error == ("--segments: nothing depends on the values of such an input, got 'Of'; did you mean "
                                                        "'Off'? valid: Mask, Off")
    assert fusebench(*base, "--density", "Mask=2").error == "--density: it should be a share from 0 to 1, got '2'; write --density Mask=0.25"
