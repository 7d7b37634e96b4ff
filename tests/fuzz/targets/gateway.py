"""What a gateway takes from devices: MQTT frames, Hello, deltas, class statistics."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Final

import numpy as np

from broker_server.broker.access import AccessError, Certificate, identify
from broker_server.broker.connect_packet import body_start
from broker_server.broker.framing import FrameReader
from broker_server.broker.pace import Pace
from broker_server.rules.admission import (
    DeltaContext,
    Identity,
    admit,
    check_hello,
    check_statistics,
    kind_of,
    read_contribution,
)
from broker_server.rules.aggregate import merge
from broker_server.rules.capping import cap
from broker_server.rules.weights import Caps, capped_sums
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.messages import decode, encode, refs
from edge_runtime.wire.tensors import encode as encode_values
from tests.fuzz.proto_mutator import mutator_of
from tests.fuzz.target import Target, decided, need
from tests.fuzz.vectors import seeds_of

SHAPE: Final = BankShape((0, 1), 4, 1, 1, 4, 3)
FEDERATION: Final = b"f" * 32
_BLOCKS: Final = (ExpertId(0, 1), shared_expert(1), HEAD)
_PACKET: Final = 1024


@cache
def _plan() -> pb.Plan:
    plan = pb.Plan(
        device="a", round=3, base_version=5, version_digest=b"v" * 32, train=refs(_BLOCKS), steps=10,
        learning_rate=0.01, shared_learning_rate=0.01, head_learning_rate=0.001, deadline_s=60.0,
    )  # fmt: skip
    encode(plan)
    return plan


def _context() -> DeltaContext:
    return DeltaContext(Identity("a", joined=True), _plan(), None, 1, 2, SHAPE, {"expert": 0.5})


def _admission(data: bytes) -> str:
    return decided(partial(_admit, data), WireError)


def _admit(data: bytes) -> None:
    delta = decode(pb.Delta, data)
    accepted = admit(delta, sha256(data), _context())
    need(set(accepted.contribution.deltas) <= set(_BLOCKS), "a block that is not planned was taken")
    need(all(math.isfinite(norm) for norm in accepted.norms.values()), "a norm that is not finite was taken")
    need(set(accepted.norms) == {kind_of(block) for block in accepted.contribution.deltas}, "norms of other kinds")
    again = read_contribution(delta, SHAPE, 1, delta.examples)
    need(again.examples == accepted.contribution.examples, "the spool tells another")
    honest = [replace(accepted.contribution, device=name, examples=10) for name in "bcd"]
    for top_k in (0, 2):
        capped, _ = cap([accepted.contribution, *honest], Caps(), top_k)
        total = sum(one.examples for one in capped)
        need(capped[0].examples <= 0.5 * total + 1e-9, f"one device of four has {capped[0].examples} of {total}")
        merged = merge(Bank.zeros(SHAPE), capped, topk=bool(top_k))
        need(all(np.isfinite(merged.block(block)).all() for block in SHAPE.ids()), "a merged bank is not finite")


def _seeds_of_deltas() -> Iterator[bytes]:
    for codec in (pb.FLOAT32, pb.INT8):
        experts = [
            pb.ExpertDelta(
                layer=block.layer,
                index=block.index,
                values=encode_values(np.full(SHAPE.size(block), 0.001, np.float32), codec),
            )
            for block in _BLOCKS
        ]
        delta = pb.Delta(
            device="a", plan_digest=sha256(encode(_plan())), round=3, base_version=5, examples=10, codec=codec,
            experts=experts, loss_first=1.0, loss_last=0.5, step_ms=3.0, steps=10, label_counts=[4.0, 6.0, 0.0],
            use=[pb.ExpertUse(layer=0, index=1, routed=3.0, seen=9.0)],
        )  # fmt: skip
        yield encode(delta)
    yield from seeds_of("Delta")


def _statistics(data: bytes) -> str:
    return decided(partial(_take_statistics, data), WireError)


def _take_statistics(data: bytes) -> None:
    statistics = decode(pb.ClassStatistics, data)
    check_statistics(statistics, Identity("a", joined=True), FEDERATION, SHAPE, 2**32 - 1)
    sums = ClassSums.from_bytes(statistics.counts, statistics.sums)
    need(sums.counts.shape == (3,) and sums.sums.shape == (3, 4), "sums of another shape")
    honest = ClassSums(np.full(3, 5, np.float32), np.eye(3, 4, dtype=np.float32))
    parts = capped_sums([sums, honest, honest, honest], Caps())
    share = parts[0].counts / np.sum([part.counts for part in parts], axis=0)
    need(bool((share <= 0.5 + 1e-9).all()), f"one device of four has {share} of the labels")
    for total in (sums, ClassSums.total([sums, sums]), ClassSums.total(parts)):
        blocks = class_mean_head(total, 20.0)
        need(all(np.isfinite(block).all() for block in blocks.values()), "a head that is not finite")


def _seeds_of_statistics() -> Iterator[bytes]:
    counts = np.array([4, 6, 0], np.float32)
    sums = np.outer(counts, np.full(4, 0.4)).astype(np.float32)
    yield ClassSums(counts, sums).message("a", FEDERATION)
    for factor in (1e8, 1e30, 5e37):
        yield ClassSums(counts * np.float32(factor), sums * np.float32(factor)).message("a", FEDERATION)
    yield from seeds_of("ClassStatistics")


def _hello(data: bytes) -> str:
    return decided(partial(_greet, data), WireError)


def _greet(data: bytes) -> None:
    hello = decode(pb.Hello, data)
    check_hello(hello, Identity("a", joined=False), FEDERATION, "a federation")
    need(hello.device == "a", "another device was greeted")


def _seeds_of_hellos() -> Iterator[bytes]:
    hello = pb.Hello(
        device="a", federation_digest=FEDERATION, package_digest=b"p" * 32, gateway_session=b"s" * 16, profile="tiny",
        runtime="numpy", trained_slots=2, held_slots=4, batch_size=2, examples=10, codecs=[pb.FLOAT32, pb.INT8],
    )  # fmt: skip
    yield encode(hello)
    yield from seeds_of("Hello")


# --- MQTT frames --------------------------------------------------------------------------------------------------


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def _frames(data: bytes) -> str:
    return _loop().run_until_complete(_read_frames(data))


async def _read_frames(data: bytes) -> str:
    """Read packets as the broker does: CONNECT, then of each a byte, its length, the rest; all that came, in order."""
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    reader, read = FrameReader(stream, _PACKET, Pace(1e9), Pace(1e9)), b""
    try:
        connect = await reader.connect()
    except (ConnectionResetError, asyncio.IncompleteReadError) as error:
        return type(error).__name__
    try:
        with contextlib.suppress(AccessError):
            peer = identify(connect, "home", "10.0.0.1", Certificate("a", "01"))
            need(peer.device in ("", "a"), f"the certificate of a was taken for {peer.device!r}")
        first = await reader.read()
        flags = body_start(first) + 7  # the one byte that is changed: no session outlives its connection
        data = data[:flags] + first[flags : flags + 1] + data[flags + 1 :]
        read += first
        while True:
            read += await reader.read(1)
            need(len(reader._frame) <= _PACKET + 5, f"a packet of {len(reader._frame)} bytes is kept")
            read += await reader.read(min(2, len(reader._frame) - 1))
            read += await reader.read()
    except (ConnectionResetError, asyncio.IncompleteReadError) as error:
        need(data.startswith(read), "other bytes came than were sent")
        with contextlib.suppress(ConnectionResetError, asyncio.IncompleteReadError):
            await reader.read(1)
            need(condition=False, what="a connection that was given up is read on")
        return type(error).__name__


def _seeds_of_frames() -> Iterator[bytes]:
    for keep_alive in (0, 60, 0xFFFF):
        connect = b"\x00\x04MQTT\x04\x02" + struct.pack(">H", keep_alive) + b"\x00\x06home.a"
        start = b"\x10" + bytes([len(connect)]) + connect
        yield start
        yield start + b"\xc0\x00" + b"\x32\x0a\x00\x03a/b\x00\x01xyz" + b"\xe0\x00"
        yield start + b"\x30\x80\x08" + bytes(1024)
    will = b"\x00\x04MQTT\x04\xc6\x00\x3c\x00\x06home.a\x00\x10fl/v1/home/bye/a\x00\x01x\x00\x02me\x00\x02pw"
    yield b"\x10" + bytes([len(will)]) + will + b"\x82\x05\x00\x01\x00\x00\x00"
    yield b"\x10\xff\xff\xff\x7f"
    yield b"\x10\x80\x80\x80\x80\x01"


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("admission", _admission, _seeds_of_deltas, mutator_of(pb.Delta)),
        Target("statistics", _statistics, _seeds_of_statistics, mutator_of(pb.ClassStatistics)),
        Target("hello", _hello, _seeds_of_hellos, mutator_of(pb.Hello)),
        Target("mqtt_frames", _frames, _seeds_of_frames, longest=3000),
    ]
