"""The store: what goes in comes out, migrations, lookups that go out of date, and refusals of what is no store."""

from __future__ import annotations

import shutil
import sqlite3
import statistics
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.store import Key, Status, Store, StoreError, Winner, bucket_of, look_up
from autotune.store.record import quantile
from autotune.store.schema import VERSION, migrate, version_of
from autotune.store.store import FILE
from tests.autotune.store.samples import PLACE, made_trial

WINNER = Winner("one", "attention:1pass", "k1", "e=64 p=1024 | type=bf16", PLACE.gpu, "3.7.1", "a", ("a", "b"), "fewest warps", 2.0, "w")
KEY = Key("attention:1pass", "k1", "e=64 p=1024 | type=bf16", PLACE.gpu, "3.7.1")


def test_trials_come_out_as_they_went_in(tmp_path: Path) -> None:
    failed = made_trial("b", status=Status.OVER_LIMIT, reason="shared memory: 300,000 of 232,448 bytes", rounds=(), created_s=2.0)
    with Store(tmp_path / "s") as store:
        assert store.add([made_trial("a"), failed], [replace(WINNER, trial="a")]) == 3
        assert store.add([made_trial("a")]) == 0
    with Store(tmp_path / "s", read_only=True) as store:
        assert store.trials() == [made_trial("a"), failed]
        assert store.winners() == [WINNER]
        assert store.trials(status=Status.OVER_LIMIT) == [failed]
        assert store.trials(limit=1) == [failed]
        assert store.trials(device="another") == store.trials(kernel="another") == store.trials(bucket="") == []
        assert store.problems() == []


def test_quantiles_are_of_clean_samples_alone(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add([made_trial("a")])
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        row = connection.execute("SELECT cache, samples, tainted, median_us, p95_us FROM quantiles").fetchone()
    clean = [100.0, 101.0, 101.0, 102.0]
    assert row[:3] == ("cold_l2_flushed", 4, 1)
    assert row[3] == pytest.approx(statistics.median(clean))
    assert row[4] < 102.0


def test_samples_of_finals_replace_those_of_sweeps() -> None:
    trial = made_trial("a")
    final = replace(trial.rounds[0], stage="final", samples_us=(50.0,))
    assert replace(trial, rounds=(*trial.rounds, final)).samples_us("cold_l2_flushed") == [50.0]
    assert replace(trial, rounds=(*trial.rounds, replace(final, taint="throttled"))).samples_us("cold_l2_flushed") == \
        trial.samples_us("cold_l2_flushed")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_numpys(samples: list[float], share: float) -> None:
    import numpy as np
    assert quantile(samples, share) == pytest.approx(float(np.quantile(samples, share)), abs=1e-6)


def test_an_old_store_is_migrated_and_keeps_its_rows(tmp_path: Path) -> None:
    with Store(tmp_path / "new") as store:
        store.add([made_trial("a")])
    with closing(sqlite3.connect(tmp_path / "new" / FILE)) as made:
        environment, trial = (made.execute(f"SELECT * FROM {table}").fetchone() for table in ("environment", "trial"))
    (tmp_path / "old").mkdir()
    with closing(sqlite3.connect(tmp_path / "old" / FILE, isolation_level=None)) as old:
        migrate(old, "old", to=1)
        assert version_of(old) == 1
        old.execute(f"INSERT INTO environment VALUES ({', '.join('?' * len(environment))})", environment)
        old.execute(f"INSERT INTO trial VALUES ({', '.join('?' * len(trial))})", trial)
        with pytest.raises(sqlite3.OperationalError, match="winner"):
            old.execute("SELECT * FROM winner")
    with pytest.raises(StoreError, match="schema is older than this version reads, got 1 under 2"):
        Store(tmp_path / "old", read_only=True)
    with Store(tmp_path / "old") as store:
        assert [t.id for t in store.trials()] == ["a"]
        assert store.add([], [WINNER]) == 1
        assert version_of(store._connection) == VERSION


def test_what_is_no_store_of_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name, sql in (("newer", f"PRAGMA user_version = {VERSION + 1}"), ("other", "CREATE TABLE songs (title)")):
        (tmp_path / name).mkdir()
        with closing(sqlite3.connect(tmp_path / name / FILE)) as connection:
            connection.execute(sql)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / FILE).write_bytes(b"no database, but long enough to be read as one" * 30)
    (tmp_path / "file").write_text("")
    before = {name: (tmp_path / name / FILE).read_bytes() for name in ("newer", "other", "text")}
    with pytest.raises(StoreError, match="newer than this version reads, got 3 over 2; use a newer fusebench"):
        Store(tmp_path / "newer")
    with pytest.raises(StoreError, match="database of another program"):
        Store(tmp_path / "other")
    with pytest.raises(StoreError, match="file is not a database"):
        Store(tmp_path / "text")
    with pytest.raises(StoreError, match="a store is a folder, got a file"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match="there is no store"):
        Store(tmp_path / "none", read_only=True)
    assert before == {name: (tmp_path / name / FILE).read_bytes() for name in before}
    assert not (tmp_path / "none").exists()


def test_a_store_is_read_from_a_copy_without_its_log(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.add([made_trial("a")])
    (tmp_path / "t").mkdir()
    shutil.copy(tmp_path / "s" / FILE, tmp_path / "t" / FILE)
    with Store(tmp_path / "t", read_only=True) as store:
        assert [t.id for t in store.trials()] == ["a"]


def test_the_latest_winner_is_found_and_goes_out_of_date_visibly(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert look_up(store, KEY).status == "miss"
        store.add([made_trial("a"), made_trial("b", configuration={"BM": 128, "warps": 8})],
                  [WINNER, replace(WINNER, id="w2", trial="b", created_s=3.0)])
        found = look_up(store, KEY)
        assert (found.status, found.configuration) == ("hit", {"BM": 128, "warps": 8})
        for change, word in (({"kernel_digest": "k2"}, "another kernel (k1 was tuned, k2 is here)"),
                             ({"triton": "3.8.0"}, "another Triton (3.7.1 was tuned with, 3.8.0 is here)")):
            stale = look_up(store, replace(KEY, **change))
            assert (stale.status, stale.configuration) == ("stale", None)
            assert word in stale.reason
            assert stale.trial is not None
        for other in ({"bucket": "e=64 p=2048 | type=bf16"}, {"device": "Imagined 2"}, {"kernel": "attention:2pass"}):
            assert look_up(store, replace(KEY, **other)).status == "miss"
        # The source that was here before is found again behind a later winner for another one.
        store.add([], [replace(WINNER, id="w3", kernel_digest="k2", created_s=4.0)])
        assert look_up(store, KEY).configuration == {"BM": 128, "warps": 8}


def test_a_winner_needs_its_trial(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(StoreError, match="FOREIGN KEY"):
        store.add([], [WINNER])


@given(st.integers(1, 10**6))
def test_buckets_hold_the_extents_from_a_power_of_two_to_the_next(extent: int) -> None:
    same = bucket_of({"m": extent}, {})
    if extent <= 256:
        assert same == f"m={extent}"
    else:
        size = int(same.removeprefix("m="))
        assert size // 2 < extent <= size
        assert size.bit_count() == 1
    assert bucket_of({"b": 3}, {"type": "bf16"}, instances=("b",)) == "b=4 | type=bf16"
