"""What a kernel is run on: the cases of its variant, and larger ones of them that fill several tiles."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from einsum_cascades.errors import FusebenchError
from einsum_cascades.extents import resolve_extents
from einsum_cascades.interpreter import run
from einsum_cascades.structure import structure
from workloads.variant import Case, Variant
from workloads.verification import cascades_of, drawn, own_extents, relative_error

_GROWTH = (3, 5)
"""Factors by which the first cases are enlarged: several tiles of 16, whole and ragged."""

_LARGEST = 1_000_000
"""Points of the largest Einsum of an enlarged case: more takes too long where no GPU runs them."""

_ELSEWHERE = 1e-6
"""By how much the interpreter may differ from the reference where an enlarged case means anything."""


def gate_cases(variant: Variant, algorithm: str) -> list[Case]:
    """Returns the cases of a variant for one of its algorithms, enlarged ones first.

    Enlarging multiplies all extents, so that proportions stay. Where the operator means nothing at such extents (the
    reference and the float64 interpreter differ), the enlarged case is left out.
    """
    own = [case for case in variant.cases if not case.algorithms or algorithm in case.algorithms]
    larger = []
    for case, factor in zip(own, _GROWTH, strict=False):
        known = own_extents(variant.cascade(algorithm), case.extents)
        grown = replace(case, name=f"{case.name}, {factor} times as large", algorithms=(algorithm,),
                        extents={rank: size * factor for rank, size in known.items()})
        if _means_something(variant, algorithm, grown):
            larger.append(grown)
    return [*larger, *own]


def _means_something(variant: Variant, algorithm: str, case: Case) -> bool:
    try:
        cascade = cascades_of(variant, case)[algorithm]
        sizes = resolve_extents(cascade, own_extents(cascade, case.extents))
        if max(prod(sizes[rank] for rank in einsum.ranks) for einsum in cascade.einsums) > _LARGEST:
            return False
        inputs, extents = drawn(variant, case)
        own = {name: inputs[name] for name in structure(cascade).inputs}
        want = (case.reference or variant.reference)(own, extents)
        got = run(cascade, own, own_extents(cascade, extents))
    except (FusebenchError, ValueError, IndexError):
        return False
    return all(relative_error(got[name], want[name]) <= _ELSEWHERE for name in structure(cascade).outputs)
