"""Bodies on their way: offered, granted, resumed after a restart; what lies costs itself. No broker or clock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules
from broker_server.rounds.offers import LEASE_S
from broker_server.rounds.transfers import OFFERS_AT_ONCE, SLOW_S
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_chunks, split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.piece_files import KEPT_S
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def opened(folder: Path, package: Any, devices: Sequence[str] = "ab", **fields: Any) -> Gateway:
    """Return a gateway to which devices said hello, its first round open."""
    gateway = Gateway(folder / "state", package, round=RoundRules(quorum=2, join_wait_s=0), **fields)
    gateway.hello(*devices)
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    return gateway


def delta(gateway: Gateway, device: str = "a", value: float = 0.01) -> bytes:
    """Return a delta for the plan of a device."""
    plan, payload = gateway.plan(device)
    return encode(tiny.delta(plan, payload, value=value))


def twenty(body: bytes) -> tuple[int, list[bytes]]:
    """Return how many bytes a piece has, and a body's twenty chunks."""
    piece = -(-len(body) // 20)
    chunks = list(split(body, pb.DELTA, piece))
    assert len(chunks) == 20
    return piece, chunks


def send(gateway: Gateway, chunks: list[bytes], device: str = "a") -> None:
    """Deliver chunks of a delta."""
    for chunk in chunks:
        gateway.send(Topic.DELTA, device, chunk)


def anew(gateway: Gateway, package: Any, *, killed: bool = False) -> Gateway:
    """Start the gateway again over its state; the devices say hello again."""
    if not killed:
        gateway.reception.transfers.stop()
    gateway.close()
    again = Gateway(gateway.config.state, package, round=gateway.config.round)
    again.hello("a", "b")
    return again


def files(gateway: Gateway) -> list[Path]:
    """Return the files of pieces."""
    return sorted((gateway.config.state / "pieces").glob("*"))


def test_an_offer_is_answered_with_what_lacks_and_then_with_the_decision(tmp_path: Path, package: Any) -> None:
    """All chunks, those that lack, the verdict; and that again for an offer of the decided body."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    first = gateway.offer("a", body, piece)
    assert (first.code, first.missing, first.retry_after_s) == (pb.INCOMPLETE, b"", LEASE_S)
    send(gateway, chunks[:7])
    assert missing_chunks(gateway.offer("a", body, piece).missing, 20) == tuple(range(7, 20))
    send(gateway, chunks[7:])
    verdict = gateway.verdict("a")
    assert (verdict.code, verdict.digest) == (pb.ACCEPTED, sha256(body))
    assert gateway.offer("a", body, piece) == verdict
    assert gateway.reception.transfers.granted_bytes == 0


def test_statistics_are_offered_likewise(tmp_path: Path, package: Any) -> None:
    """Those that the gateway keeps are accepted without being sent again."""
    gateway = Gateway(tmp_path / "state", package)
    body = gateway.hello_with("a", ["rose"], [0])
    assert gateway.offer("a", body, kind=pb.STATISTICS).code == pb.INCOMPLETE
    gateway.statistics("a", body)
    assert gateway.verdict("a").code == pb.ACCEPTED
    again = gateway.offer("a", body, kind=pb.STATISTICS)
    assert (again.code, again.kind, again.digest) == (pb.ACCEPTED, pb.STATISTICS, sha256(body))


@pytest.mark.parametrize("killed", [False, True])
def test_a_restart_asks_only_for_the_chunks_that_lack(tmp_path: Path, package: Any, killed: bool) -> None:
    """Twelve of twenty came. A stop keeps all of them; a kill those of a body that was on its way for a while."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    gateway.offer("a", body, piece)
    send(gateway, chunks[:10])
    gateway.now += SLOW_S
    gateway.reception.tick(gateway.now, gateway.now)
    send(gateway, chunks[10:12])
    (file,) = files(gateway)
    assert file.stat().st_mode & 0o777 == 0o600
    again = anew(gateway, package, killed=killed)
    missing = missing_chunks(again.offer("a", body, piece).missing, 20)
    assert missing == tuple(range(10 if killed else 12, 20))
    send(again, [chunks[index] for index in missing])
    assert again.verdict("a").code == pb.ACCEPTED
    assert files(again) == []
    assert len(again.store.ledger.waiting()) == 1


def test_pieces_are_taken_up_on_a_machine_that_runs_for_months(tmp_path: Path, package: Any) -> None:
    """How old they are is told by their file; in memory it counts from the first look."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    send(gateway, chunks[:12])
    again = anew(gateway, package)
    for later, missing in ((100 * KEPT_S, tuple(range(12, 20))), (KEPT_S + 5, tuple(range(20)))):
        again.now += later
        again.reception.tick(again.now, again.now)
        assert missing_chunks(again.offer("a", body, piece).missing, 20) == missing


def test_fast_bodies_are_not_written_twice(tmp_path: Path, package: Any) -> None:
    """Pieces of a body that is complete within SLOW_S never come to the disk."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    _, chunks = twenty(body)
    gateway.now -= 1.0
    for chunk in chunks:
        gateway.now -= 1.0
        send(gateway, [chunk])
        gateway.reception.tick(gateway.now, gateway.now)
        assert files(gateway) == []
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_an_offer_before_the_hello_costs_no_pieces(tmp_path: Path, package: Any) -> None:
    """A gateway that starts anew knows nobody, and keeps what came."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    send(gateway, chunks[:12])
    gateway.reception.transfers.stop()
    gateway.close()
    again = Gateway(gateway.config.state, package)
    assert again.offer("a", body, piece).code == pb.UNKNOWN_DEVICE
    again.hello("a")
    assert missing_chunks(again.offer("a", body, piece).missing, 20) == tuple(range(12, 20))


def test_a_damaged_tail_costs_the_pieces_behind_it(tmp_path: Path, package: Any) -> None:
    """Those before it are taken; a file of nothing, or one that is old, goes."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    send(gateway, chunks[:12])
    gateway.reception.transfers.stop()
    (file,) = files(gateway)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (file.parent / "nothing").write_bytes(b"rubbish")
    again = anew(gateway, package, killed=True)
    assert files(again) == [file]
    assert missing_chunks(again.offer("a", body, piece).missing, 20) == tuple(range(11, 20))
    old = time.time() - KEPT_S - 1
    os.utime(file, (old, old))
    last = anew(again, package, killed=True)
    assert files(last) == []
    assert last.offer("a", body, piece).missing == b""


def test_a_full_gateway_serves_two_hundred_offers_in_their_order(tmp_path: Path, package: Any) -> None:
    """Room for three bodies: never more are held, none is refused for good, each is called once when its turn comes."""
    devices = [f"d{number:03}" for number in range(200)]
    gateway = opened(tmp_path, package, devices, limits=Limits(new_names_per_hour=0))
    bodies = {device: delta(gateway, device) for device in devices}
    room = 6 * max(map(len, bodies.values()))  # newcomers share half of it
    gateway.close()
    limits = Limits(new_names_per_hour=0, transfer_bytes=room)
    gateway = Gateway(gateway.config.state, package, round=RoundRules(quorum=200, join_wait_s=0), limits=limits)
    gateway.hello(*devices)
    waits = []
    for device in devices:
        gateway.now -= 1.0  # the helper's clock moves one second a message
        waits += [device] if gateway.offer(device, bodies[device]).code == pb.BUSY else []
    assert waits == devices[3:]
    assert gateway.reception.transfers.waiting == 197
    served, most = [], 0
    for _ in range(200):
        granted = [
            to for topic, to, payload in gateway.out.sent
            if topic is Topic.VERDICT and decode(pb.Verdict, payload).code == pb.INCOMPLETE
        ]  # fmt: skip
        device = granted[len(served)]
        gateway.now -= 1.0
        gateway.deliver(device, bodies[device])
        assert gateway.verdict(device).code == pb.ACCEPTED
        served.append(device)
        gateway.reception.tick(gateway.now, gateway.now)
        most = max(most, gateway.reception.transfers.granted_bytes)
    assert served == devices
    assert most <= room
    assert len(granted) == 200


def test_a_liar_costs_its_lease_and_comes_last(tmp_path: Path, package: Any) -> None:
    """It offers as much as a body may have and sends nothing: the others wait for LEASE_S once, and never again."""
    gateway = opened(tmp_path, package, "abc", limits=Limits(body_bytes=4000, transfer_bytes=4000))
    bodies = {device: delta(gateway, device) for device in "bc"}
    assert gateway.offer_as("a", pb.DELTA, b"l" * 32, 1, 4001).code == pb.TOO_LARGE
    assert gateway.offer_as("a", pb.DELTA, b"l" * 32, 1, 4000).code == pb.INCOMPLETE
    assert gateway.offer("b", bodies["b"]).code == pb.BUSY
    assert gateway.offer("c", bodies["c"]).code == pb.BUSY
    gateway.now += LEASE_S
    gateway.reception.tick(gateway.now, gateway.now)
    assert gateway.verdict("b").code == pb.INCOMPLETE
    assert gateway.offer_as("a", pb.DELTA, b"m" * 32, 1, 4000).code == pb.BUSY
    for device in "bc":
        gateway.deliver(device, bodies[device])
        gateway.reception.tick(gateway.now, gateway.now)
        assert gateway.verdict(device).code == pb.ACCEPTED


def test_chunks_that_nobody_offered_are_told_busy_once_while_others_wait(tmp_path: Path, package: Any) -> None:
    """A device that does not offer resends later, as before."""
    gateway = opened(tmp_path, package, "abc", limits=Limits(transfer_bytes=1000))
    bodies = {device: delta(gateway, device) for device in "abc"}
    gateway.offer("a", bodies["a"])
    gateway.offer("b", bodies["b"])
    before = len(gateway.out.sent)
    gateway.now -= 1.0
    for chunk in split(bodies["c"], pb.DELTA, 100):
        gateway.now -= 1.0
        send(gateway, [chunk], "c")
    assert len(gateway.out.sent) == before + 1
    verdict = gateway.verdict("c")
    assert verdict.code == pb.BUSY
    assert verdict.retry_after_s > 0
    for device in "abc":
        gateway.deliver(device, bodies[device])
        gateway.reception.tick(gateway.now, gateway.now)
        assert gateway.verdict(device).code == pb.ACCEPTED


def test_chunks_of_another_cut_than_the_offer_are_let_go(tmp_path: Path, package: Any) -> None:
    """Those that were kept before the offer, and those still on their way; none of it is a refusal."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    piece, chunks = twenty(body)
    gateway.offer("a", body, piece)
    send(gateway, chunks[:7])
    assert gateway.offer("a", body, 2 * piece).missing == b""
    send(gateway, chunks[7:])
    assert gateway.verdict("a").code == pb.INCOMPLETE
    send(gateway, list(split(body, pb.DELTA, 2 * piece)))
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_chunks_of_another_size_than_the_offer_are_refused(tmp_path: Path, package: Any) -> None:
    """Two sizes of one digest cannot both be true."""
    gateway = opened(tmp_path, package)
    body = delta(gateway)
    gateway.offer_as("a", pb.DELTA, sha256(body), 1, len(body) + 1)
    gateway.deliver("a", body)
    verdict = gateway.verdict("a")
    assert (verdict.code, verdict.retry_after_s) == (pb.MALFORMED, 0)
    assert gateway.reception.transfers.granted_bytes == 0


def test_an_offer_in_another_name_is_refused(tmp_path: Path, package: Any) -> None:
    """The device in the topic and in the message must be the same."""
    gateway = opened(tmp_path, package)
    message = pb.Offer(device="b", kind=pb.DELTA, digest=b"d" * 32, count=1, total=9)
    gateway.send(Topic.OFFER, "a", encode(message))
    assert gateway.verdict("a").code == pb.MALFORMED
    assert gateway.reception.transfers.granted_bytes == 0


def test_a_flood_of_offers_gets_few_answers(tmp_path: Path, package: Any) -> None:
    """Each answer is signed; a device needs one now and then."""
    gateway = opened(tmp_path, package)
    before = len(gateway.out.sent)
    gateway.now -= 1.0
    for number in range(500):
        gateway.now -= 1.0
        gateway.offer_as("a", pb.DELTA, number.to_bytes(32, "big"), 1, 9)
    assert len(gateway.out.sent) - before == OFFERS_AT_ONCE


def test_pieces_that_nobody_sends_any_more_make_room(tmp_path: Path, package: Any) -> None:
    """What is kept of unfinished bodies has at most twice the bytes that may be on their way; the oldest goes first."""
    gateway = opened(tmp_path, package, "abcdef", limits=Limits(transfer_bytes=4000))
    held = []
    for number, device in enumerate("abcdef"):
        digest = bytes([number]) * 32
        gateway.offer_as(device, pb.DELTA, digest, 2, 3900)
        chunk = pb.Chunk(kind=pb.DELTA, digest=digest, index=0, count=2, total=3900, payload=b"x" * 1950)
        send(gateway, [encode(chunk)], device)
        held.append(gateway.reception.transfers.held_bytes)
        gateway.now += LEASE_S
    assert max(held) <= 8000
    oldest = gateway.offer_as("a", pb.DELTA, bytes([0]) * 32, 2, 3900)
    newest = gateway.offer_as("f", pb.DELTA, bytes([5]) * 32, 2, 3900)
    assert missing_chunks(oldest.missing, 2) == (0, 1)
    gateway.now += LEASE_S
    gateway.reception.tick(gateway.now, gateway.now)
    newest = gateway.verdict("f")
    assert (newest.code, missing_chunks(newest.missing, 2)) == (pb.INCOMPLETE, (1,))
