"""Tile configurations in short: ``AV: p=grid:32 m=loop:32 e=tile``, one line a kernel."""

from __future__ import annotations

from autotune.config import Role, StageConfig, TileConfig


def config(text: str, dtype: str = "fp32", instances: tuple[str, ...] = ("b", "h"), **types: str) -> TileConfig:
    """Returns the configuration of lines ``tensors: rank=role[:block] ... [packed=a*b]``."""
    stages = []
    for line in text.strip().splitlines():
        writes, _, rest = line.partition(":")
        roles, packed = {}, []
        for part in rest.split():
            name, _, value = part.partition("=")
            kind, _, block = value.partition(":")
            if name == "packed":
                packed.append(tuple(value.split("*")))
            else:
                roles[name] = Role(kind, int(block or 1))  # type: ignore[arg-type]
        stages.append(StageConfig(tuple(writes.split()), tuple(sorted(roles.items())), 1, 2, tuple(packed)))
    return TileConfig(tuple(stages), dtype, tuple(types.items()), instances=instances)
