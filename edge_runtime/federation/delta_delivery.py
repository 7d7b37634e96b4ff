"""The delivery of deltas: the pending one until its final verdict, an accepted one for as long as it is kept.

Nothing here changes the session: methods say which of its events follows, and the device applies it.
"""

from __future__ import annotations

from edge_runtime.federation.at_hand import AtHand
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.link import Link
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import Event
from edge_runtime.federation.timers import Timers
from edge_runtime.federation.upload import Upload
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.topics import Topic


class DeltaDelivery:
    """Offers deltas, sends the chunks that the gateway asks for, and takes its verdicts.

    Args:
        config: whose deltas they are.
        work: the pending delta, and the accepted one that is kept.
        link: to the broker.
        timers: "resend" and "sent" among them.
        report: where events are told.
    """

    def __init__(self, config: RunConfig, work: AtHand, link: Link, *, timers: Timers, report: Report) -> None:
        self._device, self._work, self._link = config.device, work, link
        self._timers, self._report = timers, report
        self._pending: Upload | None = None
        self._sent: Upload | None = None
        self.settled = 0
        """Deltas that have their final verdict."""

    def offer_pending(self) -> None:
        """Offer the delta that waits for its verdict, until that comes."""
        upload, pending = self._pending_upload(), self._work.pending
        if upload is None or pending is None:
            return
        self._report.emit("offer", round=pending.round, bytes=len(pending.body))
        self._link.send(Topic.OFFER, [upload.offer(self._link.chunk_bytes)])
        self._timers.again("resend")

    def offer_sent(self) -> None:
        """Offer the accepted delta that is kept, if it is; where it is not, the gateway plans anew."""
        body = self._work.sent_body()
        if body is None:
            self._sent = None
            return
        self._sent = self._sent or Upload(self._device, pb.DELTA, body)
        self._link.send(Topic.OFFER, [self._sent.offer(self._link.chunk_bytes)])
        self._timers.again("sent")

    def stop(self, digest: bytes) -> None:
        """Leave out what the gateway asked for of this delta and is not on its way yet."""
        for upload in (self._pending, self._sent):
            if upload is not None and upload.digest == digest:
                upload.stop()

    def take_pending_verdict(self, verdict: pb.Verdict) -> Event | None:
        """Take a verdict on the pending delta.

        Returns:
            SETTLED when it is the final one, else None.

        Raises:
            WireError: MALFORMED when it asks for chunks that there are not.
        """
        upload = self._pending_upload() if verdict.code == pb.INCOMPLETE else None
        if upload is not None:
            self._send_chunks(upload, verdict, "sending")
        if verdict.retry_after_s > 0:
            self._timers.again("resend", verdict.retry_after_s)
            return None
        self._timers.stop("resend")
        self._work.settle(accepted=verdict.code == pb.ACCEPTED)
        self.settled += 1
        return Event.SETTLED

    def take_sent_verdict(self, verdict: pb.Verdict) -> None:
        """Take a further verdict on a delta that was accepted: the gateway's disk lost it, or it takes no more of it.

        Raises:
            WireError: MALFORMED when it asks for chunks that there are not.
        """
        if verdict.code == pb.INCOMPLETE and self._sent is not None:
            self._send_chunks(self._sent, verdict, "sending again, though it was accepted,")
        if verdict.retry_after_s > 0:
            self._timers.again("sent", verdict.retry_after_s)
            return
        self._timers.stop("sent")
        self._sent = None
        if verdict.code != pb.ACCEPTED:
            self._work.let_go()

    def _pending_upload(self) -> Upload | None:
        pending = self._work.pending
        if pending is None:
            return None
        if self._pending is None or self._pending.digest != pending.digest:
            self._pending = Upload(self._device, pb.DELTA, pending.body)
        return self._pending

    def _send_chunks(self, upload: Upload, verdict: pb.Verdict, what: str) -> None:
        asked, size = upload.asked(verdict.missing)
        number = self._work.round_of(verdict.digest)
        self._report.emit("delta", f"round {number}: {what} {size / 1000:.0f} kB", round=number, bytes=size)
        self._link.send(Topic.DELTA, asked)
