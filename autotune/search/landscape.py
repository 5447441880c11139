"""The landscape "cliffs": made-up times of configurations, for dry runs and for trying strategies. No measurement.

It is made of what makes real tuning landscapes hard, and of no surrogate model that a strategy uses: every axis has a
hidden best value and a slope on either side of it; pairs of axes pull each other's best value; some pairs and triples
fall off a cliff when they are large together (a resource runs out, and time jumps by 1.3 to 2.5); a staircase rounds
work up to whole waves; and every configuration has a roughness of its own of some percent. All of it follows from a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.space import Configuration
from autotune.store.record import Scalar, canonical

NAME = "cliffs"
ROUGHNESS = 0.02
"""Standard deviation of what each configuration has of its own."""


@dataclass(frozen=True)
class Cliff:
    """Time is multiplied by ``factor`` where the axes' levels add up to more than ``edge``."""

    axes: tuple[str, ...]
    edge: float
    factor: float


@dataclass(frozen=True)
class Landscape:
    """A landscape over the axes of some configurations; made by :func:`landscape`."""

    seed: int
    base_us: float
    levels: dict[str, dict[str, float]]
    best: dict[str, float]
    slopes: dict[str, tuple[float, float]]
    pulls: dict[tuple[str, str], float]
    cliffs: tuple[Cliff, ...]
    waves: tuple[str, ...]

    def time_us(self, configuration: Configuration) -> float:
        """Returns the time of a configuration."""
        level = {name: self.levels[name][_key(configuration.get(name))] for name in self.levels}
        log = 0.0
        for name, value in level.items():
            centre = self.best[name] + sum(pull * (level[b] - 0.5) for (a, b), pull in self.pulls.items() if a == name)
            off = value - min(1.0, max(0.0, centre))
            log += self.slopes[name][off > 0] * off * off
        log += sum(math.log(c.factor) for c in self.cliffs if sum(level[name] for name in c.axes) > c.edge)
        work = 2.0 ** (6.0 * (1.0 - sum(level[name] for name in self.waves) / max(1, len(self.waves)))) * 1.37
        log += 0.5 * math.log(math.ceil(work) / work)
        own = random.Random(f"{self.seed} {canonical(dict(configuration))}").gauss(0.0, ROUGHNESS)
        return self.base_us * math.exp(log + own)


def landscape(configurations: Sequence[Configuration], seed: int) -> Landscape:
    """Returns a landscape over the axes and values that some configurations have; an axis that one lacks is a value too."""
    rng = random.Random(f"{NAME} {seed}")
    values = {name: sorted({c.get(name) for c in configurations}, key=_order)
              for name in sorted({name for c in configurations for name in c})}
    levels: dict[str, dict[str, float]] = {}
    for name, own in values.items():
        order = list(range(len(own)))
        if any(v is None or isinstance(v, str) for v in own):
            rng.shuffle(order)  # text has no order that a time would follow
        levels[name] = {_key(v): place / max(1, len(own) - 1) for v, place in zip(own, order, strict=True)}
    names = list(values)
    pairs = [(a, b) for a in names for b in names if a != b]
    cliffs = []
    for size in (2, 2, 3):
        if len(names) >= size:
            cliffs.append(Cliff(tuple(rng.sample(names, size)), size * rng.uniform(0.55, 0.75), rng.uniform(1.3, 2.5)))
    return Landscape(
        seed, rng.uniform(50.0, 2000.0), levels, {name: rng.uniform(0.1, 0.9) for name in names},
        {name: (rng.uniform(0.3, 1.5), rng.uniform(0.3, 1.5)) for name in names},
        {pair: rng.uniform(-0.5, 0.5) for pair in rng.sample(pairs, min(len(names), len(pairs)))}, tuple(cliffs),
        tuple(rng.sample(names, min(2, len(names)))))


def _order(value: Scalar | None) -> tuple[bool, float, str]:
    return (True, 0.0, str(value)) if value is None or isinstance(value, str) else (False, float(value), "")


def _key(value: object) -> str:
    return canonical(value)
