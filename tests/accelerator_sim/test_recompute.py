"""Intermediates that are made again in tiles: what a design file says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from accelerator_sim.counts import count_stage
from accelerator_sim.designs import load_design
from accelerator_sim.estimate import Estimate, estimate
from accelerator_sim.plan import Shape, make_plan
from einsum_cascades import parse
from einsum_cascades.errors import DesignError
from tests.accelerator_sim.small import small_machine
from tests.accelerator_sim.test_counts_against_trace import check

TEXT = """
id: own
title: Two convolutions in one nest
source: these tests
cascade: any
mapping:
  partition: {p: [p1, p0]}
  sizes: {p0: 3}
  instances: []
stages:
  - name: both
    nests:
      - einsums: [T, Y]
        loops: [p1]
        recompute: [T]
        inner: {T: [q, i], Y: [p0, j]}
        units:
          array_2d: {einsums: [T], parallel: {q: rows}}
          array_1d: {einsums: [Y], parallel: {p0: lanes}}
        keep: {global_buffer: {T: p1, A: p1}}
"""
CASCADE = "T[q] = A[q + i] * B[i]\nY[p] = T[p + j] * C[j]"
EXTENTS = {"p": 8, "q": 10, "i": 2, "j": 3}


def simulated(folder: Path, text: str = CASCADE, **changes: Any) -> Estimate:
    raw = yaml.safe_load(TEXT)
    raw["stages"][0]["nests"][0].update(changes)
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(raw))
    return estimate(parse(text), load_design(str(path)), small_machine(), Shape(EXTENTS))


def test_a_convolution_is_made_again_in_each_tile_of_the_next(tmp_path: Path) -> None:
    found = simulated(tmp_path).counts["both"]
    # Tiles of 3, 3 and 2 outputs need 5, 5 and 4 of T, and these 6, 6 and 5 of A.
    assert found.operations["T"] == {"mac": 14 * 2}
    assert found.steps["T"] == (3 + 3 + 2) * 2
    assert found.memories["global_buffer"]["T"].writes == 14
    assert "T" not in found.memories["dram"]
    assert found.memories["dram"]["A"].reads == 17


@pytest.mark.parametrize(("text", "changes", "message"), [
    (CASCADE, {"recompute": ["Q"]}, "recompute of nest 'T': no Einsum makes such a tensor, got 'Q'; valid: T, Y"),
    (CASCADE, {"recompute": ["Y"]}, "recompute of nest 'T': no Einsum here reads it, got 'Y'; remove it"),
    (CASCADE, {"recompute": ["T", "T"]}, "recompute of nest 'T': a tensor stands twice, got 'T'; name it once"),
    (CASCADE + "\noutput T", {}, ("recompute of nest 'T': tensor 'T': it is needed outside of this nest, got an output; place its Einsum in "
     "a nest of its own (it is made again here all the same)")),
    ("T[q] = A[q + i] * B[i]\nY[p] = T[p + j] * T[p]", {}, ("recompute of nest 'T': tensor 'T': its readers need it at 2 different places, got "
     "[p + j], [p]; keep it, or let one Einsum recompute it")),
    ("T[q] = A[q + i] * B[i]\nY[p] = T[I[p,j]] * C[j]", {}, ("recompute of nest 'T': tensor 'T': it is read through an index that depends on "
     "data, got [I[p,j]]; keep it")),
])
def test_what_cannot_be_made_again_is_refused(tmp_path: Path, text: str, changes: Any, message: str) -> None:
    with pytest.raises(DesignError) as caught:
        simulated(tmp_path, text, **changes)
    assert str(caught.value) == f"design 'own': {message}"


BACKWARD = """S[p,m] = Q[p,e] * K[m,e] where m <= p
G[p] = max[m] S[p,m]
T[p,f] = exp(S[p,m] - G[p]) * V[m,f]
"""
AGAIN = """
id: backward
title: Scores made again
source: these tests
cascade: any
mapping:
  partition: {p: [p1, p0], m: [m1, m0]}
  sizes: {p0: 2, m0: 3}
  instances: [b]
stages:
  - name: first
    nests:
      - einsums: [S, G]
        loops: [p1, m1]
        inner: {S: [e, p0, m0], G: [p0, m0]}
        units:
          array_2d: {einsums: [S], parallel: {p0: rows, m0: cols}}
          array_1d: {einsums: [G], parallel: {p0: lanes}}
        keep: {global_buffer: {S: m1, Q: p1, K: m1}}
  - name: second
    nests:
      - einsums: [T]
        recompute: [S]
        loops: [f, p1, m1]
        inner: {S: [p0, m0, e], T: [p0, m0]}
        units: {array_2d: {einsums: [S, T], parallel: {p0: rows, m0: cols}}}
        keep: {global_buffer: {S: m1, K: m1, Q: p1, G: whole}}
"""


def test_scores_are_made_again_in_another_stage_as_a_trace_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "backward.yaml"
    path.write_text(AGAIN)
    for extents in ({"p": 5, "m": 7, "e": 2, "f": 2}, {"p": 4, "m": 3, "e": 1, "f": 3}, {"p": 7, "m": 8, "e": 3, "f": 1}):
        plan = make_plan(parse(BACKWARD), load_design(str(path)), small_machine(), Shape(extents, {"b": 2}))
        check(plan)
        counts = count_stage(plan, plan.design.stages[1])
        first = count_stage(plan, plan.design.stages[0])
        assert counts.operations["S"]["mac"] == extents["f"] * first.operations["S"]["mac"]
        # What is made again is not written for the stage that does.
        assert "S" not in first.memories["dram"]
        assert "S" not in counts.memories["dram"]
