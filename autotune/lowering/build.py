"""The tile program of one kernel: programs and lanes, then nodes and loops in the order of the loop tree, then stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from autotune.errors import LoweringError
from autotune.lowering import pads
from autotune.lowering.bounds import Corners, is_comparison
from autotune.lowering.expressions import unbounded
from autotune.lowering.nodes import LAST, PREVIOUS, Node, NodeGraph, Stored
from autotune.lowering.noop import changes_nothing
from autotune.lowering.reductions import Reductions
from autotune.lowering.support import exists, is_existence
from autotune.lowering.tile import Axis, Block, Loop, TileProgram
from autotune.lowering.tree import Item, LoopItem
from autotune.lowering.values import Value
from einsum_cascades.ir import Coord, Expr, Num, coords
from einsum_cascades.operators import reduction_operator


class Builder(Reductions, Corners):
    """Builds a tile program; one builder a kernel."""

    def build(self, graph: NodeGraph, tree: Sequence[Item], grid: Sequence[tuple[str, int]]) -> TileProgram:
        """Returns the tile program of a kernel. ``grid`` are the ranks and instances of the programs, with their blocks.

        Raises: LoweringError for what has no source.
        """
        self.graph = graph
        self.stored: dict[str, list[Stored]] = {}
        for stored in graph.stored:
            self.stored.setdefault(stored.value, []).append(stored)
        self.sums: dict[str, tuple[Value, ...]] = {}
        self.facts_after: dict[str, tuple[Value, ...]] = {}
        self.scans: dict[str, tuple[Value, ...]] = {}
        self.seen: dict[str, tuple[int, ...]] = {}
        self.pending: list[tuple[Value, Value]] = []
        self.grid = tuple(grid)
        self.programs()
        self.lanes()
        self.first_places(tree, ())
        self.run(tree, ())
        return TileProgram(self.name, tuple(self.axes.values()), self.blocks[0])

    # --- programs and lanes ---

    def programs(self) -> None:
        """The coordinates of this program along the grid, the last axis fastest."""
        rest = self.emit("program", "program", (), (), "int32")
        for number, (rank, block) in reversed(list(enumerate(self.grid))):
            name = rank.removeprefix("@")
            extent = Value(self.parameters.extent(name), (), "int32") if rank.startswith("@") else self.extent(rank)
            stem = name if block == 1 else f"{name}_block"
            count = extent
            if block > 1:
                count = self.emit(f"{name}_blocks", "cdiv", (extent, self.block(name, block)), (), "int32")
            if number == 0:
                at = self.emit(stem, "copy", (rest,), (), "int32")
            else:
                at = self.emit(stem, "mod", (rest, count), (), "int32")
                rest = self.emit("program", "floordiv", (rest, count), (), "int32")
            if block > 1:
                start = self.emit(f"{name}_start", "mul", (at, self.block(name, block)), (), "int32")
                self.corners[rank] = start, block
            else:
                self.coordinates[rank] = at

    def block(self, name: str, value: int) -> Value:
        """A block size, as a constant of the kernel."""
        return replace(self.number(value, "int32"), text=self.parameters.block(name, value))

    def lanes(self) -> None:
        """The coordinates of the lanes of every axis that no loop moves."""
        for axis in self.axes.values():
            roles = [self.roles[r].kind for r in axis.ranks]
            if "loop" not in roles:
                self.lane_coordinates(axis)

    def lane_coordinates(self, axis: Axis) -> None:
        lanes = self.emit(f"{axis.name}_lane", "arange", (), (axis.name,), "int32",
                          (self.parameters.block(axis.name, axis.size),))
        inner = 1
        for rank, block in reversed(list(zip(axis.ranks, axis.blocks, strict=True))):
            digit = lanes
            if len(axis.ranks) > 1:
                if inner > 1:
                    digit = self.emit(f"{rank}_lane", "floordiv", (digit, self.number(inner, "int32")), None, "int32")
                if rank != axis.ranks[0]:
                    digit = self.emit(f"{rank}_lane", "mod", (digit, self.number(block, "int32")), None, "int32")
                inner *= block
            if self.roles[rank].kind == "tile":
                self.coordinates[rank] = digit
                self.corners[rank] = self.number(0, "int32"), block
            else:
                self.coordinates[rank] = self.emit(rank, "add", (self.corners[rank][0], digit), None, "int32")

    # --- nodes and loops in order ---

    def first_places(self, items: Sequence[Item], path: tuple[int, ...]) -> None:
        """Where each node stands first: there its value is stored."""
        for number, item in enumerate(items):
            if isinstance(item, LoopItem):
                self.first_places(item.body, (*path, number))
            else:
                self.seen.setdefault(item.name, path)

    def run(self, items: Sequence[Item], path: tuple[int, ...]) -> None:
        for number, item in enumerate(items):
            if isinstance(item, LoopItem):
                self.loop_over(item, (*path, number))
            else:
                self.step(item, path)

    def step(self, node: Node, path: tuple[int, ...]) -> None:
        """Computes a node; a state's update, or a term of a sum over a loop, goes to the carried value."""
        values = self.node_values(node)
        if node.carried is not None:
            value = values[0]
            earlier = self.values[node.name + PREVIOUS]
            absent = [c for c in self.open_conditions(value.pads) if not (is_existence(c) and set(coords(c)) <= set(node.ranks))]
            mask = self.mask(absent)
            if mask is not None:
                value = self.emit(f"{node.name[1:]}_kept", "where", (mask, value, earlier), None,
                                  pads={c: pads.join((value.at(c), earlier.at(c))) for c in value.pads if c not in absent},
                                  infinite=value.infinite or earlier.infinite, real=pads.join((value.real, earlier.real)))
            value = replace(value, pads={c: p for c, p in value.pads.items() if c not in absent})
            self.values[node.name] = value
        elif node.name in self.sums:
            carried = self.sums[node.name]
            self.facts_after[node.name] = values
            total = self.combined(node.reduction, node, carried, values)
            for target, value in zip(carried, total, strict=True):
                self.pending.append((target, value))
        elif node.name in self.scans:
            carried = self.scans[node.name]
            found = self.combined(node.reduction, node, carried, values)
            ends = self.scan_ends(node, values)
            for target, value in zip(carried, self.combined(node.reduction, node, carried, ends), strict=True):
                self.pending.append((target, value))
            for name, value, before in zip(node.outputs, found, values, strict=True):
                self.values[name] = replace(value, pads={c: before.at(c) for c in before.pads})
        else:
            self.values |= dict(zip(node.outputs, values, strict=True))
        if node.name not in self.sums and self.seen[node.name] == path:
            self.store(node)

    def scan_ends(self, node: Node, values: Sequence[Value]) -> tuple[Value, ...]:
        """The reduction over the whole tile of a scanned rank: the prefix at the last lane."""
        assert node.scan is not None
        axis = next((a for a in self.axes.values() if node.scan in a.ranks), None)
        if axis is None:
            return tuple(values)
        operator = reduction_operator(node.reduction or "sum", self.cascade)
        assert operator is not None
        lane = self.emit(f"{axis.name}_lane", "arange", (), (axis.name,), "int32", (self.parameters.block(axis.name, axis.size),))
        last = self.emit("c", "eq", (lane, self.number(axis.size - 1, "int32")), None, "int1")
        found = []
        for value in values:
            alone = self.emit(f"{value.text}_end", "where", (last, value, self.number(0.0)), None)
            place = str(alone.axes.index(axis.name))
            found.append(self.emit(f"{value.text}_end", "reduce", (alone,), tuple(a for a in alone.axes if a != axis.name), "fp32",
                                   ("sum", place)))
        return tuple(found)

    # --- loops ---

    def loop_over(self, item: LoopItem, path: tuple[int, ...]) -> None:
        rank = item.rank
        block = self.roles[rank].block
        inside = tuple(_nodes(item.body))
        states = [n for n in item.body if isinstance(n, Node) and n.carried == rank]
        if any(n.carried == rank and n not in states for n in inside):
            raise LoweringError(f"{self.name}: rank {rank!r}: a state over it is updated inside an inner loop, got a reduction over "
                                f"that loop in the update; write the reduction as an Einsum of its own")
        opened = dict(self.sums)
        for node in inside:
            if rank in node.lost and node.name not in self.sums:
                self.sums[node.name] = self.start_sum(node)
            if node.scan == rank:
                self.scans[node.name] = self.start_sum(node)
        seeds = {n.name: self.values[n.seed] for n in states if n.seed is not None}
        carried = {n.name: self.start_state(n, seeds[n.name]) for n in states}
        variable = self.fresh(rank if block == 1 else f"{rank}_start")
        self.settle(item, path, carried, variable, block)
        targets = [*carried.values(), *(v for n, vs in (*self.sums.items(), *self.scans.items())
                                        if any(n == m.name for m in inside) for v in vs)]
        names = tuple(dict.fromkeys(v.text for v in targets))
        for start, stop, assumed, note in self.parts(item, inside, states, seeds, rank, block):
            before = self.assumed
            self.assumed |= assumed
            body, _ = self.body(item, path, carried, variable, block)
            self.assumed = before
            self.loop(Loop(variable, start.operand, stop.operand, block, body, names, note))
        for node in states:
            self.values[node.name + LAST] = carried[node.name]
        for node in inside:
            if node.name in self.sums and node.name not in opened:
                values = self.sums.pop(node.name)
                after = self.facts_after[node.name]
                for name, value, facts in zip(node.outputs, values, after, strict=True):
                    self.values[name] = replace(value, pads={c: p for c, p in facts.pads.items() if not self.support.ranks(c) & set(node.lost)},
                                                infinite=facts.infinite or node.reduction == "max",
                                                real=pads.NUMBER if node.reduction in ("max", "min") else facts.real)
                if self.seen[node.name][:len(path)] == path:
                    self.store(node)
            if node.scan == rank:
                self.scans.pop(node.name, None)

    def settle(self, item: LoopItem, path: tuple[int, ...], carried: dict[str, Value], variable: str, block: int) -> None:
        """Finds what lanes of states that do not count hold after every step: what the seed holds, or less is known."""
        while True:
            saved = self.snapshot()
            stored, self.stored = self.stored, {}
            _, after = self.body(item, path, carried, variable, block)
            self.stored = stored
            self.restore(saved)
            changed = False
            for name, value in carried.items():
                new = after[name]
                found = {c: pads.join((p, new.at(c))) for c, p in value.pads.items()}
                infinite = value.infinite or new.infinite
                real = pads.NUMBER if unbounded(value) or unbounded(new) else pads.FINITE
                if found != dict(value.pads) or infinite != value.infinite or real != value.real:
                    carried[name] = replace(value, pads=found, infinite=infinite, real=real)
                    changed = True
            if not changed:
                return

    def body(self, item: LoopItem, path: tuple[int, ...], carried: Mapping[str, Value], variable: str,
             block: int) -> tuple[Block, dict[str, Value]]:
        """Builds the body of a loop; returns it and the states' next values."""
        rank = item.rank
        outer, pending = dict(self.values), self.pending
        coordinates, corners = dict(self.coordinates), dict(self.corners)
        self.pending = []
        self.open()
        depth = self.depth
        at = Value(variable, (), "int32", depth)
        if block == 1:
            if item.step < 0:
                at = self.emit(f"{rank}_back", "sub", (self.integer("sub", self.extent(rank), self.number(1, "int32")), at), None, "int32")
            self.coordinates[rank] = at
        else:
            self.corners[rank] = at, block
            self.lane_coordinates(next(a for a in self.axes.values() if rank in a.ranks))
        for name, value in carried.items():
            self.values[name + PREVIOUS] = replace(value, depth=depth)
        sums = self.sums
        self.sums = {n: tuple(replace(v, depth=depth) for v in vs) for n, vs in sums.items()}
        scans = self.scans
        self.scans = {n: tuple(replace(v, depth=depth) for v in vs) for n, vs in scans.items()}
        self.run(item.body, path)
        after = {name: self.values[name] for name in carried}
        updates = [(value, after[name]) for name, value in carried.items()]
        fixed = []
        for target, value in (*self.pending, *updates):
            if value.axes != target.axes:
                value = self.spread(self.floating(value), target.axes)
            fixed.append((target, self.floating(value)))
        for target, value in fixed:
            self.assign(target.text, value)
        self.sums, self.scans = sums, scans
        block_made = self.close()
        self.pending = pending
        self.values = {**outer, **{k: v for k, v in self.values.items() if v.depth < depth and k in outer}}
        self.coordinates, self.corners = coordinates, corners
        return block_made, after

    def start_sum(self, node: Node) -> tuple[Value, ...]:
        """The carried values of a reduction over a loop: its identity in every lane of what it keeps."""
        operator = reduction_operator(node.reduction or "sum", self.cascade)
        assert operator is not None
        ranks = [r for r in node.ranks if r != node.scan]
        axes = tuple(a.name for a in self.axes.values() if set(a.ranks) & set(ranks))
        return tuple(self.carried_value(f"{name[1:]}_sum" if operator.name == "sum" else f"{name[1:]}_total", axes, self.number(i))
                     for name, i in zip(node.outputs, operator.identity, strict=True))

    def start_state(self, node: Node, seed: Value) -> Value:
        axes = tuple(a.name for a in self.axes.values() if set(a.ranks) & set(node.ranks))
        made = self.carried_value(f"{node.name[1:]}_state", axes, seed)
        return replace(made, pads={exists(r): seed.at(exists(r)) if exists(r) in seed.pads or seed.constant is not None else
                                   pads.join((seed.real, *seed.pads.values()))
                                   for r in node.ranks if not self.exact(exists(r))}, infinite=seed.infinite,
                       real=pads.NUMBER if unbounded(seed) else pads.FINITE)

    def carried_value(self, stem: str, axes: tuple[str, ...], first: Value) -> Value:
        """A new value that loops may change, with its first value."""
        first = self.floating(first)
        name = self.fresh(stem)
        self.check_size(axes, stem)
        from autotune.lowering.tile import Instruction
        op = "full" if first.constant is not None else "spread"
        self.blocks[-1].steps.append(Instruction(name, op, (first.operand,), axes, "fp32", axes))
        return Value(name, axes, "fp32", self.depth, real=pads.FINITE)

    # --- which steps ---

    def parts(self, item: LoopItem, inside: Sequence[Node], states: Sequence[Node], seeds: Mapping[str, Value], rank: str,
              block: int) -> Iterator[tuple[Value, Value, frozenset[Expr], str]]:
        """Yields the parts of a loop: from, to, the conditions that hold in all of its lanes, and what it is."""
        zero, end = self.number(0, "int32"), self.extent(rank)
        if item.step < 0:
            yield zero, end, frozenset(), ""
            return
        conditions = [c for c in dict.fromkeys(c for n in inside for c in self.support.body(n))
                      if self.open_conditions((c,)) and is_comparison(c) and rank in self.support.ranks(c)]
        if block > 1 and exists(rank) not in conditions:
            conditions.append(exists(rank))
        first, last = zero, end
        full_first, full_last = zero, self.whole_steps(end, block)
        held = set()
        split = False
        for condition in conditions:
            if condition == exists(rank):
                held.add(condition)
                split = True
                continue
            found = self.bounds(condition, rank, block)
            if not found:
                continue
            held.add(condition)
            skipped = self.may_skip(condition, item, inside, states, seeds)
            for bound in found:
                if bound.upper:
                    split = True
                    full_last = self.integer("min", full_last, self.after(bound.every, block))
                    if skipped:
                        last = self.integer("min", last, self.integer("add", bound.some, self.number(1, "int32")))
                else:
                    split = True
                    full_first = self.integer("max", full_first, self.aligned_up(bound.every, block))
                    if skipped:
                        first = self.integer("max", first, self.aligned(bound.some, block))
        if not split:
            yield first, last, frozenset(), ""
            return
        lower = full_first.constant != 0
        full_first = self.integer("min", self.integer("max", full_first, first), last) if lower else first
        full_last = self.integer("max", self.integer("min", full_last, last), full_first)
        if lower:
            yield first, full_first, frozenset(), f"{rank}: first steps, some conditions fail"
        yield full_first, full_last, frozenset(held), f"{rank}: all conditions hold"
        yield self.integer("max", full_last, first) if not lower else full_last, last, frozenset(), f"{rank}: last steps, some conditions fail"

    def whole_steps(self, end: Value, block: int) -> Value:
        if block == 1:
            return end
        size = self.number(block, "int32")
        return self.integer("mul", self.integer("floordiv", end, size), size)

    def after(self, last: Value, block: int) -> Value:
        """The end of the steps whose first coordinate is at most ``last``, a multiple of the block."""
        one, size = self.number(1, "int32"), self.number(block, "int32")
        if block == 1:
            return self.integer("max", self.integer("add", last, one), self.number(0, "int32"))
        steps = self.integer("floordiv", self.integer("max", self.integer("add", last, size), self.number(0, "int32")), size)
        return self.integer("mul", steps, size)

    def aligned(self, first: Value, block: int) -> Value:
        clipped = self.integer("max", first, self.number(0, "int32"))
        return self.whole_steps(clipped, block)

    def aligned_up(self, first: Value, block: int) -> Value:
        if block == 1:
            return self.integer("max", first, self.number(0, "int32"))
        return self.aligned(self.integer("add", first, self.number(block - 1, "int32")), block)

    def may_skip(self, condition: Expr, item: LoopItem, inside: Sequence[Node], states: Sequence[Node],
                 seeds: Mapping[str, Value]) -> bool:
        """Whether steps in which a condition fails in all lanes change nothing: no sum, no state, no memory."""
        for node in inside:
            if any(s.value in node.outputs for s in self.graph.stored) and item.rank not in node.lost:
                return False
            if node.seed is not None and any(s.value == node.seed for s in self.graph.stored) and node.carried == item.rank:
                return False
            if (item.rank in node.lost or node.scan == item.rank) and condition not in self.support.body(node):
                return False
        if not states:
            return True
        constants = {n: s.constant for n, s in seeds.items()}
        return changes_nothing(condition, states, constants, self.support, self.cascade)

    # --- stores ---

    def store(self, node: Node) -> None:
        for name in node.outputs:
            for stored in self.stored.get(name, ()):
                self.store_value(stored, self.values[name])

    def store_value(self, stored: Stored, value: Value) -> None:
        """Writes a value at its coordinates: 0 where it is absent, nothing beyond its tensor."""
        indices = [self.value(i) for i in stored.indices]
        ranks = tuple(dict.fromkeys(r for i in stored.indices for r in coords(i)))
        outside: list[Expr] = [exists(r) for r in ranks]
        names = self.structure.dimensions[stored.tensor]
        own = self.structure.iterative.get(stored.tensor)
        from autotune.lowering.support import length
        from einsum_cascades.ir import Call
        for d, index in enumerate(stored.indices):
            if not isinstance(index, (Coord, Num)) and not (own is not None and own.dimension == d):
                outside.append(Call("lt", (index, length(stored.tensor, d, names[d]))))
        absent = [c for c in self.open_conditions(value.pads) if c not in outside]
        value = self.masked(value, absent, 0.0)
        mask = self.mask(outside)
        alone = [r for r, block in self.grid if not r.startswith("@") and r not in ranks]
        for rank in alone:
            # Programs that differ along a rank that the tensor lacks hold the same value: the first one writes it.
            at = self.coordinates[rank] if rank not in self.corners else self.corners[rank][0]
            first = self.emit("c", "eq", (at, self.number(0, "int32")), at.axes, "int1")
            mask = first if mask is None else self.emit("mask", "and", (mask, first), None, "int1")
        axes = self.sorted_axes(*(i.axes for i in indices))
        if mask is not None and not set(mask.axes) <= set(axes):
            raise LoweringError(f"{self.name}: tensor {stored.tensor!r}: its stores depend on ranks that it lacks, got axes "
                                f"{', '.join(mask.axes)}; store another tensor")
        if not set(value.axes) <= set(axes):
            raise LoweringError(f"{self.name}: tensor {stored.tensor!r}: its values vary along axes that it lacks, got "
                                f"{', '.join(value.axes)}; do not pack these ranks")
        wide = "".join("w" if self.wide(i) else "n" for i in stored.indices)
        dtype = self.storage(stored.tensor)
        operands = (self.base(stored.tensor), *indices, value, *((mask,) if mask is not None else ()))
        self.effect("store", operands, axes, (stored.tensor, wide, dtype, *self.strides(stored.tensor)))


def _nodes(items: Sequence[Item]) -> Iterator[Node]:
    for item in items:
        if isinstance(item, LoopItem):
            yield from _nodes(item.body)
        else:
            yield item
