"""A body on its way to the gateway: offered whole, sent in those chunks that the gateway asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import PAYLOAD, Cut, missing_chunks


class Upload:
    """One body. Args: device: whose it is; kind: DELTA or STATISTICS; body: its bytes."""

    def __init__(self, device: str, kind: pb.Kind, body: bytes) -> None:
        self._device, self._cut = device, Cut.of(body, kind, PAYLOAD)
        self._left: deque[int] = deque()

    @property
    def digest(self) -> bytes:
        """Over the body."""
        return self._cut.digest

    def offer(self, chunk_bytes: int = PAYLOAD) -> bytes:
        """Return the Offer. Args: chunk_bytes: of the body in a chunk; for another size it is cut anew."""
        if self._cut.piece != min(chunk_bytes, PAYLOAD):
            self._left.clear()
            self._cut = Cut.of(self._cut.body, self._cut.kind, chunk_bytes)
        cut = self._cut
        return messages.encode(
            pb.Offer(device=self._device, kind=cut.kind, digest=cut.digest, count=cut.count, total=len(cut.body))
        )

    def asked(self, missing: bytes) -> tuple[Iterator[bytes], int]:
        """Take note of which chunks the gateway lacks.

        What is still to come of an earlier request is left out there: it is asked for anew.

        Args:
            missing: of its verdict.

        Returns:
            Those chunks, cut one by one as they are taken, from any thread; and bytes of the body in them.

        Raises:
            WireError: MALFORMED when it names no chunks of this body.
        """
        indexes = missing_chunks(missing, self._cut.count)
        self.stop()
        self._left = deque(indexes)
        last = len(self._cut.body) - (self._cut.count - 1) * self._cut.piece
        size = sum(last if index == self._cut.count - 1 else self._cut.piece for index in indexes)
        return _taken(self._cut, self._left), size

    def stop(self) -> None:
        """Leave out what was asked for and is not on its way yet: nobody waits for it any more."""
        self._left.clear()


def _taken(cut: Cut, left: deque[int]) -> Iterator[bytes]:
    while True:
        try:
            index = left.popleft()
        except IndexError:  # another thread may have cleared it since the last chunk
            return
        yield cut.chunk(index)
