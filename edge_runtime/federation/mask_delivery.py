"""The delivery of what a round under masks needs of this device: keys, shares, its answer; each until its verdict.

Nothing here changes the session: methods say which of its events follows, and the device applies it.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.link import Arrived, Link
from edge_runtime.federation.masks import Masks
from edge_runtime.federation.report import Report
from edge_runtime.federation.timers import Timers
from edge_runtime.federation.upload import Upload
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError, WireError
from edge_runtime.wire.topics import Topic


class MaskDelivery:
    """Takes what the gateway tells of a round under masks, and sends what it needs.

    Args:
        config: whose it is.
        masks: the round at hand.
        link: to the broker.
        timers: "masks" among them.
        report: where events are told.
        over: called when the round is over for this device before its delta was sent.
    """

    def __init__(
        self, config: RunConfig, masks: Masks, link: Link, *, timers: Timers, report: Report, over: Callable[[], None]
    ) -> None:
        self._device, self._masks, self._link = config.device, masks, link
        self._timers, self._report, self._over = timers, report, over
        self._upload: Upload | None = None
        self._kind = pb.KIND_UNSPECIFIED
        if masks.active:
            link.listen(Topic.SECURE)

    @property
    def sent(self) -> tuple[pb.Kind, bytes]:
        """Kind and digest of what waits for its verdict."""
        return self._kind, self._upload.digest if self._upload is not None else b""

    def begin(self, plan: pb.Plan, payload: bytes) -> None:
        """Take part in the round of a plan, if it goes under masks. Args: payload: of the plan."""
        self._masks.begin(plan, sha256(payload))
        if self._masks.active:
            self._link.listen(Topic.SECURE)

    def take(self, event: Arrived) -> None:
        """Take what the gateway tells of the round.

        Raises:
            WireError: when it is nothing for this device.
        """
        if event.payload:
            self._masks.take(event.payload)
        elif self._masks.active:
            self._masks.drop()
            self._forget()

    def advance(self, *, member: bool) -> None:
        """Take up the blobs that came. Args: member: the gateway knows this device; else nothing is offered."""
        try:
            self._masks.advance()
            if member:
                self.offer()
        except (WireError, SecureError) as error:
            self._give_up(str(error))

    def offer(self) -> None:
        """Offer what is to be sent next, if it was not offered yet; until its verdict comes."""
        body = self._masks.body()
        if body is None:
            self._forget()
            return
        kind, data = body
        if self._upload is None or self.sent != (kind, sha256(data)):
            self._kind, self._upload = kind, Upload(self._device, kind, data)
            self.offer_again()

    def offer_again(self) -> None:
        """Offer it: no verdict came, or the gateway is another one."""
        if self._upload is not None:
            self._link.send(Topic.OFFER, [self._upload.offer(self._link.chunk_bytes)])
            self._timers.again("masks")

    def greeted(self) -> None:
        """Offer what waits to a gateway that knows this device now."""
        self._forget()
        self.advance(member=True)

    def take_verdict(self, verdict: pb.Verdict) -> None:
        """Take the verdict on what was sent.

        Raises:
            WireError: MALFORMED when it asks for chunks that there are not.
        """
        if verdict.code == pb.INCOMPLETE and self._upload is not None:
            asked, size = self._upload.asked(verdict.missing)
            what = pb.Kind.Name(self._kind).lower()
            self._report.emit("masks", f"round under masks: sending {what}", what=what, bytes=size)
            self._link.send(Topic.MASKS, asked)
        if verdict.retry_after_s > 0:
            self._timers.again("masks", verdict.retry_after_s)
            return
        kind = self._kind
        self._forget()
        if verdict.code == pb.ACCEPTED:
            self._masks.accepted(kind)
            self.advance(member=True)
        elif kind == pb.ANSWER:
            self._masks.drop()  # the round is over without it
        else:
            self._give_up(f"the round under masks goes on without this device: {verdict.detail}")

    def _give_up(self, reason: str) -> None:
        self._report.emit("error", reason, reason=reason)
        self._masks.drop()
        self._forget()
        self._over()

    def _forget(self) -> None:
        self._timers.stop("masks")
        self._upload, self._kind = None, pb.KIND_UNSPECIFIED
