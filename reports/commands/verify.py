"""Verifies variants, and their kernels, against the formulas that they come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from einsum_cascades.errors import UnknownNameError
from reports.options import INTERRUPTED, Name, json_option
from reports.output import emit
from workloads.variant import Variant
from workloads.verification import Verification

_SHOWN = 10
"""Failures that the text names."""


@click.command(epilog="Examples: fusebench verify attention; fusebench verify --all --backend triton --jobs 2")
@click.argument("variant", required=False)
@click.option("--all", "every", is_flag=True, help="Verify every variant.")
@click.option("--backend", type=Name("backend", ("interpreter", "triton", "cuda")), default="interpreter", show_default=True,
              help="What runs: the cascade in the interpreter, or its kernel in Triton's interpreter on the CPU (triton) or on a "
                   "GPU (cuda).")
@click.option("--dtype", "dtypes", multiple=True, metavar="TYPE", help="Type of a kernel's tensors (fp32, fp16, bf16); repeatable; "
              "otherwise all that the backend can be trusted with.")
@click.option("--seed", type=click.IntRange(min=0), help="Draws these inputs: the interpreter's are otherwise those of seed 0, "
              "kernels have new ones each time.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@json_option
def command(variant: str | None, every: bool, backend: str, dtypes: tuple[str, ...], seed: int | None, jobs: int,
            as_json: bool) -> int:
    """Run each algorithm of a VARIANT (or ID:ALGORITHM) on its cases, and compare with its reference.

    Kernels are compared with the reference in float64; their tolerance is at most twice the error of a run in their own
    precisions, and rounding. A variant that has no kernel says why. Ends with status 1 if any differs by more than its
    tolerance.
    """
    if every == (variant is not None):
        raise click.UsageError("give a variant, or --all", click.get_current_context())
    if dtypes and backend == "interpreter":
        raise click.UsageError(f"--dtype is for kernels, got {dtypes[0]!r} and the interpreter, which is in float64; add --backend "
                               f"triton", click.get_current_context())
    from workloads.variants import variant_ids
    names = list(variant_ids()) if variant is None else [variant]
    rows: list[dict[str, Any]] = []
    with click.progressbar(length=len(names), label="verify", file=sys.stderr,
                           hidden=len(names) == 1 or not sys.stderr.isatty()) as bar:
        if backend == "interpreter":
            try:
                for result in _results(names, seed or 0, jobs):
                    rows.append(_row(result))
                    bar.update(1)
            except KeyboardInterrupt:
                pass
        else:
            from reports.kernel_checks import kernel_rows
            found = [_variant(name) for name in names]
            algorithm = names[0].partition(":")[2] or None
            rows = kernel_rows(found, backend, dtypes, seed, jobs, algorithm, lambda: bar.update(1))
    if len(rows) < len(names):
        click.echo(f"fusebench: interrupted after {len(rows)} of {len(names)}", err=True)
    emit(rows, as_json, lambda: _text(rows))
    return INTERRUPTED if len(rows) < len(names) else 1 if any(row["status"] == "failed" for row in rows) else 0


def _variant(name: str) -> Variant:
    from workloads.variants import load_variant, variant_ids
    try:
        return load_variant(name.partition(":")[0])
    except UnknownNameError:
        raise UnknownNameError("variant", name, variant_ids()) from None


def verify_one(name: str, seed: int) -> Verification:
    """Returns the verification of a variant or of one of its algorithms by the interpreter."""
    from einsum_cascades.interpreter import run
    from workloads.verification import verify
    return verify(_variant(name), run, seed=seed, algorithm=name.partition(":")[2] or None)


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
                         "tolerance": r.tolerance, "status": "failed" if r.reason else "ok", "reason": r.reason} for r in found.results]}


def _text(rows: Sequence[dict[str, Any]]) -> str:
    from reports.tables import table
    columns = ("id", "status", "cases", "max_relative_error", "tolerance")
    failures = [text for row in rows for result in row["results"] if (text := result["reason"])]
    failures += [one["error"] for row in rows for one in row.get("algorithms", ()) if one["error"]]
    more = [f"... and {len(failures) - _SHOWN} more (--json has all)"] if len(failures) > _SHOWN else []
    without = [f"{row['id']}: no kernel: {row['reason']}" for row in rows if row["status"] == "no_kernel"]
    return "\n".join([table(columns, [[row[c] for c in columns] for row in rows]), *failures[:_SHOWN], *more, *without])
