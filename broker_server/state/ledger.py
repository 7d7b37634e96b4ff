"""Everything that must survive ``kill -9``, in one SQLite database. Rows in, rows out; no decision is made here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker_server.errors import DamagedError
from broker_server.state.database import ADVICE, Database
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode

NAME = "ledger.sqlite3"
HEAD_SUMS: Final = "head_statistics"
"""Setting of the state directory: JSON, digest in hex of the class sums that the head was made from, by device."""
ROLLBACK: Final = "rollback"
"""Setting of the state directory: the version whose bank the operator wants as the next one; empty: none."""
GATEWAY: Final = "gateway"
"""Setting of the state directory: JSON, what the last start of a gateway was told (gateway_facts.py)."""
STEPS: Final = ("merge", "rollback")
"""Reasons of versions from which on a delta that was trained before is stale."""
PRUNED: Final = "pruned"
"""Setting of the state directory: rows of deltas and plans of rounds before this one may be gone."""
LEFT_OUT: Final = -1
"""Version of an accepted delta whose device was revoked before the merge: it is part of none."""
COUNTING: Final = "WHERE device NOT IN (SELECT device FROM devices WHERE revoked = 1)"
VERDICTS_KEPT = 64
"""For each device: a hostile one must not fill the disk with refusals."""


@dataclass(frozen=True)
class DeltaRow:
    """An accepted delta. Args: version: that it is part of; None while it waits in the spool; LEFT_OUT: of none."""

    device: str
    round: int
    digest: bytes
    bytes: int
    examples: int
    loss_first: float
    loss_last: float
    step_ms: float
    norms: Mapping[str, float]
    blocks: tuple[ExpertId, ...]
    version: int | None = None


@dataclass(frozen=True)
class RoundRow:
    """Args: opened, closed: seconds since 1970; closed None while it runs."""

    round: int
    base_version: int
    opened: float
    closed: float | None
    version: int | None
    extensions: int


@dataclass(frozen=True)
class VersionRow:
    """A version.

    Args: payload: pb.Version as published; balance: JSON of the top-k statistics after it; residuals: see residuals.py.
    """

    version: int
    parent: int | None
    digest: bytes
    round: int
    contributors: int
    reason: str
    created: float
    payload: bytes
    balance: str | None
    residuals: bytes = b""


class Ledger(Database):
    """The database, by what the gateway keeps in it."""

    # meta

    def get(self, key: str) -> str | None:
        """Return a setting of this state directory."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def put(self, key: str, value: str) -> None:
        """Keep a setting; one that is kept already costs no write."""
        if self.get(key) == value:
            return
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def pruned(self) -> int:
        """The round before which rows of deltas and plans may be gone; 0: none are."""
        return int(self.get(PRUNED) or 0)

    # devices

    def greet(self, hello: pb.Hello, now: float) -> None:
        """Keep a device's hello; it is present."""
        self._execute(
            "INSERT INTO devices (device, hello, first_seen, last_seen, present) VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT (device) DO UPDATE SET hello = excluded.hello, last_seen = excluded.last_seen, present = 1",
            (hello.device, hello.SerializeToString(), now, now),
        )

    def leave(self, device: str | None = None) -> None:
        """Mark one device, or all at a start, as not here."""
        if device is None:
            self._execute("UPDATE devices SET present = 0 WHERE present = 1")
        else:
            self._execute("UPDATE devices SET present = 0 WHERE device = ?", (device,))

    def count_bytes(self, traffic: Mapping[str, tuple[int, int]], now: float) -> None:
        """Add (up, down) bytes to devices."""
        for device, (up, down) in traffic.items():
            self._execute(
                "UPDATE devices SET bytes_up = bytes_up + ?, bytes_down = bytes_down + ?, last_seen = ? "
                "WHERE device = ?",
                (up, down, now, device),
            )

    def devices(self) -> list[dict[str, Any]]:
        """Return every device with its hello, by name."""
        rows = [dict(row) for row in self._rows("SELECT * FROM devices ORDER BY device")]
        for row in rows:
            row["hello"] = read_hello(row["device"], row["hello"])
        return rows

    def revoked(self, device: str) -> bool:
        """Return whether the operator removed a device."""
        rows = self._rows("SELECT revoked FROM devices WHERE device = ?", (device,))
        return bool(rows and rows[0]["revoked"])

    def revoked_devices(self) -> list[str]:
        """Return the devices that the operator removed."""
        return [row["device"] for row in self._rows("SELECT device FROM devices WHERE revoked = 1 ORDER BY device")]

    def revoke(self, device: str, *, revoked: bool) -> bool:
        """Remove a device, or take it back; return whether it is registered."""
        return self._execute("UPDATE devices SET revoked = ? WHERE device = ?", (int(revoked), device)).rowcount > 0

    def registered(self, device: str) -> bool:
        """Return whether a device said Hello before."""
        return bool(self._rows("SELECT 1 FROM devices WHERE device = ?", (device,)))

    def forget_idle(self, keep: int) -> list[str]:
        """Forget names that never had a delta accepted and are not here; return them.

        Args:
            keep: so many stay, those with class sums first, then those seen last.
        """
        idle = (
            "FROM devices AS one WHERE present = 0 AND revoked = 0 "
            "AND NOT EXISTS (SELECT 1 FROM deltas WHERE deltas.device = one.device) "
            "AND NOT EXISTS (SELECT 1 FROM trained WHERE trained.device = one.device)"
        )
        if self._rows(f"SELECT COUNT(*) AS number {idle}")[0]["number"] <= keep:
            return []
        order = "ORDER BY EXISTS (SELECT 1 FROM statistics WHERE statistics.device = one.device) DESC, last_seen DESC"
        rows = self._rows(f"SELECT device {idle} {order} LIMIT -1 OFFSET ?", (keep,))
        names = [str(row["device"]) for row in rows]
        for name in names:
            self._execute(
                "INSERT INTO verdict_counts SELECT '', kind, code, times FROM verdict_counts WHERE device = ? "
                "ON CONFLICT DO UPDATE SET times = times + excluded.times",
                (name,),
            )
            for table in ("devices", "statistics", "verdicts", "verdict_counts", "limit_hits"):
                self._execute(f"DELETE FROM {table} WHERE device = ?", (name,))  # noqa: S608
        return names

    def count_hits(self, hits: Mapping[tuple[str, str], int], now: float) -> None:
        """Add how often limits were reached, by (device, limit); names that are not registered share one row."""
        for (device, limit), times in hits.items():
            self._execute(
                "INSERT INTO limit_hits VALUES (COALESCE((SELECT device FROM devices WHERE device = ?), ''), ?, ?, ?) "
                "ON CONFLICT (device, limit_name) DO UPDATE SET times = times + excluded.times, last = excluded.last",
                (device, limit, times, now),
            )

    def hits(self) -> list[tuple[str, str, int]]:
        """Return (device, limit, times); the device is empty for names that are not registered."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'limit_hits'"):
            return []  # an older gateway's, which is only read here
        rows = self._rows("SELECT device, limit_name, times FROM limit_hits ORDER BY device, limit_name")
        return [(row["device"], row["limit_name"], row["times"]) for row in rows]

    # statistics

    def keep_statistics(self, statistics: pb.ClassStatistics, digest: bytes, now: float) -> None:
        """Keep a device's class sums in place of what it sent before."""
        self._execute(
            "INSERT OR REPLACE INTO statistics VALUES (?, ?, ?, ?, ?)",
            (statistics.device, digest, statistics.counts, statistics.sums, now),
        )

    def statistics_digests(self) -> dict[str, bytes]:
        """Return the digest of each device's statistics; those of revoked devices count no more."""
        rows = self._rows(f"SELECT device, digest FROM statistics {COUNTING}")  # noqa: S608 - the clause is ours
        return {row["device"]: row["digest"] for row in rows}

    def statistics_digest(self, device: str) -> bytes | None:
        """Return the digest of one device's statistics."""
        rows = self._rows("SELECT digest FROM statistics WHERE device = ?", (device,))
        return bytes(rows[0]["digest"]) if rows else None

    def statistics(self) -> list[tuple[str, bytes, bytes]]:
        """Return (device, counts, sums), by device; those of revoked devices count no more."""
        rows = self._rows(f"SELECT device, counts, sums FROM statistics {COUNTING} ORDER BY device")  # noqa: S608
        return [(row["device"], row["counts"], row["sums"]) for row in rows]

    # rounds and plans

    def open_round(self, number: int, base_version: int, plans: Mapping[str, bytes], now: float) -> None:
        """Keep a new round and its plans: payload by device."""
        self._execute("INSERT INTO rounds (round, base_version, opened) VALUES (?, ?, ?)", (number, base_version, now))
        self.add_plans(number, plans)

    def add_plans(self, number: int, plans: Mapping[str, bytes]) -> None:
        """Keep further plans of a round; a device has one, and a second takes the place of the first."""
        for device, payload in sorted(plans.items()):
            values = (device, number, sha256(payload), payload)
            self._execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?, ?)", values)

    def extend_round(self, number: int) -> None:
        """Note that a round waits once more."""
        self._execute("UPDATE rounds SET extensions = extensions + 1 WHERE round = ?", (number,))

    def close_round(self, number: int, version: int, now: float) -> None:
        """Note what a round made."""
        self._execute("UPDATE rounds SET closed = ?, version = ? WHERE round = ?", (now, version, number))

    def keep_round(self, row: RoundRow) -> None:
        """Keep a round that this ledger did not know of, or its end."""
        self._execute(
            "INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?, ?)",
            (row.round, row.base_version, row.opened, row.closed, row.version, row.extensions),
        )

    def rounds(self) -> list[RoundRow]:
        """Return all rounds, oldest first."""
        return self._rounds("ORDER BY round")

    def rounds_from(self, base_version: int) -> list[RoundRow]:
        """Return the rounds whose plans were made from a version or a later one, oldest first."""
        return self._rounds("WHERE base_version >= ? ORDER BY round", (base_version,))

    def round(self, number: int) -> RoundRow | None:
        """Return a round."""
        return next(iter(self._rounds("WHERE round = ?", (number,))), None)

    def last_round(self) -> RoundRow | None:
        """Return the round that was opened last."""
        return next(iter(self._rounds("ORDER BY round DESC LIMIT 1")), None)

    def _rounds(self, where: str, values: Sequence[Any] = ()) -> list[RoundRow]:
        columns = "round, base_version, opened, closed, version, extensions"
        return [RoundRow(*row) for row in self._rows(f"SELECT {columns} FROM rounds {where}", values)]  # noqa: S608

    def plans(self, number: int) -> dict[str, bytes]:
        """Return the plans of a round as published, by device."""
        rows = self._rows("SELECT device, payload FROM plans WHERE round = ? ORDER BY device", (number,))
        return {row["device"]: row["payload"] for row in rows}

    def plan(self, device: str, digest: bytes) -> bytes | None:
        """Return the plan of a device with this digest."""
        rows = self._rows("SELECT payload FROM plans WHERE digest = ? AND device = ?", (digest, device))
        return bytes(rows[0]["payload"]) if rows else None

    # deltas and verdicts

    def accept(self, row: DeltaRow, now: float) -> None:
        """Keep an accepted delta."""
        blocks = json.dumps([[block.layer, block.index] for block in row.blocks])
        self._execute(
            "INSERT INTO deltas (device, round, digest, bytes, examples, loss_first, loss_last, step_ms, norms, blocks,"
            " accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.device, row.round, row.digest, row.bytes, row.examples, row.loss_first, row.loss_last, row.step_ms,
                json.dumps(dict(row.norms)), blocks, now,
            ),
        )  # fmt: skip
        self._execute("DELETE FROM lost WHERE device = ? AND round = ?", (row.device, row.round))

    def waiting(self) -> list[DeltaRow]:
        """Return the deltas that no version holds yet, in the order of folding."""
        return self._deltas("WHERE version IS NULL ORDER BY device, round")

    def oldest_waiting(self) -> int | None:
        """Return the first round with a delta that no version holds yet."""
        rows = self._rows("SELECT MIN(round) AS round FROM deltas WHERE version IS NULL")
        return None if rows[0]["round"] is None else int(rows[0]["round"])

    def deltas(self, number: int) -> list[DeltaRow]:
        """Return the accepted deltas of a round's plans."""
        return self._deltas("WHERE round = ? ORDER BY device", (number,))

    def recent_deltas(self, count: int) -> list[DeltaRow]:
        """Return the last accepted deltas, oldest first."""
        return self._deltas("ORDER BY accepted DESC, device LIMIT ?", (count,))[::-1]

    def _deltas(self, where: str, values: Sequence[Any] = ()) -> list[DeltaRow]:
        rows = self._rows(f"SELECT * FROM deltas {where}", values)  # noqa: S608 - the clauses are ours
        try:
            return [
                DeltaRow(
                    row["device"], row["round"], row["digest"], row["bytes"], row["examples"], row["loss_first"],
                    row["loss_last"], row["step_ms"], json.loads(row["norms"]),
                    tuple(ExpertId(layer, index) for layer, index in json.loads(row["blocks"])), row["version"],
                )
                for row in rows
            ]  # fmt: skip
        except (ValueError, TypeError) as error:
            raise DamagedError(f"{self.path} is damaged: a delta's row cannot be read ({error}); {ADVICE}") from error

    def trainers(self) -> list[str]:
        """Return the devices that had a delta accepted, also those whose deltas' rows were removed since."""
        query = "SELECT device FROM deltas UNION SELECT device FROM trained ORDER BY device"
        return [row["device"] for row in self._rows(query)]

    def delta_digests(self) -> list[bytes]:
        """Return the digest of every accepted delta whose row is kept."""
        return [bytes(row["digest"]) for row in self._rows("SELECT digest FROM deltas")]

    def accepted_digest(self, device: str, number: int) -> bytes | None:
        """Return the digest of the delta accepted for (device, round)."""
        rows = self._rows("SELECT digest FROM deltas WHERE device = ? AND round = ?", (device, number))
        return bytes(rows[0]["digest"]) if rows else None

    def spooled(self) -> list[DeltaRow]:
        """Return the deltas whose bodies are kept: those that wait, and those of the newest merge."""
        newest = "(SELECT version FROM versions WHERE reason = 'merge' ORDER BY version DESC LIMIT 1)"
        return self._deltas(f"WHERE version IS NULL OR version = {newest} ORDER BY version NOTNULL, device, round")

    def merged_into(self, version: int) -> list[DeltaRow]:
        """Return the deltas that are part of a version, in the order of folding."""
        return self._deltas("WHERE version = ? ORDER BY device, round", (version,))

    def merged_keys(self, version: int) -> set[tuple[str, int]]:
        """Return (device, round) of the deltas that are part of a version."""
        rows = self._rows("SELECT device, round FROM deltas WHERE version = ?", (version,))
        return {(row["device"], row["round"]) for row in rows}

    def lose(self, row: DeltaRow, now: float) -> None:
        """Take back that a delta was accepted: its body is gone, and the same body may come again."""
        self._execute("DELETE FROM deltas WHERE device = ? AND round = ?", (row.device, row.round))
        self._execute("DELETE FROM verdicts WHERE device = ? AND digest = ?", (row.device, row.digest))
        self._execute("INSERT OR REPLACE INTO lost VALUES (?, ?, ?, ?)", (row.device, row.round, row.digest, now))

    def lost(self) -> list[tuple[str, int, bytes]]:
        """Return (device, round, digest) of the deltas whose body is gone and did not come again."""
        rows = self._rows("SELECT device, round, digest FROM lost ORDER BY device, round")
        return [(row["device"], row["round"], bytes(row["digest"])) for row in rows]

    def forget_lost(self, before_round: int) -> None:
        """Ask no longer for the lost deltas of rounds before ``before_round``."""
        self._execute("DELETE FROM lost WHERE round < ?", (before_round,))

    def fold(self, rows: Sequence[DeltaRow], version: int) -> None:
        """Note that deltas are part of a version, and who has trained what."""
        for row in rows:
            self._execute(
                "UPDATE deltas SET version = ? WHERE device = ? AND round = ?", (version, row.device, row.round)
            )
            for block in row.blocks:
                self._execute(
                    "INSERT INTO trained VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                    (row.device, block.layer, block.index),
                )

    def leave_out(self, rows: Sequence[DeltaRow], now: float) -> None:
        """Note that deltas are part of no version, in their rows and in their verdicts, since a device was revoked."""
        for row in rows:
            self._execute(
                "UPDATE deltas SET version = ? WHERE device = ? AND round = ?", (LEFT_OUT, row.device, row.round)
            )
            self._execute(
                "UPDATE verdicts SET code = ?, detail = ?, at = ? WHERE device = ? AND digest = ?",
                (pb.REVOKED, "accepted, and left out of the merge: the operator removed this device before it", now,
                 row.device, row.digest),
            )  # fmt: skip

    def count_trained(self) -> None:
        """Count anew who has trained what, from the deltas that are part of versions and whose rows are kept.

        Who trained before these is still known to have trained.
        """
        times: dict[tuple[str, ExpertId], int] = {}
        for row in self._deltas("WHERE version >= 0"):
            for block in row.blocks:
                times[row.device, block] = times.get((row.device, block), 0) + 1
        self._execute("UPDATE trained SET times = 0")
        for (device, block), count in times.items():
            self._execute(
                "INSERT OR REPLACE INTO trained VALUES (?, ?, ?, ?)", (device, block.layer, block.index, count)
            )

    def trained(self) -> dict[tuple[str, ExpertId], int]:
        """Return how often each device's training of each block became part of a version."""
        rows = self._rows("SELECT device, layer, idx, times FROM trained")
        return {(row["device"], ExpertId(row["layer"], row["idx"])): row["times"] for row in rows}

    def decide(self, verdict: pb.Verdict, device: str, now: float) -> None:
        """Keep a final verdict, so that the same body gets it again, and count it."""
        new = self._execute(
            "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (device, verdict.digest, verdict.kind, verdict.code, verdict.detail, verdict.round, now),
        ).rowcount
        if new:
            self._execute(
                "INSERT INTO verdict_counts VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                (device, verdict.kind, verdict.code),
            )
        self._execute(
            "DELETE FROM verdicts WHERE device = ?1 AND digest NOT IN "
            "(SELECT digest FROM verdicts WHERE device = ?1 ORDER BY at DESC LIMIT ?2)",
            (device, VERDICTS_KEPT),
        )

    def verdict(self, device: str, digest: bytes) -> pb.Verdict | None:
        """Return the final verdict on a body of a device."""
        rows = self._rows("SELECT * FROM verdicts WHERE device = ? AND digest = ?", (device, digest))
        if not rows:
            return None
        row = rows[0]
        return pb.Verdict(kind=row["kind"], digest=digest, code=row["code"], detail=row["detail"], round=row["round"])

    # versions

    def append_version(self, row: VersionRow) -> None:
        """Keep a version."""
        self._execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.version, row.parent, row.digest, row.round, row.contributors, row.reason, row.created,
                row.payload, row.balance, row.residuals,
            ),
        )  # fmt: skip

    def mend_version(self, row: VersionRow) -> None:
        """Put a version's row in place of a damaged one."""
        self._execute("DELETE FROM versions WHERE version = ?", (row.version,))
        self.append_version(row)

    def versions(self) -> list[VersionRow]:
        """Return all versions, oldest first."""
        return self._versions("ORDER BY version")

    def first_versions(self) -> list[VersionRow]:
        """Return the versions up to the first that was merged, oldest first."""
        first = "(SELECT MIN(version) FROM versions WHERE reason = 'merge')"
        return self._versions(f"WHERE version <= COALESCE({first}, version) ORDER BY version")

    def newest_versions(self, count: int) -> list[VersionRow]:
        """Return the last versions, oldest first. Args: count: at most."""
        return self._versions("ORDER BY version DESC LIMIT ?", (count,))[::-1]

    def newest_merge(self) -> VersionRow | None:
        """Return the newest version that was merged from deltas."""
        return next(iter(self._versions("WHERE reason = 'merge' ORDER BY version DESC LIMIT 1")), None)

    def first_version_since(self, number: int) -> int:
        """Return the first version that a round made, of this round and those after it; 0 when there is none."""
        rows = self._rows("SELECT MIN(version) AS version FROM versions WHERE round > 0 AND round >= ?", (number,))
        return int(rows[0]["version"] or 0)

    def version_numbers(self) -> str:
        """Return the numbers of the last versions, for people."""
        numbers = [row["version"] for row in self._rows("SELECT version FROM versions ORDER BY version DESC LIMIT 20")]
        earlier = "earlier ones, " if len(numbers) == 20 and numbers[-1] > 0 else ""
        return earlier + (", ".join(str(number) for number in reversed(numbers)) or "none yet")

    def steps(self) -> list[int]:
        """Return the versions from which on a delta that was trained before is staler by one, ascending."""
        rows = self._rows("SELECT version FROM versions WHERE reason IN (?, ?) ORDER BY version", STEPS)
        return [int(row["version"]) for row in rows]

    def newest_balance(self) -> str | None:
        """Return the newest statistics of the auxiliary loss, as JSON; None before any."""
        rows = self._rows("SELECT balance FROM versions WHERE balance <> '' ORDER BY version DESC LIMIT 1")
        return str(rows[0]["balance"]) if rows else None

    def _versions(self, where: str, values: Sequence[Any] = ()) -> list[VersionRow]:
        return [VersionRow(*row) for row in self._rows(f"SELECT * FROM versions {where}", values)]  # noqa: S608

    def version(self, number: int | None = None) -> VersionRow | None:
        """Return a version, or the newest."""
        if number is None:
            rows = self._rows("SELECT * FROM versions ORDER BY version DESC LIMIT 1")
        else:
            rows = self._rows("SELECT * FROM versions WHERE version = ?", (number,))
        return VersionRow(*rows[0]) if rows else None

    def residual_rows(self) -> list[VersionRow]:
        """Return the versions whose residuals are kept: the parent of the newest merge, to make it again, and that."""
        newest = "(SELECT MAX(version) FROM versions WHERE reason = 'merge')"
        statement = (
            f"SELECT * FROM versions WHERE version = {newest} "  # noqa: S608 - the clauses are ours
            f"OR version = (SELECT parent FROM versions WHERE version = {newest}) ORDER BY version"
        )
        return [VersionRow(*row) for row in self._rows(statement)]

    def keep_evaluation(self, version: int, data: str, figures: tuple[float, float, int], now: float) -> None:
        """Keep (accuracy, macro-F1, examples) of a version on a data file."""
        self._execute("INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?)", (version, data, *figures, now))

    def keep_text_evaluation(self, version: int, data: str, figures: tuple[float, int], now: float) -> None:
        """Keep (mean loss of a token, tokens) of a version on a file of text."""
        self._execute("INSERT OR REPLACE INTO text_evaluations VALUES (?, ?, ?, ?, ?)", (version, data, *figures, now))

    def text_evaluations(self) -> list[dict[str, Any]]:
        """Return what was measured of texts, by version."""
        return [dict(row) for row in self._rows("SELECT * FROM text_evaluations ORDER BY version, data")]

    def evaluations(self) -> list[dict[str, Any]]:
        """Return what was measured of labels, by version."""
        return [dict(row) for row in self._rows("SELECT * FROM evaluations ORDER BY version, data")]

    def accuracies(self, data: str) -> dict[int, float]:
        """Return the accuracy on a data file by version, of those that were measured on it."""
        rows = self._rows("SELECT version, accuracy FROM evaluations WHERE data = ?", (data,))
        return {row["version"]: row["accuracy"] for row in rows}


def read_hello(device: str, payload: bytes) -> pb.Hello:
    """Read a Hello; a damaged one says no more than who it was, until the device says it again."""
    try:
        return decode(pb.Hello, payload)
    except WireError:
        return pb.Hello(device=device)
