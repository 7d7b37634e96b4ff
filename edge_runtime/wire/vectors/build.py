"""Makes cases of messages: a valid message of each kind, and the same with changes."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide import fields_of

DEVICE: Final = "pixel-8.kitchen"
FEDERATION: Final = bytes(range(32))
PACKAGE: Final = bytes(range(32, 64))
SESSION: Final = bytes(range(16))
DIGEST: Final = bytes(range(100, 132))
NAN: Final = float("nan")
INF: Final = float("inf")


class MessageCases:
    """Cases of one message. Args: kind: its class; base: fields of a valid message."""

    def __init__(self, kind: type[Message], /, **base: Any) -> None:  # noqa: ANN401 - fields of any type
        self.kind = kind
        self.base = {"wire_version": 1, **base}

    def message(self, **changes: Any) -> Message:  # noqa: ANN401
        """Return the valid message with some fields changed; None leaves a field out."""
        fields = {**self.base, **changes}
        return self.kind(**{name: value for name, value in fields.items() if value is not None})

    def accept(self, name: str, comment: str, /, **changes: Any) -> Case:  # noqa: ANN401
        """Return a case of a message that is accepted and means its fields."""
        message = self.message(**changes)
        return self.bytes(name, comment, message.SerializeToString(), "ACCEPT", fields_of(message))

    def refuse(self, name: str, expect: str, comment: str, /, **changes: Any) -> Case:  # noqa: ANN401
        """Return a case of a message that is refused with the code ``expect``."""
        return self.bytes(name, comment, self.message(**changes).SerializeToString(), expect)

    def bytes(self, name: str, comment: str, data: bytes, expect: str, meaning: dict[str, Any] | None = None) -> Case:
        """Return a case of bytes that no writer of ours makes."""
        verb = "accept" if expect == "ACCEPT" else "refuse"
        return Case(self.kind.__name__, f"{verb}_{name}", data, expect, comment, meaning=meaning)

    def common(self) -> list[Case]:
        """Return the cases that every message has: what a reader checks before it looks at the fields."""
        good = self.message().SerializeToString()
        # Field 1000, wire type 2, three bytes: tomorrow's field. Field 1001, varint.
        unknown = good + b"\xc2\x3e\x03new" + b"\xc8\x3e\x01"
        return [
            self.accept("plain", "a valid message"),
            self.bytes(
                "unknown_fields", "fields of tomorrow are skipped", unknown, "ACCEPT", fields_of(self.message())
            ),
            self.bytes("empty", "no bytes: wire version 0", b"", "UNSUPPORTED_WIRE"),
            self.refuse("wire_version_2", "UNSUPPORTED_WIRE", "another wire version", wire_version=2),
            self.bytes("truncated", "the last byte is missing", good[:-1], "MALFORMED"),
            self.bytes("garbage", "bytes that are no protobuf", b"\xff" * 16, "MALFORMED"),
        ]
