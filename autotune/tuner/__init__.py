"""The autotuner: searches a space of configurations in isolated processes, and stores what it finds."""

from __future__ import annotations

from autotune.tuner.errors import TrialFailure, TuneError
from autotune.tuner.tune import Predictor, Settings, Target, Tuned, tune

__all__ = ["Predictor", "Settings", "Target", "TrialFailure", "TuneError", "Tuned", "tune"]
