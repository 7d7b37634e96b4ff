"""What a gateway and a device read back of what they wrote, what an operator wrote, and whose word a device takes."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker_server.config import GatewayConfig
from broker_server.config_file import load
from broker_server.errors import StateError, UsageError
from broker_server.state.announced import Announced
from broker_server.state.files import seal
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.version_files import VersionFiles, VersionRecord
from edge_runtime.federation.trust import Trust
from edge_runtime.store import Store
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import PackageError, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.strict_json import parse, plain_tree
from edge_runtime.wire.topics import Address, Topic
from tests.fuzz.json_mutator import mutator
from tests.fuzz.scratch import scratch
from tests.fuzz.target import Target, decided, need

_SIGNED: Final = (Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT)


# --- sealed files of a gateway ------------------------------------------------------------------------------------


def _sealed(data: bytes) -> str:
    """Read HEAD and a version's file; an even first byte seals an object anew, so that what it says is read."""
    text = data[1:]
    if not (data[:1] and data[0] & 1):
        try:
            tree = parse(text, "a file")
        except PackageError:
            tree = None
        text = seal(tree) if isinstance(tree, dict) else text
    return f"{_read_head(text)} {_read_version(text)}"


def _read_head(text: bytes) -> str:
    folder = scratch()
    (folder / "HEAD").write_bytes(text)

    def read() -> None:
        announced = Announced.read(folder)
        need(announced is not None, "a file that is there was not read")

    return decided(read, StateError)


def _read_version(text: bytes) -> str:
    files = VersionFiles(scratch() / "versions")
    files.folder.mkdir(exist_ok=True)
    (files.folder / f"{7:08d}").write_bytes(text)

    def read() -> None:
        record = files.read(7)
        need(record is not None, "a file that is there was not read")

    return decided(read, StateError)


def _seeds_of_sealed() -> Iterator[bytes]:
    row = VersionRow(7, 6, b"d" * 32, 3, 1, "merge", 1.5, b"payload", None)
    delta = DeltaRow("a", 3, b"e" * 32, 100, 10, 1.5, 0.5, 3.0, {"expert": 0.5}, (ExpertId(0, 1),), 7)
    files = VersionFiles(scratch() / "versions")
    files.keep(VersionRecord(row, (delta,)))
    version = (files.folder / f"{7:08d}").read_bytes()
    Announced(7, b"d" * 32, 3).write(scratch())
    head = (scratch() / "HEAD").read_bytes()
    for first in (b"\0", b"\1"):
        yield from (first + version, first + head)
    yield b"\1" + b"[" * 4000


# --- an operator's configuration ----------------------------------------------------------------------------------


def _config(data: bytes) -> str:
    path = scratch() / "gateway.toml"
    path.write_bytes(data)
    return decided(partial(_load, path), UsageError)


def _load(path: Path) -> None:
    config = load(path, {}, lambda _: Path("packages/tiny"))
    need(isinstance(config, GatewayConfig), "another kind of configuration")
    _finite(plain_tree(config), "config")


def _finite(tree: Any, where: str) -> None:
    if isinstance(tree, dict):
        for name, value in tree.items():
            _finite(value, f"{where}.{name}")
    elif isinstance(tree, float):
        need(math.isfinite(tree), f"{where} is {tree}")


def _seeds_of_configs() -> Iterator[bytes]:
    yield b'package = "p"\nrounds = 8\nfederation = "home"\n[listen]\nhost = "127.0.0.1"\nport = 1883\n'
    yield b"[round]\nquorum = 3\ndeadline_s = 30.5\njoin_wait_s = 1\ngrace_s = 2\n[train]\nsteps = 5\ncodec = 'int8'\n"
    yield b"linger_s = inf\n[limits]\nnorm_factor = 2.0\nweight_share = 0.5\n[train]\nlearning_rate = 1e-3\n"
    yield b"rounds = " + b"[" * 1400
    yield b'broker = "mqtts://user:secret@broker.example"\nca = "ca.pem"\nevents = ""\n[listen]\nallow_plaintext = true'


# --- whose word a device takes ------------------------------------------------------------------------------------


@cache
def _keys() -> tuple[SigningKey, SigningKey]:
    first, second = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([place] * 32))) for place in (1, 2))
    return first, second


def _trust(data: bytes) -> str:
    """Hear messages: three bytes each say which topic, serial and who; what is taken of a topic never goes back."""
    gateway, stranger = _keys()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, Store(Path(folder)) as store:
        trust, newest, taken, session = Trust(gateway.public, store), dict[Topic, int](), 0, b""
        for place in range(0, min(len(data), 48) - 2, 3):
            kind, serial, who = struct.unpack_from("<BBB", data, place)
            if who & 16:
                trust = Trust(gateway.public, store)  # started anew
            address = Address("home", _SIGNED[kind % 4], "" if kind % 4 < 2 else "a")
            payload, state = _said(address, serial, who)
            spoken = Address("home", address.topic, "b") if who & 8 and address.name else address
            key = stranger if who & 1 else gateway
            try:
                trust.check(address, payload if who & 2 else key.sign_message(str(spoken), payload, serial))
            except WireError as error:
                need(error.code == pb.BAD_SIGNATURE, f"refused with {error.code}")
                continue
            taken += 1
            need(not who & 3 and spoken == address, "a message was taken that the gateway did not sign for this topic")
            if state is not None and not state.online and state.session == session:
                continue  # the will: signed before all that came
            need(serial >= newest.get(address.topic, 0), "an old message was taken")
            session = session if state is None else state.session
            newest[address.topic] = serial
    return "ACCEPT" if taken else "REFUSED"


def _said(address: Address, serial: int, who: int) -> tuple[bytes, pb.GatewayState | None]:
    """Return what a gateway says under a number: no two messages of two sessions have the same."""
    if address.topic is not Topic.GATEWAY:
        return b"\x08\x01\x12\x01a", None
    session = bytes([serial >> 4]) * 16
    state = pb.GatewayState(federation_digest=b"f" * 32, online=not who & 4, session=session)
    return messages.encode(state), state


def _seeds_of_trust() -> Iterator[bytes]:
    yield bytes((0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 0, 4))
    yield bytes((1, 5, 0, 2, 9, 0, 3, 9, 8, 1, 4, 16, 1, 6, 1, 1, 7, 2))
    yield bytes((0, 9, 0, 64, 10, 0, 0, 9, 4, 64, 9, 4, 64, 3, 16))


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("gateway_files", _sealed, _seeds_of_sealed, mutator(keep=1)),
        Target("config", _config, _seeds_of_configs, longest=1500),
        Target("trust", _trust, _seeds_of_trust, longest=48),
    ]
