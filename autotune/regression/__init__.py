"""The regression gate: two versions of kernels compared, by times of fresh processes or by figures that do not vary."""

from __future__ import annotations

from autotune.regression.errors import RegressionGateError
from autotune.regression.metrics import MetricSet, MetricVerdict, compare_metrics, read_metrics
from autotune.regression.protocol import GatePlan, GateRun, Runner, run_gate
from autotune.regression.verdict import Outcome, ProcessTimes, Thresholds, TimedVerdict, judge

__all__ = ["GatePlan", "GateRun", "MetricSet", "MetricVerdict", "Outcome", "ProcessTimes", "RegressionGateError", "Runner", "Thresholds",
           "TimedVerdict", "compare_metrics", "judge", "read_metrics", "run_gate"]
