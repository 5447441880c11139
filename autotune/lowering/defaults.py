"""The configuration that a cascade gets without a search: kernels, the roles of ranks, and tiles of middling size.

Programs go along ranks that every result has, that nothing reduces, and that all the work has; of these the longest is taken
in blocks. What is reduced lies whole in a tile where it is short, and is looped over where it is long. Work that lacks
the blocked rank would be done again by every program along it: it becomes a kernel before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune.config import Role, StageConfig, TileConfig
from autotune.errors import LoweringError, UnstoredError
from autotune.lowering.nodes import Node, NodeGraph, node_reads, nodes_of
from autotune.lowering.reductions import SMALLEST_DOT, factors
from einsum_cascades.extents import known_extents, resolve_extents
from einsum_cascades.ir import Call, Cascade, Expr, accesses, coords, unique, walk
from einsum_cascades.structure import structure

LONGEST_TILE = 256
"""Coordinates that lie whole in a tile by default; a longer rank is looped over, or spread over programs."""

PART = 64
"""Coordinates of the inner part of a partitioned rank whose extent is not given."""

_ELEMENTS = 8192
"""Elements that the largest tile of a default configuration has, where blocks can be chosen."""


def default_extents(cascade: Cascade, extents: Mapping[str, int]) -> dict[str, int]:
    """Returns the extents of all ranks; the inner part of a partitioned rank is :data:`PART` long where none is given.

    Raises: ExtentError where others are missing.
    """
    found = dict(extents)
    for name, parts in structure(cascade).composites.items():
        known = known_extents(cascade, found)
        missing = [p for p in parts if p not in known]
        for part in missing[1:] if len(missing) == len(parts) else ():
            found[part] = min(PART, known.get(name, PART))
    return resolve_extents(cascade, found)


def default_config(cascade: Cascade, extents: Mapping[str, int], dtype: str = "fp16", *,
                   instances: tuple[str, ...] = ("b", "h"), cuts: tuple[str, ...] | None = None) -> TileConfig:
    """Returns a configuration for a cascade with these extents (see :func:`default_extents`).

    ``cuts`` are tensors to store between kernels; None lets them be found. ``instances`` are leading dimensions that the
    cascade lacks; one that it has as a rank is left out.

    Raises: LoweringError where it cannot be lowered.
    """
    return _Defaults(cascade, default_extents(cascade, extents), dtype, instances, cuts).config()


class _Defaults:
    def __init__(self, cascade: Cascade, extents: Mapping[str, int], dtype: str, instances: tuple[str, ...],
                 cuts: tuple[str, ...] | None) -> None:
        self.cascade, self.extents, self.dtype = cascade, extents, dtype
        self.structure = structure(cascade)
        self.instances = tuple(i for i in instances if i not in self.structure.ranks and i not in self.structure.composites)
        self.given = cuts
        self.node_ranks: dict[str, frozenset[str]] = {}
        self.outer = {parts[0] for parts in self.structure.composites.values()}

    def config(self) -> TileConfig:
        cuts: tuple[str, ...] = self.given or ()
        while True:
            try:
                groups = self.groups(cuts)
                stages = [self.stage(writes, (*self.structure.inputs, *(t for g in groups for t in g))) for writes in groups]
            except UnstoredError as error:
                if self.given is not None or error.tensor in cuts:
                    raise
                cuts = (*cuts, error.tensor)
                continue
            more = unique(tuple(t for stage, graph in stages for t in (*self.repeated(stage, graph), *self.oversized(stage, graph)))
                          ) if self.given is None else ()
            more = tuple(t for t in more if t not in cuts)
            if not more:
                break
            cuts = (*cuts, *more)
        outputs = self.structure.outputs
        types = tuple((t, "fp32") for g in groups for t in g if t not in outputs or self.may_be_infinite(t))
        return TileConfig(tuple(stage for stage, _ in stages), self.dtype, types, instances=self.instances)

    def may_be_infinite(self, tensor: str) -> bool:
        """Whether a result is a logarithm or a maximum: few values, whose digits matter."""
        einsum = self.structure.producers[tensor]
        return any(isinstance(n, Call) and n.op in ("log", "log2") for b in einsum.bodies for n in walk(b)) or (
            einsum.reduction is not None and einsum.reduction.op == "max")

    def groups(self, cuts: Iterable[str]) -> list[tuple[str, ...]]:
        """The tensors that each kernel writes: stored ones in an order in which each follows what it needs."""
        wanted = (*cuts, *(t for t in self.structure.outputs if t not in cuts))
        needs: dict[str, frozenset[str]] = {}
        work: dict[str, frozenset[str]] = {}
        for tensor in wanted:
            graph = nodes_of(self.cascade, (tensor,), (*self.structure.inputs, *wanted))
            read = {a.tensor for n in graph.nodes for e in (*n.bodies, *n.where) for a in accesses(e)}
            needs[tensor] = frozenset(t for t in wanted if t in read and t != tensor)
            work[tensor] = frozenset(n.tensor for n in graph.nodes if n.lost or n.carried is not None or n.scan is not None)
        groups: list[tuple[str, ...]] = []
        done: set[str] = set()
        rest = list(wanted)
        while rest:
            ready = [t for t in rest if needs[t] <= done]
            if not ready:
                raise LoweringError(f"{self.cascade.name}: tensors that are stored need each other, got {', '.join(rest)}; store fewer")
            group = [ready[0]]
            for tensor in ready[1:]:
                if any(self.alike(tensor, other) or work[tensor] & work[other] for other in group):
                    group.append(tensor)
            groups.append(tuple(group))
            done |= set(group)
            rest = [t for t in rest if t not in group]
        return groups

    def alike(self, one: str, other: str) -> bool:
        """Whether the ranks of one result are among those of another, so that one kernel can write both."""
        a, b = (set(self.structure.dimensions[t]) for t in (one, other))
        return a <= b or b <= a

    # --- roles ---

    def stage(self, writes: tuple[str, ...], kept: tuple[str, ...]) -> tuple[StageConfig, NodeGraph]:
        graph = nodes_of(self.cascade, writes, kept)
        first = self.roles(graph)
        joined = nodes_of(self.cascade, writes, kept, [r for r, role in first.items() if role.kind != "grid"])
        roles = self.roles(joined)
        size = self.sizes(joined)
        warps = 8 if self.largest(roles, joined, size) >= 128 * 128 else 4
        return StageConfig(writes, tuple(sorted(roles.items())), warps, 2), joined

    def sizes(self, graph: NodeGraph) -> dict[str, int]:
        return {r: self.extents[graph.copies.get(r, r)] for r in graph.ranks}

    def roles(self, graph: NodeGraph) -> dict[str, Role]:
        size = self.sizes(graph)
        self.node_ranks = {v: frozenset((*n.ranks, *((n.carried,) if n.carried else ()))) for n in graph.nodes for v in n.outputs}
        lost = {graph.copies.get(r, r) for n in graph.nodes for r in n.lost}
        carried = {graph.copies.get(n.carried, n.carried) for n in graph.nodes if n.carried is not None}
        scanned = {n.scan for n in graph.nodes if n.scan is not None}
        owner = graph.by_value
        results = [owner[s.value] for s in graph.stored]
        common = [r for r in graph.ranks if r not in graph.copies and r not in lost | carried | scanned and all(
            r in n.space for n in results)]
        work = [n for n in graph.nodes if n.lost or n.carried is not None or n.scan is not None]
        spread = [r for r in common if all(r in n.space for n in work)] or [r for r in common if size[r] > LONGEST_TILE]
        roles: dict[str, Role] = {}
        blocked = self.blocked(spread, size, work)
        for rank in graph.ranks:
            if rank in graph.copies:
                continue
            if rank in carried:
                roles[rank] = Role("loop")
            elif rank in spread and not work and rank == graph.ranks[-1] and size[rank] <= LONGEST_TILE and len(spread) > 1:
                roles[rank] = Role("tile")
                blocked = self.blocked([r for r in spread if r != rank], size, work)
            elif rank in spread:
                roles[rank] = Role("grid", 1)
            elif rank in lost - scanned and rank in self.outer:
                roles[rank] = Role("loop")
            elif rank in scanned and size[rank] > LONGEST_TILE and rank not in lost:
                roles[rank] = Role("loop", 64)
            elif size[rank] <= LONGEST_TILE or rank in scanned:
                roles[rank] = Role("tile", SMALLEST_DOT if self.in_dot(rank, graph) else 1)
            elif rank in lost:
                roles[rank] = Role("loop", 64)
            else:
                roles[rank] = Role("grid", 64)
        if blocked is not None:
            roles[blocked] = Role("grid", self.block(blocked, roles, graph, size))
        self.shrink(roles, graph, size)
        return roles

    def blocked(self, spread: list[str], size: Mapping[str, int], work: list[Node]) -> str | None:
        """The rank that programs take in blocks: the longest one, of those that no product has in all of its factors.

        Such a rank would be a batch of dots, which tiles of two dimensions are too small for.
        """
        alone = {r for r in spread if not any(self.is_batch(r, n) for n in work)}
        return max((r for r in spread if r in alone), key=lambda r: (min(size[r], 64), spread.index(r)), default=None)

    def is_batch(self, rank: str, node: Node) -> bool:
        """Whether all factors of a product that is summed have a rank, those that lack what is summed left out."""
        if node.reduction != "sum" or rank not in node.space:
            return False
        parts = [self.ranks_of(f) for f in factors(node.bodies[0])[0]]
        summed = [p for p in parts if p & set(node.lost)]
        # Where nothing else tells the factors apart (a row times a row), there is no dot to spoil.
        others = [p - {rank} - set(node.lost) for p in summed]
        return len(summed) > 1 and all(rank in p for p in summed) and sum(bool(o) for o in others) > 1

    def ranks_of(self, expr: Expr) -> frozenset[str]:
        """The ranks of a factor: its coordinates, and the ranks of the nodes that it reads."""
        found = set(coords(expr))
        for access in node_reads(expr):
            found |= self.node_ranks.get(access.tensor.partition("@")[0], frozenset())
        return frozenset(found)

    def in_dot(self, rank: str, graph: NodeGraph) -> bool:
        """Whether a rank may be an axis of a dot: a sum of products has it."""
        return any(rank in n.space and n.reduction == "sum" and len(factors(n.bodies[0])[0]) > 1 and len(n.space) > 2
                   for n in graph.nodes)

    def block(self, rank: str, roles: Mapping[str, Role], graph: NodeGraph, size: Mapping[str, int]) -> int:
        block = 64
        while block > SMALLEST_DOT and (block >= 2 * size[rank]):
            block //= 2
        return block

    def largest(self, roles: Mapping[str, Role], graph: NodeGraph, size: Mapping[str, int]) -> int:
        """Elements of the largest tile of a node that is no dot, or of a dot's result."""
        return max((self.elements(n, roles, graph, size) for n in graph.nodes), default=1)

    def elements(self, node: Node, roles: Mapping[str, Role], graph: NodeGraph, size: Mapping[str, int]) -> int:
        total = 1
        wide = node.space if node.reduction != "sum" or not self.is_dot(node) else frozenset(node.ranks)
        for rank in wide:
            role = roles[graph.copies.get(rank, rank)]
            total *= role.block if role.kind != "tile" else _power(max(size[rank], role.block))
        return total

    def is_dot(self, node: Node) -> bool:
        parts = [self.ranks_of(f) for f in factors(node.bodies[0])[0]] if node.reduction == "sum" else []
        return len(parts) > 1 and not any(node.space <= p for p in parts)

    def shrink(self, roles: dict[str, Role], graph: NodeGraph, size: Mapping[str, int]) -> None:
        """Halves blocks, and then loops over ranks that no state keeps, until the largest tile is of a middling size."""
        while self.largest(roles, graph, size) > 2 * _ELEMENTS:
            node = max(graph.nodes, key=lambda n: self.elements(n, roles, graph, size))
            own = {graph.copies.get(r, r) for r in node.space}
            blocks = [r for r in own if roles[r].kind != "tile" and roles[r].block > SMALLEST_DOT] or [
                r for r in own if roles[r].kind != "tile" and roles[r].block > 1]
            if not blocks:
                return
            rank = max(blocks, key=lambda r: (roles[r].block, r))
            roles[rank] = Role(roles[rank].kind, roles[rank].block // 2)

    def repeated(self, stage: StageConfig, graph: NodeGraph) -> list[str]:
        """Tensors that hold work which every program along a blocked rank would repeat."""
        long = {r for r, role in stage.roles if role.kind == "loop"}
        found: list[str] = []
        for rank, role in stage.roles:
            if role.kind != "grid" or self.extents.get(rank, 1) <= role.block:
                continue
            heavy: set[str] = set()
            for node in graph.nodes:
                if rank in node.space:
                    continue
                own = bool(long & {graph.copies.get(r, r) for r in (*node.lost, *((node.carried,) if node.carried else ()))})
                if own or any(value.partition("@")[0] in heavy for value, _ in node.reads):
                    heavy |= set(node.outputs)
            for node in graph.nodes:
                if rank in node.space or any(v in node.outputs for v in (s.value for s in graph.stored)):
                    for value, _ in node.reads:
                        source = graph.by_value[value]
                        if value in heavy and rank in node.space and source.tensor not in stage.writes:
                            found.append(source.tensor)
        return found


    def oversized(self, stage: StageConfig, graph: NodeGraph) -> list[str]:
        """States and prefixes that keep a rank whole in tiles which are too large: stored, they let it be spread over programs."""
        roles = dict(stage.roles)
        for copy, rank in graph.copies.items():
            roles.setdefault(copy, roles[rank])
        if self.largest(roles, graph, self.sizes(graph)) <= 2 * _ELEMENTS:
            return []
        return [n.tensor for n in graph.nodes if (n.scan is not None or n.carried is not None) and n.tensor not in stage.writes]


def _power(size: int) -> int:
    power = 1
    while power < size:
        power *= 2
    return power
