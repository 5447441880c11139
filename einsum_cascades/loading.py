"""Cascades from files: the notation as text, or YAML in the manner of TeAAL with the same Einsum lines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from einsum_cascades.definitions import parse_yaml, read_text
from einsum_cascades.errors import DefinitionError, NotationError, suggest
from einsum_cascades.ir import Cascade
from einsum_cascades.tokens import LONGEST_TEXT

YAML_SUFFIXES = (".yaml", ".yml")

_EINSUM_KEYS = ("declaration", "expressions", "init", "outputs", "dtypes", "devices", "extents", "operators")


def load(path: str | os.PathLike[str]) -> Cascade:
    """Returns the cascade of a file: YAML by its suffix, the notation otherwise.

    Raises: NotationError for a file that is not text or not a cascade, DefinitionError for a wrong key of YAML.
    """
    path = Path(path)
    text = read_text(path, wanted="a cascade", error=NotationError)
    return from_yaml(text, source=str(path)) if path.suffix.lower() in YAML_SUFFIXES else _parse(text, str(path))


def from_yaml(text: str, *, source: str = "cascade") -> Cascade:
    """Returns the cascade of a YAML text with ``einsum: {declaration: {K: [k, m]}, expressions: [...]}``.

    ``declaration`` is optional and checked: the ranks of each tensor, in order (in either case). Further keys of
    ``einsum``: ``init`` (lines of seeds), ``outputs``, ``dtypes``, ``devices``, ``extents``, ``operators`` (lines
    after the word ``op``). Other top-level keys (``mapping``, ``format``, ...) belong to other readers and are left.

    Raises: NotationError for wrong Einsums, DefinitionError for wrong keys and for what is not YAML.
    """
    if len(text) > LONGEST_TEXT:
        raise NotationError(f"text: too long, got {len(text)} characters; at most {LONGEST_TEXT} are read", source=source)
    document = parse_yaml(text, source=source)
    if not isinstance(document, Mapping) or "einsum" not in document:
        got = "an empty file" if document is None else type(document).__name__ if not isinstance(document, Mapping) \
            else ", ".join(repr(k) for k in list(document)[:6])
        raise DefinitionError(f"cascade: the key 'einsum' is missing, got {got}; write 'einsum:' with 'expressions:' below "
                              f"it", source=source)
    section = document["einsum"]
    if not isinstance(section, Mapping):
        raise DefinitionError(f"it should be a mapping, got {type(section).__name__}; write 'expressions:' below it",
                              source=source, path="einsum")
    for key in section:
        if key not in _EINSUM_KEYS:
            raise DefinitionError(f"unknown key, got {key!r}; {suggest(str(key), _EINSUM_KEYS)}", source=source, path="einsum")
    cascade = _parse("\n".join(_lines(section, source)), source)
    _check_declaration(section.get("declaration"), cascade, source)
    return cascade


def _parse(text: str, source: str) -> Cascade:
    from einsum_cascades.notation import parse
    return parse(text, source=source)


def _lines(section: Mapping[str, object], source: str) -> list[str]:
    if "expressions" not in section:
        raise DefinitionError("it is missing, got no Einsum; write a list of lines such as 'Z[m] = A[k,m] * B[k]'",
                              source=source, path="einsum.expressions")
    lines = [f"device {name}" for name in _strings(section, "devices", source)]
    for rank, size in _pairs(section, "extents", source):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DefinitionError(f"an extent is a whole number of at least 1, got {size!r}; give one", source=source,
                                  path=f"einsum.extents.{rank}")
        lines.append(f"extent {rank} {size}")
    lines += [f"dtype {tensor} {kind}" for tensor, kind in _pairs(section, "dtypes", source)]
    lines += [f"op {text}" for text in _strings(section, "operators", source)]
    lines += [f"init {text}" for text in _strings(section, "init", source)]
    lines += _strings(section, "expressions", source)
    lines += [f"output {name}" for name in _strings(section, "outputs", source)]
    return lines


def _strings(section: Mapping[str, object], key: str, source: str) -> list[str]:
    value = section.get(key)
    if value is None:
        return []
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, Sequence):
        raise DefinitionError(f"it should be a list of lines, got {type(value).__name__}; begin each line with '- '",
                              source=source, path=f"einsum.{key}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise DefinitionError(f"it should be a line of text, got {entry!r}; put it in quotes", source=source,
                                  path=f"einsum.{key}[{number}]")
    return list(entries)


def _pairs(section: Mapping[str, object], key: str, source: str) -> list[tuple[str, object]]:
    value = section.get(key)
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise DefinitionError(f"it should be a mapping, got {type(value).__name__}; write 'name: value' lines",
                              source=source, path=f"einsum.{key}")
    return [(str(k), v) for k, v in value.items()]


def _check_declaration(declaration: object, cascade: Cascade, source: str) -> None:
    if declaration is None:
        return
    if not isinstance(declaration, Mapping):
        raise DefinitionError(f"it should be a mapping, got {type(declaration).__name__}; write 'K: [k, m]' lines",
                              source=source, path="einsum.declaration")
    from einsum_cascades.structure import structure
    dimensions = structure(cascade).dimensions
    for tensor, ranks in declaration.items():
        path = f"einsum.declaration.{tensor}"
        if tensor not in dimensions:
            raise DefinitionError(f"no Einsum uses the tensor, got {tensor!r}; {suggest(str(tensor), dimensions)}",
                                  source=source, path=path)
        if not isinstance(ranks, Sequence) or isinstance(ranks, str) or not all(isinstance(r, str) for r in ranks):
            raise DefinitionError(f"it should be a list of ranks, got {ranks!r}; write [k, m]", source=source, path=path)
        if len(ranks) != len(dimensions[tensor]):
            raise DefinitionError(f"the expressions give it {len(dimensions[tensor])} ranks, got {len(ranks)}; declare "
                                  f"[{', '.join(r or '?' for r in dimensions[tensor])}]", source=source, path=path)
