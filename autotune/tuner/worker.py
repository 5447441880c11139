"""The worker process of a tuning run: prepares, checks and times what it is told to, one question at a time.

Questions are lines of JSON on standard input. Answers go to a pipe of their own, each with its length and checksum, so
that what a kernel or a library prints, or writes where it should not, is never taken for one.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from dataclasses import asdict
from typing import Any

from autotune.store.record import Status
from autotune.timing import Checked, Mode, RoundPlan, TaintRules, TimingError, time_interleaved
from autotune.tuner.errors import TrialFailure
from autotune.tuner.subject import Subject, made
from einsum_cascades.errors import FusebenchError

MAGIC = b"fusebench"


class _Worker:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.checked: dict[str, Checked] = {}

    def open(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"environment": asdict(self.subject.device.environment()), "modes": [str(m) for m in self.subject.device.modes()]}

    def prepare(self, question: dict[str, Any]) -> dict[str, Any]:
        """Builds and checks a configuration; it can be timed only if it is correct."""
        configuration = question["configuration"]
        candidate = self.subject.prepare(configuration)
        evidence = self.subject.check(configuration, candidate, thorough=question["thorough"], seed=question["seed"])
        if not evidence.ok:
            raise TrialFailure(Status.WRONG_RESULT, f"{evidence.method}: the relative error is {evidence.error:.3g}, the tolerance "
                                                    f"{evidence.tolerance:.3g}")
        self.checked[question["id"]] = Checked(candidate, evidence)
        return {"facts": {**candidate.facts, **evidence.to_dict()}, "source_digest": candidate.source_digest}

    def time(self, question: dict[str, Any]) -> dict[str, Any]:
        plan = question["plan"]
        rules = TaintRules(**{**plan["rules"], "reasons": frozenset(plan["rules"]["reasons"])})
        found = time_interleaved(self.subject.device, {name: self.checked[name] for name in question["ids"]}, Mode(question["mode"]),
                                 RoundPlan(**{**plan, "rules": rules}), stage=question["stage"], process=question["process"],
                                 first=question["first"], seed=question["seed"])
        return {name: [asdict(one) for one in rounds] for name, rounds in found.items()}

    def forget(self, question: dict[str, Any]) -> dict[str, Any]:
        for name in question["ids"]:
            if name in self.checked:
                self.subject.device.forget(self.checked.pop(name))
        return {}


def main() -> None:
    """Answers questions until standard input ends. What nothing foresaw ends the process, and its last words tell why."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed belongs to the log
    worker: _Worker | None = None
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            if worker is None:
                worker = _Worker(made(question["factory"], question["arguments"]))
            answer = {"result": getattr(worker, question["do"])(question)}
        except TrialFailure as failure:
            answer = {"failure": {"status": str(failure.status), "reason": failure.reason, "fatal": failure.fatal}}
        except TimingError as error:
            answer = {"error": str(error)}
        except FusebenchError as error:
            answer = {"error": str(error)} if question["do"] == "open" else \
                {"failure": {"status": str(Status.COMPILE_ERROR), "reason": str(error), "fatal": False}}
        body = json.dumps({"number": question["number"], **answer}).encode()
        answers.write(b"%s %d %d\n%s" % (MAGIC, len(body), zlib.crc32(body), body))
        answers.flush()


if __name__ == "__main__":
    main()
