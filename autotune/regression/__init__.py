"""The regression gate: two versions of kernels compared, by times of fresh processes or by figures that do not vary."""

from __future__ import annotations

from autotune.regression.errors import RegressionGateError
from autotune.regression.figures import FigureSet, FigureVerdict, compare_figures, read_figures
from autotune.regression.protocol import GatePlan, GateRun, Runner, run_gate
from autotune.regression.verdict import Outcome, ProcessTimes, Thresholds, TimedVerdict, judge

__all__ = ["FigureSet", "FigureVerdict", "GatePlan", "GateRun", "Outcome", "ProcessTimes", "RegressionGateError", "Runner", "Thresholds",
           "TimedVerdict", "compare_figures", "judge", "read_figures", "run_gate"]
