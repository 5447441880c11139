"""What a mapping computes: its loops, walked tile by tile with only the kept tiles at hand, give the cascade's outputs."""

from __future__ import annotations

import numpy as np
import pytest

from accelerator_sim.errors import CapacityError
from accelerator_sim.mapper import MapperSpace, map_cascade
from accelerator_sim.plan import Shape
from einsum_cascades.interpreter.execution import run
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.accelerator_sim.mapper.walk import Walked
from tests.accelerator_sim.small import small_machine
from workloads.variants import load_variant

CHAIN = "S[i,k] = A[i,j] * B[j,k]\nT[i] = S[i,k]\nU[i,l] = T[i] * C[l]\nV[l] = max[i] U[i,l]"
TEXTS = {**{f"attention:{a}": None for a in ("3pass", "2pass", "2pass-local", "1pass")}, "chain": CHAIN}
SHAPES = {"chain": {"i": 5, "j": 3, "k": 4, "l": 3}}


@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("room", [1 << 16, 200])
@pytest.mark.parametrize("name", [n if n == "chain" else pytest.param(n, marks=pytest.mark.slow) for n in TEXTS])
def test_it_is_what_the_cascade_computes(name: str, room: int, objective: str) -> None:
    text = TEXTS[name]
    cascade = parse(text) if text is not None else load_variant("attention").cascade(name.partition(":")[2])
    extents = SHAPES.get(name, {"p": 6, "m": 8, "e": 3, "f": 2, **({"m0": 4} if structure(cascade).composites else {})})
    machine = small_machine(2, 4, 4, room)
    space = MapperSpace(most_loops=2, most_sizes=3)
    try:
        # Whatever is found by then has to be right; the optimum is tested elsewhere.
        found = map_cascade(cascade, machine, Shape(extents, {"b": 1}), objective, space=space, budget_s=5)  # type: ignore[arg-type]
    except CapacityError:
        pytest.skip("nothing fits")
    whole = found.estimate.plan.shape.extents
    random = np.random.default_rng(room)
    shapes = {t: structure(cascade).shape(t, whole) for t in structure(cascade).inputs}
    inputs = {t: random.normal(size=[n or 0 for n in s]) for t, s in shapes.items()}
    walked = Walked(cascade, found.design, whole)
    walked.values.update({t: {index: float(v) for index, v in np.ndenumerate(a)} for t, a in inputs.items()})
    made = walked.run()
    known = (*structure(cascade).ranks, *structure(cascade).composites)
    for tensor, expected in run(cascade, inputs, {r: n for r, n in whole.items() if r in known}).items():
        for index, value in np.ndenumerate(expected):
            assert made[tensor][index] == pytest.approx(value, rel=1e-9), (found.design, tensor, index)
