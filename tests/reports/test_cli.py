"""The command as a whole: its commands, its help, and every error as one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from einsum_cascades import __version__
from einsum_cascades.errors import FusebenchError
from reports import cli
from tests.reports.command import Command

MODULES = {p.stem for p in (Path(cli.__file__).parent / "commands").glob("*.py")} - {"__init__"}
CALL = "import sys; from reports.cli import main; sys.exit(main())"


def test_help_names_every_command_and_its_line(fusebench: Command) -> None:
    ran = fusebench("--help")
    assert ran.status == 0
    for name in MODULES:
        assert f"\n  {name} " in ran.out
    assert "Analyses a cascade: passes, footprint, operations" in ran.out
    assert fusebench().out == ran.out == fusebench("-h").out


@pytest.mark.parametrize("name", sorted(MODULES))
def test_each_command_has_help_with_an_example_and_json(fusebench: Command, name: str) -> None:
    ran = fusebench(name, "--help")
    assert ran.status == 0
    assert "Example" in ran.out
    assert f"fusebench {name}" in ran.out
    assert "--json" in ran.out


def test_version(fusebench: Command) -> None:
    assert fusebench("--version").out == f"fusebench {__version__}\n"


@pytest.mark.parametrize(("arguments", "message"), [
    (("lst",), "unknown command, got 'lst'; did you mean 'list'? valid: "),
    (("list",), "list: KIND: it is missing, got nothing; see 'fusebench list --help'"),
    (("list", "variant"), "unknown kind of thing, got 'variant'; did you mean 'variants'? valid: "),
    (("list", "variants", "x"), "list: got unexpected extra argument (x); see 'fusebench list --help'"),
    (("list", "variants", "--jsno"), "list: unknown option, got '--jsno'; did you mean '--json'? valid: "),
    (("--jsno", "list"), "unknown option, got '--jsno'; did you mean '--version'? valid: --help, --version, -h"),
    (("run", "attention", "--out", "x"), "run: --inputs: it is missing, got nothing; see 'fusebench run --help'"),
    (("run", "attention", "--out"), "--out: option '--out' requires an argument, got nothing; see "),
    (("verify", "attention", "--jobs", "0"), "verify: --jobs: 0 is not in the range x>=1; see 'fusebench verify --help'"),
    (("verify", "attention", "--jobs", "x"), "verify: --jobs: 'x' is not a valid integer range; see 'fusebench verify --help'"),
    (("verify", "attention", "--all"), "verify: give a variant, or --all; see 'fusebench verify --help'"),
    (("verify",), "verify: give a variant, or --all; see 'fusebench verify --help'"),
])
def test_wrong_usage_is_one_line(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    assert fusebench(*arguments).error.startswith(message)


@pytest.mark.parametrize(("error", "line"), [
    (FusebenchError("a: it is wrong,\n   got 1; mend it"), "a: it is wrong, got 1; mend it"),
    (PermissionError(13, "Permission denied", "x.csv"), (
        "x.csv: it cannot be used, got 'Permission denied'; check the path and its permissions")),
    (OSError("odd"), "file: it cannot be used, got 'odd'; check the path and its permissions"),
    (MemoryError("Unable to allocate 1 PiB"), (
        "memory: there is not enough, got 'Unable to allocate 1 PiB'; give smaller extents")),
    (click.ClickException("no such thing"), "no such thing"),
])
def test_what_a_command_raises_is_one_line(fusebench: Command, monkeypatch: pytest.MonkeyPatch, error: Exception,
                                           line: str) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error
    monkeypatch.setattr(cli.fusebench, "invoke", fail)
    assert fusebench().error == line


def test_an_interrupt_ends_with_its_own_status(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(cli.fusebench, "invoke", interrupt)
    ran = fusebench()
    assert (ran.status, ran.out, ran.err) == (130, "", "fusebench: interrupted\n")


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError
    monkeypatch.setattr(cli.fusebench, "invoke", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


@pytest.mark.parametrize("arguments", ["list variants --json", "--help"])
def test_a_reader_that_stops_is_no_error(arguments: str) -> None:
    # The reader is gone before anything is written.
    text = f'(sleep 0.3; "{sys.executable}" -c "{CALL}" {arguments}; echo "$?" >&2) | true'
    ran = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert ran.stderr == "0\n"


def test_colour_is_for_terminals_that_want_it(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in fusebench("list", "variants").out
    monkeypatch.setattr(click.utils, "should_strip_ansi", lambda stream=None, color=None: color is False)
    assert "\x1b[1m" in fusebench("list", "variants").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in fusebench("list", "variants").out
