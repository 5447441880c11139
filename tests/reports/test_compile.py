"""fusebench compile, list kernels and snapshot."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from autotune.compilation import service
from reports.commands import snapshot as snapshot_command
from tests.reports.command import Command

_SMALL = ("--extent", "p=256", "--extent", "m=256", "--extent", "e=32", "--extent", "f=32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("FUSEBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def needs_triton() -> None:
    pytest.importorskip("triton")


@pytest.mark.usefixtures("needs_triton")
def test_kernels_with_what_they_need(fusebench: Command, cache: Path) -> None:
    arguments = ("compile", "attention:2pass", "--target", "sm_90", "--target", "gfx942", *_SMALL, "--jobs", "2")
    ran = fusebench(*arguments, "--json")
    assert ran.status == 0
    found = ran.json
    assert [(k["target"], k["status"], k["cached"]) for k in found["kernels"]] == [("sm_90", "ok", False), ("gfx942", "ok", False)]
    hopper = found["kernels"][0]
    assert hopper["name"] == "attention_2pass_av"
    assert hopper["registers"] > 0 <= hopper["spill_bytes"]
    assert hopper["shared_bytes"] > 0
    assert hopper["instructions"]["wgmma"] > 0
    assert len(hopper["ptx_sha256"]) == 64
    assert hopper["occupancy"]["device"] == found["limits"]["sm_90"] == "h100"
    assert found["extents"] == {"p": 256, "m": 256, "e": 32, "f": 32}
    # The second time nothing is compiled, and the facts are the same.
    again = fusebench(*arguments, "--json").json
    assert [k["cached"] for k in again["kernels"]] == [True, True]
    assert again["kernels"][0] == {**hopper, "cached": True}
    assert list(cache.rglob("*.json"))
    text = fusebench(*arguments).out
    assert "attention_2pass_av  sm_90   ok" in text
    assert "occupancy" in text


@pytest.mark.usefixtures("needs_triton")
def test_settings_change_what_is_compiled(fusebench: Command) -> None:
    def kernel(*settings: str) -> Any:
        return fusebench("compile", "attention:2pass", *_SMALL, *settings, "--json").json
    base, wide = kernel("--config", "num_warps=4,p=64"), kernel("--config", "num_warps=8,p=128")
    assert wide["config"] == {**base["config"], "num_warps": 8, "p": 128}
    assert (base["kernels"][0]["num_warps"], wide["kernels"][0]["num_warps"]) == (4, 8)
    assert base["kernels"][0]["ptx_sha256"] != wide["kernels"][0]["ptx_sha256"]


@pytest.mark.usefixtures("needs_triton")
def test_what_exceeds_a_limit_is_named(fusebench: Command) -> None:
    arguments = ("compile", "attention:1pass", "--extent", "p=512", "--extent", "m=512", "--extent", "m0=256", "--extent", "e=256", "--extent",
                 "f=256", "--config", "p=256,num_warps=4")
    ran = fusebench(*arguments, "--json")
    assert ran.status == 1
    (kernel,) = ran.json["kernels"]
    assert kernel["status"] == "rejected"
    assert kernel["limit"]["limit"] == "accumulator_bytes"
    assert kernel["limit"]["value"] > kernel["limit"]["allowed"] == 4 * 32 * 255 * 4
    assert kernel["reason"].startswith("accumulator_bytes: the kernel needs ")
    assert kernel["reason"] in fusebench(*arguments).out


def test_the_source_needs_no_triton(fusebench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)
    monkeypatch.setattr(service, "version", none)
    text = fusebench("compile", "attention:2pass", *_SMALL, "--source").out
    assert "@triton.jit\ndef attention_2pass_av(" in text
    assert "# QK[p,m] = Q[p,e] * K[m,e]" in text
    file = tmp_path / "kernel.py"
    assert fusebench("compile", "attention:2pass", *_SMALL, "--source", "--out", str(file)).status == 0
    assert file.read_text() == text
    assert fusebench("compile", "attention:2pass", *_SMALL).error == (
        "triton: kernels need it, got no installation; run pip install 'fusebench[gpu]'")


@pytest.mark.parametrize(("arguments", "message"), [
    (("atention",), "unknown cascade, got 'atention'; did you mean 'attention'"),
    (("attention", "--target", "sm90"), "unknown target, got 'sm90'; did you mean 'sm_90'? valid: gfx90a"),
    (("attention", "--config", "pp=64"), "configuration: there is no such setting, got 'pp'; did you mean 'p'"),
    (("attention", "--config", "p=many"), "--config p: it should be a whole number, got 'many'; write --config p=64"),
    (("attention", "--config", "p=48"), "configuration: p: it is a power of two of at least 1, got 48"),
    (("attention", "--config", "p"), "--config: it should be a setting, '=' and a value, got 'p'"),
    (("attention", "--config", "p=16,p=32"), "--config p: it stands twice, got 16 and 32"),
    (("attention", "--config", "dot_precision=fp8"), "--config: unknown precision of dots, got 'fp8'; valid: ieee, tf32, tf32x3"),
    (("attention", "--dtype", "bf15"), "unknown type of kernels, got 'bf15'; did you mean 'bf16'"),
    (("attention", "--extent", "z=3"), "--extent 'z': the cascade 'attention:3pass' has no such rank"),
    (("attention", "--machine", "fusemax"), "unknown machine with limits for kernels, got 'fusemax'"),
    (("attention", "--machine", "mi300x"), "compile: --machine mi300x: it runs gfx942, got targets sm_90; add --target gfx942"),
    (("attention", "--out", "k.py"), "compile: --out is for the source, got 'k.py'; add --source"),
    (("expert_router:route", "--extent", "x=8"), "expert_router:route: "),
])
def test_bad_input_is_one_line(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert fusebench("compile", *arguments).error.startswith(message)


def test_a_rank_that_is_bound_to_nothing_is_named(fusebench: Command, tmp_path: Path) -> None:
    path = tmp_path / "dot.cascade"
    path.write_text("Z[q] = A[k,q] * B[k]\n")
    error = fusebench("compile", str(path)).error
    assert "rank 'q': it has no extent" in error or "rank 'k': it has no extent" in error
    assert "--extent" in error


@pytest.mark.slow
def test_list_kernels(fusebench: Command) -> None:
    found = {row["id"]: row for row in fusebench("list", "kernels", "--json").json}
    assert {"attention:1pass", "attention:3pass", "mamba_s6:sequential", "fna:1d"} <= set(found)
    assert found["attention:1pass"]["writes"] == [["AV"]]
    assert "expert_router:route" not in found


# --- snapshot ---


@pytest.fixture
def one_family(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(snapshot_command, "FAMILIES", ("mamba_s6:sequential",))
    return "mamba_s6:sequential"


@pytest.mark.usefixtures("needs_triton")
def test_a_snapshot_is_written_compared_and_names_what_changed(fusebench: Command, tmp_path: Path, one_family: str) -> None:
    folder = tmp_path / "snapshots"
    arguments = ("snapshot", "--folder", str(folder), "--target", "sm_90")
    none = fusebench(*arguments)
    release = service.triton_version()
    assert (none.status, none.out) == (0, f"there is no snapshot of Triton {release}, but of none; write one with --update\n")
    assert fusebench(*arguments, "--update").status == 0
    same = fusebench(*arguments, "--json")
    assert (same.status, same.json["changes"], same.json["compared"]) == (0, [], 1)
    file = folder / f"{release}.json"
    kept = json.loads(file.read_text())
    (kernel,) = kept[one_family]["sm_90"]
    before = kept[one_family]["sm_90"][kernel]["registers"]
    kept[one_family]["sm_90"][kernel]["registers"] = before - 8
    file.write_text(json.dumps(kept))
    changed = fusebench(*arguments)
    assert changed.status == 1
    assert f"{one_family} for sm_90: {kernel}: registers {before - 8} -> {before}" in changed.out
    assert fusebench("snapshot", "atention").error.startswith("unknown family of kernels, got 'atention'")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_triton")
def test_kernels_need_what_the_snapshot_has(fusebench: Command) -> None:
    """Where it fails, a change costs or saves registers or memory; where that is meant: fusebench snapshot --update."""
    ran = fusebench("snapshot", "--jobs", "2", "--json")
    assert [change["text"] for change in ran.json["changes"]] == []
    assert ran.status == 0
