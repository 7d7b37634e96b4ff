"""What devices are told: verdicts, each counted, and refusals with their code and when to come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.transfers import NoRoomError
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.limits import DETAIL_BYTES
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

REPEAT_S: Final = 2.0
CHANGED_RETRY_S: Final = 3.0
"""When a body is to come again whose bytes were changed on the way: that is no verdict on what the device has."""
REMEMBERED: Final = 4096


class Answers:
    """Sends verdicts. Args: parts: shared parts of the gateway; conductor: of the rounds."""

    def __init__(self, parts: GatewayParts, conductor: Conductor) -> None:
        self._config, self._roster, self._conductor = parts.config, parts.roster, conductor
        self._publisher, self._events = parts.publisher, parts.events
        self._answered: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self.told: Callable[[str, pb.Verdict], None] = lambda _device, _verdict: None
        """Called with what a device was told."""

    def once(self, device: str, digest: bytes, now: float) -> bool:
        """Return whether to answer: a body has many chunks, and each would get the same answer."""
        last = self._answered.get((device, digest))
        if last is not None and now - last < REPEAT_S:
            return False
        self._answered[device, digest] = now
        self._answered.move_to_end((device, digest))
        if len(self._answered) > REMEMBERED:
            self._answered.popitem(last=False)
        return True

    def answer(self, device: str, verdict: pb.Verdict) -> None:
        """Send a verdict."""
        payload = encode(verdict)
        self._roster.count(device, down=len(payload))
        self._publisher.publish(Topic.VERDICT, device, [payload])
        self.told(device, verdict)

    def refusal(self, kind: pb.Kind, digest: bytes, error: WireError) -> pb.Verdict:
        """Return the verdict that says why something was not taken."""
        verdict = pb.Verdict(kind=kind, digest=digest, code=pb.Code.Name(error.code), detail=short(error.detail))
        verdict.round = self._conductor.round
        if error.code in (pb.BUSY, pb.STORAGE_FULL):
            own = error.retry_after_s if isinstance(error, NoRoomError) else 0.0
            verdict.retry_after_s = own or self._config.limits.retry_after_s
        elif error.code == pb.DIGEST_MISMATCH:
            verdict.retry_after_s = CHANGED_RETRY_S
        return verdict

    def refuse(self, device: str, kind: pb.Kind, digest: bytes, error: WireError) -> None:
        """Send a refusal, and tell it."""
        verdict = self.refusal(kind, digest, error)
        self.answer(device, verdict)
        self.tell_refused(device, verdict)

    def tell_refused(self, device: str, verdict: pb.Verdict, size: int = 0) -> None:
        """Tell the operator of a refusal. Args: size: bytes of the body, 0 where none came whole."""
        name, code = pb.Kind.Name(verdict.kind).lower(), pb.Code.Name(pb.Code.ValueType(verdict.code))
        self._events.tell(name, device=device, code=code, detail=verdict.detail, bytes=size)


def short(text: str) -> str:
    """Cut a detail to what a verdict may carry."""
    return text.encode()[:DETAIL_BYTES].decode(errors="ignore")
