"""MQTT through a WebSocket (MQTT 5, section 6): a connection whose packets come and go in binary frames.

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

from broker_server.broker.connect_packet import PACKET_LIMIT
from broker_server.broker.connection import Connection
from broker_server.broker.fields import FrameError
from edge_runtime.wire.broker_url import WEBSOCKET_PATH

SUBPROTOCOL: Final = Subprotocol("mqtt")
HEAD_LIMIT: Final = 16_384
END: Final = b"\r\n\r\n"


class WebSocketConnection(Connection):
    """A connection that begins with a request for a WebSocket.

    Args:
        loop: that calls it.
        shared: buffer that every connection reads into.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: memoryview) -> None:
        super().__init__(loop, shared)
        self._head = b""
        self._websocket = ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=PACKET_LIMIT)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        del sizehint
        return self._shared

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes: of the request, then of frames."""
        if self._ended:
            return
        data = bytes(self._shared[:nbytes])
        if self._websocket.state is State.CONNECTING:
            self._request(data)
        else:
            self._receive(data)

    def _request(self, data: bytes) -> None:
        """Answer a request once it is whole, or cannot become one."""
        self._head += data
        if END not in self._head and len(self._head) < HEAD_LIMIT and self._head.startswith(b"G"):  # of GET
            return
        head, end, rest = self._head.partition(END)
        refusal = self._answer_request(head + end)
        self._send_frames()
        if refusal:
            self._fail(FrameError(refusal))
        else:
            self._receive(rest)

    def _answer_request(self, head: bytes) -> str:
        """Answer a request; return why it is refused, "" when it is not."""
        websocket = self._websocket
        websocket.receive_data(head)
        request = next(iter(websocket.events_received()), None)
        if not isinstance(request, Request):
            return "no WebSocket"
        refusal = _refusal(request)
        websocket.send_response(websocket.reject(400, f"{refusal}\n") if refusal else websocket.accept(request))
        return refusal or ("no WebSocket of MQTT" if websocket.handshake_exc is not None else "")

    def _receive(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        carried = b"".join(self._carried())
        self._send_frames()
        if carried:
            self._heard()  # pings of the WebSocket are no packets: they keep nobody alive
            self._frames.feed(carried)
            self._work()
        if self._websocket.state is not State.OPEN:
            self.finish()
        self._check_unsent()

    def _carried(self) -> list[bytes]:
        """Return what binary frames carried."""
        pieces = []
        for event in self._websocket.events_received():
            if isinstance(event, Frame) and event.opcode in (OP_BINARY, OP_CONT):
                pieces.append(bytes(event.data))
            elif isinstance(event, Frame) and event.opcode is OP_TEXT:
                self._websocket.fail(CloseCode.UNSUPPORTED_DATA, "MQTT is no text")
        return pieces

    def _put(self, data: bytes) -> None:
        """Write one binary frame; before there is a WebSocket, and once the client has said goodbye, nothing."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_binary(data)
            self._send_frames()

    def _send_frames(self) -> None:
        """Write what the protocol has to say: frames, answers to pings, goodbyes."""
        for piece in self._websocket.data_to_send():
            if piece:
                self.transport.write(piece)


def _refusal(request: Request) -> str:
    if urlsplit(request.path).path != WEBSOCKET_PATH:
        return f"a WebSocket's path other than {WEBSOCKET_PATH}"
    return "" if _own_origin(request.headers) else "a web page of another origin"


def _own_origin(headers: Headers) -> bool:
    """Return whether no foreign web page asks: a browser shows it any port of this machine, and says whose it is."""
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == headers.get("Host")
