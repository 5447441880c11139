"""Axes of a sweep over a machine's parameters: lists and ranges by path, parameters that go together, and their grid.

An axis in text::

    array_2d.rows=16,32,64                                 # a list
    array_2d.rows=array_2d.cols=array_1d.lanes=16..256*2   # several parameters with the same values: 16, 32, ... 256
    dram.bytes_per_s=100G..1000G+100G                      # steps of 100e9
    dram.bytes_per_s=1e11..1e12:20                         # 20 values at equal distances; *:20 at equal ratios
    array_2d.rows=64,128; global_buffer.bytes=64K,256K     # parameters that go through lists of their own together

``K``, ``M``, ``G`` and ``T`` are powers of 1024 for sizes in bytes, else of 1000; ``Ki``, ``Mi``, ... are always of 1024.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from accelerator_sim.design_space.domains import check_values, domain_of
from accelerator_sim.machine import Machine
from einsum_cascades.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_POINTS = 10_000_000
"""Points that one grid may have: what fits the memory of a small computer."""

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([KMGT]?)(i?)")
_RANGE = re.compile(r"(?P<last>.+?)(?:(?P<kind>\*:|:|\*|(?<![eE])\+)(?P<by>.+))?")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_EXAMPLE = "array_2d.rows=16,32 or array_2d.rows=16..256*2"


@dataclass(frozen=True)
class Axis:
    """Parameters that go through their values together: ``values`` of each path, all of one length."""

    values: Mapping[str, tuple[float, ...]]

    @property
    def length(self) -> int:
        """The number of steps."""
        return len(next(iter(self.values.values())))


@dataclass(frozen=True, slots=True)
class Link:
    """A parameter that follows another: ``factor`` times it."""

    path: str
    factor: float
    of: str


def parse_axis(text: str, machine: Machine) -> Axis:
    """Returns the axis that a text describes, checked against a machine.

    Raises: DefinitionError for another form or a value that the parameter cannot have, UnknownNameError for an unknown path.
    """
    found: dict[str, tuple[float, ...]] = {}
    for part in text.split(";"):
        *paths, values = (piece.strip() for piece in part.split("="))
        if not paths or not all(paths) or not values:
            _fail(f"--vary {text!r}", "it should be a path, '=' and values", part.strip())
        for path in paths:
            if path in found:
                _fail(f"--vary {text!r}", "a parameter stands twice", path, "remove one")
            of_bytes = path.rsplit(".", 1)[-1] == "bytes"
            found[path] = parse_values(values, f"--vary {text!r}", whole=domain_of(machine, path).whole, binary=of_bytes)
            check_values(machine, path, _array(found[path]), "--vary")
    lengths = {path: len(values) for path, values in found.items()}
    if len(set(lengths.values())) > 1:
        _fail(f"--vary {text!r}", "parameters that go together need lists of one length", ", ".join(f"{n} of {p}" for p, n in lengths.items()),
              "complete the shorter one, or give each an axis of its own")
    return Axis(found)


def parse_link(text: str, machine: Machine) -> Link:
    """Returns the link that a text such as ``array_1d.lanes=2*array_2d.rows`` describes.

    Raises: DefinitionError, UnknownNameError.
    """
    path, equals, right = (piece.strip() for piece in text.partition("="))
    factor, times, of = (piece.strip() for piece in right.rpartition("*"))
    matched = _NUMBER.fullmatch(factor) if times else None
    if not equals or not path or not of or times and matched is None:
        raise DefinitionError(f"it should be a path, '=', and a number times another path, got {text!r}; write "
                              f"array_1d.lanes=2*array_2d.rows", source="--link")
    for name in (path, of):
        machine.parameter(name)
    return Link(path, _number(factor, f"--link {text!r}", binary=False) if times else 1, of)


def parse_values(text: str, source: str, *, whole: bool = False, binary: bool = False) -> tuple[float, ...]:
    """Returns the numbers of a list with ranges; of ``whole`` ones the nearest. With ``binary``, K is 1024.

    Raises: DefinitionError, whose place is ``source``, for another form.
    """
    return tuple(v for item in text.split(",") for v in _item(item.strip(), source, whole, binary))


def grid(axes: Sequence[Axis], links: Sequence[Link] = (), machine: Machine | None = None) -> dict[str, Array]:
    """Returns the values of every combination of the axes, by path; the last axis goes fastest. Links follow from them, or from
    the machine where no axis has what they follow.

    Raises: DefinitionError where two axes have one parameter, or there are too many points.
    """
    import numpy as np
    total = math.prod(axis.length for axis in axes)
    if total > MOST_POINTS:
        raise DefinitionError(f"the axes have too many points together, got {total:,}; give at most {MOST_POINTS:,}", source="--vary")
    found: dict[str, Array] = {}
    repeat, tile = total, 1
    for axis in axes:
        repeat //= axis.length
        for path, values in axis.values.items():
            if path in found:
                raise DefinitionError(f"two axes have the same parameter, got {path!r} twice; remove one", source="--vary")
            found[path] = np.tile(np.repeat(_array(values), repeat), tile)
        tile *= axis.length
    for link in links:
        if link.path in found:
            raise DefinitionError(f"it follows {link.of!r} and is varied too, got it twice; remove one", source="--link", path=link.path)
        if link.of not in found and machine is None:
            raise DefinitionError(f"it follows a parameter that no axis has, got {link.of!r}; vary that one", source="--link",
                                  path=link.path)
        base = found[link.of] if link.of in found else np.full(total, float(machine.parameter(link.of)))  # type: ignore[union-attr]
        found[link.path] = base * link.factor
        if machine is not None:
            check_values(machine, link.path, found[link.path], "--link")
    return found


def _array(values: Sequence[float]) -> Array:
    import numpy as np
    return np.array(values, float)


def _item(item: str, source: str, whole: bool, binary: bool) -> tuple[float, ...]:
    begin, dots, rest = item.partition("..")
    if not dots:
        return (_number(item, source, binary),)
    matched = _RANGE.fullmatch(rest)
    if matched is None:
        _fail(source, "a range should be A..B, A..B+STEP, A..B*FACTOR, A..B:COUNT or A..B*:COUNT", item)
    first, last = _number(begin.strip(), source, binary), _number(matched["last"].strip(), source, binary)
    kind, by = matched["kind"] or "+", matched["by"]
    if kind in (":", "*:"):
        return _spread(first, last, kind, by.strip(), whole, item, source)
    step = 1.0 if by is None else _number(by.strip(), source, binary and kind == "+")
    if last < first:
        _fail(source, "a range should end where it begins or later", item)
    if kind == "+" and step <= 0 or kind == "*" and (step <= 1 or first <= 0):
        _fail(source, "a range should have a step above 0, or a factor above 1 and a begin above 0", item)
    # With some room for what decimal fractions are off by.
    steps = (last - first) / step if kind == "+" else math.log(last / first) / math.log(step)
    if steps >= MOST_POINTS:
        _fail(source, f"a range should have at most {MOST_POINTS:,} values", item)
    count = int(steps + 1e-9) + 1
    made = (first + k * step for k in range(count)) if kind == "+" else (first * step ** k for k in range(count))
    return _distinct(made, whole)


def _spread(first: float, last: float, kind: str, by: str, whole: bool, item: str, source: str) -> tuple[float, ...]:
    import numpy as np
    if not by.isdecimal() or not 2 <= int(by) <= MOST_POINTS:
        _fail(source, "a range should have a whole number of at least 2 values", item)
    if kind == "*:" and min(first, last) <= 0:
        _fail(source, "values at equal ratios should be above 0", item)
    made = np.linspace(first, last, int(by)) if kind == ":" else np.geomspace(first, last, int(by))
    return _distinct(made.tolist(), whole)


def _distinct(values: Iterable[float], whole: bool) -> tuple[float, ...]:
    """The values; of a parameter in whole numbers the nearest ones, each once."""
    return tuple(dict.fromkeys(float(round(v)) if whole else float(v) for v in values))


def _number(text: str, source: str, binary: bool) -> float:
    matched = _NUMBER.fullmatch(text)
    if matched is None or matched[3] and not matched[2]:
        _fail(source, "it should be a number", text)
    found = float(matched[1]) * float((1024 if matched[3] or binary else 1000) ** _POWERS[matched[2]])
    if not math.isfinite(found):
        _fail(source, "it should be a number that is not too large", text)
    return found


def _fail(source: str, wrong: str, got: str, remedy: str = f"write {_EXAMPLE}") -> NoReturn:
    raise DefinitionError(f"{wrong}, got {got!r}; {remedy}", source=source)
