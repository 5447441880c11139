"""Timing on a device: interleaved rounds, tainted ones rejected, and comparison of candidates within a tie band."""

from __future__ import annotations

from autotune.timing.comparison import Comparison, Standing, compare
from autotune.timing.device import Burst, Candidate, Checked, Device, Evidence, Mode, Reading
from autotune.timing.errors import TimingError
from autotune.timing.rounds import RoundPlan, time_interleaved
from autotune.timing.taint import TaintRules

__all__ = ["Burst", "Candidate", "Checked", "Comparison", "Device", "Evidence", "Mode", "Reading", "RoundPlan", "Standing", "TaintRules",
           "TimingError", "compare", "time_interleaved"]
