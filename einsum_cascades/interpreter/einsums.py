"""One Einsum evaluated over a space: its predicate, the sums inside, then the named reduction, populate or scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from einsum_cascades.interpreter.blocks import Array, Block, Parts, Space, divided, every, joined
from einsum_cascades.interpreter.contraction import axes_of, contract
from einsum_cascades.interpreter.evaluation import Evaluator, placed
from einsum_cascades.interpreter.populates import populated
from einsum_cascades.interpreter.recipes import Recipe, Term
from einsum_cascades.interpreter.reductions import folded, reduced, total
from einsum_cascades.interpreter.scatter import SCATTERED, flat_targets, scattered
from einsum_cascades.interpreter.storage import scattered_dimensions
from einsum_cascades.ir import Access, Expr
from einsum_cascades.operators import REDUCTIONS


@dataclass(frozen=True)
class EinsumEvaluator:
    """Evaluates Einsums with the values and tensors of ``evaluator``."""

    evaluator: Evaluator

    def blocks(self, recipe: Recipe, space: Space, *, careful: bool) -> list[Block] | None:
        """Returns one block for each output; only the axes of kept ranks and of scattered dimensions are left.

        Sums of products are contracted without a thought of infinities, unless ``careful``: None says that a result
        is not finite, so that it has to be evaluated carefully.
        """
        space.predicate = self._predicate(recipe, space)
        if any(isinstance(i, Access) for out in recipe.einsum.outputs for i in out.indices):
            made = [self._scattered(recipe, number, space, careful) for number in range(len(recipe.einsum.outputs))]
            return None if None in made else [b for b in made if b is not None]
        inner = self._inner(recipe, recipe.inner, space, careful)
        return None if inner is None else self._outer(recipe, inner, space)

    def _predicate(self, recipe: Recipe, space: Space) -> Parts:
        parts: dict[frozenset[str], Array] = {}
        for condition in recipe.conditions:
            ranks = self.evaluator.ranks_of(condition)
            holds = self.evaluator.condition(condition, space)
            if not holds.all():
                parts[ranks] = parts[ranks] & holds if ranks in parts else holds
        return parts

    # --- ranks that are summed first ---

    def _inner(self, recipe: Recipe, ranks: tuple[str, ...], space: Space, careful: bool) -> list[Block] | None:
        found = []
        for body, terms in zip(recipe.einsum.bodies, recipe.terms, strict=True):
            if ranks and not careful:
                block = self._contracted(terms, ranks, space)
                if block is None:
                    return None
            else:
                block = self._summed(body, ranks, space)
            found.append(block)
        return found

    def _summed(self, body: Expr, ranks: tuple[str, ...], space: Space) -> Block:
        block = self.evaluator.value(body, space)
        values, parts = space.full(block.values).astype(float, copy=False), joined(space.predicate, block.parts)
        if not ranks:
            return Block(values, parts)
        skipped, passed = divided(parts, ranks)
        return Block(total(values, _full(every(skipped), space), space.axes_of(ranks), space.sizes), passed)

    def _contracted(self, terms: Sequence[Term], ranks: tuple[str, ...], space: Space) -> Block | None:
        value = self.evaluator.value
        factors = [([value(n, space) for n in t.numerators], [value(d, space) for d in t.denominators]) for t in terms]
        parts = joined(space.predicate, *(b.parts for pair in factors for blocks in pair for b in blocks))
        skipped, passed = divided(parts, ranks)
        away = frozenset(space.axes_of(ranks))
        result: Array | None = None
        for term, (numerators, denominators) in zip(terms, factors, strict=True):
            product = _sum_of_products([space.full(b.values) for b in numerators],
                                       [space.full(b.values) for b in denominators],
                                       [space.full(s) for s in skipped], away, space.sizes)
            if product is None:
                return None
            product = product if term.sign > 0 else -product
            result = product if result is None else result + product
        assert result is not None
        present = every(tuple(passed.values()))
        finite = np.isfinite(result)
        if not finite.all() and not (finite if present is None else finite | ~present).all():
            return None
        return Block(result, passed)

    # --- ranks of the named reduction or populate ---

    def _outer(self, recipe: Recipe, blocks: list[Block], space: Space) -> list[Block]:
        op = recipe.operator
        if op is None:
            return blocks
        if recipe.populates:
            return [self._populated(recipe, blocks[0], space)]
        axes = space.axes_of(recipe.outer)
        if op in REDUCTIONS:
            made = []
            for block in blocks:
                skipped, passed = divided(block.parts, recipe.outer)
                present = _full(every(skipped), space)
                made.append(Block(reduced(op, space.full(block.values), present, axes, space.sizes), passed))
            return made
        user = self.evaluator.users[op]
        assert user.identity is not None
        skipped, passed = divided(joined(*(b.parts for b in blocks)), recipe.outer)
        results = folded(lambda left, right: self.evaluator.results(user, [*left, *right]), user.identity,
                         [space.full(b.values) for b in blocks], _full(every(skipped), space), axes, space.sizes,
                         associative="associative" in user.properties)
        return [Block(r, passed) for r in results]

    def _populated(self, recipe: Recipe, block: Block, space: Space) -> Block:
        head = recipe.einsum.reduction
        assert head is not None
        skipped, passed = divided(block.parts, head.ranks)
        made = space.axes[head.into[0]]
        values, there = populated(head.op, space.full(block.values), _full(every(skipped), space),
                                  space.axes[head.ranks[0]], made, space.sizes[made])
        ranks = frozenset(recipe.einsum.output_ranks)
        return Block(values, passed if there is None else joined(passed, {ranks: there}))

    # --- index tensors on the left ---

    def _scattered(self, recipe: Recipe, number: int, space: Space, careful: bool) -> Block | None:
        out, op = recipe.einsum.outputs[number], recipe.operator
        hits: list[tuple[str, Array, Array]] = []
        for d, rank in scattered_dimensions(out).items():
            found = self.evaluator.whole(out.indices[d], space.sizes[space.axes[rank]], space, out, d)
            held = every([*found.parts.values(), *(() if found.inside is None else (found.inside,))])
            hits.append((rank, space.full(found.at), np.asarray(True) if held is None else held))
        together = recipe.scattered if op is None else recipe.outer
        if op in SCATTERED and set(recipe.scattered) <= set(together):
            inner = self._inner(recipe, tuple(r for r in recipe.inner if r not in together), space, careful)
            return None if inner is None else _sent(op, inner[number], hits, together, space)
        # What meets at a coordinate is what the predicate "index == coordinate" leaves.
        label = frozenset(r for i in out.indices if isinstance(i, Access) for r in self.evaluator.ranks_of(i))
        met = np.logical_and.reduce(np.broadcast_arrays(
            *((at == space.coordinates[rank]) & held for rank, at, held in hits)))
        predicate = space.predicate
        if recipe.scattered:
            space.predicate = joined(predicate, {label | {rank for rank, _, _ in hits}: met})
        inner = self._inner(recipe, recipe.inner, space, careful)
        space.predicate = predicate
        if inner is None:
            return None
        block = self._outer(recipe, inner, space)[number]
        if recipe.scattered:
            return block
        assert op is not None
        user = self.evaluator.users.get(op)
        identity = REDUCTIONS[op].identity if user is None or user.identity is None else user.identity
        return Block(np.where(met, block.values, identity[number if user else 0]), block.parts)


def _sum_of_products(numerators: list[Array], denominators: list[Array], skipped: Sequence[Array],
                     away: frozenset[int], sizes: tuple[int, ...]) -> Array | None:
    """A sum over ``away``; divisors that are free of it divide the sum. None where that is not the same."""
    outside = [d for d in denominators if axes_of(d).isdisjoint(away)]
    operands = numerators + [1.0 / d for d in denominators if not axes_of(d).isdisjoint(away)]
    operands = [o.astype(float) if o.dtype == bool else o for o in operands]
    for held in skipped:
        axes, covered = axes_of(held), False
        for n, operand in enumerate(operands):
            # What is absent may be anything, also infinite: it is zero in every operand that can tell.
            if axes <= axes_of(operand):
                operands[n], covered = np.where(held, operand, 0.0), True
        if not covered:
            operands.append(held.astype(float))
    result = contract(operands, away, sizes)
    for divisor in outside:
        zero = divisor == 0
        if zero.any():
            # A term over 0 is infinite unless it is 0 itself, so that 0/0 = 0 for the sum if it is for each term.
            sizes_of_terms = contract([np.abs(o) for o in operands], away, sizes)
            if (zero & (sizes_of_terms != 0)).any():
                return None
        result = np.where(zero, 0.0, result / divisor)
    return result


def _sent(op: str | None, block: Block, hits: Sequence[tuple[str, Array, Array]], reduced_ranks: Sequence[str],
          space: Space) -> Block:
    """The elements of a block, reduced where they hit."""
    skipped, passed = divided(block.parts, reduced_ranks)
    present = every([*skipped, *(held for _, _, held in hits)])
    assert present is not None
    gone, goals = space.axes_of(reduced_ranks), space.axes_of(rank for rank, _, _ in hits)
    shape = np.broadcast_shapes(block.values.shape, present.shape, *(at.shape for _, at, _ in hits),
                                tuple(s if axis in gone else 1 for axis, s in enumerate(space.sizes)))
    kept = [axis for axis, size in enumerate(shape) if size != 1 and axis not in gone]
    sizes = [*(space.sizes[axis] for axis in goals), *(shape[axis] for axis in kept)]
    grids = [np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))]) for axis in kept]
    chosen = np.broadcast_to(present, shape)
    targets = np.broadcast_to(flat_targets([*(at for _, at, _ in hits), *grids], sizes), shape)[chosen]
    values = np.broadcast_to(block.values, shape)[chosen]
    result = scattered(op, values, targets, int(np.prod(sizes)))
    return Block(placed(result.reshape(sizes), [*goals, *kept], space), passed)


def _full(array: Array | None, space: Space) -> Array | None:
    return None if array is None else space.full(array)

