"""Cases of signatures: messages and manifests that are signed, and one lie each that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.vectors.case import Case

_KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
_OTHER: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
_TOPIC: Final = "fl/v1/home/verdict/phone-1"
_SERIAL: Final = 0xFEDC_BA98_7654_3210


def _changed(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def _messages() -> Iterator[Case]:
    payload = encode(pb.Verdict(kind=pb.HELLO, digest=bytes(32), code=pb.ACCEPTED))
    signed = _KEY.sign_message(_TOPIC, payload, _SERIAL)
    context = {"key": _KEY.public.hex(), "topic": _TOPIC}
    serial = {"serial": str(_SERIAL)}
    yield Case("SignedMessage", "accept", signed, "ACCEPT", "a verdict", context, serial)
    nothing = _KEY.sign_message(_TOPIC, b"", 1)
    yield Case("SignedMessage", "accept_empty", nothing, "ACCEPT", "77 bytes alone", context, {"serial": "1"})
    for name, comment, data, change in (
        ("bare", "no signature at all", payload, {}),
        ("empty", "no bytes", b"", {}),
        ("cut", "a byte is missing at the end", signed[:-1], {}),
        ("longer", "a byte behind the signature", signed + b"\0", {}),
        ("message", "a bit of the message", _changed(signed, 3), {}),
        ("serial", "a bit of the serial", _changed(signed, len(payload) + 2), {}),
        ("serial_tag", "a bit of the serial's tag", _changed(signed, len(payload)), {}),
        ("signature_tag", "a bit of the signature's tag", _changed(signed, len(payload) + 10), {}),
        ("signature", "a bit of the signature", _changed(signed, -1), {}),
        ("other_key", "signed by somebody else", _OTHER.sign_message(_TOPIC, payload, _SERIAL), {}),
        ("other_device", "for another device", signed, {"topic": _TOPIC[:-1] + "2"}),
        ("other_federation", "for another federation", signed, {"topic": "fl/v1/school/verdict/phone-1"}),
        ("manifest", "the signature of a package", payload + signed[-77:-64] + _KEY.sign_manifest(payload), {}),
    ):
        yield Case("SignedMessage", f"refuse_{name}", data, "BAD_SIGNATURE", comment, {**context, **change})


def _manifests() -> Iterator[Case]:
    manifest = b'{"package_format": 4}\n'
    signature = _KEY.sign_manifest(manifest)
    context = {"key": _KEY.public.hex(), "signature": signature.hex()}
    yield Case("SignedManifest", "accept", manifest, "ACCEPT", "a manifest and its signature", context, {})
    message = _KEY.sign_message("", manifest, 1)[-64:]
    for name, comment, data, change in (
        ("manifest", "a bit of the manifest", _changed(manifest, 0), {}),
        ("signature", "a bit of the signature", manifest, {"signature": _changed(signature, 0).hex()}),
        ("short", "a signature of 63 bytes", manifest, {"signature": signature[1:].hex()}),
        ("empty", "no signature", manifest, {"signature": ""}),
        ("other_key", "signed by somebody else", manifest, {"signature": _OTHER.sign_manifest(manifest).hex()}),
        (
            "message",
            "the signature of a message",
            manifest,
            {"signature": message.hex()},
        ),
    ):
        yield Case("SignedManifest", f"refuse_{name}", data, "REFUSED", comment, {**context, **change})


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _messages()
    yield from _manifests()
