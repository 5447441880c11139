"""The reads that force a pass where the reader gets them by way of Einsums that run between two sweeps."""

from __future__ import annotations

import pytest

from einsum_cascades.analysis.explanation import explain, reasons
from einsum_cascades.analysis.passes import rank_passes
from einsum_cascades.notation import parse
from workloads.variants import load_variant, variant_ids


def test_a_read_through_an_einsum_that_visits_nothing_of_the_tensor() -> None:
    """T visits only Y, so that it may run between the two sweeps over X; Z has to wait for it, and so for S."""
    lines = explain(parse("S[] = X[k]\nT[k] = Y[k] * S[]\nZ[k] = T[k] * X[k]"))
    assert lines == ["k: 2 passes", ("k: sweep 2: Z visits X again: it reads T[k], which is complete only after sweep 1, "
                                    "where S runs and feeds it by way of T")]


def test_a_read_through_several_of_them() -> None:
    text = "S[] = X[k]\nT[k] = Y[k] * S[]\nR[k] = exp(T[k])\nZ[k] = R[k] * X[k]"
    (line,) = explain(parse(text))[1:]
    assert line.endswith("it reads R[k], which is complete only after sweep 1, where S runs and feeds it by way of T, R")


@pytest.mark.parametrize("name", variant_ids())
def test_every_pass_of_every_variant_has_a_reason(name: str) -> None:
    variant = load_variant(name)
    for algorithm in variant.algorithms:
        for rank, found in rank_passes(variant.cascade(algorithm)).items():
            sweeps, count = {r.sweep for r in reasons(found)}, str(found.count)
            # Where the number depends on extents (a loop that halves what is left), some sweep after the first has a reason.
            assert sweeps == set(range(2, int(count) + 1)) if count.isdigit() else sweeps, (algorithm, rank)
