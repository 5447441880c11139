"""Bayesian search by Optuna's tree-structured Parzen estimator (its multivariate form).

Optuna suggests a value for each axis. A suggestion that the space does not have, or that was tried, is answered with the
nearest one that it has and that was not, and Optuna is told about that one.

Source: Bergstra et al., NeurIPS 2011; Falkner et al., ICML 2018 (the multivariate form). Optuna: Akiba et al., KDD 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autotune.search.errors import SearchError
from autotune.search.strategy import Outcome, Problem, Proposal, Strategy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_FIRST = 16
"""Random trials before the estimator is used."""


@dataclass
class _Bayesian:
    problem: Problem
    study: Any
    axes: Mapping[str, Sequence[Any]]
    levels: Array
    spans: Array
    ordered: Array
    trials: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    free: int = 0

    def ask(self, room: int) -> Sequence[Proposal]:
        free = min(self.problem.budget + self.free, len(self.levels)) - len(self.trials)
        return [self._one() for _ in range(min(room, free))]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        import optuna
        space = self._distributions()
        self.free += sum(outcome.free for outcome in outcomes)
        for outcome in outcomes:
            state = optuna.trial.TrialState.COMPLETE if outcome.us is not None else optuna.trial.TrialState.FAIL
            self.study.add_trial(optuna.trial.create_trial(state=state, value=outcome.us, params=dict(self.trials[outcome.index]),
                                                           distributions=space))

    def _one(self) -> Proposal:
        import numpy as np
        import optuna
        trial = self.study.ask(self._distributions())
        # What was asked for is told as what is tried in its place, so the question itself is closed without an answer.
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        wanted = np.array([trial.params[name] for name in self.axes], dtype=np.float64)
        apart = np.abs(self.levels - wanted)
        distance = np.where(self.ordered, apart / self.spans, apart > 0).sum(axis=1)
        distance[sorted(self.trials)] = np.inf
        index = int(np.argmin(distance))
        own = self.problem.configurations[index]
        self.trials[index] = {name: list(values).index(own[name]) for name, values in self.axes.items()}
        return Proposal(index)

    def _distributions(self) -> dict[str, Any]:
        import optuna
        return {name: optuna.distributions.IntDistribution(0, len(values) - 1) if _ordered(values) else
                optuna.distributions.CategoricalDistribution(tuple(range(len(values)))) for name, values in self.axes.items()}


def make(problem: Problem) -> Strategy:
    """Returns the strategy.

    Raises: SearchError where Optuna is not installed.
    """
    import numpy as np
    if find_spec("optuna") is None:
        raise SearchError("bayesian: it needs Optuna, got no such package; install fusebench[tune], or use --strategy model-guided")
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=problem.seed, multivariate=True, n_startup_trials=_FIRST)
    study = optuna.create_study(sampler=sampler)
    names = sorted({name for c in problem.configurations for name in c})
    axes = {name: sorted({c[name] for c in problem.configurations}, key=_order) for name in names}
    axes = {name: values for name, values in axes.items() if len(values) > 1}
    levels = np.array([[axes[name].index(c[name]) for name in axes] for c in problem.configurations], dtype=np.float64)
    spans = np.array([len(values) - 1 for values in axes.values()], dtype=np.float64)
    return _Bayesian(problem, study, axes, levels, spans, np.array([_ordered(values) for values in axes.values()], dtype=bool))


def _order(value: Any) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


def _ordered(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
