"""MQTT frames from a stream of bytes, with limits that amqtt 0.12 lacks: size, silence, half packets, pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from broker_server.broker.connect_packet import Connect, FrameError, body_start, read_connect
from broker_server.broker.pace import Pace
from edge_runtime.wire.topics import Topic

BODY_S: Final = 60.0
CONNECT_LIMIT: Final = 16_384
"""Bytes of the first packet: names, a will and credentials, from somebody who is not known yet."""
_PUBLISH: Final = 3
_COUNTED: Final = (_PUBLISH, 8, 10, 12)
"""PUBLISH, SUBSCRIBE, UNSUBSCRIBE and PINGREQ; the others answer what a client was sent."""
_ANNOUNCING: Final = (b"/%b/" % Topic.HELLO.encode(), b"/%b/" % Topic.BYE.encode())
_TOPIC_BYTES: Final = 160
"""Of the longest topic of ours: two names of 64 and what stands between them."""


class FrameReader:
    """Reads whole packets and serves them in pieces, so that a parser can never wait in the middle of one.

    Who speaks faster than its pace is read later, and so its system's buffers fill and it waits; nothing is dropped.

    Args:
        reader: the connection.
        limit: largest packet in bytes, header included.
        messages: pace of all that the client asks for; None is no limit.
        hellos: pace of its Hello and Bye, each of which costs the gateway a write to its disk; None is no limit.
        slowed: told which of the two a client was held to.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        limit: int,
        messages: Pace | None = None,
        hellos: Pace | None = None,
        slowed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._limit = limit
        self._messages, self._hellos, self._slowed = messages, hellos, slowed
        self._frame = b""
        self._at = 0
        self._silence_s = float("inf")
        self._last = self._resume_at = self._now()
        self._dead = False

    async def connect(self) -> Connect:
        """Read the first packet, and keep it to be read again; whoever calls limits the time.

        Raises:
            FrameError: when it is no CONNECT of MQTT 3.1.1.
            OSError, asyncio.IncompleteReadError: when the connection ends.
        """
        limit, self._limit = self._limit, min(self._limit, CONNECT_LIMIT)
        await self._next()
        self._limit = limit
        connect, self._frame = read_connect(self._frame)
        self._silence_s = 1.5 * connect.keep_alive_s if connect.keep_alive_s else float("inf")
        return connect

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes of the current packet (all that is left of it for -1).

        Raises:
            FrameError: for a packet over the limit, silence past 1.5 keep-alives, or a packet that ends too early.
        """
        if self._dead:
            msg = "the connection was given up"
            raise FrameError(msg)
        if n == 0:  # an empty field at the end of a packet; not a reason to wait for the next
            return b""
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

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _next(self) -> None:
        # Both waits may be cancelled by the caller's own timeout; nothing is lost, the byte then stays unread.
        if (pause := self._resume_at - self._now()) > 0:
            await asyncio.sleep(pause)
            self._last = self._now()
        left = self._last + self._silence_s - self._now()
        try:
            first = await asyncio.wait_for(
                self._reader.readexactly(1), None if left == float("inf") else max(left, 0.001)
            )
        except TimeoutError:
            msg = f"silent for {self._silence_s:.0f} s"
            raise FrameError(msg) from None
        try:
            frame = first + await asyncio.wait_for(self._rest(), BODY_S)
        except TimeoutError:
            msg = f"a packet was not finished within {BODY_S:.0f} s"
            raise FrameError(msg) from None
        self._frame, self._at = frame, 0
        self._last = self._now()
        self._count(frame)

    def _count(self, frame: bytes) -> None:
        """Count what a client asks for, and note until when it is not read any more."""
        kind = frame[0] >> 4
        if kind not in _COUNTED or self._messages is None or self._hellos is None:
            return
        start = body_start(frame)
        topic = frame[start + 2 : start + 2 + min(int.from_bytes(frame[start : start + 2], "big"), _TOPIC_BYTES)]
        pauses = {"messages_per_s": self._messages.take(self._last)}
        if kind == _PUBLISH and any(word in topic for word in _ANNOUNCING):
            pauses["hellos_per_s"] = self._hellos.take(self._last)
        which = max(pauses, key=lambda name: pauses[name])
        if pauses[which] > 0:
            self._resume_at = self._last + pauses[which]
            self._slowed(which)

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
