"""The items of one JSON list, read piece by piece: a file of any size, of which only the item at hand is in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.text import readable
from edge_runtime.wire.text_lines import ROW_LIMIT, Encoding

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_FIRST_BLOCK: Final = 1 << 12


EXPECTED: Final = "expected an object on each line, or one list of objects"


@dataclass(frozen=True)
class Item:
    """Args: place: byte at which it starts; number: its line, from 1; value: whatever JSON can hold."""

    place: int
    number: int
    value: Any


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's keys and values.

    Raises:
        ValueError: for a key that stands twice.
    """
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the key {readable(twice)} stands twice"
        raise ValueError(msg)
    return tree


def fault_of(error: ValueError | RecursionError) -> str:
    """Return in a few words why a text is not JSON."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number of thousands of digits" if "digits" in str(error) else str(error)


def items(file: BinaryIO, encoding: Encoding, source: str, place: int, *, inside: bool = False) -> Iterator[Item]:
    """Yield the items of the list that begins at byte ``place``, or, ``inside`` it, those from the one there on.

    Raises:
        DataError: naming the line in which it is not JSON.
    """
    text = _Text(file, encoding, source, place)
    if not inside:
        text.sign("[")
    if inside or text.next() != "]":
        yield text.item()
        while text.sign(",]") == ",":
            yield text.item()
    else:
        text.sign("]")
    if text.next():
        raise text.refusal("more after the list's end")


@dataclass
class _Text:
    """The part of a file that is at hand."""

    file: BinaryIO
    encoding: Encoding
    source: str
    place: int
    line: int = 1
    text: str = ""
    at: int = 0
    block: int = _FIRST_BLOCK
    ended: bool = False
    decoder: Any = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder(self.encoding.name)()
        self.file.seek(self.place)

    def refusal(self, what: str) -> DataError:
        return DataError(f"{self.source} line {self.line}: {what}; {EXPECTED}")

    def next(self) -> str:
        """Return the next character that is no space, without taking it; "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self._take(match.end() if match else self.at)
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def sign(self, expected: str) -> str:
        """Take one of the signs ``expected``."""
        sign = self.next()
        if not sign or sign not in expected:
            raise self.refusal(f"not JSON: {' or '.join(expected)} is missing")
        self._take(self.at + 1)
        return sign

    def item(self) -> Item:
        """Take a value."""
        if not self.next():
            raise self.refusal("not JSON: the file ends inside the list")
        parse = json.JSONDecoder(object_pairs_hook=distinct).raw_decode
        while True:
            try:
                value, end = parse(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self.refusal(self._why(error)) from error
                continue
            if end == len(self.text) and self._more():
                continue  # a number may go on in the next block
            item = Item(self.place, self.line, value)
            self._take(end)
            self.block = _FIRST_BLOCK
            return item

    def _why(self, error: ValueError | RecursionError) -> str:
        if not self.ended:
            return f"an item over {ROW_LIMIT >> 20} MiB, or not JSON"
        return f"not JSON ({fault_of(error)})"

    def _take(self, end: int) -> None:
        taken = self.text[self.at : end]
        self.place += len(taken.encode(self.encoding.name, "surrogatepass"))
        self.line += len(_LINE_END.findall(taken))
        self.at = end

    def _more(self) -> bool:
        """Read on; false, and nothing changed, at the end of the file and where one item is over the limit."""
        if self.ended or len(self.text) - self.at > ROW_LIMIT:
            return False
        raw = self.file.read(self.block)
        self.ended = not raw
        try:
            more = self.decoder.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            raise self.refusal(f"bytes that are not {self.encoding.name[:6].upper()}") from error
        if raw:
            self.text, self.at = self.text[self.at :] + more, 0
            self.block = min(2 * self.block, ROW_LIMIT)
        return bool(raw)
