"""Kernels of cascades for the command: their extents and configuration, and what the compiler says of them, as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from einsum_cascades.errors import FusebenchError
from einsum_cascades.structure import structure
from reports.cascades import NamedCascade
from reports.simulation import CONVENTION, shape_for
from workloads.models import load_workload, shape_of
from workloads.verification import own_extents

if TYPE_CHECKING:
    from autotune.compilation.cache import Cache
    from autotune.compilation.request import CompileRequest
    from autotune.compilation.service import Compiled
    from autotune.config import TileConfig
    from autotune.kernel import KernelPlan
    from autotune.limits import DeviceLimits

_MODEL = "bert"
"""The model whose shape a cascade has of which nothing else is known."""

_PRECISION = "dot_precision"


class ConfigError(FusebenchError):
    """A setting of a kernel's configuration that cannot be read."""


@dataclass(frozen=True)
class ShapeOptions:
    """What the command says of a shape."""

    extents: Mapping[str, int]
    workload: str | None = None
    seq_len: int | None = None
    batch: int | None = None


def kernel_extents(named: NamedCascade, options: ShapeOptions) -> dict[str, int]:
    """Returns the extents of a cascade's ranks: those given, over its shape in the workload, over the first of its own shapes.

    Raises: ExtentError for a rank that is bound to none, FusebenchError of the part that is wrong.
    """
    from autotune.lowering.defaults import default_extents
    if options.workload is not None:
        found = dict(shape_for(named, options.workload, options.seq_len, options.batch, options.extents).extents)
    else:
        given = dict(shape_for(named, None, options.seq_len, options.batch, options.extents).extents)
        found = {**_without(named, _usual(named), given), **given}
    return default_extents(named.cascade, found)


def _usual(named: NamedCascade) -> dict[str, int]:
    """A shape that the variant publishes for this algorithm; otherwise its shape in a model, or what its ranks mean by
    convention, and what is still not known as in its first case."""
    variant = named.variant
    model = load_workload(_MODEL)
    figures: dict[str, Any] = {**model.to_dict(), "seq_len": model.seq_lens[0]}
    by_convention = {rank: int(figures[name]) for rank, name in CONVENTION.items()}
    if variant is None:
        return own_extents(named.cascade, by_convention)
    for shape in variant.shapes:
        if not shape.algorithms or named.algorithm in shape.algorithms:
            return own_extents(named.cascade, shape.extents)
    case = next(case for case in variant.cases if not case.algorithms or named.algorithm in case.algorithms)
    if variant.workload_ranks and variant.workloads:
        by_convention = dict(shape_of(variant, load_workload(variant.workloads[0])).extents)
    parts = {part for leaves in structure(named.cascade).composites.values() for part in leaves}
    return own_extents(named.cascade, {**{rank: n for rank, n in case.extents.items() if rank not in parts}, **by_convention})


def _without(named: NamedCascade, usual: Mapping[str, int], given: Mapping[str, int]) -> dict[str, int]:
    """The usual extents less those that given ones decide: a composite rank and the number of its parts."""
    decided = set()
    for name, parts in structure(named.cascade).composites.items():
        if set(parts) <= set(given):
            decided.add(name)
        if name in given:
            decided.add(parts[0])
    return {rank: size for rank, size in usual.items() if rank not in decided}


def parse_config(entries: Sequence[str]) -> dict[str, int | str]:
    """Returns the settings of entries such as ``p=128`` or ``dot_precision=tf32``.

    Raises: ConfigError for another form, a value that is no whole number, or a name that stands twice.
    """
    found: dict[str, int | str] = {}
    for entry in ",".join(entries).split(",") if entries else ():
        name, equals, text = (part.strip() for part in entry.partition("="))
        if not equals or not name or not text:
            raise ConfigError(f"--config: it should be a setting, '=' and a value, got {entry!r}; write --config num_warps=8")
        if name != _PRECISION and not (text.isascii() and text.isdigit()):
            raise ConfigError(f"--config {name}: it should be a whole number, got {text!r}; write --config {name}=64")
        value = text if name == _PRECISION else int(text)
        if found.setdefault(name, value) != value:
            raise ConfigError(f"--config {name}: it stands twice, got {found[name]} and {value}; give one of them")
    return found


def configured(config: TileConfig, settings: Mapping[str, int | str]) -> TileConfig:
    """Returns a configuration with settings changed.

    Raises: ConfigError of autotune for a setting that it has not, UnknownNameError for a precision that there is not.
    """
    from typing import get_args

    from autotune.config import DotPrecision
    from einsum_cascades.errors import UnknownNameError
    if _PRECISION in settings:
        precision = str(settings[_PRECISION])
        if precision not in get_args(DotPrecision):
            raise UnknownNameError("precision of dots", precision, get_args(DotPrecision), place="--config")
        config = replace(config, dot_precision=precision)  # type: ignore[arg-type]
    return config.changed({name: value for name, value in settings.items() if isinstance(value, int)})


def kernel_plan(named: NamedCascade, extents: Mapping[str, int], dtype: str, settings: Mapping[str, int | str]) -> KernelPlan:
    """Returns the kernels of a cascade in its default configuration with settings changed.

    Raises: LoweringError where there are none, FusebenchError of the part that is wrong.
    """
    from autotune.config import STORAGE
    from autotune.lowering import default_config, lower
    from einsum_cascades.errors import UnknownNameError
    if dtype not in STORAGE:
        raise UnknownNameError("type of kernels", dtype, STORAGE)
    return lower(named.cascade, extents, configured(default_config(named.cascade, extents, dtype), settings))


def requests_for(named: NamedCascade, plan: KernelPlan, targets: Sequence[str]) -> list[CompileRequest]:
    """Returns what is to be compiled of a plan for some targets.

    Raises: UnknownNameError for a target that there is not, LaunchError for a tensor whose shape is not known.
    """
    from autotune.compilation.plans import requests_of
    from autotune.compilation.targets import target
    shapes = {name: shape(plan.extents) for name, shape in (named.variant.input_shapes if named.variant else {}).items()
              if any(spec.name == name for spec in plan.tensors)}
    return [request for name in targets for request in requests_of(plan, target(name).name, given=shapes)]


def compiled_rows(requests: Sequence[CompileRequest], limits: Mapping[str, DeviceLimits], *, jobs: int, cache: Cache | None,
                  timeout_s: float, done: Callable[[], object]) -> list[dict[str, Any]]:
    """Returns a row for each kernel and target, in order; ``done`` is called as each is finished. Ctrl-C ends it early.

    Raises: MissingPackageError without Triton.
    """
    from autotune.compilation.service import compile_all
    found: dict[int, Compiled] = {}
    try:
        for number, made in compile_all(requests, limits, jobs=jobs, cache=cache, timeout_s=timeout_s):
            found[number] = made
            done()
    except KeyboardInterrupt:
        pass
    return [kernel_row(made, limits.get(made.request.target)) for _, made in sorted(found.items())]


def kernel_row(made: Compiled, limits: DeviceLimits | None) -> dict[str, Any]:
    """Returns what became of one kernel, in JSON's types."""
    facts = made.facts
    status = "ok" if made.ok else "rejected" if made.rejection else "failed"
    row: dict[str, Any] = {
        "name": made.request.function, "target": made.request.target, "status": status,
        "reason": made.rejection.text if made.rejection else made.error,
        "limit": None if made.rejection is None else vars(made.rejection), "cached": made.cached,
        "num_warps": facts.num_warps if facts else made.request.num_warps, "num_stages": made.request.num_stages}
    if facts is None:
        return {**row, **dict.fromkeys(("shared_bytes", "registers", "spill_bytes", "ptx_sha256"))}
    known = facts.to_dict()
    row |= {key: known[key] for key in (
        "shared_bytes", "registers", "spill_store_bytes", "spill_load_bytes", "stack_bytes", "tensor_memory_columns", "ptx_sha256",
        "serialized_wgmma", "accumulator_bytes", "carried_bytes", "instructions", "stage_seconds", "triton_version")}
    row["spill_bytes"] = facts.spill_bytes
    row["occupancy"] = _occupancy(made, limits)
    return row


def _occupancy(made: Compiled, limits: DeviceLimits | None) -> dict[str, Any] | None:
    facts = made.facts
    if limits is None or facts is None or facts.registers is None or facts.shared_bytes is None:
        return None
    from autotune.limits import occupancy
    return {"device": limits.device, **vars(occupancy(facts.num_warps, facts.registers, facts.shared_bytes, limits,
                                                      facts.tensor_memory_columns or 0))}
