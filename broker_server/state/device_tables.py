"""What the ledger keeps by device: its Hello, its traffic, the limits that it reached, its class sums, its trust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker_server.state.database import Database
from broker_server.state.rows import TrustRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import decode

COUNTING: Final = "WHERE device NOT IN (SELECT device FROM devices WHERE revoked = 1)"


class DeviceTables(Database):
    """Devices, the limits that they reached, their class statistics, and how far they are trusted."""

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
        """Remove a device, or take it back; return whether it is registered. Its trust goes: it begins anew."""
        self._execute("DELETE FROM trust WHERE device = ?", (device,))
        return self._execute("UPDATE devices SET revoked = ? WHERE device = ?", (int(revoked), device)).rowcount > 0

    def registered(self, device: str) -> bool:
        """Return whether a device said Hello before."""
        return bool(self._rows("SELECT 1 FROM devices WHERE device = ?", (device,)))

    def forget_idle(self, keep: int) -> tuple[list[str], int]:
        """Forget names that never had a delta accepted and are not here.

        Args:
            keep: so many stay, those with class sums first, then those seen last.

        Returns:
            The names that were forgotten, and how many more may leave before another one is.
        """
        idle = (
            "FROM devices AS one WHERE present = 0 AND revoked = 0 "
            "AND NOT EXISTS (SELECT 1 FROM deltas WHERE deltas.device = one.device) "
            "AND NOT EXISTS (SELECT 1 FROM trained WHERE trained.device = one.device) "
            "AND NOT EXISTS (SELECT 1 FROM trust WHERE trust.device = one.device)"
        )
        number = int(self._rows(f"SELECT COUNT(*) AS number {idle}")[0]["number"])
        if number <= keep:
            return [], keep - number
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
        return names, 0

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

    def keep_statistics(self, statistics: pb.ClassStatistics | pb.PartialStatistics, digest: bytes, now: float) -> None:
        """Keep the class sums of a device, or of a site in float64, in place of what it sent before."""
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

    # trust

    def trust(self) -> list[TrustRow]:
        """Return how far devices are trusted whose directions were compared, by name."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'trust'"):
            return []  # an older gateway's, which is only read here
        return [TrustRow(*row) for row in self._rows("SELECT device, trust, left_out_since FROM trust ORDER BY device")]

    def distrusted(self) -> frozenset[str]:
        """Return the devices whose deltas were not merged when they sent the last."""
        return frozenset(row.device for row in self.trust() if row.left_out_since is not None)

    def keep_trust(self, rows: Iterable[TrustRow]) -> None:
        """Keep the trust of devices in place of what it was; not of those that the operator removed meanwhile."""
        for row in rows:
            self._execute(
                "INSERT OR REPLACE INTO trust SELECT ?1, ?2, ?3 "
                "WHERE NOT EXISTS (SELECT 1 FROM devices WHERE device = ?1 AND revoked = 1)",
                (row.device, row.trust, row.left_out_since),
            )


def read_hello(device: str, payload: bytes) -> pb.Hello:
    """Read a Hello; a damaged one says no more than who it was, until the device says it again."""
    try:
        return decode(pb.Hello, payload)
    except WireError:
        return pb.Hello(device=device)
