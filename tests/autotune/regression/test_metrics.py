"""Metrics that do not vary: what is worse, better, the same, missing or new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.regression import MetricSet, Outcome, RegressionGateError, compare_metrics, read_metrics

BASE = MetricSet({"attention": {"registers": 168, "spill_bytes": 0, "cycles": 1e9, "occupancy": 0.5}, "old": {"passes": 1}}, {"triton": "3.7.1"})


def outcomes(head: MetricSet, **allowed: float) -> dict[tuple[str, str], Outcome]:
    return {(v.benchmark, v.metric): v.outcome for v in compare_metrics(BASE, head, allowed)}


def test_less_is_better_except_where_more_is() -> None:
    found = outcomes(MetricSet({"attention": {"registers": 255, "spill_bytes": 8, "cycles": 0.9e9, "occupancy": 0.25, "new": 4}}))
    assert found == {("attention", "registers"): Outcome.REGRESSION, ("attention", "spill_bytes"): Outcome.REGRESSION,
                     ("attention", "cycles"): Outcome.IMPROVEMENT, ("attention", "occupancy"): Outcome.REGRESSION,
                     ("attention", "new"): Outcome.SAME, ("old", "passes"): Outcome.INCONCLUSIVE}


def test_rounding_and_what_is_allowed_are_no_regression() -> None:
    head = MetricSet({"attention": {"registers": 176, "spill_bytes": 0, "cycles": 1e9 * (1 + 1e-12), "occupancy": 0.5}, "old": {"passes": 1}})
    assert outcomes(head)["attention", "registers"] == Outcome.REGRESSION
    assert set(outcomes(head, registers=0.05).values()) == {Outcome.SAME}


def test_another_triton_is_named() -> None:
    head = MetricSet({"attention": {"registers": 255}}, {"triton": "3.9.0"})
    found = compare_metrics(BASE, head)[0]
    assert (found.outcome, found.reason) == (Outcome.REGRESSION, "made with triton 3.7.1 to 3.9.0")
    assert found.change == pytest.approx(255 / 168 - 1)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(json.dumps(BASE.to_dict()), encoding="utf-8")
    assert read_metrics(path) == BASE


@pytest.mark.parametrize(("document", "message"), [
    ([], "kind: it should be 'fusebench metrics', got 'list'"),
    ({"kind": "other"}, "kind: it should be 'fusebench metrics', got 'other'"),
    ({"kind": "fusebench metrics", "version": 9}, "version: this release reads 1, got 9"),
    ({"kind": "fusebench metrics", "version": 1, "metrics": [1]}, "metrics: they should be a mapping by benchmark, got list"),
    ({"kind": "fusebench metrics", "version": 1, "metrics": {"a": 1}}, "metrics.a: it should be a mapping by metric, got int"),
    ({"kind": "fusebench metrics", "version": 1, "metrics": {"a": {"b": "x"}}}, "metrics.a.b: it should be a finite number, got 'x'"),
    ({"kind": "fusebench metrics", "version": 1, "metrics": {"a": {"b": float("nan")}}}, "metrics.a.b: it should be a finite number, got nan"),
])
def test_what_is_no_file_of_metrics_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(RegressionGateError) as error:
        read_metrics(path)
    assert str(error.value).startswith(f"{path}: {message}; make it")
    assert "\n" not in str(error.value)


def test_nothing_in_common_and_unknown_metrics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegressionGateError, match="no benchmark in common, got 2 and 1"):
        compare_metrics(BASE, MetricSet({"other": {"registers": 1}}))
    with pytest.raises(RegressionGateError, match="--allow 'regs': no benchmark has such a metric, got metrics cycles, occupancy"):
        compare_metrics(BASE, BASE, {"regs": 0.1})
    with pytest.raises(RegressionGateError, match="it cannot be read, got 'No such file or directory'"):
        read_metrics(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    with pytest.raises(RegressionGateError, match="it is no JSON"):
        read_metrics(tmp_path / "text.json")
