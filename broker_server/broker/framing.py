"""MQTT packets out of a stream of bytes: no copy of what comes in one piece, and no buffer for who is silent. Pure.

A connection reads into one buffer that all share; only what is left of a packet at its end is kept, in a buffer of that
packet's size, which then takes the rest from the socket itself.
"""

from __future__ import annotations

from typing import Final

from broker_server.broker.fields import Code, FrameError

_HEAD: Final = 5
"""Bytes of the longest head: a packet's type, and its length in up to four."""
_SMALL: Final = 4096


class Frames:
    """One connection's packets.

    Args:
        limit: bytes of the largest packet, without its head.
        shared: buffer to read into; its content is no longer needed once ``keep`` was called.
    """

    def __init__(self, limit: int, shared: memoryview) -> None:
        self.limit = limit
        self._shared = shared
        self._own = memoryview(b"")
        self._view, self._at = self._own, 0

    @property
    def kept_bytes(self) -> int:
        """Return the bytes that wait: of a packet that is not whole, or of whole ones that nobody took yet."""
        return len(self._view) - self._at

    def buffer(self) -> memoryview:
        """Return where the next bytes belong."""
        if not self._view:
            return self._shared
        if len(self._own) == len(self._view):  # full: of whole packets that nobody took, or of half a head
            self._renew(len(self._view) + _SMALL)
        return self._own[len(self._view) :]

    def filled(self, size: int) -> None:
        """Note that so many bytes were written to ``buffer()``."""
        buffer = self._own if self._view else self._shared
        self._view = buffer[: len(self._view) + size]

    def feed(self, data: bytes) -> None:
        """Add bytes that came on another way."""
        if not data:
            return
        start, end = self.kept_bytes, self.kept_bytes + len(data)
        self._make_room(end)
        self._own[start:end] = data
        self._view = self._own[:end]

    def next(self) -> tuple[int, memoryview] | None:
        """Return the first byte and the content of the next packet; None while it is not whole.

        The content is good until bytes are read again.

        Raises:
            FrameError: for one over the limit, or whose length has no end.
        """
        head = self._head()
        if head is None:
            return None
        start, end = head
        if end > len(self._view):
            return None
        first, self._at = self._view[self._at], end
        return first, self._view[start:end]

    def keep(self) -> None:
        """Let go of the shared buffer: copy what is left in it, and make room for the rest of its packet."""
        if self._at == len(self._view):
            self._own = self._view = memoryview(b"")
            self._at = 0
            return
        self._make_room(self._needed())

    def _needed(self) -> int:
        """Return the bytes of the packet that begins what waits, or of all that waits, whichever is more."""
        try:
            head = self._head()
        except FrameError:
            head = None  # told when its turn comes
        return max(self.kept_bytes, _HEAD if head is None else head[1] - self._at)

    def _make_room(self, size: int) -> None:
        if self._at or len(self._own) < size or self._view.obj is not self._own.obj:
            self._renew(size)

    def _renew(self, size: int) -> None:
        """Move what waits to the start of a new buffer."""
        own = memoryview(bytearray(size))
        kept = self.kept_bytes
        own[:kept] = self._view[self._at :]
        self._own, self._view, self._at = own, own[:kept], 0

    def _head(self) -> tuple[int, int] | None:
        """Return where the next packet's content begins and ends; None while its head is not whole."""
        view, length = self._view, 0
        for place in range(1, _HEAD):
            at = self._at + place
            if at >= len(view):
                return None
            length |= (view[at] & 0x7F) << 7 * (place - 1)
            if not view[at] & 0x80:
                if length > self.limit:
                    raise FrameError(f"a packet of {length} bytes, limit {self.limit}", Code.TOO_LARGE)
                return at + 1, at + 1 + length
        raise FrameError("the length of a packet has more than four bytes")
