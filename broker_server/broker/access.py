"""Who a client of the embedded broker is, and what it may publish and hear. Pure.

A device is called by its client id, FEDERATION.DEVICE. With TLS the name in its certificate (CN) must be that device;
without TLS nothing proves the name, and it is only held to: who came as one device cannot speak as another. A device
publishes on its own topics and hears what is for it or for all; nobody but the gateway hears what devices send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker_server.broker.connect_packet import Connect
from broker_server.broker.fields import Code
from edge_runtime.wire.broker_url import is_loopback
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.text import shown
from edge_runtime.wire.topics import FROM_DEVICE, Topic, check_name, parse

FOR_ONE: Final = (Topic.PLAN, Topic.VERDICT, Topic.SECURE)
FOR_ALL: Final = (Topic.GATEWAY, Topic.VERSION, Topic.BLOB)


class AccessError(Exception):
    """A client is refused.

    Args:
        reason: one of a few texts.
        detail: of this client.
        code: of CONNACK.
    """

    def __init__(self, reason: str, detail: str = "", code: Code = Code.NOT_AUTHORIZED) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.code = reason, detail, code


@dataclass(frozen=True)
class Certificate:
    """What a client proved. Args: name: CN of its certificate; serial: of the certificate, in upper-case hex."""

    name: str
    serial: str


@dataclass(frozen=True)
class Revoked:
    """Who is refused. Args: devices: by name; certificates: by serial number, in upper-case hex."""

    devices: frozenset[str] = frozenset()
    certificates: frozenset[str] = frozenset()

    def has(self, certificate: Certificate | None, device: str) -> bool:
        """Return whether a client is one of them."""
        if certificate is not None and (certificate.serial in self.certificates or certificate.name in self.devices):
            return True
        return device in self.devices


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a connection.

    Args:
        federation: that it belongs to.
        device: that it is; "" for one that listens only (``edge_runtime doctor``).
        address: where it comes from.
        certificate: what proves it; None without TLS.
    """

    federation: str
    device: str
    address: str
    certificate: Certificate | None = None


def identify(connect: Connect, federation: str, address: str, certificate: Certificate | None) -> Peer:
    """Return which device a client is.

    Raises:
        AccessError: when its client id is not its own, or its will would speak as somebody else.
    """
    if connect.user or connect.password:
        raise AccessError("a user or a password, of which this broker has none", shown(connect.user))
    device = _device(connect.client_id, federation)
    if certificate is not None and device and device != certificate.name:
        raise AccessError(
            "another device's client id",
            f"{shown(connect.client_id)} came with the certificate of {shown(certificate.name)}",
        )
    peer = Peer(federation, device, address, certificate=certificate)
    will = connect.will
    if will is not None and not may_publish(peer, will.topic, retain=will.retain):
        raise AccessError("a will on a topic that is not its own", shown(will.topic))
    return peer


def _device(client_id: str, federation: str) -> str:
    device = client_id.removeprefix(f"{federation}.")
    try:
        if client_id and (device == client_id or not check_name(device, "device")):
            raise AccessError(
                "no client id of the federation", f"{shown(client_id)}, expected {federation}.DEVICE", Code.CLIENT_ID
            )
    except MalformedMessage as error:
        raise AccessError("no client id of the federation", error.detail, Code.CLIENT_ID) from error
    return device


def may_take_over(holder: Peer, newcomer: Peer) -> bool:
    """Return whether a client may end another connection with its client id: a device that comes back.

    With TLS the certificate's name tells. Without, it is the address on a network. On this machine all have one
    address, and the system tells at once when a process is gone: a client id is free as soon as its holder is.
    """
    if holder.certificate is not None and newcomer.certificate is not None:
        return holder.certificate.name == newcomer.certificate.name
    same = holder.certificate is None and newcomer.certificate is None and holder.address == newcomer.address
    return same and not is_loopback(newcomer.address)


def may_publish(peer: Peer, topic: str, *, retain: bool = False) -> bool:
    """Return whether a message on ``topic`` is taken; devices may retain nothing."""
    try:
        address = parse(topic)
    except MalformedMessage:
        return False
    own = (address.federation, address.name) == (peer.federation, peer.device)
    return address.topic in FROM_DEVICE and own and not retain


def may_subscribe(peer: Peer, topic_filter: str) -> bool:
    """Return whether a subscription is taken; a device names the topics it hears one by one, without wildcards."""
    try:
        address = parse(topic_filter)
    except MalformedMessage:
        return False
    if address.federation != peer.federation:
        return False
    return address.topic in FOR_ALL or (address.topic in FOR_ONE and address.name == peer.device)
