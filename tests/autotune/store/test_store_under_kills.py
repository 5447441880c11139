"""The store under kills at random moments and under several writers: no committed row is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from autotune.store import Store
from tests.autotune.store.samples import made_trial

KILLS = 100


def test_no_committed_row_is_lost_in_a_hundred_kills(tmp_path: Path) -> None:
    """Two writers at once; one of them is killed after a random time, which falls into opening, writing or between."""
    rng = random.Random(0)
    committed: list[str] = []
    begun = 0
    for kill in range(KILLS):
        reader, pid = _started(lambda told, k=kill: _write(tmp_path, f"a{k}", told))  # type: ignore[misc]
        other, second = _started(lambda told, k=kill: _write(tmp_path, f"b{k}", told, count=2))  # type: ignore[misc]
        time.sleep(rng.expovariate(1 / 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 0
        told = [*_lines(reader), *_lines(other)]
        begun += bool([line for line in told if line.startswith("a")])
        committed.extend(told)
    with Store(tmp_path) as store:
        assert store.problems() == []
        found = {trial.id: trial for trial in store.trials()}
    assert set(committed) <= found.keys()
    assert all(trial == made_trial(name) for name, trial in found.items())
    # A killed writer may have committed one row more than it could tell.
    assert len(found) - len(set(committed)) <= KILLS
    assert 10 < begun <= KILLS
    assert len(committed) > 2 * KILLS


def test_two_writers_at_once_lose_no_row(tmp_path: Path) -> None:
    writers = [_started(lambda told, n=name: _write(tmp_path, n, told, count=60)) for name in ("x", "y")]  # type: ignore[misc]
    told = {line for reader, _ in writers for line in _lines(reader)}
    assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for _, pid in writers)
    with Store(tmp_path) as store:
        assert {trial.id for trial in store.trials()} == told == {f"{n}-{i}" for n in ("x", "y") for i in range(60)}


def _write(folder: Path, name: str, told: int, count: int = 10**6) -> None:
    with Store(folder) as store:
        for i in range(count):
            store.add([made_trial(f"{name}-{i}")])
            os.write(told, f"{name}-{i}\n".encode())


def _started(work: Callable[[int], None]) -> tuple[int, int]:
    """Starts work in a process of its own; returns the end of a pipe to read what it tells, and its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            work(writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    return reader, pid


def _lines(reader: int) -> list[str]:
    with os.fdopen(reader) as file:
        return [line.rstrip("\n") for line in file if line.endswith("\n")]
