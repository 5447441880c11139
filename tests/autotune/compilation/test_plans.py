"""Plans as requests: the arguments that a launch would have."""

from __future__ import annotations

import pytest

from autotune.compilation.plans import INSTANCES, requests_of
from autotune.compilation.request import CompileRequest
from autotune.lowering import default_config, lower
from workloads.variants import load_variant


def requests(name: str, extents: dict[str, int], instances: dict[str, int] | None = None) -> tuple[CompileRequest, ...]:
    variant, _, algorithm = name.partition(":")
    cascade = load_variant(variant).cascade(algorithm)
    return requests_of(lower(cascade, extents, default_config(cascade, extents, "bf16")), "sm_90", instances)


def test_arguments_are_those_of_contiguous_tensors() -> None:
    (found,) = requests("attention:2pass", {"p": 100, "m": 72, "e": 64, "f": 48}, {"b": 2, "h": 3})
    values = {a.name: a.value for a in found.arguments}
    assert (values["Q_stride_b"], values["Q_stride_h"], values["Q_stride_p"], values["Q_stride_e"]) == (3 * 100 * 64, 100 * 64, 64, 1)
    assert (values["V_stride_h"], values["V_stride_m"]) == (72 * 48, 48)
    assert values["P_extent"] == 100
    assert {a.type for a in found.arguments if a.name.endswith("_ptr")} == {"*bf16"}
    assert set(dict(found.constants)) & {a.name for a in found.arguments} == set()


def test_instances_that_nothing_gives_have_an_extent() -> None:
    (found,) = requests("attention:2pass", {"p": 32, "m": 32, "e": 16, "f": 16})
    assert {a.name: a.value for a in found.arguments}["H_extent"] == INSTANCES


def test_each_kernel_of_a_plan_is_a_request() -> None:
    found = requests("linear_attention:noncausal", {"p": 4096, "m": 4096, "e": 64, "f": 64})
    assert len(found) > 1
    assert len({request.function for request in found}) == len(found)


@pytest.mark.parametrize("num_warps", [4, 8])
def test_accumulators_are_known_before(num_warps: int) -> None:
    """One state of p by f, the scores that live beside it, and the statistics of the rows."""
    cascade = load_variant("attention").cascade("1pass")
    extents = {"p": 4096, "m": 4096, "m0": 128, "e": 128, "f": 128}
    config = default_config(cascade, extents, "bf16").changed({"p": 64, "num_warps": num_warps})
    (found,) = requests_of(lower(cascade, extents, config), "sm_90")
    assert found.accumulator_bytes == 4 * (64 * 128 + 64 * 128 + 2 * 64)
