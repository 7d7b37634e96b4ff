"""Enrolment files: what a device needs to take part in a federation, in one file that its owner hands over.

Strict JSON, read by devices in every language; rules: SPEC.md, "Enrolment". The file may hold a private key or a
password, so it is as secret as they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final, Self

from edge_runtime.wire.broker_url import CREDENTIAL_BYTES, HOST, is_loopback
from edge_runtime.wire.errors import FederationError, MalformedMessage, PackageError
from edge_runtime.wire.strict_json import parse, plain_tree, typed
from edge_runtime.wire.text import plain, shown
from edge_runtime.wire.topics import check_name

ENROLMENT_FORMAT: Final = 2
ENROLMENT_LIMIT: Final = 256 * 1024
"""Bytes of a file that is read."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CERTIFICATE: Final = "CERTIFICATE"
_KEY: Final = "PRIVATE KEY"


class EnrolmentError(FederationError):
    """An enrolment file cannot be used; the text says which key is wrong and how."""


@dataclass(frozen=True)
class GatewayAddress:
    """Where the gateway's broker is.

    Args:
        host: a name, an IPv4 address, or an IPv6 address without brackets.
        port: TCP port.
        tls: speak TLS.
        allow_plaintext: without TLS, take a host that is another machine: anyone on the way can read and change all.
        websocket: MQTT goes through a WebSocket.
    """

    host: str
    port: int
    tls: bool
    allow_plaintext: bool = False
    websocket: bool = False


@dataclass(frozen=True)
class Enrolment:
    """One device's way into one federation.

    Args:
        enrolment_format: 2.
        device: its id.
        federation: second word of every topic.
        federation_digest: hex; a package of another federation cannot take part.
        package_digest: hex, of the package that the device should have; "" takes any of the federation.
        gateway: where to.
        ca: PEM of the authority that signed the broker's certificate; "" takes the system's.
        certificate: PEM of the device's certificate, "" is none; it goes with ``key``.
        key: PEM of its key in PKCS#8, not encrypted.
        user: name for the broker; "" is none.
        password: it goes with ``user``.
        gateway_key: hex of the Ed25519 key that the gateway signs with; "" takes what is not signed.
        package_key: hex of the Ed25519 key that the device's packages are signed with; "" asks for no signature.

    Raises:
        EnrolmentError: when two parts contradict each other, or one is not what it should be.
    """

    enrolment_format: int
    device: str
    federation: str
    federation_digest: str
    package_digest: str
    gateway: GatewayAddress
    ca: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    gateway_key: str = ""
    package_key: str = ""

    def __post_init__(self) -> None:
        _check_format(self.enrolment_format)
        try:
            check_name(self.device, "device")
            check_name(self.federation, "federation")
        except MalformedMessage as error:
            raise EnrolmentError(error.detail) from error
        digests = [self.federation_digest, *([self.package_digest] if self.package_digest else [])]
        _need(all(map(_DIGEST.fullmatch, digests)), "a digest is no SHA-256 in 64 lower-case hex digits")
        for name in ("gateway_key", "package_key"):
            public = getattr(self, name)
            _need(not public or bool(_DIGEST.fullmatch(public)), f"{name} is no public key in 64 lower-case hex digits")
        self._check_gateway()
        self._check_identity()

    def _check_gateway(self) -> None:
        at = self.gateway
        _need(bool(HOST.fullmatch(at.host)), f"gateway.host {shown(at.host)} is no host name or address")
        _need(1 <= at.port <= 0xFFFF, f"gateway.port {at.port}, expected 1 to 65535")
        _need(
            at.tls or at.allow_plaintext or is_loopback(at.host),
            f"{at.host} is another machine and tls is false; use a broker with TLS, or set allow_plaintext on a "
            "network that you trust",
        )
        _need(not (at.tls and at.allow_plaintext), "tls and allow_plaintext contradict each other")
        _need(at.tls or not (self.ca or self.certificate or self.key), "certificates need tls, which is false")

    def _check_identity(self) -> None:
        _need(bool(self.certificate) == bool(self.key), "certificate and key go together; one of them is missing")
        for name, kind in (("ca", _CERTIFICATE), ("certificate", _CERTIFICATE), ("key", _KEY)):
            text = getattr(self, name)
            ends = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
            _need(not text or all(end in text for end in ends), f"{name} is no PEM text ({ends[0]} …)")
        _need(bool(self.user) or not self.password, "a password came without a user")
        for name in ("user", "password"):
            _need(plain(getattr(self, name), CREDENTIAL_BYTES), f"{name} is over {CREDENTIAL_BYTES} bytes or not plain")

    @classmethod
    def from_json(cls, data: bytes, source: str = "the enrolment") -> Self:
        """Read a file's bytes.

        Raises:
            EnrolmentError: saying what is wrong; never with a key or password.
        """
        if len(data) > ENROLMENT_LIMIT:
            raise EnrolmentError(f"{source} has over {ENROLMENT_LIMIT} bytes; ask for the right file")
        try:
            enrolment: Self = typed(_readable(parse(data, source)), cls, source)
        except PackageError as error:
            raise EnrolmentError(str(error)) from error
        except EnrolmentError as error:
            raise EnrolmentError(f"{source}: {error}") from error
        return enrolment

    def to_json(self) -> bytes:
        """Return the bytes of a file."""
        return (json.dumps(plain_tree(self), indent=1, ensure_ascii=False) + "\n").encode()


def _readable(tree: object) -> object:
    """Refuse first what the general reader would name badly (another format) or show (a secret of a wrong type)."""
    if isinstance(tree, dict):
        version = tree.get("enrolment_format")
        if isinstance(version, int) and not isinstance(version, bool):
            _check_format(version)
        for name in ("key", "password"):
            _need(isinstance(tree.get(name, ""), str), f"{name} is no text")
    return tree


def _check_format(version: int) -> None:
    _need(version == ENROLMENT_FORMAT, f"enrolment format {version} came, this software reads {ENROLMENT_FORMAT}")


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise EnrolmentError(message)
