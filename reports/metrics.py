"""Metrics of every cascade that are the same in every run: passes, simulated cycles and energy, and what compiled kernels need."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from accelerator_sim.designs import DesignFile, design_ids, load_design_file
from accelerator_sim.estimate import estimate
from accelerator_sim.machine import Machine
from accelerator_sim.machines import load_machine
from accelerator_sim.plan import Shape
from accelerator_sim.unfused import ID as UNFUSED
from accelerator_sim.unfused import unfused_design
from einsum_cascades import __version__
from einsum_cascades.analysis.summary import analyze
from einsum_cascades.errors import FusebenchError, UnknownNameError
from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Cascade
from reports.simulation import is_for, whole_extents
from workloads.models import load_workload, shape_of
from workloads.variant import Variant
from workloads.variants import load_variant, variant_ids
from workloads.verification import own_extents

if TYPE_CHECKING:
    from autotune.regression import MetricSet

MACHINE = "fusemax"
"""The machine that has a shipped design for most cascades."""
WORKLOAD, SEQ_LEN = "bert", 4096
"""Where shipped designs are evaluated."""


def origin() -> dict[str, str]:
    """Returns the versions that decide metrics."""
    from autotune.timing.environment import commit, installed
    return {"fusebench": __version__, "commit": commit(), "python": platform.python_version(), "triton": installed("triton")}


def chosen(patterns: Sequence[str]) -> list[str]:
    """Returns ``variant:algorithm`` of those that patterns name (a variant, or one algorithm of it); without any, of all.

    Raises: UnknownNameError.
    """
    found = [f"{name}:{algorithm}" for name in variant_ids() for algorithm in load_variant(name).algorithms]
    if not patterns:
        return found
    for pattern in patterns:
        if pattern not in found and pattern not in variant_ids():
            raise UnknownNameError("cascade", pattern, [*variant_ids(), *found])
    return [name for name in found if name in patterns or name.partition(":")[0] in patterns]


def model_metrics(names: Sequence[str], progress: Callable[[], None] | None = None) -> tuple[MetricSet, dict[str, str]]:
    """Returns the metrics of some cascades, and the reason for each estimate that there is not."""
    from autotune.regression import MetricSet
    machine = load_machine(MACHINE)
    found: dict[str, Mapping[str, float]] = {}
    missing: dict[str, str] = {}
    for name in names:
        identifier, _, algorithm = name.partition(":")
        variant = load_variant(identifier)
        cascade = variant.cascade(algorithm)
        own = {f"passes_{rank}": float(n) for rank, n in analyze(cascade).passes.items()}
        for label, shape, file in _runs(variant, algorithm, cascade, machine):
            try:
                design = unfused_design(cascade, machine, shape) if file is None else file.design(shape.workload, shape.seq_len)
                estimated = estimate(cascade, design, machine, shape)
            except FusebenchError as error:
                missing[f"{name} {label}"] = str(error)
                continue
            own[f"cycles_{label}"] = float(estimated.latency_cycles)
            own[f"energy_pj_{label}"] = float(estimated.energy_pj["total"])
        found[name] = own
        if progress is not None:
            progress()
    return MetricSet(found, origin()), missing


def _runs(variant: Variant, algorithm: str, cascade: Cascade, machine: Machine) -> Iterator[tuple[str, Shape, DesignFile | None]]:
    """How a cascade is run: Einsum by Einsum at the size of its first case, and under each shipped design that is for it."""
    case = next((c for c in variant.cases if not c.algorithms or algorithm in c.algorithms), None)
    if case is not None:
        extents = resolve_extents(cascade, own_extents(cascade, case.extents))
        yield UNFUSED, Shape(whole_extents(cascade, extents)), None
    if WORKLOAD in variant.workloads:
        made = shape_of(variant, load_workload(WORKLOAD), seq_len=SEQ_LEN)
        shape = Shape(made.extents, {"b": made.instances}, WORKLOAD, SEQ_LEN)
        for name in design_ids():
            file = load_design_file(name)
            if is_for(cascade, file, machine):
                yield name, shape, file
