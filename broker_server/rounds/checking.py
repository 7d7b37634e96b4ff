"""Complete bodies are looked at beside the thread that decides: decoded, every value, every norm. Pure but for threads.

What the pool holds is bounded by bytes. When it is full, whoever has a body looks at it himself: so the thread that
decides falls behind, its inbox fills, and devices are slowed, rather than memory growing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from broker_server.rules.admission import Checked, check_values
from broker_server.rules.site_admission import check_sums
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.messages import decode

POOL_BYTES: Final = 32 * 1024 * 1024
THREADS: Final = max(1, min(2, (os.cpu_count() or 1) - 1))
"""Decoding holds Python's lock half of the time, so more than two do not help."""


MaskBody = pb.MaskKeys | pb.MaskShares | pb.MaskAnswer
"""What devices send of masks."""
MASK_BODIES: Final[dict[int, type[MaskBody]]] = {
    pb.KEYS: pb.MaskKeys,
    pb.SHARES: pb.MaskShares,
    pb.ANSWER: pb.MaskAnswer,
}


@dataclass(frozen=True)
class Body:
    """A complete body, whose digest was compared.

    Args:
        device: on whose topic it came.
        kind: DELTA or STATISTICS.
        digest: of its bytes.
        data: its bytes.
        site: whether the device is a site, which sends sums in place of both.
    """

    device: str
    kind: pb.Kind
    digest: bytes
    data: bytes
    site: bool = False


@dataclass(frozen=True)
class Looked:
    """A body that was looked at.

    Args:
        body: as it came.
        checked: of a delta; its message has no values any more.
        statistics: of class statistics.
        masks: of a body that concerns masks.
        refusal: why it is none of these.
        failure: a mistake of ours, for the thread that decides to raise.
        pooled: whether the pool holds its bytes until it is decided.
    """

    body: Body
    checked: Checked | None = None
    statistics: pb.ClassStatistics | pb.PartialStatistics | None = None
    masks: MaskBody | None = None
    refusal: WireError | None = None
    failure: Exception | None = None
    pooled: bool = False


def look_at(body: Body, shape: BankShape, *, pooled: bool = False) -> Looked:
    """Decode a body and check all that it says by itself. Args: shape: of the bank; pooled: see Looked."""
    try:
        if body.kind in MASK_BODIES:
            return Looked(body, masks=decode(MASK_BODIES[body.kind], body.data), pooled=pooled)
        if body.kind != pb.DELTA:
            if body.site:
                return Looked(body, statistics=decode(pb.PartialStatistics, body.data), pooled=pooled)
            return Looked(body, statistics=decode(pb.ClassStatistics, body.data), pooled=pooled)
        if body.site:
            return Looked(body, checked=check_sums(decode(pb.PartialSum, body.data), shape), pooled=pooled)
        checked = check_values(decode(pb.Delta, body.data), shape)
    except WireError as error:
        return Looked(body, refusal=error, pooled=pooled)
    for block in checked.delta.experts:
        block.ClearField("values")  # the body has them
    for circle in checked.delta.masked:
        circle.ClearField("words")
    return Looked(body, checked=checked, pooled=pooled)


class CheckingPool:
    """Threads that look at bodies.

    Args:
        shape: of the bank.
        post: takes results; called from the threads, must not block.
        limit: bytes of the bodies that were submitted and not yet released.
        threads: how many.
    """

    def __init__(
        self, shape: BankShape, post: Callable[[Looked], object], limit: int = POOL_BYTES, threads: int = THREADS
    ) -> None:
        self._shape, self._post, self._limit = shape, post, limit
        self._bodies: SimpleQueue[Body | None] = SimpleQueue()
        self._held = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"checking-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the bodies that were submitted and not yet released."""
        return self._held

    def submit(self, body: Body) -> bool:
        """Have a body looked at; return False when there is no room. One larger than the room is taken alone."""
        if self._held and self._held + len(body.data) > self._limit:
            return False
        self._held += len(body.data)
        self._bodies.put(body)
        return True

    def release(self, body: Body) -> None:
        """Let the room of a body go: it was decided. To be called by the thread that submits."""
        self._held -= len(body.data)

    def stop(self) -> None:
        """End the threads; what waits is dropped, and its devices send it again."""
        for _ in self._threads:
            self._bodies.put(None)

    def _work(self) -> None:
        while (body := self._bodies.get()) is not None:
            try:
                looked = look_at(body, self._shape, pooled=True)
            except Exception as error:  # noqa: BLE001 - raised by the thread that decides
                looked = Looked(body, failure=error, pooled=True)
            self._post(looked)
