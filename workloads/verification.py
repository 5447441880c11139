"""Verification of a variant: each algorithm, on inputs drawn for each case, against the reference.

The reference has the inputs that the algorithm has: one that adds a term (a mask, a bias) is compared with the formula
that has the term too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascades.errors import DefinitionError, FusebenchError, suggest
from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from workloads.variant import Case, Variant

if TYPE_CHECKING:
    from workloads.variant import Array

    Execute = Callable[[Cascade, Mapping[str, Array], Mapping[str, int]], Mapping[str, Array]]
    """Runs a cascade: inputs by name and extents by rank into outputs by name."""


@dataclass(frozen=True)
class Result:
    """One algorithm on one case; ``reason`` is empty where the error is within the tolerance."""

    case: str
    algorithm: str
    max_relative_error: float
    tolerance: float
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """All results of a variant. The error and tolerance of the whole are those of the result that is nearest to
    its tolerance, or farthest beyond."""

    id: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether every result is within its tolerance."""
        return not any(result.reason for result in self.results)

    @property
    def worst(self) -> Result:
        """The result whose error is largest in terms of its tolerance."""
        return max(self.results, key=lambda r: (bool(r.reason), r.max_relative_error / r.tolerance))


def verify(variant: Variant, execute: Execute, *, seed: int = 0, algorithm: str | None = None) -> Verification:
    """Returns how the algorithms of a variant (or one) do on all of its cases.

    Raises: DefinitionError where a case does not fit the variant.
    """
    if algorithm is not None:
        variant.check(algorithm)
    return Verification(variant.id, tuple(
        result for case in variant.cases for result in _of_case(variant, case, execute, seed, algorithm)))


def drawn(variant: Variant, case: Case, seed: int = 0) -> tuple[dict[str, Array], dict[str, int]]:
    """Returns the inputs of a case and the extents of all ranks.

    Each input has a generator of its own, so that it does not change when an algorithm or another input is added.

    Raises: DefinitionError where an extent is of no rank, or the shape of an input is not known.
    """
    import numpy as np
    cascades = cascades_of(variant, case)
    known = {rank for cascade in cascades.values() for rank in mentioned(cascade)}
    for rank in case.extents:
        if rank not in known:
            raise DefinitionError(f"no algorithm has the rank, got {rank!r}; {suggest(rank, known)}",
                                  source=_place(variant, case))
    extents = dict(case.extents)
    for cascade in cascades.values():
        extents.update(resolve_extents(cascade, own_extents(cascade, case.extents)))
    draws = {**variant.inputs, **case.inputs}
    inputs: dict[str, Array] = {}
    for cascade in cascades.values():
        for tensor in structure(cascade).inputs:
            if tensor in inputs:
                continue
            shape = _shape(variant, case, cascade, tensor, extents)
            rng = np.random.default_rng([seed, zlib.crc32(f"{variant.id}/{case.name}/{tensor}".encode())])
            inputs[tensor] = draws[tensor](rng, shape, extents) if tensor in draws else rng.normal(size=shape)
    for tensor in case.inputs:
        if tensor not in inputs:
            raise DefinitionError(f"no algorithm reads the input, got {tensor!r}; {suggest(tensor, inputs)}",
                                  source=_place(variant, case))
    return inputs, extents


def cascades_of(variant: Variant, case: Case) -> dict[str, Cascade]:
    """Returns the cascades of a case by algorithm, its predicates added."""
    return {name: variant.cascade(name, case.where) for name in case.algorithms or variant.algorithms}


def own_extents(cascade: Cascade, extents: Mapping[str, int]) -> dict[str, int]:
    """Returns the extents of the ranks that a cascade has."""
    known = mentioned(cascade)
    return {rank: size for rank, size in extents.items() if rank in known}


def relative_error(got: Array, want: Array) -> float:
    """Returns the largest error over the largest finite magnitude of what is wanted (over 1 where all of it is 0).

    Infinities must stand where they are wanted, and a shape that differs or a NaN is an infinite error.
    """
    import numpy as np
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    finite = np.isfinite(want)
    if got.shape != want.shape or not np.array_equal(got[~finite], want[~finite]):
        return float("inf")
    if not finite.any():
        return 0.0
    error = np.abs(got[finite] - want[finite]).max()
    scale = np.abs(want[finite]).max()
    return float(error / scale if scale > 0 else error) if np.isfinite(error) else float("inf")


def _of_case(variant: Variant, case: Case, execute: Execute, seed: int, only: str | None) -> Iterator[Result]:
    inputs, extents = drawn(variant, case, seed)
    wanted: dict[tuple[str, ...], Mapping[str, Array]] = {}
    for algorithm, cascade in cascades_of(variant, case).items():
        if only not in (None, algorithm):
            continue
        parts = structure(cascade)
        own = {name: inputs[name] for name in sorted(parts.inputs)}
        if tuple(own) not in wanted:
            wanted[tuple(own)] = (case.reference or variant.reference)(own, extents)
        want = wanted[tuple(own)]
        missing = sorted(set(parts.outputs) ^ set(want))
        if missing:
            raise DefinitionError(f"the reference and {algorithm!r} do not have the same outputs, got {', '.join(missing)} of "
                                  f"one alone; name the outputs alike", source=_place(variant, case))
        try:
            got = execute(cascade, own, own_extents(cascade, extents))
        except FusebenchError as error:
            yield Result(case.name, algorithm, float("inf"), case.tolerance, str(error))
            continue
        errors = {name: relative_error(got[name], want[name]) for name in parts.outputs}
        worst = max(errors, key=lambda name: errors[name])
        reason = "" if errors[worst] <= case.tolerance else (
            f"case {case.name!r}, {variant.id}:{algorithm}: {worst} differs from the reference, got a relative error of "
            f"{errors[worst]:.3g}; the tolerance is {case.tolerance:.3g}")
        yield Result(case.name, algorithm, errors[worst], case.tolerance, reason)


def _shape(variant: Variant, case: Case, cascade: Cascade, tensor: str, extents: Mapping[str, int]) -> tuple[int, ...]:
    if tensor in variant.input_shapes:
        return variant.input_shapes[tensor](extents)
    sizes = structure(cascade).shape(tensor, extents)
    if None in sizes:
        raise DefinitionError(f"the shape of an input is not known, got {tensor!r} of {cascade.name}; give it in input_shapes",
                              source=_place(variant, case))
    return tuple(size for size in sizes if size is not None)


def _place(variant: Variant, case: Case) -> str:
    return f"variant {variant.id!r}, case {case.name!r}"
