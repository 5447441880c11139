"""``rewrite``: the derived cascade with what it costs, status 1 with the read that forces a pass, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einsum_cascades.analysis.passes import passes
from einsum_cascades.notation import parse
from tests.reports.command import Command

LAYER_NORM = "Mu[p] = mean[e] X[p,e]\nY[p,e] = X[p,e] - Mu[p]\n"


def saved(folder: Path, text: str) -> str:
    """Returns the path of a cascade that was written."""
    path = folder / "one.cascade"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_one_pass_form_is_derived_and_can_be_run(fusebench: Command, tmp_path: Path) -> None:
    document = fusebench("rewrite", "attention:3pass", "--passes", "1", "--over", "m", "--json").json
    assert document["applied"] == ["defer", "partition", "split", "iterate", "fold", "carry", "carry", "fold"]
    assert document["passes"] == {"p": 1, "m1": 1, "m0": 2, "e": 1, "f": 1, "m": 1}
    assert document["passes_before"]["m"] == 3
    assert passes(parse(document["text"])) == document["passes"]
    assert document["steps"][0] == "defer AV over m"
    assert document["operations"]["before"]["div"] == "P*M"
    assert document["operations"]["after"]["div"] == "P*F"
    assert document["live_footprint_values"]["before"]["SN"] == "M"
    assert document["live_footprint_values"]["after"]["QK"] == "M0"

    rng = np.random.default_rng(1)
    given, out = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(given, Q=rng.normal(size=(3, 2)) * 80, K=rng.normal(size=(7, 2)), V=rng.normal(size=(7, 2)))
    derived = saved(tmp_path, document["text"])
    assert fusebench("run", derived, "--inputs", str(given), "--out", str(out), "--extent", "m0=3").status == 0
    assert fusebench("run", "attention:3pass", "--inputs", str(given), "--out", str(tmp_path / "w.npz")).status == 0
    with np.load(out) as found, np.load(tmp_path / "w.npz") as wanted:
        np.testing.assert_allclose(found["AV"], wanted["AV"], rtol=1e-12)


def test_a_target_that_is_met_applies_nothing(fusebench: Command) -> None:
    document = fusebench("rewrite", "attention:1pass", "--passes", "1", "--json").json
    assert document["applied"] == []
    shown = fusebench("show", "attention:1pass", "--json").json
    assert document["text"] == shown["text"]


def test_extents_make_the_counts_numbers(fusebench: Command) -> None:
    document = fusebench("rewrite", "attention:3pass", "--passes", "1", "--extent", "p=4,m=64,e=2", "--extent", "f=2",
                         "--extent", "m0=16", "--json").json
    assert document["operations"]["before"]["exp"] == 256
    assert document["operations"]["after"]["exp"] == 256 + 4 * 4
    assert document["live_footprint_values"]["after"]["QK"] == 16


def test_the_text_tells_what_was_done(fusebench: Command) -> None:
    ran = fusebench("rewrite", "attention:3pass", "--passes", "2")
    assert ran.status == 0
    assert "AV[p,f] = NAV[p,f] / SD[p]" in ran.out
    assert "1. defer AV over m" in ran.out
    assert "passes" in ran.out
    assert "nothing: the target is met already" in fusebench("rewrite", "attention:2pass", "--passes", "2").out


def test_status_1_and_the_read_where_there_is_none(fusebench: Command, tmp_path: Path) -> None:
    path = saved(tmp_path, LAYER_NORM)
    ran = fusebench("rewrite", path)
    assert (ran.status, ran.out) == (1, "")
    reason = f"{path}: rank 'e': no legal rewrite reaches 1 pass, got 2 at the least; Y reads X[p,e] again once Mu[p] " \
             f"is known, and Y keeps rank 'e'"
    assert ran.err == f"fusebench: {reason}\n"
    ran = fusebench("rewrite", path, "--passes", "1", "--json")
    assert ran.status == 1
    assert ran.json == {"cascade": path, "reason": reason, "rank": "e", "einsum": "Y", "read": "X[p,e]"}
    assert fusebench("rewrite", path, "--passes", "1", "--over", "p", "--json").status == 0


def test_rewrites_are_applied_by_name(fusebench: Command) -> None:
    document = fusebench("rewrite", "mamba2_ssd:sequential", "--apply", "chunked-scan:H", "--json").json
    assert document["applied"] == ["chunked-scan"]
    assert set(document["passes"].values()) == {1}
    both = fusebench("rewrite", "attention:3pass", "--apply", "defer:AV:m", "--apply", "partition:m", "--passes", "1",
                     "--json").json
    assert both["applied"][:2] == ["defer", "partition"]
    assert both["passes"]["m"] == 1
    first = fusebench("rewrite", "attention:3pass", "--apply", "defer", "--json").json
    assert first["steps"] == ["defer AV over m"]


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (("attention", "--passes", "0"), 2, "--passes"),
    (("attention", "--passes", "1", "--over", "q"), 2, "unknown rank, got 'q'; valid: e, f, m, p"),
    (("attention", "--apply", "defr:AV:m"), 2, "unknown rewrite, got 'defr'; did you mean 'defer'?"),
    (("attention:3pass", "--apply", "defer:AX:m"), 2, "unknown tensor or rank, got 'AX'; did you mean 'A'?"),
    (("attention:3pass", "--apply", "defer:AV"), 1, "rewrite 'defer': its site has 2 parts, got 1"),
    (("attention:3pass", "--apply", "fold:AV"), 1, "tensor 'AV': it is no plain map"),
    (("attention:3pass", "--apply", "associative-scan"), 1, "rewrite 'associative-scan': it is legal nowhere"),
    (("attention:3pass", "--extent", "z=4"), 2, "rank 'z': the cascade has no such rank"),
    (("nothing_of_that_name",), 2, "unknown cascade"),
])
def test_bad_input_is_one_line(fusebench: Command, arguments: tuple[str, ...], status: int, message: str) -> None:
    ran = fusebench("rewrite", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.count("\n") == 1
    assert message in ran.err
