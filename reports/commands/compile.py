"""Compiles the kernels of a cascade, without a GPU, and says what they need of a device."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from reports.options import INTERRUPTED, cascade_argument, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from autotune.compilation.request import CompileRequest
    from autotune.kernel import KernelPlan

_TARGET = "sm_90"


@click.command(epilog="Examples: fusebench compile attention:1pass --target sm_90 --target sm_100 --config p=128,num_warps=8; "
                      "fusebench compile mamba2_ssd:chunked --source")
@cascade_argument
@click.option("--target", "targets", multiple=True, metavar="TARGET", help="What to compile for: sm_80, sm_90, sm_100, gfx942, ...; "
              f"repeatable.  [default: {_TARGET}]")
@click.option("--config", "settings", multiple=True, metavar="K=V", help="Change a setting of the default configuration: the block of a "
              "rank (p=128), num_warps, num_stages, dot_precision; repeatable.")
@click.option("--dtype", default="bf16", show_default=True, metavar="TYPE", help="Type of the tensors: bf16, fp16 or fp32.")
@extent_option
@click.option("--workload", metavar="W", help="Take the extents from a model; otherwise they are those of a published shape.")
@click.option("--seq-len", type=click.IntRange(min=1), help="Length of the workload in tokens.")
@click.option("--machine", metavar="M", help="Hold kernels against this machine's limits; otherwise against those of a machine of the "
              "target.")
@click.option("--no-limits", is_flag=True, help="Compile to the end what exceeds a limit.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              help="Seconds that one kernel may take.")
@click.option("--cache", "folder", metavar="DIR", help="Folder of what has been compiled; otherwise FUSEBENCH_CACHE_DIR, or fusebench in "
              "the user's cache.")
@click.option("--no-cache", is_flag=True, help="Compile anew, and keep nothing.")
@click.option("--source", is_flag=True, help="Print the kernels' source, and compile nothing.")
@click.option("--out", metavar="FILE", help="With --source: write it to a .py file.")
@json_option
def command(cascade: str, targets: tuple[str, ...], settings: tuple[str, ...], dtype: str, extents: Mapping[str, int],
            workload: str | None, seq_len: int | None, machine: str | None, no_limits: bool, jobs: int, timeout_s: float,
            folder: str | None, no_cache: bool, source: bool, out: str | None, as_json: bool) -> int:
    """Compile the kernels of a CASCADE for one or more targets, and show shared memory, registers, spills and occupancy.

    No GPU is needed. What exceeds a limit of the device is rejected, as soon as that is known, with the limit's name. Ends
    with status 1 if a kernel is rejected or does not compile.
    """
    from reports.cascades import load_cascade
    from reports.kernels import ShapeOptions, kernel_extents, kernel_plan, parse_config, requests_for
    if out is not None and not source:
        raise click.UsageError(f"--out is for the source, got {out!r}; add --source", click.get_current_context())
    given = parse_config(settings)
    named = load_cascade(cascade)
    sizes = kernel_extents(named, ShapeOptions(extents, workload, seq_len))
    plan = kernel_plan(named, sizes, dtype, given)
    document: dict[str, Any] = {"cascade": named.cascade.name, "dtype": dtype, "extents": dict(plan.extents), "config": plan.config.blocks(),
                                "dot_precision": plan.config.dot_precision}
    if source:
        return _source(plan, document, out, as_json)
    requests = requests_for(named, plan, list(dict.fromkeys(targets)) or [_TARGET])
    return _compiled(requests, document, machine, no_limits, jobs, timeout_s, None if no_cache else folder or "", as_json)


def _source(plan: KernelPlan, document: dict[str, Any], out: str | None, as_json: bool) -> int:
    from reports.files import output_file, write_file
    text = "\n\n".join(kernel.source.rstrip("\n") for kernel in plan.kernels) + "\n"
    document["kernels"] = [{"name": kernel.name, "source": kernel.source} for kernel in plan.kernels]
    if out is not None:
        document["file"] = write_file(output_file(out, (".py",)), text.encode())
    emit(document, as_json, lambda: text if out is None else f"{document['file']}: {len(plan.kernels)} kernels")
    return 0


def _compiled(requests: Sequence[CompileRequest], document: dict[str, Any], machine: str | None, no_limits: bool, jobs: int,
              timeout_s: float, folder: str | None, as_json: bool) -> int:
    from autotune.compilation.cache import Cache, cache_folder
    from reports.devices import device_limits, limits_of_target
    from reports.kernels import compiled_rows
    names = list(dict.fromkeys(request.target for request in requests))
    known = {} if no_limits else {name: own for name in names if (own := limits_of_target(name)) is not None}
    if machine is not None and not no_limits:
        own = device_limits(machine)
        if own.target not in names:
            raise click.UsageError(f"--machine {machine}: it runs {own.target}, got targets {', '.join(names)}; add --target {own.target}",
                                   click.get_current_context())
        known[own.target] = own
    cache = None if folder is None else Cache(cache_folder(folder), "compiled")
    total = len(requests)
    with click.progressbar(length=total, label="compile", file=sys.stderr, hidden=total == 1 or not sys.stderr.isatty()) as bar:
        rows = compiled_rows(requests, known, jobs=jobs, cache=cache, timeout_s=timeout_s, done=lambda: bar.update(1))
    for name in names:
        if name not in known and not no_limits:
            click.echo(f"fusebench: {name}: no machine has its limits, so that nothing is rejected and there is no occupancy", err=True)
    document["limits"] = {name: limits.device for name, limits in known.items()}
    document["kernels"] = rows
    if len(rows) < total:
        click.echo(f"fusebench: interrupted after {len(rows)} of {total}", err=True)
    emit(document, as_json, lambda: _text(document))
    return INTERRUPTED if len(rows) < total else 0 if all(row["status"] == "ok" for row in rows) else 1


def _text(document: Mapping[str, Any]) -> str:
    from reports.tables import pairs, table
    head = pairs([("cascade", document["cascade"]), ("type", document["dtype"]), ("extents", _listed(document["extents"])),
                  ("configuration", _listed(document["config"]))])
    columns = ("kernel", "target", "status", "warps", "shared B", "registers", "spill B", "stack B", "tensor mem", "blocks/SM", "occupancy")
    rows = []
    for row in document["kernels"]:
        fits = row.get("occupancy")
        rows.append([row["name"], row["target"], row["status"], row["num_warps"], row["shared_bytes"], row["registers"],
                     row["spill_bytes"], row.get("stack_bytes"), row.get("tensor_memory_columns"), fits and fits["blocks"],
                     f"{fits['fraction']:.0%} ({fits['limited_by']})" if fits else None])
    notes = [f"{row['name']} for {row['target']}: {row['reason']}" for row in document["kernels"] if row["reason"]]
    notes += [f"{row['name']} for {row['target']}: products are serialized, for {row['serialized_wgmma']}"
              for row in document["kernels"] if row.get("serialized_wgmma")]
    return "\n".join([head, "", table(columns, rows), *notes])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


