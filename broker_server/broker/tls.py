"""TLS of the embedded broker: its own certificate, and the authority whose certificates devices must have."""

from __future__ import annotations

import asyncio.sslproto
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.errors import ListenError

BUFFER: Final = 32 * 1024
"""Bytes that asyncio keeps for each connection to read into. Its own are 256 KiB: 290 MiB for a thousand devices."""
asyncio.sslproto.SSLProtocol.max_size = BUFFER


@dataclass(frozen=True)
class TlsFiles:
    """PEM files.

    Args:
        certificate: of the gateway.
        key: its key, not encrypted.
        authority: that signs devices' certificates.
    """

    certificate: Path
    key: Path
    authority: Path


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return TLS 1.2 or newer that takes no client without a certificate of the authority.

    Raises:
        ListenError: when a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # Every connection shows its certificate again: one that is revoked or has ended resumes nothing.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    for path in (files.certificate, files.key, files.authority):
        if not path.is_file():
            raise ListenError(f"no file {path}: broker_server init makes the gateway's certificates")
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")  # never asks at the terminal
    except (OSError, ValueError) as error:
        raise ListenError(
            f"cannot use certificate {files.certificate} with key {files.key}: {error}; expected two PEM files that "
            "belong together, the key not encrypted"
        ) from error
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        raise ListenError(f"cannot use authority {files.authority}: {error}; expected a PEM file") from error
    return context
