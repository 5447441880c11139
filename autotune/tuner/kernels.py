"""A cascade's kernels as what is tuned: lowered, launched on a GPU, checked by the gate and at the full shape.

A candidate is correct when it passes the gate's cases in its own configuration, and when at the full shape it writes
every element of its outputs, and differs from the default configuration there (which passed the gate as well) by no more
than two such kernels may. The float64 reference is out of reach at the full shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from autotune.errors import ConfigError, LoweringError
from autotune.gate.budget import bits_of
from autotune.gate.cases import gate_cases
from autotune.gate.check import check_plan
from autotune.gate.memory import placed, poisoned
from autotune.kernel import KernelPlan
from autotune.launch import launch
from autotune.lowering import default_config, lower
from autotune.lowering.defaults import default_extents
from autotune.space import Configuration
from autotune.space.kernels import KernelSpace, kernel_space
from autotune.store import Key, bucket_of
from autotune.store.record import Scalar, Status, digest_of
from autotune.timing import Candidate, Device, Evidence
from autotune.tuner.errors import TrialFailure
from autotune.tuner.tune import Target
from einsum_cascades.extents import mentioned
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from workloads.variant import Case, Variant
from workloads.verification import cascades_of, drawn, own_extents

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")

FACTORY = "autotune.tuner.kernels:subject"

LARGEST_POOL = 20_000
"""Configurations that a search chooses among: plans of several kernels have far more, of which so many are drawn."""

_QUICK = 2
"""Cases of the gate that a trial is checked on; finalists are checked on all."""
_DRAWN = 2
"""Instances that inputs are drawn for at the full shape; the others repeat them in memory of their own."""
_APART = 8.0
"""Units in the last place, of the largest output, by which two right kernels may differ at the full shape."""


@dataclass(frozen=True)
class Work:
    """A cascade at a shape: ``name`` is a variant's ``id:algorithm``, or ``text`` is the cascade. ``instances`` is the number
    of independent copies (batch times heads)."""

    name: str
    extents: Mapping[str, int]
    dtype: str
    instances: int = 1
    text: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns it in JSON's types."""
        return {"name": self.name, "extents": dict(self.extents), "dtype": self.dtype, "instances": self.instances, "text": self.text}

    def variant(self) -> tuple[Variant, str]:
        """Returns the variant and its algorithm; of a text, one whose reference is the float64 interpreter.

        Raises: UnknownNameError, NotationError.
        """
        from workloads.variants import load_variant
        if self.text:
            return _of_text(self.name, self.text, self.extents), "given"
        identifier, _, algorithm = self.name.partition(":")
        variant = load_variant(identifier)
        return variant, algorithm or variant.default_algorithm

    def cascade(self) -> Cascade:
        """Returns the cascade.

        Raises: UnknownNameError, NotationError.
        """
        variant, algorithm = self.variant()
        return variant.cascade(algorithm)


def kernel_target(work: Work, space: KernelSpace) -> Target:
    """Returns what the tuner needs of a cascade's kernels."""
    instances = space.base.instances
    sizes = {**work.extents, **_instances(work, instances)}
    spec, bucket = _spec(work), bucket_of(sizes, _spec(work), instances)
    pool = space.space.pool(LARGEST_POOL)
    if space.default not in pool:
        pool = (dict(space.default), *pool)
    return Target(work.name, kernel_digest(space), spec, sizes, bucket, FACTORY, work.to_dict(), pool)


def kernel_key(work: Work, device: str, triton: str) -> Key:
    """Returns what a kernel's tuned configuration is found by. It is lowered once for that, and nothing is compiled.

    Raises: LoweringError where it has no kernel.
    """
    cascade = work.cascade()
    base = default_config(cascade, work.extents, work.dtype)
    plan = lower(cascade, default_extents(cascade, work.extents), base)
    sizes = {**work.extents, **_instances(work, base.instances)}
    return Key(work.name, digest_of([kernel.source for kernel in plan.kernels]), bucket_of(sizes, _spec(work), base.instances), device,
               triton)


def _spec(work: Work) -> dict[str, Scalar]:
    return {"type": work.dtype}


def kernel_digest(space: KernelSpace) -> str:
    """Returns a digest of all that makes the kernels but their configuration: their sources in the default one."""
    return digest_of([kernel.source for kernel in lower(space.cascade, default_extents(space.cascade, space.extents), space.base).kernels])


class KernelSubject:
    """See the module. Lives in a worker process."""

    def __init__(self, work: Work, device: Device, where: str) -> None:
        self.work, self.device, self.where = work, device, where
        self.variant, self.algorithm = work.variant()
        self.space = kernel_space(self.variant.cascade(self.algorithm), work.extents, work.dtype)
        self.cases = gate_cases(self.variant, self.algorithm)
        self._tensors: dict[str, torch.Tensor] | None = None
        self._baseline: dict[str, torch.Tensor] | None = None

    def prepare(self, configuration: Configuration) -> Candidate:
        """Returns a candidate on tensors of the full shape.

        Raises: TrialFailure where it cannot be lowered, compiled or launched.
        """
        plan = self._plan(configuration)
        tensors = self.tensors(plan)
        outputs = {spec.name: poisoned(spec, self._sizes(plan), self.where) for spec in plan.outputs}

        def run() -> object:
            return launch(plan, tensors, out=outputs)
        guarded(run)
        return Candidate((run,), {}, digest_of([kernel.source for kernel in plan.kernels]))

    def check(self, configuration: Configuration, candidate: Candidate, *, thorough: bool, seed: int) -> Evidence:
        """Returns the largest error of all checks over its tolerance; see the module."""
        shares = self._gate(configuration, thorough, seed)
        if not shares:
            raise TrialFailure(Status.WRONG_RESULT, "no case of the gate can check this configuration")
        shares.append(self._full(configuration))
        return Evidence(f"{len(shares) - 1} cases of the gate, and the default configuration at the full shape: error over tolerance",
                        max(shares), 1.0)

    def tensors(self, plan: KernelPlan) -> dict[str, torch.Tensor]:
        """Returns inputs of the full shape, drawn once."""
        if self._tensors is None:
            self._tensors = full_tensors(self.variant, self.algorithm, self.work, plan, self.where)
        return self._tensors

    def _plan(self, configuration: Configuration) -> KernelPlan:
        try:
            return self.space.plan(configuration)
        except (LoweringError, ConfigError) as error:
            raise TrialFailure(Status.COMPILE_ERROR, str(error)) from error

    def _sizes(self, plan: KernelPlan) -> dict[str, int]:
        return {**plan.extents, **_instances(self.work, plan.config.instances)}

    def _gate(self, configuration: Configuration, thorough: bool, seed: int) -> list[float]:
        shares: list[float] = []
        for case in self.cases:
            if not thorough and len(shares) >= _QUICK:
                break
            cascade = cascades_of(self.variant, case)[self.algorithm]
            extents = own_extents(cascade, drawn(self.variant, case)[1])
            try:
                plan = self.space.plan(configuration, extents, cascade)
            except (LoweringError, ConfigError):
                continue  # the case is too small for these blocks
            parts = {rank: plan.extents[rank] for rank in case.extents if rank in plan.extents}
            here = replace(case, extents={**case.extents, **parts}, algorithms=(self.algorithm,))
            result = guarded(lambda plan=plan, here=here: check_plan(  # type: ignore[misc]
                plan, self.variant, self.algorithm, here, lambda p, t, o: launch(p, t, out=o), seed=seed, device=self.where))
            shares.append(result.max_relative_error / result.tolerance if result.tolerance > 0 else float("inf"))
        return shares

    def baseline(self) -> dict[str, torch.Tensor]:
        """Returns the outputs of the default configuration at the full shape, computed once."""
        if self._baseline is None:
            self._baseline = self._outputs(self._plan(self.space.default))
        return self._baseline

    def _full(self, configuration: Configuration) -> float:
        got = self._outputs(self._plan(configuration))
        return max(apart(got[name], want, self.work.dtype) for name, want in self.baseline().items())

    def _outputs(self, plan: KernelPlan) -> dict[str, torch.Tensor]:
        outputs = {spec.name: poisoned(spec, self._sizes(plan), self.where) for spec in plan.outputs}
        return guarded(lambda: launch(plan, self.tensors(plan), out=outputs))


def subject(arguments: Mapping[str, Any]) -> KernelSubject:
    """Returns the subject on the current CUDA device.

    Raises: TimingError where there is none.
    """
    from autotune.timing.cuda import CudaDevice
    work = Work(arguments["name"], arguments["extents"], arguments["dtype"], arguments["instances"], arguments["text"])
    return KernelSubject(work, CudaDevice(), "cuda")


def apart(got: torch.Tensor, want: torch.Tensor, dtype: str) -> float:
    """Returns how far two results of one operator differ, over what two right kernels may; infinite where an element of
    ``got`` was never written (it is NaN), or infinities stand elsewhere."""
    import torch
    if got.shape != want.shape:
        return float("inf")
    if not want.dtype.is_floating_point:
        return 0.0 if torch.equal(got, want) else float("inf")
    if bool(torch.isnan(got).any()) or not torch.equal(torch.isfinite(got), torch.isfinite(want)):
        return float("inf")
    scale = float(torch.nan_to_num(want, posinf=0.0, neginf=0.0).abs().max()) or 1.0
    difference = float(torch.nan_to_num(got.float() - want.float(), nan=0.0).abs().max()) / scale
    return difference / (_APART * 2.0 ** -bits_of(dtype))


def guarded(run: Callable[[], _T]) -> _T:
    """Runs something on the device and waits for it; its failures become those of the trial.

    Raises: TrialFailure.
    """
    import torch
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError
    try:
        result = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise TrialFailure(Status.OUT_OF_MEMORY, str(error)) from error
    except OutOfResources as error:
        raise TrialFailure(Status.OVER_LIMIT, str(error)) from error
    except (CompilationError, PTXASError) as error:
        raise TrialFailure(Status.COMPILE_ERROR, str(error)) from error
    except RuntimeError as error:
        # After an error of the device, nothing else can run in this process.
        raise TrialFailure(Status.LAUNCH_ERROR, str(error), fatal=True) from error
    return result


def full_tensors(variant: Variant, algorithm: str, work: Work, plan: KernelPlan, where: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Returns the inputs of a plan for all instances, in memory of their own."""
    extents = {rank: size for rank, size in {**plan.extents, **work.extents}.items() if rank in mentioned(variant.cascade(algorithm))}
    case = Case("full", extents, algorithms=(algorithm,))
    count = min(_DRAWN, work.instances) if plan.config.instances else 1
    draws = [drawn(variant, case, seed + copy)[0] for copy in range(count)]
    found = {}
    for spec in plan.inputs:
        tensor = placed([inputs[spec.name] for inputs in draws], spec, where)
        if spec.instances:
            repeats = -(-work.instances // count)
            leading = (*(1 for _ in spec.instances[:-1]), repeats)
            tensor = tensor.repeat(*leading, *(1 for _ in spec.ranks))
            tensor = tensor.narrow(len(spec.instances) - 1, 0, work.instances).contiguous()
        found[spec.name] = tensor
    return found


def _instances(work: Work, names: tuple[str, ...]) -> dict[str, int]:
    return {**dict.fromkeys(names[:-1], 1), **dict.fromkeys(names[-1:], work.instances)}


def _of_text(name: str, text: str, extents: Mapping[str, int]) -> Variant:
    from einsum_cascades.interpreter import run
    cascade = parse(text, source=name)
    small = {rank: min(size, odd) for (rank, size), odd in zip(extents.items(), (37, 53, 29, 19, 23, 17, 13, 11) * 8, strict=False)}
    return Variant("given", name, name, name, {"given": text},
                   lambda inputs, sizes: run(cascade, inputs, own_extents(cascade, sizes)), (Case("random", small),))
