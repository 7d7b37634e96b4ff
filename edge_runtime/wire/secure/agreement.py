"""Keys of two devices and what follows from both: X25519 (RFC 7748) and HKDF with SHA-256 (RFC 5869).

A private key is 32 bytes of any value, a number of the field of shares; X25519 itself sets the bits that it needs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge_runtime.wire.errors import SecureError

KEY_BYTES: Final = 32


def public_key(private: bytes) -> bytes:
    """Return the public key of a private one, 32 bytes each."""
    return _private(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """Return the 32 bytes that two devices have in common, each with its private and the other's public key.

    Raises:
        SecureError: for keys of another length, and a public key of small order, which would make them known to all.
    """
    if len(public) != KEY_BYTES:
        msg = f"a public key of {len(public)} bytes, expected {KEY_BYTES}"
        raise SecureError(msg)
    try:
        return _private(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        msg = f"the public key {public.hex()[:12]} is of small order"
        raise SecureError(msg) from error


def check_public(public: bytes) -> None:
    """Refuse a public key that no device may be told to agree with. Raises: SecureError: as agree."""
    agree(bytes(KEY_BYTES), public)


def derive(secret: bytes, salt: bytes, info: bytes, size: int = KEY_BYTES) -> bytes:
    """Return ``size`` bytes that follow from a secret. Args: salt: what they belong to; info: what they are for."""
    return HKDF(SHA256(), size, salt, info).derive(secret)


@lru_cache(8)  # a device agrees with many by the same key
def _private(key: bytes) -> X25519PrivateKey:
    if len(key) != KEY_BYTES:
        msg = f"a private key of {len(key)} bytes, expected {KEY_BYTES}"
        raise SecureError(msg)
    return X25519PrivateKey.from_private_bytes(key)
