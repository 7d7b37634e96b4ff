"""Errors of the contract: one base for the whole project, one class for each decision that a caller can make."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final, Self

from edge_runtime.wire import wire_pb2 as pb


class FederationError(Exception):
    """Base of every error that this project raises on purpose; its text is one line for people.

    The text says what came, not how a command spells it. ``arguments`` are the names, in the Python interface or in
    gateway.toml, of what a caller may change; a command adds its options for them.
    """

    arguments: tuple[str, ...] = ()

    def about(self, *arguments: str) -> Self:
        """Return the error, which names these arguments of its caller."""
        self.arguments = arguments
        return self


def in_one_line(error: FederationError, options: Container[str], renamed: Mapping[str, str] | None = None) -> str:
    """Return what a command says of an error: its text, and the options for the arguments that it is about.

    Args:
        error: that was raised.
        options: of the command, as argparse names their values: ``train_slots`` of ``--train-slots``.
        renamed: option by argument, where they have different names; of ``listen.port`` the last part counts.
    """
    names = [(renamed or {}).get(name, name.rpartition(".")[2]) for name in error.arguments]
    known = [f"--{name.replace('_', '-')}" for name in dict.fromkeys(names) if name in options]
    return " ".join(str(error).split()) + (f" ({', '.join(known)})" if known else "")


class PackageError(FederationError):
    """A device package is missing, damaged, or not what its manifest says."""


class DataError(FederationError):
    """A file of texts or labels cannot be used, or a text cannot; what is said names the line and shows no text."""


class BankError(FederationError):
    """A bank or a block of one has the wrong shape, digest or values."""


class SecureError(FederationError):
    """A sum under masks cannot go on: a key, a share or a list is not what the contract allows, or too few are left."""


def code_name(code: int) -> str:
    """Return the name of a code; a number of tomorrow's schema stays a number, since an enum of proto3 is open."""
    return pb.Code.Name(pb.Code.ValueType(code)) if code in pb.Code.values() else f"CODE_{code}"


class WireError(FederationError):
    """Bytes or a message are refused.

    ``code`` is the same number in every language; ``detail`` is for people and holds no user text.
    """

    def __init__(self, code: int, detail: str) -> None:
        self.code: Final = code
        self.detail: Final = detail
        super().__init__(f"{code_name(code)}: {detail}")


class MalformedMessage(WireError):  # noqa: N818 - names what came, as the reject code does
    """Bytes are not the message that they claim to be."""

    def __init__(self, detail: str) -> None:
        super().__init__(pb.MALFORMED, detail)
