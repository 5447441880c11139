"""Whole models as lists of cascades: each layer with its shape, how often it stands in the model, and what it keeps.

``load_network`` takes a workload of the paper or a ``config.json`` to a network in one of two phases. ``prefill`` runs
all tokens of a prompt at once. ``decode`` makes the next token of every sequence: ``seq_len`` tokens are in its cache
by the end of the step, the new one among them, and it sees them all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

from einsum_cascades.errors import DefinitionError, ExtentError, UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure
from workloads.models import Workload, load_workload, shape_of, workload_ids
from workloads.transformer import linear_layers
from workloads.variants import load_variant

Phase = Literal["prefill", "decode"]
Group = Literal["embedding", "norm", "attention", "mixer", "mlp", "residual", "head"]
CONFIG = "config.json"
"""The name of the file in a model's folder."""

_IN_PASSES = re.compile(r"[123]pass$")


@dataclass(frozen=True)
class Layer:
    """A cascade in a model: an algorithm of a variant, at the ``extents`` of its ranks (those of tiles are left to a
    mapping, but for chunks that the model fixes), ``instances`` times side by side, ``count`` times in the model.

    ``weights`` are its inputs that are parameters of its own (those of a tied head are the embedding's), of which
    there are ``weight_sets``: instances share one, but experts have one each. ``kept_values`` is how many values of
    keys and values (group ``attention``) or of state (``mixer``) are kept for the next token, all instances together.
    """

    name: str
    group: Group
    variant: str
    algorithm: str
    extents: Mapping[str, int]
    instances: int = 1
    count: int = 1
    weights: tuple[str, ...] = ()
    weight_sets: int = 1
    kept_values: int = 0

    @property
    def cascade_name(self) -> str:
        """The name of its cascade: ``variant:algorithm``."""
        return f"{self.variant}:{self.algorithm}"

    @property
    def cascade(self) -> Cascade:
        """Its cascade."""
        return load_variant(self.variant).cascade(self.algorithm)

    @property
    def parameters(self) -> int:
        """The parameters of one of the ``count``."""
        return self.weight_sets * sum(prod(self.shape(tensor)) for tensor in self.weights)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns the shape of an input.

        Raises: DefinitionError where neither ranks nor the variant say it.
        """
        shapes = load_variant(self.variant).input_shapes
        if tensor in shapes:
            return shapes[tensor](self.extents)
        found = structure(self.cascade)
        sizes = tuple(size for size in found.shape(tensor, self.extents) if size is not None)
        if len(sizes) != len(found.dimensions[tensor]):
            raise DefinitionError(f"its shape does not follow from the extents, got ranks "
                                  f"{found.dimensions[tensor]}; give all of them",
                                  source=f"layer {self.name!r}", path=tensor)
        return sizes

    def operations(self) -> dict[str, int]:
        """Returns the operations of one of the ``count`` by class, all instances together.

        Raises: ExtentError where a tile has no extent.
        """
        from einsum_cascades.analysis.operations import count_operations
        from einsum_cascades.extents import resolve_extents
        cascade = self.cascade
        extents = resolve_extents(cascade, self.extents)
        return {name: int(formula.value(extents)) * self.instances
                for name, formula in count_operations(cascade, extents).total.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, and the parameters."""
        return {**asdict(self), "extents": dict(self.extents), "weights": list(self.weights),
                "parameters": self.parameters}


@dataclass(frozen=True)
class Network:
    """A model in a phase: ``layers`` in the order of their first use.

    ``parameters`` are those of the whole model, also where a phase leaves out layers (a decoder's step, its encoder).
    ``value_bytes`` is the size of a value in the published weights (None: it is not said), ``notes`` what was assumed,
    ``ignored`` the keys of a configuration that nothing was read from.
    """

    id: str
    title: str
    source: str
    phase: Phase
    seq_len: int
    batch: int
    layers: tuple[Layer, ...]
    parameters: int
    value_bytes: int | None = None
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def cache_values(self) -> int:
        """The values of keys and values that are kept for the next token of all sequences."""
        return self._kept("attention")

    @property
    def state_values(self) -> int:
        """The values of scans' and convolutions' states that are kept for the next token of all sequences."""
        return self._kept("mixer")

    def weight_bytes(self, value_bytes: float | None = None) -> float:
        """Returns the bytes of all parameters, at the published size of a value or another.

        Raises: DefinitionError where neither is given.
        """
        size = self.value_bytes if value_bytes is None else value_bytes
        if size is None:
            raise DefinitionError("value_bytes: the model does not say it, got none; give one",
                                  source=f"network {self.id!r}")
        return self.parameters * size

    def operations(self) -> dict[str, int]:
        """Returns the operations of the whole network by class."""
        total: dict[str, int] = {}
        for layer in self.layers:
            for name, number in layer.operations().items():
                total[name] = total.get(name, 0) + layer.count * number
        return total

    def with_algorithms(self, algorithms: Mapping[str, str]) -> Network:
        """Returns the network with other algorithms, by cascade: ``{"mamba_s6:sequential": "associative"}``.

        Raises: UnknownNameError for a cascade that no layer has, or an algorithm that its variant does not have.
        """
        present = {layer.cascade_name for layer in self.layers}
        for name, algorithm in algorithms.items():
            if name not in present:
                raise UnknownNameError(f"cascade of network {self.id!r}", name, present)
            load_variant(name.partition(":")[0]).check(algorithm)
        return replace(self, layers=tuple(replace(layer, algorithm=algorithms.get(layer.cascade_name, layer.algorithm))
                                          for layer in self.layers))

    def with_passes(self, passes: Literal[1, 2, 3]) -> Network:
        """Returns the network with all of its attention in so many passes over the keys."""
        return self.with_algorithms({layer.cascade_name: _IN_PASSES.sub(f"{passes}pass", layer.algorithm)
                                     for layer in self.layers if _IN_PASSES.search(layer.algorithm)})

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields and the totals."""
        return {"id": self.id, "title": self.title, "source": self.source, "phase": self.phase, "seq_len": self.seq_len,
                "batch": self.batch, "parameters": self.parameters, "value_bytes": self.value_bytes,
                "cache_values": self.cache_values, "state_values": self.state_values, "notes": list(self.notes),
                "ignored": list(self.ignored), "layers": [layer.to_dict() for layer in self.layers]}

    def _kept(self, group: Group) -> int:
        return sum(layer.count * layer.kept_values for layer in self.layers if layer.group == group)


def load_network(name_or_path: str | os.PathLike[str], *, phase: str = "prefill", seq_len: int, batch: int | None = None,
                 target_len: int | None = None, logits: str = "last") -> Network:
    """Returns the network of a workload's id or file, of a ``config.json`` or a folder with one.

    ``batch`` is 1 where it is not given, or the workload's. Of a model with an encoder, that sees ``seq_len`` tokens
    and the decoder ``target_len`` (default: as many). ``logits`` are made of each sequence's ``last`` token or of
    ``all``.

    Raises: UnknownNameError for a name, phase or architecture that there is not; DefinitionError for a wrong file, or
    a model that cannot run so; ExtentError for lengths below 1.
    """
    checked_phase = _choice("phase", phase, get_args(Phase))
    _choice("logits", logits, ("last", "all"))
    for what, length in (("seq_len", seq_len), ("batch", batch), ("target_len", target_len)):
        if length is not None and length < 1:
            raise ExtentError(f"{what}: it should be at least 1, got {length}; correct it")
    name = os.fspath(name_or_path)
    if name not in workload_ids() and (name.lower().endswith(".json") or Path(name).is_dir()):
        from workloads.huggingface import load_config
        from workloads.layers import network
        return network(load_config(Path(name) / CONFIG if Path(name).is_dir() else name), phase=checked_phase,
                       seq_len=seq_len, batch=batch or 1, target_len=target_len, all_logits=logits == "all")
    workload = load_workload(name)
    if target_len is not None:
        raise DefinitionError(f"target_len: one layer has no encoder, got {target_len}; give seq_len alone",
                              source=f"workload {workload.id!r}")
    return network_of_workload(workload, phase=checked_phase, seq_len=seq_len, batch=batch)


def network_of_workload(workload: Workload, *, phase: Phase = "prefill", seq_len: int,
                        batch: int | None = None) -> Network:
    """Returns one layer of a workload as its source evaluates it: attention and the six linear layers, without norms,
    activations and residual additions.

    In ``decode`` one query of each sequence sees ``seq_len`` keys.
    """
    batch = batch or workload.batch
    attention = shape_of(load_variant("attention"), workload, seq_len=seq_len, batch=batch)
    queries = seq_len if phase == "prefill" else 1
    kept = batch * workload.heads * seq_len * (workload.e + workload.f) if phase == "decode" else 0
    layers = {own.name: Layer(f"layer.{own.name}", "mlp" if own.name.startswith("ffn") else "attention", "gemm", "product",
                              own.extents, weights=("B",)) for own in linear_layers(workload, queries, batch)}
    scores = Layer("layer.scores", "attention", "attention", load_variant("attention").default_algorithm,
                   {**attention.extents, "p": queries}, attention.instances, kept_values=kept)
    ordered = [scores if name == "scores" else layers[name]
               for name in ("query", "key", "value", "scores", "output", "ffn1", "ffn2")]
    return Network(workload.id, f"One layer of {workload.title}", workload.source, phase, seq_len, batch, tuple(ordered),
                   parameter_total(ordered))


def parameter_total(layers: Iterable[Layer]) -> int:
    """Returns the parameters of layers, each as often as it stands in the model."""
    return sum(layer.count * layer.parameters for layer in layers)


def _choice(what: str, value: str, valid: Iterable[str]) -> Any:
    if value not in valid:
        raise UnknownNameError(what, value, valid)
    return value
