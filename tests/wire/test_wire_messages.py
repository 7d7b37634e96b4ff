"""Bytes that nobody ever sent: decode raises nothing but WireError, and every limit holds."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_runtime.wire import limits, messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.scan import fields_within
from edge_runtime.wire.text import plain, shown
from edge_runtime.wire.topics import FROM_DEVICE, Address, Topic, device_subscriptions, gateway_subscriptions, parse
from edge_runtime.wire.vectors.case import read_cases
from edge_runtime.wire.vectors.decide import MESSAGES

KINDS = sorted(MESSAGES)
VALID = {kind: [c.data for c in read_cases() if c.kind == kind and c.expect == "ACCEPT"] for kind in KINDS}


def decided(kind: str, data: bytes) -> str:
    """Return what decode makes of ``data``: a code, or ACCEPT and then the message is written and read again."""
    try:
        message = messages.decode(MESSAGES[kind], data)
    except WireError as error:
        text = str(error)
        assert len(text) < 400
        assert text.isprintable()
        return pb.Code.Name(error.code)
    again = messages.decode(MESSAGES[kind], messages.encode(message), limit=2 * len(data) + 100)
    assert again == message
    return "ACCEPT"


@given(st.sampled_from(KINDS), st.binary(max_size=300))
@example("Delta", b"\x08\x01" * 1000)
@example("Hello", b"\x0b" * 1000)
def test_arbitrary_bytes_raise_only_wire_errors(kind: str, data: bytes) -> None:
    """Whatever the bytes, the answer is a message or a code."""
    decided(kind, data)


@given(st.data(), st.sampled_from(KINDS))
def test_mutated_messages_raise_only_wire_errors(data: st.DataObject, kind: str) -> None:
    """Valid messages with bytes changed, cut, repeated or put in from others are decided too."""
    good = data.draw(st.sampled_from([item for item in VALID[kind] if len(item) < 5000]))
    at = data.draw(st.integers(0, len(good)))
    until = data.draw(st.integers(at, len(good)))
    middle = data.draw(st.one_of(st.binary(max_size=8), st.just(good[at:until] * 2), st.just(good)))
    decided(kind, good[:at] + middle + good[until:])


@given(st.sampled_from([kind for kind in KINDS if kind != "Bye"]), st.data())
def test_hostile_fields_raise_only_wire_errors(kind: str, data: st.DataObject) -> None:
    """Fields of the right type and any value."""
    message = MESSAGES[kind]()
    message.ParseFromString(data.draw(st.sampled_from([item for item in VALID[kind] if len(item) < 5000])))
    number = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e30])
    for field in message.DESCRIPTOR.fields:
        values: dict[int, st.SearchStrategy[Any]] = {
            field.TYPE_FLOAT: number,
            field.TYPE_UINT32: st.integers(0, 2**32 - 1),
            field.TYPE_UINT64: st.integers(0, 2**64 - 1),
            field.TYPE_BYTES: st.binary(max_size=40),
            field.TYPE_STRING: st.text(max_size=300),
            field.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1),
        }
        if not field.is_repeated and field.type in values and field.number > 1 and data.draw(st.booleans()):
            setattr(message, field.name, data.draw(values[field.type]))
    decided(kind, message.SerializeToString())


def test_a_flood_of_nested_fields_is_refused_before_it_costs_memory() -> None:
    """64 MiB of two-byte experts would be 1.6 GB once parsed."""
    body = b"\x08\x01" + b"\x42\x00" * (limits.BODY_LIMIT // 2 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="TOO_LARGE") as caught:
            messages.decode(pb.Delta, body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.code == pb.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "limit", "within"),
    [
        (b"\x08\x01" * 3, 3, True),
        (b"\x08\x01" * 4, 3, False),
        (b"\x0a\x02\x08\x01" * 4, 4, True),  # what is inside does not count
        (b"\x09" + b"\0" * 8 + b"\x0d" + b"\0" * 4, 2, True),
        (b"\x09" + b"\0" * 8 + b"\x0d" + b"\0" * 4, 1, False),
        (b"\x0b\x0c" * 5, 9, False),  # tags of groups
        (b"\xff" * 50, 3, True),  # no message: the parser says so
        (b"\x0f" * 50, 3, True),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x08\x01" * 9, 3, True),  # longer than the file
        (b"\x08", 0, False),
    ],
)
def test_fields_are_counted_without_parsing(data: bytes, limit: int, within: bool) -> None:
    """Top-level fields only, and a wrong length ends the count."""
    assert fields_within(data, limit) is within


def test_limit_of_a_body_is_larger_than_that_of_a_payload() -> None:
    """A Delta is a body; a Hello is a payload."""
    experts = [pb.ExpertDelta(layer=0, index=i, values=bytes(50_000)) for i in range(3)]
    delta = pb.Delta(device="a", plan_digest=bytes(32), examples=1, experts=experts)
    assert messages.decode(pb.Delta, messages.encode(delta)).experts[2].index == 2
    with pytest.raises(WireError, match="limit 100"):
        messages.decode(pb.Delta, messages.encode(delta), limit=100)
    with pytest.raises(WireError, match="limit 131072"):
        messages.decode(pb.Want, bytes(131_073))


def test_ids_are_listed_ascending_and_once() -> None:
    """Refs sorts and removes repetitions; ids gives back what was listed."""
    listed = messages.refs([HEAD, ExpertId(1, 2), ExpertId(0, 5), ExpertId(1, 2)])
    assert messages.ids(listed) == (ExpertId(0, 5), ExpertId(1, 2), HEAD)


def test_subscriptions_refuse_names_that_would_reach_further() -> None:
    """A device called "+" would hear every plan."""
    assert device_subscriptions("home", "pi")[2] == "fl/v1/home/plan/pi"
    assert gateway_subscriptions("home") == tuple(f"fl/v1/home/{topic}/+" for topic in FROM_DEVICE)
    for call in (
        lambda: device_subscriptions("home", "+"),
        lambda: device_subscriptions("#", "pi"),
        lambda: gateway_subscriptions("a/b"),
    ):
        with pytest.raises(MalformedMessage):
            call()


@given(st.text(max_size=100))
@example("fl/v1/home/delta/\ud800")
def test_parsing_topics_is_total(text: str) -> None:
    """Any text is one of our topics, and then it is written as it came, or is refused."""
    try:
        address = parse(text)
    except MalformedMessage:
        return
    assert str(address) == text


def test_addresses_are_written_as_they_are_parsed() -> None:
    """Both directions agree for every topic."""
    for topic in Topic:
        name = "" if topic in (Topic.GATEWAY, Topic.VERSION) else "ab" * 32
        address = Address("home", topic, name)
        assert parse(str(address)) == address


@given(st.text())
def test_shown_is_one_short_line(text: str) -> None:
    """Whatever came from elsewhere can be put in a message to people."""
    for value in (text, [text], {text: 1}, b"bytes", math.nan):
        line = shown(value, 40)
        assert len(line) <= 40
        assert line.isprintable()
    assert plain(shown(text), 1000)


def test_plain_counts_bytes() -> None:
    """The limit is of UTF-8; a lone surrogate is no text at all."""
    assert plain("üü", 4)
    assert not plain("üü", 3)
    assert not plain("\ud800", 10)
    assert not plain("a\u2028b", 10)
    assert plain("\u0645\u06cc\u200c\u0634\u0648\u062f 👨\u200d👩\u200d👧 a\u00a0b #", 200)
