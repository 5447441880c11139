"""Verifies variants against the formulas that they come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from einsum_cascades.errors import UnknownNameError
from reports.options import INTERRUPTED, Name, json_option
from reports.output import emit
from workloads.verification import Verification

_SHOWN = 10
"""Failures that the text names."""


@click.command(epilog="Examples: fusebench verify attention; fusebench verify --all --jobs 2")
@click.argument("variant", required=False)
@click.option("--all", "every", is_flag=True, help="Verify every variant.")
@click.option("--backend", type=Name("backend", ("interpreter",)), default="interpreter", show_default=True,
              help="What runs the cascades.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws other inputs.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@json_option
def command(variant: str | None, every: bool, backend: str, seed: int, jobs: int, as_json: bool) -> int:
    """Run each algorithm of a VARIANT (or ID:ALGORITHM) on its cases, and compare with its reference.

    Ends with status 1 if any differs by more than its tolerance.
    """
    if every == (variant is not None):
        raise click.UsageError("give a variant, or --all", click.get_current_context())
    from workloads.variants import variant_ids
    names = list(variant_ids()) if variant is None else [variant]
    results: list[Verification] = []
    try:
        with click.progressbar(length=len(names), label="verify", file=sys.stderr,
                               hidden=len(names) == 1 or not sys.stderr.isatty()) as bar:
            for result in _results(names, seed, jobs):
                results.append(result)
                bar.update(1)
    except KeyboardInterrupt:
        click.echo(f"fusebench: interrupted after {len(results)} of {len(names)}", err=True)
    emit([_row(r) for r in results], as_json, lambda: _text(results))
    return INTERRUPTED if len(results) < len(names) else 0 if all(r.ok for r in results) else 1


def verify_one(name: str, seed: int) -> Verification:
    """Returns the verification of a variant or of one of its algorithms by the interpreter."""
    from einsum_cascades.interpreter import run
    from workloads.variants import load_variant, variant_ids
    from workloads.verification import verify
    identifier, _, algorithm = name.partition(":")
    try:
        variant = load_variant(identifier)
    except UnknownNameError:
        raise UnknownNameError("variant", name, variant_ids()) from None
    return verify(variant, run, seed=seed, algorithm=algorithm or None)


def _results(names: Sequence[str], seed: int, jobs: int) -> Iterator[Verification]:
    if jobs == 1 or len(names) == 1:
        yield from (verify_one(name, seed) for name in names)
        return
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(verify_one, names, [seed] * len(names))


def _row(found: Verification) -> dict[str, Any]:
    worst = found.worst
    return {"id": found.id, "status": "ok" if found.ok else "failed", "reason": worst.reason,
            "max_relative_error": worst.max_relative_error, "tolerance": worst.tolerance, "cases": len(found.results),
            "results": [{"case": r.case, "algorithm": r.algorithm, "max_relative_error": r.max_relative_error,
                         "tolerance": r.tolerance, "status": "failed" if r.reason else "ok"} for r in found.results]}


def _text(found: Sequence[Verification]) -> str:
    from reports.tables import table
    columns = ("id", "status", "cases", "max_relative_error", "tolerance")
    rows = [_row(one) for one in found]
    failures = [result.reason for one in found for result in one.results if result.reason]
    more = [f"... and {len(failures) - _SHOWN} more (--json has all)"] if len(failures) > _SHOWN else []
    return "\n".join([table(columns, [[row[c] for c in columns] for row in rows]), *failures[:_SHOWN], *more])
