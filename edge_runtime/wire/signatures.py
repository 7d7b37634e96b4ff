"""What a gateway and the maker of a package sign: Ed25519 (RFC 8032) over bytes as they are sent.

Rules: SPEC.md, "Signatures". A signed payload is the message as it was encoded, then 77 bytes: ``serial`` (field 30)
and ``signature`` (field 31). Both are fields of the message, so a reader that knows neither reads the message all the
same; and the bytes before the signature are never encoded again to be checked.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import FederationError, PackageError, WireError
from edge_runtime.wire.private_files import write_private
from edge_runtime.wire.topics import Topic

SIGNED: Final = frozenset({Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT, Topic.SECURE})
"""Topics whose messages are signed; a blob is named by its digest, in a signed Version."""
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
_SERIAL: Final = struct.Struct("<2sQ")  # the tag of field 30, fixed64; the number
_SERIAL_TAG: Final = b"\xf1\x01"
_SIGNATURE_TAG: Final = b"\xfa\x01\x40"  # field 31, 64 bytes
TRAILER_BYTES: Final = _SERIAL.size + len(_SIGNATURE_TAG) + SIGNATURE_BYTES
"""By which signing makes a message longer."""
_MESSAGE_DOMAIN: Final = b"edge-experts message 1\0"
_PACKAGE_DOMAIN: Final = b"edge-experts package 1\0"


class SigningKeyError(FederationError):
    """A file holds no key to sign with, or cannot be written; the text names the file, never a key."""


class SigningKey:
    """An Ed25519 key that signs. Args: key: of ``cryptography``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public: Final = key.public_key().public_bytes_raw()
        """32 bytes: what devices are given to verify with."""

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Read a PEM file (PKCS#8, not encrypted), as ``broker_server init`` and ``export.sign`` write it.

        Raises:
            SigningKeyError: when it cannot be read or holds another kind of key.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise SigningKeyError(f"cannot read the signing key {path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(f"{path} is no unencrypted private key in PEM (PKCS#8)") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"{path} holds another kind of key; signatures are made with Ed25519")
        return cls(key)

    @classmethod
    def create(cls, path: Path) -> SigningKey:
        """Make a key and write it to a new file that only its owner may read.

        Raises:
            SigningKeyError: when the file is there already, or the disk refuses; nothing is left behind.
        """
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            write_private(path, pem)
        except FileExistsError as error:
            raise SigningKeyError(f"{path} is there already; a key that is in use is never replaced") from error
        except OSError as error:
            raise SigningKeyError(f"cannot write the signing key {path}: {error.strerror}") from error
        return cls(key)

    def sign_message(self, topic: str, payload: bytes, serial: int) -> bytes:
        """Return ``payload`` with its serial and signature behind it.

        Args:
            topic: the whole topic that it goes to.
            payload: an encoded message of one of ``SIGNED``.
            serial: below 2^64; higher than that of any message signed before.
        """
        numbered = payload + _SERIAL.pack(_SERIAL_TAG, serial)
        return numbered + _SIGNATURE_TAG + self._key.sign(_message_text(topic, numbered))

    def sign_manifest(self, manifest: bytes) -> bytes:
        """Return the signature of a package: 64 bytes over manifest.json, which names every other file by digest."""
        return self._key.sign(_PACKAGE_DOMAIN + manifest)


def verify_message(public: bytes, topic: str, payload: bytes) -> int:
    """Return the serial of a signed payload.

    Args:
        public: 32 bytes, the gateway's public key.
        topic: the whole topic that it came on: a plan for one device is none for another.
        payload: as it came.

    Raises:
        WireError: BAD_SIGNATURE when it is not signed, or not by this key for this topic.
    """
    end = len(payload) - SIGNATURE_BYTES
    start = end - len(_SIGNATURE_TAG) - _SERIAL.size
    if start < 0 or payload[end - 3 : end] != _SIGNATURE_TAG or payload[start : start + 2] != _SERIAL_TAG:
        raise WireError(pb.BAD_SIGNATURE, "a message without a signature")
    if not _signed(public, payload[end:], _message_text(topic, payload[: end - 3])):
        raise WireError(pb.BAD_SIGNATURE, "a message that the federation's gateway did not sign for this topic")
    serial: int = _SERIAL.unpack_from(payload, start)[1]
    return serial


def verify_manifest(public: bytes, manifest: bytes, signature: bytes) -> None:
    """Check a package's signature.

    Args:
        public: 32 bytes, the public key of the package's maker.
        manifest: the bytes of manifest.json.
        signature: those of manifest.sig.

    Raises:
        PackageError: when it is another's, or none.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise PackageError(f"a package's signature has {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    if not _signed(public, signature, _PACKAGE_DOMAIN + manifest):
        raise PackageError(
            f"the package's manifest is not signed by {public.hex()[:12]}…, whose packages this device takes;"
            " get the package from its maker, or a new enrolment"
        )


def _message_text(topic: str, numbered: bytes) -> bytes:
    return _MESSAGE_DOMAIN + topic.encode() + b"\0" + numbered


def _signed(public: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
