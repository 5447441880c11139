"""Rows of ``fusebench verify`` for kernels: what the gate says of each variant, over its algorithms and types."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workloads.variant import Variant

if TYPE_CHECKING:
    from autotune.gate.verify import KernelVerification

_SEEDS = 2**31


def kernel_rows(variants: Sequence[Variant], backend: str, dtypes: Sequence[str], seed: int | None, jobs: int,
                algorithm: str | None, done: Callable[[], object]) -> list[dict[str, Any]]:
    """Returns a row for each variant; ``done`` is called when a variant is finished. Inputs are new ones unless a seed is given.

    Ctrl-C ends it with the variants that are finished.

    Raises: FusebenchError where the backend cannot run, or gets a type wrong.
    """
    from autotune.gate.backends import BACKENDS, backend_for
    from autotune.gate.verify import verify_kernels
    own = tuple(dtypes) or BACKENDS[backend].dtypes
    runs = backend_for(backend, own)
    drawn = secrets.randbelow(_SEEDS) if seed is None else seed
    waiting = {variant.id: len(own) * (len(variant.algorithms) if algorithm is None else 1) for variant in variants}
    found: dict[str, list[KernelVerification]] = {variant.id: [] for variant in variants}
    try:
        for one in verify_kernels(variants, runs, own, seed=drawn, jobs=jobs, algorithm=algorithm):
            found[one.variant].append(one)
            waiting[one.variant] -= 1
            if not waiting[one.variant]:
                done()
    except KeyboardInterrupt:
        pass
    return [_row(identifier, results, backend, drawn) for identifier, results in found.items() if not waiting[identifier]]


def _row(identifier: str, found: Sequence[KernelVerification], backend: str, seed: int) -> dict[str, Any]:
    ordered = sorted(found, key=lambda one: (one.algorithm, one.dtype))
    results = [result for one in ordered for result in one.results]
    worst = max(results, key=lambda r: (bool(r.reason), r.max_relative_error / r.tolerance if r.tolerance else 0.0), default=None)
    errors = [one.error for one in ordered if one.error] + [r.reason for r in results if r.reason]
    refused = list(dict.fromkeys(text for one in ordered for text in one.refused))
    status = "failed" if errors else "ok" if results else "no_kernel"
    reason = errors[0] if errors else "" if results else "; ".join(refused)
    return {
        "id": identifier, "status": status, "reason": reason,
        "max_relative_error": worst.max_relative_error if worst else None, "tolerance": worst.tolerance if worst else None,
        "cases": len(results), "backend": backend, "seed": seed,
        "algorithms": [_algorithm(one) for one in ordered],
        "results": [{"case": r.case, "algorithm": r.algorithm, "dtype": r.dtype, "max_relative_error": r.max_relative_error,
                     "tolerance": r.tolerance, "status": "failed" if r.reason else "ok", "reason": r.reason} for r in results]}


def _algorithm(one: KernelVerification) -> Mapping[str, Any]:
    return {"algorithm": one.algorithm, "dtype": one.dtype, "status": one.status, "cases": len(one.results),
            "refused": one.refused, "error": one.error}
