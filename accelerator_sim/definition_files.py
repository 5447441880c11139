"""Where definitions of machines and designs are found: a package's folder, entry points, and a user's own files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from einsum_cascades.definitions import read_yaml
from einsum_cascades.errors import DefinitionError, UnknownNameError

SUFFIXES = (".yaml", ".yml")


def definition_files(folder: Path, group: str) -> dict[str, Path]:
    """Returns the files of definitions by id (the file's stem): those of a folder, then those of other packages.

    Raises: DefinitionError where another package defines an id again.
    """
    found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    for entry in entry_points(group=group):
        spec = find_spec(entry.value)
        where = Path(spec.origin).parent if spec is not None and spec.origin else None
        for path in sorted(where.glob("*.yaml")) if where is not None else ():
            if path.stem in found:
                raise DefinitionError(f"id {path.stem!r}: it is defined twice, got it again from the entry point "
                                      f"{entry.name!r}; rename the file", source=str(path))
            found[path.stem] = path
    return found


def read_definition(name: str, folder: Path, group: str, kind: str) -> tuple[Mapping[str, Any], str]:
    """Returns the mapping of a definition by id or path, and the source that errors name.

    Raises: UnknownNameError for an id that does not exist, DefinitionError for a file that cannot be read.
    """
    known = definition_files(folder, group)
    if name in known:
        return read_yaml(known[name]), f"{kind} {name!r}"
    path = Path(name)
    if path.suffix.lower() in SUFFIXES or path.exists() or "/" in name:
        return read_yaml(path), str(path)
    raise UnknownNameError(kind, name, known)
