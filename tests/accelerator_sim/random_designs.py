"""Random small cascades with random designs: partitions that do not divide, loop orders, parallel parts, kept tiles.

``random_case(random)`` makes one from a generator of random numbers. Most are such that the simulator takes them; some give a tile
up too early, or order loops as it does not count them, and are to be refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any

from accelerator_sim.design import Binding, Design, Kept, Schedule, Size, Stage
from accelerator_sim.machine import Machine
from einsum_cascades.ir import Cascade, Einsum, accesses
from einsum_cascades.mapping import CascadeMapping, Nest
from einsum_cascades.notation import parse
from tests.accelerator_sim.small import small_machine
from tests.accelerator_sim.traced_points import reads_of

UNITS = {"array_2d": ("rows", "cols"), "array_1d": ("lanes",)}
MEMORIES = ("global_buffer", "inner_buffer")
"""Outermost first, as in the machine."""


@dataclass(frozen=True)
class Case:
    """A cascade under a design on a machine, at a shape; ``sizes`` are those of the design, ``data`` values of integer tensors."""

    text: str
    cascade: Cascade
    design: Design
    machine: Machine
    extents: dict[str, int]
    instances: dict[str, int]
    sizes: dict[str, int]
    data: dict[str, Any] = field(default_factory=dict)


def random_case(random: Random) -> Case:
    """Returns a random case."""
    return case_of(random, random_cascade(random))


def case_of(random: Random, text: str) -> Case:
    """Returns a case of a cascade with a random design and shape."""
    cascade = parse(text)
    ranks = sorted({r for e in cascade.einsums for r in e.ranks})
    split = "M0" in text
    extents = {r: random.randint(1, 7) for r in ranks if not split or r not in ("m1", "m0", "m")}
    sizes: dict[str, int] = {}
    if split:
        extents["m"], sizes["m0"] = random.randint(1, 7), random.randint(1, 4)
    partitions: dict[str, tuple[str, ...]] = {}
    for rank in ranks:
        count = random.choice((1, 1, 2, 2, 3)) if not split or rank not in ("m0", "m") else 1
        if count > 1:
            partitions[rank] = tuple(f"{rank}{'zyx'[n]}" for n in range(count))
            sizes |= {part: random.randint(1, 4) for part in partitions[rank][1:]}
    if split and any("m" in e.ranks for e in cascade.einsums):
        partitions["m"] = (*partitions.get("m1", ("m1",)), "m0")
    builder = Builder(random, cascade, CascadeMapping((), MappingProxyType(partitions), random.choice(((), ("b",)))))
    machine = small_machine(random.randint(1, 4), random.randint(1, 4), random.randint(1, 4),
                            inner_buffer={"bytes": 1 << 20})
    design = builder.design({p: Size(n) for p, n in sizes.items()})
    return Case(text, cascade, design, machine, extents, {"b": random.randint(1, 2)}, sizes)


def random_cascade(random: Random) -> str:
    """Returns the text of a random cascade of one to three Einsums, contractions, reductions and maps."""
    if random.random() < 0.15:
        return random.choice(ITERATIVE)
    pool = list("ijk") if random.random() < 0.7 else ["i", "j", "m1", "m0"]
    lines: list[str] = []
    tensors: dict[str, tuple[str, ...]] = {}
    unread: list[str] = []
    inputs = iter("ABCDEFGH")

    def operand(least: int, waiting: list[str]) -> tuple[str, tuple[str, ...]]:
        """A tensor that has been made, most often one that nothing reads yet, or a new input."""
        if tensors and random.random() < 0.7:
            name = random.choice(waiting or list(tensors))
            return name, tensors[name]
        return next(inputs), tuple(random.sample(pool, random.randint(least, len(pool) - 1)))

    for number in range(random.randint(1, 3)):
        (left, left_ranks), (right, right_ranks) = operand(1, unread), operand(0, unread)
        union = tuple(dict.fromkeys((*left_ranks, *right_ranks)))
        name = f"T{number}"
        kind = random.choice(("product", "map", "reduction")) if left_ranks else "map"
        if kind == "reduction":
            reduced = tuple(random.sample(left_ranks, random.randint(1, len(left_ranks))))
            kept = tuple(r for r in left_ranks if r not in reduced)
            lines.append(f"{name}[{','.join(kept)}] = max[{','.join(reduced)}] {_access(left, left_ranks, tensors)}")
            read = [left]
        else:
            kept = union if kind == "map" else tuple(random.sample(union, random.randint(0, len(union))))
            body = random.choice(("{} * {}", "exp({} - {})", "{} + {}") if set(kept) == set(union) else ("{} * {}",))
            lines.append(f"{name}[{','.join(kept)}] = "
                         + body.format(_access(left, left_ranks, tensors), _access(right, right_ranks, tensors)))
            read = [left, right]
        tensors[name] = kept
        unread = [t for t in (*unread, name) if t not in read]
    return "\n".join(lines)


ITERATIVE = (
    "init R[0,j] = 0\nR[i+1,j] = R[i,j] * B[i] + A[i,j]\nT[j] = R[I,j] * C[j]",
    "init R[j,0] = 0\nS[i,j] = A[i,j,k] * C[k]\nR[j,i+1] = max(R[j,i], S[i,j])\nP[i,j] = exp(R[j,i] - R[j,i+1])",
    "init R[0,j] = 0\nL[m1,j] = max[m0] A[m1*M0 + m0, j]\nR[m1+1,j] = max(R[m1,j], L[m1,j])\nT[j] = R[M1,j] * B[j]",
)


def _access(name: str, ranks: tuple[str, ...], made: dict[str, tuple[str, ...]]) -> str:
    """An access; an input has the composite of m1 and m0 as one dimension."""
    if name in made or not {"m1", "m0"} <= set(ranks):
        return f"{name}[{','.join(ranks)}]"
    return f"{name}[{','.join(('m1*M0 + m0', *(r for r in ranks if r not in ('m1', 'm0'))))}]"


@dataclass
class Builder:
    random: Random
    cascade: Cascade
    mapping: CascadeMapping

    def design(self, sizes: dict[str, Size]) -> Design:
        einsums = list(self.cascade.einsums)
        way = self.random.choice(("stages", "nests", "fused"))
        groups = [einsums] if way == "fused" else [[e] for e in einsums]
        made = [self.nest(group, way) for group in groups]
        nests, bindings = tuple(n for n, _ in made), tuple(b for _, b in made)
        if way == "nests":
            off_chip = frozenset(o.tensor for e in einsums for o in e.outputs if self.random.random() < 0.3 and e is not einsums[-1])
            stages: tuple[Stage, ...] = (Stage("all", tuple(range(len(nests))), Schedule(), off_chip),)
        else:
            stages = tuple(Stage(f"s{n}", (n,), Schedule()) for n in range(len(nests)))
        mapping = CascadeMapping(nests, self.mapping.partitions, self.mapping.instances)
        return Design("random", "Random", "these tests", "any", (), mapping, sizes, bindings, stages)

    def nest(self, einsums: list[Einsum], way: str) -> tuple[Nest, Binding]:
        random = self.random
        parts = {e.name: self.mapping.parts(e) for e in einsums}
        order = self.order(tuple(dict.fromkeys(p for e in einsums for p in parts[e.name])))
        ahead = [i for i in self.mapping.instances if random.random() < 0.7]
        shared = (*ahead, *order[:random.randint(0, len(order))])
        inner = {e.name: tuple(x for x in order if x in parts[e.name] and x not in shared) for e in einsums}
        unit = {e.name: random.choice(list(UNITS)) for e in einsums}
        spread: dict[str, dict[str, str]] = {}
        for e in einsums:
            # A shared loop that one Einsum spreads and another does not has no rounds in common.
            can = [p for p in parts[e.name] if len(einsums) == 1 or p not in shared]
            random.shuffle(can)
            spread[e.name] = dict(zip(can, random.sample(UNITS[unit[e.name]], random.randint(0, len(UNITS[unit[e.name]]))),
                                      strict=False))
        tensors = {a.tensor for e in einsums for a in (*e.outputs, *reads_of(e))}
        made = {o.tensor for e in self.cascade.einsums for o in e.outputs}
        own = inner[einsums[0].name] if len(einsums) == 1 else ()
        kept: dict[str, list[Kept]] = {memory: [] for memory in MEMORIES}
        for tensor in sorted(tensors):
            passed = tensor in made and way != "stages"
            # A tile that passes from nest to nest needs the same loops in both.
            loops = () if passed and way == "nests" and random.random() < 0.8 else (*shared, *own)
            self.keep(kept, tensor, loops, must=passed)
        forward = {o.tensor: tuple(r.name for r in einsums if o.tensor in {a.tensor for b in r.bodies for a in accesses(b)} and r is not e
                                   and random.random() < 0.3) for e in einsums for o in e.outputs}
        nest = Nest(tuple(e.name for e in einsums), shared, inner, {e.name: tuple(spread[e.name]) for e in einsums})
        return nest, Binding(unit, spread, {m: tuple(k) for m, k in kept.items()}, forward)

    def order(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """A random order, most often with the outer parts of each rank before its inner ones."""
        order = list(parts)
        self.random.shuffle(order)
        if self.random.random() < 0.1:
            return tuple(order)
        for own in (*self.mapping.partitions.values(), self.composite()):
            places = sorted(order.index(p) for p in own if p in order)
            for place, part in zip(places, [p for p in own if p in order], strict=True):
                order[place] = part
        return tuple(order)

    def composite(self) -> tuple[str, ...]:
        return (*self.mapping.partitions.get("m1", ("m1",)), "m0")

    def keep(self, kept: dict[str, list[Kept]], tensor: str, loops: tuple[str, ...], *, must: bool) -> None:
        random = self.random
        memories = [m for m in MEMORIES if random.random() < 0.4] or ([MEMORIES[0]] if must or random.random() < 0.5 else [])
        places = sorted(random.randint(0, len(loops)) for _ in memories)
        for memory, place in zip(memories, places, strict=True):
            kept[memory].append(Kept(tensor, loops[place - 1] if place else None))
