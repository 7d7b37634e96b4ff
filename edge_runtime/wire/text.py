"""Text for people that came from elsewhere: short, and without characters that steer a terminal or turn a line around.

The rule names code points, not the category tables of one Unicode version, so that every language decides alike.
"""

from __future__ import annotations

import json
import re
from typing import Final

# C0, DEL and C1 controls; line and paragraph separators; marks that change the direction of text; lone surrogates.
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, limit: int) -> bool:
    """Return whether ``text`` is one line of at most ``limit`` UTF-8 bytes that may be shown as it is."""
    return not _UNFIT.search(text) and len(text.encode()) <= limit


def counted(count: int, noun: str) -> str:
    """Return "1 row", "2 rows"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def readable(text: str, limit: int = 40) -> str:
    """Return a word of the user's for an error message: as it is where that is plain, cut to ``limit`` code points."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if plain(cut, 4 * limit) else shown(cut, limit).strip('"')


def shown(value: object, limit: int = 80) -> str:
    """Return ``value`` as one short line for an error message, whatever it holds."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
