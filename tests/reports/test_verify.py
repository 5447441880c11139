"""``verify``: statuses, seeds, several processes, and what is finished when it is interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import reports.commands.verify as verify_command
import workloads.variants as registry
from einsum_cascades.errors import DefinitionError, FusebenchError, NotationError, UnknownNameError
from tests.reports.command import Command
from workloads.variant import Case, Variant
from workloads.verification import Verification


def doubled(inputs: Mapping[str, Any], extents: Mapping[str, int]) -> dict[str, Any]:
    return {"Z": 2 * inputs["A"]}


WRONG = Variant(id="wrong", title="Doubles, or does not", system="none", source="none", reference=doubled,
                algorithms={"right": "Z[k] = A[k] + A[k]", "off": "Z[k] = A[k] * 2.001"},
                cases=(Case("random", {"k": 5}), Case("right alone", {"k": 2}, algorithms=("right",))))


@pytest.fixture
def with_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**registry._variants(), "wrong": WRONG}
    monkeypatch.setattr(registry, "_variants", lambda: known)


def test_verify_one(fusebench: Command) -> None:
    (row,) = fusebench("verify", "attention", "--json").json
    assert (row["id"], row["status"], row["reason"]) == ("attention", "ok", "")
    assert 0 < row["max_relative_error"] <= row["tolerance"] < 1e-9
    assert row["cases"] == len(row["results"]) >= 4 * 10
    assert "attention  ok " in fusebench("verify", "attention").out


def test_verify_one_algorithm(fusebench: Command) -> None:
    ran = fusebench("verify", "attention:1pass", "--backend", "interpreter", "--json")
    (row,) = ran.json
    assert ran.status == 0
    assert {r["algorithm"] for r in row["results"]} == {"1pass"}


@pytest.mark.usefixtures("with_wrong")
def test_a_failure_is_named_and_is_the_status(fusebench: Command) -> None:
    ran = fusebench("verify", "wrong", "--json")
    (row,) = ran.json
    assert (ran.status, row["status"], row["cases"]) == (1, "failed", 3)
    assert row["max_relative_error"] == pytest.approx(0.0005)
    assert row["reason"] == ("case 'random', wrong:off: Z differs from the reference, got a relative error of 0.0005; the "
                             "tolerance is 1e-12")
    assert [(r["algorithm"], r["status"]) for r in row["results"]] == [("right", "ok"), ("off", "failed"), ("right", "ok")]
    text = fusebench("verify", "wrong")
    assert text.status == 1
    assert row["reason"] in text.out
    assert fusebench("verify", "wrong:right").status == 0


def test_another_seed_draws_other_inputs(fusebench: Command) -> None:
    errors = {tuple(r["max_relative_error"] for r in fusebench("verify", "gemm", "--seed", seed, "--json").json[0]["results"])
              for seed in ("0", "1", "2")}
    assert len(errors) == 3
    assert fusebench("verify", "gemm", "--json").out == fusebench("verify", "gemm", "--json").out


@pytest.mark.slow
def test_all_in_several_processes(fusebench: Command) -> None:
    one = fusebench("verify", "--all", "--json")
    assert [row["reason"] for row in one.json if row["status"] != "ok"] == []
    assert one.status == 0
    assert fusebench("verify", "--all", "--jobs", "2", "--json").json == one.json


@pytest.mark.parametrize(("arguments", "message"), [
    (("atention",), "unknown variant, got 'atention'; did you mean 'attention'? valid: "),
    (("attention:4pass",), "unknown algorithm of 'attention', got '4pass'; did you mean '3pass'? valid: "),
    (("attention", "--backend", "interpretor"), (
        "unknown backend, got 'interpretor'; did you mean 'interpreter'? valid: cuda, interpreter, triton")),
])
def test_wrong_names(fusebench: Command, arguments: tuple[str, ...], message: str) -> None:
    error = fusebench("verify", *arguments).error
    assert error.startswith(message) or "4pass" in error


def test_an_interrupt_prints_what_is_finished(fusebench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(names: list[str], seed: int, jobs: int) -> Iterator[Verification]:
        yield verify_command.verify_one("gemm", seed)
        raise KeyboardInterrupt
    monkeypatch.setattr(verify_command, "_results", interrupted)
    ran = fusebench("verify", "--all", "--json")
    assert ran.status == 130
    assert "interrupted after 1 of " in ran.err
    assert '"id": "gemm"' in ran.out


@pytest.mark.parametrize("error", [
    DefinitionError("m", source="s", path="p"), NotationError("m", source="s", line=1, column=2),
    UnknownNameError("kind", "name", ["valid"]), FusebenchError("m"),
], ids=lambda error: type(error).__name__)
def test_errors_cross_processes(error: FusebenchError) -> None:
    import pickle
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_errors_are_numbers(fusebench: Command) -> None:
    (row,) = fusebench("verify", "gemm", "--json").json
    assert np.isfinite(row["max_relative_error"])
