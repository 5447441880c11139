"""A campaign file: the ceilings, kernels, peers and targets that are measured on a device.

```yaml
campaign: h200
device: H200                  # what the card's name must contain
ceilings: [copy, matrix, exp]
items:
  - id: attention-d128
    cascade: attention:1pass
    extents: {p: 16384, m: 16384, e: 128, f: 128}
    instances: 16             # independent copies: batch times heads
    dtype: bf16
    trials: 60                # configurations that are tried; 0 takes what the store has, or the default
    peers:
      - {id: cudnn, peer: sdpa, backend: cudnn, q: Q, k: K, v: V, out: AV, scale: 1.0}
    targets:
      - {of: cudnn, at_least: 0.9}     # the peer's time over the kernel's
      - {of: floor, at_least: 0.7}     # the floor over the kernel's time
```
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.peers import peer_ids
from einsum_cascades.definitions import Fields, read_yaml

CEILINGS = ("copy", "matrix", "exp")
FLOOR = "floor"
_DTYPES = ("bf16", "fp16", "fp32")


@dataclass(frozen=True)
class PeerSpec:
    """A peer of an item: the module of autotune/peers that makes it, and what that module is told. ``another: true`` says that
    it computes another operator, so that its result is not compared."""

    id: str
    peer: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """The kernel is to reach ``at_least`` this share of the speed of a peer, or of its floor."""

    of: str
    at_least: float


@dataclass(frozen=True)
class Item:
    """A kernel at a shape, with its peers."""

    id: str
    cascade: str
    extents: Mapping[str, int]
    instances: int
    dtype: str
    trials: int
    peers: tuple[PeerSpec, ...]
    goals: tuple[Goal, ...]


@dataclass(frozen=True)
class Campaign:
    """See the module. ``seconds`` is what a step is thought to take before any has been timed."""

    id: str
    title: str
    device: str
    ceilings: tuple[str, ...]
    items: tuple[Item, ...]
    seconds: float


def load_campaign(path: str | os.PathLike[str]) -> Campaign:
    """Returns the campaign of a file.

    Raises: DefinitionError with the path of the key that is wrong.
    """
    top = Fields(read_yaml(path), source=os.fspath(path))
    items = tuple(_item(fields) for fields in top.list_of_fields("items", default=()))
    ceilings = top.texts("ceilings", default=CEILINGS)
    made = Campaign(top.text("campaign"), top.text("title", default="-"), top.text("device"), ceilings, items,
                    top.number("step_seconds", above=0, default=120.0))
    top.finish()
    for name in ceilings:
        if name not in CEILINGS:
            top.fail("ceilings", "unknown ceiling", name, f"valid: {', '.join(CEILINGS)}")
    names = [item.id for item in items]
    for name in names:
        if names.count(name) > 1:
            top.fail("items", "two have one id", name, "rename one")
    return made


def _item(fields: Fields) -> Item:
    extents = fields.fields("extents")
    peers = tuple(_peer(peer) for peer in fields.list_of_fields("peers", default=()))
    names = [peer.id for peer in peers]
    goals = []
    for goal in fields.list_of_fields("targets", default=()):
        goals.append(Goal(goal.choice("of", (*names, FLOOR)), goal.number("at_least", above=0)))
        goal.finish()
    made = Item(fields.text("id"), fields.text("cascade"), {rank: extents.integer(rank, least=1) for rank in extents.keys()},
                fields.integer("instances", least=1, default=1), fields.choice("dtype", _DTYPES, default="bf16"),
                fields.integer("trials", least=0, default=0), peers, tuple(goals))
    fields.finish()
    for name in names:
        if names.count(name) > 1 or name in (FLOOR, "kernel"):
            fields.fail("peers", "an id should be a peer's alone", name, "rename it")
    return made


def _peer(fields: Fields) -> PeerSpec:
    return PeerSpec(fields.text("id"), fields.choice("peer", peer_ids()),
                    {key: value for key, value in fields.mapping.items() if key not in ("id", "peer")})
