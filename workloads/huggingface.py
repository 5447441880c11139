"""Models from a ``config.json`` as Hugging Face publishes them: the description of an architecture that is known.

A model type that is not known is refused by name. Of one that is, every key that shapes follow from is checked, keys
that would add or change layers in a way that is not modelled are refused, and all others are listed as ignored.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from einsum_cascades.definitions import Fields, read_text
from einsum_cascades.errors import DefinitionError, UnknownNameError, suggest
from workloads.architectures import Architecture
from workloads.model_families import FAMILIES, Keys

_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}

_MORE_LAYERS = re.compile("expert|moe|adapter|lora|nextn|cross_attention|vision|audio|qk_norm|qk_layernorm|"
                          "is_encoder_decoder|pruned_heads")
"""Keys that say that a model has layers that its family's reader knows nothing of."""


def load_config(path: str | os.PathLike[str]) -> Architecture:
    """Returns the architecture that a ``config.json`` describes; it is named after its folder, or after the file where
    that has another name.

    Raises: DefinitionError with the path of the key for a file that cannot be read, a key that is missing, wrong or at
    odds with another, and one that would change the model in a way that is not supported; UnknownNameError for an
    architecture that is not known.
    """
    source = str(path)
    document = _read(read_text(path, wanted="a model's configuration"), source)
    keys = Keys(document, source=source)
    kind = _model_type(keys)
    family = FAMILIES[kind]
    classes = keys.texts("architectures", default=())
    for number, name in enumerate(classes):
        if name not in (family.with_head, *family.others):
            keys.fail(f"architectures[{number}]", f"it is no architecture of model type {kind!r} that is known", name,
                      suggest(name, (family.with_head, *family.others)))
    model = family.read(keys)
    if classes and family.bare in classes:
        model = replace(model, head="none")
    dtype = _dtype(keys)
    _refuse_more_layers(keys)
    stem = Path(path).resolve().parent.name if Path(path).stem == "config" else Path(path).stem
    return replace(model, id=stem, title=f"{stem} ({kind})", source=f"{source}; {family.source}", value_bytes=dtype,
                   ignored=keys.unread())


def _read(text: str, source: str) -> Mapping[str, Any]:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DefinitionError(f"key {twice!r}: it stands twice in one mapping, got another value; keep one of the two",
                                  source=source)
        return found
    try:
        document = json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"JSON: it cannot be read, got {error.msg!r}; check commas and quotes",
                              source=f"{source}:{error.lineno}:{error.colno}") from None
    except (RecursionError, ValueError) as error:
        raise DefinitionError(f"JSON: it cannot be read, got {type(error).__name__}; simplify it", source=source) from None
    if not isinstance(document, Mapping):
        raise DefinitionError(f"file: it should be an object, got {type(document).__name__}; give a model's config.json",
                              source=source)
    return document


def _model_type(keys: Keys) -> str:
    """The model type, from its own key or else from the class that is named."""
    if keys.given("model_type"):
        kind = keys.text("model_type")
        if kind not in FAMILIES:
            raise UnknownNameError("model type", kind, FAMILIES, place=f"{keys.source}: model_type")
        return kind
    owners = {name: kind for kind, family in FAMILIES.items() for name in (family.with_head, *family.others)}
    for name in keys.texts("architectures", default=()):
        if name not in owners:
            raise UnknownNameError("architecture", name, owners, place=f"{keys.source}: architectures")
        return owners[name]
    raise DefinitionError(f"it is missing, got neither it nor 'architectures'; write one of {', '.join(FAMILIES)}",
                          source=keys.source, path="model_type")


def _dtype(keys: Fields) -> int | None:
    for key in ("dtype", "torch_dtype"):
        if keys.given(key):
            return _BYTES[keys.choice(key, _BYTES)]
    return None


def _refuse_more_layers(keys: Keys) -> None:
    for key in keys.unread():
        value = keys.mapping[key]
        # One expert is an MLP, but True is no number; a null and an empty list are none.
        if _MORE_LAYERS.search(key) and (value is True or value not in (None, False, 0, 1, [], {}, "")):
            keys.fail(key, "it would add or change layers, which is not modelled for this model type", value,
                      "remove it where the model runs without it")
