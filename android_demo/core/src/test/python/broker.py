"""Runs the embedded broker until its input ends; prints port, name, password of the gateway, TLS and WebSocket ports.

With three PEM files (certificate, key, authority of the devices) devices come by TLS, with a certificate of that
authority, and the port is the gateway's own; without them all come by that port.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.tls import TlsFiles


def main() -> None:
    """Print one line, then wait."""
    port, *files = sys.argv[1:]
    tls = TlsFiles(*map(Path, files)) if files else None
    with socket.create_server(("127.0.0.1", 0)) as free:
        websocket_port = free.getsockname()[1]
    broker = EmbeddedBroker("127.0.0.1", int(port), websocket_port=websocket_port, federation="home", tls=tls)
    gateway = broker.start()
    tls_port = broker.url.port if tls else 0
    print(gateway.port, gateway.user, gateway.password, tls_port, websocket_port, flush=True)
    sys.stdin.read()
    broker.stop()


main()
