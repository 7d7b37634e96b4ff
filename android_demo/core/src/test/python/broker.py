"""Runs the embedded broker until its input ends; prints the gateway's port, name and password, and a port for TLS.

With three PEM files (certificate, key, authority of the devices) devices come by TLS, with a certificate of that
authority, and the port is the gateway's own; without them all come by that port.
"""

from __future__ import annotations

import sys
from pathlib import Path

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.tls import TlsFiles


def main() -> None:
    """Print one line, then wait."""
    port, *files = sys.argv[1:]
    tls = TlsFiles(*map(Path, files)) if files else None
    broker = EmbeddedBroker("127.0.0.1", int(port), federation="home", tls=tls)
    gateway = broker.start()
    print(gateway.port, gateway.user, gateway.password, broker.url.port if tls else 0, flush=True)
    sys.stdin.read()
    broker.stop()


main()
