"""Runs the project's embedded broker until its input ends; prints its port and the gateway's name and password.

With three PEM files (certificate, key, authority of the clients) it also prints the port of a TLS listener in front of
it, which takes clients with a certificate of that authority only: what an operator puts before the embedded broker.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading

from broker_server.broker.embedded import EmbeddedBroker

HOST = "127.0.0.1"


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side ends, then end the other."""
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Take TLS clients and connect each to the broker."""
    while True:
        raw, _ = listener.accept()
        try:
            client = context.wrap_socket(raw, server_side=True)
        except OSError:  # no certificate, or one of a stranger
            raw.close()
            continue
        broker = socket.create_connection((HOST, port))
        for ends in ((client, broker), (broker, client)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def listen_tls(certificate: str, key: str, authority: str, port: int) -> int:
    """Start a TLS listener before the broker at ``port``; return its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((HOST, 0))
    threading.Thread(target=serve, args=(listener, context, port), daemon=True).start()
    return int(listener.getsockname()[1])


def main() -> None:
    """Print one line, then wait."""
    asked = int(sys.argv[1])
    broker = EmbeddedBroker(HOST, asked, federation="home")
    address = broker.start()
    tls = listen_tls(*sys.argv[2:5], address.port) if len(sys.argv) > 2 else 0
    print(address.port, address.user, address.password, tls, flush=True)
    sys.stdin.read()
    broker.stop()


main()
