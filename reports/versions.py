"""The two sides of a comparison: a file of metrics, the folder of a checkout, or a revision of the repository at hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autotune.regression import MetricSet, RegressionGateError, read_metrics

_PACKAGE = "einsum_cascades"
_COMMAND = "import sys; from reports.cli import main; sys.exit(main())"
_LONGEST_S = 1800.0
_SHOWN = 300
"""Characters of a message of a process that failed."""


def metrics_of(side: str, name: str, cascades: Sequence[str]) -> MetricSet:
    """Returns the metrics of BASE or HEAD: read from a file, or collected by a checkout's own code in a process of its own.

    Raises: RegressionGateError where it is none of these, or its code fails.
    """
    path = Path(name)
    if path.is_file():
        found = read_metrics(path)
        return MetricSet({k: v for k, v in found.metrics.items() if _wanted(k, cascades)}, found.origin)
    with tree_of(side, name) as tree, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "metrics.json"
        run_in(tree, ["-c", _COMMAND, "metrics", *cascades, "--out", str(out)], f"{side} {name!r}")
        return read_metrics(out)


@contextmanager
def tree_of(side: str, name: str) -> Iterator[Path]:
    """Gives the folder of a checkout; that of a revision lasts as long as it is used.

    Raises: RegressionGateError where the name is neither.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / _PACKAGE).is_dir():
            raise RegressionGateError(f"{side} {name!r}: a folder should be a checkout of fusebench, got one without {_PACKAGE!r}; name the "
                                      f"root of a checkout, a revision, or a file of 'fusebench metrics --out'")
        yield path.resolve()
        return
    top = _git(["rev-parse", "--show-toplevel"])
    commit = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]) if top else None
    if top is None or commit is None:
        where = "here, which is no repository" if top is None else "in this repository"
        raise RegressionGateError(f"{side}: there is no such file, folder or revision {where}, got {name!r}; give a file of 'fusebench "
                                  f"metrics --out', a checkout, or a revision such as origin/main")
    with tempfile.TemporaryDirectory(prefix="fusebench-") as folder:
        tree = Path(folder) / "tree"
        # Not a worktree: nothing of this is left in the repository, whatever ends the process.
        archive = subprocess.run(["git", "-C", top, "archive", "--format=tar", commit], capture_output=True, check=False)  # noqa: S603, S607
        tree.mkdir()
        unpacked = subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, capture_output=True, check=False)  # noqa: S603, S607
        if archive.returncode or unpacked.returncode:
            reason = (archive.stderr or unpacked.stderr).decode(errors="replace").strip()[:_SHOWN]
            raise RegressionGateError(f"{side} {name!r}: it cannot be checked out, got {reason!r}; give the folder of a checkout")
        yield tree


def run_in(tree: Path, arguments: Sequence[str], what: str) -> None:
    """Runs Python on the packages of a checkout.

    Raises: RegressionGateError with the last line that it wrote, where it fails.
    """
    paths = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False,  # noqa: S603
                              timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        raise RegressionGateError(f"{what}: its own code did not end, got {_LONGEST_S:.0f} s; compare fewer cascades") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RegressionGateError(f"{what}: its own code failed, got {lines[-1][:_SHOWN]!r}; make a file of metrics with that version, or "
                                  f"compare versions that have 'fusebench metrics'")


def _wanted(benchmark: str, cascades: Sequence[str]) -> bool:
    return not cascades or benchmark in cascades or benchmark.partition(":")[0] in cascades


def _git(arguments: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
