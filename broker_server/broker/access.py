"""Who may publish and hear what on the embedded broker. Pure.

A device publishes on its own topics and hears what a gateway says; nobody but the gateway hears what devices send, and
nobody but the gateway may speak as one. Without TLS a device's name is not proven, so that names are not compared here.
"""

from __future__ import annotations

from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.topics import FROM_DEVICE, Topic, parse

FROM_GATEWAY = (Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT, Topic.BLOB)


def may_publish(topic: str, *, gateway: bool, retain: bool = False) -> bool:
    """Return whether a message on ``topic`` is taken; devices may retain nothing."""
    if gateway:
        return True
    try:
        return parse(topic).topic in FROM_DEVICE and not retain
    except MalformedMessage:
        return False


def may_subscribe(topic_filter: str, *, gateway: bool) -> bool:
    """Return whether a subscription is taken; a device names the topics it hears one by one, without wildcards."""
    if gateway:
        return True
    try:
        return parse(topic_filter).topic in FROM_GATEWAY
    except MalformedMessage:
        return False
