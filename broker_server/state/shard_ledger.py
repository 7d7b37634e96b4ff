"""What a shard keeps: pieces of accepted deltas, blocks by digest, and what it made of them last. SQLite (WAL).

All of it can be sent or computed again, so a commit need not wait for the disk (``synchronous=NORMAL``): a kill loses
nothing, a power cut perhaps the last commits. What a row holds is compared with its digest when it is read, and gone
if it differs. A file that is damaged, or of a shard with other blocks, is begun anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from broker_server.errors import DamagedError, StateError
from broker_server.state.database import Database
from broker_server.state.files import make_folder
from broker_server.state.schema import Schema
from edge_runtime.wire.digests import sha256

FILE: Final = "shard.sqlite3"
DELTA: Final = "delta"
VALUES: Final = "values"
KINDS: Final = (DELTA, VALUES)
_LAYOUT: Final = "layout"
_STARTS: Final = "starts"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS held (
  kind TEXT NOT NULL,    -- delta: the shard's part of an accepted one; values: of a block, residual, moment or update
  name BLOB NOT NULL,    -- digest of the whole delta; of the values themselves
  digest BLOB NOT NULL,  -- of the data
  data BLOB NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;
CREATE TABLE IF NOT EXISTS prepared (  -- the last merge
  key BLOB PRIMARY KEY,  -- digest of what was asked
  digest BLOB NOT NULL,  -- of the answer
  answer BLOB NOT NULL
) STRICT;
"""
SCHEMA: Final = Schema(1, _TABLES, synchronous="NORMAL")


class ShardLedger(Database):
    """The database of a shard. Args: path: of the file; layout: digest of which blocks of which bank it has.

    Raises:
        StateError: when the file cannot be opened, nor begun anew.
    """

    def __init__(self, path: Path, layout: bytes) -> None:
        super().__init__(path, schema=SCHEMA)
        told = self.told(_LAYOUT)
        if told != layout.hex():
            with self.transaction():
                for table in ("held", "prepared", "meta"):
                    where = " WHERE key != 'schema'" if table == "meta" else ""
                    self._execute(f"DELETE FROM {table}{where}")  # noqa: S608 - names of ours
                self._execute("INSERT INTO meta VALUES (?, ?)", (_LAYOUT, layout.hex()))
        self.starts = int(self.told(_STARTS) or 0) + 1
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_STARTS, str(self.starts)))

    @classmethod
    def open(cls, folder: Path, layout: bytes) -> ShardLedger:
        """Open the ledger of a folder, or begin it anew where it is damaged.

        Raises:
            StateError, StorageError: when the folder cannot be written to.
        """
        path = folder / FILE
        try:
            make_folder(folder)
            return cls(path, layout)
        except DamagedError:
            remove(path)
            return cls(path, layout)
        except OSError as error:
            raise StateError(f"cannot use {folder} for a shard: {error.strerror}; set engine.folder") from error

    def told(self, key: str) -> str | None:
        """Return a setting."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def keep(self, kind: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep data by name, within a transaction of the caller's; what is there stays."""
        for name, data in items:
            self._execute("INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?)", (kind, name, sha256(data), data))

    def data(self, kind: str, name: bytes) -> bytes | None:
        """Return data by name; None when it is not here, or no longer what was written."""
        rows = self._rows("SELECT digest, data FROM held WHERE kind = ? AND name = ?", (kind, name))
        if not rows:
            return None
        data = bytes(rows[0]["data"])
        if sha256(data) == rows[0]["digest"]:
            return data
        self._execute("DELETE FROM held WHERE kind = ? AND name = ?", (kind, name))
        return None

    def names(self, kind: str) -> set[bytes]:
        """Return the names of what is here."""
        return {bytes(row["name"]) for row in self._rows("SELECT name FROM held WHERE kind = ?", (kind,))}

    def drop_others(self, kind: str, wanted: Collection[bytes]) -> None:
        """Let go of all of a kind but what is wanted."""
        for name in self.names(kind) - set(wanted):
            self._execute("DELETE FROM held WHERE kind = ? AND name = ?", (kind, name))

    def drop_damaged(self) -> None:
        """Let go of everything that is no longer what was written."""
        for kind in KINDS:
            for name in self.names(kind):
                self.data(kind, name)

    def prepared(self, key: bytes) -> bytes | None:
        """Return the answer to what was asked last; None when it is another, or damaged."""
        rows = self._rows("SELECT digest, answer FROM prepared WHERE key = ?", (key,))
        answer = bytes(rows[0]["answer"]) if rows else b""
        return answer if rows and sha256(answer) == rows[0]["digest"] else None

    def prepare(self, key: bytes, answer: bytes) -> None:
        """Keep an answer in place of the one before, within a transaction of the caller's."""
        self._execute("DELETE FROM prepared")
        self._execute("INSERT INTO prepared VALUES (?, ?, ?)", (key, sha256(answer), answer))

    @property
    def file_bytes(self) -> int:
        """Bytes of the database and its log on the disk."""
        total = 0
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total


def remove(path: Path) -> None:
    """Remove a database with its log."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()
