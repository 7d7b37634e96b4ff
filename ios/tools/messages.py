"""Writes Swift's messages from the schema, so that they cannot drift from it: reader, writer, and what tests print.

    python -m ios.tools.messages            # as `make proto` does

The schema is the one that Python's generated code carries. SwiftProtobuf's own generator is no choice here: the package
would depend on a repository that a build may not reach, and a reader must be as strict as SPEC.md, "Refusals", asks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from edge_runtime.wire import wire_pb2 as pb

FOLDER: Final = Path(__file__).parent.parent
MESSAGES: Final = "Sources/Wire/Generated/Messages.swift"
FIELDS: Final = "Tests/EdgeTests/Generated/Fields.swift"
_HEAD: Final = (
    "// Written by `make proto` from edge_runtime/wire/wire.proto, which says what each field is. Not for hands.\n"
)
_TYPES: Final = {
    FieldDescriptor.TYPE_UINT32: ("UInt32", "0"),
    FieldDescriptor.TYPE_UINT64: ("UInt64", "0"),
    FieldDescriptor.TYPE_FIXED64: ("UInt64", "0"),
    FieldDescriptor.TYPE_FLOAT: ("Float", "0"),
    FieldDescriptor.TYPE_BOOL: ("Bool", "false"),
    FieldDescriptor.TYPE_STRING: ("String", '""'),
    FieldDescriptor.TYPE_BYTES: ("Bytes", "[]"),
}


def sources() -> dict[str, str]:
    """Return the text of each generated file, by its path from ``ios/``.

    Raises:
        KeyError: for a field of a type that the contract did not have so far.
    """
    enums = [_enum(one) for one in pb.DESCRIPTOR.enum_types_by_name.values()]
    messages = list(pb.DESCRIPTOR.message_types_by_name.values())
    return {
        MESSAGES: "\n".join([_HEAD, *enums, *map(_message, messages)]),
        FIELDS: "\n".join([_HEAD, "@testable import EdgeWire\n", *map(_fields, messages)]),
    }


def stale(folder: Path = FOLDER) -> list[str]:
    """Return the generated files under ``folder`` that are not what the schema says."""
    texts = sources()
    return [name for name in texts if not (folder / name).is_file() or (folder / name).read_text() != texts[name]]


def write(folder: Path = FOLDER) -> None:
    """Write the generated files."""
    for name, text in sources().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _camel(name: str) -> str:
    first, *rest = name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def _enum(enum: EnumDescriptor) -> str:
    values = enum.values
    cases = [f"    public static let {_camel(value.name)} = {enum.name}(rawValue: {value.number})" for value in values]
    names = [f'        {value.number}: "{value.name}",' for value in values]
    return "\n".join(
        [
            f"public struct {enum.name}: OpenEnum {{",
            "    public let rawValue: Int32",
            "    public init(rawValue: Int32) { self.rawValue = rawValue }",
            *cases,
            "    public static let names: [Int32: String] = [",
            *names,
            "    ]",
            "}\n",
        ]
    )


def _type(field: FieldDescriptor) -> tuple[str, str]:
    """Return the Swift type of a field, and its default."""
    if field.message_type is not None:
        name, default = field.message_type.name, f"{field.message_type.name}()"
    elif field.enum_type is not None:
        name, default = field.enum_type.name, f"{field.enum_type.name}(rawValue: 0)"
    else:
        name, default = _TYPES[field.type]
    return (f"[{name}]", "[]") if field.is_repeated else (name, default)


def _access(field: FieldDescriptor) -> str:
    """Return how a field is read or written where its Swift type alone does not say it."""
    return "fixed64: " if field.type == FieldDescriptor.TYPE_FIXED64 else ""


def _message(message: Descriptor) -> str:
    fields = sorted(message.fields, key=lambda field: field.number)
    lines = [f"public struct {message.name}: Message {{"]
    lines += [f'    public static let name = "{message.name}"']
    for field in fields:
        kind, default = _type(field)
        lines.append(f"    public var {_camel(field.name)}: {kind} = {default}")
    lines += ["", "    public init() {}", "", "    public mutating func read(_ field: inout FieldReader) throws {"]
    lines += ["        switch field.number {"]
    lines += [f"        case {f.number}: try field.read({_access(f)}&{_camel(f.name)})" for f in fields]
    lines += ["        default: break", "        }", "    }", ""]
    lines += ["    public func write(to writer: inout FieldWriter) {"]
    lines += [f"        writer.write({f.number}, {_access(f)}{_camel(f.name)})" for f in fields]
    return "\n".join([*lines, "    }", "}\n"])


def _fields(message: Descriptor) -> str:
    """Return how a test tells all fields of a message, as the shared vectors have them."""
    lines = [f"extension {message.name}: Told {{", "    var told: Json {", "        .members(["]
    lines += [f'            ("{field.name}", {_told(field)}),' for field in message.fields]
    return "\n".join([*lines, "        ])", "    }", "}\n"])


def _told(field: FieldDescriptor) -> str:
    """Return the JSON of a field: bytes in hex, 64-bit integers as text (vectors/README.md)."""
    name, shown = _camel(field.name), ""
    if field.type == FieldDescriptor.TYPE_BYTES:
        shown = ".text(hex({}))"
    elif field.type in {FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64}:
        shown = ".text(String({}))"
    if not shown:
        return f"{name}.told"
    return f".items({name}.map {{ {shown.format('$0')} }})" if field.is_repeated else shown.format(name)


def main() -> int:
    """Write the files. Returns: 0."""
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
