"""MQTT 3.1.1 for one light device, on an asyncio transport: QoS 1 both ways, no session, a will.

paho needs a thread or a socket loop for each client; a thousand of them would be what is measured.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

KEEPALIVE_S: Final = 120
WINDOW: Final = 16
"""Messages on their way to the broker that it has not acknowledged, at most."""
_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _UNSUBACK = 2, 3, 4, 9, 11


class LostError(Exception):
    """The connection is gone, or the broker refused it."""


class Client(asyncio.Protocol):
    """One connection.

    Args:
        client_id: of it.
        will: (topic, payload) that the broker publishes when it breaks.
        take: called with (topic, payload) of every message.
    """

    def __init__(self, client_id: str, will: tuple[str, bytes], take: Callable[[str, bytes], None]) -> None:
        self._client_id, self._will, self._take = client_id, will, take
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._packet = 0
        self._unacknowledged: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._room = asyncio.Event()
        self._writable = True
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())  # that nobody asks for it is no mistake

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        client_id: str,
        will: tuple[str, bytes],
        take: Callable[[str, bytes], None],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        """Connect, and wait until the broker takes it.

        Raises:
            LostError: when it does not.
        """
        loop = asyncio.get_running_loop()
        client = cls(client_id, will, take)
        try:
            await loop.create_connection(lambda: client, host, port, ssl=tls)
        except OSError as error:
            raise LostError(str(error)) from error
        await client._answer(0)
        return client

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who this is."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other
        self._transport = transport
        topic, payload = self._will
        body = b"\0\4MQTT\4" + bytes([0b1110]) + struct.pack("!H", KEEPALIVE_S)  # clean session, a will of QoS 1
        self._send(0x10, [body, _text(self._client_id), _text(topic), struct.pack("!H", len(payload)), payload])
        self._open()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if not self.lost.done():
            self.lost.set_exception(LostError(str(exc or "closed")))
        self._room.set()

    def pause_writing(self) -> None:
        """Stop: the socket is full."""
        self._writable = False
        self._room.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._open()

    def data_received(self, data: bytes) -> None:
        """Read the packets that are whole."""
        self._data += data
        begin = 0
        while (packet := _packet(self._data, begin)) is not None:
            kind, start, end = packet
            self._read(kind, bytes(memoryview(self._data)[start:end]))
            begin = end
        del self._data[:begin]

    def _read(self, kind: int, body: bytes) -> None:
        name = kind >> 4
        if name == _PUBLISH:
            size = int.from_bytes(body[:2], "big")
            topic, at = body[2 : 2 + size].decode(), 2 + size
            if kind & 0x06:
                self._send(0x40, [body[at : at + 2]])
                at += 2
            self._take(topic, body[at:])
        elif name == _PUBACK:
            self._unacknowledged.discard(int.from_bytes(body[:2], "big"))
            self._open()
        elif name in (_SUBACK, _UNSUBACK):
            self._answered(int.from_bytes(body[:2], "big"))
        elif name == _CONNACK:
            if body[1]:
                self.drop(f"the broker refused the connection with code {body[1]}")
            else:
                self._answered(0)

    # what a device does

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Listen to topics, from when the broker says so."""
        await self._ask(0x82, [part for topic in topics for part in (_text(topic), b"\1")])

    async def unsubscribe(self, topics: Iterable[str]) -> None:
        """Listen no more."""
        await self._ask(0xA2, [_text(topic) for topic in topics])

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1 once there is room for it; its acknowledgement is not waited for.

        Raises:
            LostError: when the connection is gone.
        """
        while not self._room.is_set():
            await self._room.wait()
        self._check()
        packet = self._next()
        self._unacknowledged.add(packet)
        self._send(0x32, [_text(topic), struct.pack("!H", packet), payload])
        if len(self._unacknowledged) >= WINDOW:
            self._room.clear()

    async def wait(self, future: asyncio.Future[Any], seconds: float) -> bool:
        """Wait for a future, so long at most; return whether it is done.

        Raises:
            LostError: when the connection goes meanwhile.
        """
        self._check()
        await asyncio.wait({future, self.lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return True
        self._check()
        return False

    def ping(self) -> None:
        """Show the broker that this is alive."""
        self._send(0xC0, [])

    def drop(self, why: str = "dropped") -> None:
        """Break the connection: the broker publishes the will."""
        if not self.lost.done():
            self.lost.set_exception(LostError(why))
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Leave in order: there will be no will."""
        self._send(0xE0, [])
        if self._transport is not None:
            self._transport.close()

    async def _ask(self, kind: int, parts: list[bytes]) -> None:
        self._check()
        packet = self._next()
        self._send(kind, [struct.pack("!H", packet), *parts])
        await self._answer(packet)

    async def _answer(self, packet: int) -> None:
        future = self._waiting[packet] = asyncio.get_running_loop().create_future()
        try:
            if not await self.wait(future, KEEPALIVE_S):
                msg = f"no answer in {KEEPALIVE_S} s"
                raise LostError(msg)
        finally:
            self._waiting.pop(packet, None)

    def _answered(self, packet: int) -> None:
        future = self._waiting.get(packet)
        if future is not None and not future.done():
            future.set_result(None)

    def _next(self) -> int:
        self._packet = self._packet % 0xFFFF + 1
        return self._packet

    def _check(self) -> None:
        if self.lost.done():
            raise LostError(str(self.lost.exception()))

    def _open(self) -> None:
        if self._writable and len(self._unacknowledged) < WINDOW:
            self._room.set()

    def _send(self, kind: int, parts: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join([bytes([kind]), _length(sum(map(len, parts))), *parts]))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _length(size: int) -> bytes:
    """Return the remaining length (MQTT 3.1.1, 2.2.3)."""
    data = bytearray()
    while True:
        size, low = divmod(size, 128)
        data.append(low | 0x80 if size else low)
        if not size:
            return bytes(data)


def _packet(data: bytearray, begin: int) -> tuple[int, int, int] | None:
    """Return (first byte, begin and end of the body) of the packet that starts at ``begin``; None: not whole yet."""
    size = shift = 0
    for at in range(begin + 1, min(begin + 5, len(data))):
        size |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            end = at + 1 + size
            return (data[begin], at + 1, end) if end <= len(data) else None
    return None
