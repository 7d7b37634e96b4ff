"""What a failed connection to a broker means, in words with a way out. Gateway and device say the same."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from typing import Final, Protocol

_NAME: Final = re.compile(r"\[SSL: ([A-Z0-9_]+)\]")
_CLOCK: Final = "; if its dates are right, this machine's clock is wrong"
_AUTHORITY: Final = "the broker's certificate was not signed by the authority that is trusted here: give the right ca"
# OpenSSL's X509_V_ERR_ numbers: what this side found wrong with the broker's certificate.
_VERIFIED: Final = {
    9: f"the broker's certificate is not valid yet{_CLOCK}",
    10: f"the broker's certificate has expired: make it a new one{_CLOCK}",
    18: _AUTHORITY,
    19: _AUTHORITY,
    20: _AUTHORITY,
    21: _AUTHORITY,
    23: "the broker's certificate was revoked",
}
_OTHER_NAME: Final = (62, 64)
# What the broker found wrong with the certificate of this side: the alert that it sent.
_SHOWN: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "was signed by an authority that the broker does not trust",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "has expired: ask for a new one",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "was revoked",
    "TLSV1_ALERT_DECRYPT_ERROR": "does not go with its key",
}
_DEMANDS: Final = "the broker demands a certificate: give certificate and key"
_REFUSALS: Final = re.compile("(SSLV3|TLSV1|TLSV13)_ALERT_.*(CERTIFICATE|CA|HANDSHAKE_FAILURE|ACCESS_DENIED|DECRYPT)")
_PLAIN: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE")


def tls_failure(error: BaseException | str, host: str, *, certificate: bool) -> str:
    """Return what went wrong and what to do; "" where it is not about TLS.

    Args:
        error: as the ssl module raised it, or its text.
        host: that was connected to.
        certificate: whether this side showed one.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return f"the broker's certificate is not for {host}: use a name that stands in it, or make it a new one"
        return _VERIFIED.get(error.verify_code, f"the broker's certificate is not good: {error.verify_message}")
    match = _NAME.search(str(error))
    if match is None:
        ended = isinstance(error, ssl.SSLError)
        return "the broker ended the connection instead of speaking TLS; is this its TLS port?" if ended else ""
    name = match[1]
    if name in _PLAIN:
        return "the broker speaks no TLS on this port: choose its TLS port, or mqtt:// where plain text is allowed"
    if _REFUSALS.match(name):
        refused = f"the broker refuses the certificate that was shown: it {_SHOWN.get(name, 'is not good there')}"
        return refused if certificate else _DEMANDS
    return f"TLS with the broker failed: {name.lower().replace('_', ' ')}"


def ask_why(context: ssl.SSLContext, host: str, port: int, *, certificate: bool, wait_s: float = 2.0) -> str:
    """Connect once more and only listen, to hear why a broker ended a connection; "" where it does not end this one.

    With TLS 1.3 the broker judges a certificate after the handshake. What a client has sent by then makes the system
    reset the connection, and the broker's alert may be lost with it.

    Args:
        context: of the client.
        host: to connect to.
        port: to connect to.
        certificate: whether this side shows one.
        wait_s: for a connection, and for an alert.
    """
    try:
        with (
            socket.create_connection((host, port), wait_s) as connection,
            context.wrap_socket(connection, server_hostname=host) as secure,
        ):
            secure.recv(1)
    except OSError as error:
        return tls_failure(error, host, certificate=certificate)
    return ""


def unanswered(context: ssl.SSLContext | None, host: str, port: int, *, certificate: bool) -> str:
    """Return what a connection means that ended before the broker answered.

    Args:
        context: of the client; None without TLS.
        host: that was connected to.
        port: that was connected to.
        certificate: whether this side showed one.
    """
    if context is None:
        return "the broker ended the connection without an answer; if its port expects TLS, use mqtts:// or wss://"
    reason = ask_why(context, host, port, certificate=certificate)
    return reason or "the broker ended the connection without an answer, as some do that do not accept a certificate"


class Opened(Protocol):
    """A socket, or a WebSocket around one."""

    def fileno(self) -> int:
        """Return its file."""
        ...


def cut(opened: Opened | None) -> None:
    """Break a client's connection, if there is one, as a network would: who waits for it goes on."""
    with contextlib.suppress(OSError):
        if opened is not None:
            with socket.socket(fileno=os.dup(opened.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
