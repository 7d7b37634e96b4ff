"""Who hears which topic, and what is retained there. Topics have no wildcards: devices name what they hear. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

from broker_server.broker.packets import RetainHandling, Subscription

T = TypeVar("T")


class Subscriptions(Generic[T]):
    """The listeners of every topic."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[T, Subscription]] = {}
        self._retained: dict[str, bytes] = {}

    def add(self, listener: T, asked: Subscription) -> bytes | None:
        """Have someone hear a topic from now on, once; return what is retained there and was asked for."""
        listeners = self._listeners.setdefault(asked.topic_filter, {})
        new = listener not in listeners
        listeners[listener] = asked
        wanted = asked.handling is RetainHandling.ALWAYS or (new and asked.handling is RetainHandling.NEW)
        return self._retained.get(asked.topic_filter) if wanted else None

    def remove(self, listener: T, topic: str) -> None:
        """Have someone hear a topic no more."""
        listeners = self._listeners.get(topic, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(topic, None)

    def listeners(self, topic: str) -> dict[T, Subscription]:
        """Return who hears a topic, and how."""
        return self._listeners.get(topic, {})

    def retain(self, topic: str, payload: bytes) -> None:
        """Keep a message for later listeners in place of the last; an empty one only ends that."""
        if payload:
            self._retained[topic] = payload
        else:
            self._retained.pop(topic, None)
