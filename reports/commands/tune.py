"""Tunes the kernels of a cascade on the GPU at hand, and stores every trial."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from reports.options import INTERRUPTED, Name, cascade_argument, extent_option, json_option
from reports.output import emit

if TYPE_CHECKING:
    from autotune.store import Store, Trial
    from autotune.tuner import Tuned

_STRATEGIES = ("bayesian", "exhaustive", "model-guided", "random", "successive-halving")
_DTYPES = ("bf16", "fp16", "fp32")
_DEVICES = ("cuda", "fake")


@click.command(epilog="Examples: fusebench tune attention:1pass --workload bert --seq-len 4096 --budget 100; "
                      "fusebench tune attention:1pass --workload bert --device fake --store try")
@cascade_argument
@click.option("--workload", help="A model's id, or the path of its YAML file: batch, heads and widths.")
@click.option("--seq-len", type=click.IntRange(min=1, max=2**40), help="Tokens of its sequences.  [default: the model's shortest]")
@click.option("--batch", type=click.IntRange(min=1, max=2**40), help="Sequences.  [default: the workload's, else 1]")
@extent_option
@click.option("--dtype", type=Name("type", _DTYPES), default="bf16", show_default=True, help="Type of the tensors.")
@click.option("--strategy", type=Name("strategy", _STRATEGIES), default="model-guided", show_default=True, help="What is tried next.")
@click.option("--budget", type=click.IntRange(min=1), default=100, show_default=True, help="Configurations that are run at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search and of inputs.")
@click.option("--store", "folder", metavar="DIR", help="The store's folder.  [default: the user's own]")
@click.option("--device", type=Name("device", _DEVICES), default="cuda", show_default=True,
              help="'fake' tries the procedure without a GPU, on made-up times.")
@click.option("--machine", default="h200", show_default=True, help="Whose limits exclude configurations before they run.")
@click.option("--prune/--no-prune", default=None, help="Compile first, and leave out what exceeds a limit.  [default: with a GPU]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that compile.")
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, help="Processes that finalists are timed in.")
@click.option("--force", is_flag=True, help="Tune also where the store has an answer.")
@json_option
def command(cascade: str, workload: str | None, seq_len: int | None, batch: int | None, extents: Mapping[str, int], dtype: str,
            strategy: str, budget: int, seed: int, folder: str | None, device: str, machine: str, prune: bool | None, jobs: int,
            processes: int, force: bool, as_json: bool) -> int:
    """Search the configurations of CASCADE's kernels for the fastest on this GPU.

    Every configuration is checked before it is timed, and runs in a process of its own. The result is the set of those
    that times cannot tell apart, one of which is chosen. A kernel that was tuned already is found in the store.
    """
    from autotune.store import Store
    from autotune.store.places import default_folder
    from autotune.tuner import Settings, tune
    from reports.tuning import pruner_for, target_for
    target, space = target_for(cascade, workload, seq_len, batch, extents, dtype, machine if prune or device == "cuda" else None)
    if device == "fake":
        target = fake(target, seed)
    with Store(folder if folder is not None else default_folder()) as store:
        if not force and (known := _known(target, store, device)) is not None:
            emit(known, as_json, lambda: _known_text(known))
            return 0
        pruner = pruner_for(space, machine, jobs) if (prune if prune is not None else device == "cuda") else None
        settings = Settings(strategy, budget, seed, processes=processes)
        with click.progressbar(length=min(budget, len(target.configurations)), label="tune", file=sys.stderr,
                               hidden=not sys.stderr.isatty()) as bar:
            done = tune(target, store, settings, pruner=pruner, progress=lambda ran, of: bar.update(ran - bar.pos))
        result = _result(done, len(target.configurations), store.place)
    if done.interrupted:
        click.echo(f"fusebench: interrupted after {len(done.trials)} trials, which are stored", err=True)
    emit(result, as_json, lambda: _text(result))
    return INTERRUPTED if done.interrupted else 0


def fake(target: Any, seed: int) -> Any:
    """Returns the same target on the fake device, with made-up times."""
    from dataclasses import replace

    from autotune.tuner.fake import FACTORY
    return replace(target, factory=FACTORY, arguments={"configurations": [dict(c) for c in target.configurations], "seed": seed})


def _known(target: Any, store: Store, device: str) -> dict[str, Any] | None:
    """What the store has for this kernel, bucket, device and Triton; says on standard error why what it has is out of date."""
    from autotune.store import Key, look_up
    from autotune.tuner.evaluation import Evaluator
    with Evaluator(target.factory, target.arguments) as worker:
        place = worker.environment()
    found = look_up(store, Key(target.kernel, target.kernel_digest, target.bucket, place.gpu, place.triton))
    if found.status == "stale":
        click.echo(f"fusebench: {found.reason.partition(';')[0]}; it is tuned anew", err=True)
    if found.status != "hit" or found.trial is None or found.winner is None:
        return None
    band = store.trials(ids=found.winner.band)
    band.sort(key=lambda trial: trial.id != found.trial.id)  # type: ignore[union-attr]
    return {"kernel": target.kernel, "device": place.gpu, "bucket": target.bucket, "measured": device != "fake", "from_store": True,
            "best": [_row(trial) for trial in band], "rule": found.winner.rule, "trials": [], "statuses": {}, "store": store.place,
            "configurations": len(target.configurations), "session": found.winner.session}


def _result(done: Tuned, configurations: int, place: str) -> dict[str, Any]:
    from autotune.timing.fake import NAME
    statuses: dict[str, int] = {}
    for trial in done.trials:
        statuses[str(trial.status)] = statuses.get(str(trial.status), 0) + 1
    first = done.winner.trial if done.winner is not None else ""
    band = sorted(done.band, key=lambda trial: trial.id != first)
    return {"kernel": done.trials[0].kernel if done.trials else "", "device": done.environment.gpu,
            "bucket": done.trials[0].bucket if done.trials else "", "measured": done.environment.gpu != NAME, "from_store": False,
            "best": [_row(trial) for trial in band], "rule": done.winner.rule if done.winner is not None else "",
            "trials": [_row(trial) for trial in done.trials], "statuses": dict(sorted(statuses.items())), "store": place,
            "configurations": configurations, "session": done.session}


def _row(trial: Trial) -> dict[str, Any]:
    from autotune.store.record import quantile
    times = {cache: quantile(samples, 0.5) for cache in trial.caches if (samples := trial.samples_us(cache))}
    energies = [r.energy_j for r in trial.rounds if r.energy_j is not None and not r.taint]
    return {"id": trial.id, "configuration": dict(trial.configuration), "status": str(trial.status), "reason": trial.reason,
            "median_us": next(iter(times.values()), None), "medians_us": times, "energy_j": quantile(energies, 0.5) if energies else None,
            "predicted_us": trial.predicted_us, "facts": dict(trial.facts)}


def _known_text(known: dict[str, Any]) -> str:
    return f"{_best_text(known)}\nfound in the store {known['store']}; --force tunes again"


def _text(result: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in result["statuses"].items())
    return (f"{_best_text(result)}\n{len(result['trials'])} trials ({counts}) of {result['configurations']} configurations, in the store "
            f"{result['store']}")


def _best_text(result: dict[str, Any]) -> str:
    from reports.commands.store import shown_configuration
    from reports.tables import table
    rows = [[shown_configuration(row["configuration"]), row["median_us"], row["energy_j"]] for row in result["best"]]
    made_up = "" if result["measured"] else "MADE-UP TIMES of the fake device; nothing was measured\n"
    return f"{made_up}{result['kernel']} on {result['device']} ({result['bucket']})\n" + \
        table(("configuration", "median_us", "energy_j"), rows) + f"\nthe first is chosen: {result['rule']}"
