"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from einsum_cascades.errors import ExtentError, UnknownNameError

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

LARGEST_EXTENT = 2**53
"""Whole numbers beyond it are no longer exact in float64."""


if TYPE_CHECKING:
    _Type = click.ParamType[str]
else:  # the type is not generic in every release of click
    _Type = click.ParamType


class Name(_Type):
    """One of some names; another one is an error that suggests the nearest."""

    name = "name"

    def __init__(self, kind: str, valid: Sequence[str]) -> None:
        self.kind, self.valid = kind, tuple(valid)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.valid)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.valid:
            raise UnknownNameError(self.kind, str(value), self.valid)
        return str(value)


def parse_extents(entries: Sequence[str]) -> dict[str, int]:
    """Returns the extents of entries such as "p=1024" or "m=4,n=8", by rank in lower case.

    Raises: ExtentError for another form, a value that is no whole number of at least 1, or a rank that stands twice.
    """
    found: dict[str, int] = {}
    for entry in ",".join(entries).split(",") if entries else ():
        rank, equals, text = (part.strip() for part in entry.partition("="))
        if not equals or not rank.isidentifier():
            raise ExtentError(f"--extent: it should be a rank, '=' and a number, got {entry!r}; write --extent p=1024")
        size = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not 1 <= size <= LARGEST_EXTENT:
            raise ExtentError(f"--extent {rank!r}: it should be a whole number of at least 1, got {text!r}; write --extent "
                              f"{rank}=1024")
        if found.setdefault(rank.lower(), size) != size:
            raise ExtentError(f"--extent {rank!r}: it stands twice, got {found[rank.lower()]} and {size}; give one of them")
    return found


def _extents(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Mapping[str, int]:
    return parse_extents(value)


extent_option = click.option("--extent", "extents", multiple=True, metavar="RANK=N", callback=_extents,
                             help="Extent of a rank; repeatable.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
cascade_argument = click.argument("cascade")
