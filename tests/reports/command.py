"""How the tests run the command: in this process, with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from reports.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command printed and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output; refuses the words that strict JSON does not have."""
        def refused(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")
        assert self.status in (0, 1), self.err
        return json.loads(self.out, parse_constant=refused)

    @property
    def error(self) -> str:
        """The one line of an error."""
        assert self.status == 2
        assert self.out == ""
        assert self.err.startswith("fusebench: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("fusebench: ").rstrip("\n")


Command = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str]) -> Command:
    """Returns a function that runs the command with some arguments."""
    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        return Ran(status, *capsys.readouterr())
    return run
