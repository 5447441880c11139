"""The errors of the suite: one base class, whose message is the one line that a user sees.

Every message reads ``<object>: <what is wrong>, got <value>; <what to do>``. A place (line and column of a
text, path of a key in a YAML file) comes first where there is one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class FusebenchError(Exception):
    """Base class of every error that bad input can raise; the command ends with status 2 and its message."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An error that crosses processes keeps its message, whatever its class was made from.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[FusebenchError], args: tuple[Any, ...], state: dict[str, Any]) -> FusebenchError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class NotationError(FusebenchError):
    """A cascade's text cannot be read, or the cascade it describes is not a valid one."""

    def __init__(self, message: str, *, source: str = "cascade", line: int | None = None,
                 column: int | None = None) -> None:
        self.source, self.line, self.column = source, line, column
        place = source if line is None else f"{source}:{line}" if column is None else f"{source}:{line}:{column}"
        super().__init__(f"{place}: {message}")


class ExtentError(FusebenchError):
    """A rank has no extent, or two that differ."""


class ExecutionError(FusebenchError):
    """The interpreter cannot run a cascade on the arrays that it was given."""


class DefinitionError(FusebenchError):
    """A machine, design, workload or study file has a wrong key or value."""

    def __init__(self, message: str, *, source: str, path: str = "") -> None:
        self.source, self.path = source, path
        super().__init__(f"{source}: {path}: {message}" if path else f"{source}: {message}")


class DesignError(FusebenchError):
    """A design, mapping or binding does not fit the cascade, the shape or the machine."""


class UnknownNameError(FusebenchError):
    """A name is none of those that exist."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], *, place: str = "") -> None:
        super().__init__(f"{place + ': ' if place else ''}unknown {kind}, got {name!r}; {suggest(name, valid)}")


def suggest(name: str, valid: Iterable[str], *, limit: int = 12) -> str:
    """Returns the end of a message about an unknown name: the nearest valid name, then the valid ones."""
    names = sorted(set(valid))
    if not names:
        return "there are none to choose from"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    return (f"did you mean {near[0]!r}? " if near else "") + f"valid: {shown}"
