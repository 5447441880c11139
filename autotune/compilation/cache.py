"""What has been compiled, kept on disk by the content of the request; several processes may write at once.

An entry is written whole or not at all, and carries a digest of itself: one that is damaged is none, and is replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.compilation.errors import CacheError

FOLDER_VARIABLE = "FUSEBENCH_CACHE_DIR"

_REVISION = "1"
"""Changes with the form of the entries: those of another form are not found."""


def cache_folder(folder: str | None = None) -> Path:
    """Returns the folder of the cache: the one given, that of FUSEBENCH_CACHE_DIR, or ``fusebench`` where caches are kept."""
    if folder:
        return Path(folder)
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusebench"


class Cache:
    """Entries (mappings in JSON's types) by key, below a folder that is made when something is put in."""

    def __init__(self, folder: Path, part: str) -> None:
        self.folder = folder / part / _REVISION

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Returns an entry, None where there is none, or none that is whole."""
        try:
            raw = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(raw, dict) or set(raw) != {"digest", "entry"} or raw["digest"] != _digest(key, raw["entry"]):
            return None
        found: Mapping[str, Any] = raw["entry"]
        return found

    def put(self, key: str, entry: Mapping[str, Any]) -> None:
        """Writes an entry.

        Raises: CacheError where the folder cannot be written to.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=path.parent, prefix=".")
            try:
                with os.fdopen(number, "w") as file:
                    json.dump({"digest": _digest(key, entry), "entry": entry}, file)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"cache {self.folder}: it cannot be written, got {(error.strerror or str(error))!r}; name another folder "
                             f"with {FOLDER_VARIABLE} or --cache") from None

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def _digest(key: str, entry: Any) -> str:
    return hashlib.sha256(f"{key} {json.dumps(entry, sort_keys=True)}".encode()).hexdigest()
