"""What the ledger keeps of deltas: those accepted, those lost since, who has trained what, and the final verdicts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from broker_server.errors import DamagedError
from broker_server.state.database import ADVICE, Database
from broker_server.state.rows import LEFT_OUT, DeltaRow
from broker_server.state.version_tables import LAST_MERGES, ROLLED_BACK
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId

VERDICTS_KEPT = 64
"""For each device: a hostile one must not fill the disk with refusals."""


class DeltaTables(Database):
    """Deltas and verdicts."""

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

    def buffered(self) -> int:
        """Return how many accepted deltas wait for a version, without those of devices that are revoked."""
        query = (
            "SELECT COUNT(*) AS number FROM deltas WHERE version IS NULL "
            "AND device NOT IN (SELECT device FROM devices WHERE revoked = 1)"
        )
        return int(self._rows(query)[0]["number"])

    def deltas(self, number: int) -> list[DeltaRow]:
        """Return the accepted deltas of a round's plans."""
        return self._deltas("WHERE round = ? ORDER BY device", (number,))

    def recent_deltas(self, count: int) -> list[DeltaRow]:
        """Return the last accepted deltas, oldest first, without those in versions that were gone back from."""
        gone = "SELECT 1 FROM versions AS back WHERE back.reason = ? AND deltas.version > back.parent"
        where = f"WHERE NOT EXISTS ({gone} AND deltas.version < back.version) ORDER BY accepted DESC, device LIMIT ?"
        return self._deltas(where, (ROLLED_BACK, count))[::-1]

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
        """Return the deltas whose bodies are kept: those that wait, and those of the last merges."""
        return self._deltas(
            f"WHERE version IS NULL OR version IN ({LAST_MERGES}) ORDER BY version NOTNULL, device, round"
        )

    def merged_into(self, version: int) -> list[DeltaRow]:
        """Return the deltas that are part of a version, in the order of folding."""
        return self._deltas("WHERE version = ? ORDER BY device, round", (version,))

    def first_version_with(self, number: int) -> int | None:
        """Return the first version that deltas of a round, or of those after it, are part of; None: of none."""
        rows = self._rows("SELECT MIN(version) AS version FROM deltas WHERE round >= ? AND version > 0", (number,))
        return None if rows[0]["version"] is None else int(rows[0]["version"])

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

    def fold(self, rows: Sequence[DeltaRow], version: int, distrusted: Collection[str] = ()) -> None:
        """Note that deltas are part of a version, and who has trained what.

        Args:
            rows: of the deltas.
            version: its number.
            distrusted: devices whose training is not in its bank, and counts for no expert.
        """
        for row in rows:
            self._execute(
                "UPDATE deltas SET version = ? WHERE device = ? AND round = ?", (version, row.device, row.round)
            )
            for block in row.blocks if row.device not in distrusted else ():
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

    def drop_masked(self, number: int, kept: Collection[str] = ()) -> None:
        """Note that deltas under masks of a round are part of no version: it failed, or they are in none of its sums.

        Args:
            number: of the round.
            kept: devices whose deltas are.
        """
        for row in self._deltas("WHERE round = ? AND version IS NULL", (number,)):
            if row.device not in kept:
                values = (LEFT_OUT, row.device, row.round)
                self._execute("UPDATE deltas SET version = ? WHERE device = ? AND round = ?", values)

    def put_aside(self, rows: Sequence[DeltaRow]) -> None:
        """Note that deltas are part of no version: the sum that they were for is not wanted any more."""
        for row in rows:
            self._execute(
                "UPDATE deltas SET version = ? WHERE device = ? AND round = ?", (LEFT_OUT, row.device, row.round)
            )

    def count_trained(self, distrusted: Mapping[int, Collection[str]]) -> None:
        """Count anew who has trained what, from the deltas that are part of versions and whose rows are kept.

        Who trained before these is still known to have trained.

        Args:
            distrusted: by version, see ``fold``.
        """
        times: dict[tuple[str, ExpertId], int] = {}
        for row in self._deltas("WHERE version >= 0"):
            unheard = row.version is not None and row.device in distrusted.get(row.version, ())
            for block in row.blocks if not unheard else ():
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

    def trained_by(self, devices: Iterable[str]) -> dict[tuple[str, ExpertId], int]:
        """Return the same of some devices."""
        query = "SELECT layer, idx, times FROM trained WHERE device = ?"
        return {
            (device, ExpertId(row["layer"], row["idx"])): row["times"]
            for device in devices
            for row in self._rows(query, (device,))
        }

    def trainers_by_block(self) -> dict[ExpertId, tuple[int, int]]:
        """Return (devices, times) of each block whose training became part of a version."""
        query = "SELECT layer, idx, COUNT(*) AS devices, SUM(times) AS times FROM trained GROUP BY layer, idx"
        return {ExpertId(row["layer"], row["idx"]): (row["devices"], row["times"]) for row in self._rows(query)}

    # verdicts

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
