"""The ``fusebench`` command: finds its commands, imports the one that is used, and turns errors into one line."""

from __future__ import annotations

import ast
import io
import os
import pkgutil
import sys
import tokenize
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

from einsum_cascades import __version__
from einsum_cascades.errors import FusebenchError, UnknownNameError, suggest
from reports.options import INTERRUPTED

_COMMANDS = "reports.commands"


class _Commands(click.Group):
    """The modules of reports/commands as commands; only the one that is called is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "commands")]))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command = import_module(f"{_COMMANDS}.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx):
            raise UnknownNameError("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_line(name)) for name in self.list_commands(ctx)])


def _first_line(command: str) -> str:
    """Returns the first line of a module without importing it: its first token is its docstring."""
    spec = find_spec(f"{_COMMANDS}.{command}")
    with tokenize.open(spec.origin) if spec and spec.origin else io.StringIO() as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.STRING:
                return str(ast.literal_eval(token.string)).splitlines()[0]
    return ""


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]},
             epilog="Example: fusebench analyze attention:1pass --extent p=1024 --extent m=1024")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def fusebench(ctx: click.Context) -> None:
    """Models and measures attention and state-space operators, from the cascade of Einsums down to the chip.

    A CASCADE is a variant's id (attention), an id with an algorithm (attention:1pass), or the path of a file.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 1 for a check that failed, 2 with one line for bad input."""
    try:
        # Not click's own main: that takes a closed pipe for a failure.
        with fusebench.make_context("fusebench", list(sys.argv[1:] if arguments is None else arguments)) as ctx:
            status = fusebench.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        return _failed(_usage(error))
    except click.ClickException as error:
        return _failed(error.format_message())
    except FusebenchError as error:
        return _failed(str(error))
    except BrokenPipeError:
        # Whoever read has seen enough (head, less). What is left must not be written when Python ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _failed(f"{error.filename or 'file'}: it cannot be used, got {error.strerror or str(error)!r}; check the path "
                       f"and its permissions")
    except MemoryError as error:
        return _failed(f"memory: there is not enough, got {str(error) or 'no more'!r}; give smaller extents")
    except (KeyboardInterrupt, click.Abort):
        _failed("interrupted")
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _failed(message: str) -> int:
    click.echo(f"fusebench: {' '.join(message.split())}", err=True)
    return 2


def _usage(error: click.UsageError) -> str:
    """Returns click's message in the manner of ours: where, what is wrong, what was given, what to do."""
    path = error.ctx.command_path if error.ctx else "fusebench"
    where = "".join(f"{name}: " for name in path.split()[1:])
    remedy = f"see '{path} --help'"
    match error:
        case click.NoSuchOption(option_name=name) if error.ctx:
            valid = [o for p in error.ctx.command.get_params(error.ctx) for o in (*p.opts, *p.secondary_opts) if o[0] == "-"]
            return f"{where}unknown option, got {name!r}; {suggest(name, valid)}"
        case click.MissingParameter(param=param) if param is not None:
            return f"{where}{_name(param)}: it is missing, got nothing; {remedy}"
        case click.BadOptionUsage(option_name=name):
            return f"{where}{name}: {_lower(error.message)}, got nothing; {remedy}"
        case click.BadParameter(param=param) if param is not None:
            return f"{where}{_name(param)}: {_lower(error.message)}; {remedy}"
    return f"{where}{_lower(error.message)}; {remedy}"


def _name(param: click.Parameter) -> str:
    return param.opts[-1] if isinstance(param, click.Option) else (param.name or "argument").upper()


def _lower(message: str) -> str:
    return (message[:1].lower() + message[1:]).rstrip(".")
