"""Packets of MQTT 3.1.1 and 5, held against bytes written by hand from the standards."""

from __future__ import annotations

import pytest

from broker_server.broker.connect_packet import MQTT_3, MQTT_5, Connect, Will, read_connect
from broker_server.broker.fields import Code, FrameError, Property, properties, varint
from broker_server.broker.framing import Frames
from broker_server.broker.packets import (
    Publish,
    RetainHandling,
    Subscription,
    connack,
    disconnect,
    puback,
    publish_head,
    read_disconnect,
    read_puback,
    read_publish,
    read_subscribe,
    read_unsubscribe,
    refusal,
    suback,
    unsuback,
)
from broker_server.broker.subscriptions import Subscriptions


def view(text: str) -> memoryview:
    """Return bytes written in hex."""
    return memoryview(bytes.fromhex(text))


def test_connect_of_mqtt_5_says_what_a_client_takes() -> None:
    """Session expiry 5 s, receive maximum 10, packets of 1,024 bytes, two properties of users, a will with a delay."""
    wanted = "11 00000005 21 000a 27 00000400 26 0001 61 0001 62 26 0001 61 0001 63"
    size = f"{len(bytes.fromhex(wanted)):02x}"
    will = "05 18 0000001e 0003 612f62 0001 78"
    connect = read_connect(view(f"0004 4d515454 05 0e 003c {size} {wanted} 0003 782e61 {will}"))
    assert connect == Connect(
        "x.a", 60, Will("a/b", b"x"), version=MQTT_5, session_expiry_s=5, receive_maximum=10, maximum_packet=1024
    )


@pytest.mark.parametrize(
    ("content", "code", "version"),
    [
        ("0006 4d5149736470 03 02 003c 0001 61", Code.MALFORMED, 0),  # MQTT 3.1 has another name
        ("0004 4d515454 06 02 003c 00 0001 61", Code.VERSION, 6),
        ("0004 4d515454 05 02 003c 03 21 0000 0001 61", Code.PROTOCOL, MQTT_5),
        ("0004 4d515454 05 02 003c 06 21 0001 21 0001 0001 61", Code.PROTOCOL, MQTT_5),
        ("0004 4d515454 05 02 003c 02 01 01 0001 61", Code.PROTOCOL, MQTT_5),
        ("0004 4d515454 05 02 003c 04 15 0001 78 0001 61", Code.METHOD, MQTT_5),
        ("0004 4d515454 05 16 003c 00 0001 61 00 0001 62 0000", Code.QOS, MQTT_5),
        ("0004 4d515454 04 03 003c 0001 61", Code.MALFORMED, MQTT_3),
        ("0004 4d515454 04 02 003c 0001 61 00", Code.MALFORMED, MQTT_3),
        ("0004 4d515454 04 02 003c 0002 61", Code.MALFORMED, MQTT_3),
        ("0004 4d515454 04 02 003c 0001 00", Code.MALFORMED, MQTT_3),
    ],
)
def test_connect_that_is_refused(content: str, code: Code, version: int) -> None:
    """Another protocol, a limit of 0, a property twice or of another packet, a method, QoS 2, flags, lengths, a NUL."""
    with pytest.raises(FrameError) as failure:
        read_connect(view(content))
    assert (failure.value.code, failure.value.version) == (code, version)


def test_publish_is_read_in_both_versions() -> None:
    """Number 7 on a/b; MQTT 5 has properties between number and payload; QoS 0 has no number."""
    assert read_publish(2, view("0003 612f62 0007 6869"), MQTT_3) == Publish(b"a/b", 7, b"hi", retain=False)
    assert read_publish(3, view("0003 612f62 0007 05 02 00000009 6869"), MQTT_5) == Publish(
        b"a/b", 7, b"hi", retain=True
    )
    assert read_publish(0, view("0003 612f62 6869"), MQTT_3) == Publish(b"a/b", 0, b"hi", retain=False)


@pytest.mark.parametrize(
    ("flags", "content", "code"),
    [
        (4, "0003 612f62 0007 00", Code.QOS),
        (2, "0003 612f62 0000 00", Code.PROTOCOL),
        (2, "0003 612f62 0007 03 23 0001", Code.ALIAS),
        (2, "0003 612f62 0007 02 0b 01", Code.PROTOCOL),
        (2, "0000 0007 00", Code.MALFORMED),
        (2, "0003 612f62 0007 7f", Code.MALFORMED),
    ],
)
def test_publish_that_is_refused(flags: int, content: str, code: Code) -> None:
    """QoS 2, the number 0, a topic alias, a subscription's number, no topic, properties without an end."""
    with pytest.raises(FrameError) as failure:
        read_publish(flags, view(content), MQTT_5)
    assert failure.value.code is code


def test_subscriptions_are_read() -> None:
    """QoS 2 becomes 1; options of MQTT 5: as published (8), retained messages for new ones only (16)."""
    assert read_subscribe(2, view("0001 0001 61 02 0001 62 00"), MQTT_3) == (
        1, [Subscription("a", 1), Subscription("b", 0)],
    )  # fmt: skip
    assert read_subscribe(2, view("0001 00 0001 61 19"), MQTT_5) == (
        1, [Subscription("a", 1, as_published=True, handling=RetainHandling.NEW)],
    )  # fmt: skip
    assert read_unsubscribe(2, view("0002 00 0001 61 0001 62"), MQTT_5) == (2, ["a", "b"])
    for content in ("0001", "0001 0001 61 03", "0001 0001 61 08"):
        with pytest.raises(FrameError):
            read_subscribe(2, view(content), MQTT_3)
    with pytest.raises(FrameError):
        read_subscribe(0, view("0001 0001 61 00"), MQTT_3)
    with pytest.raises(FrameError):
        read_unsubscribe(2, view("0001"), MQTT_3)


def test_codes_and_properties_behind_a_number_may_be_left_out() -> None:
    """PUBACK and DISCONNECT of MQTT 5; a will is wanted for any code but 0."""
    assert [read_puback(view(text), MQTT_5) for text in ("0007", "0007 87", "0007 00 04 1f 0001 78")] == [7, 7, 7]
    assert [read_disconnect(view(text), MQTT_5) for text in ("", "00", "04", "04 00")] == [False, False, True, True]
    with pytest.raises(FrameError):
        read_puback(view("0007 00"), MQTT_3)


def test_answers_are_written() -> None:
    """Byte for byte; MQTT 3.1.1 has one code for a refused topic and no words."""
    assert connack(MQTT_3) == bytes.fromhex("20020000")
    assert connack(MQTT_5, "me") == bytes.fromhex(
        "201a 0000 17 11 00000000 24 01 27 00020400 28 00 29 00 2a 00 12 0002 6d65"
    )
    assert refusal(MQTT_3, Code.NOT_AUTHORIZED, "no") == bytes.fromhex("20020005")
    assert refusal(MQTT_5, Code.NOT_AUTHORIZED, "no") == bytes.fromhex("2008 00 87 05 1f 0002 6e6f")
    assert (puback(MQTT_3, 7, Code.QUOTA), puback(MQTT_5, 7, Code.QUOTA)) == (b"\x40\x02\0\7", b"\x40\x03\0\7\x97")
    assert suback(MQTT_3, 7, [1, Code.QUOTA]) == bytes.fromhex("9004 0007 01 80")
    assert suback(MQTT_5, 7, [1, Code.QUOTA]) == bytes.fromhex("9005 0007 00 01 97")
    assert unsuback(MQTT_3, 7, [Code.SUCCESS]) == bytes.fromhex("b002 0007")
    assert unsuback(MQTT_5, 7, [Code.NO_SUBSCRIPTION]) == bytes.fromhex("b004 0007 00 11")
    assert (disconnect(MQTT_3, Code.TAKEN_OVER), disconnect(MQTT_5, Code.TAKEN_OVER)) == (b"", b"\xe0\x01\x8e")
    assert publish_head(MQTT_3, b"a/b", 2, 7, retain=True) == bytes.fromhex("33 09 0003 612f62 0007")
    assert publish_head(MQTT_5, b"a/b", 2, 0, retain=False) == bytes.fromhex("30 08 0003 612f62 00")


def test_numbers_of_one_to_four_bytes() -> None:
    """The ends of each length (table 2.1 of MQTT 3.1.1)."""
    ends = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]
    written = ["00", "7f", "8001", "ff7f", "808001", "ffff7f", "80808001", "ffffff7f"]
    assert [varint(number).hex() for number in ends] == written
    assert properties({}) == b"\0"
    assert properties({Property.REASON: "é"}) == bytes.fromhex("05 1f 0002 c3a9")


def test_a_packet_that_comes_in_pieces_is_read_into_its_own_buffer() -> None:
    """Of 300 bytes the shared buffer got 100: the rest goes straight behind them, and then nothing is kept."""
    shared = memoryview(bytearray(4096))
    frames = Frames(1000, shared)
    packet = b"\x30" + varint(297) + bytes(range(256)) + bytes(41)
    frames.buffer()[:100] = packet[:100]
    frames.filled(100)
    assert frames.next() is None
    frames.keep()
    assert (frames.kept_bytes, len(frames.buffer())) == (100, 200)
    frames.buffer()[:200] = packet[100:]
    frames.filled(200)
    first, content = frames.next() or (0, memoryview(b""))
    assert (first, bytes(content)) == (0x30, packet[3:])
    frames.keep()
    assert frames.kept_bytes == 0
    assert frames.buffer() is shared


def test_a_packet_over_the_limit_is_refused_by_its_length() -> None:
    """1,000 bytes may come; of 1,001 only the head was read."""
    frames = Frames(1000, memoryview(bytearray(4096)))
    frames.feed(b"\x30" + varint(1001))
    with pytest.raises(FrameError, match="a packet of 1001 bytes, limit 1000") as failure:
        frames.next()
    assert failure.value.code is Code.TOO_LARGE


def test_what_is_retained_comes_as_it_was_asked_for() -> None:
    """Always, only when new, never; an empty message ends it."""
    hears: Subscriptions[str] = Subscriptions()
    hears.retain("t", b"kept")
    asked = {handling: Subscription("t", 1, handling=handling) for handling in RetainHandling}
    assert [hears.add("a", asked[RetainHandling.ALWAYS]) for _ in range(2)] == [b"kept", b"kept"]
    assert [hears.add("b", asked[RetainHandling.NEW]) for _ in range(2)] == [b"kept", None]
    assert hears.add("c", asked[RetainHandling.NEVER]) is None
    hears.remove("b", "t")
    assert list(hears.listeners("t")) == ["a", "c"]
    hears.retain("t", b"")
    assert hears.add("d", asked[RetainHandling.ALWAYS]) is None
