"""Runs the embedded broker until its input ends; prints its port and its WebSocket port, then what devices say.

With three PEM files (certificate, key, authority of the devices) devices come by TLS, with a certificate of that
authority. A line of the input, "TOPIC HEX 0" or "TOPIC HEX 1", is published, retained or not, and answered with "said".
What devices say comes as "heard TOPIC HEX".
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import Arrived
from broker_server.broker.tls import TlsFiles


class Hearing:
    """Prints what devices say."""

    def offer(self, event: Arrived, size: int) -> bool:
        """Take a message."""
        del size
        sys.stdout.write(f"heard {event.topic} {event.payload.hex()}\n")
        sys.stdout.flush()
        return True

    def when_room(self, call: Callable[[], None]) -> None:
        """Call at once: there always is room."""
        call()


def main() -> None:
    """Print one line, then say what is asked for."""
    port, *files = sys.argv[1:]
    tls = TlsFiles(*map(Path, files)) if files else None
    with socket.create_server(("127.0.0.1", 0)) as free:
        websocket_port = free.getsockname()[1]
    broker = EmbeddedBroker("127.0.0.1", int(port), websocket_port=websocket_port, federation="home", tls=tls)
    sys.stdout.write(f"{broker.start().port} {websocket_port}\n")
    sys.stdout.flush()
    broker.connect(Hearing())
    for line in sys.stdin:
        topic, payload, retain = line.split(" ")
        broker.publish(topic, bytes.fromhex(payload), retain=retain.strip() == "1")
        broker.flush(10.0)
        sys.stdout.write("said\n")
        sys.stdout.flush()
    broker.stop()


main()
