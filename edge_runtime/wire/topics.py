"""Topic names, with quality of service and retention of each. One place: SPEC.md, "Topics", is written from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.text import shown

ROOT: Final = "fl/v1"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Federations and devices: 1-64 letters, digits, dots, dashes, underscores; no wildcard or slash can get in."""
_BLOB: Final = re.compile(r"[0-9a-f]{64}")


class Topic(StrEnum):
    """The fourth word of a topic; a fifth names the device or the blob, but after GATEWAY and VERSION."""

    GATEWAY = "gateway"
    VERSION = "version"
    PLAN = "plan"
    VERDICT = "verdict"
    BLOB = "blob"
    HELLO = "hello"
    BYE = "bye"
    DELTA = "delta"
    STATISTICS = "statistics"
    WANT = "want"
    OFFER = "offer"
    MASKS = "masks"
    SECURE = "secure"


FROM_DEVICE: Final = (Topic.HELLO, Topic.BYE, Topic.DELTA, Topic.STATISTICS, Topic.WANT, Topic.OFFER, Topic.MASKS)
RETAINED: Final = frozenset({Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.SECURE})
QOS: Final = 1


@dataclass(frozen=True)
class Address:
    """A parsed topic; ``name`` is the device, or the hex digest of a blob, or empty."""

    federation: str
    topic: Topic
    name: str = ""

    def __str__(self) -> str:
        """Return the topic as MQTT knows it."""
        path = f"{ROOT}/{self.federation}/{self.topic}"
        return f"{path}/{self.name}" if self.name else path


def check_name(name: str, what: str) -> str:
    """Return ``name`` when it may stand in a topic.

    Raises:
        MalformedMessage: otherwise.
    """
    if not NAME.fullmatch(name):
        msg = (
            f"{what} {shown(name)} must be 1-64 letters, digits, dots, dashes or underscores"
            " and start with a letter or digit"
        )
        raise MalformedMessage(msg)
    return name


def parse(topic: str) -> Address:
    """Return the parts of ``topic``.

    Raises:
        MalformedMessage: when it is none of ours.
    """
    words = topic.split("/")
    if len(words) not in (4, 5) or "/".join(words[:2]) != ROOT or words[3] not in set(Topic):
        msg = f"topic {shown(topic)} is none of {ROOT}/FEDERATION/..."
        raise MalformedMessage(msg)
    kind = Topic(words[3])
    alone = kind in (Topic.GATEWAY, Topic.VERSION)
    if alone != (len(words) == 4):
        msg = f"topic {shown(topic)} has the wrong number of words"
        raise MalformedMessage(msg)
    federation = check_name(words[2], "federation")
    name = "" if alone else check_name(words[4], "name")
    if kind is Topic.BLOB and not _BLOB.fullmatch(name):
        msg = f"blob {shown(name)} is no SHA-256 in 64 lower-case hex digits"
        raise MalformedMessage(msg)
    return Address(federation, kind, name)


def device_subscriptions(federation: str, device: str) -> tuple[str, ...]:
    """Return what a device listens to from the start.

    On top come the blobs that it wants, one by one, and SECURE with the first plan under masks: a broker that knows
    nothing of those would refuse it.

    Raises:
        MalformedMessage: for a name that may not stand in a topic.
    """
    check_name(federation, "federation")
    check_name(device, "device")
    return (
        str(Address(federation, Topic.GATEWAY)),
        str(Address(federation, Topic.VERSION)),
        str(Address(federation, Topic.PLAN, device)),
        str(Address(federation, Topic.VERDICT, device)),
    )


def gateway_subscriptions(federation: str) -> tuple[str, ...]:
    """Return what a gateway listens to.

    Raises:
        MalformedMessage: for a name that may not stand in a topic.
    """
    check_name(federation, "federation")
    return tuple(f"{ROOT}/{federation}/{topic}/+" for topic in FROM_DEVICE)
