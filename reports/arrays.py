"""Arrays by name in .npz files, read without pickles and written whole or not at all."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einsum_cascades.errors import ExecutionError


def read_arrays(path: str) -> dict[str, Any]:
    """Returns the arrays of a .npz file by name.

    Raises: ExecutionError where there is none, it is another file, or an array holds no numbers.
    """
    import numpy as np
    try:
        with Path(path).open("rb") as start:
            first = start.read(8)
        if not Path(path).is_file() or not zipfile.is_zipfile(path):  # a device may be read without end
            raise _wrong(path, f"it is no whole .npz file, got one that begins with {first!r}", "write it with numpy.savez")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise _wrong(path, "there is none, got a path that does not exist", "check the spelling") from None
    except IsADirectoryError:
        raise _wrong(path, "it is a folder, got no arrays", "name a .npz file in it") from None
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _wrong(path, f"it cannot be read, got {reason!r}", "write it with numpy.savez, without objects") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ExecutionError(f"{path}: array {name!r}: it should hold real numbers, got {array.dtype}; convert it")
    return arrays


def write_arrays(path: str, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name to a .npz file; an interrupted run leaves what was there before.

    Raises: ExecutionError where it cannot be written.
    """
    import numpy as np
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)
        unfinished.replace(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _wrong(path, f"it cannot be written, got {reason!r}", "check the folder and its permissions") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _wrong(path: str, wrong: str, remedy: str) -> ExecutionError:
    return ExecutionError(f"{path}: file: {wrong}; {remedy}")
