"""What is fuzzed: a decoder, what must hold of it whatever the bytes, and inputs to start from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from edge_runtime.wire.errors import FederationError, WireError, code_name

Raw = Callable[[bytes, int], bytes]
"""The fuzzer's own mutation of bytes; at most so many come back."""
Mutator = Callable[[bytes, Random, Raw, int], bytes]
"""A mutation that knows what the bytes mean: the bytes, chance, the fuzzer's own, the most bytes that may come back."""
ACCEPT: Final = "ACCEPT"
_SHOWN: Final = 2000
"""Characters of an error's text: a terminal's worth, whatever came."""


class Finding(AssertionError):  # noqa: N818 - what a fuzzer finds
    """A property does not hold."""


@dataclass(frozen=True)
class Target:
    """One decoder.

    Args:
        name: of the target and of its corpus's file.
        check: runs the decoder on bytes and returns its decision, ACCEPT or a refusal's name. What else comes out is a
            finding: a Finding, or an exception that the decoder does not document.
        seeds: inputs to start from.
        mutate: changes bytes by what they mean; None leaves it to the fuzzer.
        longest: bytes of an input.
        fixed: bytes that a decoder may take beside those that grow with the input.
        factor: bytes that it may take for each byte of input.
        kept: bytes of its inputs in the committed corpus, findings beside them.
    """

    name: str
    check: Callable[[bytes], str]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutator | None = None
    longest: int = 4096
    fixed: int = 2 << 20
    factor: int = 400
    kept: int = 250_000


def need(condition: bool, what: str) -> None:
    """State a property.

    Raises:
        Finding: when it does not hold.
    """
    if not condition:
        raise Finding(what)


def decided(decode: Callable[[], object], *errors: type[Exception]) -> str:
    """Return ACCEPT, or the name of the refusal that ``decode`` raised; any other exception goes on.

    Args:
        decode: runs the decoder and states its properties.
        errors: that the decoder documents; a refusal is one line that a terminal may show.

    Raises:
        Finding: when a refusal's text is not such a line.
    """
    try:
        decode()
    except errors as error:
        text = str(error)
        need(len(text.splitlines()) == 1 or not isinstance(error, FederationError), f"not one line: {text!r}")
        need(len(text) <= _SHOWN, f"a refusal of {len(text)} characters")
        return code_name(error.code) if isinstance(error, WireError) else "REFUSED"
    return ACCEPT
