"""What is known of a compiled kernel: the resources that it needs and the instructions that it has.

Facts grow while a kernel is compiled: what a stage has not told yet is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class CompiledFacts:
    """Facts of one kernel for one target.

    ``num_warps`` are those of a block, with what warp specialization adds. ``accumulator_bytes`` is an estimate from before,
    ``carried_bytes`` is what its loops carry in
    tensors, of a whole block: a lower bound of its registers (and tensor memory). ``registers``, ``stack_bytes`` and the
    bytes of spills are those of one thread; for AMD ``registers`` are vector registers. ``instructions`` counts the
    instructions of the text (not those executed) by class. ``ptx_sha256`` is of the assembly without line numbers; for
    AMD it is that of its own assembly. ``serialized_wgmma`` is the reason that ptxas gives where it serializes
    asynchronous products. ``stage_seconds`` is the time of each stage.
    """

    name: str
    target: str
    triton_version: str
    num_warps: int
    num_stages: int
    accumulator_bytes: int = 0
    carried_bytes: int | None = None
    shared_bytes: int | None = None
    tensor_memory_columns: int | None = None
    registers: int | None = None
    spill_store_bytes: int | None = None
    spill_load_bytes: int | None = None
    stack_bytes: int | None = None
    ptx_sha256: str | None = None
    serialized_wgmma: str = ""
    instructions: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every stage has been passed."""
        return self.registers is not None

    @property
    def spill_bytes(self) -> int | None:
        """Bytes that a thread spills."""
        return self.spill_store_bytes

    def to_dict(self) -> dict[str, Any]:
        """Returns the facts in JSON's types."""
        return asdict(self)
