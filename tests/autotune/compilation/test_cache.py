"""The cache on disk: several writers, damage, and where it is."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from autotune.compilation.cache import Cache, cache_folder
from autotune.compilation.errors import CacheError


def test_what_is_put_in_is_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "compiled")
    assert cache.get("ab12") is None
    cache.put("ab12", {"a": [1, 2.5, None]})
    assert Cache(tmp_path, "compiled").get("ab12") == {"a": [1, 2.5, None]}
    assert Cache(tmp_path, "other").get("ab12") is None


@pytest.mark.parametrize("damage", [
    lambda raw: b"", lambda raw: raw[:-5], lambda raw: raw.replace(b"41", b"42"), lambda raw: b"\xff\x00", lambda raw: b"[]",
    lambda raw: b'{"digest": 1}', lambda raw: raw.replace(b'"entry"', b'"entries"')])
def test_a_damaged_entry_is_none_and_is_replaced(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    cache = Cache(tmp_path, "compiled")
    cache.put("ab12", {"a": 41})
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("ab12") is None
    cache.put("ab12", {"a": 41})
    assert cache.get("ab12") == {"a": 41}


def test_an_entry_in_another_place_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "compiled")
    cache.put("ab12", {"a": 41})
    (file,) = tmp_path.rglob("*.json")
    file.rename(file.with_name("ab13.json"))
    assert cache.get("ab13") is None


def _write(folder: str, number: int) -> None:
    cache = Cache(Path(folder), "compiled")
    for _ in range(200):
        cache.put("ab12", {"from": number, "more": "x" * (1000 * number)})


def test_several_writers_leave_one_whole_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(str(tmp_path), n)) for n in (1, 7)]
    for writer in writers:
        writer.start()
    cache, seen = Cache(tmp_path, "compiled"), set()
    while any(writer.is_alive() for writer in writers):
        if (entry := cache.get("ab12")) is not None:
            seen.add((entry["from"], len(entry["more"])))
        elif seen:
            pytest.fail("an entry was not whole")
    for writer in writers:
        writer.join()
    assert seen <= {(1, 1000), (7, 7000)}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ab12.json"]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEBENCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/fusebench")
    monkeypatch.setenv("FUSEBENCH_CACHE_DIR", "/own")
    assert cache_folder() == Path("/own")
    assert cache_folder("given") == Path("given")
    monkeypatch.delenv("FUSEBENCH_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "fusebench"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cache .*: it cannot be written, got 'Not a directory'; name another folder"):
        Cache(tmp_path / "file", "compiled").put("ab12", {})
