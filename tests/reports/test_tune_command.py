"""fusebench tune: a dry run on the fake device, the store's answer the second time, and one line without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.search import strategy_ids
from reports.commands import tune as tune_command
from tests.reports.command import Command, runner

SMALL = ("--extent", "p=256,m=256,e=32,f=32", "--budget", "8", "--processes", "1")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return runner(capsys)


def test_the_strategies_of_the_command_are_those_there_are() -> None:
    assert strategy_ids() == tune_command._STRATEGIES


def test_a_dry_run_is_stored_found_again_and_says_that_nothing_was_measured(run: Command, tmp_path: Path) -> None:
    place = str(tmp_path / "s")
    arguments = ("tune", "attention:1pass", *SMALL, "--device", "fake", "--strategy", "random", "--store", place)
    found = run(*arguments, "--json").json
    assert found["store"] == place
    assert found["measured"] is False
    assert len(found["trials"]) == 8 + 5
    assert found["best"][0]["configuration"].keys() == {"p", "part.m0", "num_warps", "num_stages"}
    assert found["best"][0]["median_us"] > 0
    again = run(*arguments, "--json").json
    assert again["from_store"] is True
    assert again["trials"] == []
    assert again["best"][0]["configuration"] == found["best"][0]["configuration"]
    text = run(*arguments, "--force").out
    assert text.startswith("MADE-UP TIMES of the fake device; nothing was measured\n")
    assert "the first is chosen: " in text


def test_a_file_of_ones_own(run: Command, tmp_path: Path) -> None:
    (tmp_path / "my.cascade").write_text("S[p,m] = Q[p,e] * K[m,e]\nO[p] = S[p,m]\n")
    ran = run("tune", str(tmp_path / "my.cascade"), "--extent", "p=512,m=512,e=32", "--device", "fake", "--budget", "4", "--processes", "1",
              "--store", str(tmp_path / "s"), "--json")
    assert ran.json["trials"]


def test_without_a_gpu_it_says_so_in_one_line(run: Command, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run("tune", "attention:1pass", *SMALL, "--store", str(tmp_path)).error == \
        "device: torch sees no CUDA device, got none; run it where there is a GPU, or with --device fake to try the procedure"


def test_bad_input_is_one_line(run: Command, tmp_path: Path) -> None:
    assert "unknown strategy, got 'hill'" in run("tune", "attention", "--strategy", "hill").error
    assert "did you mean 'bert'" in run("tune", "attention", "--workload", "brt", "--device", "fake").error
    assert "topk makes coordinates by sorting" in run("tune", "expert_router", "--extent", "t=8,x=4,j=2", "--device", "fake").error
