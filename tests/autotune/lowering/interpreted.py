"""What a worker with Triton's interpreter does for the tests: lower, launch on poisoned outputs, compare.

The oracle of a variant is its reference in float64, that of any other cascade the interpreter of cascades.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autotune.config import TileConfig
from autotune.errors import LoweringError
from autotune.gate.check import check_plan
from autotune.launch import launch
from autotune.lowering import lower
from autotune.lowering.defaults import default_config, default_extents
from einsum_cascades.interpreter import run
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure
from tests.autotune.lowering.configs import config
from workloads.variant import Case
from workloads.variants import load_variant
from workloads.verification import own_extents, relative_error


def check_variant(task: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how the kernels of a variant's algorithm do at extents and a configuration of the test's."""
    variant = load_variant(task["variant"])
    own = next(c for c in variant.cases if not c.algorithms or task["algorithm"] in c.algorithms)
    sizes = task["extents"] or own_extents(variant.cascade(task["algorithm"]), own.extents)
    case = Case("test", sizes, own.inputs, own.where, (task["algorithm"],),
                own.reference if not task["extents"] else None)
    cascade = variant.cascade(task["algorithm"], case.where)
    extents = default_extents(cascade, own_extents(cascade, case.extents))
    chosen: TileConfig = config(task["config"], task["dtype"], tuple(task.get("instances", "bh"))) if "config" in task else default_config(
        cascade, extents, task["dtype"])
    plan = lower(cascade, extents, chosen)
    found = check_plan(plan, variant, task["algorithm"], case, launch, seed=task.get("seed", 1), spread=task.get("spread", True))
    return {"reason": found.reason, "error": found.max_relative_error, "tolerance": found.tolerance, "kernels": len(plan.kernels)}


def check_cascade(task: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the errors of a cascade's outputs against the interpreter of cascades, or why it has no kernel."""
    import torch
    cascade = parse(task["text"])
    extents = default_extents(cascade, task["extents"])
    try:
        chosen = config(task["config"]) if "config" in task else default_config(cascade, extents, "fp32")
        plan = lower(cascade, extents, chosen)
    except LoweringError as error:
        return {"refused": str(error)}
    rng = np.random.default_rng(task.get("seed", 0))
    inputs: dict[str, Any] = {}
    for spec in plan.inputs:
        shape = spec.shape(extents | dict.fromkeys(spec.instances, 1))[len(spec.instances):]
        given = task.get("inputs", {}).get(spec.name)
        if given is not None:
            inputs[spec.name] = np.asarray(given)
        elif spec.dtype == "bool":
            inputs[spec.name] = rng.random(shape) < 0.6
        elif spec.dtype.startswith("int"):
            inputs[spec.name] = rng.integers(0, 2, shape)
        else:
            inputs[spec.name] = np.float32(rng.normal(size=shape) * task.get("scale", 1.0)).astype(np.float64)
    types = {"fp32": torch.float32, "int32": torch.int32, "bool": torch.bool}
    tensors = {n: torch.tensor(a).to(types[plan.tensor(n).dtype]) for n, a in inputs.items()}
    sizes = extents | dict.fromkeys(plan.config.instances, 1)
    poisoned = {s.name: torch.full(s.shape(sizes), float("nan"), dtype=types[s.dtype]) for s in plan.outputs if s.dtype == "fp32"}
    got = launch(plan, tensors, poisoned)
    want = run(cascade, {n: inputs[n] for n in structure(cascade).inputs}, extents)
    errors = {}
    for name, tensor in got.items():
        own = tensor.reshape(tensor.shape[len(plan.config.instances):]).double().numpy()
        # Sums that cancel have no scale of their own: no error is taken relative to less than 1.
        finite = np.where(np.isfinite(want[name]), want[name], 0.0)
        scale = float(min(1.0, np.abs(finite).max()))
        errors[name] = relative_error(own, want[name]) * scale if scale else relative_error(own, want[name])
    return {"errors": errors, "kernels": len(plan.kernels), "source": "\n".join(k.source for k in plan.kernels)}


def check_masked(task: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the errors of a variant's algorithm with predicates, against the interpreter of cascades."""
    from einsum_cascades.printing import to_text
    cascade = load_variant(task["variant"]).cascade(task["algorithm"], task["where"])
    return check_cascade({"text": to_text(cascade), "extents": task["extents"], "scale": task.get("scale", 10.0)})
