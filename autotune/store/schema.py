"""The tables of the store, as steps from one version to the next; a new store runs the same steps as an old one."""

from __future__ import annotations

import sqlite3

from autotune.store.errors import StoreError

_STEPS: tuple[tuple[str, ...], ...] = (
    # Version 1: trials and what they were made of.
    ("""CREATE TABLE environment (
            digest TEXT PRIMARY KEY, gpu TEXT NOT NULL, architecture TEXT NOT NULL, driver TEXT NOT NULL, cuda TEXT NOT NULL,
            torch TEXT NOT NULL, triton TEXT NOT NULL, python TEXT NOT NULL, fusebench TEXT NOT NULL, "commit" TEXT NOT NULL,
            host_digest TEXT NOT NULL, libraries TEXT NOT NULL) WITHOUT ROWID""",
     """CREATE TABLE trial (
            id TEXT PRIMARY KEY, created_s REAL NOT NULL, session TEXT NOT NULL, strategy TEXT NOT NULL, kernel TEXT NOT NULL,
            kernel_digest TEXT NOT NULL, source_digest TEXT NOT NULL, spec TEXT NOT NULL, extents TEXT NOT NULL,
            bucket TEXT NOT NULL, configuration TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, facts TEXT NOT NULL,
            predicted_us REAL, environment TEXT NOT NULL REFERENCES environment(digest))""",
     """CREATE TABLE round (
            trial TEXT NOT NULL REFERENCES trial(id), place INTEGER NOT NULL, cache TEXT NOT NULL, stage TEXT NOT NULL,
            process INTEGER NOT NULL, "index" INTEGER NOT NULL, samples_us TEXT NOT NULL, sm_clock_mhz REAL,
            memory_clock_mhz REAL, temperature_c REAL, power_w REAL, throttle_reasons TEXT NOT NULL, energy_j REAL,
            taint TEXT NOT NULL, PRIMARY KEY (trial, place)) WITHOUT ROWID""",
     """CREATE TABLE quantiles (
            trial TEXT NOT NULL REFERENCES trial(id), cache TEXT NOT NULL, samples INTEGER NOT NULL, tainted INTEGER NOT NULL,
            p05_us REAL, p20_us REAL, median_us REAL, p80_us REAL, p95_us REAL,
            PRIMARY KEY (trial, cache)) WITHOUT ROWID""",
     "CREATE INDEX trial_of_kernel ON trial (kernel, bucket)"),
    # Version 2: what tuning runs chose, to be found again without tuning.
    ("""CREATE TABLE winner (
            id TEXT PRIMARY KEY, created_s REAL NOT NULL, session TEXT NOT NULL, kernel TEXT NOT NULL,
            kernel_digest TEXT NOT NULL, bucket TEXT NOT NULL, device TEXT NOT NULL, triton TEXT NOT NULL,
            trial TEXT NOT NULL REFERENCES trial(id), band TEXT NOT NULL, rule TEXT NOT NULL)""",
     "CREATE INDEX winner_of_kernel ON winner (kernel, bucket, device)"),
)

VERSION = len(_STEPS)
"""The version of the schema that this code writes."""


def version_of(connection: sqlite3.Connection) -> int:
    """Returns the version of a store's schema; 0 of an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, place: str, *, to: int = VERSION) -> None:
    """Brings a store to a version of the schema, in one transaction: killed in it, the store is what it was.

    ``connection`` is in autocommit mode (``isolation_level=None``).

    Raises: StoreError where the store was written by a later version, or its file is another program's.
    """
    if check_version(connection, place) >= to:
        return
    # Two processes may find an old store at once: the second waits here, and then finds nothing left to do.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[version_of(connection):to]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(to, version_of(connection)):d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection, place: str) -> int:
    """Returns the version of a store's schema.

    Raises: StoreError where it is a later one than this code knows, or the file is another program's.
    """
    version = version_of(connection)
    if version > VERSION:
        raise StoreError(f"{place}: its schema is newer than this version reads, got {version} over {VERSION}; use a newer fusebench")
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(f"{place}: it is a database of another program, got tables and no version; name another folder")
    return version
