"""Rewrites of cascades into equal ones, from the algebra that the operators declare, and the search that combines them.

docs/rewrites.md tells each rewrite with an example and its condition. ``registry`` has them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascades.errors import FusebenchError
from einsum_cascades.ir import Cascade
from einsum_cascades.rewrites.legality import IllegalRewriteError, NoRewriteError

if TYPE_CHECKING:
    from einsum_cascades.analysis.summary import Analysis
    from einsum_cascades.rewrites.derivation import Step

__all__ = ["IllegalRewriteError", "NoRewriteError", "Rewriting", "apply", "rewrite"]


@dataclass(frozen=True)
class Rewriting:
    """A derived cascade, the steps that led to it (none where the target was met already), and what both cost.

    ``before`` and ``after`` are the analyses of the given and of the derived cascade: numbers where the extents decide
    them, formulas elsewhere.
    """

    source: Cascade
    cascade: Cascade
    steps: tuple[Step, ...]
    before: Analysis
    after: Analysis

    @property
    def applied(self) -> tuple[str, ...]:
        """The names of the rewrites in the order in which they were applied."""
        return tuple(step.name for step in self.steps)

    @property
    def passes(self) -> Mapping[str, int | str]:
        """The passes of the derived cascade: of every rank and every composite."""
        return self.after.passes

    @property
    def explanation(self) -> str:
        """What was done, one line a step, and what it changed."""
        lines = [f"{number}. {step}" for number, step in enumerate(self.steps, start=1)]
        changed = [r for r, n in self.before.passes.items() if self.passes.get(r, n) != n]
        lines += [f"passes over {r}: {self.before.passes[r]} -> {self.passes[r]}" for r in changed]
        return "\n".join(lines) or "the target is met already"


def rewrite(cascade: Cascade, passes: int = 1, over: str | None = None,
            extents: Mapping[str, int] | None = None) -> Rewriting:
    """Returns an equal cascade that needs at most ``passes`` sweeps of a rank, with the fewest operations.

    ``over`` is that rank; without it every rank of the given cascade is to reach the target, a partitioned one as its
    composite. ``extents`` decide between derivations and make the counts numbers; those of ranks that the cascade gains
    (a tile ``m0``) may be given too.

    Raises: NoRewriteError where no legal sequence of rewrites reaches it, with the read that forces the pass;
    UnknownNameError for a rank that the cascade does not have; ExtentError for extents that do not fit.
    """
    from einsum_cascades.rewrites.search import search
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise FusebenchError(f"passes: a target is a whole number of at least 1, got {passes!r}; give one")
    derived = search(cascade, passes, over, extents or {})
    return _rewriting(cascade, derived.cascade, derived.steps, extents or {})


def apply(cascade: Cascade, name: str, *site: str, extents: Mapping[str, int] | None = None) -> Rewriting:
    """Returns the cascade after one rewrite at a site: a tensor, a rank, or both; without one, at the first where it is
    legal.

    Raises: IllegalRewriteError where it is not legal; UnknownNameError for a rewrite that does not exist.
    """
    from einsum_cascades.rewrites.derivation import Step
    from einsum_cascades.rewrites.registry import find
    rewriting = find(name)
    if not site:
        found = next(iter(rewriting.sites(cascade)), None)
        if found is None:
            raise IllegalRewriteError(f"rewrite {name!r}: it is legal nowhere in {cascade.name}, got no site; give "
                                      f"one to see why, as in {name}:TENSOR")
        site = found
    made = rewriting.at(cascade, site)
    return _rewriting(cascade, made, (Step(name, " over ".join(site)),), extents or {})


def _rewriting(source: Cascade, made: Cascade, steps: tuple[Step, ...], extents: Mapping[str, int]) -> Rewriting:
    from einsum_cascades.analysis.summary import analyze
    from einsum_cascades.extents import mentioned
    own, new = mentioned(source), mentioned(made)
    before = analyze(source, {r: n for r, n in extents.items() if r in own or r not in new})
    return Rewriting(source, made, steps, before, analyze(made, {r: n for r, n in extents.items() if r in new}))
