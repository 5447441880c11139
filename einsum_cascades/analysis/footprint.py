"""Live footprint: how many values of each tensor must be live at least, whatever the mapping.

FuseMax (arXiv 2406.10491, section III) derives it from passes: where a fiber is visited again in a later pass, all
of it has been visited before, so that the whole fiber must be kept (or spilled and read again); where all that make
and read a tensor share one pass, one element at a time will do. Made exact here:

* Along a rank r, a tensor is *held* if no legal schedule of r has the Einsums that make it and those that read it
  along r in one sweep (see ``passes``; a constant lag is allowed and not counted). Each rank is judged by itself, and
  so is each slot of an iteration that is unrolled.
* The footprint is the number of elements of a fiber over the ranks along which the tensor is held, the longest one
  of those that predicates and windows leave, and 1 along every other rank. So it is 1 for a tensor that is consumed
  as it is made, and for a state (a generation of a recurrence, the maximum of a row) one value for each fiber.
* What is held is what both an earlier and a later sweep touch: elements that predicates keep from either do not
  count. Of a partitioned rank that is held along its inner part only, a tile counts.

An input is live from its first sweep to its last: one that is read in two sweeps is held, or read again from outside.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from itertools import combinations

from einsum_cascades.analysis.graph import Node
from einsum_cascades.analysis.linear import Linear
from einsum_cascades.analysis.passes import RankPlan, rank_passes
from einsum_cascades.analysis.presence import Condition, presence
from einsum_cascades.analysis.regions import at_most_zero, longest
from einsum_cascades.ir import Access, Cascade, Coord, Einsum, accesses, coords, kept_coords
from einsum_cascades.structure import Structure, structure
from einsum_cascades.symbols import Formula, extent, formula, maximum, minimum, multiplied


@dataclass(frozen=True)
class Footprint:
    """The live values of a tensor, the ranks of its dimensions along which it is held (for each dimension), and
    whether ``values`` is exact: predicates that depend on data or are not linear are taken to hold."""

    values: Formula
    held: tuple[frozenset[str], ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class _Use:
    """One access of a tensor by an Einsum, read or written, with the conditions of its points."""

    einsum: Einsum
    access: Access
    conditions: tuple[Condition, ...]


def live_footprint(cascade: Cascade) -> dict[str, Footprint]:
    """Returns the live footprint of every tensor, inputs first, then in the order of their definitions."""
    found = structure(cascade)
    conditions = presence(cascade)
    uses: dict[str, list[_Use]] = {tensor: [] for tensor in (*found.inputs, *found.producers)}
    for einsum in (*cascade.inits, *cascade.einsums):
        for access in dict.fromkeys((*einsum.outputs, *einsum.reads)):
            uses[access.tensor].append(_Use(einsum, access, conditions[einsum]))
    users: dict[str, list[tuple[RankPlan, int, frozenset[int]]]] = {}
    for passes in rank_passes(cascade).values():
        for (tensor, dimension), groups in _users(passes.plan).items():
            users.setdefault(tensor, []).extend((passes.plan, dimension, group) for group in groups)
    return {tensor: _of_tensor(tensor, own, users.get(tensor, []), found) for tensor, own in uses.items()}


def _of_tensor(tensor: str, uses: list[_Use], users: list[tuple[RankPlan, int, frozenset[int]]],
               found: Structure) -> Footprint:
    held: list[set[str]] = [set() for _ in found.dimensions[tensor]]
    apart: dict[frozenset[Einsum], None] = {}
    for plan, d, group in users:
        if plan.sweeps(group)[0] > 1:
            held[d].add(plan.rank)
            nodes = plan.graph.nodes
            pairs = [frozenset((nodes[a].einsum, nodes[b].einsum)) for a, b in combinations(sorted(group), 2)
                     if plan.sweeps(frozenset((a, b)))[0] > 1]
            # Where no two of them, only three together, need two sweeps, all is held.
            apart |= dict.fromkeys(pairs or [frozenset()])
    if not any(held):
        return Footprint(formula(1), tuple(map(frozenset, held)), True)
    values, exact = None, True
    for pair in apart:
        one, sure = _elements(tensor, [u for u in uses if u.einsum in pair], uses, held, found)
        values = one if values is None else maximum(values, one)
        exact = exact and sure
    assert values is not None
    return Footprint(values, tuple(map(frozenset, held)), exact)


def _users(plan: RankPlan) -> dict[tuple[str, int], list[frozenset[int]]]:
    """For each tensor and dimension, the nodes that make the tensor or read it along the plan's rank there; for each
    slot of an unrolled iteration apart. Sets of one node are left out."""
    graph, rank = plan.graph, plan.rank
    leaves = frozenset(graph.leaves(rank))
    members = [graph.nodes[n] for n in graph.members(rank)]
    fixed: dict[str, set[int]] = {}
    for node in members:
        for out, forms in node.outputs if node.generation else ():
            fixed.setdefault(out, set()).update(d for d, f in enumerate(forms) if f is not None and not f.coordinates)
    slots: dict[tuple[str, int], dict[tuple[object, ...], set[int]]] = {}

    def use(tensor: str, d: int, node: Node, forms: tuple[Linear | None, ...]) -> None:
        slot = tuple(forms[f] for f in sorted(fixed.get(tensor, ())))
        slots.setdefault((tensor, d), {}).setdefault(slot, set()).add(node.number)

    for node in members:
        for out, forms in node.outputs:
            for d, form in enumerate(forms):
                if form is not None and _moves({r for r, _ in form.coordinates}, rank, leaves):
                    use(out, d, node, forms)
        for read in node.reads:
            for d, gathered in enumerate(read.gathers):
                if gathered == rank if gathered is not None else _moves(read.kept[d], rank, leaves):
                    use(read.tensor, d, node, read.forms)
    return {key: [frozenset(g) for g in groups.values() if len(g) > 1] for key, groups in slots.items()}


def _moves(ranks: Set[str], rank: str, leaves: frozenset[str]) -> bool:
    return rank in ranks or ranks >= leaves


# --- how many elements a held fiber has ---

def _elements(tensor: str, uses: list[_Use], every: list[_Use], held: list[set[str]],
              found: Structure) -> tuple[Formula, bool]:
    """The elements over the held dimensions that all of some uses touch, and whether that is exact."""
    own = found.iterative.get(tensor)
    names = {f"@{d}" for d, ranks in enumerate(held) if ranks}
    forms: list[Linear] = []
    sizes: dict[str, Formula] = {}
    exact = True
    for number, use in enumerate(uses):
        # Coordinates that index a dimension by themselves are those of the element; others are of the use alone.
        table = {index.rank: f"@{d}" for d, index in reversed(list(enumerate(use.access.indices)))
                 if isinstance(index, Coord) and (own is None or own.dimension != d)}
        for condition in use.conditions:
            made = None if accesses(condition.expr) else at_most_zero(condition.expr)
            exact = exact and (made is not None or condition.bounds
                               or not names & {table.get(r, r) for r in coords(condition.expr)})
            for form in made or ():
                renamed = {r: table.get(r, f"{r}@{number}") for r, _ in form.coordinates}
                forms.append(Linear(tuple((renamed[r], c) for r, c in form.coordinates), form.symbols, form.constant))
                sizes |= {new: extent(r) for r, new in renamed.items()}
    factors = []
    for d, ranks_held in enumerate(held):
        if ranks_held:
            size, whole = _length(tensor, d, ranks_held, every, found)
            factors.append(longest(f"@{d}", dict.fromkeys(forms), {**sizes, f"@{d}": size}) if whole else size)
    return multiplied(factors), exact


def _length(tensor: str, d: int, held: set[str], uses: list[_Use], found: Structure) -> tuple[Formula, bool]:
    """The elements of a dimension over which it is held, and whether these are all of the dimension."""
    own = found.iterative.get(tensor)
    if own is not None and own.dimension == d:
        return extent(own.rank), True
    indices = [use.access.indices[d] for use in uses]
    name = found.dimensions[tensor][d]
    inner = held & {r for index in indices for r in kept_coords(index)}
    bare = any(isinstance(index, Coord) and index.rank in inner for index in indices)
    if name is not None and (bare or not inner or name in held):
        return extent(name), True
    size = multiplied(extent(r) for r in sorted(inner or held))
    return (size if name is None else minimum(size, extent(name))), False
