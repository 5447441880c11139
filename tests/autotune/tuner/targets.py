"""A target on the fake device, for tests of tuning."""

from __future__ import annotations

from typing import Any

from autotune.search.landscape import landscape
from autotune.space import Axis, Space
from autotune.store.record import Scalar
from autotune.tuner import Target
from autotune.tuner.fake import FACTORY

SPACE = Space((Axis("p", (16, 32, 64, 128)), Axis("m0", (16, 32, 64, 128)), Axis("num_warps", (2, 4, 8)), Axis("num_stages", (1, 2, 3)),
               Axis("split", (1, 2))))


def target(seed: int = 0, **more: Any) -> Target:
    """Returns a target of 288 configurations with the times of the landscape "cliffs"."""
    pool = tuple(SPACE.configurations())
    return Target("made_up", "d1", {"type": "bf16"}, {"p": 1024}, "p=1024 | type=bf16", FACTORY,
                  {"configurations": [dict(c) for c in pool], "seed": seed, **more}, pool)


def true_us(made: Target) -> list[float]:
    """Returns the times without noise."""
    known = landscape(made.configurations, made.arguments["seed"])
    return [known.time_us(c) for c in made.configurations]


def times_of(made: Target, configuration: dict[str, Scalar]) -> float:
    """Returns the time of one configuration without noise."""
    return landscape(made.configurations, made.arguments["seed"]).time_us(configuration)
