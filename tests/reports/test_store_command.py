"""fusebench store: what the commands print and write, and one line for bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.store import Status, Store
from reports.commands import store as store_command
from tests.autotune.store.samples import made_trial
from tests.autotune.store.test_store import WINNER
from tests.reports.command import Command, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return runner(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    with Store(tmp_path / "s") as store:
        store.add([made_trial("a"), made_trial("b", status=Status.TIMEOUT, reason="10 s", rounds=(), created_s=2.0)], [WINNER])
    return str(tmp_path / "s")


def test_the_statuses_of_the_command_are_the_stores() -> None:
    assert tuple(Status) == store_command._STATUSES


def test_the_group_tells_what_there_is(run: Command, folder: str) -> None:
    assert run("store", "--store", folder, "--json").json == {
        "store": folder, "trials": 2, "statuses": {"ok": 1, "timeout": 1}, "winners": 1, "kernels": ["attention:1pass"],
        "devices": ["Imagined 1"]}
    assert "2 (1 ok, 1 timeout)" in run("store", "--store", folder).out
    assert "options of 'store list' stand after its name" in run("store", "--json", "list").error


def test_list_and_best(run: Command, folder: str) -> None:
    rows = run("store", "list", "--store", folder, "--json").json
    assert [(r["id"], r["status"], r["cache"]) for r in rows] == [("a", "ok", "cold_l2_flushed"), ("b", "timeout", None)]
    assert rows[0]["median_us"] == pytest.approx(101.0)
    assert [r["id"] for r in run("store", "list", "--store", folder, "--status", "timeout", "--json").json] == ["b"]
    best = run("store", "best", "--store", folder, "--json").json
    assert [(b["configuration"], b["tied"]) for b in best] == [({"BM": 64, "warps": 4}, 2)]
    assert "BM=64 warps=4" in run("store", "best", "--store", folder).out
    assert run("store", "list", "--store", folder, "--kernel", "none").out == "There are no such trials.\n"


def test_export_import_merge_and_check(run: Command, folder: str, tmp_path: Path) -> None:
    file = str(tmp_path / "r.json")
    assert run("store", "export", file, "--store", folder, "--json").json["trials"] == 2
    assert len(json.loads(Path(file).read_text())["winners"]) == 1
    assert run("store", "import", file, file, "--store", str(tmp_path / "t"), "--json").json["added"] == 3
    with Store(tmp_path / "t") as store:
        store.add([replace(made_trial("c"))])
    assert run("store", "merge", str(tmp_path / "t"), "--store", folder, "--json").json == \
        {"source": str(tmp_path / "t"), "added": 1, "known": 3}
    assert run("store", "check", "--store", folder).out.endswith("all is well\n")
    assert run("store", "export", str(tmp_path / "r.csv"), "--store", folder, "--status", "timeout").status == 0
    assert (tmp_path / "r.csv").read_text().count("\n") == 2


def test_bad_input_is_one_line(run: Command, folder: str, tmp_path: Path) -> None:
    assert "there is no store" in run("store", "list", "--store", str(tmp_path / "none")).error
    assert "there is no store" in run("store", "check", "--store", str(tmp_path / "none")).error
    assert "did you mean 'timeout'" in run("store", "list", "--store", folder, "--status", "timout").error
    assert "should end in .json or .csv or .parquet" in run("store", "export", str(tmp_path / "r.txt"), "--store", folder).error
    assert "it is no JSON file of results" in run("store", "import", str(tmp_path / "none.json"), "--store", folder).error
    assert "there is no store" in run("store", "merge", str(tmp_path / "none"), "--store", folder).error
