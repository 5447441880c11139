"""A worker process from outside: asked with a timeout, ended where it hangs, begun anew where it died."""

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
import zlib
from typing import IO, Any

from autotune.store.record import Status
from autotune.timing import TimingError
from autotune.tuner.errors import TrialFailure, TuneError
from autotune.tuner.worker import MAGIC

_LAST_WORDS = 4000
_LONGEST_HEAD = 64
_LONGEST_ANSWER = 1 << 28


class Worker:
    """A process with a subject. It starts at the first question, and again after it was ended.

    ``starts`` counts how often it has started: what was prepared in an earlier one is gone.
    """

    def __init__(self, factory: str, arguments: Any, *, environment: dict[str, str] | None = None, start_s: float = 120.0) -> None:
        self.factory, self.arguments, self.start_s = factory, arguments, start_s
        self.starts = 0
        self.opened: dict[str, Any] = {}
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._number = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def ask(self, do: str, timeout_s: float, **question: Any) -> Any:
        """Returns the answer to a question, starting the process where there is none.

        Raises: TrialFailure where the trial failed, the process died, took too long or answered what cannot be read;
        TuneError where the subject cannot be made at all, TimingError where the device cannot do what is asked.
        """
        if self._process is None:
            self._start()
        return self._answer(do, timeout_s, question)

    def open(self) -> dict[str, Any]:
        """Starts the process if there is none, and returns what it says of its device.

        Raises: TuneError where it cannot start.
        """
        if self._process is None:
            self._start()
        return self.opened

    def end(self) -> None:
        """Ends the process and all that it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._process, self._log = None, None

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        # A session of its own: Ctrl-C reaches the tuner alone, and whatever the worker starts ends with it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "autotune.tuner.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            start_new_session=True, env={**self._environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        self.starts += 1
        try:
            self.opened = self._answer("open", self.start_s, {"factory": self.factory, "arguments": self.arguments})
        except TrialFailure as failure:
            raise TuneError(f"worker: it cannot start, got {failure.reason}; see whether the device works") from failure

    def _answer(self, do: str, timeout_s: float, question: dict[str, Any]) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        self._number += 1
        until = time.monotonic() + timeout_s
        self._write(process.stdin.fileno(), json.dumps({"number": self._number, "do": do, **question}).encode() + b"\n", until, timeout_s)
        answer = self._read(until, timeout_s)
        if "failure" in answer:
            failure = answer["failure"]
            if failure["fatal"]:
                self.end()
            raise TrialFailure(Status(failure["status"]), failure["reason"])
        if "error" in answer:
            self.end()
            raise (TuneError if do == "open" else TimingError)(answer["error"])
        return answer["result"]

    def _write(self, pipe: int, text: bytes, until: float, timeout_s: float) -> None:
        # A process that hangs does not read either, and a long question does not fit into the pipe.
        os.set_blocking(pipe, False)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_WRITE)
            while text:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise self._failed(Status.TIMEOUT, f"no answer within {timeout_s:g} s")
                try:
                    text = text[os.write(pipe, text):]
                except BrokenPipeError:
                    raise self._failed(Status.CRASH, self._died()) from None

    def _read(self, until: float, timeout_s: float) -> dict[str, Any]:
        received = b""
        while True:
            head, newline, body = received.partition(b"\n")
            if newline or len(head) > _LONGEST_HEAD:
                size, checksum = self._head(head)
                if len(body) == size:
                    break
                if len(body) > size:
                    raise self._failed(Status.CRASH, "its answer is longer than it says")
            received += self._more(until, timeout_s)
        if zlib.crc32(body) != checksum:
            raise self._failed(Status.CRASH, "its answer does not have its checksum")
        try:
            answer = json.loads(body)
        except ValueError:
            raise self._failed(Status.CRASH, "its answer is no JSON") from None
        if not isinstance(answer, dict) or answer.get("number") != self._number:
            raise self._failed(Status.CRASH, "its answer is to another question")
        return answer

    def _head(self, head: bytes) -> tuple[int, int]:
        parts = head.split(b" ")
        if len(parts) != 3 or parts[0] != MAGIC or not all(p.isdigit() for p in parts[1:]) or int(parts[1]) > _LONGEST_ANSWER:
            raise self._failed(Status.CRASH, f"it answered what cannot be read, got {head[:40]!r}")
        return int(parts[1]), int(parts[2])

    def _more(self, until: float, timeout_s: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                raise self._failed(Status.TIMEOUT, f"no answer within {timeout_s:g} s")
        part = os.read(self._process.stdout.fileno(), 1 << 20)
        if not part:
            raise self._failed(Status.CRASH, self._died())
        return part

    def _died(self) -> str:
        assert self._process is not None
        assert self._log is not None
        try:
            status = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return "its process closed its pipes"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LAST_WORDS))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return f"its process ended with {how}" + (f": {lines[-1].strip()}" if lines else "")

    def _failed(self, status: Status, reason: str) -> TrialFailure:
        self.end()
        return TrialFailure(status, reason)
