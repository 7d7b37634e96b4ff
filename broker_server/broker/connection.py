"""One connection of the embedded broker: bytes in, packets out, and when to read no further or to give up.

No task and no coroutine belongs to it: the event loop calls it when bytes come. Whatever goes wrong ends this
connection only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol, cast

from broker_server.broker.connect_packet import Connect, read_connect
from broker_server.broker.fields import Code, FrameError
from broker_server.broker.framing import Frames
from broker_server.broker.packets import Kind

BODY_S: Final = 60.0
"""In which a packet has to be whole, once it began."""
CONNECT_LIMIT: Final = 16_384
"""Bytes of the first packet: names, a will and credentials, from somebody who is not known yet."""
WRITE_LIMIT: Final = 128 * 1024
"""Bytes that are copied for a client at once; what else is for it waits as it is, shared with others."""
ANSWERS_LIMIT: Final = 1024 * 1024
"""Bytes of answers that a client may leave unread, beside what it is sent: beyond it only asks and never listens."""
CLOSE_S: Final = 5.0
"""What a client does not take by then is lost."""
ADMISSION: Final = "admission"

log = logging.getLogger("broker_server.broker.connection")


class Served(Protocol):
    """What makes sense of a client's packets."""

    def take(self, first: int, content: memoryview) -> None:
        """Take a packet: its first byte, and what stands behind its length.

        Raises:
            FrameError: when it ends the connection.
        """
        ...

    def writable(self) -> None:
        """Go on writing: the client has taken what was on its way."""
        ...

    def farewell(self, code: Code) -> bytes:
        """Return what the client is told at the end."""
        ...

    def lost(self) -> None:
        """Take note that the connection has ended."""
        ...


class Connection(asyncio.BufferedProtocol):
    """Reads packets, CONNECT first, and hands them over once somebody serves the client.

    Args:
        loop: that calls it.
        shared: buffer that every connection reads into.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: memoryview) -> None:
        self._loop, self._shared = loop, shared
        self._frames = Frames(CONNECT_LIMIT, shared)
        self.first: asyncio.Future[Connect | FrameError | None] = loop.create_future()
        """What the client says of itself; what is wrong with that; None: it went."""
        self.gone: asyncio.Future[None] = loop.create_future()
        self.can_write = True
        self._served: Served | None = None
        self._holds: set[str] = set()
        self._batch: list[bytes] | None = None
        self._ended = False
        self._silence_s = float("inf")
        self._heard_at = self._began_at = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # --- the event loop's calls ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_LIMIT)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        del sizehint
        return self._shared if self._ended else self._frames.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes."""
        if self._ended:
            return
        self._heard()
        self._frames.filled(nbytes)
        self._work()
        self._check_unsent()

    def eof_received(self) -> None:
        """Close: whoever says that nothing more will come hears nothing either."""

    def pause_writing(self) -> None:
        """Write no more for now."""
        self.can_write = False

    def resume_writing(self) -> None:
        """Write on."""
        self.can_write = True
        if self._served is not None and not self._ended:
            self._served.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end, once."""
        del exc
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if not self.first.done():
            self.first.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)
            if self._served is not None:
                self._served.lost()

    # --- reading ------------------------------------------------------------------------------------------------

    def serve(self, served: Served, limit: int, silence_s: float) -> None:
        """Hand packets to ``served`` from now on, of ``limit`` bytes at most; who is silent so long is given up."""
        self._served, self._frames.limit, self._silence_s = served, limit, silence_s
        if self.gone.done():
            served.lost()
        else:
            self._watch()

    def hold(self, reason: str) -> None:
        """Read no further until that is released: its system's buffers fill, and the client waits."""
        if not self._holds and not self._ended:
            self.transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """Go on, unless there is another reason to wait."""
        self._holds.discard(reason)
        if self._holds or self._ended:
            return
        self._heard_at = self._began_at = self._loop.time()  # nobody listened: that was no silence
        self._work()
        if not self._holds and not self._ended:
            self.transport.resume_reading()

    def rest(self, seconds: float, reason: str) -> None:
        """Read no further for a while."""
        self.hold(reason)
        self._loop.call_later(seconds, self.release, reason)

    def _heard(self) -> None:
        self._heard_at = self._loop.time()
        if not self._frames.kept_bytes:
            self._began_at = self._heard_at

    def _work(self) -> None:
        """Take every packet that is whole; what they are answered with goes out at once."""
        self._batch = []
        try:
            while not self._holds and not self._ended and (packet := self._frames.next()) is not None:
                self._began_at = self._heard_at
                self._take(*packet)
            self._frames.keep()
            self._flush()
        except FrameError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - hostile bytes find new ways to break parsers
            log.debug("connection ended by %s: %s", type(error).__name__, error)
            self.cut()

    def _check_unsent(self) -> None:
        if not self._ended and self.unsent_bytes > ANSWERS_LIMIT:
            log.warning("a client is cut off: it leaves %d bytes of answers unread", self.unsent_bytes)
            self.cut()

    def _take(self, first: int, content: memoryview) -> None:
        if self._served is not None:
            self._served.take(first, content)
            return
        if first != Kind.CONNECT << 4:
            raise FrameError("the first packet is no CONNECT of MQTT 3.1.1 or 5")
        self.hold(ADMISSION)
        self.first.set_result(read_connect(content))

    def _fail(self, error: FrameError) -> None:
        if self.first.done():
            log.debug("connection ended: %s", error)
            self.finish(error.code)
        else:
            self.hold(ADMISSION)
            self.first.set_result(error)

    def _watch(self) -> None:
        """Give up who is silent or stays in the middle of a packet; else look again when that can be."""
        now = self._loop.time()
        if self._holds:
            self._heard_at = self._began_at = now
        silent_at = self._heard_at + self._silence_s
        late_at = self._began_at + BODY_S if self._frames.kept_bytes else now + BODY_S
        if now >= silent_at:
            self._fail(FrameError(f"silent for {self._silence_s:.0f} s", Code.SILENT))
        elif now >= late_at:
            self._fail(FrameError(f"a packet was not finished within {BODY_S:.0f} s"))
        else:
            self._timer = self._loop.call_at(min(silent_at, late_at), self._watch)

    # --- writing ------------------------------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        """Return what the system has not taken yet."""
        return self.transport.get_write_buffer_size()

    def answer(self, packet: bytes) -> None:
        """Write a small packet, together with others that are due now."""
        if self._batch is None:
            self.write(packet)
        else:
            self._batch.append(packet)

    def write(self, packet: bytes) -> None:
        """Write a packet or a part of one, behind all answers."""
        if self._batch:
            self._flush()
            self._batch = []
        if not self._ended:
            self._put(packet)

    def _flush(self) -> None:
        batch, self._batch = self._batch, None
        if batch and not self._ended:
            self._put(b"".join(batch))

    def _put(self, data: bytes) -> None:
        self.transport.write(data)

    # --- ending -------------------------------------------------------------------------------------------------

    def finish(self, code: Code = Code.SUCCESS, last: bytes = b"") -> None:
        """Write what is to be written, say why it ends, and close.

        Args:
            code: told to a client of MQTT 5 that is served.
            last: the packet to end with where nobody serves it.
        """
        if self._ended:
            return
        self._flush()
        last = last if self._served is None or not code else self._served.farewell(code)
        if last:
            self._put(last)
        self._ended = True
        self.transport.close()
        self._loop.call_later(CLOSE_S, self.transport.abort)

    def cut(self) -> None:
        """Break it off, as a network would."""
        self._ended = True
        self.transport.abort()

    def peer_certificate(self) -> dict[str, Any]:
        """Return what the client's certificate says; empty without TLS."""
        return self.transport.get_extra_info("peercert") or {}
