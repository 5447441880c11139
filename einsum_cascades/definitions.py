"""Strict reading of YAML: files of machines, designs, workloads and studies, with the path of the key in every error.

``read_yaml(path)`` returns a file's mapping; :class:`Fields` takes its values one by one, each of the type that is
wanted, and refuses what is left over::

    fields = Fields(read_yaml(path), source=str(path))
    clock_hz = fields.number("clock_hz", above=0)
    array = fields.fields("array_2d")              # a mapping inside: its errors say array_2d.rows
    rows = array.integer("rows", least=1)
    array.finish()                                 # refuses unknown keys, with the nearest valid one
    note = fields.text("note", default="")         # without a default, a missing key is an error
    fields.finish()
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from einsum_cascades.errors import DefinitionError, NotationError, suggest

DEEPEST = 50
"""Levels of mappings and lists that a file may nest."""

LONGEST_FILE = 4_000_000
"""Bytes that a file may have."""


def read_text(path: str | os.PathLike[str], *, wanted: str = "a definition",
              error: type[NotationError | DefinitionError] = DefinitionError) -> str:
    """Returns the text of a file; ``wanted`` says what it should hold.

    Raises: ``error`` where it cannot be read, is too long, or is not UTF-8 text.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        raise error("file: there is none, got a path that does not exist; check the spelling", source=source) from None
    except IsADirectoryError:
        raise error("file: it is a folder, got no text; name a file in it", source=source) from None
    except (OSError, ValueError) as reason:
        text = getattr(reason, "strerror", None) or str(reason)
        raise error(f"file: it cannot be read, got {text!r}; check the path and its permissions", source=source) from None
    if len(data) > LONGEST_FILE:
        raise error(f"file: too long, got more than {LONGEST_FILE} bytes; give a shorter one", source=source)
    if b"\0" in data:
        raise error(f"file: it is not text, got a NUL byte at byte {data.index(0)}; give {wanted} in UTF-8", source=source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"file: it is not text, got byte 0x{data[reason.start]:02x} at byte {reason.start}, which is no UTF-8; "
                    f"give {wanted} in UTF-8", source=source) from None


def read_yaml(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Returns the mapping that a YAML file holds.

    Raises: DefinitionError where it is not a text file, not YAML, empty, or not a mapping.
    """
    document = parse_yaml(read_text(path), source=str(path))
    if not isinstance(document, Mapping):
        raise DefinitionError(f"file: it should be a mapping, got {'an empty file' if document is None else _kind(document)}; "
                              f"write 'key: value' lines", source=str(path))
    return document


def parse_yaml(text: str, *, source: str) -> Any:
    """Returns what a YAML text holds: mappings, lists, text, numbers, truth values or None.

    Plain words are read as in YAML 1.2: ``940e6`` is a number; ``no``, ``12:30`` and a date are text.

    Raises: DefinitionError for what is not YAML, a key that stands twice, and tags of other types.
    """
    import yaml
    try:
        _check_depth(text, source)
        return _loader()(text, source).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "text that YAML cannot read"
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise DefinitionError(f"YAML: it cannot be read, got {problem!r}; check indentation and quotes",
                              source=source + place) from None
    except ValueError as error:
        raise DefinitionError(f"YAML: it cannot be read, got {type(error).__name__}; simplify it", source=source) from None


def _check_depth(text: str, source: str) -> None:
    """Refuses what is nested deeper than anybody writes: building it would exhaust the stack."""
    import yaml
    if text.count("[") + text.count("{") + text.count("- ") <= DEEPEST and max(map(_indent, text.split("\n"))) <= DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent))
        depth -= isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent))
        if depth > DEEPEST:
            mark = event.start_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise DefinitionError(f"YAML: it is nested too deep, got more than {DEEPEST} levels; simplify it",
                                  source=source + place)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


class Fields:
    """The values of a mapping, each taken once and of a given type; ``finish`` refuses the rest.

    ``source`` (a file) and ``path`` (of the mapping in the file) go into the errors, all of them DefinitionError. A
    missing key is an error unless the getter has a ``default``; ``given`` asks whether a key is there.
    """

    def __init__(self, mapping: Mapping[str, Any], *, source: str, path: str = "") -> None:
        self.mapping, self.source, self.path = mapping, source, path
        self._known: set[str] = set()

    def given(self, key: str) -> bool:
        """Returns whether the key has a value; from now on it is a valid one."""
        self._known.add(key)
        return self.mapping.get(key) is not None

    def keys(self) -> tuple[str, ...]:
        """Returns all keys of a mapping whose keys are names of one's own (ranks, components), in order."""
        for key in self.mapping:
            if not isinstance(key, str):
                self.fail("", "a key should be text", key, "put it in quotes")
        self._known.update(self.mapping)
        return tuple(self.mapping)

    def text(self, key: str, *, default: str | None = None) -> str:
        """Returns a text that is not empty."""
        return str(self._value(key, default, _is_text, "it should be text", "write some, in quotes where it is a number"))

    def choice(self, key: str, valid: Iterable[str], *, default: str | None = None) -> str:
        """Returns a text that is one of ``valid``."""
        names = tuple(valid)
        value = str(self._value(key, default, _is_text, "it should be text", "write one of " + ", ".join(names)))
        if value not in names:
            self.fail(key, "unknown name", value, suggest(value, names))
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Returns a truth value."""
        return bool(self._value(key, default, lambda v: isinstance(v, bool), "it should be true or false", "write one of them"))

    def number(self, key: str, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf,
               default: float | None = None) -> float:
        """Returns a finite number of at least ``least``, more than ``above``, at most ``most``."""
        return float(self._number(key, default, "a number", least, above, most))

    def integer(self, key: str, *, least: float = -math.inf, most: float = math.inf, default: int | None = None) -> int:
        """Returns a whole number (1e6 is one) of at least ``least``, at most ``most``."""
        value = self._number(key, default, "a whole number", least, -math.inf, most)
        if value != int(value):
            self.fail(key, "it should be a whole number", value, "round it")
        return int(value)

    def fields(self, key: str, *, default: Mapping[str, Any] | None = None) -> Fields:
        """Returns the fields of a mapping inside this one."""
        value = self._value(key, default, lambda v: isinstance(v, Mapping), "it should be a mapping",
                            "write 'key: value' lines below it")
        return Fields(value, source=self.source, path=self.place(key))

    def entries(self, key: str, *, default: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
        """Returns the values of a list."""
        return tuple(self._value(key, default, lambda v: isinstance(v, (list, tuple)), "it should be a list",
                                 "begin each entry with '- '"))

    def texts(self, key: str, *, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Returns the texts of a list."""
        return tuple(Fields({f"{key}[{n}]": entry}, source=self.source, path=self.path).text(f"{key}[{n}]")
                     for n, entry in enumerate(self.entries(key, default=default)))

    def integers(self, key: str, *, least: float = -math.inf, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Returns the whole numbers of a list, each of at least ``least``."""
        return tuple(Fields({f"{key}[{n}]": entry}, source=self.source, path=self.path).integer(f"{key}[{n}]", least=least)
                     for n, entry in enumerate(self.entries(key, default=default)))

    def list_of_fields(self, key: str, *, default: tuple[Any, ...] | None = None) -> tuple[Fields, ...]:
        """Returns the fields of each mapping of a list."""
        return tuple(Fields({f"{key}[{n}]": entry}, source=self.source, path=self.path).fields(f"{key}[{n}]")
                     for n, entry in enumerate(self.entries(key, default=default)))

    def finish(self) -> None:
        """Refuses keys that nothing has asked for, with the nearest one that something has."""
        for key in self.mapping:
            if key not in self._known:
                self.fail("", "unknown key", key, suggest(str(key), self._known))

    def place(self, key: str) -> str:
        """Returns the path of a key from the top of the file."""
        return ".".join(part for part in (self.path, key) if part)

    def fail(self, key: str, wrong: str, value: object, remedy: str) -> NoReturn:
        """Raises the error of a key: what is wrong, what it is, and what to do."""
        raise DefinitionError(f"{wrong}, got {_shown(value)}; {remedy}", source=self.source, path=self.place(key))

    # --- getters ---

    def _value(self, key: str, default: Any, valid: Callable[[Any], bool], wrong: str, remedy: str) -> Any:
        if not self.given(key):
            if default is not None:
                return default
            raise DefinitionError(f"it is missing, got no value; {remedy}", source=self.source, path=self.place(key))
        value = self.mapping[key]
        if not valid(value):
            self.fail(key, wrong, value, remedy)
        return value

    def _number(self, key: str, default: float | None, what: str, least: float, above: float, most: float) -> float:
        bounds = [f"at least {least:g}"] * (least > -math.inf) + [f"more than {above:g}"] * (above > -math.inf) \
            + [f"at most {most:g}"] * (most < math.inf)
        wanted = f"it should be {what}{' of ' if bounds else ''}{' and '.join(bounds)}"
        value: float = self._value(key, default, _is_number, wanted, "write one")
        if not (least <= value <= most and value > above):
            self.fail(key, wanted, value, "correct it")
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_number(value: object) -> bool:
    # A whole number may be too large for a float; a bool is one to Python.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300


def _shown(value: object) -> str:
    text = _kind(value) if isinstance(value, (Mapping, list)) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(repr(key) for key in list(value)[:4])}" if value else "an empty mapping"
    return f"a list of {len(value)}" if isinstance(value, list) else f"{type(value).__name__} {value!r}"


@lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses keys that stand twice; reads plain words as the core schema of YAML 1.2."""

        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as in the base class

        def __init__(self, text: str, source: str) -> None:
            super().__init__(text)
            self.source = source

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    place = f"{self.source}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
                    raise DefinitionError(f"key {key!r}: it stands twice in one mapping, got another value; keep one of "
                                          f"the two", source=place)
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    for tag, pattern, first in (
            ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
            ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
            ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
            ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
             list("-+.0123456789")),
            ("merge", r"<<", ["<"])):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first)
    return Loader
