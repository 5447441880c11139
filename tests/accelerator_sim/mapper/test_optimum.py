"""The mapper's optimum against every mapping of small problems, one at a time."""

from __future__ import annotations

from random import Random

import pytest

from accelerator_sim.errors import CapacityError
from accelerator_sim.machine import Machine
from accelerator_sim.mapper import MapperSpace, map_cascade
from accelerator_sim.plan import Shape
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from tests.accelerator_sim.mapper.exhaustive import Exhaustive, tile_candidates
from tests.accelerator_sim.small import small_machine

SINGLE = ("T[i] = A[i,j]", "T[i,j] = A[i] * B[j]", "T[i] = max[j] A[i,j]", "T[i,j] = exp(A[i,j] - B[i])", "T[j,i] = A[i,j] * B[i]",
          "T[] = A[i] * B[i]")
PAIRS = ("S[i] = A[i,j]\nT[i] = exp(S[i] - B[i])", "S[i,j] = A[i] * B[j]\nT[i] = S[i,j] * C[j]", "S[i] = max[j] A[i,j]\nT[i,j] = A[i,j] - S[i]",
         "S[i] = A[i] * B[i]\nT[i] = S[i] + A[i]")
WHOLE = {PAIRS[2]: frozenset({("S", "T", "j")})}
"""What an Einsum needs of a whole rank of another."""


def problem(random: Random, text: str, loops: int) -> tuple[Cascade, Machine, Shape, Exhaustive, MapperSpace]:
    """A problem with random extents and a machine with random sides and a random buffer."""
    cascade = parse(text)
    extents = {r: random.randint(1, 7) for r in sorted({r for e in cascade.einsums for r in e.ranks})}
    rows, cols, lanes = (random.choice((1, 2, 3, 4)) for _ in range(3))
    machine = small_machine(rows, cols, lanes, random.choice((4, 8, 12, 20, 40, 100, 1000)))
    shape = Shape(extents, {"b": random.choice((1, 2))})
    sides = {n for n in (rows, cols, lanes, rows * cols) if n > 1}
    sizes = {r: sorted(tile_candidates(n, tuple(sides))) for r, n in extents.items()}
    space = MapperSpace(most_loops=loops, most_sizes=100)
    return cascade, machine, shape, Exhaustive(cascade, machine, shape, loops, 3, sizes, WHOLE.get(text, frozenset())), space


def hold(seed: int, texts: tuple[str, ...], loops: int) -> None:
    """Asserts that the mapper's optimum is that of all mappings, and that it knows."""
    random = Random(seed)
    cascade, machine, shape, every, space = problem(random, random.choice(texts), loops)
    for objective in ("latency", "energy"):
        least = every.best(objective)
        if least is None:
            with pytest.raises(CapacityError, match="no mapping fits"):
                map_cascade(cascade, machine, shape, objective, space=space)
            continue
        found = map_cascade(cascade, machine, shape, objective, space=space)
        assert found.value == pytest.approx(least, rel=1e-9), (seed, objective, found.design)
        assert found.proven_optimal, (seed, objective, found.gap)


@pytest.mark.parametrize("seed", range(40))
def test_of_single_einsums_nothing_is_better(seed: int) -> None:
    hold(seed, SINGLE, 1)


@pytest.mark.parametrize("seed", range(4))
def test_of_pairs_nothing_is_better(seed: int) -> None:
    hold(seed, PAIRS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1150))
def test_of_many_single_einsums_nothing_is_better(seed: int) -> None:
    hold(seed, SINGLE, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_of_many_pairs_nothing_is_better(seed: int) -> None:
    hold(seed, PAIRS, 1)
