"""fusebench map: a mapping, what was proven, and a design file that reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.command import Command

GEMM = ("gemm", "--machine", "fusemax", "--extent", "m=512,n=512,k=64")


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_a_mapping_is_a_design_with_the_same_numbers(fusebench: Command, tmp_path: Path, objective: str) -> None:
    path = tmp_path / "mapping.yaml"
    found = fusebench("map", *GEMM, "--objective", objective, "--out", str(path), "--loops", "2", "--json").json
    assert {"mapping", "estimate", "evaluated", "proven_optimal", "space", "bound", "gap", "groups"} <= set(found)
    assert found["evaluated"] > 0
    assert found["bound"] <= found["value"]
    assert found["mapping"]["cascade"] == "gemm:product"
    made = fusebench("simulate", GEMM[0], "--design", str(path), *GEMM[1:], "--json").json
    for key in ("latency_s", "latency_cycles", "dram_bytes", "utilization", "energy_pj", "area_mm2", "bound"):
        assert made[key] == found["estimate"][key], key


def test_the_fastest_is_what_simulate_takes_without_a_design(fusebench: Command) -> None:
    found = fusebench("map", *GEMM, "--json").json
    assert found["proven_optimal"]
    made = fusebench("simulate", *GEMM, "--json").json
    assert made["latency_s"] == found["estimate"]["latency_s"]
    assert "the mapping was searched, since no design was given: nothing in its space is faster" in made["notes"]


def test_it_is_no_slower_than_a_design_of_the_space(fusebench: Command) -> None:
    found = fusebench("map", *GEMM, "--json").json
    assert found["value"] <= fusebench("simulate", *GEMM, "--design", "linear", "--json").json["latency_s"]


def test_groups_stand_in_the_graph_with_what_separates_them(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "softmax.cascade"
    path.write_text("G[] = max[m] A[m]\nS[m] = exp(A[m] - G[])\n")
    arguments = (str(path), "--machine", "fusemax", "--extent", "m=1000", "--no-fuse")
    found = fusebench("map", *arguments, "--json").json
    assert [g["einsums"] for g in found["groups"]] == [["G"], ["S"]]
    assert found["groups"][0]["separate"] == ["S needs G of all m"]
    text = fusebench("map", *arguments).out
    assert "S needs G of all m" in text
    assert "1  ├─●  G[]" in text
    assert "nothing in the space is better" in text


@pytest.mark.parametrize(("arguments", "message"), [
    ((*GEMM, "--objective", "speed"), "unknown objective, got 'speed'"),
    ((*GEMM, "--set", "global_buffer.bytes=65536", "--loops", "0"), "no mapping fits: the smallest tiles of Einsum 'Z' need 655360 bytes"),
    ((*GEMM, "--constraint", "latency_s=1e-9"), "no mapping meets it"),
    ((*GEMM, "--constraint", "power=1"), "got 'power'"),
    ((*GEMM, "--constraint", "latency_s"), "write --constraint latency_s=1e-3"),
    (("attention:1pass", "--machine", "fusemax", "--extent", "p=8"), "has no extent"),
    ((*GEMM, "--out", "nowhere/there.yaml"), "its folder should exist"),
])
def test_wrong_input(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in fusebench("map", *arguments).error


def test_the_smallest_memory_that_would_do_does(fusebench: Command) -> None:
    small = (*GEMM, "--loops", "0", "--set")
    assert "no mapping fits" in fusebench("map", *small, "global_buffer.bytes=655359").error
    assert fusebench("map", *small, "global_buffer.bytes=655360", "--json").json["value"] > 0


def test_where_the_search_finds_nothing_in_its_time_einsums_run_one_by_one(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.simulation.MAPPER_BUDGET_S", 1e-6)
    made = fusebench("simulate", "attention:1pass", "--machine", "h100", "--extent", "p=1024,m=1024,e=64,f=64", "--json").json
    assert made["latency_s"] > 0
    assert any("no mapping was found in 1e-06 s: Einsum by Einsum, a baseline" in note for note in made["notes"])
