"""The design for any cascade: every variant's algorithms, and their operations against the analysis that needs no machine."""

from __future__ import annotations

import pytest

from accelerator_sim.errors import CapacityError
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine, read_machine
from accelerator_sim.operators import own_operators
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import unfused_design
from einsum_cascades import FusebenchError, parse
from einsum_cascades.analysis.operations import count_operations
from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.operators import MAPS, POPULATES, REDUCTIONS
from einsum_cascades.structure import extent_names, structure
from tests.accelerator_sim.small import definition
from workloads.variants import load_variant, variant_ids

UNCOUNTED = ("would hold places at a distance", "has no counts", "have no counts", "has no action counts")
"""What an Einsum of a kind that cannot be counted is told."""


def _algorithms() -> list[tuple[str, str]]:
    return [(name, algorithm) for name in variant_ids() for algorithm in load_variant(name).algorithms]


def _everything() -> Machine:
    """A machine whose units have every operator of the language."""
    raw = definition()
    names = {c for m in MAPS.values() for c in m.cost} | {r.counts for r in REDUCTIONS.values()} | {p.counts for p in POPULATES.values()}
    for unit in ("array_2d", "array_1d"):
        raw[unit]["cycles"] = dict.fromkeys(("mac", *sorted(names)), 1)
        raw[unit]["energy_pj"] = dict.fromkeys(("mac", *sorted(names)), 1)
    return read_machine(raw, "everything")


def _shape(cascade: Cascade, variant: str, algorithm: str) -> Shape:
    case = next(c for c in load_variant(variant).cases if not c.algorithms or algorithm in c.algorithms)
    found = structure(cascade)
    known = (*found.ranks, *found.composites, *extent_names(cascade))
    return Shape(resolve_extents(cascade, {r: n for r, n in case.extents.items() if r in known}))


def _estimated(cascade: Cascade, machine: Machine, shape: Shape) -> Estimate | None:
    try:
        return estimate(cascade, unfused_design(cascade, machine, shape), machine, shape)
    except CapacityError:
        raise
    except FusebenchError as error:
        assert any(reason in str(error) for reason in UNCOUNTED), str(error)
        return None


@pytest.mark.parametrize(("variant", "algorithm"), _algorithms())
def test_every_algorithm_is_estimated_or_refused_with_a_reason(variant: str, algorithm: str) -> None:
    cascade = load_variant(variant).cascade(algorithm)
    shape = _shape(cascade, variant, algorithm)
    found = _estimated(cascade, _everything(), shape)
    if found is None:
        return
    assert found.latency_s > 0
    counted: dict[str, float] = {}
    for stage in found.counts.values():
        for operations in stage.operations.values():
            for name, number in operations.items():
                for part in ("mul", "add") if name == "mac" else (name,):
                    counted[part] = counted.get(part, 0) + number
    if any("depend on data" in note or "A43" in note for note in found.notes):
        return
    expected: dict[str, int] = {}
    for name, own in count_operations(cascade, shape.extents).einsums.items():
        if not name.startswith("init "):
            for operator, number in own.items():
                for part in own_operators(cascade).get(operator, (operator,)):
                    expected[part] = expected.get(part, 0) + int(number.value({}))
    expected = {name: number for name, number in expected.items() if number}
    sizes = {**found.plan.space.extents, **found.plan.space.sizes}
    if all(sizes[name] % sizes[inner] == 0 for name, (_, inner) in structure(cascade).composites.items() if inner in sizes):
        assert counted == expected
    else:
        # A state is there at every pair of tile and place; the simulator walks those that are coordinates of the rank.
        assert counted.keys() == expected.keys()
        assert all(counted[name] <= number for name, number in expected.items())


def test_most_algorithms_are_estimated() -> None:
    machine = _everything()
    found = [_estimated(c, machine, _shape(c, v, a)) for v, a in _algorithms() for c in [load_variant(v).cascade(a)]]
    assert sum(e is not None for e in found) > 0.85 * len(found)


def test_traffic_is_compulsory_where_everything_fits() -> None:
    cascade = parse("Y[p,f] = X[p,e] * W[e,f]")
    machine = load_machine("fusemax")
    shape = Shape({"p": 300, "e": 64, "f": 48}, {"b": 5})
    found = estimate(cascade, unfused_design(cascade, machine, shape), machine, shape)
    assert found.dram_bytes == 5 * 2 * (300 * 64 + 64 * 48 + 300 * 48)


def test_a_recurrence_keeps_its_state_on_the_chip() -> None:
    cascade = parse("init H[0,n] = 0\nH[i+1,n] = A[i,n] * H[i,n] + X[i,n]\nY[i] = H[i+1,n] * C[i,n]")
    machine = load_machine("fusemax")
    shape = Shape({"i": 100, "n": 16})
    found = estimate(cascade, unfused_design(cascade, machine, shape), machine, shape)
    moved = found.counts["H"].memories["dram"]
    assert moved["A"].reads == moved["X"].reads == 100 * 16
    # Every generation is needed later, and none comes back.
    assert (moved["H"].writes, moved["H"].reads) == (100 * 16, 0)


def test_an_operator_that_no_unit_has_is_named() -> None:
    cascade = parse("Y[n] = atan2(A[n], B[n])")
    with pytest.raises(FusebenchError, match="has no such operator, got 'atan2'"):
        unfused_design(cascade, load_machine("fusemax"), Shape({"n": 2}))


def test_an_operator_of_the_cascade_is_what_it_is_composed_of() -> None:
    cascade = parse("op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative\n(P[n], S[n]) = lin[k] (A[k,n], B[k,n])")
    machine, shape = load_machine("fusemax"), Shape({"k": 3, "n": 2})
    found = estimate(cascade, unfused_design(cascade, machine, shape), machine, shape).counts["P"]
    assert found.operations["P"] == {"mul": 2 * 6, "add": 6}
    assert {t: a.writes for t, a in found.memories["dram"].items()} == {"A": 0, "B": 0, "P": 2, "S": 2}
