"""Snapshots: what differs is named; releases without one are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.compilation.errors import CompileError
from autotune.compilation.facts import CompiledFacts
from autotune.compilation.request import CompileRequest
from autotune.compilation.service import Compiled
from autotune.compilation.snapshot import differences, entry_of, read_snapshot, releases, snapshot_text
from autotune.limits import Rejection

_REQUEST = CompileRequest("", "k", (), (), "sm_90")
_BEFORE = {"attention:1pass": {"sm_90": {"k": {"registers": 168, "shared_bytes": 1024}}, "sm_80": {"k": {"registers": 100}}}}


def test_what_differs_is_named() -> None:
    after = {"attention:1pass": {"sm_90": {"k": {"registers": 255, "shared_bytes": 1024}, "more": {"registers": 20}}}}
    assert [change.text for change in differences(_BEFORE, after)] == [
        "attention:1pass for sm_90: k: registers 168 -> 255", "attention:1pass for sm_90: more: kernel none -> there"]
    assert differences(_BEFORE, _BEFORE) == []


def test_a_limit_that_is_exceeded_now_is_a_change() -> None:
    made = Compiled(_REQUEST, None, Rejection("shared_bytes_per_block", 300_000, 232_448, "llir"))
    found = differences(_BEFORE, {"attention:1pass": {"sm_90": {"k": entry_of(made)}}})
    assert "attention:1pass for sm_90: k: rejected none -> shared_bytes_per_block" in [change.text for change in found]
    assert entry_of(Compiled(_REQUEST, None, error="x")) == {"failed": True}


def test_entries_have_facts_and_no_times() -> None:
    facts = CompiledFacts("k", "sm_90", "3.7.1", 8, 3, shared_bytes=1024, registers=40, stack_bytes=0, spill_store_bytes=0, spill_load_bytes=0,
                          instructions={"wgmma": 3, "mma": 0, "all": 99}, stage_seconds={"ttir": 0.1}, serialized_wgmma="why")
    assert entry_of(Compiled(_REQUEST, facts)) == {
        "num_warps": 8, "shared_bytes": 1024, "tensor_memory_columns": None, "registers": 40, "stack_bytes": 0, "spill_store_bytes": 0,
        "spill_load_bytes": 0, "wgmma": 3, "serialized_wgmma": True}


def test_files_are_kept_by_release(tmp_path: Path) -> None:
    assert read_snapshot("3.7.1", tmp_path) is None
    (tmp_path / "3.7.1.json").write_text(snapshot_text(_BEFORE, None, ["attention:1pass"]))
    assert read_snapshot("3.7.1", tmp_path) == _BEFORE
    assert releases(tmp_path) == ("3.7.1",)
    # One target anew leaves the others; a family that there is no more goes.
    anew = snapshot_text({"attention:1pass": {"sm_90": {}}}, {**_BEFORE, "gone": {}}, ["attention:1pass"])
    (tmp_path / "3.7.1.json").write_text(anew)
    assert read_snapshot("3.7.1", tmp_path) == {"attention:1pass": {"sm_90": {}, "sm_80": {"k": {"registers": 100}}}}


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "3.7.1.json").write_text(text)
    with pytest.raises(CompileError, match=r"3.7.1.json: it is no snapshot, got .*; write it anew with fusebench snapshot --update"):
        read_snapshot("3.7.1", tmp_path)
