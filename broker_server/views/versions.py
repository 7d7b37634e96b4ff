"""The last versions: where each comes from, what it is worth, what of the bank it changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from broker_server.rules.gate import Decision
from broker_server.state.readings import Readings
from broker_server.state.rows import VersionRow
from broker_server.views.evaluations import Evaluation
from broker_server.views.wording import instant
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.messages import block_digests, decode
from edge_runtime.wire.updates import update_bytes


@dataclass(frozen=True)
class Version:
    """One version of the bank.

    Args:
        number: counted from 0.
        parent: number of the version that it was made from; None: it is the package's initial bank.
        digest: SHA-256, in hex.
        reason: what made it: "initial" (the package's bank), "head" (started from class means), "merge", "rollback", or
            "gate" (an earlier version again, as the one between was not good enough to be served).
        round: in which it was made; 0: in none.
        contributors: number of deltas (for a head: of devices) that went into it.
        made_at: seconds since 1970.
        changed_blocks, changed_bytes: how much differs from its parent, and what a device that has the parent fetches;
            None where the parent is not known.
        evaluations: its measurements, oldest first.
        gate: what the gate decided on it (``[gate]`` in the settings); None: nothing.
        held: whether it waits for that decision.
    """

    number: int
    parent: int | None
    digest: str
    reason: str
    round: int
    contributors: int
    made_at: float
    changed_blocks: int | None
    changed_bytes: int | None
    evaluations: tuple[Evaluation, ...]
    gate: Decision | None = None
    held: bool = False

    @property
    def served(self) -> bool:
        """Whether devices can get it, or could once."""
        return not self.held and (self.gate is None or self.gate.served)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "version": self.number,
            "parent": self.parent,
            "digest": self.digest,
            "reason": self.reason,
            "round": self.round,
            "contributors": self.contributors,
            "created": instant(self.made_at),
            "changed_blocks": self.changed_blocks,
            "changed_bytes": self.changed_bytes,
            "evaluations": [one.plain() for one in self.evaluations],
            "served": self.served,
            "gate": self.gate.plain() if self.gate else None,
        }


@dataclass(frozen=True)
class Versions:
    """The last of them.

    Args:
        total: versions that the ledger knows.
        rows: the last of them, oldest first.
        figure: the one that stands for a version in a table, as in Evaluation.
        bank_bytes: of one whole bank as float32.
    """

    total: int
    rows: tuple[Version, ...]
    figure: str
    bank_bytes: int

    def plain(self) -> dict[str, Any]:
        """Return them for JSON."""
        return {"total": self.total, "bank_bytes": self.bank_bytes, "versions": [row.plain() for row in self.rows]}


def read_versions(ledger: Readings, newest: int = 20) -> Versions:
    """Read the last versions. Args: ledger: of a state directory; newest: at most so many.

    Raises:
        StateError: when the ledger cannot be read.
    """
    architecture = ledger.architecture()
    shape, rows = architecture.bank_shape, ledger.newest_versions(newest)
    measured: dict[int, list[Evaluation]] = {}
    if rows:
        for evaluation in ledger.evaluations_between(rows[0].version, rows[-1].version):
            measured.setdefault(evaluation["version"], []).append(Evaluation.of(evaluation))
    digests = {row.version: _digests(row) for row in rows}
    parents = {row.parent for row in rows if row.parent is not None} - digests.keys()
    digests |= {number: _digests(ledger.version(number)) for number in parents}
    decided = {one.version: one for one in ledger.decisions_between(rows[0].version, rows[-1].version)} if rows else {}
    held = ledger.held()
    views = (
        replace(
            _view(row, digests, shape, tuple(measured.get(row.version, ()))),
            gate=decided.get(row.version),
            held=held is not None and held.version == row.version,
        )
        for row in rows
    )
    figure = "perplexity" if architecture.task == CAUSAL_LM else "accuracy"
    return Versions(ledger.count("versions"), tuple(views), figure, sum(4 * shape.size(block) for block in shape.ids()))


def _digests(row: VersionRow | None) -> dict[ExpertId, bytes]:
    """Return the digest of each block; nothing of a version that is gone or damaged (verify tells of that)."""
    try:
        return dict(block_digests(decode(pb.Version, row.payload))) if row is not None else {}
    except WireError:
        return {}


def _fetched(row: VersionRow, before: dict[ExpertId, bytes], changed: list[ExpertId], shape: BankShape) -> int:
    """Return the bytes of changed blocks to a device that has those of ``before``."""
    listed = {ExpertId(one.layer, one.index): one.updates for one in decode(pb.Version, row.payload).blocks}
    steps = {block for block in changed if listed[block] and listed[block][0].base == before.get(block)}
    sizes = ((block, shape.size(block)) for block in changed)
    return sum(update_bytes(size) if block in steps else 4 * size for block, size in sizes)


def _view(
    row: VersionRow, digests: dict[int, dict[ExpertId, bytes]], shape: BankShape, measured: tuple[Evaluation, ...]
) -> Version:
    own, before = digests[row.version], digests.get(row.parent) if row.parent is not None else None
    changed = [block for block, digest in own.items() if before.get(block) != digest] if before and own else None
    return Version(
        number=row.version,
        parent=row.parent,
        digest=row.digest.hex(),
        reason=row.reason,
        round=row.round,
        contributors=row.contributors,
        made_at=row.created,
        changed_blocks=len(changed) if changed is not None else None,
        changed_bytes=_fetched(row, before, changed, shape) if before is not None and changed is not None else None,
        evaluations=measured,
    )
