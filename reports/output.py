"""What a command prints: one strict JSON document, or text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click


def emit(document: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result on standard output: ``document`` as JSON, or what ``text`` returns."""
    click.echo(json.dumps(plain(document), indent=2, allow_nan=False) if as_json else text().rstrip("\n"))


def plain(value: Any) -> Any:
    """Returns a value in JSON's types: mappings, lists, text, numbers, truth values and None.

    JSON has no infinities and no NaN: the first are the texts "inf" and "-inf", the last is None.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # an array or a scalar of NumPy, which need not be imported for this
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no form in JSON")
