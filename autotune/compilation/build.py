"""Compiles one kernel in this process, stage by stage, and stops where a limit is exceeded.

Triton's hook into its stages shows each result as soon as it is there: what the loops carry after a few milliseconds,
shared memory before the assembler (most of the time of large tiles) has started.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import triton
from triton import knobs
from triton.errors import TritonError

from autotune.compilation.assembly import (
    Registers,
    amdgcn_instructions,
    carried_bytes,
    ptx_instructions,
    read_amdgcn,
    read_ptxas,
)
from autotune.compilation.errors import CompileError
from autotune.compilation.facts import CompiledFacts
from autotune.compilation.offline import Pointer, activate
from autotune.compilation.request import CompileRequest, LaunchArgument, first_facts
from autotune.compilation.targets import Target, target
from autotune.limits import DeviceLimits, rejection

Stage = Callable[[Any, MutableMapping[str, Any]], Any]


def build(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of a request, as JSON's types in and out: what a worker of the pool is called with.

    ``payload`` has ``request`` and ``limits`` (None for none). The result has ``facts``, incomplete where a limit was
    exceeded, and ``assembly``, the text of it where every stage has been passed.

    Raises: CompileError with Triton's own words.
    """
    request = CompileRequest.from_dict(payload["request"])
    limits = DeviceLimits(**payload["limits"]) if payload.get("limits") else None
    facts, text = compile_kernel(request, limits)
    return {"facts": facts.to_dict(), "assembly": text}


class _LimitExceeded(Exception):
    """Ends a compilation between two of its stages."""


class _Watch:
    """Follows one compilation: wraps each of its stages, keeps the facts."""

    def __init__(self, request: CompileRequest, goal: Target, limits: DeviceLimits | None) -> None:
        self.goal, self.limits, self.assembly = goal, limits, ""
        self.facts = first_facts(request, triton.__version__)

    def check(self) -> None:
        if self.limits is not None and rejection(self.facts, self.limits) is not None:
            raise _LimitExceeded

    def hook(self, backend: Any = None, stages: MutableMapping[str, Stage] | None = None, options: Any = None,
             language: Any = None, capability: Any = None) -> tuple[str, str] | None:
        """What Triton calls with the stages of a kernel, or, without anything, for a key of its cache."""
        if stages is None:
            return "fusebench", "fusebench"
        for name, stage in list(stages.items()):
            stages[name] = self._watched(name, stage)
        return None

    def _watched(self, name: str, stage: Stage) -> Stage:
        def watched(module: Any, metadata: MutableMapping[str, Any]) -> Any:
            printed = io.StringIO()
            start = time.perf_counter()
            with contextlib.redirect_stdout(printed):
                made = stage(module, metadata)
            seconds = time.perf_counter() - start
            self.facts = replace(self.facts, stage_seconds={**self.facts.stage_seconds, name: round(seconds, 4)})
            self._learn(name, made, metadata, printed.getvalue())
            self.check()
            return made
        return watched

    def _learn(self, stage: str, made: Any, metadata: Mapping[str, Any], printed: str) -> None:
        match stage:
            case "ttir":
                self.facts = replace(self.facts, carried_bytes=carried_bytes(str(made)))
            case "llir":
                self.facts = replace(self.facts, shared_bytes=metadata["shared"], num_warps=metadata["num_warps"],
                                     tensor_memory_columns=metadata.get("tmem_size") or 0)
            case "ptx" | "amdgcn":
                counts = ptx_instructions(made) if stage == "ptx" else amdgcn_instructions(made)
                self.assembly = made
                self.facts = replace(self.facts, instructions=counts, ptx_sha256=hashlib.sha256(made.encode()).hexdigest())
            case "cubin":
                self._registers(read_ptxas(printed), printed)
            case "hsaco":
                self._registers(read_amdgcn(self.assembly), self.assembly[-200:])

    def _registers(self, found: Registers | None, seen: str) -> None:
        if found is None:
            raise CompileError(f"{self.facts.name} for {self.goal.name}: the assembler does not say what it used, got "
                               f"{seen.strip()[:120]!r}; use a release of triton from 3.6 to 3.9")
        self.facts = replace(self.facts, registers=found.registers, stack_bytes=found.stack_bytes,
                             spill_store_bytes=found.spill_store_bytes, spill_load_bytes=found.spill_load_bytes,
                             serialized_wgmma=found.serialized_wgmma)


def compile_kernel(request: CompileRequest, limits: DeviceLimits | None = None) -> tuple[CompiledFacts, str]:
    """Returns the facts of a kernel and its assembly; with ``limits``, those up to the stage that exceeds one.

    Raises: CompileError with Triton's own words.
    """
    goal = target(request.target)
    watch = _Watch(request, goal, limits)
    with tempfile.TemporaryDirectory(prefix="fusebench-") as folder:
        kernel = getattr(_imported(request.source, Path(folder)), request.function, None)
        if not isinstance(kernel, triton.JITFunction):
            raise CompileError(f"{request.function} for {request.target}: the source does not define it, got "
                               f"{type(kernel).__name__}; name a function with @triton.jit")
        with _settings(watch, folder):
            activate(goal)
            kernel.device_caches.clear()
            try:
                kernel.warmup(*(_value(argument) for argument in request.arguments), grid=(1,), num_warps=request.num_warps,
                              num_stages=request.num_stages, num_ctas=request.num_ctas, **dict(request.constants))
            except _LimitExceeded:
                pass
            except (TritonError, RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
                raise CompileError(f"{request.function} for {request.target}: Triton does not compile it, got "
                                   f"{_words(error)!r}; mend the kernel, or choose another configuration") from error
    return watch.facts, watch.assembly


@contextlib.contextmanager
def _settings(watch: _Watch, folder: str) -> Any:
    """Triton's settings for one compilation: its cache is private, so that nothing it has is taken for ours."""
    with knobs.runtime.scope(), knobs.compilation.scope(), knobs.nvidia.scope(), knobs.cache.scope():
        knobs.runtime.add_stages_inspection_hook = watch.hook
        knobs.compilation.always_compile = True
        # Line numbers hold the path of the source: without them the assembly is the same wherever it is made.
        knobs.compilation.disable_line_info = True
        knobs.nvidia.dump_ptxas_log = True
        knobs.cache.dir = folder
        yield


def _imported(source: str, folder: Path) -> ModuleType:
    """The module of a source; Triton reads the text of kernels from their file."""
    name = f"fusebench_kernel_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def _value(argument: LaunchArgument) -> Any:
    if argument.type.startswith("*"):
        return Pointer(_TORCH_NAMES.get(argument.type[1:], argument.type[1:]), argument.aligned)
    return argument.value


_TORCH_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64", "i1": "bool", "i8": "int8",
                "u8": "uint8", "i16": "int16", "i32": "int32", "i64": "int64", "fp8e4nv": "float8_e4m3fn",
                "fp8e5": "float8_e5m2"}
"""Types of elements as tensors name them."""


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
