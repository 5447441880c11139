"""Model-guided search: what a performance model predicts, corrected by what has been timed so far.

The logarithm of a time is the model's (its slope and offset fitted, so that a model that is only right in its order
still helps) plus a Gaussian process over the configuration's axes. The next ones to try are those with the largest
expected improvement (Jones et al., Journal of Global Optimization 13, 1998); while several are asked for at once, those
asked for count as timed at their mean. Without a model the process is alone, and begins with configurations far apart.
What failed counts as slow, so that its surroundings are left.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autotune.search import gaussian_process as gp
from autotune.search.features import features
from autotune.search.strategy import Outcome, Problem, Proposal, Strategy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_FIRST = 12
"""Configurations that are tried before the process is fitted: as few as give its lengths a meaning."""
_REFIT = 1.25
"""The lengths are chosen anew when there are so many times more results."""
_PROMISING = 400
"""Configurations among which the second and later ones of a round are chosen."""
_FAILED = math.log(2.0)
"""A failure counts as twice as slow as the slowest that ran."""
_SHRINK = 1.0
"""Weight of the belief that the model's slope is 1, in results."""


@dataclass
class _ModelGuided:
    points: Array
    model: Array | None
    budget: int
    rng: random.Random
    asked: set[int] = field(default_factory=set)
    results: dict[int, float | None] = field(default_factory=dict)
    chosen: gp.Hyperparameters | None = None
    fitted_at: int = 0

    def ask(self, room: int) -> Sequence[Proposal]:
        room = min(room, self.budget - len(self.asked), len(self.points) - len(self.asked))
        if room < 1:
            return []
        usable = sum(value is not None for value in self.results.values())
        picked = self._first(room) if usable < min(_FIRST, self.budget) else self._improving(room)
        self.asked.update(picked)
        return [Proposal(i) for i in picked]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self.budget += sum(o.free for o in outcomes)
        self.results.update({o.index: None if o.us is None else math.log(o.us) for o in outcomes})

    def _first(self, room: int) -> list[int]:
        """Half of them those predicted fastest, the others far from all that were asked for; without a model all far."""
        import numpy as np
        picked: list[int] = []
        for turn in range(room):
            taken = [*sorted(self.asked), *picked]
            free = np.setdiff1d(np.arange(len(self.points)), taken)
            if self.model is not None and turn % 2 == 0:
                picked.append(int(free[np.argmin(self.model[free])]))
            elif not taken:
                picked.append(self.rng.randrange(len(self.points)))
            else:
                some = np.array(self.rng.sample(list(map(int, free)), min(len(free), 500)))
                apart = ((self.points[some][:, None, :] - self.points[taken][None, :, :])**2).sum(axis=2).min(axis=1)
                picked.append(int(some[np.argmax(apart)]))
        return picked

    def _improving(self, room: int) -> list[int]:
        import numpy as np
        indices = sorted(self.results)
        ran = [value for value in self.results.values() if value is not None]
        slow = max(ran) + _FAILED
        values = np.array([slow if (v := self.results[i]) is None else v for i in indices])
        base = self._base(indices, values)
        residual = values - base[indices]
        if self.chosen is None or len(indices) >= self.fitted_at * _REFIT:
            self.chosen, self.fitted_at = gp.fitted(self.points[indices], residual, self.chosen), len(indices)
        waiting = sorted(self.asked - self.results.keys())
        picked: list[int] = []
        best = min(ran)
        if waiting:
            mean, _ = gp.predicted(self.points[indices], residual, self.points[waiting], self.chosen)
            indices, residual = [*indices, *waiting], np.concatenate([residual, mean])
        near = np.arange(len(self.points))
        for turn in range(room):
            mean, deviation = gp.predicted(self.points[indices], residual, self.points[near], self.chosen)
            gain = _expected_improvement(best, base[near] + mean, deviation)
            gain[np.isin(near, [*self.asked, *picked])] = -np.inf
            picked.append(int(near[np.argmax(gain)]))
            indices, residual = [*indices, picked[-1]], np.append(residual, mean[np.argmax(gain)])
            if turn == 0:
                # What one result more changes is looked at among the most promising only.
                near = near[np.argsort(-gain, kind="stable")[:max(_PROMISING, room)]]
        return picked

    def _base(self, indices: Sequence[int], values: Array) -> Array:
        """What the model says, as ``offset + slope * log(time)``, of every configuration."""
        import numpy as np
        if self.model is None:
            return np.full(len(self.points), float(values.mean()))
        own = self.model[list(indices)]
        spread = own - own.mean()
        slope = (float(spread @ (values - values.mean())) + _SHRINK) / (float(spread @ spread) + _SHRINK)
        result: Array = values.mean() + max(slope, 0.0) * (self.model - own.mean())
        return result


def make(problem: Problem) -> Strategy:
    """Returns the strategy."""
    import numpy as np
    model = None if problem.predicted_us is None else np.log(np.array(problem.predicted_us, dtype=np.float64))
    return _ModelGuided(features(problem.configurations), model, problem.budget, random.Random(f"model guided {problem.seed}"))


def _expected_improvement(best: float, mean: Array, deviation: Array) -> Array:
    import numpy as np
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    # The normal distribution, by the logistic approximation of Page (Applied Statistics 26, 1977): it orders well enough.
    below = 1.0 / (1.0 + np.exp(-np.clip(1.5957691216 * z + 0.0713548162726 * z**3, -60.0, 60.0)))
    result: Array = deviation * (z * below + density)
    return result
