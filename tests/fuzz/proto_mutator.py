"""Mutates a message by its schema, so that most of what is tried gets past the parser and meets the rules behind it."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256, version_digest
from edge_runtime.wire.experts import ExpertId
from tests.fuzz.target import Mutator, Raw

_INTEGERS: Final = (0, 1, 2, 63, 64, 127, 128, 255, 1000, 2500, 65_534, 65_535, 65_536, 1_000_000, 2**31 - 1, 2**32 - 1)
_WIDE: Final = (*_INTEGERS, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
_FLOATS: Final = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.0001,
    10.0,
    1e-45,
    1e30,
    3.4e38,
    float("inf"),
    float("-inf"),
    float("nan"),
)
_TEXTS: Final = (
    "",
    "a",
    "device-1",
    "ü",
    "x" * 64,
    "x" * 65,
    "x" * 201,
    "a/b",
    "#",
    "+",
    "\x1b[0m",
    "a\nb",
    "\u202e",
    "..",
)
_SIZES: Final = (0, 1, 15, 16, 31, 32, 33, 64, 68, 132)


def mutator_of(kind: type[Message]) -> Mutator:
    """Return the mutator of a kind of message."""

    def mutate(data: bytes, random: Random, raw: Raw, limit: int) -> bytes:
        message = kind()
        try:
            message.ParseFromString(data)
        except (DecodeError, ValueError):
            return raw(data, limit)
        if random.random() < 0.15:
            return raw(data, limit)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            _change(message, random, raw)
        if random.random() < 0.7:
            _fit(message)
        changed = message.SerializeToString()
        return changed if len(changed) <= limit else raw(data, limit)

    return mutate


def _change(message: Any, random: Random, raw: Raw) -> None:
    field = random.choice(message.DESCRIPTOR.fields)
    if field.is_repeated:
        _change_list(getattr(message, field.name), field, random, raw)
    elif random.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _scalar(getattr(message, field.name), field, random, raw))


def _change_list(items: Any, field: FieldDescriptor, random: Random, raw: Raw) -> None:
    nested = field.type == FieldDescriptor.TYPE_MESSAGE
    act = random.randrange(4)
    if act == 0 or not items:
        if nested:
            items.add()
            _change(items[-1], random, raw)
        else:
            items.append(_scalar(items[-1] if items else _empty(field), field, random, raw))
    elif act == 1:
        del items[random.randrange(len(items))]
    elif act == 2 and len(items) < 64:  # one twice, perhaps in another place
        copies = list(items)
        copies.insert(random.randrange(len(items) + 1), random.choice(copies))
        kept = [_copy(item) for item in copies]
        del items[:]
        items.extend(kept)
    elif nested:
        _change(random.choice(items), random, raw)
    else:
        place = random.randrange(len(items))
        items[place] = _scalar(items[place], field, random, raw)


def _copy(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    copy = type(item)()
    copy.CopyFrom(item)
    return copy


def _empty(field: FieldDescriptor) -> Any:
    return b"" if field.type == FieldDescriptor.TYPE_BYTES else "" if field.type == FieldDescriptor.TYPE_STRING else 0


def _scalar(value: Any, field: FieldDescriptor, random: Random, raw: Raw) -> Any:
    kind = field.type
    if kind == FieldDescriptor.TYPE_BYTES:
        return raw(value, 512) if value and random.random() < 0.6 else random.randbytes(random.choice(_SIZES))
    if kind == FieldDescriptor.TYPE_STRING:
        mutated = raw(value.encode(), 256).decode(errors="ignore") if random.random() < 0.4 else ""
        return mutated or random.choice(_TEXTS)
    if kind == FieldDescriptor.TYPE_BOOL:
        return not value
    if kind == FieldDescriptor.TYPE_FLOAT:
        return random.choice(_FLOATS)
    if kind == FieldDescriptor.TYPE_ENUM:
        return random.choice((0, 1, 2, 3, 4, 16, 19, 20, 99, -1))
    largest = 2**64 - 1 if kind in (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64) else 2**32 - 1
    near = min(max(value + random.choice((-2, -1, 1, 2)), 0), largest)
    return random.choice((near, random.choice(_WIDE if largest > 2**32 else _INTEGERS)))


def _fit(message: Any) -> None:
    """Give a message what chance never would: the wire version, ascending lists, digests of what it holds."""
    message.wire_version = 1
    for name in ("experts", "train", "blocks"):
        items = getattr(message, name, None)
        if items:
            unique = {(item.layer, item.index): _copy(item) for item in items}
            del items[:]
            items.extend(unique[key] for key in sorted(unique))
    if isinstance(message, pb.Version):
        for block in message.blocks:
            block.digest = block.digest[:32].ljust(32, b"\0")
        blocks = {ExpertId(block.layer, block.index): block.digest for block in message.blocks}
        message.digest = version_digest(blocks)
    if isinstance(message, pb.Chunk) and message.count == 1:
        message.total, message.digest = len(message.payload), sha256(message.payload)
