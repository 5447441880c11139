"""The algorithms that have kernels: every algorithm of every variant is lowered at the extents of its first case."""

from __future__ import annotations

from typing import Any

from autotune.errors import ConfigError, LoweringError
from autotune.lowering import default_config, lower
from workloads.variants import variants
from workloads.verification import own_extents


def lowerable() -> list[dict[str, Any]]:
    """Returns a row for each algorithm that can be lowered: its id, how many kernels it has, and the tensors that each writes."""
    found = []
    for variant in variants():
        for algorithm in variant.algorithms:
            case = next((case for case in variant.cases if not case.algorithms or algorithm in case.algorithms), None)
            cascade = variant.cascade(algorithm)
            if case is None:
                continue
            extents = own_extents(cascade, case.extents)
            try:
                plan = lower(cascade, extents, default_config(cascade, extents))
            except (LoweringError, ConfigError):
                continue
            found.append({"id": f"{variant.id}:{algorithm}", "kernels": len(plan.kernels),
                          "writes": [list(kernel.writes) for kernel in plan.kernels], "title": variant.title})
    return found
