"""Trials as files and back: JSON that keeps everything, tables in CSV or Parquet, merging of stores, import of results."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autotune.store.errors import StoreError
from autotune.store.record import QUANTILES, Environment, Round, Status, Trial, Winner, canonical, quantile
from autotune.store.store import Store, copy_of
from einsum_cascades.errors import suggest

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")

FORMAT = "fusebench-trials"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Merge:
    """How many rows were new, and how many were there already."""

    added: int
    known: int


def to_document(trials: Iterable[Trial], winners: Iterable[Winner] = ()) -> dict[str, Any]:
    """Returns trials and winners as a JSON document that keeps everything; environments stand once each."""
    found = list(trials)
    places = {t.environment.digest: asdict(t.environment) for t in found}
    return {"format": FORMAT, "version": FORMAT_VERSION, "environments": places,
            "trials": [{**_plain(t), "environment": t.environment.digest} for t in found],
            "winners": [asdict(w) for w in winners]}


def from_document(document: Any, source: str) -> tuple[list[Trial], list[Winner]]:
    """Returns the trials and winners of such a document, from the file ``source``.

    Raises: StoreError for one that is none, with the place of what is wrong.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise StoreError(f"{source}: it holds no trials, got no format {FORMAT!r}; give a file that 'fusebench store export' wrote")
    if document.get("version") != FORMAT_VERSION:
        raise StoreError(f"{source}: version: this fusebench reads {FORMAT_VERSION}, got {document.get('version')!r}; use a fitting one")
    places = {digest: _made(Environment, row, f"{source}: environments.{digest}")
              for digest, row in _table(document, "environments", dict, source).items()}
    for digest, place in places.items():
        if place.digest != digest:
            raise StoreError(f"{source}: environments.{digest}: its contents have another digest, got {place.digest}; the file was "
                             f"changed, export it again")
    trials = [_trial(row, places, f"{source}: trials[{i}]") for i, row in enumerate(_table(document, "trials", list, source))]
    winners = [_made(Winner, row, f"{source}: winners[{i}]") for i, row in enumerate(_table(document, "winners", list, source))]
    known = {trial.id for trial in trials}
    for i, winner in enumerate(winners):
        if winner.trial not in known:
            raise StoreError(f"{source}: winners[{i}].trial: there is no such trial, got {winner.trial!r}; export the file again")
    return trials, winners


def read_results(path: str | os.PathLike[str]) -> tuple[list[Trial], list[Winner]]:
    """Returns the trials and winners of a result file, made on this machine or another.

    Raises: StoreError for a file that cannot be read, or is none.
    """
    source = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = json.loads(text, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"{source}: it is no JSON file of results, got {reason!r}; give one that 'fusebench store export' "
                         f"wrote") from error
    return from_document(document, source)


def import_results(store: Store, path: str | os.PathLike[str]) -> Merge:
    """Adds the trials and winners of a result file to a store; doing it again adds nothing.

    Raises: StoreError, also where an id stands for another trial here.
    """
    return _add(store, *read_results(path), os.fspath(path))


def merge(store: Store, other: str | os.PathLike[str]) -> Merge:
    """Adds all that another store has to ``store``; the other one is read as it is, whatever its schema's version.

    Raises: StoreError, also where an id stands for another trial here.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy_of(other, Path(folder))
        with Store(folder) as copy:
            return _add(store, copy.trials(), copy.winners(), os.fspath(other))


def to_frame(trials: Iterable[Trial]) -> pd.DataFrame:
    """Returns a table of trials: one row for each state of the L2 that a trial was timed in, or one without times.

    Quantiles are in microseconds; configuration, extents and compile facts have a column for each name
    (``configuration.BM``).
    """
    import pandas as pd
    return pd.DataFrame([row for trial in trials for row in _rows(trial)])


def csv_bytes(trials: Iterable[Trial]) -> bytes:
    """Returns the table of trials as CSV."""
    return to_frame(trials).to_csv(index=False).encode()


def json_bytes(trials: Iterable[Trial], winners: Iterable[Winner] = ()) -> bytes:
    """Returns the document of trials and winners, with one trial a line, so that a change of it reads well."""
    document = to_document(trials, winners)
    head = ", ".join(f'"{name}": {json.dumps(document[name], sort_keys=True)}' for name in ("format", "version"))
    places = ",\n".join(f"{json.dumps(digest)}: {canonical(place)}" for digest, place in document["environments"].items())
    parts = [f'"environments": {{\n{places}\n}}']
    parts += [f'"{name}": [\n' + ",\n".join(canonical(row) for row in document[name]) + "\n]" for name in ("trials", "winners")]
    return ("{" + head + ",\n" + ",\n".join(parts) + "}\n").encode()


def parquet_bytes(trials: Iterable[Trial]) -> bytes:
    """Returns the table of trials as Parquet.

    Raises: StoreError where pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise StoreError("Parquet: writing it needs pyarrow, got no such package; install pyarrow, or export CSV or JSON")
    return bytes(to_frame(trials).to_parquet(index=False, engine="pyarrow"))


def _add(store: Store, trials: Sequence[Trial], winners: Sequence[Winner], source: str) -> Merge:
    here = {trial.id: trial for trial in store.trials()}
    for trial in trials:
        if trial.id in here and canonical(_plain(here[trial.id])) != canonical(_plain(trial)):
            raise StoreError(f"{source}: trial {trial.id} is another one here, got two with one id; one of them was changed, "
                             f"remove it from the file")
    added = store.add(trials, winners)
    return Merge(added, len(trials) + len(winners) - added)


def _plain(trial: Trial) -> dict[str, Any]:
    row = {f.name: getattr(trial, f.name) for f in fields(trial)}
    return {**row, "status": str(trial.status), "environment": asdict(trial.environment),
            "rounds": [asdict(r) for r in trial.rounds],
            **{name: dict(row[name]) for name in ("spec", "extents", "configuration", "facts")}}


def _rows(trial: Trial) -> list[dict[str, Any]]:
    place = trial.environment
    common: dict[str, Any] = {
        "id": trial.id, "created_s": trial.created_s, "session": trial.session, "strategy": trial.strategy, "kernel": trial.kernel,
        "bucket": trial.bucket, "status": str(trial.status), "reason": trial.reason, "predicted_us": trial.predicted_us,
        "kernel_digest": trial.kernel_digest, "source_digest": trial.source_digest, "device": place.gpu, "triton": place.triton,
        "torch": place.torch, "driver": place.driver, "commit": place.commit, "environment": place.digest}
    for name in ("configuration", "extents", "spec", "facts"):
        common |= {f"{name}.{key}": value for key, value in getattr(trial, name).items()}
    found = []
    for cache in trial.caches or (None,):
        samples = [] if cache is None else trial.samples_us(cache)
        energies = [r.energy_j for r in trial.rounds if r.cache == cache and not r.taint and r.energy_j is not None]
        found.append({**common, "cache": cache, "samples": len(samples),
                      **{name: quantile(samples, share) for name, share in QUANTILES}, "energy_j": quantile(energies, 0.5)})
    return found


def _table(document: Mapping[str, Any], name: str, kind: type[Any], source: str) -> Any:
    found = document.get(name)
    if not isinstance(found, kind):
        raise StoreError(f"{source}: {name}: it should be {'a mapping' if kind is dict else 'a list'}, got {found!r:.40}; export the "
                         f"file again")
    return found


def _trial(row: Any, places: Mapping[str, Environment], source: str) -> Trial:
    if not isinstance(row, Mapping):
        raise StoreError(f"{source}: it should be a mapping, got {row!r:.40}; export the file again")
    if row.get("status") not in set(Status):
        raise StoreError(f"{source}.status: unknown, got {row.get('status')!r}; {suggest(str(row.get('status')), map(str, Status))}")
    if row.get("environment") not in places:
        raise StoreError(f"{source}.environment: there is no such one, got {row.get('environment')!r}; {suggest('', places)}")
    rounds = row.get("rounds")
    if not isinstance(rounds, list):
        raise StoreError(f"{source}.rounds: it should be a list, got {rounds!r:.40}; export the file again")
    made = {"status": Status(row["status"]), "environment": places[row["environment"]],
            "rounds": tuple(_made(Round, one, f"{source}.rounds[{i}]") for i, one in enumerate(rounds))}
    return _made(Trial, row, source, made)


def _made(kind: type[_T], row: Any, source: str, given: Mapping[str, Any] | None = None) -> _T:
    """Returns a data class from a row of a file, every field of the type that it says."""
    if not isinstance(row, Mapping):
        raise StoreError(f"{source}: it should be a mapping, got {row!r:.40}; export the file again")
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name in row:
        if name not in known:
            raise StoreError(f"{source}: unknown key, got {name!r}; {suggest(str(name), known)}")
    values = dict(given or {})
    for name, one in known.items():
        if name in values:
            continue
        if name not in row:
            if one.default is MISSING and one.default_factory is MISSING:
                raise StoreError(f"{source}: a key is missing, got no {name!r}; export the file again")
            continue
        values[name] = _checked(str(one.type), row[name], f"{source}.{name}")
    return kind(**values)


def _checked(kind: str, value: Any, source: str) -> Any:
    fits = {
        "str": isinstance(value, str),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": _is_number(value),
        "float | None": value is None or _is_number(value),
        "tuple[float, ...]": isinstance(value, list) and all(map(_is_number, value)),
        "tuple[str, ...]": isinstance(value, list) and all(isinstance(v, str) for v in value),
        "Mapping[str, str]": isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
        "Mapping[str, int]": isinstance(value, dict) and all(isinstance(v, int) and not isinstance(v, bool) for v in value.values()),
        "Mapping[str, Scalar]": isinstance(value, dict) and all(isinstance(v, (bool, int, float, str)) for v in value.values()),
    }[kind]
    if not fits:
        raise StoreError(f"{source}: it should be of type {kind}, got {value!r:.40}; export the file again")
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
