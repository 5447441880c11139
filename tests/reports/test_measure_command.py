"""fusebench measure: a dry run goes on where it stopped, writes what is to be committed, and refuses what it cannot do."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotune.campaign.definition import load_campaign
from autotune.campaign.run import work_of
from autotune.campaigns import campaign_ids, campaign_path
from autotune.store.exchange import read_results
from einsum_cascades.errors import DefinitionError
from tests.reports.command import Command, runner

SMALL = """
campaign: small
device: H200
step_seconds: 1
items:
  - id: att
    cascade: attention:1pass
    extents: {p: 256, m: 256, e: 32, f: 32}
    instances: 2
    trials: 4
    peers:
      - {id: math, peer: sdpa, backend: math, q: Q, k: K, v: V, out: AV}
    targets: [{of: math, at_least: 1.0}, {of: floor, at_least: 0.5}]
  - id: sorted
    cascade: expert_router:route
    extents: {t: 64, x: 8, j: 2}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return runner(capsys)


def test_a_dry_run_stops_goes_on_and_writes_what_is_to_be_committed(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    arguments = ("measure", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--device", "fake", "--processes", "1")
    with monkeypatch.context() as slow:
        # A clock on which a second passes at each look: what is left does not depend on the machine.
        slow.setattr("autotune.campaign.run.time", SimpleNamespace(monotonic=count().__next__, time=time.time))
        first = run(*arguments, "--seconds", "1", "--json")
    assert first.status == 1, "one item has no kernel"
    assert (first.json["done"], first.json["left"]) == (["ceilings"], ["att: tuning", "att: beside its peers"])
    assert "topk makes coordinates by sorting" in first.json["failed"]["sorted"]
    rest = run(*arguments, "--json").json
    assert (rest["known"], rest["left"], rest["measured"]) == (["ceilings"], [], False)
    again = run(*arguments)
    assert "0 steps done, 3 known, 0 left" in again.out
    assert again.out.startswith("MADE-UP TIMES")
    folder = tmp_path / "out" / "fake-device"
    written = json.loads((folder / "small.json").read_text())
    kernel, peer = written["rows"]
    assert (kernel["implementation"], peer["implementation"]) == ("kernel", "math")
    assert kernel["configuration"].keys() == {"p", "part.m0", "num_warps", "num_stages"}
    assert kernel["targets"][0]["ratio"] == pytest.approx(peer["cold_us"] / kernel["cold_us"])
    assert kernel["targets"][0]["met"] == (peer["cold_us"] >= kernel["cold_us"])
    assert kernel["targets"][1]["ratio"] == pytest.approx(kernel["floor_us"] / kernel["cold_us"])
    assert [e["gpu"] for e in written["environments"].values()] == ["fake device"]
    trials, winners = read_results(folder / "trials.json")
    assert len(winners) == 1
    assert {t.kernel for t in trials} >= {"ceiling:copy", "ceiling:matrix", "ceiling:exp", "attention:1pass", "math"}
    assert (folder / "small.csv").read_text().startswith("item,implementation,")


def test_without_a_gpu_it_says_so_in_one_line(run: Command, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run("measure", "h200", "--out", str(tmp_path)).error.startswith("device: torch sees no CUDA device, got none; run it where")


def test_the_shipped_campaign_is_whole() -> None:
    assert campaign_ids() == ("h200",)
    found = load_campaign(campaign_path("h200"))
    assert found.ceilings == ("copy", "matrix", "exp")
    for item in found.items:
        assert item.peers or item.goals or item.trials
        cascade = work_of(item).cascade()
        assert item.extents.keys() <= {r for e in cascade.einsums for r in e.ranks} | {"w", "i", "m", "g", "k"}, item.id
    goals = {item.id: {goal.of: goal.at_least for goal in item.goals} for item in found.items}
    for name in ("attention-d128-16k", "attention-d64-16k", "causal-d128-16k", "causal-d64-16k"):
        assert goals[name] == {"cudnn": 0.9, "flex": 1.0}
    assert goals["mamba-s6-2.8b"] == {"floor": 0.7}
    assert goals["mamba2-ssd-2.7b"] == {"floor": 0.6}


@pytest.mark.parametrize(("change", "message"), [
    (("sdpa, backend", "sdp, backend"), r"items\[0\].peers\[0\].peer: unknown name, got 'sdp'; did you mean 'sdpa'"),
    (("of: math", "of: maths"), r"items\[0\].targets\[0\].of: unknown name, got 'maths'"),
    (("p: 256", "p: 0"), r"items\[0\].extents.p: it should be a whole number of at least 1"),
    (("id: sorted", "id: att"), "items: two have one id, got 'att'"),
    (("device: H200", "machine: H200"), "device: it is missing"),
    (("step_seconds: 1", "step_second: 1"), "unknown key, got 'step_second'; did you mean 'step_seconds'"),
    (("device: H200", "device: H200\nceilings: [copy, flops]"), "ceilings: unknown ceiling, got 'flops'"),
])
def test_a_campaign_that_is_wrong_is_refused_with_the_key(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(SMALL.replace(*change))
    with pytest.raises(DefinitionError, match=message):
        load_campaign(tmp_path / "c.yaml")


def test_an_unknown_campaign_lists_those_that_are_shipped(run: Command, tmp_path: Path) -> None:
    assert "unknown campaign, got 'h20'; did you mean 'h200'? valid: h200" in run("measure", "h20", "--out", str(tmp_path)).error


def test_the_campaign_of_the_docs_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text()
    (tmp_path / "docs.yaml").write_text(page.split("```yaml\n", 1)[1].split("```", 1)[0])
    (item,) = load_campaign(tmp_path / "docs.yaml").items
    assert [goal.of for goal in item.goals] == ["cudnn", "floor"]
