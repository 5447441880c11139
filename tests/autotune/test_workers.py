"""Workers: results, errors, deaths, hangs, and what is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from autotune.workers import Outcome, run_tasks
from einsum_cascades.errors import FusebenchError

HERE = "tests.autotune.test_workers"


def task(payload: dict[str, Any]) -> Any:
    """What the workers of these tests are called with."""
    match payload:
        case {"double": number}:
            print("this is no answer")  # noqa: T201
            return {"twice": 2 * number, "in": os.getpid()}
        case {"refuse": words}:
            raise FusebenchError(words)
        case {"raise": words}:
            raise RuntimeError(words)
        case {"die": number}:
            os.kill(os.getpid(), number)
        case {"sleep": seconds, "note": note}:
            child = os.fork()
            if child == 0:
                time.sleep(seconds)
                os._exit(0)
            Path(note).write_text(f"{os.getpid()} {child}")
            time.sleep(seconds)
        case {"environment": name}:
            return os.environ.get(name)
        case {"long": length}:
            return "x" * length
    return None


def outcomes(payloads: list[dict[str, Any]], **options: Any) -> dict[int, Outcome]:
    return dict(run_tasks(f"{HERE}:task", payloads, **options))


def test_results_come_with_their_numbers() -> None:
    found = outcomes([{"double": n} for n in range(7)], jobs=2)
    assert {n: o.result["twice"] for n, o in found.items()} == {n: 2 * n for n in range(7)}
    assert len({o.result["in"] for o in found.values()}) == 2
    assert not any(o.error for o in found.values())


def test_long_answers_and_lines_arrive_whole() -> None:
    found = outcomes([{"long": 3_000_000}, {"long": 1}])
    assert [len(found[n].result) for n in range(2)] == [3_000_000, 1]


def test_one_that_dies_costs_its_task_alone() -> None:
    found = outcomes([{"double": 1}, {"die": int(signal.SIGKILL)}, {"raise": "what it says"}, {"double": 4}, {"refuse": "no: it won't"}])
    assert (found[0].result["twice"], found[3].result["twice"]) == (2, 8)
    assert (found[1].error, found[1].refused) == ("its process ended with signal 9", False)
    assert (found[2].error, found[2].refused) == ("its process ended with status 1: RuntimeError: what it says", False)
    assert (found[4].error, found[4].refused) == ("no: it won't", True)


def test_one_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "note"
    start = time.monotonic()
    found = outcomes([{"sleep": 60, "note": str(note)}, {"double": 1}], timeout_s=1.5)
    assert time.monotonic() - start < 20
    assert found[0].error == "it took longer than 1.5 s and was ended"
    assert found[1].result["twice"] == 2
    assert all(ends(int(number)) for number in note.read_text().split())


def ends(process: int) -> bool:
    """Whether a process that has been killed is gone, after a moment."""
    deadline = time.monotonic() + 5
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(process)


def alive(process: int) -> bool:
    """Whether a process runs: one that has ended may still wait to be collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_environment_is_that_of_the_workers_alone() -> None:
    assert outcomes([{"environment": "FUSEBENCH_X"}], environment={"FUSEBENCH_X": "7"})[0].result == "7"
    assert outcomes([{"environment": "PATH"}], environment={"PATH": None})[0].result is None
    assert "FUSEBENCH_X" not in os.environ


def test_stopping_early_ends_the_workers(tmp_path: Path) -> None:
    note = tmp_path / "note"
    tasks = run_tasks(f"{HERE}:task", [{"sleep": 60, "note": str(note)}, {"double": 1}], jobs=2)
    assert next(tasks)[0] == 1
    while not note.exists() or " " not in note.read_text():
        time.sleep(0.01)
    tasks.close()  # type: ignore[attr-defined]
    assert all(ends(int(number)) for number in note.read_text().split())


def test_no_tasks_are_no_work() -> None:
    assert outcomes([]) == {}
