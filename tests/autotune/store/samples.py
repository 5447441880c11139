"""Trials for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.store import Environment, Round, Status, Trial

PLACE = Environment(gpu="Imagined 1", architecture="sm_90", driver="1.2", cuda="13.0", torch="2.13.0", triton="3.7.1",
                    python="3.11", fusebench="0.1.0", commit="abc", host_digest="feed", libraries={"numpy": "2.4"})


def made_trial(identifier: str, *, median_us: float = 100.0, **changes: Any) -> Trial:
    """Returns a trial with three rounds, the last of them tainted and far slower."""
    rounds = tuple(Round("cold_l2_flushed", "sweep", 0, i, (median_us * (1 + i / 100), median_us * (1.01 + i / 100)),
                         sm_clock_mhz=1980.0, energy_j=0.5) for i in range(2))
    tainted = Round("cold_l2_flushed", "sweep", 0, 2, (median_us * 9,), throttle_reasons=("sw_thermal_slowdown",), taint="throttled")
    trial = Trial("attention:1pass", "k1", {"type": "bf16"}, {"p": 1024, "e": 64}, "e=64 p=1024 | type=bf16", {"BM": 64, "warps": 4},
                  Status.OK, PLACE, source_digest="s1", rounds=(*rounds, tainted), facts={"registers": 128}, predicted_us=90.0,
                  session="one", strategy="random", created_s=1.0, id=identifier)
    return replace(trial, **changes)
