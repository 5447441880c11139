"""Verifies the kernels of variants: an algorithm in a type is a task; those that cannot be lowered say why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autotune.config import TileConfig
from autotune.errors import ConfigError, LoweringError
from autotune.gate.backends import Backend
from autotune.gate.cases import gate_cases
from autotune.gate.check import CaseResult, check_plan
from autotune.kernel import KernelPlan
from autotune.workers import Outcome, run_tasks
from workloads.variant import Case, Variant
from workloads.verification import cascades_of, drawn, own_extents

if TYPE_CHECKING:
    import torch

TIMEOUT_S = 900.0
"""Seconds that one algorithm in one type may take."""

_SMALL = 16
"""The block of a rank in most cases: the least that a dot takes, so that small cases have several tiles."""


@dataclass(frozen=True)
class KernelVerification:
    """How the kernels of an algorithm do in one type: results by case, and why there is no kernel for the rest."""

    variant: str
    algorithm: str
    dtype: str
    results: tuple[CaseResult, ...]
    refused: tuple[str, ...] = ()
    error: str = ""

    @property
    def status(self) -> str:
        """``failed`` if any case is beyond its tolerance or the process died; ``no_kernel`` where no case has a kernel."""
        if self.error or any(result.reason for result in self.results):
            return "failed"
        return "ok" if self.results else "no_kernel"


def verify_kernels(variants: Sequence[Variant], backend: Backend, dtypes: Sequence[str], *, seed: int, jobs: int = 1,
                   algorithm: str | None = None, timeout_s: float = TIMEOUT_S) -> Iterator[KernelVerification]:
    """Yields how each algorithm of some variants does in each type, as they end.

    Raises: UnknownNameError for an algorithm that a variant lacks.
    """
    tasks = []
    for variant in variants:
        if algorithm is not None:
            variant.check(algorithm)
        tasks += [{"variant": variant.id, "algorithm": name, "dtype": dtype, "device": backend.device, "seed": seed}
                  for name in variant.algorithms if algorithm in (None, name) for dtype in dtypes]
    for number, outcome in run_tasks("autotune.gate.verify:verify_task", tasks, jobs=jobs, timeout_s=timeout_s,
                                     environment=dict(backend.environment)):
        yield _of_outcome(tasks[number], outcome)


def _of_outcome(task: Mapping[str, Any], outcome: Outcome) -> KernelVerification:
    names = task["variant"], task["algorithm"], task["dtype"]
    if outcome.error:
        return KernelVerification(*names, (), error=f"{names[0]}:{names[1]} in {names[2]}: {outcome.error}")
    return KernelVerification(*names, tuple(CaseResult(**raw) for raw in outcome.result["results"]), tuple(outcome.result["refused"]))


def verify_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the results of one algorithm in one type, as JSON's types in and out: what a worker is called with."""
    from workloads.variants import load_variant
    variant, algorithm = load_variant(task["variant"]), task["algorithm"]
    results: list[CaseResult] = []
    refused: list[str] = []
    for number, case in enumerate(gate_cases(variant, algorithm)):
        try:
            plan = plan_for(variant, algorithm, case, task["dtype"], small=number > 0)
        except (LoweringError, ConfigError) as error:
            refused.append(str(error))
            continue
        results.append(check_plan(plan, variant, algorithm, case, _launch, seed=task["seed"], device=task["device"],
                                  spread=number % 2 == 1))
    return {"results": [asdict(result) for result in results], "refused": list(dict.fromkeys(refused))}


def plan_for(variant: Variant, algorithm: str, case: Case, dtype: str, *, small: bool = True) -> KernelPlan:
    """Returns the plan of a case in its default configuration, with small blocks where they are asked for.

    Raises: LoweringError where there is none.
    """
    from autotune.lowering import default_config, lower
    cascade = cascades_of(variant, case)[algorithm]
    extents = own_extents(cascade, drawn(variant, case)[1])
    config = default_config(cascade, extents, dtype)
    if small:
        # Some blocks cannot be smaller.
        with contextlib.suppress(ConfigError):
            return lower(cascade, extents, _small(config))
    return lower(cascade, extents, config)


def _small(config: TileConfig) -> TileConfig:
    """The configuration with blocks of 16 and one warp."""
    known = config.blocks()
    least = {name: min(value, _SMALL) for name, value in known.items() if not name.endswith(("num_warps", "num_stages"))}
    return config.changed(least)


def _launch(plan: KernelPlan, tensors: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    from autotune.launch import launch
    return launch(plan, tensors, out=outputs)
