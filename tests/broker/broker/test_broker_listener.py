"""Sockets of the embedded broker."""

from __future__ import annotations

import asyncio
import socket

from broker_server.broker.listener import bind


def test_small_answers_are_sent_at_once() -> None:
    """Nagle's rule would keep a verdict back until the acknowledgement before it is acknowledged."""
    (listening,) = asyncio.run(bind("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)  # noqa: FBT003 - its only argument
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
