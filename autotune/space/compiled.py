"""Prunes kernels by compiling them without a device: what exceeds a limit, or does not compile, is never run."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.compilation.cache import Cache
from autotune.compilation.service import Compiled, compile_all
from autotune.errors import ConfigError, LoweringError
from autotune.limits import DeviceLimits
from autotune.space.kernels import KernelSpace
from autotune.space.pruning import Pruner, Verdict
from autotune.space.space import Configuration
from autotune.store.record import Scalar, Status


def compiled_pruner(space: KernelSpace, limits: DeviceLimits, *, jobs: int = 1, cache: Cache | None = None) -> Pruner:
    """Returns a pruner that compiles the kernels of configurations for the target of some limits, in ``jobs`` processes."""
    from autotune.compilation.plans import requests_of

    def prune(configurations: Sequence[Configuration]) -> list[Verdict | None]:
        verdicts: list[Verdict | None] = [None] * len(configurations)
        requests, owners = [], []
        for number, configuration in enumerate(configurations):
            try:
                plan = space.plan(configuration)
            except (LoweringError, ConfigError) as error:
                verdicts[number] = Verdict(Status.COMPILE_ERROR, str(error))
                continue
            for request in requests_of(plan, limits.target):
                requests.append(request)
                owners.append(number)
        kernels: dict[int, list[Compiled]] = {}
        for index, found in compile_all(requests, {limits.target: limits}, jobs=jobs, cache=cache):
            kernels.setdefault(owners[index], []).append(found)
            verdicts[owners[index]] = verdicts[owners[index]] or _verdict(found)
        for number, own in kernels.items():
            verdicts[number] = verdicts[number] or Verdict(Status.OK, "", facts_of(own))
        return verdicts
    return prune


def facts_of(compiled: Sequence[Compiled]) -> dict[str, Scalar]:
    """Returns the compiler's facts of a plan's kernels: the largest of each resource."""
    known = [one.facts for one in compiled if one.facts is not None]
    found: dict[str, Scalar] = {}
    for name in ("shared_bytes", "registers", "spill_bytes", "stack_bytes"):
        values = [value for facts in known if (value := getattr(facts, name, None)) is not None]
        if values:
            found[name] = max(values)
    return found


def _verdict(found: Compiled) -> Verdict | None:
    if found.rejection is not None:
        return Verdict(Status.OVER_LIMIT, f"{found.request.function}: {found.rejection.text}", facts_of([found]))
    if found.facts is None:
        return Verdict(Status.COMPILE_ERROR, found.error)
    return None
