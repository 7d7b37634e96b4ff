"""One light device: it joins, answers its plans without training, and fetches blocks. Now and then it misbehaves.

It stalls in the middle of a delta, drops its connection there and comes back, or lies; after a lie that is not final it
sends what is right. It keeps what it sends until a verdict names it, and sends it again after 5 s, doubling, as devices
do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.fleet.bodies import Body, Lie
from benchmarks.fleet.client import Client, LostError
from benchmarks.fleet.load import FEDERATION, NAME, PATIENCE_S, STALL_S
from edge_runtime.federation.link import backoff
from edge_runtime.federation.timers import FIRST_RESEND_S, LAST_RESEND_S
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_chunks
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Address, Topic, device_subscriptions

if TYPE_CHECKING:
    from benchmarks.fleet.driver import Fleet

STALL, DROP = "stall", "drop"
UNRULY: Final = (STALL, DROP, *Lie)
WANT_AT_ONCE: Final = 100
RELEASE_AT: Final = 16
"""As devices do: blocks that came and are still listened to."""
FETCH_SPREAD_S: Final = 1.0
"""Devices do not ask in the same instant."""
ASK_AGAIN_S: Final = 10.0


@dataclass(frozen=True)
class Delivery:
    """A body and its final verdict.

    Args:
        device: whose.
        round: of its plan.
        digest: of the body.
        size: in bytes.
        code: of the verdict; 0: none came.
        begun: seconds of the clock: when it was offered, or its first chunk went out.
        sent: when its first chunk went out.
        ended: when the verdict came.
        orderly: it was sent in one go.
    """

    device: str
    round: int
    digest: bytes
    size: int
    code: int
    begun: float
    sent: float
    ended: float
    orderly: bool


@dataclass
class _Sending:
    """A body on its way.

    Args:
        plan, round: that it answers.
        body: itself.
        manner: STALL or DROP in the middle of it; "" once that is done, or with neither.
        orderly: it is sent in one go, and is no lie.
        verdicts: that came for it.
        begun, sent: seconds of the clock; 0: not yet.
    """

    plan: bytes
    round: int
    body: Body
    manner: str
    orderly: bool
    verdicts: asyncio.Queue[pb.Verdict] = field(default_factory=asyncio.Queue)
    begun: float = 0.0
    sent: float = 0.0


class Device:
    """One device. Args: fleet: that it belongs to; number: from 0."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet, self._number = fleet, number
        self.name = NAME.format(number)
        self._random = random.Random(f"{fleet.load.seed} {number}")  # noqa: S311 - jitter
        self.client: Client | None = None
        self._session: asyncio.Queue[bytes] = asyncio.Queue()
        self._greeting = b""
        self._plan = b""
        self._planned = asyncio.Event()
        self._answered = b""
        self._made = number * 1_000_003
        self._verdicts: dict[bytes, asyncio.Queue[pb.Verdict]] = {}
        self._pieces: dict[str, dict[int, bytes]] = {}
        self._lacking: set[str] = set()
        self._here: set[str] = set()  # came, and still listened to
        self._got_one = asyncio.Event()
        self._work: _Sending | None = None
        self._lies = False

    async def live(self) -> None:
        """Be a device until the run is over."""
        while not self._fleet.over:
            try:
                await self._come()
                await self.greet()
                self._fleet.joined(self.name)
                while not self._fleet.over:
                    await self._one_turn()
            except LostError:
                self._fleet.lost += not self._fleet.over
                await asyncio.sleep(self._random.uniform(0.5, 1.0) * STALL_S)

    def leave(self) -> None:
        """Go in order."""
        if self.client is not None:
            self.client.close()

    @property
    def sends(self) -> bool:
        """Whether a body of it has no verdict yet."""
        return self._lies or self._work is not None

    # joining

    async def _come(self) -> None:
        while not self._session.empty():
            self._session.get_nowait()
        will = (self._topic(Topic.BYE), encode(pb.Bye(device=self.name)))
        self.client = await Client.connect(*self._fleet.broker, f"{FEDERATION}.{self.name}", will, self._take)
        await self.client.subscribe(device_subscriptions(FEDERATION, self.name))
        session = asyncio.ensure_future(self._session.get())
        if not await self.client.wait(session, PATIENCE_S):
            session.cancel()
            self.client.drop()
            msg = "the gateway says nothing"
            raise LostError(msg)
        self._greeting = session.result()

    async def greet(self) -> float:
        """Say Hello until it is accepted; return the seconds that took.

        Raises:
            LostError: when the connection goes meanwhile.
        """
        hello, tries, began = encode(self._fleet.hello(self.name, self._greeting)), 0, time.monotonic()
        verdicts = self._verdicts[sha256(hello)] = asyncio.Queue()
        while True:
            await self._client.publish(self._topic(Topic.HELLO), hello)
            verdict = await self._next(verdicts, backoff(tries, FIRST_RESEND_S, LAST_RESEND_S, self._random.random()))
            tries += 1
            if verdict is not None and verdict.code == pb.ACCEPTED:
                return time.monotonic() - began
            if verdict is not None:
                self._fleet.refusals[pb.Code.Name(verdict.code)] += 1
                await self._pause(verdict.retry_after_s or FIRST_RESEND_S)

    # answering plans

    async def _one_turn(self) -> None:
        if self._work is None:
            self._work = await self._next_work()
        if self._work is not None:
            await self._deliver(self._work)
            self._answered, self._work = self._work.plan, None

    async def _next_work(self) -> _Sending | None:
        """Return what is to be sent next; None when there is nothing now."""
        load, plan = self._fleet.load, self._plan
        answered = plan == self._answered
        if not self._fleet.sending or not plan or (answered and not load.past_capacity):
            await self._wait_for_plan()
            return None
        if load.past_capacity and answered:
            return self._sending(plan)
        if not load.past_capacity:
            await self._pause(self._random.uniform(0.0, load.think_s))
        return await self._honest(plan) if self._fleet.sending else None

    async def _wait_for_plan(self) -> None:
        self._planned.clear()
        event = asyncio.ensure_future(self._planned.wait())
        try:
            await self._client.wait(event, 1.0)
        finally:
            event.cancel()

    async def _honest(self, plan: bytes) -> _Sending | None:
        """Return a right delta, perhaps after a lie; None when the lie was a final answer."""
        unruly = self._random.random() < self._fleet.load.unruly
        manner = self._random.choice(UNRULY) if unruly else ""
        if not isinstance(manner, Lie):
            return self._sending(plan, manner=manner)
        self._lies = True
        try:
            await self._deliver(self._sending(plan, manner))
        finally:
            self._lies = False
        if manner is not Lie.VALUES:
            return self._sending(plan)
        self._answered = plan
        return None

    def _sending(self, plan_bytes: bytes, lie: Lie | None = None, manner: str = "") -> _Sending:
        self._made += 1
        if lie is not None:
            self._fleet.manners[lie.value] += 1
        plan = decode(pb.Plan, plan_bytes)
        body = self._fleet.bodies.delta(plan, sha256(plan_bytes), self._made, lie)
        return _Sending(plan_bytes, plan.round, body, manner, orderly=not manner and lie is None)

    async def _deliver(self, sending: _Sending) -> None:
        """Offer a body, where the gateway speaks offers, and send it until its verdict is final."""
        body, tries, verdict = sending.body, 0, None
        offers = self._fleet.load.offers
        self._verdicts[body.digest] = sending.verdicts
        sending.begun = sending.begun or time.monotonic()
        while not self._fleet.over:
            if verdict is None:
                await (self._offer(body) if offers else self._send(sending, range(body.count)))
                pause = backoff(tries, FIRST_RESEND_S, LAST_RESEND_S, self._random.random())
                self._fleet.resent += tries > 0
                tries += 1
            elif verdict.code == pb.INCOMPLETE:
                await self._send(sending, missing_chunks(verdict.missing, body.count))
                pause = verdict.retry_after_s
            elif verdict.retry_after_s and verdict.code != pb.DIGEST_MISMATCH:
                self._fleet.refusals[pb.Code.Name(verdict.code)] += 1
                pause = verdict.retry_after_s
                if not offers:
                    await self._pause(pause)
                    verdict = None
                    continue
            else:
                self._ended(sending, verdict.code)  # a lie's bytes are not sent again, whatever their verdict
                return
            verdict = await self._next(sending.verdicts, pause)
        self._ended(sending, 0)

    async def _offer(self, body: Body) -> None:
        offer = pb.Offer(device=self.name, kind=pb.DELTA, digest=body.digest, count=body.count, total=body.size)
        await self._client.publish(self._topic(Topic.OFFER), encode(offer))

    async def _send(self, sending: _Sending, indexes: Sequence[int]) -> None:
        """Send chunks until a verdict comes; in the middle of them say nothing for a while, or go, as its manner is."""
        sending.sent = sending.sent or time.monotonic()
        for place, index in enumerate(indexes):
            if not sending.verdicts.empty():
                return
            if sending.manner and 2 * place >= len(indexes) - 1:
                await self._misbehave(sending)
            await self._client.publish(self._topic(Topic.DELTA), sending.body.chunk(index))
            self._fleet.bytes_sent += sending.body.size // sending.body.count

    async def _misbehave(self, sending: _Sending) -> None:
        manner, sending.manner = sending.manner, ""
        self._fleet.manners[manner] += 1
        if manner == DROP:
            self._client.drop()
        await self._pause(STALL_S)

    def _ended(self, sending: _Sending, code: int) -> None:
        del self._verdicts[sending.body.digest]
        self._fleet.ended(
            Delivery(
                self.name, sending.round, sending.body.digest, sending.body.size, code, sending.begun, sending.sent,
                time.monotonic(), sending.orderly,
            )
        )  # fmt: skip

    # blocks

    async def fetch(self, digests: list[bytes]) -> None:
        """Fetch blocks, as a device does that has none of them.

        Raises:
            LostError: when the connection goes meanwhile.
        """
        await self._pause(self._random.uniform(0.0, FETCH_SPREAD_S))
        self._lacking = {digest.hex() for digest in digests}
        self._fleet.asked += len(self._lacking)
        topics = {name: str(Address(FEDERATION, Topic.BLOB, name)) for name in self._lacking}
        names = sorted(topics)
        for begin in range(0, len(names), WANT_AT_ONCE):
            await self._client.subscribe(topics[name] for name in names[begin : begin + WANT_AT_ONCE])
        until = time.monotonic() + PATIENCE_S
        while self._lacking and time.monotonic() < until:
            want = pb.Want(device=self.name, digests=sorted(bytes.fromhex(name) for name in self._lacking))
            await self._client.publish(self._topic(Topic.WANT), encode(want))
            await self._some_came()
        await self._release(1)

    async def _some_came(self) -> None:
        """Wait until all came, or none for a while."""
        while self._lacking:
            self._got_one.clear()
            event = asyncio.ensure_future(self._got_one.wait())
            try:
                if not await self._client.wait(event, ASK_AGAIN_S):
                    return
                await self._release(RELEASE_AT)
            finally:
                event.cancel()

    async def _release(self, least: int) -> None:
        """Listen no more for what came, if that is so many blocks at least."""
        if len(self._here) >= least:
            names, self._here = sorted(self._here), set()
            await self._client.unsubscribe(str(Address(FEDERATION, Topic.BLOB, name)) for name in names)

    def _take_block(self, name: str, payload: bytes) -> None:
        chunk, pieces = decode(pb.Chunk, payload), self._pieces.setdefault(name, {})
        self._fleet.bytes_down += len(payload)
        pieces[chunk.index] = chunk.payload
        self._got_one.set()
        if len(pieces) < chunk.count:
            return
        del self._pieces[name]
        self._fleet.blocks += 1
        body = b"".join(pieces[index] for index in range(chunk.count))
        if sha256(body).hex() == name:
            self._lacking.discard(name)
            self._here.add(name)

    # what comes

    def _take(self, topic: str, payload: bytes) -> None:
        kind, _, name = topic.split("/", 3)[3].partition("/")
        if kind == Topic.VERDICT:
            verdict = decode(pb.Verdict, payload)
            waiting = self._verdicts.get(verdict.digest)
            if waiting is not None:
                waiting.put_nowait(verdict)
        elif kind == Topic.PLAN:
            self._plan = payload
            self._planned.set()
        elif kind == Topic.GATEWAY:
            state = decode(pb.GatewayState, payload)
            if state.online:
                self._session.put_nowait(state.session)
        elif kind == Topic.VERSION:
            self._fleet.version = payload
        elif kind == Topic.BLOB:
            self._take_block(name, payload)

    async def _next(self, verdicts: asyncio.Queue[pb.Verdict], seconds: float) -> pb.Verdict | None:
        if not verdicts.empty():
            return verdicts.get_nowait()
        coming = asyncio.ensure_future(verdicts.get())
        try:
            return coming.result() if await self._client.wait(coming, seconds) else None
        finally:
            coming.cancel()

    async def _pause(self, seconds: float) -> None:
        """Do nothing for a while.

        Raises:
            LostError: when the connection is gone, or goes meanwhile.
        """
        never = asyncio.get_running_loop().create_future()
        await self._client.wait(never, seconds)

    @property
    def _client(self) -> Client:
        if self.client is None:
            msg = "not connected"
            raise LostError(msg)
        return self.client

    def _topic(self, topic: Topic) -> str:
        return str(Address(FEDERATION, topic, self.name))
