"""Options of 'simulate' that say what is known of data: values, lengths of segments, densities of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerator_sim.data import Data
from accelerator_sim.segments import segment_offsets
from einsum_cascades.definitions import read_text
from einsum_cascades.errors import DefinitionError, suggest
from einsum_cascades.ir import Cascade, accesses
from einsum_cascades.structure import structure


def known_data(cascade: Cascade, extents: Mapping[str, int], *, values: str | None = None, segments: Sequence[str] = (),
               densities: Sequence[str] = ()) -> Data:
    """Returns what a .npz file of ``values``, ``segments`` such as ``Off=3,5,2`` and ``densities`` such as ``Mask=0.25`` say.

    Raises: FusebenchError of the entry that is wrong.
    """
    import numpy as np

    from reports.arrays import read_arrays
    found: dict[str, Any] = {}
    deciding = _deciding(cascade)
    for name, array in (read_arrays(values) if values is not None else {}).items():
        if name in deciding:
            if np.any(array != np.floor(array)):
                raise DefinitionError(f"array {name!r}: it should hold whole numbers, got others; convert it", source=str(values))
            found[name] = array.astype(np.int64)
    shares: dict[str, float] = {}
    for name, text in _entries(segments, "--segments", "Off=3,5,2", deciding):
        found[name] = segment_offsets(cascade, name, _lengths(text), extents)
    for name, text in _entries(densities, "--density", "Mask=0.25", deciding):
        shares[name] = _share(name, text)
    return Data(found, shares)


def _deciding(cascade: Cascade) -> frozenset[str]:
    """The inputs whose values decide what there is to do."""
    given = structure(cascade)
    predicates = {a.tensor for e in cascade.einsums if e.where is not None for a in accesses(e.where)}
    return frozenset(t for t in given.inputs if t in predicates or t in given.index_tensors)


def _entries(entries: Sequence[str], option: str, example: str, valid: frozenset[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, text = (part.strip() for part in entry.partition("="))
        if not equals or not text:
            raise DefinitionError(f"it should be a tensor, '=' and a value, got {entry!r}; write {option} {example}", source=option)
        if name not in valid:
            raise DefinitionError(f"nothing depends on the values of such an input, got {name!r}; "
                                  f"{suggest(name, valid) if valid else 'remove it'}", source=option)
        if name in found:
            raise DefinitionError(f"it stands twice, got {name!r}; give it once", source=option)
        found[name] = text
    return list(found.items())


def _lengths(text: str) -> list[int] | str:
    """Lengths of a list, or of a file of numbers; else the name of a distribution."""
    if Path(text).is_file():
        text = read_text(Path(text), wanted="lengths").replace("\n", ",").replace(" ", ",")
    parts = [p for p in (part.strip() for part in text.split(",")) if p]
    return [int(p) for p in parts] if parts and all(p.isascii() and p.isdecimal() for p in parts) else text


def _share(name: str, text: str) -> float:
    number: Callable[[str], float] = float
    try:
        value = number(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DefinitionError(f"it should be a share from 0 to 1, got {text!r}; write --density {name}=0.25", source="--density")
    return value
