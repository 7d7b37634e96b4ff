"""What views ask the ledger: read only, also while a gateway writes, and bounded: never all of a history.

A ledger of an older gateway is read as it is: what it does not count yet is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from broker_server.state.device_tables import read_hello
from broker_server.state.kept_manifest import kept_manifest
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.rows import RoundRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.manifest import Architecture
from edge_runtime.wire.mask_checks import knows_masks


@dataclass(frozen=True)
class RoundDeltas:
    """The accepted deltas of one round. Args: loss_first, loss_last: means over devices."""

    count: int
    bytes: int
    examples: int
    loss_first: float
    loss_last: float


class Readings(Ledger):
    """A ledger, opened for reading."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Open the ledger of a state directory.

        Raises:
            StateError: when there is none.
        """
        return cls(folder / NAME, read_only=True)

    def architecture(self) -> Architecture:
        """Return the federation of this state.

        Raises:
            StateError: when the ledger names none.
            DamagedError: when it cannot be read.
        """
        return kept_manifest(self, self.path.parent).architecture

    def count(self, table: str) -> int:
        """Return how many rows "devices", "rounds" or "versions" has."""
        return int(self._rows(f"SELECT COUNT(*) AS number FROM {table}")[0]["number"])  # noqa: S608 - a name of ours

    # devices

    def device_totals(self) -> dict[str, int]:
        """Return how many devices are "known", "present" and "revoked", and their "bytes_up" and "bytes_down"."""
        sums = ", ".join(
            f"COALESCE(SUM({key}), 0) AS {key}" for key in ("present", "revoked", "bytes_up", "bytes_down")
        )
        return dict(self._rows(f"SELECT COUNT(*) AS known, {sums} FROM devices")[0])  # noqa: S608 - keys of ours

    def without_masks(self, version: int, *, signed: bool = False) -> list[str]:
        """Return the devices, by name, that are not revoked and whose last Hello knows no sums under masks.

        Args:
            version: of the rules for them that plans need.
            signed: whether their keys have to be signed.
        """
        hellos = {row["device"]: row["hello"] for row in self.devices() if not row["revoked"]}
        return [name for name, hello in hellos.items() if not knows_masks(hello, version, signed=signed)]

    def last_seen_devices(self, count: int) -> list[str]:
        """Return the names of the devices that were seen last, by name. Args: count: at most."""
        rows = self._rows("SELECT device FROM devices ORDER BY last_seen DESC, device LIMIT ?", (count,))
        return sorted(str(row["device"]) for row in rows)

    def device(self, name: str) -> dict[str, Any] | None:
        """Return the row of a device, with its Hello."""
        rows = self._rows("SELECT * FROM devices WHERE device = ?", (name,))
        return {**dict(rows[0]), "hello": read_hello(name, rows[0]["hello"])} if rows else None

    def step_ms(self, device: str) -> float:
        """Return the milliseconds of a step in a device's last accepted delta; 0 before one."""
        rows = self._rows("SELECT step_ms FROM deltas WHERE device = ? ORDER BY round DESC LIMIT 1", (device,))
        return float(rows[0]["step_ms"]) if rows else 0.0

    def blocks_trained(self, device: str) -> int:
        """Return how often a block that a device trained became part of a version."""
        rows = self._rows("SELECT COALESCE(SUM(times), 0) AS times FROM trained WHERE device = ?", (device,))
        return int(rows[0]["times"])

    # verdicts and limits

    def verdicts(self, device: str | None = None) -> dict[str, int]:
        """Return how many final verdicts on deltas had each code, by its name ("ACCEPTED", "STALE").

        Args:
            device: of this one; None: of all, those that were forgotten included.
        """
        if not self._has("verdict_counts"):
            return {}
        where, values = ("AND device = ?", (pb.DELTA, device)) if device is not None else ("", (pb.DELTA,))
        rows = self._rows(
            f"SELECT code, SUM(times) AS times FROM verdict_counts WHERE kind = ? {where} "  # noqa: S608
            "GROUP BY code ORDER BY times DESC, code",
            values,
        )
        return {_code(row["code"]): int(row["times"]) for row in rows}

    def limits_hit(self, device: str | None = None) -> dict[str, int]:
        """Return how often each limit was reached. Args: device: by this one; None: by all, unknown names included."""
        if not self._has("limit_hits"):
            return {}
        where, values = ("WHERE device = ?", (device,)) if device is not None else ("", ())
        rows = self._rows(
            f"SELECT limit_name, SUM(times) AS times FROM limit_hits {where} "  # noqa: S608
            "GROUP BY limit_name ORDER BY times DESC, limit_name",
            values,
        )
        return {row["limit_name"]: int(row["times"]) for row in rows}

    def _has(self, table: str) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))

    # rounds

    def newest_rounds(self, count: int) -> list[RoundRow]:
        """Return the last rounds, oldest first. Args: count: at most."""
        return self._rounds("ORDER BY round DESC LIMIT ?", (count,))[::-1]

    def planned_devices(self, number: int) -> list[str]:
        """Return whom a round planned for, by name."""
        return [
            row["device"] for row in self._rows("SELECT device FROM plans WHERE round = ? ORDER BY device", (number,))
        ]

    def answered_devices(self, number: int) -> list[str]:
        """Return whose delta of a round was accepted, by name."""
        rows = self._rows("SELECT device FROM deltas WHERE round = ? ORDER BY device", (number,))
        return [row["device"] for row in rows]

    def planned_counts(self, first: int, last: int) -> dict[int, int]:
        """Return how many plans rounds have whose plans are kept. Args: first, last: rounds, both included."""
        query = "SELECT round, COUNT(*) AS number FROM plans WHERE round BETWEEN ? AND ? GROUP BY round"
        return {row["round"]: row["number"] for row in self._rows(query, (first, last))}

    def deltas_of_rounds(self, first: int, last: int) -> dict[int, RoundDeltas]:
        """Return what rounds had accepted, where their deltas are kept. Args: first, last: rounds, both included."""
        query = (
            "SELECT round, COUNT(*), SUM(bytes), SUM(examples), AVG(loss_first), AVG(loss_last) FROM deltas "
            "WHERE round BETWEEN ? AND ? GROUP BY round"
        )
        return {row[0]: RoundDeltas(*row[1:]) for row in self._rows(query, (first, last))}

    def at_work(self) -> list[str]:
        """Return the devices whose newest plan has no accepted delta, by name."""
        query = (
            "SELECT device FROM (SELECT device, MAX(round) AS round FROM plans GROUP BY device) AS newest "
            "WHERE NOT EXISTS (SELECT 1 FROM deltas AS sent "
            "WHERE sent.device = newest.device AND sent.round = newest.round) ORDER BY device"
        )
        return [row["device"] for row in self._rows(query)]

    def late_deltas(self, number: int) -> int:
        """Return how many accepted deltas wait for a version that are of other rounds than this one."""
        query = "SELECT COUNT(*) AS number FROM deltas WHERE version IS NULL AND round <> ?"
        return int(self._rows(query, (number,))[0]["number"])

    # versions

    def evaluations_between(self, first: int, last: int) -> list[dict[str, Any]]:
        """Return what was measured of versions, oldest version first. Args: first, last: versions, both included."""
        return self._measured("WHERE version BETWEEN ? AND ? ORDER BY version, at", (first, last))

    def newest_evaluation(self) -> dict[str, Any] | None:
        """Return the last measurement of the newest version that was measured."""
        rows = self._measured("WHERE version = (SELECT MAX(version) FROM {table}) ORDER BY at DESC LIMIT 1")
        return max(rows, key=lambda row: (row["version"], row["at"]), default=None)

    def _measured(self, clause: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return rows of labels and of text. Args: clause: of SQL, with {table} for the one that is asked."""
        tables = ("evaluations", "text_evaluations")
        queries = [f"SELECT * FROM {table} {clause.format(table=table)}" for table in tables]  # noqa: S608
        return [dict(row) for query in queries for row in self._rows(query, values)]


def _code(number: int) -> str:
    try:
        return pb.Code.Name(pb.Code.ValueType(number))
    except ValueError:  # of a newer gateway
        return f"CODE_{number}"
