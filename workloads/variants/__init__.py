"""The variants that there are: every module of this package that defines ``VARIANT``, under the module's own name, and
what other distributions add in the entry-point group ``fusebench.variants``.

A module without ``VARIANT`` is shared by others. Nothing is listed by hand, and nothing here imports NumPy.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from einsum_cascades.errors import DefinitionError, UnknownNameError
from workloads.variant import Variant

ENTRY_POINTS = "fusebench.variants"
"""The group in which a distribution names its variants: ``my_operator = "my_package.my_module:VARIANT"``."""


def variant_ids() -> tuple[str, ...]:
    """Returns the ids of all variants, in alphabetical order."""
    return tuple(_variants())


def variants() -> tuple[Variant, ...]:
    """Returns all variants, in the order of their ids.

    Raises: DefinitionError for a module or an entry point that gives something else, or an id that there is already.
    """
    return tuple(_variants().values())


def load_variant(name: str) -> Variant:
    """Returns the variant of an id.

    Raises: UnknownNameError where there is none; DefinitionError as :func:`variants`.
    """
    # Its own module alone, where it has one: others need not be read, nor be in order.
    if name in _modules() and (own := _of_module(name)) is not None:
        return own
    found = _variants()
    if name not in found:
        raise UnknownNameError("variant", name, found)
    return found[name]


@lru_cache(maxsize=1)
def _variants() -> dict[str, Variant]:
    found = {module: own for module in _modules() if (own := _of_module(module)) is not None}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in found:
            raise DefinitionError(f"there is a variant of this id already, got {entry.value!r}; rename one of the two",
                                  source=_place(entry))
        found[entry.name] = _of_entry_point(entry)
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _modules() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(__path__))


def _of_module(name: str) -> Variant | None:
    module = import_module(f"{__name__}.{name}")
    return _checked(module.VARIANT, name, f"module {module.__name__}") if hasattr(module, "VARIANT") else None


def _of_entry_point(entry: EntryPoint) -> Variant:
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        raise DefinitionError(f"it cannot be loaded, got {type(error).__name__} ({error}) from {entry.value!r}; mend or "
                              f"uninstall the distribution", source=_place(entry)) from None
    return _checked(loaded, entry.name, _place(entry))


def _checked(value: object, name: str, place: str) -> Variant:
    if not isinstance(value, Variant):
        raise DefinitionError(f"it should be a workloads.variant.Variant, got {type(value).__name__}; define one",
                              source=place)
    if value.id != name:
        raise DefinitionError(f"the variant's id should be {name!r}, got {value.id!r}; rename one of the two", source=place)
    return value


def _place(entry: EntryPoint) -> str:
    return f"entry point {ENTRY_POINTS}:{entry.name} of {entry.dist.name if entry.dist else 'a distribution'}"
