"""The store of measurements: one SQLite file in WAL mode, for several writers, safe against a kill at any moment.

Why SQLite in WAL mode, and not files that are appended to: a trial, its rounds and its quantiles become visible
together or not at all; readers never wait for a writer; several processes may write; a kill in the middle of a
write leaves a log that the next one who opens the store rolls forward or drops, without a repair of our own; and the
questions that tuning asks (the latest winner of a kernel, a bucket and a device) are answered from an index. With
``synchronous=FULL`` a commit is on the disk when it returns. Its limits: the folder must be on a local disk, since WAL
needs memory that the processes share.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from autotune.store import rows
from autotune.store.errors import StoreError
from autotune.store.record import Status, Trial, Winner
from autotune.store.schema import VERSION, check_version, migrate

FILE = "trials.sqlite"
"""The name of the database in a store's folder; SQLite keeps two more files beside it while it is in use."""

_WAIT_S = 60.0
"""How long a writer waits for another one. A commit takes milliseconds, so only a stopped process makes this run out."""


class Store:
    """A store in a folder.

    Use it as a context manager, in the process that opened it. ``read_only`` neither makes nor migrates one;
    ``any_version`` then opens an older one too, to look at its file.

    Raises: StoreError where it cannot be opened.
    """

    def __init__(self, folder: str | os.PathLike[str], *, read_only: bool = False, any_version: bool = False) -> None:
        self.folder = Path(folder)
        self.place = str(self.folder)
        self._connection = _opened(self.folder / FILE, self.place, read_only, any_version)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store; what was added is on the disk already."""
        self._connection.close()

    def add(self, trials: Iterable[Trial], winners: Iterable[Winner] = ()) -> int:
        """Adds trials and winners in one transaction and returns how many were new; ids that are there are left alone.

        Raises: StoreError where the store cannot be written.
        """
        with self._transaction() as connection:
            added = sum(rows.add_trial(connection, trial) for trial in trials)
            return added + sum(rows.add_winner(connection, winner) for winner in winners)

    def trials(self, *, kernel: str | None = None, bucket: str | None = None, device: str | None = None,
               status: Status | None = None, session: str | None = None, ids: Sequence[str] | None = None,
               limit: int | None = None) -> list[Trial]:
        """Returns the trials with all the given properties, oldest first; with ``limit`` the latest ones."""
        wanted = {"kernel": kernel, "bucket": bucket, "status": None if status is None else str(status), "session": session}
        clauses = [f"trial.{name} = ?" for name, value in wanted.items() if value is not None]
        values: list[object] = [value for value in wanted.values() if value is not None]
        if device is not None:
            clauses.append("trial.environment IN (SELECT digest FROM environment WHERE gpu = ?)")
            values.append(device)
        if ids is not None:
            clauses.append(f"trial.id IN ({', '.join('?' * len(ids))})")
            values.extend(ids)
        where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
        with self._errors():
            found = rows.trials(self._connection, f"{where}ORDER BY trial.created_s DESC, trial.id DESC LIMIT ?",
                                [*values, -1 if limit is None else limit])
        return found[::-1]

    def winners(self, *, kernel: str | None = None, bucket: str | None = None, device: str | None = None) -> list[Winner]:
        """Returns what tuning runs chose, the latest first."""
        wanted = {"kernel": kernel, "bucket": bucket, "device": device}
        clauses = [f"{name} = ?" for name, value in wanted.items() if value is not None]
        where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
        with self._errors():
            return rows.winners(self._connection, f"{where}ORDER BY created_s DESC, id DESC",
                                [value for value in wanted.values() if value is not None])

    def summary(self) -> dict[str, Any]:
        """Returns what the store has: how many trials of each status and winners, which kernels and devices."""
        with self._errors():
            statuses = {str(name): int(count) for name, count in self._connection.execute(
                "SELECT status, count(*) FROM trial GROUP BY status ORDER BY status")}
            kernels = [str(row[0]) for row in self._connection.execute("SELECT DISTINCT kernel FROM trial ORDER BY kernel")]
            devices = [str(row[0]) for row in self._connection.execute("SELECT DISTINCT gpu FROM environment ORDER BY gpu")]
            winners = int(self._connection.execute("SELECT count(*) FROM winner").fetchone()[0])
        return {"store": self.place, "trials": sum(statuses.values()), "statuses": statuses, "winners": winners,
                "kernels": kernels, "devices": devices}

    def problems(self) -> list[str]:
        """Returns what SQLite finds wrong with the file, and rows that refer to none; empty where all is well."""
        with self._errors():
            found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check")]
            lost = [f"table {row[0]}: a row refers to no row of {row[2]}"
                    for row in self._connection.execute("PRAGMA foreign_key_check")]
        return [*(line for line in found if line != "ok"), *lost]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            # IMMEDIATE: one that begins as a reader and becomes a writer fails at once when another one wrote meanwhile.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _failed(self.place, error) from error


def copy_of(folder: str | os.PathLike[str], target: Path) -> None:
    """Writes a copy of a store into a folder, as it is at one moment, and brings it to this version of the schema.

    Raises: StoreError where there is no store, or it cannot be read.
    """
    place = os.fspath(folder)
    target.mkdir(parents=True, exist_ok=True)
    try:
        with closing(_opened(Path(folder) / FILE, place, read_only=True, any_version=True)) as source, \
                closing(sqlite3.connect(target / FILE, isolation_level=None)) as copy:
            source.backup(copy)
            migrate(copy, place)
    except sqlite3.Error as error:
        raise _failed(place, error) from error


def _opened(path: Path, place: str, read_only: bool, any_version: bool = False) -> sqlite3.Connection:
    if read_only and not path.is_file():
        raise StoreError(f"{place}: there is no store, got no file {FILE!r} in it; name the folder of one")
    if path.parent.exists() and not path.parent.is_dir():
        raise StoreError(f"{place}: a store is a folder, got a file; name a folder")
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{_mode(path, read_only)}", uri=True, timeout=_WAIT_S,
                                     isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _failed(place, error) from error
    try:
        if read_only:
            version = check_version(connection, place)
            if version < VERSION and not any_version:
                raise StoreError(f"{place}: its schema is older than this version reads, got {version} under {VERSION}; open it "
                                 f"once for writing, as 'fusebench store check' does")
            return connection
        _prepare(connection, place)
    except sqlite3.Error as error:
        connection.close()
        raise _failed(place, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def _mode(path: Path, read_only: bool) -> str:
    if not read_only:
        return "mode=rwc"
    # A reader keeps its index of the log in a file beside the database. Where it cannot make one, there is no writer
    # either, and without a log the database alone is whole.
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return "mode=ro&immutable=1" if alone else "mode=ro"


def _prepare(connection: sqlite3.Connection, place: str) -> None:
    check_version(connection, place)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{place}: its file system does not allow a write-ahead log, got journal mode {mode!r}; use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection, place)


def _failed(place: str, error: Exception) -> StoreError:
    reason = getattr(error, "strerror", None) or str(error)
    return StoreError(f"{place}: the store cannot be used, got {reason!r}; check the folder, its permissions and the disk")
