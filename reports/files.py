"""Files that a command writes into a folder: checked before the work starts, each written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from einsum_cascades.errors import FusebenchError


class OutputError(FusebenchError):
    """A folder or file that cannot be written."""


def output_folder(path: str) -> Path:
    """Returns a folder to write to, made where there is none.

    Raises: OutputError where it has no name, is a file, or cannot be made or written to.
    """
    if not path.strip():
        raise OutputError(f"folder: it has no name, got {path!r}; name one, such as 'results'")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{path}: folder: it is a file, got {folder.name!r}; name a folder, or another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        mode = oct(folder.stat().st_mode & 0o777)
        raise OutputError(f"{path}: folder: it cannot be written to, got permissions {mode}; change them")
    return folder


def output_file(path: str, suffixes: Sequence[str] = ()) -> Path:
    """Returns the path of a file to write, which ends in one of some suffixes (in any where there are none) and whose folder exists.

    Raises: OutputError where it does not, or is a folder.
    """
    file = Path(path)
    if suffixes and file.suffix.lower() not in suffixes:
        got = f"suffix {file.suffix!r}" if file.suffix else "no suffix"
        raise OutputError(f"{path}: file: its name should end in {' or '.join(suffixes)}, got {got}; rename it")
    if not file.parent.is_dir():
        raise OutputError(f"{path}: file: its folder should exist, got {str(file.parent)!r}, which does not; make the folder")
    if file.is_dir():
        raise OutputError(f"{path}: file: it is a folder, got {file.name!r}; name a file in it, or another name")
    return file


def write_file(path: Path, content: bytes) -> Path:
    """Writes a file and returns its path; an interrupted run leaves what was there before.

    Raises: OutputError where it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return path


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path}: it cannot be written, got {reason!r}; check the folder and its permissions")
