"""A space of configurations: axes with finitely many values, and constraints that say which combinations there are."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from autotune.space.errors import SpaceError
from autotune.store.record import Scalar
from einsum_cascades.errors import suggest

_WALKED = 1000
"""A space with so many combinations for each one that is wanted is not walked, but drawn from."""
_TRIES = 50
"""Draws for each configuration that is wanted."""

Configuration = Mapping[str, Scalar]
"""A value for each axis, by the axis' name."""


@dataclass(frozen=True)
class Axis:
    """An axis and its values, in order. ``why`` says where they come from."""

    name: str
    values: tuple[Scalar, ...]
    why: str = ""


@dataclass(frozen=True)
class Constraint:
    """What a configuration must hold: ``holds`` of the values of ``axes``, in that order. ``text`` says it in words."""

    text: str
    axes: tuple[str, ...]
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Space:
    """Axes and constraints.

    Raises: SpaceError where an axis has no values or stands twice, or a constraint names an axis that there is not.
    """

    axes: tuple[Axis, ...]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        for axis in self.axes:
            if not axis.values:
                raise SpaceError(f"axis {axis.name!r}: it has no values, got none; give one at least")
            if names.count(axis.name) > 1 or len(set(axis.values)) < len(axis.values):
                raise SpaceError(f"axis {axis.name!r}: it, or one of its values, stands twice, got {axis.values}; name each once")
        for constraint in self.constraints:
            for name in constraint.axes:
                if name not in names:
                    raise SpaceError(f"constraint {constraint.text!r}: there is no such axis, got {name!r}; {suggest(name, names)}")

    @property
    def combinations(self) -> int:
        """The number of all combinations, allowed or not."""
        return math.prod(len(axis.values) for axis in self.axes)

    def configurations(self) -> Iterator[dict[str, Scalar]]:
        """Yields the configurations that are allowed, the last axis fastest.

        A constraint is asked as soon as its axes have values, so that what it excludes is not walked.
        """
        order = {axis.name: i for i, axis in enumerate(self.axes)}
        due: list[list[Constraint]] = [[] for _ in self.axes]
        for constraint in self.constraints:
            due[max((order[name] for name in constraint.axes), default=0)].append(constraint)
        yield from self._walk({}, due)

    def pool(self, most: int, *, seed: int = 0) -> tuple[dict[str, Scalar], ...]:
        """Returns all configurations where there are at most ``most``; of a larger space, that many different ones, drawn evenly.

        Raises: SpaceError where no configuration is allowed.
        """
        found = list(islice(self.configurations(), most + 1)) if self.combinations <= _WALKED * most else []
        if not found or len(found) > most:
            found = self._drawn(most, random.Random(f"pool {seed}"))
        if not found:
            raise SpaceError(f"space: none of its {self.combinations} combinations is allowed, got constraints "
                             f"{', '.join(c.text for c in self.constraints) or 'that exclude all'}; loosen one")
        return tuple(found)

    def _drawn(self, most: int, rng: random.Random) -> list[dict[str, Scalar]]:
        found: dict[tuple[Scalar, ...], dict[str, Scalar]] = {}
        for _ in range(_TRIES * most):
            made = {axis.name: rng.choice(axis.values) for axis in self.axes}
            if self.violated(made) is None:
                found.setdefault(tuple(made.values()), made)
            if len(found) >= most:
                break
        return list(found.values())

    def violated(self, configuration: Configuration) -> Constraint | None:
        """Returns the first constraint that a configuration does not hold; None where it is allowed.

        Raises: SpaceError where it lacks an axis, or has a value that there is not.
        """
        for axis in self.axes:
            if configuration.get(axis.name) not in axis.values:
                raise SpaceError(f"configuration: axis {axis.name!r} has no such value, got {configuration.get(axis.name)!r}; valid: "
                                 f"{', '.join(map(str, axis.values))}")
        return next((c for c in self.constraints if not c.holds(*(configuration[name] for name in c.axes))), None)

    def _walk(self, chosen: dict[str, Scalar], due: Sequence[Sequence[Constraint]]) -> Iterator[dict[str, Scalar]]:
        depth = len(chosen)
        if depth == len(self.axes):
            yield dict(chosen)
            return
        axis = self.axes[depth]
        for value in axis.values:
            chosen[axis.name] = value
            if all(c.holds(*(chosen[name] for name in c.axes)) for c in due[depth]):
                yield from self._walk(chosen, due)
            del chosen[axis.name]
