"""Subjects of campaigns on the CPU, timed by the host's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.campaign.ceilings import CeilingSubject
from autotune.campaign.comparison import ComparisonSubject, on_device
from tests.autotune.tuner.interpreted import HostClock


def ceilings(arguments: Mapping[str, Any]) -> CeilingSubject:
    return CeilingSubject(HostClock(), "cpu", shrink=8192)


def comparison(arguments: Mapping[str, Any]) -> ComparisonSubject:
    made = on_device(arguments, HostClock(), "cpu")
    made.kernel.cases = made.kernel.cases[-2:]
    return made
