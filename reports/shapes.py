"""Shapes of several cascades in one workload: what the ranks of each mean, as products of a model's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerator_sim.plan import Shape
from einsum_cascades.errors import DefinitionError, suggest
from reports.cascades import NamedCascade
from reports.simulation import ranks_of, shape_for
from workloads.models import load_workload

INSTANCES = "instances"
"""In the place of a rank: how many independent copies there are."""

_EXAMPLE = "write --shape mamba_s6:i=seq_len,e=2*d_model,n=16"


@dataclass(frozen=True)
class ShapeRule:
    """The extents of a cascade's ranks, as text such as ``2*d_model/64``; ``name`` is a variant, an algorithm or a file."""

    name: str
    extents: Mapping[str, str]

    def is_for(self, name: str) -> bool:
        """Whether it is for a cascade of this name on the command line."""
        return name == self.name or name.partition(":")[0] == self.name


def parse_shape_rules(entries: Sequence[str]) -> tuple[ShapeRule, ...]:
    """Returns the rules of entries such as ``mamba_s6:i=seq_len,e=2*d_model,n=16``.

    Raises: DefinitionError for another form.
    """
    found = []
    for entry in entries:
        left, equals, right = entry.partition("=")
        name, colon, rank = left.rpartition(":")
        if not equals or not colon or not name.strip():
            raise DefinitionError(f"it should be a cascade, ':', and ranks with their extents, got {entry!r}; {_EXAMPLE}", source="--shape")
        extents: dict[str, str] = {}
        for part in f"{rank}={right}".split(","):
            key, sign, text = (piece.strip() for piece in part.partition("="))
            if not sign or not key.isidentifier() or not text:
                raise DefinitionError(f"it should be a rank, '=' and an extent, got {part!r}; {_EXAMPLE}", source="--shape")
            if key in extents:
                raise DefinitionError(f"a rank stands twice, got {key!r}; remove one", source=f"--shape {name.strip()}")
            extents[key] = text
        found.append(ShapeRule(name.strip(), extents))
    return tuple(found)


def shape_under(name: str, named: NamedCascade, rules: Sequence[ShapeRule], *, workload: str | None, seq_len: int | None,
                batch: int | None, extents: Mapping[str, int]) -> Shape:
    """Returns the shape of a cascade: by the rules for it, over what it means in the workload by itself; those for its algorithm
    replace those for the variant. Where it means nothing in the workload, the rules give every rank, and a sequence is an
    instance unless they say otherwise.

    Raises: FusebenchError of the part that is wrong.
    """
    own: dict[str, str] = {}
    for rule in [r for r in rules if r.name == name] or [r for r in rules if r.is_for(name)]:
        own.update(rule.extents)
    valid = ranks_of(named.cascade)
    mine = {rank: size for rank, size in extents.items() if rank in valid}
    if not own:
        return shape_for(named, workload, seq_len, batch, mine)
    figures: dict[str, Any] = {}
    if workload is not None:
        model = load_workload(workload)
        figures = {**{k: v for k, v in model.to_dict().items() if isinstance(v, int)}, "batch": batch or model.batch}
    if seq_len is not None:
        figures["seq_len"] = seq_len
    for rank in own:
        if rank not in (*valid, INSTANCES):
            raise DefinitionError(f"the cascade has no such rank, got {rank!r}; {suggest(rank, (*valid, INSTANCES))}",
                                  source=f"--shape {name}")
    sizes = {rank: _extent(text, figures, f"--shape {name}", rank) for rank, text in own.items()}
    instances = sizes.pop(INSTANCES, None)
    has_ranks = named.variant is not None and bool(named.variant.workload_ranks)
    if workload is not None and has_ranks:
        made = shape_for(named, workload, seq_len, batch, {**mine, **sizes})
        return made if instances is None else Shape(made.extents, {"b": instances}, made.workload, made.seq_len)
    made = shape_for(named, None, None, None, {**mine, **sizes})
    return Shape(made.extents, {"b": int(figures.get("batch", 1)) if instances is None else instances}, workload, seq_len)


def _extent(text: str, figures: Mapping[str, Any], source: str, rank: str) -> int:
    """The value of a product and quotient of whole numbers and figures, which must be whole itself."""
    value, operator = 1, "*"
    tokens = text.replace("*", " * ").replace("/", " / ").split()
    for place, token in enumerate(tokens):
        if place % 2:
            if token not in ("*", "/"):
                raise DefinitionError(f"it should be a product of numbers and figures, got {text!r}; {_EXAMPLE}", source=source, path=rank)
            operator = token
            continue
        factor = int(token) if token.isdecimal() else figures.get(token)
        if factor is None:
            raise DefinitionError(f"unknown figure of the workload, got {token!r}; {suggest(token, figures)}", source=source, path=rank)
        if operator == "/" and (factor == 0 or value % factor):
            raise DefinitionError(f"it should be a whole number, got {text} = {value}/{factor}; choose another", source=source, path=rank)
        value = value * factor if operator == "*" else value // factor
    if not len(tokens) % 2 or value < 1:
        raise DefinitionError(f"it should be a product of numbers and figures of at least 1, got {text!r}; {_EXAMPLE}", source=source,
                              path=rank)
    return value
