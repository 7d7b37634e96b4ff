"""Membership: what a device says about itself, and what the gateway answers to that.

Nothing here changes the session: methods say which of its events follows, and the device applies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from edge_runtime.federation.at_hand import AtHand
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.link import Link
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import Event
from edge_runtime.federation.timers import Timers
from edge_runtime.federation.upload import Upload
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import code_name
from edge_runtime.wire.topics import Topic

_FINAL_CODES: Final = (pb.WRONG_FEDERATION, pb.REVOKED, pb.UNSUPPORTED_WIRE)
"""Refusals of the device itself, whatever it sent."""
_DETAIL_CHARACTERS: Final = 300
UNANSWERED: Final = (3, 10, 30, 100)
"""Numbers of Hellos without an answer at which that is told."""


@dataclass(frozen=True)
class Identity:
    """What this device tells about itself.

    Args:
        package_digest: of its package.
        sums: class statistics of its data; None where there are no classes.
    """

    package_digest: bytes
    sums: ClassSums | None


class Membership:
    """One device's membership in a federation.

    Args:
        config: how it takes part.
        work: says what this member can do.
        identity: for Hello and the statistics.
        link: to the broker.
        timers: "hello" and "statistics" among them.
        report: where events are told.
    """

    def __init__(
        self, config: RunConfig, work: AtHand, identity: Identity, link: Link, *, timers: Timers, report: Report
    ) -> None:
        self._config, self._work, self._link = config, work, link
        self._timers, self._report = timers, report
        self._federation = work.architecture.digest()
        self._package_digest = identity.package_digest
        sums = work.class_sums = identity.sums
        self._greeted = self.hello_digest = b""
        self._unanswered = 0
        self.statistics_digest = b""
        self._upload: Upload | None = None
        self.bring_statistics(sums.message(config.device, self._federation) if sums is not None else b"")
        self.gateway: pb.GatewayState | None = None
        """The state of a gateway that is online and serves this federation."""
        self.expelled = ""
        """Why the gateway will not have this device; empty while it may."""

    def bring_statistics(self, body: bytes) -> None:
        """Take other class statistics than before, for the next Hello. Args: body: as it is sent; empty: none."""
        self._upload = Upload(self._config.device, pb.STATISTICS, body) if body else None
        self.statistics_digest = self._upload.digest if self._upload is not None else b""

    # --- the gateway ------------------------------------------------------------------------------------------

    def forget_greeting(self) -> None:
        """Greet the next state that comes, whatever its session: the connection is new, or the gateway forgot."""
        self._greeted = b""
        self._unanswered = 0

    def take_state(self, payload: bytes, *, told: bool) -> Event | None:
        """Take the gateway's state.

        Args:
            payload: of the message.
            told: whether the user knows already that the gateway serves another federation.

        Returns:
            The event that follows; None when nothing changed.

        Raises:
            WireError: when the bytes are none.
        """
        state = messages.decode(pb.GatewayState, payload)
        self.gateway = state if state.online and state.federation_digest == self._federation else None
        if not state.online:
            self.forget_greeting()
            self._report.emit("gateway_gone", "the gateway is away; waiting for it")
            return Event.GATEWAY_GONE
        if self.gateway is None:
            if not told:
                self._tell_foreign(state.federation_digest)
            return Event.FOREIGN
        if state.session == self._greeted:
            return None
        self._greeted = state.session
        self._unanswered = 0
        return Event.GATEWAY

    def _tell_foreign(self, federation: bytes) -> None:
        came, own = federation.hex()[:12], self._federation.hex()[:12]
        text = (
            f"the gateway serves another federation ({came}…, this package is for {own}…): staying silent; "
            "use a package exported for it"
        )
        self._report.emit("error", text, reason=text)

    # --- what it says -----------------------------------------------------------------------------------------

    def send_hello(self) -> None:
        """Say Hello, until its verdict comes."""
        hello = self._hello()
        body = messages.encode(hello)
        self.hello_digest = sha256(body)
        self._report.emit("hello", trained_slots=hello.trained_slots, examples=hello.examples)
        if self._unanswered in UNANSWERED:
            self._tell_unanswered()
        self._unanswered += 1
        self._link.send(Topic.HELLO, [body])
        self._timers.again("hello")

    def _tell_unanswered(self) -> None:
        """Tell what may be wrong: MQTT 3.1.1 does not say when a broker drops what a device publishes."""
        text = (
            f"no answer to {self._unanswered} Hellos: the gateway is busy, or the broker drops what this device says; "
            f"the name in its certificate (or its user at the broker) has to be its name here, {self._config.device}, "
            "and that name must have the rights of a device there"
        )
        self._report.emit("unanswered", text, hellos=self._unanswered)

    def tell_no_gateway(self) -> None:
        """Tell what may be wrong when the broker has nothing of a gateway, not even that it was there."""
        text = (
            f"the broker has nothing of a gateway of federation {self._config.federation}: it has not been started "
            "yet, the federation has another name, or this device may not hear it there"
        )
        self._report.emit("no_gateway", text)

    def _hello(self) -> pb.Hello:
        hello, budget = self._work.hello(), self._config.budget
        hello.device, hello.runtime = self._config.device, self._config.driver
        hello.federation_digest, hello.package_digest = self._federation, self._package_digest
        hello.gateway_session = self.gateway.session if self.gateway is not None else b""
        hello.bytes_up_per_round, hello.bytes_down_per_round = int(budget.bytes_up), int(budget.bytes_down)
        hello.seconds_per_round = budget.round_seconds
        hello.codecs.extend(cast("pb.Codec", codec) for codec in self._config.codecs)
        hello.statistics_digest = self.statistics_digest
        return hello

    def offer_statistics(self) -> None:
        """Offer the class sums, until their verdict comes."""
        if self._upload is not None:
            self._link.send(Topic.OFFER, [self._upload.offer(self._link.chunk_bytes)])
            self._timers.again("statistics")

    # --- what the gateway answers -----------------------------------------------------------------------------

    def take_verdict(self, verdict: pb.Verdict) -> Event | None:
        """Tell a verdict on anything that this device sent.

        Returns:
            EXPEL or UNKNOWN when it is about the device rather than about what was sent, else None.
        """
        code, detail = code_name(verdict.code), verdict.detail[:_DETAIL_CHARACTERS]
        kind = pb.Kind.Name(verdict.kind).lower()
        text = "" if verdict.code in (pb.ACCEPTED, pb.INCOMPLETE) else f"{kind} refused: {code} {detail}"
        self._report.emit("verdict", text, detail=detail, kind=kind, code=code, round=verdict.round)
        if verdict.code in _FINAL_CODES:
            self.expelled = f"the gateway refuses this device: {code} {detail}".strip()
            return Event.EXPEL
        if verdict.code == pb.UNKNOWN_DEVICE and verdict.digest != self.hello_digest:
            self.forget_greeting()
            return Event.UNKNOWN
        return None

    def take_hello_verdict(self, verdict: pb.Verdict) -> Event | None:
        """Take the verdict on the Hello.

        Returns:
            WELCOME when it was accepted; else None, and the Hello is said again later.
        """
        self._unanswered = 0
        if verdict.code != pb.ACCEPTED:
            self._timers.again("hello", verdict.retry_after_s)
            return None
        self._timers.stop("hello")
        text = "joined the federation"
        text += "; no plan before it has the class sums of this data" if verdict.want_statistics else ""
        self._report.emit("joined", text, want_statistics=verdict.want_statistics)
        return Event.WELCOME

    def take_statistics_verdict(self, verdict: pb.Verdict) -> None:
        """Take the verdict on the statistics.

        Raises:
            WireError: MALFORMED when it asks for chunks that there are not.
        """
        self._timers.stop("statistics")
        if verdict.code == pb.INCOMPLETE and self._upload is not None:
            asked, size = self._upload.asked(verdict.missing)
            self._report.emit("statistics", "sending class sums of frozen features", bytes=size)
            self._link.send(Topic.STATISTICS, asked)
        if verdict.retry_after_s > 0:
            self._timers.again("statistics", verdict.retry_after_s)
