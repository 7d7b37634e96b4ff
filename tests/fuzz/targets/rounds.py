"""A whole gateway without a broker or a clock, and devices that say anything in any order.

An input is a list of acts, each some bytes. Whatever they are: nothing raises, a delta counts once, every version is
finite, and what a gateway had accepted is there when it is started anew.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.topics import FROM_DEVICE, Topic
from tests.fuzz.play import Play, play_through
from tests.fuzz.scratch import scratch
from tests.fuzz.target import Target, need

if TYPE_CHECKING:
    from tiny_gateway import Gateway

sys.path.append(str(Path(__file__).parents[2] / "broker"))

_DEVICES: Final = ("a", "b", "c", "d")
_PAYLOADS: Final = (pb.DELTA, pb.STATISTICS)


@cache
def _package() -> Any:
    import tiny

    return tiny.make_package(scratch() / "package")


class GatewayPlay(Play):
    """One gateway and what was done to it. Args: data: the acts that are left."""

    def __init__(self, folder: Path, data: bytes) -> None:
        super().__init__(data)
        self._folder = folder
        self.gateway = self._started()
        self._bodies: list[tuple[Topic, str, bytes]] = []
        self._checked = -1

    def _started(self) -> Gateway:
        from tiny_gateway import Gateway

        return Gateway(self._folder, _package(), rounds=3)

    def act(self) -> None:
        """Do the next thing."""
        which, who = self.byte(), _DEVICES[self.byte() % len(_DEVICES)]
        acts: tuple[Callable[[str], None], ...] = (
            *(self._hello, self._hello, self._strange_hello, self._statistics, self._delta, self._delta),
            *(self._strange_delta, self._bye, self._want, self._tick, self._raw, self._revoke, self._again),
            *(self._half, self._anew, self._offer),
        )
        acts[which % len(acts)](who)

    @property
    def number(self) -> int:
        """Return the newest version."""
        return self.gateway.store.ledger.versions()[-1].version

    def _hello(self, who: str) -> None:
        self.gateway.hello(who)

    def _strange_hello(self, who: str) -> None:
        import tiny

        examples, slots, batch = struct.unpack("<IBB", self.rest(6).ljust(6, b"\1"))
        hello = tiny.hello(
            _package(), who, examples=examples, trained_slots=slots % 4, held_slots=slots // 4, batch_size=batch
        )
        hello.step_ms, hello.bytes_up_per_round = float(self.byte()), self.byte()
        hello.statistics_digest = self.rest(self.byte() % 2 * 32)
        self.gateway.send(Topic.HELLO, who, messages.encode(hello))

    def _statistics(self, who: str) -> None:
        import tiny

        label = self.byte() % 3
        body = messages.encode(tiny.statistics(_package(), who, ["rose", "leaf sky"], [label, self.byte() % 3]))
        self._send(Topic.STATISTICS, who, body)

    def _delta(self, who: str) -> None:
        self._trained(who, value=self.byte() / 1000.0)

    def _strange_delta(self, who: str) -> None:
        examples, value, loss = struct.unpack("<Iff", self.rest(12).ljust(12, b"\1"))
        number = float(np.float32(value)) if np.isfinite(value) else 0.5
        counts = [float(self.byte()) for _ in range(self.byte() % 5)]
        self._trained(who, value=number, examples=examples, loss_first=loss, label_counts=counts)

    def _trained(self, who: str, **fields: Any) -> None:
        import tiny

        plans = self.gateway.store.ledger.plans(self.gateway.conductor.round)
        if who not in plans:
            return
        delta = tiny.delta(messages.decode(pb.Plan, plans[who]), plans[who], **fields)
        self._send(Topic.DELTA, who, messages.encode(delta))

    def _send(self, topic: Topic, who: str, body: bytes) -> None:
        self._bodies.append((topic, who, body))
        for chunk in split(body, pb.DELTA if topic is Topic.DELTA else pb.STATISTICS, 200):
            self.gateway.send(topic, who, chunk)

    def _again(self, who: str) -> None:
        """Send what was sent, perhaps as somebody else."""
        if self._bodies:
            topic, sender, body = self._bodies[self.byte() % len(self._bodies)]
            self._send(topic, who if self.byte() & 1 else sender, body)

    def _half(self, who: str) -> None:
        if self._bodies:
            topic, _, body = self._bodies[self.byte() % len(self._bodies)]
            chunks = list(split(body, _PAYLOADS[self.byte() & 1], 64))
            for chunk in chunks[:: -1 if self.byte() & 1 else 1][: self.byte() % 4]:
                self.gateway.send(topic, who, chunk)

    def _offer(self, who: str) -> None:
        """Offer what was sent, or a lie about it."""
        _, sender, body = self._bodies[self.byte() % len(self._bodies)] if self._bodies else (Topic.DELTA, who, b"body")
        kind, lie = _PAYLOADS[self.byte() & 1], self.byte()
        digest, total = sha256(body) if lie & 1 else self.rest(32).ljust(32), len(body) + (lie >> 4)
        count = -(-total // 64) if lie & 2 else 1 + self.byte() % 20
        offer = pb.Offer(device=who if lie & 4 else sender, kind=kind, digest=digest, count=count, total=total)
        self.gateway.send(Topic.OFFER, who, messages.encode(offer))

    def _bye(self, who: str) -> None:
        self.gateway.send(Topic.BYE, who, messages.encode(pb.Bye(device=who)))

    def _want(self, who: str) -> None:
        version = messages.decode(pb.Version, self.gateway.store.ledger.versions()[-1].payload)
        digests = [block.digest for block in version.blocks][: self.byte() % 4]
        self.gateway.send(Topic.WANT, who, messages.encode(pb.Want(device=who, digests=[*digests, self.rest(32)])))

    def _tick(self, _: str) -> None:
        self.gateway.now += (0.0, 1.0, 30.0, 400.0)[self.byte() % 4]
        self.gateway.tick()
        self.gateway.reception.tick(self.gateway.now, self.gateway.now)

    def _raw(self, who: str) -> None:
        topic = FROM_DEVICE[self.byte() % len(FROM_DEVICE)]
        self.gateway.send(topic, who, self.rest(self.byte()))

    def _revoke(self, who: str) -> None:
        self.gateway.store.ledger.revoke(who, revoked=bool(self.byte() & 1))

    def _anew(self, _: str) -> None:
        before = self.number
        waiting = {(row.device, row.round, row.digest) for row in self.gateway.store.ledger.waiting()}
        if self.byte() & 1:
            self.gateway.reception.transfers.stop()
        self.gateway.close()
        now, self.gateway = self.gateway.now, self._started()
        self.gateway.now = now
        after = {(row.device, row.round, row.digest) for row in self.gateway.store.ledger.waiting()}
        need(self.number >= before, "a version is gone after a start")
        need(waiting <= after or self.number > before, "an accepted delta is gone after a start")

    def check(self) -> None:
        """State what holds after every act."""
        store = self.gateway.store
        if self.number != self._checked:
            row, bank = store.lineage.load()
            self._checked = row.version
            need(all(np.isfinite(bank.block(block)).all() for block in bank.shape.ids()), "a version is not finite")
        for _, _, payload in self.gateway.out.sent:
            need(len(payload) <= messages.MESSAGE_LIMIT, "a payload over the limit was published")
        self.gateway.out.sent.clear()
        transfers, limit = self.gateway.reception.transfers, self.gateway.config.limits.transfer_bytes
        need(transfers.granted_bytes <= limit, "more was granted than there is room for")
        need(transfers.granted_bytes >= 0 and transfers.held_bytes >= 0, "room was given back twice")
        rows = [(row.device, row.round) for row in store.ledger.waiting()]
        need(len(rows) == len(set(rows)), "two deltas of one device wait for one round")

    def outcome(self) -> str:
        """Return where it stands."""
        return f"{self.gateway.conductor.state.name} {self.number}"

    def close(self) -> None:
        """Give files back."""
        self.gateway.close()


def _seeds() -> Iterator[bytes]:
    hello = bytes((0, 0, 0, 1))
    tick, late = bytes((9, 0, 1)), bytes((9, 0, 3))
    round_ = bytes((4, 0, 10, 4, 1, 20)) + tick
    yield hello + tick + round_ + round_ + round_
    yield hello + tick + bytes((4, 0, 10)) + late + late
    yield hello + bytes((3, 0, 1, 1, 3, 1, 2, 0)) + tick + round_ + bytes((14, 0)) + hello + tick + round_
    yield (
        hello + tick + bytes((6, 0)) + b"\xff\xff\xff\xff" + struct.pack("<ff", 0.01, 1.0) + bytes((3, 1, 2, 3)) + late
    )
    yield hello + tick + bytes((4, 0, 10, 11, 0, 1, 4, 1, 20)) + tick + bytes((12, 1, 0, 1))
    yield hello + bytes((2, 2)) + bytes(range(1, 7)) + bytes((5, 9, 0, 8, 1, 2)) + bytes(32) + bytes((3, 7, 0)) + tick
    yield hello + tick + bytes((4, 0, 10, 13, 1, 0, 0, 1, 3, 14, 0)) + hello + bytes((12, 0, 0, 0)) + tick
    offer = bytes((15, 0, 0, 0, 7))
    yield hello + tick + bytes((4, 0, 10)) + offer + bytes((13, 0, 0, 0, 0, 3)) + offer + bytes((14, 0, 1)) + hello
    yield hello + bytes((15, 0, 0, 0, 4)) + bytes(32) + bytes((3, 15, 1, 0, 1, 255, 9)) + bytes(32) + tick + late
    yield bytes((10, 0, 0, 5)) + b"\x08\x01\x12\x01a" + bytes((10, 1, 2, 4)) + b"\x08\x01\x10\x02" + hello + late


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [Target("gateway", partial(play_through, GatewayPlay), _seeds, longest=300, fixed=32 << 20, kept=1500)]
