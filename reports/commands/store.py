"""Shows, exports and merges stores of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reports.options import Name, json_option
from reports.output import emit

if TYPE_CHECKING:
    from autotune.store import Store, Trial, Winner
    from autotune.store.exchange import Merge

_FORMATS = ("json", "csv", "parquet")
_STATUSES = ("ok", "compile_error", "over_limit", "wrong_result", "timeout", "out_of_memory", "crash", "launch_error", "unstable",
             "skipped_by_model")

store_option = click.option("--store", "folder", metavar="DIR", help="The store's folder.  [default: the user's own]")
_kernel = click.option("--kernel", help="Only of this kernel, such as attention:1pass.")
_device = click.option("--device", help="Only of this device, by its full name.")
_status = click.option("--status", type=Name("status", _STATUSES), help="Only with this status.")


@click.group(invoke_without_command=True,
             epilog="Examples: fusebench store list; fusebench store export trials.parquet; fusebench store merge OTHER")
@store_option
@json_option
@click.pass_context
def command(ctx: click.Context, folder: str | None, as_json: bool) -> None:
    """Look at a store of measurements, take from it, and add to it.

    A store is a folder; 'fusebench tune' and 'fusebench measure' write one. Without a command: what it has, in numbers.
    """
    if ctx.invoked_subcommand is not None:
        if folder is not None or as_json:
            raise click.UsageError(f"options of 'store {ctx.invoked_subcommand}' stand after its name", ctx)
        return
    with _opened(folder) as store:
        summary = store.summary()
    emit(summary, as_json, lambda: _summary_text(summary))


@command.command("list", epilog="Example: fusebench store list --status ok --limit 20")
@store_option
@_kernel
@_device
@_status
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The latest this many.")
@json_option
def list_trials(folder: str | None, kernel: str | None, device: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List trials: what was tried, how it ended, and the median of its clean samples."""
    with _opened(folder) as store:
        found = store.trials(kernel=kernel, device=device, status=_status_of(status), limit=limit)
        emit([_row(trial) for trial in found], as_json, lambda: _trials_text(found))


@command.command("best", epilog="Example: fusebench store best --kernel attention:1pass")
@store_option
@_kernel
@_device
@json_option
def best(folder: str | None, kernel: str | None, device: str | None, as_json: bool) -> None:
    """List what tuning runs chose: the latest configuration of each kernel, shape bucket, device and Triton."""
    with _opened(folder) as store:
        latest: dict[tuple[str, ...], Winner] = {}
        for winner in store.winners(kernel=kernel, device=device):
            latest.setdefault((winner.kernel, winner.kernel_digest, winner.bucket, winner.device, winner.triton), winner)
        trials = {trial.id: trial for trial in store.trials(ids=sorted({w.trial for w in latest.values()}))}
        rows = [_winner_row(winner, trials[winner.trial]) for winner in latest.values()]

        def text() -> str:
            from reports.tables import table
            columns = ("kernel", "bucket", "device", "triton", "median_us", "tied", "configuration")
            shown = [{**row, "configuration": shown_configuration(row["configuration"])} for row in rows]
            return table(columns, [[r[c] for c in columns] for r in shown]) if rows else "Nothing is tuned in this store."
        emit(rows, as_json, text)


@command.command("export", epilog="Example: fusebench store export trials.csv --kernel attention:1pass")
@click.argument("file")
@click.option("--format", "form", type=Name("format", _FORMATS), help="What to write.  [default: as the file's name ends]")
@store_option
@_kernel
@_device
@_status
@json_option
def export(file: str, form: str | None, folder: str | None, kernel: str | None, device: str | None, status: str | None,
           as_json: bool) -> None:
    """Write trials to FILE: JSON keeps everything, with raw samples; CSV and Parquet have a row of quantiles each."""
    from autotune.store.exchange import csv_bytes, json_bytes, parquet_bytes
    from reports.files import output_file, write_file
    path = output_file(file, () if form else tuple(f".{known}" for known in _FORMATS))
    form = form or path.suffix.lower().removeprefix(".")
    with _opened(folder) as store:
        found = store.trials(kernel=kernel, device=device, status=_status_of(status))
        ids = {trial.id for trial in found}
        chosen = [winner for winner in store.winners(kernel=kernel, device=device) if winner.trial in ids]
        content = json_bytes(found, chosen) if form == "json" else csv_bytes(found) if form == "csv" else parquet_bytes(found)
    write_file(path, content)
    emit({"file": str(path), "format": form, "trials": len(found)}, as_json, lambda: f"{path}: {len(found)} trials")


@command.command("merge", epilog="Example: fusebench store merge other_store --store mine")
@click.argument("other")
@store_option
@json_option
def merge_store(other: str, folder: str | None, as_json: bool) -> None:
    """Add all that the store OTHER has; what is there already is left alone."""
    from autotune.store.exchange import merge
    with _opened(folder, write=True) as store:
        _emit_merge(other, merge(store, other), as_json)


@command.command("import", epilog="Example: fusebench store import results.json")
@click.argument("files", nargs=-1, required=True)
@store_option
@json_option
def import_files(files: Sequence[str], folder: str | None, as_json: bool) -> None:
    """Add the trials of result FILES (JSON, from 'store export' or 'measure'), made here or on another machine."""
    from autotune.store.exchange import Merge, import_results
    with _opened(folder, write=True) as store:
        done = [import_results(store, file) for file in files]
        _emit_merge(", ".join(files), Merge(sum(m.added for m in done), sum(m.known for m in done)), as_json)


@command.command("check", epilog="Example: fusebench store check --store mine")
@store_option
@json_option
def check(folder: str | None, as_json: bool) -> int:
    """Check the file of a store, and bring it to this version's schema; ends with status 1 if anything is wrong."""
    with _opened(folder, write=True, existing=True) as store:
        problems = store.problems()
        emit({"store": store.place, "problems": problems, "trials": len(store.trials())}, as_json,
             lambda: "\n".join(problems) or f"{store.place}: all is well")
    return 1 if problems else 0


def _opened(folder: str | None, *, write: bool = False, existing: bool = False) -> Store:
    from autotune.store import Store
    from autotune.store.places import default_folder
    place = Path(folder) if folder is not None else default_folder()
    if existing:
        Store(place, read_only=True, any_version=True).close()
    return Store(place, read_only=not write)


def _status_of(name: str | None) -> Any:
    from autotune.store import Status
    return None if name is None else Status(name)


def _median(trial: Trial) -> tuple[str | None, float | None]:
    from autotune.store.record import quantile
    for cache in trial.caches:
        samples = trial.samples_us(cache)
        if samples:
            return cache, quantile(samples, 0.5)
    return None, None


def _row(trial: Trial) -> dict[str, Any]:
    cache, median = _median(trial)
    return {"id": trial.id, "kernel": trial.kernel, "bucket": trial.bucket, "device": trial.environment.gpu,
            "configuration": dict(trial.configuration), "status": str(trial.status), "reason": trial.reason, "cache": cache,
            "median_us": median, "strategy": trial.strategy, "session": trial.session, "created_s": trial.created_s,
            "triton": trial.environment.triton, "commit": trial.environment.commit}


def _winner_row(winner: Winner, trial: Trial) -> dict[str, Any]:
    cache, median = _median(trial)
    return {"kernel": winner.kernel, "kernel_digest": winner.kernel_digest, "bucket": winner.bucket, "device": winner.device,
            "triton": winner.triton, "configuration": dict(trial.configuration), "cache": cache, "median_us": median,
            "tied": len(winner.band), "rule": winner.rule, "session": winner.session, "trial": winner.trial}


def _summary_text(summary: dict[str, Any]) -> str:
    from reports.tables import pairs
    statuses = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    return pairs([("store", summary["store"]), ("trials", f"{summary['trials']}" + (f" ({statuses})" if statuses else "")),
                  ("chosen", summary["winners"]), ("kernels", ", ".join(summary["kernels"]) or "none"),
                  ("devices", ", ".join(summary["devices"]) or "none")])


def _trials_text(found: Sequence[Trial]) -> str:
    from reports.tables import table
    columns = ("kernel", "bucket", "configuration", "status", "median_us", "reason")
    rows = [{**row, "configuration": shown_configuration(row["configuration"])} for row in map(_row, found)]
    return table(columns, [[row[c] for c in columns] for row in rows]) if rows else "There are no such trials."


def shown_configuration(configuration: dict[str, Any]) -> str:
    """Returns a configuration as text such as ``BM=64 warps=4``."""
    return " ".join(f"{name}={value}" for name, value in sorted(configuration.items()))


def _emit_merge(source: str, done: Merge, as_json: bool) -> None:
    emit({"source": source, "added": done.added, "known": done.known}, as_json,
         lambda: f"{source}: {done.added} added, {done.known} known already")
