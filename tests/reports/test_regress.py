"""'fusebench metrics' and 'fusebench regress': files, checkouts and revisions, worse, better and equal, and wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reports.command import Command as Fusebench

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(fusebench: Fusebench, tmp_path: Path) -> Path:
    path = tmp_path / "base.json"
    fusebench("metrics", "attention:1pass", "attention:3pass", "--out", str(path))
    return path


def changed(path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    other = path.with_name(name)
    other.write_text(json.dumps(document), encoding="utf-8")
    return str(other)


def test_metrics_are_those_of_the_other_commands(fusebench: Fusebench) -> None:
    found = fusebench("metrics", "attention:1pass", "--json").json
    own = found["metrics"]["attention:1pass"]
    assert own["passes_m"] == 1
    simulated = fusebench("simulate", "attention:1pass", "--machine", "fusemax", "--design", "binding", "--workload", "bert", "--seq-len", "4096",
                          "--json").json
    assert own["cycles_binding"] == simulated["latency_cycles"]
    assert own["energy_pj_binding"] == simulated["energy_pj"]["total"]
    assert found["missing"] == {}


def test_the_same_versions_have_no_regression(fusebench: Fusebench, base: Path) -> None:
    found = fusebench("regress", str(base), str(ROOT), "--only", "attention:1pass", "--json")
    assert found.status == 0
    assert {v["outcome"] for v in found.json["verdicts"]} == {"same"}
    assert {v["benchmark"] for v in found.json["verdicts"]} == {"attention:1pass"}


def test_a_regression_ends_with_status_1_and_is_named(fusebench: Fusebench, base: Path) -> None:
    def worse(document: dict[str, Any]) -> None:
        document["metrics"]["attention:1pass"]["passes_m"] = 2
        document["metrics"]["attention:3pass"]["passes_m"] = 2
        document["origin"]["triton"] = "99.0"
    head = changed(base, "head.json", worse)
    found = fusebench("regress", str(base), head, "--json")
    assert found.status == 1
    assert [(v["benchmark"], v["metric"], v["outcome"]) for v in found.json["verdicts"] if v["outcome"] != "same"] == [
        ("attention:1pass", "passes_m", "regression"), ("attention:3pass", "passes_m", "improvement")]
    text = fusebench("regress", str(base), head)
    assert text.status == 1
    assert "+100.00%" in text.out
    table = fusebench("regress", str(base), head, "--markdown").out
    assert "| regression | attention:1pass | passes_m | 1 | 2 | +100.00% |" in table
    assert fusebench("regress", str(base), head, "--allow", "passes_m=1").status == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (("nowhere", "."), "BASE: there is no such file, folder or revision"),
    (("{folder}", "."), "a folder should be a checkout of fusebench, got one without 'einsum_cascades'"),
    (("{base}", "{base}", "--allow", "passes_m"), "--allow: it should be a metric, '=' and a share of at least 0, got 'passes_m'"),
    (("{base}", "{base}", "--allow", "passes_m=-1"), "got 'passes_m=-1'"),
    (("{base}", "{base}", "--allow", "registers=0.1"), "--allow 'registers': no benchmark has such a metric"),
    (("{base}", "{base}", "--only", "attenton"), "no benchmark in common"),
    (("{base}", "{base}", "--json", "--markdown"), "--markdown and --json: give one of them"),
])
def test_wrong_input_is_one_line(fusebench: Fusebench, base: Path, arguments: tuple[str, ...], message: str) -> None:
    folder = base.with_name("folder")
    folder.mkdir()
    assert message in fusebench("regress", *(a.format(base=base, folder=folder) for a in arguments)).error


def test_metrics_of_what_there_is_not(fusebench: Fusebench, tmp_path: Path) -> None:
    assert "unknown cascade, got 'attenton'; did you mean 'attention'" in fusebench("metrics", "attenton").error
    assert "its folder should exist" in fusebench("metrics", "attention", "--out", str(tmp_path / "no" / "x.json")).error
    assert "its name should end in .json" in fusebench("metrics", "attention", "--out", "x.csv").error
