"""MQTT frames from a stream of bytes, with the limits that amqtt 0.12 lacks: packet size, silence, half packets."""

from __future__ import annotations

import asyncio
import struct
from typing import Final

FIRST_PACKET_S: Final = 10.0
BODY_S: Final = 60.0
_CONNECT: Final = 1


class FrameError(ConnectionResetError):
    """The peer sent something that ends its connection; a ConnectionResetError, which the broker knows how to end."""


class FrameReader:
    """Reads whole packets and serves them in pieces, so that a parser can never wait in the middle of one.

    Args:
        reader: the connection.
        limit: largest packet in bytes, header included.
    """

    def __init__(self, reader: asyncio.StreamReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._frame = b""
        self._at = 0
        self._silence_s = FIRST_PACKET_S
        self._last = asyncio.get_running_loop().time()
        self._first = True
        self._dead = False

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes of the current packet (all that is left of it for -1).

        Raises:
            FrameError: for a packet over the limit, silence past 1.5 keep-alives, or a packet that ends too early.
        """
        if self._dead:
            msg = "the connection was given up"
            raise FrameError(msg)
        if self._at == len(self._frame):
            try:
                await self._next()
            except (asyncio.IncompleteReadError, OSError):
                self._dead = True
                raise
        end = len(self._frame) if n < 0 else self._at + n
        if end > len(self._frame):
            self._dead = True
            msg = "a packet ends before its content does"
            raise FrameError(msg)
        data = self._frame[self._at : end]
        self._at = end
        return data

    def feed_eof(self) -> None:
        """Take note of the end of the stream (asked for by amqtt's interface)."""
        self._reader.feed_eof()

    async def _next(self) -> None:
        # The wait for a first byte may be cancelled by the caller's own timeout; the byte then stays unread.
        left = self._last + self._silence_s - asyncio.get_running_loop().time()
        try:
            first = await asyncio.wait_for(self._reader.readexactly(1), max(left, 0.001))
        except TimeoutError:
            msg = f"silent for {self._silence_s:.0f} s"
            raise FrameError(msg) from None
        try:
            frame = first + await asyncio.wait_for(self._rest(), BODY_S)
        except TimeoutError:
            msg = f"a packet was not finished within {BODY_S:.0f} s"
            raise FrameError(msg) from None
        if self._first:
            self._first = False
            self._silence_s = _silence(frame)
        self._frame, self._at = frame, 0
        self._last = asyncio.get_running_loop().time()

    async def _rest(self) -> bytes:
        header, length, shift = b"", 0, 0
        while True:
            byte = await self._reader.readexactly(1)
            header += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if not byte[0] & 0x80:
                break
            if shift > 21:
                msg = "the length of a packet has more than four bytes"
                raise FrameError(msg)
        if length > self._limit:
            msg = f"a packet of {length} bytes, limit {self._limit}"
            raise FrameError(msg)
        return header + await self._reader.readexactly(length)


def _silence(connect: bytes) -> float:
    """Return how long a client may be silent, by its CONNECT packet; without keep-alive: as long as it likes."""
    start = connect.find(b"\x00\x04MQTT", 1, 16)
    if connect[0] >> 4 != _CONNECT or start < 0 or len(connect) < start + 10:
        msg = "the first packet is no MQTT 3.1.1 CONNECT"
        raise FrameError(msg)
    keep_alive: int = struct.unpack_from(">H", connect, start + 8)[0]
    return 1.5 * keep_alive if keep_alive else float("inf")
