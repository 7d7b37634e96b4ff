"""MQTT through a WebSocket (MQTT 3.1.1, section 6): a reader and a writer of what its binary frames carry.

The rules of WebSockets (RFC 6455) are the websockets library's; this file is the only one that imports it.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.frames import OP_BINARY, OP_CONT, OP_TEXT, CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from broker_server.broker.connect_packet import FrameError
from edge_runtime.wire.broker_url import WEBSOCKET_PATH

SUBPROTOCOL: Final = Subprotocol("mqtt")
CHUNK: Final = 65_536
HEAD_LIMIT: Final = 16_384
END: Final = b"\r\n\r\n"


class WebSocketWriter(asyncio.StreamWriter):
    """Writes bytes as they are until ``opened``, then each piece as one binary frame."""

    websocket: ServerProtocol | None = None

    def opened(self, websocket: ServerProtocol) -> None:
        """Write frames from now on."""
        self.websocket = websocket

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece; nothing once the client has said goodbye."""
        if self.websocket is None:
            super().write(data)
        elif self.websocket.state is State.OPEN:
            self.websocket.send_binary(bytes(data))
            self.flush(self.websocket)

    def flush(self, websocket: ServerProtocol) -> None:
        """Write what the protocol has to say: frames, answers to pings, goodbyes."""
        for piece in websocket.data_to_send():
            if piece:
                super().write(piece)


class WebSocketReader(asyncio.StreamReader):
    """Reads what binary frames carry.

    Args:
        raw: the connection.
        writer: to it, for answers to pings.
        websocket: its protocol, open.
        came: bytes that came with the request.
    """

    def __init__(
        self, raw: asyncio.StreamReader, writer: WebSocketWriter, websocket: ServerProtocol, came: bytes
    ) -> None:
        super().__init__()
        self._raw, self._writer, self._websocket = raw, writer, websocket
        self._ready = bytearray()
        self._take(came)

    async def readexactly(self, n: int) -> bytes:
        """Return ``n`` bytes. May be cancelled: what came stays to be read.

        Raises:
            asyncio.IncompleteReadError: when the connection ends before.
        """
        while len(self._ready) < n:
            data = await self._raw.read(CHUNK) if self._websocket.state is State.OPEN else b""
            if not data:
                raise asyncio.IncompleteReadError(bytes(self._ready), n)
            self._take(data)
        data = bytes(self._ready[:n])
        del self._ready[:n]
        return data

    def feed_eof(self) -> None:
        """Take note of the end of the stream (asked for by amqtt's interface)."""
        self._raw.feed_eof()

    def _take(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Frame) and event.opcode in (OP_BINARY, OP_CONT):
                self._ready += event.data
            elif isinstance(event, Frame) and event.opcode is OP_TEXT:
                self._websocket.fail(CloseCode.UNSUPPORTED_DATA, "MQTT is no text")
        self._writer.flush(self._websocket)


async def upgrade(reader: asyncio.StreamReader, writer: WebSocketWriter, limit: int) -> WebSocketReader:
    """Answer a client's request for a WebSocket; ``writer`` then writes frames.

    Args:
        reader: the connection.
        writer: to it.
        limit: bytes of a message.

    Raises:
        FrameError: when it asks for another path or protocol, or speaks no HTTP; it was told so.
        asyncio.IncompleteReadError: when the connection ends.
    """
    websocket = ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=limit)
    head, rest = await _head(reader)
    websocket.receive_data(head)
    request = next(iter(websocket.events_received()), None)
    refusal = _refusal(request) if isinstance(request, Request) else "no WebSocket"
    if isinstance(request, Request):
        websocket.send_response(websocket.reject(400, f"{refusal}\n") if refusal else websocket.accept(request))
        refusal = refusal or ("no WebSocket of MQTT" if websocket.handshake_exc is not None else "")
    writer.flush(websocket)
    if refusal:
        raise FrameError(refusal)
    writer.opened(websocket)
    return WebSocketReader(reader, writer, websocket, rest)


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return a request, as far as one comes, and what came with it."""
    head = b""
    while END not in head and len(head) < HEAD_LIMIT and (not head or head.startswith(b"G")):  # of GET
        data = await reader.read(CHUNK)
        if not data:
            raise asyncio.IncompleteReadError(head, None)
        head += data
    request, end, rest = head.partition(END)
    return request + end, rest


def _refusal(request: Request) -> str:
    if urlsplit(request.path).path != WEBSOCKET_PATH:
        return f"a WebSocket's path other than {WEBSOCKET_PATH}"
    return "" if _own_origin(request.headers) else "a web page of another origin"


def _own_origin(headers: Headers) -> bool:
    """Return whether no foreign web page asks: a browser shows it any port of this machine, and says whose it is."""
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == headers.get("Host")
