"""The gateway's SQLite database: opened, brought to the newest schema, written in transactions, checked, copied."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker_server.errors import DamagedError, StateError, StorageError
from broker_server.state.files import PRIVATE_FILE
from broker_server.state.schema import LEDGER, Schema

BUSY_MS = 5000
ADVICE = "broker_server verify says what is wrong, broker_server restore puts a backup in its place"


class Database:
    """The database. Args: path: file; read_only: for the commands that read while a gateway runs; schema: its tables.

    Raises:
        StateError: when it cannot be opened, is no ledger, is damaged, or is of a newer schema.
    """

    def __init__(self, path: Path, *, read_only: bool = False, schema: Schema = LEDGER) -> None:
        self.path, self._tables = path, schema
        if read_only and not path.exists():
            msg = f"no gateway state at {path.parent}: broker_server run with this state directory makes one"
            raise StateError(msg).about("state")
        try:
            mode = "ro" if read_only else "rwc"
            if not read_only and not path.exists():
                # SQLite gives the log beside it the same rights. A file that is there is not opened: closing it would
                # drop the locks that this process holds on it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            uri = f"file:{path.resolve().as_posix()}?mode={mode}"
            # Evaluations come from another thread only through the gateway's queue, but the object may be closed there.
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            self._refuse_newer()
            if not read_only:
                # For a new file; one that was made without it keeps its size, and uses its free pages again.
                self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute(f"PRAGMA synchronous={schema.synchronous}")
                self._bring_up()
        except (sqlite3.Error, OSError) as error:
            msg = f"{path} cannot be opened as a gateway's ledger: {error}; {ADVICE}"
            raise _kind(error)(msg) from error

    def _schema(self) -> int:
        """Return the number of the tables that are there; 0 when there are none."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall():
            return 0
        rows = self._db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
        return int(rows[0]["value"]) if rows and str(rows[0]["value"]).isdecimal() else 0

    def _refuse_newer(self) -> None:
        schema = self._schema()
        if schema > self._tables.number:
            msg = (
                f"{self.path} is of schema {schema}, this gateway knows up to {self._tables.number}: a newer gateway "
                "wrote it; use that one, or another state directory"
            )
            raise StateError(msg).about("state")

    def _bring_up(self) -> None:
        before, newest, migrations = self._schema(), self._tables.number, self._tables.migrations
        if before == newest:
            return
        steps = [migrations[number] for number in range(before + 1, newest + 1) if before and number in migrations]
        note = f"INSERT OR REPLACE INTO meta VALUES ('schema', '{newest}');"  # noqa: S608 - a number of ours
        self._db.executescript("\n".join(["BEGIN IMMEDIATE;", *steps, self._tables.tables, note, "COMMIT;"]))

    def changes(self) -> tuple[int, int]:
        """Return two numbers that are others once a row was changed: by another connection, by this one.

        Raises:
            StateError: when the database cannot be read.
        """
        return int(self._rows("PRAGMA data_version")[0][0]), self._db.total_changes

    def faults(self) -> list[str]:
        """Return what SQLite's own check says against the database; nothing when it is sound."""
        try:
            told = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)").fetchall()]
        except sqlite3.Error as error:
            return [str(error)]
        return [] if told == ["ok"] else told

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database, so that damage to the log costs little.

        A reader may hold it up, and then it is done the next time.
        """
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def prune(self, table: str, where: str, values: Sequence[Any], limit: int) -> int:
        """Remove rows; return how many. Args: table, where: names and a clause of ours; limit: rows at most.

        Raises:
            StorageError: when the disk refuses.
        """
        rows = f"SELECT rowid FROM {table} WHERE {where} LIMIT ?"  # noqa: S608
        return self._execute(f"DELETE FROM {table} WHERE rowid IN ({rows})", (*values, limit)).rowcount  # noqa: S608

    def give_back(self, pages: int) -> None:
        """Give free pages back to the disk when a quarter of the file is free. Args: pages: at most.

        Raises:
            StorageError: when the disk refuses.
        """
        free, total = (self._rows(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
        if 4 * free > total:
            self._execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def copy_to(self, path: Path) -> None:
        """Write a copy of the database as it is now, also while it is written to. Args: path: a new file.

        Raises:
            StateError: when it cannot be read or written.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            copy = sqlite3.connect(path)
            try:
                self._db.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
        except (sqlite3.Error, OSError) as error:
            msg = f"{self.path} cannot be copied to {path}: {error}"
            raise StateError(msg) from error

    def close(self) -> None:
        """Close the database; what was committed is safe without it."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run statements that hold together: all of them are on the disk when this ends, or none.

        Raises:
            StorageError: when the disk refuses.
        """
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.OperationalError as error:
            msg = f"{self.path} refuses a write: {error}; free some space or check the permissions"
            raise StorageError(msg) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise  # a mistake of ours
            msg = f"{self.path} is damaged: {error}; {ADVICE}"
            raise DamagedError(msg) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            msg = f"{self.path} cannot be read: {error}; {ADVICE}"
            raise _kind(error)(msg) from error


def _kind(error: Exception) -> type[StateError]:
    """Return whether the database itself is wrong, or what one wants to do with it."""
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    return DamagedError if damaged else StateError
