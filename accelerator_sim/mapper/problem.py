"""What is to be mapped: a cascade at a shape on a machine, with what does not depend on any mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from accelerator_sim.frame import value_reads
from accelerator_sim.machine import BITS_PER_BYTE, Machine
from accelerator_sim.mapper.options import MapperSpace
from accelerator_sim.mapper.tiles import tile_sizes, unit_sides
from accelerator_sim.operators import FUSED, counted, per_point
from accelerator_sim.plan import Shape
from einsum_cascades.analysis.passes import rank_passes
from einsum_cascades.errors import DesignError, ExtentError
from einsum_cascades.extents import resolve_extents
from einsum_cascades.ir import Cascade, Einsum
from einsum_cascades.mapping import walked
from einsum_cascades.operators import DTYPE_BITS
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Placement:
    """A unit that an Einsum can run on; ``elsewhere`` are operators that it lacks and that other units perform meanwhile."""

    unit: str
    elsewhere: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Problem:
    """A cascade at a shape on a machine. All parts of ranks that the cascade itself cuts have their extents in ``shape``."""

    cascade: Cascade
    machine: Machine
    shape: Shape
    space: MapperSpace

    @cached_property
    def extents(self) -> dict[str, int]:
        """The extent of every rank."""
        return dict(resolve_extents(self.cascade, self.shape.extents))

    @cached_property
    def instances(self) -> tuple[str, ...]:
        """Ranks that repeat the cascade."""
        own = {r for e in self.cascade.einsums for r in e.ranks}
        return tuple(r for r in self.shape.instances if r not in own)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The Einsums in an order of evaluation."""
        seeds = {id(e) for e in self.cascade.inits}
        return tuple(e.name for e in structure(self.cascade).order if id(e) not in seeds)

    @cached_property
    def einsums(self) -> dict[str, Einsum]:
        """The Einsums by name."""
        return {e.name: e for e in self.cascade.einsums}

    @cached_property
    def leaves(self) -> dict[str, str]:
        """The composite rank of each rank that is a part of one."""
        return {leaf: name for name, own in structure(self.cascade).composites.items() for leaf in own}

    @cached_property
    def partitions(self) -> dict[str, tuple[str, ...]]:
        """Ranks that some Einsums walk whole and others in the tiles of the cascade: in these tiles by all."""
        found = structure(self.cascade)
        return {name: parts for name, parts in found.composites.items() if name in found.ranks}

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """The lengths over which parts can be spread."""
        return unit_sides(self.machine)

    def ranks(self, einsum: str) -> tuple[str, ...]:
        """Returns the ranks that an Einsum walks, those that the cascade cuts as their parts."""
        return self._ranks[einsum]

    @cached_property
    def _ranks(self) -> dict[str, tuple[str, ...]]:
        return {n: tuple(dict.fromkeys(p for r in walked(e) for p in self.partitions.get(r, (r,)))) for n, e in self.einsums.items()}

    def operands(self, einsum: str) -> tuple[str, ...]:
        """Returns the tensors that an Einsum reads, but its own earlier generations."""
        return self._operands[einsum]

    def reads(self, einsum: str, tensor: str) -> int:
        """Returns at how many places an Einsum reads a tensor."""
        return sum(a.tensor == tensor for a in value_reads(self.einsums[einsum]))

    def results(self, einsum: str) -> tuple[str, ...]:
        """Returns the tensors that an Einsum makes: one, or several of an Einsum over tuples."""
        return tuple(a.tensor for a in self.einsums[einsum].outputs)

    @cached_property
    def makers(self) -> dict[str, str]:
        """The Einsum that makes each tensor."""
        return {t: n for n in self.order for t in self.results(n)}

    @cached_property
    def _operands(self) -> dict[str, tuple[str, ...]]:
        return {n: tuple(dict.fromkeys(a.tensor for a in value_reads(e) if a.tensor not in self.results(n)))
                for n, e in self.einsums.items()}

    def value_bytes(self, tensor: str) -> float:
        """Returns the bytes of one value of a tensor."""
        kinds = dict(self.cascade.dtypes)
        return DTYPE_BITS[kinds[tensor]] / BITS_PER_BYTE if tensor in kinds else float(self.machine.value_bytes)

    def tile_sizes(self, rank: str) -> tuple[int, ...]:
        """Returns the tile sizes that a rank may have, all below its extent."""
        return tile_sizes(self.extents[rank], self.sides, self.space.most_sizes)

    def iterated(self, names: tuple[str, ...]) -> frozenset[str]:
        """Returns the ranks that some Einsums iterate over: each round needs the one before."""
        return frozenset(i.rank for t, i in structure(self.cascade).iterative.items() if self.makers.get(t) in names)

    @cached_property
    def iterative(self) -> frozenset[str]:
        """The ranks that the cascade iterates over."""
        return self.iterated(self.order)

    @cached_property
    def known_cuts(self) -> dict[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """The parts of ranks under loops, which structures.cut keeps here."""
        return {}

    @cached_property
    def known_parts(self) -> dict[tuple[str, tuple[str, ...]], tuple[str, ...]]:
        """The parts of an Einsum's own loops under shared ones, which structures.inner_parts keeps here."""
        return {}

    @cached_property
    def placements(self) -> dict[str, tuple[Placement, ...]]:
        """The units that each Einsum can run on: those that perform all its operators, else any with the help of others.

        Raises: DesignError where there is none.
        """
        return {name: self._placements(self.einsums[name]) for name in self.order}

    def _placements(self, einsum: Einsum) -> tuple[Placement, ...]:
        counts, sums_product = counted(self.cascade, einsum)
        place = f"cascade {self.cascade.name!r}: Einsum {einsum.name!r}"
        found, helped = [], []
        missing: DesignError | None = None
        for unit in self.machine.units.values():
            others = {op: u for u in self.machine.units.values() for op in u.cycles if op not in unit.cycles and op != FUSED}
            try:
                per_point(counts, sums_product, unit.cycles, place, unit.name)
                found.append(Placement(unit.name, {}))
                continue
            except DesignError as error:
                missing = error
            try:
                operators = per_point(counts, sums_product, {**others, **unit.cycles}, place, unit.name)
            except DesignError as error:
                missing = error
                continue
            helped.append(Placement(unit.name, {op: others[op].name for op in operators if op not in unit.cycles}))
        if not found and not helped:
            raise missing or DesignError(f"machine {self.machine.id!r}: it has no compute unit, got none; give it one")
        return tuple(found or helped)

    def one_sweep(self, rank: str, names: tuple[str, ...]) -> bool:
        """Returns whether some Einsums can share a loop over a rank: none needs what another makes of the whole rank.

        Source: the pass analysis (einsum_cascades.analysis.passes).
        """
        known = self._sweeps
        key = rank, names
        if key not in known:
            plan = rank_passes(self.cascade)[rank].plan
            members = frozenset(n for n in plan.graph.members(rank)
                                if plan.graph.nodes[n].einsum.name in names and not plan.graph.nodes[n].seed)
            known[key] = plan.sweeps(members)[0] <= 1 if members else True
        return known[key]

    @cached_property
    def _sweeps(self) -> dict[tuple[str, tuple[str, ...]], bool]:
        return {}


def problems(cascade: Cascade, machine: Machine, shape: Shape, space: MapperSpace) -> Iterator[Problem]:
    """Yields the problem for each choice of the tiles that the cascade itself cuts and the shape does not give.

    Raises: ExtentError for a rank without an extent.
    """
    found = structure(cascade)
    free: dict[str, tuple[int, ...]] = {}
    for name, (_, *inner) in found.composites.items():
        missing = [leaf for leaf in inner if leaf not in shape.extents and leaf not in found.composites]
        if not missing:
            continue
        if name not in shape.extents:
            raise ExtentError(f"cascade {cascade.name!r}: rank {name!r} has no extent, got extents of "
                              f"{', '.join(shape.extents) or 'no rank'}; give it (--extent {name}=...)")
        whole = shape.extents[name]
        for leaf in missing:
            free[leaf] = (*tile_sizes(whole, unit_sides(machine), space.most_sizes), whole)
    for sizes in product(*free.values()):
        extents = {**shape.extents, **dict(zip(free, sizes, strict=True))}
        yield Problem(cascade, machine, Shape(extents, shape.instances, shape.workload, shape.seq_len), space)
