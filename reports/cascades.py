"""What a CASCADE on the command line is: a variant, a variant's algorithm, or a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from einsum_cascades.errors import UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.loading import YAML_SUFFIXES, load
from workloads.variant import Variant

_SUFFIXES = (".cascade", ".txt", *YAML_SUFFIXES)


@dataclass(frozen=True)
class NamedCascade:
    """A cascade, and where it is from: a variant's algorithm, or a file (then both are None)."""

    cascade: Cascade
    variant: Variant | None = None
    algorithm: str | None = None


def load_cascade(name: str) -> NamedCascade:
    """Returns the cascade of a variant's id, of ``id:algorithm``, or of a file's path.

    Raises: UnknownNameError with the nearest name; NotationError, DefinitionError for a file that is no cascade.
    """
    from workloads.variants import load_variant, variant_ids
    identifier, colon, algorithm = name.partition(":")
    try:
        variant = load_variant(identifier)
    except UnknownNameError:
        if os.sep in name or name.lower().endswith(_SUFFIXES) or Path(name).is_file():
            return NamedCascade(load(name))
        raise UnknownNameError("cascade", name, variant_ids()) from None
    algorithm = algorithm if colon else variant.default_algorithm
    return NamedCascade(variant.cascade(algorithm), variant, algorithm)
