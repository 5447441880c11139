"""Compares what kernels need with the snapshot that is kept, or writes it anew."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reports.options import json_option
from reports.output import emit

if TYPE_CHECKING:
    from autotune.compilation.request import CompileRequest
    from autotune.compilation.snapshot import Change

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")

FAMILIES = ("attention:1pass", "attention_lse:split-kv", "causal_attention:1pass", "flash_sigmoid:sigmoid", "fna:1d-1pass", "fna:2d-1pass",
            "linear_attention:noncausal", "mamba2_ssd:chunked", "mamba_s6:sequential", "retnet:chunked", "s2_attention:1pass",
            "sliding_window_attention:1pass")
"""One algorithm for each way in which kernels are built; its configuration is the default one, at a published shape, in bf16."""


@click.command(epilog="Examples: fusebench snapshot --jobs 2; fusebench snapshot attention:1pass --update")
@click.argument("families", nargs=-1, metavar="[FAMILY]...")
@click.option("--update", is_flag=True, help="Write what is compiled now into the snapshot.")
@click.option("--target", "targets", multiple=True, metavar="TARGET", help="Only for this target; repeatable.")
@click.option("--folder", metavar="DIR", help="Folder of the snapshots, one file for each release of Triton; otherwise those of fusebench.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@json_option
def command(families: tuple[str, ...], update: bool, targets: tuple[str, ...], folder: str | None, jobs: int, as_json: bool) -> int:
    """Compile one configuration of each FAMILY of kernels (variant:algorithm) and target, and name what differs from the snapshot.

    Snapshots are kept for each release of Triton; under one that has none, that is said. Ends with status 1 if anything
    differs.
    """
    from autotune.compilation.service import triton_version
    from autotune.compilation.snapshot import FOLDER, differences, read_snapshot, releases
    from einsum_cascades.errors import UnknownNameError
    for name in families:
        if name not in FAMILIES:
            raise UnknownNameError("family of kernels", name, FAMILIES)
    own = Path(folder) if folder is not None else FOLDER
    release = triton_version()
    kept = read_snapshot(release, own)
    if kept is None and not update:
        there = ", ".join(releases(own)) or "none"
        document = {"triton": release, "changes": [], "compared": 0, "note": f"there is no snapshot of Triton {release}, but of {there}"}
        emit(document, as_json, lambda: f"{document['note']}; write one with --update")
        return 0
    found = _compiled(families or FAMILIES, targets or TARGETS, jobs)
    changes = differences(kept or {}, found)
    if update:
        _write(own, release, found, kept)
    kernels = sum(len(k) for targets_ in found.values() for k in targets_.values())
    document = {"triton": release, "compared": kernels, "updated": update, "changes": [{**vars(c), "text": c.text} for c in changes]}
    emit(document, as_json, lambda: _text(release, kernels, changes, update))
    return 1 if changes and not update else 0


def _compiled(families: Sequence[str], targets: Sequence[str], jobs: int) -> dict[str, dict[str, dict[str, Any]]]:
    from autotune.compilation.service import compile_all
    from autotune.compilation.snapshot import entry_of
    from reports.devices import limits_of_target
    requests: list[CompileRequest] = []
    places: list[tuple[str, str]] = []
    for family in families:
        for request in _requests(family, targets):
            requests.append(request)
            places.append((family, request.target))
    limits = {name: own for name in targets if (own := limits_of_target(name)) is not None}
    entries: dict[int, dict[str, Any]] = {}
    with click.progressbar(length=len(requests), label="snapshot", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for number, made in compile_all(requests, limits, jobs=jobs):
            entries[number] = entry_of(made)
            bar.update(1)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for number, (family, target) in enumerate(places):
        found.setdefault(family, {}).setdefault(target, {})[requests[number].function] = entries[number]
    return found


def _requests(family: str, targets: Sequence[str]) -> list[CompileRequest]:
    from reports.cascades import load_cascade
    from reports.kernels import ShapeOptions, kernel_extents, kernel_plan, requests_for
    named = load_cascade(family)
    plan = kernel_plan(named, kernel_extents(named, ShapeOptions({})), "bf16", {})
    return requests_for(named, plan, targets)


def _write(folder: Path, release: str, found: Mapping[str, Any], kept: Mapping[str, Any] | None) -> None:
    from autotune.compilation.snapshot import snapshot_text
    from reports.files import output_folder, write_file
    write_file(output_folder(str(folder)) / f"{release}.json", snapshot_text(found, kept, FAMILIES).encode())


def _text(release: str, kernels: int, changes: Sequence[Change], update: bool) -> str:
    head = f"{kernels} kernels by Triton {release}: " + (f"{len(changes)} facts differ" if changes else "as in the snapshot")
    return "\n".join([head + (", and are written" if update and changes else ""), *(change.text for change in changes)])
