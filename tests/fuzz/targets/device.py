"""A whole device whose gateway says anything in any order, without signatures: whoever holds the broker can do that.

Whatever comes: nothing raises, what the device sends is what its gateway can read, a killed device goes on where it
was, and the bank that it predicts with is finite.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_runtime.wire import chunks, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256, version_digest
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.topics import Topic
from tests.fuzz.play import Play, play_through
from tests.fuzz.scratch import scratch
from tests.fuzz.target import Target, need

if TYPE_CHECKING:
    from test_edge_device import Rig

_EDGE: Final = Path(__file__).parents[2] / "edge"
sys.path += [str(_EDGE), str(_EDGE / "federation")]

_TOPICS: Final = (Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT, Topic.BLOB)
_BLOCKS: Final = (
    ExpertId(1, 0),
    ExpertId(1, 2),
    ExpertId(3, 1),
    ExpertId(3, 9),
    ExpertId(7, 0),
    shared_expert(3),
    HEAD,
)


@cache
def _package() -> Any:
    import toy

    package = toy.write_package(scratch() / "toy")
    toy.write_data(scratch() / "texts.csv", 6)
    return package


class DevicePlay(Play):
    """One device and what its gateway did. Args: data: the acts that are left."""

    def __init__(self, folder: Path, data: bytes) -> None:
        import toy
        from fakes import ScriptedGateway
        from test_edge_device import Rig

        super().__init__(data)
        package = _package()
        shutil.copy(scratch() / "texts.csv", folder / "data.csv")
        gateway = ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest())
        self.rig: Rig = Rig(package, folder, gateway)
        self.rig.start()
        self._round = 0

    def act(self) -> None:
        """Do the next thing, and let the device turn a few times."""
        acts: tuple[Callable[[], None], ...] = (
            *(self._wait, self._plan, self._strange_plan, self._verdict, self._version, self._strange_version),
            *(self._blob, self._raw, self._cut, self._anew, self._state, self._withdraw),
        )
        which = self.byte()
        acts[which % len(acts)]()
        for _ in range(2 + which // len(acts) % 8):
            if not self.rig.device.finished:
                self.rig.device.turn()
            self.rig.clock.now += 0.5

    def _wait(self) -> None:
        self.rig.clock.now += (1, 30, 400, 5000)[self.byte() % 4]

    def _plan(self) -> None:
        self._round += 1
        self.rig.gateway.give_plan("me", _BLOCKS[:3], self._round, steps=2, seed=self.byte())

    def _strange_plan(self) -> None:
        train = sorted({_BLOCKS[self.byte() % len(_BLOCKS)] for _ in range(1 + self.byte() % 5)})
        rates = {f"{name}learning_rate": self.byte() / 25.0 for name in ("", "shared_", "head_")}
        values: dict[str, Any] = {
            "steps": 1 + self.byte() % 3, "codec": self.byte() % 2, "weight_decay": self.byte() / 25.0,
            "deadline_s": struct.unpack("<e", self.rest(2).ljust(2, b"\0"))[0],
        }  # fmt: skip
        if self.byte() & 1:
            use = [pb.LayerUse(layer=layer, use=[self.byte() / 255.0] * (self.byte() % 6)) for layer in (1, 3)]
            values |= {"use": use, "balance_pressure": self.byte() / 255.0}
        plan = pb.Plan(
            device="me" if self.byte() % 8 else "you",
            round=self.byte(),
            base_version=self.byte(),
            version_digest=self.rig.gateway.bank.digest() if self.byte() % 4 else self.rest(32),
            train=messages.refs(train),
            **rates,
            **values,
        )
        self._say(Topic.PLAN, messages.encode(plan))

    def _verdict(self) -> None:
        said = [sha256(payload) for _, payload in self.rig.link.said]
        work = self.rig.device._work
        known = [*said[-3:], *(one.digest for one in (work.pending, work.sent) if one is not None)]
        digest = known[self.byte() % len(known)] if known and self.byte() % 8 else bytes(32)
        retry = (0.0, 0.0, 1.0, 86_400.0)[self.byte() % 4]
        kind, code = pb.Kind.ValueType(1 + self.byte() % 3), pb.Code.ValueType(self.byte() % 22)
        wants = bool(self.byte() & 1)
        verdict = pb.Verdict(kind=kind, digest=digest, code=code, retry_after_s=retry, want_statistics=wants)
        verdict.missing = self.rest(self.byte() % 3) if code == pb.INCOMPLETE else b""
        self._say(Topic.VERDICT, messages.encode(verdict))

    def _version(self) -> None:
        bank = self.rig.gateway.bank
        block = _BLOCKS[self.byte() % 3]
        values = np.full(bank.shape.size(block), self.byte() / 64.0, np.float32)
        self.rig.gateway.announce(bank.replace({block: values}), self._round)

    def _strange_version(self) -> None:
        """Announce blocks that no bank of this shape has, lacks some, or values that are none."""
        digests = dict(self.rig.gateway.bank.digests())
        act = self.byte()
        if act & 1:
            digests[_BLOCKS[self.byte() % len(_BLOCKS)]] = self._served(self.rest(self.byte() % 64))
        if act & 2:
            del digests[sorted(digests)[self.byte() % len(digests)]]
        blocks = [pb.Block(layer=one.layer, index=one.index, digest=digests[one]) for one in sorted(digests)]
        federation = self.rig.gateway.federation if act & 12 else bytes(32)
        version = pb.Version(
            federation_digest=federation, version=self.byte(), digest=version_digest(digests), round=self.byte(),
            blocks=blocks,
        )  # fmt: skip
        self._say(Topic.VERSION, messages.encode(version))

    def _served(self, data: bytes) -> bytes:
        """Give values to whoever listens for them; return their digest."""
        values = data or np.full(3, np.nan, np.float32).tobytes()
        for chunk in chunks.split(values, pb.BLOB):
            self._say(Topic.BLOB, chunk, sha256(values).hex())
        return sha256(values)

    def _blob(self) -> None:
        listening = sorted(self.rig.link.listening)
        if not listening:
            return
        name = listening[self.byte() % len(listening)]
        values = tensors.encode(np.zeros(1 + self.byte(), np.float32))
        chunk = pb.Chunk(kind=pb.BLOB, digest=bytes.fromhex(name), index=0, count=1, total=len(values), payload=values)
        self._say(Topic.BLOB, messages.encode(chunk), name)

    def _raw(self) -> None:
        topic, data = _TOPICS[self.byte() % len(_TOPICS)], self.rest(self.byte())
        self._say(topic, data, next(iter(sorted(self.rig.link.listening)), "") if topic is Topic.BLOB else "")

    def _cut(self) -> None:
        self.rig.link.disconnect()
        self.rig.device.turn()
        self.rig.link.connect()

    def _anew(self) -> None:
        before = self.rig.device._work.pending
        self.rig.kill()
        self.rig.start()
        after = self.rig.device._work.pending
        need(before is None or after == before, "a pending delta is gone after a kill")

    def _state(self) -> None:
        gateway, act = self.rig.gateway, self.byte()
        gateway.online, gateway.finished = bool(act & 1), bool(act & 2)
        gateway.session = bytes([act >> 4]) * 16
        gateway.publish_state()

    def _withdraw(self) -> None:
        self.rig.gateway.withdraw_plan()

    def _say(self, topic: Topic, payload: bytes, name: str = "") -> None:
        self.rig.link.deliver(topic, payload, name)

    def check(self) -> None:
        """State what holds after every act."""
        bank, _ = self.rig.device._versions.latest_bank()
        need(all(np.isfinite(bank.block(block)).all() for block in bank.shape.ids()), "the bank is not finite")

    def outcome(self) -> str:
        """Return where it stands."""
        return f"{self.rig.device.session.link.name} {self.rig.device.session.work.name}"

    def close(self) -> None:
        """Give files back."""
        self.rig.close()


def _quiet_play(data: bytes) -> str:
    # A rate of 10 lets values grow beyond float32: numpy warns in the toy program, where a real one does not.
    quiet = contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO())
    with quiet[0], quiet[1], np.errstate(over="ignore", invalid="ignore"):
        return play_through(DevicePlay, data)


def _seeds() -> Iterator[bytes]:
    wait, plan, long_wait = bytes((84, 0)), bytes((85, 7)), bytes((0, 2))
    yield wait + plan + wait + bytes((3, 3, 1, 0, 1, 1, 0)) + wait
    yield wait + bytes((86,)) + bytes(range(1, 30)) + wait + long_wait
    yield wait + bytes((4, 0, 9)) + wait + plan + bytes((9,)) + wait + bytes((9,)) + wait
    yield wait + bytes((5, 1, 0, 0)) + wait + bytes((5, 13, 1, 40)) + bytes(40) + wait + bytes((5, 14, 3, 5, 5)) + wait
    yield wait + plan + bytes((8,)) + wait + bytes((10, 3)) + wait + bytes((10, 0x11)) + plan + bytes((11,)) + wait
    yield (
        wait
        + bytes((7, 2, 3))
        + b"\x08\x01\x12"
        + bytes((7, 0, 0, 7, 1, 0, 6, 0, 5))
        + plan
        + bytes((3, 0, 1, 2, 2, 16, 0))
    )
    yield (
        wait
        + plan
        + wait
        + bytes((3, 3, 1, 2, 1, 16, 0))
        + long_wait
        + bytes((3, 3, 1, 0, 1, 1, 0))
        + bytes((9,))
        + wait
    )


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [Target("device", _quiet_play, _seeds, longest=300, fixed=32 << 20, kept=1500)]
