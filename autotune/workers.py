"""Tasks in worker processes: one that dies or hangs costs its own task and no other.

Workers are fresh interpreters that speak JSON, a line for each task, so that nothing of this process leaks into them,
scripts need no guard, and their environment (that of Triton's interpreter, say) is their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_TAIL = 2000
"""Characters of a worker's last words that are read."""

_PATIENCE_S = 5.0
"""Seconds that a worker has to end when it is asked to."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its ``result``, or the reason why there is none.

    ``refused`` is set where the task itself said so (an error of ours): it would do so again. ``seconds`` is the time it took.
    """

    result: Any = None
    error: str = ""
    refused: bool = False
    seconds: float = 0.0


def run_tasks(function: str, payloads: Sequence[Any], *, jobs: int = 1, timeout_s: float | None = None,
              environment: Mapping[str, str | None] | None = None) -> Iterator[tuple[int, Outcome]]:
    """Yields the number of each task with its outcome, as they end.

    ``function`` is ``module:name`` of a function from one payload to a result, both in JSON's types. ``environment`` is
    added to that of this process, None takes a variable away. A task that takes longer than ``timeout_s`` ends with its
    worker. Ending the iteration early ends the workers.
    """
    waiting = deque(enumerate(payloads))
    with tempfile.TemporaryDirectory(prefix="fusebench-") as folder, selectors.DefaultSelector() as selector:
        workers: set[_Worker] = set()
        try:
            while waiting or any(worker.task is not None for worker in workers):
                while waiting and len(workers) < jobs:
                    worker = _Worker(function, environment or {}, Path(folder))
                    workers.add(worker)
                    selector.register(worker.answers, selectors.EVENT_READ, worker)
                for worker in workers:
                    if worker.task is None and waiting:
                        worker.start(*waiting.popleft())
                yield from _events(workers, selector, timeout_s)
        finally:
            for worker in workers:
                worker.end()


def _events(workers: set[_Worker], selector: selectors.DefaultSelector, timeout_s: float | None) -> Iterator[tuple[int, Outcome]]:
    """Waits until at least one worker has answered, died or had its time."""
    busy = [worker for worker in workers if worker.task is not None]
    room = None if timeout_s is None else max(0.0, min(w.started for w in busy) + timeout_s - time.monotonic())
    for key, _ in selector.select(room):
        worker: _Worker = key.data
        ended = worker.answer()
        if ended is None:
            continue
        task, outcome, alive = ended
        if not alive:
            selector.unregister(worker.answers)
            workers.discard(worker)
            worker.end()
        if task is not None:
            yield task, outcome
    for worker in [w for w in workers if w.task is not None]:
        if timeout_s is not None and time.monotonic() - worker.started >= timeout_s:
            assert worker.task is not None
            task = worker.task
            selector.unregister(worker.answers)
            workers.discard(worker)
            worker.end()
            yield task, Outcome(error=f"it took longer than {timeout_s:g} s and was ended", seconds=timeout_s)


class _Worker:
    """One process, with at most one task."""

    def __init__(self, function: str, environment: Mapping[str, str | None], folder: Path) -> None:
        own = {**os.environ, **environment}
        self._words = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the process
        # A session of its own: Ctrl-C reaches this process alone, and what a worker has started ends with it.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a function of ours
            [sys.executable, "-m", "autotune.workers", function], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._words, start_new_session=True,
            env={key: value for key, value in own.items() if value is not None} | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks: IO[bytes] = self._process.stdin
        self.answers: IO[bytes] = self._process.stdout
        self._received = b""
        self.task: int | None = None
        self.started = 0.0
        self._said = 0

    def start(self, number: int, payload: Any) -> None:
        self.task, self.started = number, time.monotonic()
        self._said = os.fstat(self._words.fileno()).st_size
        # One that is dead says so at its end of the other pipe.
        with contextlib.suppress(BrokenPipeError):
            self._tasks.write(json.dumps(payload).encode() + b"\n")
            self._tasks.flush()

    def answer(self) -> tuple[int | None, Outcome, bool] | None:
        """The task that has ended, its outcome, and whether the worker is still there; None where none has yet."""
        part = os.read(self.answers.fileno(), 1 << 20)
        self._received += part
        number, seconds = self.task, time.monotonic() - self.started
        if not part:
            self.task = None
            return number, Outcome(error=self._last_words(), seconds=seconds), False
        line, end, rest = self._received.partition(b"\n")
        if not end:
            return None
        self._received, self.task = rest, None
        return number, Outcome(**json.loads(line), seconds=seconds), True

    def end(self) -> None:
        """Ends the process and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_PATIENCE_S)
        for file in (self._tasks, self.answers, self._words):
            with contextlib.suppress(BrokenPipeError):
                file.close()

    def _last_words(self) -> str:
        status = self._process.wait(_PATIENCE_S)
        # What it said for the tasks before is not about this one.
        self._words.seek(max(self._said, os.fstat(self._words.fileno()).st_size - _TAIL))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"its process ended with {how}" + (f": {lines[-1].strip()}" if lines else "")


def _work(function: str) -> None:
    """Answers tasks from standard input until it ends; what the function prints goes to standard error."""
    from importlib import import_module

    from einsum_cascades.errors import FusebenchError
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    call = getattr(import_module(module), name)
    for line in sys.stdin.buffer:
        try:
            answer = {"result": call(json.loads(line))}
        except FusebenchError as error:
            answer = {"error": str(error), "refused": True}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _work(sys.argv[1])
