"""Cases of enrolment files: three that are accepted, and one change each that is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire.vectors.case import Case

Tree = dict[str, Any]
_GONE: Final = object()
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
_KEY: Final = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
_OLD_KEY: Final = _KEY.replace("PRIVATE", "RSA PRIVATE")
_TLS: Final[Tree] = {
    "enrolment_format": 2,
    "device": "phone-1",
    "federation": "home",
    "federation_digest": "a" * 64,
    "package_digest": "b" * 64,
    "gateway": {"host": "gateway.example", "port": 8883, "tls": True, "allow_plaintext": False, "websocket": True},
    "ca": _CERTIFICATE,
    "certificate": _CERTIFICATE,
    "key": _KEY,
    "user": "",
    "password": "",
    "gateway_key": "c" * 64,
    "package_key": "d" * 64,
}
_LEAST: Final[Tree] = {
    "enrolment_format": 2,
    "device": "phone-1",
    "federation": "home",
    "federation_digest": "a" * 64,
    "package_digest": "",
    "gateway": {"host": "127.0.0.1", "port": 1, "tls": False},
}
_EMPTY: Final = dict.fromkeys(("ca", "certificate", "key", "user", "password", "gateway_key", "package_key"), "")
_OTHER: Final[Tree] = {
    **_LEAST,
    **_EMPTY,
    "gateway": {"host": "192.168.0.7", "port": 65535, "tls": False, "allow_plaintext": True, "websocket": False},
    "user": "phöne",
    "password": 'se"cret',
}

# One change each of _TLS, by the path of a key; _GONE takes it away.
_CHANGES: Final[dict[str, tuple[str, str, object]]] = {
    "format_1": ("the format of before signatures", "enrolment_format", 1),
    "format_3": ("another format", "enrolment_format", 3),
    "format_text": ("a format that is no number", "enrolment_format", "2"),
    "format_true": ("a boolean is no number", "enrolment_format", True),
    "no_format": ("a missing key", "enrolment_format", _GONE),
    "no_device": ("a missing key", "device", _GONE),
    "no_gateway": ("a missing key", "gateway", _GONE),
    "no_port": ("a missing key inside", "gateway.port", _GONE),
    "no_package": ("a package's digest may be empty, not missing", "package_digest", _GONE),
    "unknown_key": ("an unknown key", "mood", "good"),
    "unknown_inner_key": ("an unknown key inside", "gateway.mood", "good"),
    "device_wildcard": ("a device that would reach other topics", "device", "a/#"),
    "device_empty": ("no device", "device", ""),
    "federation_slash": ("a federation that would reach other topics", "federation", "a/b"),
    "digest_short": ("a digest of 63 digits", "federation_digest", "a" * 63),
    "digest_capital": ("a digest in capitals", "federation_digest", "A" * 64),
    "no_federation_digest": ("the federation's digest must be said", "federation_digest", ""),
    "package_newline": ("a digest with something behind", "package_digest", "b" * 64 + "\n"),
    "host_url": ("a URL is no host", "gateway.host", "mqtts://gateway.example"),
    "host_user": ("a user is no part of a host", "gateway.host", "me@gateway.example"),
    "host_empty": ("no host", "gateway.host", ""),
    "host_dash": ("a host that starts with a dash", "gateway.host", "-gateway.example"),
    "host_newline": ("a host with something behind", "gateway.host", "gateway.example\n"),
    "host_long": ("a host of 254 characters", "gateway.host", "a" * 254),
    "port_0": ("port 0", "gateway.port", 0),
    "port_65536": ("a port beyond the last", "gateway.port", 65536),
    "port_fraction": ("a port with a point", "gateway.port", 8883.0),
    "tls_number": ("1 is not true", "gateway.tls", 1),
    "tls_and_plaintext": ("both ways at once", "gateway.allow_plaintext", True),
    "no_tls_with_certificates": ("certificates without TLS", "gateway.tls", False),
    "ca_text": ("an authority that is no PEM text", "ca", "gateway.pem"),
    "ca_cut": ("an authority without its end", "ca", _CERTIFICATE[:-10]),
    "certificate_alone": ("a certificate without its key", "key", ""),
    "key_alone": ("a key without its certificate", "certificate", ""),
    "key_old": ("a key that is not PKCS#8", "key", _OLD_KEY),
    "key_number": ("a key of the wrong type", "key", 7),
    "key_null": ("null is no text", "key", None),
    "password_alone": ("a password without a user", "password", "secret"),
    "user_long": ("a user of 201 bytes", "user", "u" * 201),
    "user_line": ("a user of two lines", "user", "a\nb"),
    "gateway_key_short": ("a key of 63 digits", "gateway_key", "c" * 63),
    "gateway_key_capital": ("a key in capitals", "gateway_key", "C" * 64),
    "package_key_pem": ("a key that is PEM text", "package_key", _KEY),
    "websocket_number": ("1 is not true", "gateway.websocket", 1),
}


def _bytes(tree: Tree) -> bytes:
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def _changed(base: Tree, path: str, value: object) -> bytes:
    tree = copy.deepcopy(base)
    *folders, last = path.split(".")
    node = tree
    for name in folders:
        node = node[name]
    if value is _GONE:
        del node[last]
    else:
        node[last] = value
    return _bytes(tree)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    whole = {**_LEAST, **_EMPTY, "gateway": {**_LEAST["gateway"], "allow_plaintext": False, "websocket": False}}
    for name, comment, tree, meaning in (
        ("tls", "a device with a certificate", _TLS, _TLS),
        ("least", "what may be left out is left out: this machine's broker, anybody", _LEAST, whole),
        ("plaintext", "a user's password over a network that is trusted", _OTHER, _OTHER),
    ):
        yield Case("Enrolment", f"accept_{name}", _bytes(tree), "ACCEPT", comment, meaning=meaning)
    address = _changed(_TLS, "gateway.host", "2001:db8::7")
    meaning = {**_TLS, "gateway": {**_TLS["gateway"], "host": "2001:db8::7"}}
    yield Case("Enrolment", "accept_address_6", address, "ACCEPT", "an IPv6 address", meaning=meaning)
    for name, (comment, path, value) in _CHANGES.items():
        yield Case("Enrolment", f"refuse_{name}", _changed(_TLS, path, value), "REFUSED", comment)
    plain = _changed(_LEAST, "gateway.host", "192.168.0.7")
    yield Case("Enrolment", "refuse_plaintext", plain, "REFUSED", "plain text to another machine, nobody allowed it")
    twice = _bytes(_LEAST).replace(b'"device"', b'"device": "other",\n "device"')
    yield Case("Enrolment", "refuse_duplicate_key", twice, "REFUSED", "a key that is there twice")
    yield Case("Enrolment", "refuse_list", b"[]", "REFUSED", "a list")
    yield Case("Enrolment", "refuse_empty", b"", "REFUSED", "no bytes")
    yield Case("Enrolment", "refuse_bom", b"\xef\xbb\xbf" + _bytes(_LEAST), "REFUSED", "a byte order mark")
    large = _bytes(_LEAST) + b" " * (256 * 1024)
    yield Case("Enrolment", "refuse_large", large, "REFUSED", "over 256 KiB")
