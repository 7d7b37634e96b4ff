"""Blocks go once to each device that asked, whoever comes late and however slow a broker is. No broker or clock."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits
from broker_server.rounds.block_requests import ASK_AGAIN_S
from broker_server.state.blobs import Blobs
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_bytes, split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Return a gateway to which a, b and c said hello."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"))
    gateway.hello("a", "b", "c")
    return gateway


def blocks(gateway: Gateway) -> list[bytes]:
    """Return the digests of the current version's blocks."""
    return [block.digest for block in decode(pb.Version, gateway.conductor.row.payload).blocks]


def want(gateway: Gateway, device: str, digests: list[bytes], now: float, missing: list[bytes] | None = None) -> None:
    """Let a device ask at a moment."""
    message = encode(pb.Want(device=device, digests=digests, missing=missing or []))
    gateway.reception.take(f"fl/v1/default/want/{device}", message, now, now)


def published(gateway: Gateway, now: float) -> list[str]:
    """Look at the clock; return the names of the blocks that went out since the last look."""
    gateway.reception.tick(now, now)
    names = [name for topic, name, _ in gateway.out.sent if topic is Topic.BLOB]
    gateway.out.sent[:] = [one for one in gateway.out.sent if one[0] is not Topic.BLOB]
    return names


def test_who_asks_as_a_block_goes_out_is_told_to_ask_again(gateway: Gateway) -> None:
    """The answer follows the block: who has it then asks for nothing, and nothing goes out twice."""
    (digest, *_) = blocks(gateway)
    want(gateway, "a", [digest], 100.0)
    assert published(gateway, 100.3) == [digest.hex()]
    want(gateway, "b", [digest], 100.4)
    verdict = gateway.verdict("b")
    assert (verdict.kind, verdict.code) == (pb.HELLO, pb.BUSY)
    assert verdict.digest == sha256(encode(pb.Want(device="b", digests=[digest])))
    assert verdict.retry_after_s == pytest.approx(ASK_AGAIN_S)
    assert published(gateway, 190.0) == []


def test_who_came_too_late_asks_again_and_gets_it(gateway: Gateway) -> None:
    """Once more for all who lack it, when those who have it let go of the topic."""
    (digest, *_) = blocks(gateway)
    want(gateway, "a", [digest], 100.0)
    assert published(gateway, 100.3) == [digest.hex()]
    for device in "bc":
        want(gateway, device, [digest], 100.4)
        want(gateway, device, [digest], 100.7)
    assert published(gateway, 101.5) == []
    assert published(gateway, 102.4) == [digest.hex()]


def test_only_chunks_that_somebody_lacks_go_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four chunks a lacks 1, b lacks 1 and 3; whoever says it of another cut gets all of them."""
    package = tiny.make_package(tmp_path / "package")
    gateway = Gateway(tmp_path / "state", package, limits=Limits(blob_repeat_s=0.0))
    gateway.hello("a", "b", "c")
    digest, body = blocks(gateway)[0], b"x" * 400_000
    monkeypatch.setattr(Blobs, "get", lambda *_: body)  # a block of more than one chunk
    count = len(list(split(body, pb.BLOB)))
    assert count == 4
    want(gateway, "a", [digest], 100.0, [missing_bytes([1], count)])
    want(gateway, "b", [digest], 100.0, [missing_bytes([1, 3], count)])
    gateway.reception.tick(101.0, 101.0)
    chunks = [decode(pb.Chunk, payload) for topic, _, payload in gateway.out.sent if topic is Topic.BLOB]
    assert [chunk.index for chunk in chunks] == [1, 3]
    gateway.out.sent.clear()
    want(gateway, "c", [digest], 300.0, [missing_bytes([1], 20)])
    assert published(gateway, 301.0) == [digest.hex()] * 4


def test_requests_are_gathered_while_they_come(gateway: Gateway) -> None:
    """Not for a window from the first, which a slow broker would cut in two; but not for ever."""
    (digest, *others) = blocks(gateway)
    for tenth in range(5):
        want(gateway, "a", [digest], 100 + tenth / 10)
        assert published(gateway, 100 + tenth / 10) == []
    assert published(gateway, 100.7) == [digest.hex()]
    went = []
    for tenth in range(25):
        want(gateway, "b", [others[0]], 200 + tenth / 10)
        went += [tenth for _ in published(gateway, 200 + tenth / 10)]
    assert went == [20]


def test_requests_are_gathered_while_another_block_waits_for_its_time(gateway: Gateway) -> None:
    """Device b lacks a block that just went out; what c asks for goes out a window later, not at once."""
    (digest, other, *_) = blocks(gateway)
    want(gateway, "a", [digest], 100.0)
    assert published(gateway, 100.3) == [digest.hex()]
    want(gateway, "b", [digest], 100.4)
    want(gateway, "b", [digest], 100.7)
    assert published(gateway, 101.0) == []
    want(gateway, "c", [other], 101.0)
    assert published(gateway, 101.2) == []
    assert published(gateway, 101.3) == [other.hex()]
    assert published(gateway, 102.4) == [digest.hex()]


class Simulation:
    """Devices behind a broker with a queue for each. Args: delays: seconds that each one's queue takes."""

    def __init__(self, gateway: Gateway, delays: dict[str, float]) -> None:
        self._gateway, self._delays = gateway, delays
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._listens: dict[str, set[bytes]] = {device: set() for device in delays}
        self.came: dict[str, Counter[bytes]] = {device: Counter() for device in delays}

    def at(self, when: float, call: Callable[[float], None]) -> None:
        """Let something happen at a time."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))

    def join(self, device: str, digests: list[bytes], when: float, up_s: float) -> None:
        """Let a device listen at a time, and have its request arrive ``up_s`` later."""
        self.at(when, lambda _: self._listens[device].update(digests))
        self.at(when + up_s, lambda now: want(self._gateway, device, digests, now))

    def run(self, until: float) -> None:
        """Let happen what does, and look at the clock ten times a second."""
        for tenth in range(int(until * 10)):
            self.at(tenth / 10, lambda now: self._gateway.reception.tick(now, now))
        while self._events:
            now, _, call = heapq.heappop(self._events)
            call(now)
            sent, self._gateway.out.sent[:] = self._gateway.out.sent[:], []
            for topic, name, _ in sent:
                self._deliver(topic, name, now)

    def _deliver(self, topic: Topic, name: str, now: float) -> None:
        if topic is Topic.BLOB:
            digest = bytes.fromhex(name)
            for device, listened in self._listens.items():
                if digest in listened:
                    self.at(now + self._delays[device], lambda when, to=device: self._take(to, digest, when))  # type: ignore[misc]
        elif topic is Topic.VERDICT:
            self.at(now + self._delays[name], lambda when: self.at(when + ASK_AGAIN_S, lambda at: self._ask(name, at)))

    def _take(self, device: str, digest: bytes, now: float) -> None:
        self.came[device][digest] += 1
        self.at(now + 0.3, lambda _: self._listens[device].discard(digest))

    def _ask(self, device: str, now: float) -> None:
        lacks = sorted(self._listens[device] - set(self.came[device]))
        if lacks:
            want(self._gateway, device, lacks, now)


@pytest.mark.parametrize("slow_s", [0.01, 1.0, 1.6])
def test_each_block_comes_once_to_each_device_that_asked(tmp_path: Path, slow_s: float) -> None:
    """Thirty devices ask over two seconds for the same bank, through queues up to ``slow_s`` long; some come late."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"))
    devices = [f"d{number}" for number in range(30)]
    gateway.hello(*devices)
    gateway.out.sent.clear()
    simulation = Simulation(gateway, {one: slow_s * (1 + number) / 30 for number, one in enumerate(devices)})
    for number, device in enumerate(devices):
        simulation.join(device, blocks(gateway), 1.0 + number / 15, 0.05 + number % 7 / 10)
    for device in ("late0", "late1"):
        gateway.hello(device)
        simulation._delays[device], simulation._listens[device] = 0.1, set()
        simulation.came[device] = Counter()
        simulation.join(device, blocks(gateway), 4.0, 0.1)
    simulation.run(60.0)
    for device, came in simulation.came.items():
        assert set(came) == set(blocks(gateway)), device
        assert set(came.values()) == {1}, (device, came)
