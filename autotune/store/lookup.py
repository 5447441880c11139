"""Finds a tuned configuration again: by kernel, shape bucket and device, and says why it is not the one of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autotune.store.record import Scalar, Trial, Winner
from autotune.store.store import Store


@dataclass(frozen=True)
class Key:
    """What a tuned configuration is found by. ``triton`` is the version of Triton."""

    kernel: str
    kernel_digest: str
    bucket: str
    device: str
    triton: str


@dataclass(frozen=True)
class Lookup:
    """What was found. ``stale``: a configuration was tuned for the same kernel, bucket and device, but for another source
    of the kernel or another Triton; ``reason`` says which, and ``trial`` is that one, not to be used unseen."""

    status: Literal["hit", "stale", "miss"]
    reason: str = ""
    trial: Trial | None = None
    winner: Winner | None = None

    @property
    def configuration(self) -> Mapping[str, Scalar] | None:
        """The configuration to use; None unless it is a hit."""
        return self.trial.configuration if self.trial is not None and self.status == "hit" else None


def look_up(store: Store, key: Key) -> Lookup:
    """Returns the configuration that the latest tuning run chose for a key.

    Raises: StoreError where the store cannot be read.
    """
    found = store.winners(kernel=key.kernel, bucket=key.bucket, device=key.device)
    if not found:
        return Lookup("miss", f"{key.kernel}: nothing is tuned for this shape on {key.device}, got bucket {key.bucket!r}; run "
                              f"'fusebench tune'")
    for winner in found:
        if not _changes(winner, key):
            return Lookup("hit", "", _trial(store, winner), winner)
    latest = found[0]
    return Lookup("stale", f"{key.kernel}: the tuned configuration is out of date, got {' and '.join(_changes(latest, key))}; run "
                           f"'fusebench tune' again", _trial(store, latest), latest)


def _changes(winner: Winner, key: Key) -> list[str]:
    changes = []
    if winner.kernel_digest != key.kernel_digest:
        changes.append(f"another kernel ({winner.kernel_digest[:12]} was tuned, {key.kernel_digest[:12]} is here)")
    if winner.triton != key.triton:
        changes.append(f"another Triton ({winner.triton or 'none'} was tuned with, {key.triton or 'none'} is here)")
    return changes


def _trial(store: Store, winner: Winner) -> Trial | None:
    found = store.trials(ids=(winner.trial,))
    return found[0] if found else None
