"""What every operator is checked for: its cases, the slow interpreter, its published figures and its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.extents import known_extents, mentioned, resolve_extents
from einsum_cascades.interpreter import run
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from tests.einsum_cascades.slow_interpreter import slow_run
from workloads.variant import Case, Variant
from workloads.verification import cascades_of, drawn, own_extents, verify


def outputs(variant: Variant, algorithm: str, inputs: Mapping[str, Any], extents: Mapping[str, int],
            shown: tuple[str, ...] = ()) -> dict[str, Any]:
    """Runs an algorithm on those of the inputs and extents that it has; ``shown`` names more tensors to return."""
    cascade = variant.cascade(algorithm)
    cascade = replace(cascade, declared_outputs=(*cascade.declared_outputs, *shown))
    own = {name: inputs[name] for name in structure(cascade).inputs}
    return run(cascade, own, own_extents(cascade, extents))


def drawn_for(variant: Variant, algorithm: str, extents: Mapping[str, int], seed: int = 0,
              **draws: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """Draws the inputs of one algorithm, in the shapes that those of the extents give that it has."""
    own = own_extents(variant.cascade(algorithm), extents)
    return drawn(variant, Case("any", own, draws, algorithms=(algorithm,)), seed)


def counted(variant: Variant, algorithm: str, extents: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts the operations of each Einsum, which must be exact."""
    cascade = variant.cascade(algorithm)
    found = count_operations(cascade, resolve_extents(cascade, own_extents(cascade, extents)))
    assert not found.bounds
    return {name: {op: int(count.value({})) for op, count in own.items()} for name, own in found.einsums.items()}


def total(counts: Mapping[str, Mapping[str, int]], *names: str) -> int:
    """Adds the counts of classes of operations, over all Einsums."""
    return sum(own.get(name, 0) for own in counts.values() for name in names)


def check_cases(variant: Variant, seed: int) -> None:
    """Every algorithm is the reference on every case that it has."""
    found = verify(variant, run, seed=seed)
    assert not [r.reason for r in found.results if r.reason]
    assert {r.algorithm for r in found.results} == set(variant.algorithms)


def check_slow_twin(variant: Variant, algorithm: str) -> None:
    """The slow interpreter, which is written apart, gives the same on the smallest case."""
    def size(case: Case) -> int:
        return prod(case.extents.values())
    case = min((c for c in variant.cases if not c.algorithms or algorithm in c.algorithms), key=size)
    inputs, extents = drawn(variant, case)
    cascade = cascades_of(variant, case)[algorithm]
    own = {name: inputs[name] for name in structure(cascade).inputs}
    got, slow = (execute(cascade, own, own_extents(cascade, extents)) for execute in (run, slow_run))
    for name in structure(cascade).outputs:
        np.testing.assert_allclose(got[name], slow[name], rtol=1e-12, atol=1e-12)


def check_published(variant: Variant, misses: Mapping[str, float] | None = None) -> None:
    """Figures that the suite computes are those published, to the digits that are given: within 0.5 %, or half of the
    last digit. ``misses`` are those, by title, that are known not to be, with what they are computed to be."""
    computed = [p for p in variant.published if p.computed is not None]
    assert computed
    found = {}
    for published in computed:
        assert published.computed is not None
        assert published.confidence in ("read", "abstract", "calculated")
        ours = published.computed()
        digits = len(repr(published.value).partition(".")[2])
        near = ours == pytest.approx(published.value, rel=5e-3) or round(ours, digits) == published.value
        if not (ours == published.value if published.unit == "passes" else near):
            found[published.title] = ours
    assert found == pytest.approx(misses or {}, rel=1e-3)


def check_shapes(variant: Variant, *, tiles: tuple[str, ...]) -> None:
    """A published shape gives each algorithm that it is for all extents, but ``tiles``, which a mapping chooses."""
    assert variant.shapes
    for shape in variant.shapes:
        for algorithm in shape.algorithms or variant.algorithms:
            cascade: Cascade = variant.cascade(algorithm)
            chosen = own_extents(cascade, dict.fromkeys(tiles, 1))
            given = {**chosen, **own_extents(cascade, shape.extents)}
            assert set(known_extents(cascade, given)) >= set(mentioned(cascade)), (shape.id, algorithm)
        assert set(shape.extents) <= {r for a in variant.algorithms for r in mentioned(variant.cascade(a))}
