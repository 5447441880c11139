"""Runs a campaign of measurements on the GPU at hand, in slices that fit a time limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reports.options import INTERRUPTED, Name, json_option
from reports.output import emit


@click.command(epilog="Examples: fusebench measure h200 --out reports/measurements --seconds 540; "
                      "fusebench measure my.yaml --out try --device fake")
@click.argument("campaign")
@click.option("--out", "folder", required=True, metavar="DIR", help="Where results go, in a folder for each device; and the store.")
@click.option("--seconds", type=click.FloatRange(min=1), help="Begin no step that would not end by then.  [default: all steps]")
@click.option("--device", type=Name("device", ("cuda", "fake")), default="cuda", show_default=True,
              help="'fake' tries the procedure without a GPU, on made-up times.")
@click.option("--any-device", is_flag=True, help="Also on another device than the campaign is for.")
@click.option("--machine", default="h200", show_default=True, help="Whose limits exclude configurations before they run.")
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, help="Fresh processes that each step is timed in.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that compile.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search and of inputs.")
@json_option
def command(campaign: str, folder: str, seconds: float | None, device: str, any_device: bool, machine: str, processes: int, jobs: int,
            seed: int, as_json: bool) -> int:
    """Measure what CAMPAIGN lists: a file, or one that is shipped (h200).

    Ceilings come first, then each kernel is tuned and timed beside its peers, all of them checked before. Run it again to
    go on where it stopped. Ends with status 1 if a step failed.
    """
    from autotune.campaign.definition import load_campaign
    from autotune.campaign.results import results, slug
    from autotune.campaign.run import RunSettings, run_campaign
    from autotune.campaigns import campaign_path
    from autotune.store import Store
    from autotune.store.exchange import json_bytes
    from reports.files import output_folder, write_file
    from reports.tuning import pruner_for
    loaded = load_campaign(campaign_path(campaign))
    out = output_folder(folder)
    settings = RunSettings(seconds, device == "fake", processes, seed)
    with Store(out / "store") as store:
        ran = run_campaign(loaded, store, settings, any_device=any_device, told=lambda line: click.echo(line, err=True),
                           pruner=lambda space: pruner_for(space, machine, jobs) if device == "cuda" else None)
        found = results(loaded, store, ran.sessions)
        trials = store.trials(device=ran.environment.gpu)
        winners = [w for w in store.winners(device=ran.environment.gpu) if w.trial in {t.id for t in trials}]
    place = output_folder(str(out / slug(ran.environment.gpu)))
    files = [write_file(place / f"{loaded.id}.json", _document(found)), write_file(place / f"{loaded.id}.csv", _table(found["rows"])),
             write_file(place / "trials.json", json_bytes(trials, winners))]
    document = {**found, "done": ran.done, "known": ran.known, "left": ran.left, "failed": ran.failed, "store": str(out / "store"),
                "files": [str(file) for file in files]}
    emit(document, as_json, lambda: _text(document))
    return INTERRUPTED if ran.interrupted else 1 if ran.failed else 0


def _document(found: dict[str, Any]) -> bytes:
    import json

    from reports.output import plain
    return (json.dumps(plain(found), indent=1, allow_nan=False) + "\n").encode()


def _table(rows: list[dict[str, Any]]) -> bytes:
    import pandas as pd
    flat = [{key: value if not isinstance(value, (dict, list)) else "; ".join(map(_shown, value.items() if isinstance(value, dict) else value))
             for key, value in row.items()} for row in rows]
    return pd.DataFrame(flat).to_csv(index=False).encode()


def _shown(entry: Any) -> str:
    if isinstance(entry, tuple):
        return f"{entry[0]}={entry[1]}"
    ratio = "not known" if entry["ratio"] is None else f"{entry['ratio']:.3f}"
    return f"{entry['of']} {ratio} of {entry['at_least']:g}"


def _text(document: dict[str, Any]) -> str:
    from reports.tables import table
    columns = ("item", "implementation", "status", "cold_us", "warm_us", "floor_share", "kernel_speed_over_it", "targets")
    rows = [[*(row[c] for c in columns[:-1]), "; ".join(map(_shown, row["targets"])) or row["reason"]] for row in document["rows"]]
    head = [] if document["measured"] else ["MADE-UP TIMES of the fake device; nothing was measured"] if document["devices"] else []
    rates = ", ".join(f"{name} {value:.4g}" for name, value in document["ceilings"].items() if value is not None)
    lines = [*head, f"{document['campaign']} on {', '.join(document['devices']) or 'no device yet'}; ceilings: {rates or 'none yet'}",
             table(columns, rows) if rows else "No kernel has been measured yet."]
    lines += [f"failed: {title}: {reason}" for title, reason in document["failed"].items()]
    lines.append(f"{len(document['done'])} steps done, {len(document['known'])} known, {len(document['left'])} left"
                 + ("; run it again to go on" if document["left"] else "") + f"; results in {Path(document['files'][0]).parent}")
    return "\n".join(lines)
