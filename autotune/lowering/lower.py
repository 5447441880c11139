"""A cascade and a tile configuration into a plan of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from autotune.config import Role, StageConfig, TileConfig
from autotune.errors import ConfigError, LoweringError
from autotune.kernel import GridAxis, Kernel, KernelPlan, TensorSpec
from autotune.lowering.build import Builder
from autotune.lowering.defaults import LONGEST_TILE
from autotune.lowering.nodes import NodeGraph, nodes_of
from autotune.lowering.parameters import Parameters, checked
from autotune.lowering.printer import source
from autotune.lowering.support import Support
from autotune.lowering.tile import Axis, Block, Instruction, Loop, TileProgram
from autotune.lowering.tree import loop_tree
from einsum_cascades.errors import suggest
from einsum_cascades.extents import known_extents
from einsum_cascades.ir import Access, Cascade, conjuncts, unique
from einsum_cascades.structure import structure


def lower(cascade: Cascade, extents: Mapping[str, int], config: TileConfig) -> KernelPlan:
    """Returns the kernels of a cascade. ``extents`` are of the ranks of the cascade, without the instances.

    Raises: LoweringError where it cannot be lowered, ConfigError where the configuration does not fit it, ExtentError for
    extents that do not.
    """
    return _Lowering(cascade, extents, config).plan()


def tile_programs(cascade: Cascade, extents: Mapping[str, int], config: TileConfig) -> tuple[TileProgram, ...]:
    """Returns the tile programs that stand between a cascade and its source, one a kernel.

    Raises: as :func:`lower`.
    """
    lowering = _Lowering(cascade, extents, config)
    return tuple(lowering.kernel(stage)[1] for stage in config.stages)


class _Lowering:
    def __init__(self, cascade: Cascade, extents: Mapping[str, int], config: TileConfig) -> None:
        self.cascade, self.config = cascade, config
        self.structure = structure(cascade)
        self.extents = known_extents(cascade, extents)
        stored = config.stored
        for name in config.instances:
            if name in self.structure.ranks or name in self.structure.composites:
                raise ConfigError(f"configuration: an instance is a dimension that the cascade lacks, got {name!r}, a rank of "
                                  f"{cascade.name}; leave it out, or call it otherwise")
        for tensor in (*stored, *(t for t, _ in config.dtypes)):
            if tensor not in self.structure.dimensions:
                raise ConfigError(f"configuration: {cascade.name} has no such tensor, got {tensor!r}; "
                                  f"{suggest(tensor, self.structure.dimensions)}")
        for tensor in self.structure.outputs:
            if tensor not in stored:
                raise ConfigError(f"configuration: no kernel writes output {tensor!r}, got kernels of {', '.join(stored)}; add it to one")
        for tensor in stored:
            if stored.count(tensor) > 1 or tensor not in self.structure.producers:
                raise ConfigError(f"configuration: a kernel writes what the cascade defines, once, got {tensor!r}; name another tensor")
        if config.dot_precision not in ("ieee", "tf32", "tf32x3"):
            raise ConfigError(f"configuration: dot_precision: none that dots of fp32 have, got {config.dot_precision!r}; give ieee, "
                              f"tf32 or tf32x3")

    def plan(self) -> KernelPlan:
        kernels = tuple(self.kernel(stage)[0] for stage in self.config.stages)
        written = dict.fromkeys(t for k in kernels for t in k.writes)
        read = dict.fromkeys(t for k in kernels for t in k.reads)
        names = unique((*self.structure.inputs, *(t for t in written if t not in self.structure.outputs), *self.structure.outputs))
        tensors = tuple(self.spec(t) for t in names if t in read or t in written)
        return KernelPlan(self.cascade, kernels, tensors, self.config, dict(self.extents))

    def spec(self, tensor: str) -> TensorSpec:
        own = self.structure.iterative.get(tensor)
        ranks = self.structure.dimensions[tensor]
        longer = tuple(1 if own is not None and own.dimension == d or (tensor, d) in self.structure.offsets else 0
                       for d in range(len(ranks)))
        ranks = tuple(self.structure.offsets.get((tensor, d), rank) for d, rank in enumerate(ranks))
        role = "input" if tensor in self.structure.inputs else "output" if tensor in self.structure.outputs else "scratch"
        return TensorSpec(tensor, ranks, longer, self.storage(tensor), role, self.config.instances)  # type: ignore[arg-type]

    def storage(self, tensor: str) -> str:
        """The type in which a tensor is stored."""
        given, declared = dict(self.config.dtypes), dict(self.cascade.dtypes)
        if tensor in given:
            return given[tensor]
        if tensor in declared and declared[tensor] in ("int32", "int64", "bool", "fp32", "fp16", "bf16"):
            return declared[tensor]
        if tensor in self.structure.index_tensors:
            return "int32"
        if tensor in self.structure.inputs and any(
                isinstance(c, Access) and c.tensor == tensor for e in self.cascade.einsums for c in conjuncts(e.where)):
            return "bool"
        # What goes from one kernel to the next loses nothing on the way, unless the configuration says so.
        return self.config.storage(tensor) if tensor in self.structure.inputs or tensor in self.structure.outputs else "fp32"

    # --- one kernel ---

    def kernel(self, stage: StageConfig) -> tuple[Kernel, TileProgram]:
        name = checked(f"{''.join(c if c.isalnum() else '_' for c in self.cascade.name)}_{stage.writes[0]}".lower(), self.cascade.name)
        roles = dict(stage.roles)
        joinable = [r for r, role in roles.items() if role.kind != "grid"]
        graph = nodes_of(self.cascade, stage.writes, (*self.structure.inputs, *self.config.stored), joinable)
        self.check_roles(stage, graph, roles)
        for copy, rank in graph.copies.items():
            # A copy of a rank is iterated beside it: like it, but within a program.
            roles.setdefault(copy, roles[rank] if roles[rank].kind != "grid" else Role("tile") if self.extents[rank] <= LONGEST_TILE
                             else Role("loop", 64))
        looped = self.looped(graph, roles)
        tree = loop_tree(graph, looped, name)
        support = Support(graph.by_value, self.structure)
        best = None
        for axes in self.orders(graph, roles, stage):
            builder = self.builder(name, axes, graph, support, roles)
            program = builder.build(graph, tree, self.grid(graph, roles))
            turns = sum(i.op == "trans" for i in program.body.instructions())
            if best is None or turns < best[0]:
                best = turns, builder, program
            if not turns:
                break
        assert best is not None
        _, builder, program = best
        arguments = builder.parameters.ordered()
        touched = [a.tensor for a in arguments if a.kind == "pointer" and a.tensor is not None]
        about = f"{self.cascade.name}: {', '.join(stage.writes)}"
        text = source(program, arguments, self.cascade, about)
        grid = tuple(GridAxis(r.removeprefix("@"), b) for r, b in self.grid(graph, roles))
        kernel = Kernel(name, text, arguments, grid, stage.num_warps, stage.num_stages,
                        tuple(t for t in touched if t not in stage.writes), stage.writes, _accumulators(program))
        return kernel, program

    def check_roles(self, stage: StageConfig, graph: NodeGraph, roles: Mapping[str, Role]) -> None:
        own = {graph.copies.get(r, r) for r in graph.ranks}
        for rank in roles:
            if rank not in own and rank not in graph.copies:
                raise ConfigError(f"configuration of the kernel of {', '.join(stage.writes)}: it has no rank {rank!r}, got a role for "
                                  f"it; {suggest(rank, own)}")
        for rank in sorted(own):
            stage.role(rank)
        for node in graph.nodes:
            if node.carried is None:
                continue
            role = roles[graph.copies.get(node.carried, node.carried)]
            if role != Role("loop", 1):
                raise ConfigError(f"configuration of the kernel of {', '.join(stage.writes)}: rank {node.carried!r} is iterative, got the "
                                  f"role {role}; give it loop:1")
        for rank, role in roles.items():
            if role.block < 1 or role.block & (role.block - 1):
                raise ConfigError(f"configuration of the kernel of {', '.join(stage.writes)}: rank {rank!r}: a block is a power of two, got "
                                  f"{role.block}; give 1, 2, 4, ...")
            if role.kind == "tile" and rank not in self.extents:
                raise LoweringError(f"{self.cascade.name}: rank {rank!r} lies whole in a tile, got no extent of it; give one, as in "
                                    f"--extent {rank}=64")

    def looped(self, graph: NodeGraph, roles: Mapping[str, Role]) -> tuple[str, ...]:
        """The looped ranks, outer first: iterative ones, then those of most nodes."""
        ranks = [r for r in graph.ranks if roles[r].kind == "loop"]
        iterative = {n.carried for n in graph.nodes}
        use = {r: sum(r in n.space for n in graph.nodes) for r in ranks}
        kept = {r: max((1 for n in graph.nodes if r in n.ranks and n.carried is not None), default=0) for r in ranks}
        return tuple(sorted(ranks, key=lambda r: (-kept[r], r not in iterative, -use[r], ranks.index(r))))

    def grid(self, graph: NodeGraph, roles: Mapping[str, Role]) -> tuple[tuple[str, int], ...]:
        """The axes of programs: instances, ranks of one coordinate, then blocks, whose programs share most of what they read."""
        ranks = [r for r in graph.ranks if roles[r].kind == "grid" and r not in graph.copies]
        single = [r for r in ranks if roles[r].block == 1]
        return (*((f"@{i}", 1) for i in self.config.instances), *((r, 1) for r in single),
                *((r, roles[r].block) for r in ranks if r not in single))

    def orders(self, graph: NodeGraph, roles: Mapping[str, Role], stage: StageConfig) -> list[tuple[Axis, ...]]:
        """The orders of axes to try: permutations, where there are few enough."""
        from itertools import islice, permutations
        packed = {r: group for group in stage.packed for r in group}
        axes: dict[str, Axis] = {}
        for rank in graph.ranks:
            role = roles[rank]
            if role.kind != "tile" and role.block == 1:
                continue
            group = packed.get(rank, (rank,))
            for member in group:
                if member not in roles or roles[member].kind != role.kind or role.kind == "loop" and len(group) > 1:
                    raise ConfigError(f"configuration of the kernel of {', '.join(stage.writes)}: packed ranks have one role, grid or "
                                      f"tile, got {', '.join(group)}; pack others")
            blocks = tuple(self.block(m, self.extents.get(graph.copies.get(m, m), 1), roles) for m in group)
            axes.setdefault("".join(group), Axis(checked("".join(group), self.cascade.name), tuple(group), blocks))
        return [tuple(order) for order in islice(permutations(axes.values()), 24)]

    def block(self, rank: str, extent: int, roles: Mapping[str, Role]) -> int:
        role = roles[rank]
        if role.kind != "tile":
            return role.block
        size = 1
        while size < max(extent, role.block):
            size *= 2
        return size

    def builder(self, name: str, axes: tuple[Axis, ...], graph: NodeGraph, support: Support, roles: Mapping[str, Role]) -> Builder:
        builder = Builder(name, axes, self.cascade, self.structure, support, Parameters(name), roles, self.extents, graph.copies,
                          self.storage, self.config.instances)
        builder.dot_type, builder.precision = self.config.dtype, self.config.dot_precision
        for axis in axes:
            builder.parameters.block(axis.name, axis.size)
        for rank, role in roles.items():
            # Also where no instruction needs it: the launcher must see that tensors are as long as the tile is.
            if role.kind == "tile" and rank not in graph.copies:
                builder.parameters.constant(rank, self.extents[rank])
        return builder


def _accumulators(program: TileProgram) -> int:
    """Elements that live at once at least: what a loop carries, and the result of a dot that is not added to it."""
    sizes = {a.name: a.size for a in program.axes}
    elements = {s.target: prod(sizes[axis] for axis in s.axes) for s in program.body.instructions()}

    def least(block: Block) -> int:
        dots = sorted(elements[s.target] for s in block.steps if isinstance(s, Instruction) and s.op == "dot")
        # The largest may be added to what is carried; while another is made, that is kept.
        found = [dots[-2] if len(dots) > 1 else 0]
        for step in block.steps:
            if isinstance(step, Loop):
                found.append(sum(elements.get(name, 0) for name in step.carried) + least(step.body))
        return max(found)
    return least(program.body)
