"""Runs a design's loops tile by tile on numbers, with only the tiles at hand that it keeps: what its mapping means.

Own code, on dictionaries of single values. A tile that is given up is gone; what is read and not there is a KeyError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from accelerator_sim.design import Design, Stage
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num
from einsum_cascades.mapping import Nest
from einsum_cascades.structure import structure

Values = dict[tuple[int, ...], float]

MAPS: Mapping[str, Callable[..., float]] = {
    "mul": lambda a, b: a * b, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "div": lambda a, b: a / b if b else 0.0,
    "max": max, "exp": math.exp, "neg": lambda a: -a}


@dataclass
class Walked:
    """A cascade under a design, at ``extents`` (of composites and of their inner parts too)."""

    cascade: Cascade
    design: Design
    extents: Mapping[str, int]
    values: dict[str, Values] = field(default_factory=dict)
    seeds: dict[str, Values] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, Values]:
        """Returns the values of all tensors that are there at the end: the inputs must be in ``values`` before."""
        for seed in self.cascade.inits:
            for point in product(*(range(self.extents[r]) for r in seed.ranks)):
                self._store(seed, dict(zip(seed.ranks, point, strict=True)))
        self.seeds = {t: dict(v) for t, v in self.values.items() if t in {s.outputs[0].tensor for s in self.cascade.inits}}
        for stage in self.design.stages:
            for number in stage.nests:
                self._nest(stage, number)
        return self.values

    # --- a nest ---

    def _nest(self, stage: Stage, number: int) -> None:
        nest, binding = self.design.mapping.nests[number], self.design.bindings[number]
        einsums = [next(e for e in self.cascade.einsums if e.name == n) for n in nest.einsums]
        loops = tuple(x for x in nest.loops if x not in self.design.mapping.instances)
        sizes = {p: int(s.value or 0) for p, s in (*self.design.sizes.items(), *stage.sizes.items())}
        parts = self._parts(nest)
        own = {e.name: {x for x in loops if x in self.design.mapping.parts(e, nest)} for e in einsums}
        depth = {}
        for tensor in nest.einsums:
            at = next((k.at for kepts in binding.kept.values() for k in kepts if k.tensor == tensor), "forwarded")
            # What is forwarded is there, and is added to, until the Einsum that makes it comes to its next tile.
            einsum = next(e for e in einsums if e.name == tensor)
            cuts = self.design.mapping.partitions_in(nest)
            kept = {p for r in einsum.output_ranks for p in cuts.get(r, (r,))}
            depth[tensor] = own[tensor] & kept if at == "forwarded" else set(loops[:loops.index(at) + 1]) if at in loops else set()
        found = structure(self.cascade)
        readers = {t: {e.name for e in self.cascade.einsums if any(r.tensor == t for r in e.reads)} for t in nest.einsums}
        local = [t for t in nest.einsums if t not in found.outputs and readers[t] <= set(nest.einsums)]
        before: dict[str, tuple[int, ...]] = {}
        for starts, ranges, edges in self._rounds(loops, parts, sizes):
            for tensor in local:
                now = tuple(starts[x] for x in loops if x in depth[tensor])
                last = before.get(tensor, now)
                if last != now:
                    own_loops = [x for x in loops if x in depth[tensor]]
                    moved = {x for x, a, b in zip(own_loops, last, now, strict=True) if a != b}
                    self.values[tensor] = self._handed_on(tensor, moved, starts)
                before[tensor] = now
            for einsum in einsums:
                lacking = [x for x in loops if x not in own[einsum.name]]
                if all(edges[x][0 if self._early(einsum.name, x, einsums, own) else 1] for x in lacking):
                    self._tile(einsum, ranges, sizes)
        for tensor in local:
            self.values.pop(tensor, None)

    def _handed_on(self, tensor: str, moved: set[str], starts: Mapping[str, int]) -> Values:
        """What is left of a tensor whose tile changes: the state of an iterative one goes on into the next round of its own loop,
        in place, while everything else is given up."""
        found = dict(self.seeds.get(tensor, {}))
        own = structure(self.cascade).iterative.get(tensor)
        if own is not None and moved == {own.rank}:
            # Loops start at coordinates; those over tiles of a composite rank count tiles.
            tile = next((self.extents[inner] for outer, inner in structure(self.cascade).composites.values() if outer == own.rank), 1)
            slot = starts[own.rank] // tile
            found.update({k: v for k, v in self.values[tensor].items() if k[own.dimension] == slot})
        return found

    def _parts(self, nest: Nest) -> dict[str, tuple[str, ...]]:
        found, cuts = structure(self.cascade), self.design.mapping.partitions_in(nest)
        leaves = {leaf for own in found.composites.values() for leaf in own}
        every = dict.fromkeys((*found.ranks, *found.composites))
        return {r: found.composites.get(r, cuts.get(r, (r,))) for r in every if r not in leaves}

    def _rounds(self, loops: Sequence[str], parts: Mapping[str, tuple[str, ...]], sizes: Mapping[str, int]
                ) -> Iterator[tuple[dict[str, int], dict[str, tuple[int, int]], dict[str, tuple[bool, bool]]]]:
        rank_of = {p: r for r, own in parts.items() for p in own}
        inside = {p: math.prod(sizes[q] for q in own[i + 1:]) for own in parts.values() for i, p in enumerate(own)}

        def step(place: int, starts: dict[str, int], ranges: dict[str, tuple[int, int]], edges: dict[str, tuple[bool, bool]]
                 ) -> Iterator[tuple[dict[str, int], dict[str, tuple[int, int]], dict[str, tuple[bool, bool]]]]:
            if place == len(loops):
                yield starts, ranges, edges
                return
            loop = loops[place]
            low, high = ranges[rank_of[loop]]
            for start in range(low, high, inside[loop]):
                end = min(start + inside[loop], high)
                yield from step(place + 1, {**starts, loop: start}, {**ranges, rank_of[loop]: (start, end)},
                                {**edges, loop: (start == low, end == high)})
        yield from step(0, {}, {r: (0, self.extents[r]) for r in parts}, {})

    @staticmethod
    def _early(name: str, loop: str, einsums: Sequence[Einsum], own: Mapping[str, set[str]]) -> bool:
        """Whether an Einsum that lacks a loop runs in its first round: one that has it needs its result, directly or not."""
        pending, seen = [name], {name}
        while pending:
            made = pending.pop()
            for e in einsums:
                if e.name not in seen and any(r.tensor == made for r in e.reads):
                    if loop in own[e.name]:
                        return True
                    seen.add(e.name)
                    pending.append(e.name)
        return False

    # --- a tile ---

    def _tile(self, einsum: Einsum, ranges: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> None:
        axes: list[list[dict[str, int]]] = []
        leaves = {leaf: (name, parts) for name, parts in structure(self.cascade).composites.items() for leaf in parts}
        done: set[str] = set()
        for rank in einsum.ranks:
            if rank in leaves:
                name, (outer, inner) = leaves[rank]
                if name in done:
                    continue
                done.add(name)
                tile = self.extents[inner]
                pairs = [{outer: c // tile, inner: c % tile} for c in range(*ranges[name])]
                axes.append([dict(t) for t in dict.fromkeys(tuple((k, v) for k, v in p.items() if k in einsum.ranks) for p in pairs)])
            else:
                axes.append([{rank: c} for c in range(*ranges[rank])])
        for chosen in product(*axes):
            self._store(einsum, {k: v for part in chosen for k, v in part.items()})

    def _store(self, einsum: Einsum, point: dict[str, int]) -> None:
        out = einsum.outputs[0]
        key = tuple(int(self._value(i, point)) for i in out.indices)
        value = self._value(einsum.bodies[0], point)
        own = self.values.setdefault(out.tensor, {})
        if einsum.reduction is not None and einsum.reduction.op == "max":
            own[key] = max(own.get(key, -math.inf), value)
        elif einsum.summed_ranks or einsum.reduction is not None:
            own[key] = own.get(key, 0.0) + value
        else:
            own[key] = value

    def _value(self, node: Expr, point: Mapping[str, int]) -> float:
        match node:
            case Num(value=value):
                return value
            case Coord(rank=rank):
                return point[rank]
            case Extent(name=name):
                rank = name.lower()
                outer = {own[0]: (r, own[1]) for r, own in structure(self.cascade).composites.items()}
                return -(-self.extents[outer[rank][0]] // self.extents[outer[rank][1]]) if rank in outer else self.extents[rank]
            case Access(tensor=tensor, indices=indices):
                return self.values[tensor][tuple(int(self._value(i, point)) for i in indices)]
            case Call(op=op, args=args):
                return MAPS[op](*(self._value(a, point) for a in args))
        raise AssertionError(node)
