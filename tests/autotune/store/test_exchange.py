"""Export, import and merge: nothing is lost, twice is once, and a changed file is refused with the place."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from autotune.store import Status, Store, StoreError
from autotune.store.exchange import csv_bytes, from_document, import_results, json_bytes, merge, parquet_bytes, to_frame
from autotune.store.schema import migrate
from autotune.store.store import FILE
from tests.autotune.store.samples import PLACE, made_trial
from tests.autotune.store.test_store import WINNER

TRIALS = [made_trial("a"), made_trial("b", status=Status.CRASH, reason="signal 11", rounds=(), predicted_us=None, created_s=2.0,
                                      environment=replace(PLACE, driver="2"))]


def test_a_result_file_is_imported_once(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(json_bytes(TRIALS, [WINNER]))
    with Store(tmp_path / "s") as store:
        first, again = import_results(store, file), import_results(store, file)
        assert (first.added, first.known, again.added, again.known) == (3, 0, 0, 3)
        assert store.trials() == TRIALS
        assert store.winners() == [WINNER]
        assert json_bytes(store.trials(), store.winners()) == file.read_bytes()
    assert file.read_text().count("\n") == 12, "a line for each trial, environment and winner"


def test_two_stores_are_merged_whatever_their_versions(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with closing(sqlite3.connect(tmp_path / "old" / FILE, isolation_level=None)) as old:
        migrate(old, "old", to=1)
    with Store(tmp_path / "one") as one, Store(tmp_path / "two") as two:
        one.add(TRIALS[:1], [WINNER])
        two.add(TRIALS)
        assert (merge(one, tmp_path / "two").added, merge(one, tmp_path / "two").added, merge(one, tmp_path / "old").added) == (1, 0, 0)
        assert one.trials() == TRIALS
        assert len(two.trials()) == 2
    with closing(sqlite3.connect(tmp_path / "old" / FILE)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,), "the store that is read stays as it is"


def test_two_trials_with_one_id_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "one") as one, Store(tmp_path / "two") as two:
        one.add([made_trial("a")])
        two.add([made_trial("a", median_us=1.0), made_trial("c")])
        with pytest.raises(StoreError, match="trial a is another one here"):
            merge(one, tmp_path / "two")
        assert [t.id for t in one.trials()] == ["a"]


def test_a_table_has_a_row_for_each_state_of_the_cache() -> None:
    warm = replace(TRIALS[0].rounds[0], cache="warm_l2_graph", samples_us=(10.0,))
    frame = to_frame([replace(TRIALS[0], rounds=(*TRIALS[0].rounds, warm)), TRIALS[1]])
    assert list(frame["cache"].astype(object).where(frame["cache"].notna(), None)) == ["cold_l2_flushed", "warm_l2_graph", None]
    assert list(frame["median_us"])[:2] == [pytest.approx(101.0), 10.0]
    assert list(frame["configuration.BM"]) == [64, 64, 64]
    read = pd.read_csv(io.BytesIO(csv_bytes(TRIALS)))
    assert list(read["id"]) == ["a", "b"]


def test_parquet_needs_pyarrow() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autotune.store.exchange.find_spec", lambda name: None)
        with pytest.raises(StoreError, match="writing it needs pyarrow, got no such package; install pyarrow, or export CSV or JSON"):
            parquet_bytes(TRIALS)


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d.update(format="x"), "it holds no trials, got no format"),
    (lambda d: d.update(version=9), "version: this fusebench reads 1, got 9"),
    (lambda d: d.update(trials=None), "trials: it should be a list, got None"),
    (lambda d: d["trials"][0].update(status="fine"), r"trials\[0\].status: unknown, got 'fine'"),
    (lambda d: d["trials"][0].update(extents={"p": "many"}), r"trials\[0\].extents: it should be of type Mapping\[str, int\]"),
    (lambda d: d["trials"][0].update(extra=1), r"trials\[0\]: unknown key, got 'extra'"),
    (lambda d: d["trials"][0].pop("kernel"), r"trials\[0\]: a key is missing, got no 'kernel'"),
    (lambda d: d["trials"][0]["rounds"][1].update(samples_us=["x"]), r"trials\[0\].rounds\[1\].samples_us"),
    (lambda d: d["trials"][0].update(environment="0"), r"trials\[0\].environment: there is no such one"),
    (lambda d: next(iter(d["environments"].values())).update(gpu="faster"), "its contents have another digest"),
    (lambda d: d["winners"][0].update(trial="zz"), r"winners\[0\].trial: there is no such trial"),
])
def test_a_file_that_was_changed_is_refused_with_the_place(change: Any, message: str) -> None:
    document = json.loads(json_bytes(TRIALS, [WINNER]))
    change(document)
    with pytest.raises(StoreError, match=message):
        from_document(document, "r.json")


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    for text in ("{", '{"format": NaN}', "[" * 100_000):
        (tmp_path / "r.json").write_text(text)
        with Store(tmp_path / "s") as store, pytest.raises(StoreError, match=r"r\.json: it is no JSON file of results"):
            import_results(store, tmp_path / "r.json")


def test_the_store_is_light() -> None:
    code = "import sys, autotune.store, autotune.store.exchange; print(sorted({'numpy', 'pandas', 'torch', 'triton'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
