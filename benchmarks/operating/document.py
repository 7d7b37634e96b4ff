"""A document as steps: its blocks of code, and the notes to whoever follows it that a reader does not see.

A fence says what a block is: ``sh`` is done, ``sh root`` needs root and systemd, ``sh bare`` makes an installation;
``toml FILE`` are settings to be set in a file; any other language with a name is a file to be written. A comment
``<!-- follow: ... -->`` is a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_PART: Final = re.compile(
    r"^```(?P<fence>[^\n]*)\n(?P<code>.*?)^```$|^<!-- follow: (?P<note>[^\n]*) -->$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Step:
    """Something to be done.

    Args:
        line: of the document, from 1.
        kind: "sh", "toml", ... or "note".
        name: the rest of the fence: "root", "bare", a file; "": none.
        text: the code, or the note.
    """

    line: int
    kind: str
    name: str
    text: str

    def commands(self) -> Iterator[tuple[int, str]]:
        """Yield (line of the document, command) of a block; a command may go on after a backslash."""
        parts: list[str] = []
        for place, text in enumerate(self.text.splitlines(), self.line + 1):
            parts.append(text.removesuffix("\\"))
            if not text.endswith("\\"):
                whole, parts = " ".join(part.strip() for part in parts).strip(), []
                if whole:
                    yield place, whole


def steps(text: str) -> Iterator[Step]:
    """Yield the steps of a document, in its order."""
    for match in _PART.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["note"] is not None:
            yield Step(line, "note", "", match["note"])
        else:
            kind, _, name = match["fence"].strip().partition(" ")
            yield Step(line, kind, name, match["code"])
