"""One client that was admitted: what its packets mean. It ends with its connection; nothing is kept for who is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker_server.broker.access import Peer, may_publish, may_subscribe
from broker_server.broker.connect_packet import PACKET_LIMIT, Connect
from broker_server.broker.connection import ADMISSION, Connection
from broker_server.broker.fields import Code, FrameError
from broker_server.broker.intake import Intake
from broker_server.broker.link import Arrived
from broker_server.broker.outgoing import Message, Outgoing
from broker_server.broker.pace import Pace
from broker_server.broker.packets import (
    PONG,
    Kind,
    Subscription,
    connack,
    disconnect,
    puback,
    read_disconnect,
    read_puback,
    read_publish,
    read_subscribe,
    read_unsubscribe,
    suback,
    unsuback,
)
from broker_server.broker.subscriptions import Subscriptions
from broker_server.config_tables import ConnectionLimits
from edge_runtime.wire.topics import FROM_DEVICE, Address, Topic

SUBSCRIPTIONS: Final = 8192
"""Topics that one device may hear at once: more than a bank has blocks."""
TOPICS_A_MESSAGE: Final = 64
"""A packet that asks for more topics counts as several messages."""
_ANNOUNCING: Final = (Topic.HELLO, Topic.BYE)
_ROOM: Final = "room"


@dataclass(frozen=True)
class Hub:
    """What sessions of one broker share.

    Args:
        subscriptions: of all.
        intake: the way to the gateway.
        note: tells that a client was held to a limit, with fields about it.
        now: seconds of a clock that only grows.
        ended: called when a session has ended.
    """

    subscriptions: Subscriptions[Session]
    intake: Intake
    note: Callable[[str, dict[str, object]], None]
    now: Callable[[], float]
    ended: Callable[[Session], None]


class Session:
    """A client from its admission to the end of its connection.

    Args:
        connection: to it.
        peer: who it is.
        connect: what it said of itself.
        hub: shared with others.
        limits: of its pace.
    """

    def __init__(
        self, connection: Connection, peer: Peer, connect: Connect, hub: Hub, limits: ConnectionLimits
    ) -> None:
        self.connection, self.peer, self.will = connection, peer, connect.will
        self._version, self._hub = connect.version, hub
        self._keep_alive_s = connect.keep_alive_s
        self._outgoing = Outgoing(connection, connect)
        self._topics: set[str] = set()
        self._messages, self._hellos = Pace(limits.messages_per_s), Pace(limits.hellos_per_s)
        self._leaving = Code.SUCCESS
        own = [(str(Address(peer.federation, topic, peer.device)), topic in _ANNOUNCING) for topic in FROM_DEVICE]
        self._own = {topic.encode(): (topic, announces) for topic, announces in own if may_publish(peer, topic)}

    def begin(self, chosen_id: str = "") -> None:
        """Take the client in and read on. Args: chosen_id: its client id, where it has none of its own."""
        self.connection.answer(connack(self._version, chosen_id))
        self.connection.release(ADMISSION)

    def attach(self) -> None:
        """Be told what happens to the connection."""
        silence_s = 1.5 * self._keep_alive_s or float("inf")
        self.connection.serve(self, PACKET_LIMIT, silence_s)

    # --- what the connection tells ------------------------------------------------------------------------------

    def take(self, first: int, content: memoryview) -> None:
        """Take a packet.

        Raises:
            FrameError: when it ends the connection.
        """
        kind, flags = first >> 4, first & 0x0F
        if kind == Kind.PUBLISH:
            self._publish(flags, content)
        elif kind == Kind.SUBSCRIBE:
            self._subscribe(*read_subscribe(flags, content, self._version))
        elif kind == Kind.UNSUBSCRIBE:
            self._unsubscribe(*read_unsubscribe(flags, content, self._version))
        elif flags:
            raise FrameError("the flags of a packet have no meaning")
        elif kind == Kind.PUBACK:
            self._outgoing.acknowledged(read_puback(content, self._version))
        elif kind == Kind.PINGREQ and not content:
            self._count(1)
            self.connection.answer(PONG)
        elif kind == Kind.DISCONNECT:
            self.will = self.will if read_disconnect(content, self._version) else None
            self.connection.finish()
        else:
            raise FrameError(f"a packet of kind {kind} that no client sends here", Code.PROTOCOL)

    def writable(self) -> None:
        """Go on sending, or leave where nothing is left to send."""
        self._outgoing.pump()
        if self._leaving and self._outgoing.empty:
            self.connection.finish(self._leaving)

    def farewell(self, code: Code) -> bytes:
        """Return what the client is told at the end."""
        return disconnect(self._version, code)

    def lost(self) -> None:
        """Leave no trace but the will."""
        self._hub.intake.forget(self)
        for topic in self._topics:
            self._hub.subscriptions.remove(self, topic)
        self._hub.ended(self)

    # --- what the broker asks for -------------------------------------------------------------------------------

    def deliver(self, message: Message) -> bool:
        """Send a message; return whether there is room for it."""
        return self._outgoing.put(message)

    def leave(self, code: Code) -> None:
        """Close the connection once all was sent that waits."""
        self._leaving = code
        self.writable()

    # --- packets ------------------------------------------------------------------------------------------------

    def _publish(self, flags: int, content: memoryview) -> None:
        message = read_publish(flags, content, self._version)
        topic, announces = self._own.get(message.topic, ("", False))
        self._count(1, announces=announces)
        if not topic:
            _check_topic(message.topic)
            self._acknowledge(message.packet_id, Code.NOT_AUTHORIZED)
        elif self._hub.intake.take(self, Arrived(topic, message.payload), partial(self._taken, message.packet_id)):
            self._acknowledge(message.packet_id)
        else:
            self.connection.hold(_ROOM)

    def _taken(self, packet_id: int) -> None:
        """Go on: the gateway has the message that waited."""
        self._acknowledge(packet_id)
        self.connection.release(_ROOM)

    def _acknowledge(self, packet_id: int, code: Code = Code.SUCCESS) -> None:
        if packet_id:
            self.connection.answer(puback(self._version, packet_id, code))

    def _subscribe(self, packet_id: int, asked: list[Subscription]) -> None:
        self._count(1 + len(asked) // TOPICS_A_MESSAGE)
        retained: list[Message] = []
        codes = [self._listen(one, retained) for one in asked]
        self.connection.answer(suback(self._version, packet_id, codes))
        for message in retained:
            self._outgoing.put(message)

    def _listen(self, asked: Subscription, retained: list[Message]) -> int:
        """Subscribe to one topic; return the code that says so. Args: retained: takes what is retained there."""
        topic = asked.topic_filter
        if not may_subscribe(self.peer, topic):
            return Code.NOT_AUTHORIZED
        if topic not in self._topics and len(self._topics) >= SUBSCRIPTIONS:
            self._hub.note("subscriptions", {"device": self.peer.device})
            return Code.QUOTA
        self._topics.add(topic)
        payload = self._hub.subscriptions.add(self, asked)
        if payload is not None:
            retained.append(Message(topic.encode(), payload, asked.qos, retain=True))
        return asked.qos

    def _unsubscribe(self, packet_id: int, topics: list[str]) -> None:
        self._count(1 + len(topics) // TOPICS_A_MESSAGE)
        codes = [Code.SUCCESS if topic in self._topics else Code.NO_SUBSCRIPTION for topic in topics]
        for topic in topics:
            self._topics.discard(topic)
            self._hub.subscriptions.remove(self, topic)
        self.connection.answer(unsuback(self._version, packet_id, codes))

    def _count(self, messages: int, *, announces: bool = False) -> None:
        """Count what the client asks for, and rest where that is too much at once."""
        now = self._hub.now()
        pauses = {"messages_per_s": [self._messages.take(now) for _ in range(messages)][-1]}
        if announces:
            pauses["hellos_per_s"] = self._hellos.take(now)
        which = max(pauses, key=lambda name: pauses[name])
        if pauses[which] > 0:
            self.connection.rest(pauses[which], which)
            self._hub.note(which, {"address": self.peer.address})


def _check_topic(topic: bytes) -> None:
    """Refuse what is no topic's name (section 4.7); others are only not this device's."""
    try:
        text = topic.decode()
    except UnicodeDecodeError as error:
        raise FrameError("a topic that is no UTF-8") from error
    if any(mark in text for mark in "#+\0"):
        raise FrameError("a topic with a wildcard or a NUL")
