"""Where a federation stands: the gateway, its newest version, the last round, devices, bytes, refusals, disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_server.rules.gate import Decision
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.state.moments import notes_of
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.state.readings import Readings
from broker_server.state.rows import TrustRow
from broker_server.state.settings_table import ENGINE, UPSTREAM_LOOK
from broker_server.views.disk import Disk, disk
from broker_server.views.evaluations import Evaluation
from broker_server.views.liveness import Liveness, liveness
from broker_server.views.masks import read_masks
from broker_server.views.wording import instant


@dataclass(frozen=True)
class LastRound:
    """The round that was opened last.

    Args:
        number: from 1; 0: there was none yet.
        open: whether it runs.
        opened_at: seconds since 1970.
        planned, answered, revoked: names of devices: with a plan, with an accepted delta, removed by the operator; with
            a buffer planned are those at work, whatever the round of their plan.
    """

    number: int = 0
    open: bool = False
    opened_at: float = 0.0
    planned: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    revoked: frozenset[str] = frozenset()

    @property
    def awaited(self) -> tuple[str, ...]:
        """The devices whose delta is to come."""
        over = {*self.answered, *self.revoked}
        return tuple(name for name in self.planned if name not in over) if self.open else ()


@dataclass(frozen=True)
class Status:
    """Everything that ``broker_server status`` tells.

    Args:
        folder: the state directory.
        now: when this was read, seconds since 1970.
        gateway: "running", "stuck" or "stopped".
        liveness: whether a process holds the directory, and when it last noted that it is alive.
        facts: of the gateway's last start; None where an older release made it.
        backbone, federation_digest: of the federation.
        version, version_at: the newest version that devices get, and when it was made; None before there is one.
        held: number of the version that is being measured before devices get it; None: there is none.
        gate: the last decision on a version; None: none yet.
        evaluation: of the newest version that was measured.
        merging: how deltas become versions, where that is no weighted mean, in words.
        engine: what merges: "kind" and, of shards, how each is (``ray_engine.ShardState``); empty: of an older release.
        upstream: of a site: "url" of the gateway above, its name there ("site"), "state", "detail", and "round" of the
            last sum that was taken; empty: this gateway is no site.
        privacy: what [privacy] counted so far (``PrivacyAccount.told``); empty: nothing was promised.
        secure: what the gateway could see of single devices (``views.masks``); empty: rounds do not go under masks.
        distrusted: devices that are left out of merges: their updates point away from the others'.
        round: the last.
        late: accepted deltas of other rounds that wait for a version.
        buffered: accepted deltas that wait for a version; buffer: how many are merged, 0 in rounds.
        devices, here, revoked: known by name; of them connected; removed by the operator.
        bytes_up, bytes_down: of all devices since the state began.
        verdicts: final verdicts on deltas by code ("ACCEPTED", "STALE"), since the state began.
        limits: how often each limit was reached, likewise.
        disk: of the state directory.
    """

    folder: Path
    now: float
    gateway: str
    liveness: Liveness
    facts: GatewayFacts | None
    backbone: str
    federation_digest: str
    version: int | None
    version_at: float | None
    held: int | None
    gate: Decision | None
    evaluation: Evaluation | None
    merging: str
    engine: Mapping[str, Any]
    upstream: Mapping[str, Any]
    privacy: Mapping[str, Any]
    secure: Mapping[str, Any]
    distrusted: tuple[TrustRow, ...]
    round: LastRound
    late: int
    buffered: int
    devices: int
    here: int
    revoked: int
    bytes_up: int
    bytes_down: int
    verdicts: dict[str, int]
    limits: dict[str, int]
    disk: Disk

    @property
    def buffer(self) -> int:
        """How many deltas are merged at a time, as soon as they came; 0: it works in rounds."""
        return self.facts.buffer if self.facts else 0

    @property
    def works(self) -> bool:
        """Whether a gateway is running."""
        return self.gateway == "running"

    @property
    def accepted(self) -> int:
        """Accepted deltas since the state began."""
        return self.verdicts.get("ACCEPTED", 0)

    @property
    def refusals(self) -> dict[str, int]:
        """Refused deltas by code, since the state began."""
        return {code: times for code, times in self.verdicts.items() if code != "ACCEPTED"}

    def plain(self) -> dict[str, Any]:
        """Return it for JSON; times as "2026-11-29T18:05:00Z"."""
        return {
            "gateway": self.gateway,
            "running": self.liveness.held,
            "alive": instant(self.liveness.alive_at),
            "started": instant(self.facts.started) if self.facts else None,
            "url": self.facts.url if self.facts else None,
            "page": (self.facts.page or None) if self.facts else None,
            "quorum": self.facts.quorum if self.facts else None,
            "rounds_planned": self.facts.rounds if self.facts else None,
            "state": str(self.folder),
            "backbone": self.backbone,
            "federation_digest": self.federation_digest,
            "version": self.version,
            "version_made": instant(self.version_at) if self.version_at is not None else None,
            "held": self.held,
            "gate": {"version": self.gate.version, **self.gate.plain()} if self.gate else None,
            "evaluation": {"version": self.evaluation.version, **self.evaluation.plain()} if self.evaluation else None,
            "merging": self.merging or None,
            "engine": dict(self.engine) or None,
            "upstream": dict(self.upstream) or None,
            "privacy": dict(self.privacy) or None,
            "secure": dict(self.secure) or None,
            "distrusted": {row.device: row.left_out_since for row in self.distrusted},
            "round": self.round.number,
            "round_open": self.round.open,
            "planned": list(self.round.planned),
            "answered": list(self.round.answered),
            "late": self.late,
            "buffer": self.buffer,
            "buffered": self.buffered,
            "devices": self.devices,
            "devices_here": self.here,
            "devices_revoked": self.revoked,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "accepted": self.accepted,
            "refusals": self.refusals,
            "limits": self.limits,
            "disk": self.disk.plain(),
        }


def read_status(ledger: Readings, now: float) -> Status:
    """Read where a federation stands. Args: ledger: of its state directory; now: seconds since 1970.

    Raises:
        StateError: when the ledger cannot be read.
    """
    folder = ledger.path.parent
    alive = liveness(folder)
    architecture, version, totals = ledger.architecture(), ledger.served(), ledger.device_totals()
    held = ledger.held()
    measured = ledger.newest_evaluation()
    facts = GatewayFacts.read(ledger)
    last = _last_round(ledger, with_buffer=facts is not None and facts.buffer > 0)
    return Status(
        folder=folder,
        now=now,
        gateway=alive.state(now),
        liveness=alive,
        facts=facts,
        backbone=architecture.backbone.name,
        federation_digest=architecture.digest().hex(),
        version=version.version if version else None,
        version_at=version.created if version else None,
        held=held.version if held else None,
        gate=ledger.newest_decision(),
        evaluation=Evaluation.of(measured) if measured else None,
        merging=notes_of(version).rules.words() if version else "",
        engine=json.loads(ledger.get(ENGINE) or "{}"),
        upstream=json.loads(ledger.get(UPSTREAM_LOOK) or "{}"),
        privacy=_privacy(folder),
        secure=_masks(ledger, facts),
        distrusted=tuple(row for row in ledger.trust() if row.left_out_since is not None),
        round=last,
        late=ledger.late_deltas(last.number),
        buffered=ledger.buffered(),
        devices=totals["known"],
        here=totals["present"] if alive.held else 0,
        revoked=totals["revoked"],
        bytes_up=totals["bytes_up"],
        bytes_down=totals["bytes_down"],
        verdicts=ledger.verdicts(),
        limits=ledger.limits_hit(),
        disk=disk(folder),
    )


def _masks(ledger: Readings, facts: GatewayFacts | None) -> Mapping[str, Any]:
    if facts is None:
        return read_masks(ledger, enabled=False)
    return read_masks(ledger, enabled=facts.secure, private=facts.private, signed=facts.signed)


def _privacy(folder: Path) -> Mapping[str, Any]:
    account = PrivacyAccount.read(folder)
    return account.told if account is not None else {}


def _last_round(ledger: Readings, *, with_buffer: bool) -> LastRound:
    row = ledger.last_round()
    if row is None:
        return LastRound()
    revoked = frozenset(ledger.revoked_devices())
    if with_buffer:  # rounds overlap
        return LastRound(row.round, row.closed is None, row.opened, tuple(ledger.at_work()), (), revoked)
    planned, answered = ledger.planned_devices(row.round), ledger.answered_devices(row.round)
    return LastRound(row.round, row.closed is None, row.opened, tuple(planned), tuple(answered), revoked)
