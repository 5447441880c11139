"""The gate on simulated processes: what it promises about false alarms and about regressions found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from autotune.regression import GatePlan, Outcome, ProcessTimes, RegressionGateError, Thresholds, judge, run_gate
from autotune.regression.operating_curve import FakeRunner, operating_point
from autotune.regression.verdict import differences, noise_floor
from autotune.store.record import Round
from autotune.timing.fake import Noise

QUIET = Noise(0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0)


@dataclass
class Scripted:
    """A runner whose times are given by side, benchmark and process; it keeps what it was asked."""

    times: Mapping[str, Sequence[float]]
    taint: str = ""
    calls: list[tuple[str, tuple[str, ...], int]] = field(default_factory=list)

    def run(self, side: str, benchmarks: Sequence[str], process: int) -> Mapping[str, Sequence[Round]]:
        self.calls.append((side, tuple(benchmarks), process))
        times = self.times[side]
        value = times[process // 2 % len(times)]
        return {name: [Round("warm", side, process, 0, (value,), sm_clock_mhz=1980.0, taint=self.taint)] for name in benchmarks}


def test_false_alarms_and_regressions_found_over_400_runs() -> None:
    same, slower = operating_point(0.0, runs=400), operating_point(0.05, runs=400, seed=1)
    assert same.alarms <= 0.01
    assert slower.alarms >= 0.95


def test_a_faster_head_is_an_improvement_and_no_failure() -> None:
    assert operating_point(-0.05, runs=60).shares[Outcome.IMPROVEMENT] >= 0.9


def test_without_noise_the_threshold_decides() -> None:
    for change, outcome in ((0.0, Outcome.SAME), (0.02, Outcome.SAME), (0.031, Outcome.REGRESSION), (-0.05, Outcome.IMPROVEMENT)):
        verdict = run_gate(FakeRunner(0, {"k": change}, QUIET), ["k"], GatePlan()).verdicts[0]
        assert verdict.outcome == outcome, change
        assert verdict.change == pytest.approx(change)
        assert verdict.head_us / verdict.base_us == pytest.approx(1 + change)


def test_processes_are_paired_in_abba_order_and_what_looks_slow_is_timed_again() -> None:
    runner = Scripted({"base": [100.0], "head": [110.0]})
    found = run_gate(runner, ["k"], GatePlan(processes=5))
    assert [side for side, _, _ in runner.calls[:8]] == ["base", "head", "head", "base"] * 2
    assert len(runner.calls) == 20
    assert [p for _, _, p in runner.calls] == list(range(20))
    assert found.verdicts[0].rerun
    assert found.verdicts[0].pairs == 10
    quiet = Scripted({"base": [100.0], "head": [100.5]})
    assert not run_gate(quiet, ["k"], GatePlan(processes=5)).verdicts[0].rerun
    assert len(quiet.calls) == 10


def test_only_what_looks_slow_is_timed_again_with_the_reference() -> None:
    calls: list[tuple[str, ...]] = []

    @dataclass
    class Two:
        def run(self, side: str, benchmarks: Sequence[str], process: int) -> Mapping[str, Sequence[Round]]:
            calls.append(tuple(benchmarks))
            slow = {"bad": 1.1 if side == "head" else 1.0}
            return {n: [Round("warm", side, process, 0, (100.0 * slow.get(n, 1.0),))] for n in benchmarks}
    found = run_gate(Two(), ["good", "bad"], GatePlan(processes=5, reference="gemm"))
    assert calls[0] == ("good", "bad", "gemm")
    assert calls[-1] == ("bad", "gemm")
    assert [(v.benchmark, v.outcome) for v in found.verdicts] == [("good", Outcome.SAME), ("bad", Outcome.REGRESSION)]


def test_a_reference_cancels_what_slows_all_kernels_alike() -> None:
    def rounds(side: str, pair: int, slow: float) -> ProcessTimes:
        return ProcessTimes(side, pair, {"k": [Round("warm", side, pair, 0, (100.0 * slow,))],
                                         "gemm": [Round("warm", side, pair, 0, (50.0 * slow,))]})
    processes = [rounds(side, pair, 1.0 + 0.1 * pair * (side == "head")) for pair in range(6) for side in ("base", "head")]
    assert max(differences(processes, "k")) > 0.3
    assert differences(processes, "k", "gemm") == pytest.approx([0.0] * 6, abs=1e-12)


def test_tainted_processes_are_not_judged() -> None:
    found = run_gate(Scripted({"base": [100.0], "head": [200.0]}, taint="slowed down"), ["k"], GatePlan(processes=5)).verdicts[0]
    assert found.outcome == Outcome.INCONCLUSIVE
    assert found.reason == "no pair of processes has a round that is not tainted"
    assert found.evidence["tainted_rounds"] == 10
    assert math.isnan(found.base_us)


def test_a_floor_from_self_comparisons_raises_the_threshold() -> None:
    wild = [0.2, -0.2] * 10
    assert noise_floor(wild, 16) == pytest.approx(1.4826 * 0.2 / 4)
    assert noise_floor(wild[:4], 16) == 0.0
    processes = [ProcessTimes(side, pair, {"k": [Round("warm", side, pair, 0, (106.0 if side == "head" else 100.0,))]})
                 for pair in range(16) for side in ("base", "head")]
    plain = judge({"k": processes}, Thresholds())[0]
    floored = judge({"k": processes}, Thresholds(), calibration={"k": wild})[0]
    assert plain.outcome == Outcome.REGRESSION
    assert floored.outcome == Outcome.SAME
    assert floored.threshold == pytest.approx(math.expm1(3 * 1.4826 * 0.2 / 4))


def test_more_benchmarks_need_more_processes() -> None:
    assert GatePlan(processes=5).enough_for(1).processes == 5
    many = GatePlan(processes=5).enough_for(1000)
    assert 2.0 ** (-2 * many.processes) <= 0.01 / 1000
    with pytest.raises(RegressionGateError, match=r"^processes: at least 5 of each side are needed, got 4; one process has a bias"):
        GatePlan(processes=4)
    with pytest.raises(RegressionGateError, match=r"^benchmarks: there is nothing to compare, got none; name at least one$"):
        run_gate(Scripted({}), [], GatePlan())


def test_alarms_over_many_benchmarks_together_are_rare() -> None:
    names = [f"k{i}" for i in range(12)]
    alarms = sum(any(v.outcome == Outcome.REGRESSION for v in run_gate(FakeRunner(seed, {}), names, GatePlan()).verdicts)
                 for seed in range(20))
    assert alarms == 0


def test_one_biased_process_does_not_make_a_regression() -> None:
    times = [100.0, 100.0, 100.0, 160.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0]
    found = run_gate(Scripted({"base": [100.0], "head": times}), ["k"], replace(GatePlan(), processes=10)).verdicts[0]
    assert found.outcome != Outcome.REGRESSION
    assert found.change == pytest.approx(0.0)
