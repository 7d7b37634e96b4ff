"""Catching up with the gateway's versions: when to ask for what they lack, and the newest, once it is complete."""

from __future__ import annotations

from typing import Final

from edge_runtime.federation.at_hand import AtHand
from edge_runtime.federation.fetch import Fetcher
from edge_runtime.federation.link import Arrived
from edge_runtime.federation.report import Report
from edge_runtime.federation.timers import Timers
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import BankError

RELEASE_S: Final = 0.25
"""How long topics of blobs that came are listened to, at most: another device may ask for the same blob."""
PIECES_S: Final = 2.0
"""How long a blob is on its way before its pieces are written down."""


class CatchingUp:
    """Has the newest version fetched, and those that plans at hand start from.

    Args:
        work: the plans at hand, and the versions.
        fetcher: asks for blobs.
        timers: "want", "release" and "pieces" among them.
        report: where events are told.
    """

    def __init__(self, work: AtHand, fetcher: Fetcher, *, timers: Timers, report: Report) -> None:
        self._work, self._versions, self._fetcher = work, work.versions, fetcher
        self._timers, self._report = timers, report

    def take_version(self, payload: bytes) -> None:
        """Take the announcement of a version.

        Raises:
            WireError: when the bytes are none, or it is not for this federation.
        """
        version = self._versions.announce(payload)
        self._work.let_go(version.round)
        self._work.masks.let_go(version.round)
        self._report.emit(
            "version_announced",
            version=version.version,
            round=version.round,
            missing=len(self._versions.missing(version)),
        )

    def take_blob(self, event: Arrived) -> bool:
        """Take a chunk of a blob; return whether it was asked for.

        Raises:
            WireError: when the bytes are no chunk, or do not fit those before.
        """
        if not self._fetcher.take(event.address.name, event.payload):
            return False
        self._timers.stop("want")
        self._timers.again("want", self._fetcher.again_s)
        if self._fetcher.partial and not self._timers.running("pieces"):
            self._timers.again("pieces", PIECES_S)
        if self._fetcher.leaving and not self._timers.running("release"):
            self._timers.again("release", RELEASE_S)
        return True

    def take_verdict(self, verdict: pb.Verdict) -> None:
        """What the gateway published before this verdict is here now, or will not come: ask for the rest."""
        if verdict.retry_after_s > 0:
            self._fetcher.again_s = verdict.retry_after_s
            self._timers.stop("want")
            self._timers.again("want", verdict.retry_after_s)

    def fetch(self, *, member: bool, again: bool = False) -> None:
        """Note when the newest version became complete; ask for what is missing.

        Args:
            member: the gateway knows this device; else nothing is asked for.
            again: ask also for what was asked for before.
        """
        lists, others = self._work.missed_versions(), self._work.wanted_versions
        wanted = [*self._work.masks.wanted(), *lists, *self._fetcher.wanted(others)]
        if not wanted:
            self._timers.stop("want")
        if self._adopt(others):
            number = self._versions.newest.version if self._versions.newest else 0
            self._report.emit("version", f"version {number} is here", version=number)
        if member and self._fetcher.ask(wanted, again=again):
            self._timers.again("want")

    def ask_again(self) -> None:
        """As a member: ask again, since answers stayed away."""
        if not self._fetcher.again_s:  # else it was told to ask again
            self._versions.unanswered()
        self.fetch(member=True, again=True)

    def _adopt(self, others: list[bytes]) -> bool:
        try:
            return self._versions.adopt_newest(others)
        except BankError as error:
            self._report.emit("ignored", f"{error}; the version before stays", topic="version", reason=str(error))
            return False
