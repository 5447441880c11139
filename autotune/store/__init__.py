"""The store of measurements: trials, their samples and environments, and what tuning runs chose."""

from __future__ import annotations

from autotune.store.buckets import bucket_of
from autotune.store.errors import StoreError
from autotune.store.lookup import Key, Lookup, look_up
from autotune.store.record import Environment, Round, Scalar, Status, Trial, Winner
from autotune.store.store import Store

__all__ = ["Environment", "Key", "Lookup", "Round", "Scalar", "Status", "Store", "StoreError", "Trial", "Winner", "bucket_of", "look_up"]
