"""Numbers of a definition with where they are from: sources, estimates by a rule, and bands.

A number is written plain, with an entry in ``sources`` for its path or one around it, or as a mapping that says so
itself: ``{value: X, source: "...", band: [low, high]}``, or ``{value: X, estimated: "the rule", band: [low, high]}``.
An entry of ``sources`` is text, or a mapping of the same keys without ``value``; as it may cover several numbers, it
gives their band as factors (``band_factor: [0.5, 2]``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from accelerator_sim.quantities import is_number
from einsum_cascades.definitions import Fields

Band = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number is from.

    ``text`` names the source, or the rule where the number is ``estimated``. ``band`` is the least and the largest
    value that another source or the rule allows, ``factor`` the same in proportion to the number.
    """

    text: str
    estimated: bool = False
    band: Band | None = None
    factor: Band | None = None

    def at(self, value: float) -> Provenance:
        """Returns it for one number: with the band that a factor makes."""
        if self.factor is None:
            return self
        return replace(self, band=(value * self.factor[0], value * self.factor[1]), factor=None)

    def to_dict(self) -> str | dict[str, Any]:
        """Returns it as it stands in ``sources``."""
        if not self.estimated and self.band is None and self.factor is None:
            return self.text
        found: dict[str, Any] = {"estimated" if self.estimated else "source": self.text}
        if self.band is not None:
            found["band"] = list(self.band)
        if self.factor is not None:
            found["band_factor"] = list(self.factor)
        return found


@dataclass(frozen=True)
class Numbers:
    """A definition with plain numbers in ``tree``; what is known of each by its path in ``own``; and ``covering``, the
    entries of ``sources``."""

    tree: Mapping[str, Any]
    own: Mapping[str, Provenance]
    covering: Mapping[str, Provenance]

    def of(self, path: str) -> Provenance | None:
        """Returns what is known of the number at a path: what it says itself, else the entry of the longest path."""
        value = number_at(self.tree, path)
        own = self.own.get(path)
        if own is not None and own.text:
            return own
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            found = self.covering.get(".".join(parts[:length]))
            if found is not None:
                known = found.at(value) if value is not None else found
                return replace(known, band=own.band) if own is not None else known
        return None


def read_numbers(raw: Mapping[str, Any], source: str) -> Numbers:
    """Returns a definition with its numbers plain, and where they are from.

    Raises: DefinitionError for a number's or an entry's wrong key or value, with its path.
    """
    own: dict[str, Provenance] = {}
    tree = {key: _plain(value, key, source, own) for key, value in raw.items() if key != "sources"}
    covering: dict[str, Provenance] = {}
    top = Fields(raw, source=source)
    if top.given("sources"):
        entries = top.fields("sources")
        for path in entries.keys():
            if isinstance(entries.mapping[path], Mapping):
                part = entries.fields(path)
                value = number_at(tree, path)
                found = _provenance(part, value)
                assert found is not None
                covering[path] = found
                if found.band is not None and value is None:
                    part.fail("band", "it is for one number, and this path is of several", part.mapping["band"],
                              "give band_factor")
                part.finish()
            else:
                covering[path] = Provenance(entries.text(path))
    return Numbers(tree, own, covering)


def paths_of(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yields the path of every number of a plain definition."""
    for key, value in tree.items():
        inner = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from paths_of(value, inner)
        elif is_number(value):
            yield inner


def number_at(tree: Mapping[str, Any], path: str) -> float | None:
    """Returns the number at a path of a plain definition; None where there is none."""
    node: Any = tree
    for segment in path.split("."):
        node = node.get(segment) if isinstance(node, Mapping) else None
    return node if is_number(node) else None


def replaced(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns a plain definition with another value at a path, and mappings around it where there were none."""
    key, _, rest = path.partition(".")
    inner = tree.get(key)
    return {**tree, key: replaced(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _plain(value: Any, path: str, source: str, own: dict[str, Provenance]) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "value" not in value:
        return {key: _plain(inner, f"{path}.{key}", source, own) for key, inner in value.items()}
    part = Fields(value, source=source, path=path)
    number = part.number("value")
    found = _provenance(part, number, optional=True)
    part.finish()
    if found is not None:
        own[path] = found.at(number)
    return int(number) if number == int(number) and isinstance(value["value"], int) else number


def _provenance(part: Fields, value: float | None, optional: bool = False) -> Provenance | None:
    estimated = part.given("estimated")
    if estimated and part.given("source"):
        part.fail("estimated", "a number is from a source or estimated, not both", part.mapping["estimated"], "remove one")
    band, factor = (_pair(part, key) for key in ("band", "band_factor"))
    if band is not None and factor is not None:
        part.fail("band_factor", "the band stands twice", part.mapping["band_factor"], "remove one of band and band_factor")
    if band is not None and value is not None and not band[0] <= value <= band[1]:
        part.fail("band", f"the number should lie inside it, which is {value:g}", list(band), "correct it")
    if factor is not None and not 0 <= factor[0] <= 1 <= factor[1]:
        part.fail("band_factor", "1 should lie inside it", list(factor), "correct it")
    if not estimated and not part.given("source"):
        # A number in its place may have a band alone: its source is then an entry of ``sources`` around it.
        if optional and band is None and factor is None:
            return None
        if not optional:
            part.fail("source", "it is missing", None, "say where the number is from, or 'estimated' and the rule")
        return Provenance("", band=band, factor=factor)
    if estimated and band is None and factor is None:
        part.fail("band", "an estimate needs a band", None, "give band: [low, high] or band_factor: [0.5, 2]")
    return Provenance(part.text("estimated" if estimated else "source"), estimated, band, factor)


def _pair(part: Fields, key: str) -> Band | None:
    if not part.given(key):
        return None
    entries = part.entries(key)
    if len(entries) != 2 or not all(is_number(e) for e in entries) or entries[0] > entries[1]:
        part.fail(key, "it should be two numbers, the smaller first", list(entries), "write [low, high]")
    return float(entries[0]), float(entries[1])
