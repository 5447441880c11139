"""``fusebench simulate network``: totals and layers of whole models, and wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.command import Command

CONFIGS = Path(__file__).parents[1] / "workloads" / "configs"


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("model", ["llama-2-7b", "bert-base", "mamba-130m", "jamba-v0.1"])
def test_layers_add_up(fusebench: Command, model: str, phase: str) -> None:
    if model == "bert-base" and phase == "decode":
        return
    found = fusebench("simulate", "network", "--workload", str(CONFIGS / f"{model}.json"), "--machine", "fusemax", "--phase", phase,
                "--seq-len", "256", "--batch", "2", "--json").json
    assert found["latency_s"] == pytest.approx(sum(layer["latency_s"] for layer in found["layers"]))
    assert found["dram_bytes"] == pytest.approx(sum(layer["dram_bytes"] for layer in found["layers"]))
    assert found["energy_pj"]["total"] == pytest.approx(sum(layer["energy_pj"]["total"] for layer in found["layers"]))
    assert set(found["utilization"]) == {"2d", "1d"}
    assert all(0 <= value <= 1 for value in found["utilization"].values())
    for layer in found["layers"]:
        assert {"latency_s", "latency_cycles", "dram_bytes", "utilization", "energy_pj", "area_mm2", "bound", "accounting"} <= set(layer)


def test_the_papers_layer_is_its_end_to_end_row(fusebench: Command) -> None:
    found = fusebench("simulate", "network", "--workload", "bert", "--machine", "fusemax", "--seq-len", "1024",
                "--accounting", "fusemax-artifact", "--json").json
    rows = {(r["design"], r["model"], r["seq_len"]): r for r in fusebench("reproduce", "fusemax", "--json").json["rows"]}
    assert found["latency_s"] == pytest.approx(rows["binding", "bert", 1024]["end_to_end_latency_s"], rel=1e-12)
    assert found["energy_pj"]["total"] == pytest.approx(rows["binding", "bert", 1024]["end_to_end_energy_pj"], rel=1e-12)


def test_a_token_of_decode_reads_all_weights_once(fusebench: Command) -> None:
    found = fusebench("simulate", "network", "--workload", str(CONFIGS / "llama-2-7b.json"), "--machine", "flat", "--phase", "decode",
                "--seq-len", "16", "--batch", "1", "--json").json
    weights = 2 * (found["parameters"] - 32000 * 4096)
    assert weights <= found["dram_bytes"] < 1.02 * weights
    assert found["bound"] == "dram"


@pytest.mark.parametrize(("arguments", "message"), [
    (("--machine", "fusemax", "--seq-len", "8"), "got no --workload"),
    (("--machine", "fusemax", "--workload", "bert"), "got no --seq-len"),
    (("--machine", "fusemax", "--workload", "bertt", "--seq-len", "8"), "did you mean 'bert'?"),
    (("--machine", "fusemx", "--workload", "bert", "--seq-len", "8"), "did you mean 'fusemax'?"),
    (("--machine", "fusemax", "--workload", "bert", "--seq-len", "8", "--phase", "train"), "unknown phase, got 'train'"),
    (("--machine", "fusemax", "--workload", "bert", "--seq-len", "8", "--design", "binding"), "a network takes no --design"),
])
def test_wrong_input(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in fusebench("simulate", "network", *arguments).error
