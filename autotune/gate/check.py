"""Runs a kernel on one case and compares it with the reference, instance by instance and output by output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.gate.budget import tolerances
from autotune.gate.memory import exact, placed, poisoned
from autotune.kernel import KernelPlan
from einsum_cascades.errors import FusebenchError
from einsum_cascades.structure import structure
from workloads.variant import Case, Variant
from workloads.verification import cascades_of, drawn, own_extents, relative_error

if TYPE_CHECKING:
    import torch


    Launch = Callable[[KernelPlan, Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]
    """Runs a plan on tensors into outputs that it is given."""

COPIES = 2
"""Instances that a case is run for, each with inputs of its own."""


@dataclass(frozen=True)
class CaseResult:
    """One output type and case; ``reason`` is empty where every output is within its tolerance.

    The error and tolerance are those of the output that is nearest to its tolerance, or farthest beyond.
    """

    case: str
    algorithm: str
    dtype: str
    max_relative_error: float
    tolerance: float
    reason: str = ""


def check_plan(plan: KernelPlan, variant: Variant, algorithm: str, case: Case, launch: Launch, *, seed: int,
               device: str = "cpu", spread: bool = False) -> CaseResult:
    """Returns how a plan does on a case.

    Inputs are drawn with ``seed``, for each instance apart, and rounded to the types of the plan before the reference sees
    them. Outputs are filled with NaN beforehand. ``spread`` gives tensors whose rows are apart in memory, with NaN between.
    """
    cascade = cascades_of(variant, case)[algorithm]
    parts = structure(cascade)
    instances = len(plan.config.instances)
    copies = range(COPIES if instances else 1)
    draws = [drawn(variant, case, seed * COPIES + copy) for copy in copies]
    extents = draws[0][1]
    sizes = {**own_extents(cascade, extents), **_instances(plan)}
    # Odd, so that rows are not aligned, and different, so that no stride can stand for another.
    gaps = {spec.name: 2 * number + 3 if spread else 0 for number, spec in enumerate(plan.tensors)}
    tensors = {spec.name: placed([inputs[spec.name] for inputs, _ in draws], spec, device, gap=gaps[spec.name]) for spec in plan.inputs}
    outputs = {spec.name: poisoned(spec, sizes, device, gap=gaps[spec.name]) for spec in plan.outputs}
    dtype = plan.config.dtype
    try:
        got = launch(plan, tensors, outputs)
    except FusebenchError as error:
        return CaseResult(case.name, algorithm, dtype, float("inf"), 0.0, _place(variant, algorithm, case, dtype) + str(error))
    found: list[tuple[str, float, float]] = []
    for copy in copies:
        own = {name: exact(tensor, instances)[copy] for name, tensor in tensors.items()}
        want = {name: values for name, values in (case.reference or variant.reference)(own, extents).items() if name in parts.outputs}
        allowed = tolerances(
            cascade, own, own_extents(cascade, extents), want, operands=dtype, seed=seed * COPIES + copy,
            outputs={spec.name: spec.dtype for spec in plan.outputs}, dots=_dots(plan),
            stored={spec.name: spec.dtype for spec in plan.tensors if spec.role != "input" and spec.name in parts.producers})
        found += [(name, relative_error(exact(got[name], instances)[copy], want[name]), allowed[name]) for name in want]
    name, worst, tolerance = max(found, key=lambda f: f[1] / f[2])
    reason = "" if worst <= tolerance else (
        f"{_place(variant, algorithm, case, dtype)}{name} differs from the reference, got a relative error of {worst:.3g}; the "
        f"tolerance is {tolerance:.3g} (seed {seed})")
    return CaseResult(case.name, algorithm, dtype, worst, tolerance, reason)


def _place(variant: Variant, algorithm: str, case: Case, dtype: str) -> str:
    return f"case {case.name!r}, {variant.id}:{algorithm} in {dtype}: "


def _dots(plan: KernelPlan) -> str | None:
    """The type to which dots round every operand, where that is coarser than the operands'."""
    return "tf32" if plan.config.dtype == "fp32" and plan.config.dot_precision == "tf32" else None


def _instances(plan: KernelPlan) -> dict[str, int]:
    """The extents of the instances: all of the copies are along the last."""
    return {**dict.fromkeys(plan.config.instances[:-1], 1), **dict.fromkeys(plan.config.instances[-1:], COPIES)}
