"""The errors of tuning: one that ends it, and the failure of a single trial, which does not."""

from __future__ import annotations

from autotune.store.record import Status
from einsum_cascades.errors import FusebenchError


class TuneError(FusebenchError):
    """Nothing can be tuned here."""


class TrialFailure(Exception):
    """A trial ended with a status other than ok. ``fatal`` where the process cannot go on (its device is lost to it)."""

    def __init__(self, status: Status, reason: str, *, fatal: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.fatal = status, " ".join(reason.split())[:500], fatal
