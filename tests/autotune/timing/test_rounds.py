"""Interleaved rounds on the fake device: throttling is rejected, drift cancels, ties are found, the rest is told apart."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.store import Round
from autotune.store.record import quantile
from autotune.timing import Checked, Evidence, Mode, RoundPlan, TaintRules, TimingError, compare, time_interleaved
from autotune.timing.comparison import polished
from autotune.timing.fake import FakeDevice, FakeLaunch, Noise, fake_candidate
from autotune.timing.taint import marked

RIGHT = Evidence("given", 0.0, 0.0)
QUIET = Noise(0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0)
NAMES = {"a": 100.0, "b": 102.0, "c": 108.0, "d": 130.0}


def checked(times: dict[str, float]) -> dict[str, Checked]:
    return {name: Checked(fake_candidate(name, time), RIGHT) for name, time in times.items()}


def timed(seed: int, noise: Noise, times: dict[str, float], processes: int = 1, plan: RoundPlan | None = None) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in times}
    for process in range(processes):
        device = FakeDevice(seed, process, noise)
        for name, rounds in time_interleaved(device, checked(times), Mode.COLD_FLUSHED, plan or RoundPlan(), stage="final",
                                             process=process, seed=seed).items():
            found[name].extend(rounds)
    return found


def test_only_what_is_correct_is_timed() -> None:
    for error in (1.1e-3, math.nan, math.inf):
        with pytest.raises(TimingError, match="only what is correct is timed"):
            Checked(fake_candidate("a", 1.0), Evidence("reference", error, 1e-3))


def test_without_noise_a_sample_is_the_time_and_modes_differ() -> None:
    one = checked({"a": 100.0})["a"]
    assert FakeDevice(noise=QUIET).burst(one, Mode.COLD_FLUSHED, 3).samples_us == (100.0,) * 3
    assert FakeDevice(noise=QUIET).burst(one, Mode.WARM_GRAPH, 1).samples_us == (80.0,)
    with pytest.raises(TimingError, match="the fake device has no such mode"):
        FakeDevice().burst(one, Mode.COLD_ROTATED, 1)
    real = Checked(replace(one.candidate, launches=(lambda: None,)), RIGHT)
    with pytest.raises(TimingError, match="knows the times of fake launches alone"):
        FakeDevice().burst(real, Mode.COLD_FLUSHED, 1)
    assert FakeLaunch("a", 1.0)() is None


def test_the_same_seed_gives_the_same_rounds() -> None:
    assert timed(3, Noise(), NAMES) == timed(3, Noise(), NAMES)
    assert timed(3, Noise(), NAMES) != timed(4, Noise(), NAMES)


def test_rounds_under_throttling_are_rejected_and_made_up_for() -> None:
    """Half of the spells show a reason, half only a lower clock; what is left does not hold their factor of 1.35."""
    noise = replace(Noise(), throttle_every_s=0.15, throttle_lasts_s=0.03, throttle_silent=0.5)
    found = timed(1, noise, NAMES, plan=RoundPlan(rounds=20, extra=20))
    taints = [r.taint for rounds in found.values() for r in rounds if r.taint]
    assert {t.split(":")[0].split(" at ")[0] for t in taints} == {"slowed down", "sm clock"}
    # The same rounds without the rules hold throttled samples.
    assert any(max(quantile(r.samples_us, 0.5) for r in rounds) > NAMES[name] * 1.25 for name, rounds in found.items())
    for name, rounds in found.items():
        clean = [r for r in rounds if not r.taint]
        assert len(clean) >= 20
        assert max(quantile(r.samples_us, 0.5) for r in clean) < NAMES[name] * 1.15
    assert compare(found).standings[0].name == "a"


def test_clocks_and_heat_taint_a_round() -> None:
    def one(index: int, **reading: Any) -> Round:
        return replace(Round("c", "sweep", 0, index, (1.0,), sm_clock_mhz=1980.0, memory_clock_mhz=3201.0), **reading)
    rounds = [one(0), one(1, throttle_reasons=("sw_power_cap",)), one(2, sm_clock_mhz=1800.0), one(3, memory_clock_mhz=2000.0),
              one(4, throttle_reasons=("hw_slowdown",), sm_clock_mhz=900.0), one(5, temperature_c=91.0), one(6)]
    assert [r.taint for r in marked({"x": rounds}, TaintRules(hottest_c=90.0))["x"]] == [
        "", "", "sm clock at 1800 of 1980 MHz", "memory clock at 2000 of 3201 MHz", "slowed down: hw_slowdown", "too hot: 91 C", ""]
    untold = [one(i, sm_clock_mhz=None, memory_clock_mhz=None) for i in range(3)]
    assert not any(r.taint for r in marked({"x": untold}, TaintRules(hottest_c=90.0))["x"])


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-3, 3), min_size=1), st.lists(st.floats(-1, 1), min_size=1, max_size=7))
@settings(max_examples=50, deadline=None)
def test_polish_recovers_levels_that_add_up(levels: dict[str, float], effects: list[float]) -> None:
    middle = statistics.median(effects)
    found = polished({name: {(0, i): level + effect for i, effect in enumerate(effects)} for name, level in levels.items()})
    assert found == pytest.approx({name: level + middle for name, level in levels.items()}, abs=1e-9)


def test_drift_cancels_where_candidates_are_interleaved() -> None:
    """Against timing one candidate after the other, under the same drift of up to 6% between rounds."""
    noise = replace(QUIET, drift=0.06, drift_period_s=1.0, sample=0.002)
    times = {"a": 100.0, "b": 101.5}
    side_by_side, in_turn = [], []
    for seed in range(20):
        found = compare(timed(seed, noise, times, plan=RoundPlan(8, 5, 0)))
        side_by_side.append({s.name: s.level_us for s in found.standings})
        device, one = FakeDevice(seed, 0, noise, clock_s=seed * 0.11), checked(times)
        in_turn.append({name: quantile([t for _ in range(8) for t in device.burst(one[name], Mode.COLD_FLUSHED, 5).samples_us], 0.5)
                        for name in times})
    errors = [[abs(t["b"] / t["a"] / 1.015 - 1) for t in runs] for runs in (side_by_side, in_turn)]
    assert max(errors[0]) < 0.005
    assert statistics.median(errors[1]) > 3 * statistics.median(errors[0])


def test_the_band_holds_the_best_and_nothing_that_is_clearly_slower() -> None:
    """Over 60 seeds of the whole noise model, in five processes."""
    plan = RoundPlan(4, 8, 6)
    bands = [set(compare(timed(seed, Noise(), NAMES, processes=5, plan=plan), tolerance=0.005).band) for seed in range(60)]
    assert sum("a" in band for band in bands) >= 57
    assert not any("d" in band or "c" in band for band in bands)
    # b is 2% slower, and processes differ by 0.4% each way for each candidate: most runs tell it apart.
    assert sum("b" in band for band in bands) <= 15
    tied = {"a": 100.0, "b": 100.2}
    both = [len(compare(timed(seed, Noise(), tied, processes=5, plan=plan)).band) for seed in range(30)]
    assert sum(n == 2 for n in both) >= 28


def test_candidates_without_a_clean_round_are_left_out() -> None:
    rounds = timed(0, QUIET, {"a": 1.0, "b": 2.0})
    rounds["b"] = [replace(r, taint="x") for r in rounds["b"]]
    assert [s.name for s in compare(rounds).standings] == ["a"]
    assert compare({}).band == ()
