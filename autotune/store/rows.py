"""Trials, winners and environments as rows of the store's tables, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from autotune.store.record import QUANTILES, Environment, Round, Status, Trial, Winner, canonical, quantile

_MAPS = ("spec", "extents", "configuration", "facts")


def add_trial(connection: sqlite3.Connection, trial: Trial) -> bool:
    """Adds a trial with its rounds, quantiles and environment; returns False where its id is there already."""
    place = trial.environment
    _insert(connection, "environment", {**vars(place), "libraries": canonical(dict(place.libraries)), "digest": place.digest})
    row = {f.name: getattr(trial, f.name) for f in fields(trial) if f.name not in ("rounds", "environment", *_MAPS)}
    row |= {name: canonical(dict(getattr(trial, name))) for name in _MAPS}
    if not _insert(connection, "trial", {**row, "status": str(trial.status), "environment": place.digest}):
        return False
    for place_of_round, one in enumerate(trial.rounds):
        _insert(connection, "round", {**vars(one), "trial": trial.id, "place": place_of_round,
                                      "samples_us": canonical(list(one.samples_us)),
                                      "throttle_reasons": canonical(list(one.throttle_reasons))})
    for cache in trial.caches:
        samples = trial.samples_us(cache)
        found = {name: quantile(samples, share) if samples else None for name, share in QUANTILES}
        tainted = sum(len(r.samples_us) for r in trial.rounds if r.cache == cache and r.taint)
        _insert(connection, "quantiles", {"trial": trial.id, "cache": cache, "samples": len(samples), "tainted": tainted, **found})
    return True


def add_winner(connection: sqlite3.Connection, winner: Winner) -> bool:
    """Adds a winner; returns False where its id is there already."""
    return _insert(connection, "winner", {**vars(winner), "band": canonical(list(winner.band))})


def trials(connection: sqlite3.Connection, clause: str = "", values: Iterable[Any] = ()) -> list[Trial]:
    """Returns the trials that a clause (``WHERE ... ORDER BY ... LIMIT``) selects, from one moment of the store."""
    # One transaction: a writer between the statements would give trials without their rounds.
    connection.execute("BEGIN")
    try:
        rows = _dicts(connection.execute(f"SELECT trial.* FROM trial {clause}", tuple(values)))  # noqa: S608 (own clauses)
        places = {row["digest"]: _environment(row) for row in _dicts(connection.execute("SELECT * FROM environment"))}
        return [_trial(row, places[row["environment"]], _rounds(connection, row["id"])) for row in rows]
    finally:
        connection.execute("COMMIT")


def winners(connection: sqlite3.Connection, clause: str = "", values: Iterable[Any] = ()) -> list[Winner]:
    """Returns the winners that a clause selects."""
    found = _dicts(connection.execute(f"SELECT * FROM winner {clause}", tuple(values)))  # noqa: S608 (own clauses)
    return [Winner(**{**row, "band": tuple(json.loads(row["band"]))}) for row in found]


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> bool:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    cursor = connection.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 (own names)
                                tuple(row.values()))
    return cursor.rowcount == 1


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _environment(row: Mapping[str, Any]) -> Environment:
    return Environment(**{f.name: json.loads(row[f.name]) if f.name == "libraries" else row[f.name] for f in fields(Environment)})


def _rounds(connection: sqlite3.Connection, trial: str) -> tuple[Round, ...]:
    found = _dicts(connection.execute("SELECT * FROM round WHERE trial = ? ORDER BY place", (trial,)))
    kept = [f.name for f in fields(Round)]
    return tuple(_round({name: row[name] for name in kept}) for row in found)


def _round(row: dict[str, Any]) -> Round:
    lists = {name: tuple(json.loads(row[name])) for name in ("samples_us", "throttle_reasons")}
    return Round(**{**row, **lists})


def _trial(row: Mapping[str, Any], environment: Environment, rounds: tuple[Round, ...]) -> Trial:
    plain = {name: json.loads(value) if name in _MAPS else value for name, value in row.items()}
    return Trial(**{**plain, "status": Status(row["status"]), "environment": environment, "rounds": rounds})
