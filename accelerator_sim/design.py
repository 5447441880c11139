"""A design: how a cascade is mapped and bound to a machine. Mapping, binding, and a schedule for each stage.

The *mapping* (einsum_cascades) orders the iteration space; the *binding* says which Einsum runs on which unit, which
parts of its ranks are spread over which side of it, what is kept in which memory inside which loop, and what passes
from Einsum to Einsum without a memory. *Stages* run one after another; what overlaps inside a stage is its schedule.

Source: FuseMax (arXiv 2406.10491), sections II-C (mapping and binding) and V (its binding in epochs of phases).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from einsum_cascades.mapping import CascadeMapping, Nest

OVERFLOW: Final = "overflow"
"""The spilled share of a tensor that is whatever does not fit beside the others."""


@dataclass(frozen=True, slots=True)
class Size:
    """The extent of a part of a rank.

    ``value`` is a number, a path of the machine (``array_2d.cols``), or a rank (all of it). Otherwise the size is the
    largest for which what is kept in memory ``fits`` does fit: in all of it, or in at most ``at_most_bytes``; of all
    that is kept there, or of the tensors ``of`` alone. With ``divides`` it is a divisor of the tiles that are left.
    """

    value: str | int | None = None
    fits: str | None = None
    at_most_bytes: int | None = None
    of: tuple[str, ...] = ()
    divides: bool = True


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor that is kept in a memory.

    ``at`` is the loop inside which one tile of it lives (None: the whole tensor lives for the whole nest). A share
    ``spill`` of its tile does not fit, and that share of the accesses goes on to the next memory outwards. With
    ``in_place`` it takes the room of another tensor, which it overwrites.
    """

    tensor: str
    at: str | None
    spill: float | Literal["overflow"] = 0.0
    in_place: str | None = None


@dataclass(frozen=True)
class Binding:
    """The binding of one nest.

    ``unit`` of each Einsum; ``spread`` maps the parts of its ranks to sides of the unit. ``kept`` in each memory.
    ``forward`` names, for a tensor, the Einsums that take it from the registers where it was made. ``absorbed`` are
    operators of an Einsum that take no cycle there, since the operand passes them on its way, and ``elsewhere`` those that
    another unit performs meanwhile (an exp unit beside the lanes). ``skip_empty`` says that
    iterations of the shared loops that hold no point of any Einsum with a predicate are skipped for all.
    """

    unit: Mapping[str, str]
    spread: Mapping[str, Mapping[str, str]]
    kept: Mapping[str, tuple[Kept, ...]]
    forward: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absorbed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skip_empty: bool = False
    elsewhere: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of an epoch: Einsums that run at the same time, one after another on each unit; or the wait until the
    results of a unit have left it (``drain``)."""

    einsums: tuple[str, ...] = ()
    drain: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work of a stage overlaps.

    Without phases, units overlap freely: the busiest decides. With phases, an epoch is one round of the shared loops
    of the stage's only nest, and takes the sum of its phases, each as long as its longest unit. A ``pipelined`` stage
    overlaps as far as units and dependencies allow, and takes the time to fill its pipeline.
    """

    phases: tuple[Phase, ...] = ()
    pipelined: bool = False


@dataclass(frozen=True)
class Stage:
    """Nests (by number in the mapping) that share the machine at a time. ``off_chip`` tensors pass through the outermost
    memory between its nests. ``sizes`` are of parts of ranks here, over the design's."""

    name: str
    nests: tuple[int, ...]
    schedule: Schedule
    off_chip: frozenset[str] = frozenset()
    sizes: Mapping[str, Size] = field(default_factory=dict)


@dataclass(frozen=True)
class ArtifactAccounting:
    """What the artifact of a paper counts otherwise than the physics, for one design.

    ``per_pe`` tensors pass between a column of PEs and its lane, and are counted once for each PE of the column, while
    every other register access is that of one PE. ``read_back`` tensors are read back in every round of a loop but
    the first. ``omitted_energy`` names, for an operator, the Einsums whose energy of it is left out.
    """

    per_pe: frozenset[str] = frozenset()
    read_back: Mapping[str, str] = field(default_factory=dict)
    omitted_energy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Design:
    """A design for one cascade; sizes are rules until a machine and a shape are given."""

    id: str
    title: str
    source: str
    cascade: str
    machines: tuple[str, ...]
    mapping: CascadeMapping
    sizes: Mapping[str, Size]
    bindings: tuple[Binding, ...]
    stages: tuple[Stage, ...]
    artifact: ArtifactAccounting | None = None

    def nest(self, number: int) -> Nest:
        """Returns a nest of the mapping."""
        return self.mapping.nests[number]
