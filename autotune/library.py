"""Kernels as a library: a cascade as a function of torch tensors, in the configuration that the store has for it.

```python
import autotune
attention = autotune.load("attention:1pass")
out = attention(Q=q, K=k, V=v)["AV"]          # (batch, heads, ...) in front of the cascade's ranks
```
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autotune.errors import LaunchError
from autotune.kernel import KernelPlan
from autotune.launch import launch
from autotune.lowering import default_config, lower
from autotune.lowering.defaults import default_extents
from autotune.space import Configuration
from autotune.space.kernels import settings_of
from autotune.store import Lookup, Store, StoreError, look_up
from autotune.store.places import default_folder
from autotune.timing.environment import installed
from autotune.tuner.kernels import Work, kernel_key
from einsum_cascades.errors import suggest
from einsum_cascades.extents import known_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure

if TYPE_CHECKING:
    import torch

_TYPES = {"torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float32": "fp32"}


@dataclass
class LoadedKernel:
    """A cascade as a function. Call it with its input tensors by name; it returns its outputs by name.

    A tensor has the cascade's ranks as its last dimensions; up to two in front (batch and heads) are independent
    instances. Plans are made once for each shape and type; ``plan`` and ``lookup`` tell what a call uses.
    """

    work: Work
    cascade: Cascade
    store: str | os.PathLike[str] | None
    extents: Mapping[str, int]
    _made: dict[tuple[Any, ...], tuple[KernelPlan, Lookup]] = field(default_factory=dict, repr=False)

    def __call__(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """Runs the kernels and returns the outputs.

        Raises: LaunchError for tensors that are missing or do not fit, or are on the CPU outside of Triton's interpreter;
        LoweringError for a shape that has no kernel.
        """
        return launch(self.plan(**tensors), self._placed(tensors))

    def plan(self, **tensors: torch.Tensor) -> KernelPlan:
        """Returns the kernels that a call with these tensors runs.

        Raises: as a call.
        """
        return self._found(tensors)[0]

    def lookup(self, **tensors: torch.Tensor) -> Lookup:
        """Returns what the store has for a call with these tensors: a hit, or why the default configuration is used.

        Raises: as a call.
        """
        return self._found(tensors)[1]

    def _found(self, tensors: Mapping[str, torch.Tensor]) -> tuple[KernelPlan, Lookup]:
        self._check(tensors)
        first = tensors[sorted(self._ranks())[0]]
        key = (str(first.device), *((name, tuple(tensors[name].shape), str(tensors[name].dtype)) for name in sorted(tensors)))
        if key not in self._made:
            self._made[key] = self._make(tensors)
        return self._made[key]

    def _make(self, tensors: Mapping[str, torch.Tensor]) -> tuple[KernelPlan, Lookup]:
        shapes = {name: tuple(tensors[name].shape)[-len(ranks):] if ranks else () for name, ranks in self._ranks().items()}
        extents = known_extents(self.cascade, self.extents, shapes)
        parts = {p for ranks in structure(self.cascade).composites.values() for p in ranks}
        own = {rank: size for rank, size in extents.items() if rank not in parts or rank in self.extents}
        types = [_TYPES[str(t.dtype)] for t in tensors.values() if str(t.dtype) in _TYPES]
        if not types:
            raise LaunchError(f"{self.cascade.name}: its tensors should be of a type that kernels have, got "
                              f"{', '.join(sorted({str(t.dtype) for t in tensors.values()}))}; give bf16, fp16 or fp32")
        dtype = max(set(types), key=lambda name: (types.count(name), name))
        ranks = self._ranks()
        count = max(_instances(tuple(tensors[name].shape), len(ranks[name])) for name in ranks)
        work = Work(self.work.name, own, dtype, count, self.work.text)
        found = self._look_up(work, next(iter(tensors.values())))
        return _plan(self.cascade, own, dtype, found.configuration or {}), found

    def _look_up(self, work: Work, tensor: torch.Tensor) -> Lookup:
        import torch
        device = torch.cuda.get_device_name(tensor.device) if tensor.is_cuda else "cpu"
        folder = self.store if self.store is not None else default_folder()
        key = kernel_key(work, device, installed("triton"))
        try:
            with Store(folder, read_only=True) as store:
                return look_up(store, key)
        except StoreError as error:
            if self.store is not None:
                raise
            return Lookup("miss", str(error))  # nobody named a store, so that there is none is no error

    def _check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        ranks = self._ranks()
        for name in tensors:
            if name not in ranks:
                raise LaunchError(f"{self.cascade.name}: it reads no such tensor, got {name!r}; {suggest(name, ranks)}")
        for name, own in ranks.items():
            if name not in tensors:
                raise LaunchError(f"{self.cascade.name}: an input is missing, got {', '.join(tensors) or 'none'}; give {name!r}")
            if not len(own) <= tensors[name].dim() <= len(own) + 2:
                raise LaunchError(f"tensor {name!r}: it has the ranks {', '.join(map(str, own))} and up to two dimensions before them, got "
                                  f"shape {tuple(tensors[name].shape)}; reshape it")

    def _placed(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors with both instances, or none: one dimension in front is the batch's."""
        ranks = self._ranks()
        return {name: t.unsqueeze(1) if t.dim() == len(ranks[name]) + 1 else t for name, t in tensors.items()}

    def _ranks(self) -> dict[str, tuple[str | None, ...]]:
        parts = structure(self.cascade)
        return {name: parts.dimensions[name] for name in parts.inputs}


def load(cascade: str, *, store: str | os.PathLike[str] | None = None, extents: Mapping[str, int] | None = None) -> LoadedKernel:
    """Returns a cascade as a function of torch tensors.

    ``cascade`` is a variant's ``id`` or ``id:algorithm``, or the path of a cascade's file. ``store`` is the folder of the
    store that has its configurations (None: the user's own, if there is one); where it has none for a shape, the plain
    default is used. ``extents`` are of ranks that no tensor gives, such as a window's.

    Raises: UnknownNameError, NotationError for what is no cascade.
    """
    from einsum_cascades.loading import load as load_file
    from einsum_cascades.printing import to_text
    if os.sep in cascade or cascade.endswith((".cascade", ".txt", ".yaml", ".yml")):
        made = load_file(cascade)
        return LoadedKernel(Work(made.name, {}, "bf16", 1, to_text(made)), made, store, dict(extents or {}))
    variant, algorithm = Work(cascade, {}, "bf16").variant()
    found = variant.cascade(algorithm)
    return LoadedKernel(Work(found.name, {}, "bf16"), found, store, dict(extents or {}))


def _plan(cascade: Cascade, extents: Mapping[str, int], dtype: str, configuration: Configuration) -> KernelPlan:
    base = default_config(cascade, extents, dtype)
    parts, settings = settings_of(configuration)
    return lower(cascade, default_extents(cascade, {**extents, **parts}), base.changed(settings))


def _instances(shape: tuple[int, ...], ranks: int) -> int:
    count = 1
    for size in shape[:len(shape) - ranks]:
        count *= size
    return count
