"""Every mapping of a small problem, one at a time: designs written out from the words of docs/mapping.md, nothing bounded away.

Own code: it shares with the mapper only the types of designs, and the simulator that costs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

from accelerator_sim.design import Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.errors import ComponentError
from accelerator_sim.estimate import estimate
from accelerator_sim.machine import Machine
from accelerator_sim.plan import Shape
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Cascade, Einsum, accesses
from einsum_cascades.mapping import CascadeMapping, Nest

SIDES = {"array_2d": ("rows", "cols"), "array_1d": ("lanes",)}


@dataclass(frozen=True)
class Exhaustive:
    """The search of a cascade without composites, iterations or predicates; ``loops`` are the most shared ones, ``sizes`` those that
    the tiles of a rank may have, ``whole`` the pairs of Einsum and rank that cannot share a loop."""

    cascade: Cascade
    machine: Machine
    shape: Shape
    loops: int
    parts: int
    sizes: Mapping[str, Sequence[int]]
    barriers: frozenset[tuple[str, str, str]]

    def best(self, objective: str) -> float | None:
        """Returns the least latency or energy over all cuts; None where nothing fits."""
        names = [e.name for e in self.cascade.einsums]
        least: list[float | None] = [0.0]
        for end in range(1, len(names) + 1):
            found = []
            for start in range(end):
                before = least[start]
                group = tuple(names[start:end])
                value = self.group(group)[objective] if before is not None and self.connected(group) else None
                if before is not None and value is not None:
                    found.append(before + value)
            least.append(min(found) if found else None)
        return least[-1]

    def group(self, names: tuple[str, ...]) -> dict[str, float | None]:
        """Returns the least latency and energy of a group by itself."""
        if names not in self._known:
            found: dict[str, float | None] = {"latency": None, "energy": None}
            for design in self.designs(names):
                try:
                    made = estimate(self.cascade, design, self.machine, self.shape, whole=False)
                except (DesignError, ComponentError):
                    continue
                for key, value in (("latency", float(made.latency_s)), ("energy", float(made.energy_pj["total"]))):
                    known = found[key]
                    found[key] = value if known is None else min(known, value)
            self._known[names] = found
        return self._known[names]

    @cached_property
    def _known(self) -> dict[tuple[str, ...], dict[str, float | None]]:
        return {}

    # --- every design of a group ---

    def designs(self, names: tuple[str, ...]) -> Iterator[Design]:
        """Yields them."""
        einsums = [self.einsum(n) for n in names]
        ranks = tuple(dict.fromkeys(r for e in einsums for r in e.ranks))
        free = [r for r in ranks if not any(a in names and b in names for a, b, rank in self.barriers if rank == r)]
        for count in range(self.loops + 1):
            for loops in product(free, repeat=count):
                if any(a == b for a, b in pairwise(loops)) or any(loops.count(r) >= self.parts for r in loops):
                    continue
                for sizes in self.tiles(tuple(dict.fromkeys(loops)), loops):
                    yield from self.bound(einsums, loops, sizes)

    def tiles(self, ranks: tuple[str, ...], loops: tuple[str, ...]) -> Iterator[dict[str, tuple[int, ...]]]:
        every = []
        for rank in ranks:
            own: list[tuple[int, ...]] = [(n,) for n in self.sizes[rank]]
            if loops.count(rank) == 2:
                own = [(n, inner) for (inner,) in own for n in range(2, -(-self.shape.extents[rank] // inner))
                       if n in tile_candidates(-(-self.shape.extents[rank] // inner))]
            every.append(own)
        for chosen in product(*every):
            yield dict(zip(ranks, chosen, strict=True))

    def bound(self, einsums: Sequence[Einsum], loops: tuple[str, ...], sizes: Mapping[str, tuple[int, ...]]) -> Iterator[Design]:
        parts = {r: tuple(f"{r}_{n}" for n in range(len(s), -1, -1)) for r, s in sizes.items()}
        lengths = {parts[r][1:][i]: s[i] for r, s in sizes.items() for i in range(len(s))}
        inner = {e.name: tuple(parts[r][-1] if r in parts else r for r in
                               (*(r for r in e.ranks if r in e.output_ranks), *(r for r in e.ranks if r not in e.output_ranks))) for e in einsums}
        length = {p: lengths.get(p, self.shape.extents.get(p, 0)) for own in inner.values() for p in own}
        looped = tuple(parts[r][loops[:i].count(r)] for i, r in enumerate(loops))
        for units in product(SIDES, repeat=len(einsums)):
            placed = {e.name: u for e, u in zip(einsums, units, strict=True)}
            tables = []
            for unit in dict.fromkeys(units):
                own = [p for p in dict.fromkeys(p for e in einsums if placed[e.name] == unit for p in inner[e.name]) if length[p] > 1 or p in lengths]
                sides = [s for s in SIDES[unit] if int(self.machine.units[unit].dimensions[s]) > 1]
                tables.append([(unit, self.joined(sides, owners)) for owners in product(own, repeat=len(sides))] if own and sides else [(unit, {})])
            for chosen in product(*tables):
                table = dict(chosen)
                spread = {e.name: {p: s for p, s in table[placed[e.name]].items() if p in inner[e.name]} for e in einsums}
                for kept, forward in self.places(einsums, looped, placed, spread, inner, length):
                    nest = Nest(tuple(placed), ("b", *looped), inner, {n: tuple(s) for n, s in spread.items()})
                    dependent = any(r.tensor in placed for e in einsums for r in e.reads)
                    yield Design("all", "All", "these tests", "any", (), CascadeMapping((nest,), parts, ("b",)), {p: Size(n) for p, n in lengths.items()},
                                 (Binding(placed, spread, {"global_buffer": kept}, forward),),
                                 (Stage("all", (0,), Schedule(pipelined=dependent)),))

    @staticmethod
    def joined(sides: Sequence[str], owners: Sequence[str]) -> dict[str, str]:
        return {p: "*".join(s for s, o in zip(sides, owners, strict=True) if o == p) for p in dict.fromkeys(owners)}

    def places(self, einsums: Sequence[Einsum], looped: tuple[str, ...], placed: Mapping[str, str], spread: Mapping[str, Mapping[str, str]],
               inner: Mapping[str, tuple[str, ...]], length: Mapping[str, int]) -> Iterator[tuple[tuple[Kept, ...], dict[str, tuple[str, ...]]]]:
        names = [e.name for e in einsums]
        tensors = list(dict.fromkeys(t for e in einsums for t in (*(a.tensor for a in accesses(e.body)), e.name)))
        readers = {t: tuple(e.name for e in einsums if t in {a.tensor for a in accesses(e.body)}) for t in tensors}
        choices: list[list[str | None]] = []
        for tensor in tensors:
            own: list[str | None] = ["b", *looped]
            if tensor in names and readers[tensor] and self.passes(tensor, readers[tensor], placed, spread, inner, length):
                own.append(None)
            choices.append(own)
        for chosen in product(*choices):
            kept = tuple(Kept(t, at) for t, at in zip(tensors, chosen, strict=True) if at is not None)
            yield kept, {t: readers[t] for t, at in zip(tensors, chosen, strict=True) if at is None}

    def passes(self, tensor: str, readers: Sequence[str], placed: Mapping[str, str], spread: Mapping[str, Mapping[str, str]],
               inner: Mapping[str, tuple[str, ...]], length: Mapping[str, int]) -> bool:
        """One value for each PE that makes it, or the only reader takes them in the order in which they are made."""
        kept = set(self.einsum(tensor).output_ranks)
        own = [p for p in inner[tensor] if p.split("_")[0] in kept]
        pes = {p: prod(int(self.machine.units[placed[tensor]].dimensions[s]) for s in sides.split("*")) for p, sides in spread[tensor].items()}
        if all(length[p] <= pes.get(p, 1) for p in own):
            return True
        waiting = [p for p in own if p not in pes and length[p] > 1]
        reader = readers[0]
        taking = [p for p in inner[reader] if p not in spread[reader] and length[p] > 1]
        return len(readers) == 1 and all(length[p] <= pes[p] for p in own if p in pes) and taking[:len(waiting)] == waiting

    def einsum(self, name: str) -> Einsum:
        return next(e for e in self.cascade.einsums if e.name == name)

    def connected(self, names: tuple[str, ...]) -> bool:
        groups: list[set[str]] = []
        for name in names:
            own = {name, *(a.tensor for a in accesses(self.einsum(name).body))}
            touching = [g for g in groups if g & own]
            groups = [g for g in groups if not g & own] + [own.union(*touching)]
        return len(groups) == 1


def tile_candidates(extent: int, sides: Sequence[int] = ()) -> set[int]:
    """Returns the tile sizes of the declared space, where they are few."""
    return {n for n in range(1, extent) if extent % n == 0 or n & (n - 1) == 0 or n in sides}
