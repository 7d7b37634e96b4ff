"""What stands in JSON: manifest, enrolment; and broker URLs, banks, strict JSON itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from edge_runtime.wire.bank import FEDERATION_KEY, Bank
from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError, is_loopback
from edge_runtime.wire.digests import canonical_json
from edge_runtime.wire.enrolment import Enrolment, EnrolmentError
from edge_runtime.wire.errors import BankError, PackageError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.strict_json import DEPTH_LIMIT, parse, plain_tree
from tests.fuzz.json_mutator import mutator
from tests.fuzz.target import Target, decided, need
from tests.fuzz.vectors import seeds_of

FEDERATION: Final = bytes(range(32))
SHAPE: Final = BankShape((0, 3), 2, 1, 1, 2, 2)


def _manifest(data: bytes) -> str:
    return decided(partial(_read_manifest, data), PackageError)


def _read_manifest(data: bytes) -> None:
    manifest = Manifest.from_json(data)
    again = Manifest.from_json(manifest.to_json())
    need(again == manifest, "a manifest is another one once it was written and read")
    need(again.architecture.digest() == manifest.architecture.digest(), "the federation has another digest")
    need(manifest.architecture.bank_shape.nbytes > 0, "a bank without values")
    for method in manifest.methods.values():
        need(all(port.nbytes >= 0 for port in (*method.inputs, *method.outputs)), "a tensor of negative size")


def _enrolment(data: bytes) -> str:
    return decided(partial(_read_enrolment, data), EnrolmentError)


def _read_enrolment(data: bytes) -> None:
    enrolment = Enrolment.from_json(data)
    need(Enrolment.from_json(enrolment.to_json()) == enrolment, "an enrolment is another one once written and read")
    at = enrolment.gateway
    need(at.tls or at.allow_plaintext or is_loopback(at.host), "plain MQTT to another machine")


def _broker_url(data: bytes) -> str:
    """Read a URL; an odd first byte allows plain MQTT."""
    text = data[1:].decode("utf-8", "surrogateescape")
    return decided(partial(_read_url, text, allow=bool(data[:1] and data[0] & 1)), BrokerUrlError)


def _read_url(text: str, *, allow: bool) -> None:
    url = BrokerUrl.parse(text, allow_plaintext=allow)
    need(url.tls or allow or is_loopback(url.host), "plain MQTT to another machine")
    scheme = text.partition(":")[0]
    host = f"[{url.host}]" if ":" in url.host else url.host
    need(str(url) == f"{scheme.lower()}://{host}:{url.port}", "the URL shows more than where the broker is")
    credentials = f"{quote(url.user, safe='')}:{quote(url.password, safe='')}@" if url.user else ""
    need(BrokerUrl.parse(f"{scheme}://{credentials}{host}:{url.port}", allow_plaintext=True) == url, "another URL")
    try:
        stock = urlsplit(text)
    except ValueError:  # hex digits and colons that are no address: nobody can be reached there
        need(":" in url.host, "the standard library reads no URL")
        return
    need((stock.hostname or "").lower() == url.host, f"the standard library reads host {stock.hostname!r}")
    need(stock.port in (url.port, None), f"the standard library reads port {stock.port}")
    need(unquote(stock.username or "") == url.user, "the standard library reads another user")
    need(unquote(stock.password or "") == url.password, "the standard library reads another password")


def _seeds_of_urls() -> Iterator[bytes]:
    for url in seeds_of("BrokerUrl"):
        yield b"\0" + url
        yield b"\1" + url


def _strict_json(data: bytes) -> str:
    return decided(partial(_read_json, data), PackageError)


def _read_json(data: bytes) -> None:
    tree = parse(data, "a file")
    need(tree == json.loads(data), "the standard library reads another tree")
    need(parse(canonical_json(tree), "a file") == tree, "the canonical text is of another tree")
    need(_depth(tree) <= DEPTH_LIMIT, "nested too deeply")
    need(plain_tree(tree) == tree, "the plain tree is another one")


def _depth(tree: Any) -> int:
    inside = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return 0 if inside is None else 1 + max(map(_depth, inside), default=0)


def _bank(data: bytes) -> str:
    return decided(partial(_read_bank, file_of(data)), BankError)


def file_of(data: bytes) -> bytes:
    """Return the file: by its first byte an input is one, or the header of one, which then gets its size and values."""
    if data[:1] and data[0] & 1:
        return struct.pack("<Q", len(data) - 1) + data[1:] + bytes(_VALUES)
    return data[1:]


def _read_bank(data: bytes) -> None:
    bank = Bank.from_bytes(data, SHAPE, FEDERATION)
    again = Bank.from_bytes(bank.to_bytes(FEDERATION), SHAPE, FEDERATION)
    need(again.digest() == bank.digest(), "a bank is another one once it was written and read")


_VALUES: Final = SHAPE.nbytes


def _seeds_of_banks() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    zeros = Bank.zeros(SHAPE)
    bank = zeros.replace({block: rng.normal(size=SHAPE.size(block)).astype(np.float32) for block in SHAPE.ids()})
    for data in (zeros.to_bytes(FEDERATION), bank.to_bytes(FEDERATION)):
        size = int.from_bytes(data[:8], "little")
        yield b"\0" + data
        yield b"\1" + data[8 : 8 + size].rstrip()
    yield b"\1" + json.dumps({"__metadata__": {FEDERATION_KEY: FEDERATION.hex()}}).encode()
    yield (
        b"\1"
        + json.dumps({"__metadata__": {}, "head": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    )
    yield from (b"\0" + case for case in seeds_of("Bank"))


def targets() -> list[Target]:
    """Return the targets of this module."""
    prefixed = mutator(keep=1)
    return [
        Target("Manifest", _manifest, partial(seeds_of, "Manifest"), mutator(), 16_384, fixed=4 << 20),
        Target("Enrolment", _enrolment, partial(seeds_of, "Enrolment"), mutator()),
        Target("BrokerUrl", _broker_url, _seeds_of_urls, longest=600),
        Target("strict_json", _strict_json, partial(seeds_of, "Enrolment"), mutator()),
        Target("Bank", _bank, _seeds_of_banks, prefixed, 4096),
    ]
